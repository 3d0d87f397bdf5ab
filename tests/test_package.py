"""What a user gets: registration on import, a command that starts quickly, a wheel with one package."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import transformers
import transformers_heterogeneous
from transformers_heterogeneous.integrations.installing import how_to_install


ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.release
def test_every_place_that_names_a_version_says_what_pyproject_says():
    major, minor, _ = PROJECT["version"].split(".", 2)
    assert [entry for entry in PROJECT["dependencies"] if entry.startswith("transformers")] == [
        f"transformers>={major}.{minor}.0,<{major}.{int(minor) + 1}"
    ]
    assert transformers_heterogeneous.__version__ == PROJECT["version"]
    pinned = re.search(r"^transformers==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]
    expanded = {transformers_heterogeneous.PARENTS_VERSION, pinned}
    for path in (ROOT / "generated").glob("*_heterogeneous_*.py"):
        expanded |= set(re.findall(r"^# Parents: transformers ([\d.]+);", path.read_text(), re.MULTILINE))
    assert len(expanded) == 1 and pinned.startswith(f"{major}.{minor}.")
    readme = (ROOT / "README.md").read_text()
    said = re.search(
        r"Version `(.+?)` is generated from transformers `(.+?)` and works with `(.+?)`", " ".join(readme.split())
    )
    assert said.groups() == (
        f"{major}.{minor}.x",
        pinned,
        f"transformers>={major}.{minor}.0,<{major}.{int(minor) + 1}",
    )
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(r"^## (\S+)", changes, re.MULTILINE)[1] == PROJECT["version"]
    assert re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)[1] == PROJECT["version"]


def test_what_runs_before_a_commit_has_the_pinned_formatter():
    pinned = re.search(r"^ruff==.+$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[0]
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    asked = [each["additional_dependencies"] for each in hooks if each["language"] == "python"]
    assert len(asked) == 2 and all(each == [pinned] for each in asked)


def test_the_installed_release_is_the_one_expanded_from():
    fits = transformers.__version__.split(".")[:2] == transformers_heterogeneous.PARENTS_VERSION.split(".")[:2]
    assert fits and PROJECT["requires-python"] == ">=3.11"


OTHER_RELEASE = "import transformers; transformers.__version__ = {!r}; import transformers_heterogeneous"


@pytest.mark.parametrize("other", ["{major}.{before}.0", "{major}.{after}.0.dev0", "{after}.{minor}.0"])
def test_importing_beside_another_minor_is_an_error_that_says_what_fits(other):
    major, minor = map(int, transformers_heterogeneous.PARENTS_VERSION.split(".")[:2])
    version = other.format(major=major, minor=minor, before=minor - 1, after=minor + 1)
    code = OTHER_RELEASE.format(version)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    error = done.stderr.splitlines()[-1]
    assert error.startswith("ImportError: ")
    assert f"transformers {version}" in error and f"transformers {transformers_heterogeneous.PARENTS_VERSION}" in error
    assert how_to_install(release=".".join(version.split(".")[:2])) in error


def test_how_to_install_names_what_works_without_an_index():
    assert how_to_install() == (
        "`pip install .` in a clone of its repository, or `pip install 'transformers-heterogeneous @ git+URL'` with the URL of that"
    )
    assert "`pip install -e '.[plot]'`" in how_to_install("plot")
    assert "`pip install 'transformers-heterogeneous[plot] @ git+URL'`" in how_to_install("plot")
    assert "`pip install . --config-settings transformers=5.19`" in how_to_install(release="5.19")
    assert "@ git+URL' --config-settings transformers=5.19`" in how_to_install(release="5.19")


def test_nothing_asks_a_package_index_for_a_name_that_is_not_ours_there():
    folders = ("converters", "docs", "generated", "integrations", "modular", "scripts", "tests")
    files = [path for kind in ("py", "md") for path in ROOT.glob(f"*.{kind}")]
    files += [path for each in folders for kind in ("py", "md") for path in (ROOT / each).rglob(f"*.{kind}")]
    asked = re.compile(r"pip install (?:-\S+ )*['\"]?transformers-heterogeneous(?!\{extras\} @|(?:\[\w+\])? @)")
    found = [f"{path}: {match[0]}" for path in files for match in asked.finditer(path.read_text(encoding="utf-8"))]
    assert len(files) > 200 and not found


def test_the_launcher_alone_says_how_to_install_the_package(tmp_path):
    shutil.copy2(ROOT / "hetero.py", tmp_path)
    code = "import sys; sys.path = [path for path in sys.path if 'site-packages' not in path]; import hetero; hetero.main()"
    command = [sys.executable, "-S", "-c", code, "--version"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"hetero: the package transformers_heterogeneous is not installed: {how_to_install()}\n"


def test_importing_beside_a_patch_release_passes_and_prints_nothing():
    assert run(OTHER_RELEASE.format(f"{transformers.__version__.rsplit('.', 1)[0]}.99")) == ""


def test_the_command_reads_no_checkpoint_beside_another_minor(tmp_path):
    other = tmp_path / "transformers-5.23.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: transformers\nVersion: 5.23.0\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for arguments in (
        ["inspect", "a"],
        ["convert", "a", "b"],
        ["verify", "a", "b"],
        ["infer", "a"],
        ["prune", "a", "b"],
        ["score", "a", "--data", "b", "--out", "c.safetensors"],
        ["trace", "a", "--ids", "1"],
        ["masks", "a"],
    ):
        command = [sys.executable, "-m", "hetero", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 2 and "installed is transformers 5.23.0" in done.stderr, done.stderr
        assert len(done.stderr.splitlines()) == 1
    versions = subprocess.run(
        [sys.executable, "-m", "hetero", "--version"], env=environment, capture_output=True, text=True, check=True
    )
    assert versions.stdout.endswith("installed: 5.23.0\n")


def test_importing_registers_with_the_auto_classes():
    code = """
