"""The commands that install a wheel for an older release of transformers, each in an environment that holds nothing but pip."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from transformers_heterogeneous.integrations.installing import how_to_install


ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
OLDEST = ".".join(PROJECT["tool"]["transformers-heterogeneous"]["releases"][0].split(".")[:2])
URL = "https://git.invalid/transformers-heterogeneous.git"  # which git is told to take from the clone
BUILT_FROM = ("pyproject.toml", "README.md", "LICENSE", "constraints.txt", "hetero.py", "converters", "generated")
BUILT_FROM += ("integrations", "modular", "scripts")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
INSTALLED = """
import json, re
from importlib.metadata import distribution
ours = distribution("transformers-heterogeneous")
texts = [file.read_text() for file in ours.files if re.search(r"/modeling_heterogeneous_\\w+\\.py$", str(file))]
releases = {match[1] for text in texts for match in re.finditer(r"^# Parents: transformers (\\d+\\.\\d+)", text, re.MULTILINE)}
print(json.dumps([ours.version, [each for each in ours.requires if re.match("transformers[<>=]", each)], len(texts), sorted(releases)]))
"""


def documented() -> dict[str, str]:
    """The commands that README, docs and messages name, by what they install from."""
    pages = {
        command
        for page in PAGES
        for command in re.findall(r"pip (install \. --config-settings [^\s`]+)", page.read_text())
    }
    assert {f"install . --config-settings transformers={OLDEST}"} <= pages
    clone, url = re.findall(r"`pip (.+?)`", how_to_install(release=OLDEST))
    assert clone in pages
    return {"clone": clone, "URL": url}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of this tree as it is, with what is not committed."""
    folder = tmp_path_factory.mktemp("install") / "clone"
    folder.mkdir()
    for name in BUILT_FROM:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / name, folder / name)
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "as it is"]):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *command], cwd=folder, check=True)
    return folder


def bare(folder: Path, pip: str) -> Path:
    """The interpreter of an environment that holds this pip alone."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    done = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--upgrade", pip], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"pip reaches no package index: {done.stderr.strip().splitlines()[-1]}")
    return python


@pytest.mark.slow
@pytest.mark.release
@pytest.mark.parametrize("pip", ["pip==23.2", "pip"], ids=["23.2", "newest"])
@pytest.mark.parametrize("way", ["clone", "URL"])
def test_the_wheel_for_the_oldest_release_is_built_from_nothing(
    way: str, pip: str, repository: Path, tmp_path: Path
) -> None:
    python = bare(tmp_path / "env", pip)
    arguments = shlex.split(documented()[way].replace("git+URL", f"git+{URL}"))
    entries = os.environ["PATH"].split(os.pathsep)
    environment = {
        "PATH": os.pathsep.join(entry for entry in entries if entry and not (Path(entry) / "ruff").exists()),
        "PIP_NO_COMPILE": "1",  # of what the build needs: a third of its time
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{repository.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": URL,
    }
    command = [python, "-m", "pip", *arguments, "--no-deps"]  # torch and the rest are not what is asked here
    done = subprocess.run(
        command, cwd=repository, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = subprocess.run([python, "-c", INSTALLED], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    version, needed, families, releases = json.loads(found)
    major, minor = OLDEST.split(".")
    assert version.startswith(f"{OLDEST}.") and needed == [f"transformers<{major}.{int(minor) + 1},>={OLDEST}"]
    assert families == len(list((ROOT / "generated").glob("modeling_heterogeneous_*.py"))) and releases == [OLDEST]
