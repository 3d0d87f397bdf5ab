"""`hetero run` and `hetero autoload`: Python programs that never import the package find its families."""

import json
import os
import site
import subprocess
import sys
from pathlib import Path

import pytest

from transformers_heterogeneous.scripts.command import running


HETERO = [sys.executable, "-m", "hetero"]
LOADS = """
import importlib.util, json, sys
assert importlib.util.find_spec("transformers") is not None  # as libraries ask that can do without it
from transformers import AutoConfig
import transformers
sizes = AutoConfig.for_model("heterogeneous_llama", num_hidden_layers=2, mixer_types=["attention", "none"]).mixer_types
print(json.dumps([sizes, transformers.HeterogeneousLlamaForCausalLM.__name__, sys.argv[1:]]))
"""
EXPECTED = [["attention", "none"], "HeterogeneousLlamaForCausalLM"]


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


def test_a_program_and_its_children_know_the_families(tmp_path: Path) -> None:
    """Arguments as they are, options and separators too."""
    child, parent = tmp_path / "child.py", tmp_path / "parent.py"
    child.write_text(LOADS)
    parent.write_text("import subprocess, sys\nsys.exit(subprocess.run([sys.executable, *sys.argv[1:]]).returncode)\n")
    arguments = ["--help", "-x", "--", "a b"]
    done = run(*HETERO, "run", "--", "python", str(parent), str(child), *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == [*EXPECTED, arguments]


def test_the_exit_code_is_the_programs() -> None:
    assert run(*HETERO, "run", "python", "-c", "import sys; sys.exit(7)").returncode == 7


def test_another_sitecustomize_runs_too(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import builtins\nbuiltins.marked = __file__\n")
    code = "import sys; print(marked, sys.modules['sitecustomize'].__file__, 'transformers' in sys.modules)"
    done = run(*HETERO, "run", "python", "-c", code, PYTHONPATH=str(tmp_path))
    path = str(tmp_path / "sitecustomize.py")
    assert (done.stdout.split(), done.stderr) == ([path, path, "False"], "")


def test_a_program_that_is_not_there() -> None:
    done = run(*HETERO, "run", "no-such-program", "x")
    assert done.returncode == 2 and "hetero run: no-such-program: no such program" in done.stderr


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """The Python of an environment without pip, in which everything of this one is installed."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv/bin/python"
    folder = run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip()
    here = next(each for each in map(Path, site.getsitepackages()) if (each / "transformers").is_dir())
    Path(folder, "a.pth").write_text(f"import site; site.addsitedir({str(here)!r})\n")
    return python


def test_autoload_is_for_an_environment_until_it_is_off(environment: Path) -> None:
    hetero = [str(environment), "-m", "hetero", "autoload"]
    assert run(str(environment), "-c", LOADS).returncode == 1
    off = run(*hetero, "status")
    assert off.returncode == 1 and off.stdout.startswith("off: ")
    assert run(*hetero, "on").returncode == run(*hetero, "status").returncode == 0
    assert json.loads(run(str(environment), "-c", LOADS).stdout) == [*EXPECTED, []]
    lazily = "import sys; print({'torch', 'transformers', 'transformers_heterogeneous'} & set(sys.modules))"
    assert run(str(environment), "-c", lazily).stdout.strip() == "set()"
    assert run(*hetero, "off").returncode == 0 and run(*hetero, "off").returncode == 0
    assert run(str(environment), "-c", LOADS).returncode == 1


def test_autoload_of_what_was_uninstalled_is_silent(tmp_path: Path) -> None:
    done = run(sys.executable, "-c", running.line_for(tmp_path / "gone.py"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("shadow", ["hetero.py", "hetero/nothing.txt"])
def test_autoload_beside_another_module_of_that_name(environment: Path, tmp_path: Path, shadow: str) -> None:
    """It is the program's, and the families are found all the same."""
    assert run(str(environment), "-m", "hetero", "autoload", "on").returncode == 0
    other = tmp_path / "other" / shadow
    other.parent.mkdir(parents=True)
    other.write_text("NAME = 'the program's'\n")
    done = run(str(environment), "-c", LOADS, PYTHONPATH=str(tmp_path / "other"))
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == [*EXPECTED, []]
    start = run(
        str(environment), "-c", "import sys; print('hetero' in sys.modules)", PYTHONPATH=str(tmp_path / "other")
    )
    assert (start.returncode, start.stdout.strip(), start.stderr) == (0, "False", "")


COUNTED = """
import json, sys
steps = []
def step():
    steps.append([name in sys.modules for name in ("torch", "transformers_heterogeneous")])
import transformers
step()
from transformers import AutoTokenizer, AutoConfig
AutoConfig.for_model("llama", num_hidden_layers=2)
hasattr(transformers, "LlamaConfig"), hasattr(transformers, "no_such_name")
steps.append([steps[0][0], "transformers_heterogeneous" in sys.modules])  # torch is what AutoTokenizer imports itself
assert "heterogeneous_llama" in transformers.CONFIG_MAPPING
step()
print(json.dumps(steps))
"""


def test_nothing_is_imported_until_a_family_is_asked_for() -> None:
    done = run(*HETERO, "run", "python", "-c", COUNTED)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == [[False, False], [False, False], [True, True]]


ASKING = {
    "a model class": "from transformers import HeterogeneousLlamaForCausalLM as found",
    "a config class": "from transformers import HeterogeneousLlamaConfig as found",
    "a published config class": "from transformers import NemotronNasConfig as found",
    "a model type": "from transformers import AutoConfig\nfound = type(AutoConfig.for_model('nemotron-nas'))",
    "by hand": "from transformers_heterogeneous import HeterogeneousLlamaConfig as found",
}


@pytest.mark.parametrize("asking", ASKING.values(), ids=ASKING)
def test_whatever_is_asked_for_first(asking: str) -> None:
    code = f"{asking}\nimport transformers_heterogeneous as ours\nprint(getattr(ours, found.__name__) is found)"
    done = run(*HETERO, "run", "python", "-c", code)
    assert (done.stdout.strip(), done.stderr) == ("True", "")


def test_beside_another_transformers_programs_run_on_without_the_families(tmp_path: Path) -> None:
    """What does not fit is told once, when a family is asked for, and the program is none the worse."""
    code = (
        "import transformers; print(transformers.__name__, hasattr(transformers, 'HeterogeneousX'), "
        "'heterogeneous_llama' in transformers.CONFIG_MAPPING)"
    )
    broken = tmp_path / "transformers_heterogeneous"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise ImportError('another minor')\n")
    done = run(*HETERO, "run", "python", "-c", code, PYTHONPATH="")
    assert done.stdout.split() == ["transformers", "False", "True"]
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{code}"
    done = run(*HETERO, "run", "python", "-c", code)
    assert (done.returncode, done.stdout.split()) == (0, ["transformers", "False", "False"])
    assert done.stderr == "hetero: the families are not registered: another minor\n"


def test_autoload_writes_through_no_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    (tmp_path / running.PTH).symlink_to(victim)
    monkeypatch.setattr(running.sysconfig, "get_path", lambda name: str(tmp_path))
    assert running.autoload_command("on") == 2
    assert f"{tmp_path / running.PTH}: is a link, to {victim}" in capsys.readouterr().err
    assert victim.read_text() == "mine"
    assert running.autoload_command("off") == 0
    assert victim.exists() and not (tmp_path / running.PTH).is_symlink()


@pytest.mark.parametrize(
    ("first", "expected"), [("", "begin end followed"), ("import toy_whole;", "begin end followed")]
)
def test_a_module_that_imports_what_waits_for_it_is_followed_once_it_is_whole(
    tmp_path: Path, first: str, expected: str
) -> None:
    asks = "from transformers_heterogeneous.integrations.at_import import at_import; at_import('toy_whole', lambda: print('followed' if toy_whole.last else '', end=' '))"
    (tmp_path / "toy_asks.py").write_text(f"import sys, toy_whole\n{asks}\n")
    (tmp_path / "toy_whole.py").write_text(
        "print('begin', end=' ')\nimport toy_asks\nlast = 1\nprint('end', end=' ')\n"
    )
    (tmp_path / "toy_later.py").touch()
    done = run(sys.executable, "-c", f"{first}import toy_asks, toy_later, toy_whole", PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, expected.split(), "")


def test_a_module_that_failed_is_followed_when_it_is_imported_again(tmp_path: Path) -> None:
    (tmp_path / "toy_fails.py").write_text(
        "import sys\nfrom transformers_heterogeneous.integrations.at_import import at_import\nat_import('toy_fails', lambda: print('followed'))\nassert hasattr(sys, 'again')\n"
    )
    code = "import sys\ntry:\n    import toy_fails\nexcept AssertionError:\n    sys.again = print('failed')\nimport toy_fails"
    done = run(sys.executable, "-c", code, PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["failed", "followed"], "")
