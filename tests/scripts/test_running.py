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
    line = running.LINE.replace("'hetero'", "'hetero_that_is_gone'")
    done = run(sys.executable, "-c", f"{line}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_beside_another_transformers_programs_run_on_without_the_families(tmp_path: Path) -> None:
    """What does not fit is told, and the program is none the worse."""
    code = "import hetero; hetero.autoload(); import transformers; print(transformers.__name__)"
    broken = tmp_path / "transformers_heterogeneous"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise ImportError('another minor')\n")
    done = run(sys.executable, "-c", code, PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout.strip()) == (0, "transformers")
    assert "hetero: the families are not registered: another minor" in done.stderr


@pytest.mark.parametrize(
    ("first", "expected"), [("", "begin end followed"), ("import toy_whole;", "begin end followed")]
)
def test_a_module_that_imports_what_waits_for_it_is_followed_once_it_is_whole(
    tmp_path: Path, first: str, expected: str
) -> None:
    asks = "import hetero; hetero.at_import('toy_whole', lambda: print('followed' if toy_whole.last else '', end=' '))"
    (tmp_path / "toy_asks.py").write_text(f"import sys, toy_whole\n{asks}\n")
    (tmp_path / "toy_whole.py").write_text(
        "print('begin', end=' ')\nimport toy_asks\nlast = 1\nprint('end', end=' ')\n"
    )
    (tmp_path / "toy_later.py").touch()
    done = run(sys.executable, "-c", f"{first}import toy_asks, toy_later, toy_whole", PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, expected.split(), "")


def test_a_module_that_failed_is_followed_when_it_is_imported_again(tmp_path: Path) -> None:
    (tmp_path / "toy_fails.py").write_text(
        "import hetero, sys\nhetero.at_import('toy_fails', lambda: print('followed'))\nassert hasattr(sys, 'again')\n"
    )
    code = "import sys\ntry:\n    import toy_fails\nexcept AssertionError:\n    sys.again = print('failed')\nimport toy_fails"
    done = run(sys.executable, "-c", code, PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["failed", "followed"], "")
