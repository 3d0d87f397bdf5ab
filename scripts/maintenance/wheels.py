"""`make wheels` and `make test-releases`: a wheel for each release of transformers, and each tested beside that release.

A release has an environment of its own, with its wheel installed and nothing of the repository on the path: the tests are
copied out. Environments are kept in `.releases`, where they share torch, which is big.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from rich.console import Console
from rich.table import Table

from .newest import FAMILIES, part_of


ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / ".releases"
DIST = ROOT / "dist"
SUITES = (
    "tests/generated",
    "tests/integrations",
    "tests/converters/test_loading.py",
    "tests/converters/test_with_code.py",
)
TOOLS = ("accelerate", "hypothesis", "kernels", "matplotlib", "peft", "pytest", "pytest-xdist")
SHOWN = 40  # names of tests that failed
console = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Outcome:
    """What the tests of a release came to: passed, failed and skipped by part of the house, and what is to be read."""

    release: str
    passed: Counter[str]
    failed: Counter[str]
    skipped: Counter[str]
    names: list[str]


def window() -> list[str]:
    """The releases that wheels are built for and tested with, the oldest first, as in `5.19.0`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found: list[str] = project["tool"]["transformers-heterogeneous"]["releases"]
    return found


def main(arguments: Sequence[str]) -> int:
    """`wheels [RELEASE...]` builds, `test [RELEASE...]` builds and tests; all of the window by default. 0, or 1 where a test
    failed, or 2 where something broke off."""
    command, *asked = arguments
    releases = [each for each in window() if not asked or minor(each) in map(minor, asked)]
    if not releases:
        print(f"{' '.join(asked)}: the releases are {', '.join(map(minor, window()))}", file=sys.stderr)
        return 2
    try:
        wheels = {release: built(release) for release in releases}
        outcomes = [tested(release, wheel) for release, wheel in wheels.items()] if command == "test" else []
    except subprocess.CalledProcessError as error:
        print(f"{' '.join(map(str, error.cmd))}\n{error.stdout or ''}{error.stderr or ''}", file=sys.stderr)
        return 2
    if outcomes:
        show(outcomes)
    return int(any(each.failed for each in outcomes))


def minor(release: str) -> str:
    """`5.19` of `5.19.0`."""
    return ".".join(release.split(".")[:2])


def run(*command: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """A command that has to succeed."""
    return subprocess.run(list(command), cwd=cwd, capture_output=True, text=True, check=True)


def built(release: str) -> Path:
    """The wheel for a release, built by pip as anyone would."""
    DIST.mkdir(exist_ok=True)
    option = ["--config-settings", f"transformers={minor(release)}"]
    run(sys.executable, "-m", "pip", "wheel", ".", "--quiet", "--no-deps", "--wheel-dir", DIST, *option)
    wheel = max(DIST.glob(f"transformers_heterogeneous-{minor(release)}.*.whl"), key=lambda path: path.stat().st_mtime)
    console.print(f"transformers {minor(release)}: {wheel.relative_to(ROOT)}")
    return wheel


def constraints(folder: Path) -> Path:
    """What is pinned, transformers and what it asks for aside."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    path = folder / "constraints.txt"
    kept = [line for line in lines if not re.match(r"(transformers|huggingface_hub)==", line)]
    path.write_text("\n".join(kept) + "\n", encoding="utf-8")
    return path


def environment(release: str, wheel: Path) -> Path:
    """The interpreter of an environment with a release and the wheel for it."""
    KEPT.mkdir(exist_ok=True)
    pins, shared, folder = constraints(KEPT), KEPT / "torch", KEPT / release
    install = ["-m", "pip", "install", "--quiet", "--constraint", str(pins)]
    if not (shared / "torch").is_dir():
        run(sys.executable, *install, "--target", shared, "torch")
    python = folder / "bin/python"
    if not python.is_file():
        run(sys.executable, "-m", "venv", folder)
        site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip())
        (site / "torch.pth").write_text(f"{shared}\n", encoding="utf-8")
        run(python, *install, f"transformers=={release}", *TOOLS)
    run(python, *install, "--force-reinstall", "--no-deps", wheel)
    run(python, *install, wheel)
    return python


def with_maintenance(python: Path) -> Path:
    """The interpreter, of an environment with a wheel, that can import what a wheel has not: this folder."""
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip()
    link = Path(site, "transformers_heterogeneous/scripts/maintenance")
    if not link.is_symlink():
        link.symlink_to(Path(__file__).resolve().parent)
    return python


def tested(release: str, wheel: Path) -> Outcome:
    """The suites, the demo and the quick start of a release."""
    python = environment(release, wheel)
    with tempfile.TemporaryDirectory(prefix=f"release-{release}-") as name:
        folder = Path(name)
        for each in ("tests", "docs"):
            shutil.copytree(ROOT / each, folder / each, ignore=shutil.ignore_patterns("__pycache__"))
        pytest = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
        marks = "\n    ".join(pytest["markers"])
        (folder / "pytest.ini").write_text(f"[pytest]\naddopts = {pytest['addopts']}\nmarkers =\n    {marks}\n")
        report = folder / "report.xml"
        command: list[str | Path] = [python, "-m", "pytest", "-n", "2", f"--junitxml={report}", *SUITES]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if not report.is_file():
            raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
        return Outcome(release, *counted(report, dict(extras(python, folder))))


def extras(python: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """The quick start of the README and the demo, each with what was said where it failed."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    quick_start = re.findall(r"(?ms)^```python\n(.*?)^```\n+```text\n(.*?)^```", readme)[0]
    done = subprocess.run([python, "-c", quick_start[0]], cwd=folder, capture_output=True, text=True, check=False)
    yield "quick start", "" if done.stdout == quick_start[1] else done.stdout + done.stderr
    shutil.copytree(ROOT / "scripts/demo", folder / "scripts/demo")  # beside the tests' data
    command = [python, folder / "scripts/demo"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    yield "demo", "" if done.returncode == 0 else done.stdout + done.stderr


def counted(report: Path, extras: dict[str, str]) -> tuple[Counter[str], Counter[str], Counter[str], list[str]]:
    """Tests by family, with the names of those that failed and what of the rest failed."""
    passed: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    names = []
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        outcomes = {child.tag for child in case}
        kind = skipped if "skipped" in outcomes else failed if outcomes & {"failure", "error"} else passed
        kind[part_of(name)] += 1
        names += [name] if kind is failed else []
    for name, said in extras.items():
        (failed if said else passed)[name] += 1
        names += [f"{name}: {said[-500:]}"] if said else []
    return passed, failed, skipped, names


def show(outcomes: Sequence[Outcome]) -> None:
    """The table release by part, and the names of what failed."""
    parts = ["all families", *FAMILIES, "integrations", "converters", "quick start", "demo"]
    table = Table("release", *parts, box=None, pad_edge=False, title="passed / failed / refused by the release")
    for each in outcomes:
        cells = [f"{each.passed[part]} / {each.failed[part]} / {each.skipped[part]}" for part in parts]
        table.add_row(each.release, *cells)
    console.print("", table)
    for each in outcomes:
        for name in each.names[:SHOWN]:
            console.print(f"{each.release} failed: {name}", markup=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
