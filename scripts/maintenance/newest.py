"""`make newest`: what the newest transformers on the package index would do to the families, on one page.

Everything happens in a scratch copy of the tree and an environment of its own; the tree is not touched.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from rich.console import Console
from rich.table import Table

from ..command.versions import installed, parents_version


ROOT = Path(__file__).resolve().parents[2]
FAMILIES = ("llama", "gpt_oss", "granite_moe_hybrid", "nemotron_h")
LAUNCH = "import hetero; hetero.main()"
SHOWN = 12  # lines of what a command said, or names of tests that failed
console = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Environment:
    """A scratch copy of the tree, and an interpreter that has it installed beside the newest transformers."""

    tree: Path
    python: Path

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """A Python command in the scratch copy."""
        environment = {**os.environ, "XDG_CACHE_HOME": str(self.tree.parent / "cache")}
        command = [self.python, *arguments]
        return subprocess.run(command, cwd=self.tree, env=environment, capture_output=True, text=True, check=False)

    def hetero(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """The `hetero` command in the scratch copy."""
        return self.run("-c", LAUNCH, *arguments)

    @property
    def packages(self) -> Path:
        """Where the newest transformers lies."""
        return Path(self.run("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip())

    @property
    def newest(self) -> str:
        """The version of transformers there."""
        code = "from importlib.metadata import version; print(version('transformers'))"
        return self.run("-c", code).stdout.strip()


@dataclass(frozen=True)
class Tests:
    """How many tests of each part of the house passed and failed, and the names of those that failed."""

    passed: Counter[str]
    failed: Counter[str]
    names: list[str]


def main() -> int:
    """Print the page; 0 when there is nothing to do, 1 when something is to be followed by hand, 2 when it broke off."""
    with tempfile.TemporaryDirectory(prefix="newest-") as folder:
        try:
            environment = prepare(Path(folder))
        except subprocess.CalledProcessError as error:
            print(f"make newest: {' '.join(map(str, error.cmd))}\n{error.stderr}", file=sys.stderr)
            return 2
        return page(environment)


def prepare(folder: Path) -> Environment:
    """Copy the tree, let it ask for any transformers, and install it with the newest one."""
    tree, python = folder / "tree", folder / "venv/bin/python"
    for name in tracked():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tree / name)
    project = tree / "pyproject.toml"
    project.write_text(re.sub(r'"transformers[<>=][^"]*"', '"transformers"', project.read_text()))
    constraints = tree / "constraints.txt"
    kept = [line for line in constraints.read_text().splitlines() if not line.startswith("transformers==")]
    constraints.write_text("\n".join(kept) + "\n")
    console.print("installing the newest transformers into an environment of its own")
    install = [str(python), "-m", "pip", "install", "--quiet", "--constraint", str(constraints)]
    make = [sys.executable, "-m", "venv", str(folder / "venv")]
    for command in (make, [*install, "torch"], [*install, "-e", f"{tree}[dev]"]):
        subprocess.run(command, capture_output=True, text=True, check=True)
    return Environment(tree, python)


def tracked() -> list[str]:
    """The files of the tree, as they are now."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [name for name in names if (ROOT / name).is_file()]


def page(environment: Environment) -> int:
    """Try everything, say what came of it, and end with the verdict."""
    newest = environment.newest
    console.print(
        f"transformers {newest} is the newest; the families were expanded from {parents_version()}, and "
        f"{installed('transformers')} is installed\n"
    )
    by_hand = [*told_of_shards(environment), *told_of_corpus(environment), *told_of_tests(environment)]
    if newest.split(".")[:2] != parents_version().split(".")[:2]:
        by_hand.append("version, dependency, constraints.txt and what the README says, for the new minor")
    if by_hand:
        console.print("\nfollow by hand: " + "; ".join(by_hand))
        return 1
    console.print("\nnothing to do")
    return 0


def told_of_shards(environment: Environment) -> Iterator[str]:
    """Which shards still apply, and what changes in what they expand to."""
    drift = [sys.executable, "-c", LAUNCH, "drift", "--against", str(environment.packages)]
    done = subprocess.run(drift, cwd=ROOT, capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        if re.match(r"modular_\w+:|  (added|removed|changed): ", line):
            console.print(line, markup=False)
    if "`hetero rebase`" in done.stdout:
        yield "`hetero rebase`, and read what it merged"
    environment.hetero("rebase")  # of the copy; a conflict keeps it from being expanded
    generated = environment.hetero("generate")
    if generated.returncode or done.returncode == 2:
        show(generated.stderr or done.stderr)
        yield "shards that no longer apply"
    elif "pieces change" in re.sub(r"\b0 pieces change", "", done.stdout):
        yield "read the pieces that change"


def told_of_corpus(environment: Environment) -> Iterator[str]:
    """How many of the files that the release ships the generator reproduces from the shards beside them."""
    shards = sorted((environment.packages / "transformers/models").glob("*/modular_*.py"))
    done = environment.hetero("check", "--json", *shards)
    found = json.loads(done.stdout)
    console.print(
        f"\ncorpus of {environment.newest}: {found['identical']} of {found['files']} files, {found['shards']} shards"
    )
    names = ["/".join(Path(path).parts[-2:]) for path in found["differing"]]
    show("\n".join(f"differs: {name}" for name in names))
    show(done.stderr.replace(f"{environment.packages}/", ""))
    if names:
        yield f"the generator's language: {len(names)} files of transformers differ"


def told_of_tests(environment: Environment) -> Iterator[str]:
    """The whole suite but for what a release changes by hand, by family."""
    report = environment.tree.parent / "tests.xml"
    done = environment.run("-m", "pytest", "-n", "2", "-m", "not release", f"--junitxml={report}")
    if not report.is_file():
        show(done.stdout + done.stderr)
        yield "the tests did not run"
        return
    tests = counted(report)
    table = Table("tests", "passed", "failed", box=None, pad_edge=False)
    for part in sorted({*tests.passed, *tests.failed}):
        table.add_row(part, str(tests.passed[part]), str(tests.failed[part]))
    console.print("", table)
    show("\n".join(f"failed: {name}" for name in tests.names))
    yield from (f"{number} tests of {part}" for part, number in sorted(tests.failed.items()))


def counted(report: Path) -> Tests:
    """The tests of a JUnit report by family, or by folder where they are of none."""
    tests = Tests(Counter(), Counter(), [])
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        outcomes = {child.tag for child in case}
        if "skipped" in outcomes:
            continue
        if outcomes & {"failure", "error"}:
            tests.failed[part_of(name)] += 1
            tests.names.append(name)
        else:
            tests.passed[part_of(name)] += 1
    return tests


def part_of(test: str) -> str:
    """`gpt_oss` for `tests.generated.test_every_family::test_x[gpt_oss-mixed]`, `converters` for tests in that folder."""
    parts = test.split("::")[0].split(".")
    if parts[1:2] != ["generated"]:
        return parts[1] if len(parts) > 2 else "package"
    return next((family for family in reversed(FAMILIES) if family in test), "all families")


def show(text: str) -> None:
    """The first lines of what there is to say."""
    lines = text.strip().splitlines()
    for line in lines[:SHOWN]:
        console.print(f"  {line}", markup=False)
    if len(lines) > SHOWN:
        console.print(f"  ... and {len(lines) - SHOWN} more lines")


if __name__ == "__main__":
    sys.exit(main())