import transformers_heterogeneous as th
th.register()  # a second time, as a server's entry point does
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForQuestionAnswering
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoModelForTokenClassification
config = AutoConfig.for_model("heterogeneous_llama", num_hidden_layers=1, hidden_size=8, num_attention_heads=2,
                              intermediate_size=8, vocab_size=8)
for auto in (AutoModel, AutoModelForCausalLM, AutoModelForQuestionAnswering, AutoModelForSequenceClassification,
             AutoModelForTokenClassification):
    print(type(auto.from_config(config)).__name__)
print(AutoConfig.for_model("nemotron-nas").model_type, AutoConfig.for_model("deci").model_type)
from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING
print(AUTO_QUANTIZER_MAPPING["mxfp4"].__name__)
"""
    assert run(code).split() == [
        "HeterogeneousLlamaModel",
        "HeterogeneousLlamaForCausalLM",
        "HeterogeneousLlamaForQuestionAnswering",
        "HeterogeneousLlamaForSequenceClassification",
        "HeterogeneousLlamaForTokenClassification",
        "nemotron-nas",
        "deci",
        "HeterogeneousMxfp4HfQuantizer",
    ]


def test_what_is_done_with_checkpoints_is_imported_when_it_is_asked_for():
    code = """
import json, sys
import transformers_heterogeneous as th
modules = (".conversion", ".describing", ".verification", ".inferring", ".scoring", ".thinning", ".tracing")
before = [name for name in sys.modules if name.endswith(modules)]
from transformers_heterogeneous import convert, describe, infer, inspect, prune, score, trace, verify
from transformers_heterogeneous import converters
all_of_them = (convert, describe, infer, inspect, prune, score, trace, verify)
assert all_of_them == tuple(
    getattr(converters, name) for name in ("convert", "describe", "infer", "summarise", "prune", "score", "trace", "verify")
)
print(json.dumps([before, hasattr(th, "nothing"), [each.__name__ for each in all_of_them]]))
"""
    names = ["convert", "describe", "infer", "summarise", "prune", "score", "trace", "verify"]
    assert json.loads(run(code)) == [[], False, names]


def test_the_command_and_the_generator_start_without_torch():
    code = """
import sys, hetero
sys.argv = ["hetero", "check", "--json"]
try:
    hetero.main()
except SystemExit as stop:
    assert stop.code == 0, stop.code
assert not {"torch", "transformers", "transformers.models"} & set(sys.modules)
"""
    assert json.loads(run(code))["differing"] == []


@pytest.mark.slow
def test_the_wheel_holds_one_package_the_launcher_and_nothing_that_only_we_run(tmp_path):
    clone = shutil.copytree(
        ROOT, tmp_path / "clone", ignore=shutil.ignore_patterns(".*", "__pycache__", "build", "dist")
    )
    left_over = clone / "build/lib/transformers_heterogeneous/scripts/older/__init__.py"  # of another commit
    left_over.parent.mkdir(parents=True)
    left_over.touch()
    command = ["pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, clone]
    subprocess.run([sys.executable, "-m", *command], check=True)
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    top_level = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert top_level == {"hetero.py", "transformers_heterogeneous"}
    expected = (
        "py.typed",
        "modeling_heterogeneous_llama.py",
        "modular/modular_heterogeneous_llama.py",
        "converters/__init__.py",
        "converters/engine/headers.py",
        "converters/families/heterogeneous_nemotron_h.py",
        "converters/formats/nemotron_nas.py",
        "converters/seeing/tracing.py",
        "integrations/vllm/llama.py",
    )
    assert {f"transformers_heterogeneous/{name}" for name in expected} <= set(names)
    for room in ("command", "family_graph", "heterogenise", "likeness", "modular_converter", "upstreaming"):
        inside = {path.relative_to(ROOT).as_posix() for path in (ROOT / "scripts" / room).rglob("*.py")}
        assert {f"transformers_heterogeneous/{name}" for name in inside} <= set(names), room
    assert {name.split("/")[2] for name in names if name.startswith("transformers_heterogeneous/scripts/")} == {
        "__init__.py",
        "command",
        "family_graph",
        "heterogenise",
        "likeness",
        "modular_converter",
        "upstreaming",
    }


@pytest.mark.slow
def test_a_source_distribution_builds_the_wheel_of_the_clone(tmp_path):
    code = "import os, build_backend; os.chdir(build_backend.ROOT); print(build_backend.build_sdist({!r}))"
    backend = [sys.executable, "-c", code.format(str(tmp_path))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts/packaging")}
    done = subprocess.run(backend, env=environment, capture_output=True, text=True, check=True)
    command = ["pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    contents = []
    for name, source in (("sdist", tmp_path / done.stdout.split()[-1]), ("clone", ROOT)):
        subprocess.run([sys.executable, "-m", *command, tmp_path / name, source], check=True)
        contents.append(sorted(zipfile.ZipFile(next((tmp_path / name).glob("*.whl"))).namelist()))
    assert contents[0] == contents[1]


def test_no_module_has_the_name_of_another_of_the_package():
    """Modules and folders of all rooms; a file that is named after a model is of that model, in whatever room."""
    paths = [
        path for room in ("converters", "integrations", "scripts") for path in sorted((ROOT / room).rglob("*.py"))
    ]
    paths = [path.parent if path.name == "__init__.py" else path for path in paths]
    named = [(path.stem, path.relative_to(ROOT).as_posix()) for path in paths if path.name not in ("__main__.py",)]
    models = {path.stem.split("_heterogeneous_")[-1] for path in (ROOT / "generated").glob("modeling_*_*.py")}
    places = {name: [place for other, place in named if other == name] for name, _ in named}
    assert len(places) > 150 and {"llama", "gpt_oss"} <= models
    assert not {name: found for name, found in places.items() if len(found) > 1 and name not in models}


def test_links_in_src_are_what_an_installation_maps():
    """mypy and editors follow the links; pip follows the mapping."""
    mapping = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-dir"]
    linked = {name: (ROOT / "src" / name.replace(".", "/")).resolve() for name in mapping}
    assert linked == {name: ROOT / folder for name, folder in mapping.items()}
    rooms = {f"transformers_heterogeneous.{path.name}" for path in (ROOT / "generated").iterdir() if path.is_symlink()}
    assert rooms == mapping.keys() - {"transformers_heterogeneous"}


def test_modules_across_rooms_are_no_unknown_to_mypy(tmp_path):
    (tmp_path / "probe.py").write_text(
        "from transformers_heterogeneous.configuration_heterogeneous_llama import HeterogeneousLlamaConfig\n"
        "from transformers_heterogeneous.converters import summarise\n"
        "from transformers_heterogeneous.scripts.command.versions import parents_version\n"
        "from transformers_heterogeneous import prune\n"
        "from transformers_heterogeneous import NemotronNasConfig\n"
        "reveal_type(NemotronNasConfig.model_type)\n"
        "reveal_type(HeterogeneousLlamaConfig.model_type)\n"
        "reveal_type(summarise)\n"
        "reveal_type(parents_version)\n"
        "reveal_type(prune)\n"
    )
    command = [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", tmp_path / "probe.py"]
    done = subprocess.run([*command, "--cache-dir", ROOT / ".mypy_cache"], cwd=ROOT, capture_output=True, text=True)
    found = re.findall(r'Revealed type is "(.*)"', done.stdout)
    assert done.returncode == 0 and len(found) == 5, done.stdout + done.stderr
    assert not [each for each in found if each == "Any"]
