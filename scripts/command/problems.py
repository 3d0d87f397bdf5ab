"""What a run of the generator says of its problems: to people, to other programs, and to GitHub."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..modular_converter.run import Run
from ..modular_converter.sources.diagnostics import Diagnostic
from ..modular_converter.sources.paths import home_of


Format = Literal["text", "github"]


@dataclass(frozen=True)
class Telling:
    """How problems are told. `strict` takes every warning for an error; None: only in our own shards."""

    strict: bool | None = None
    format: Format = "text"
    as_json: bool = False


def make_strict(run: Run) -> Run:
    """The run with its warnings as errors."""
    return replace(run, problems=[replace(problem, warning=False) for problem in run.problems])


def tell(run: Run, differing: Iterable[Path], telling: Telling) -> None:
    """Print the problems: as text on stderr, as annotations on stdout (stderr where that holds JSON)."""
    if telling.format == "github":
        stale = [Diagnostic(path, 1, 1, "this is not what its shard expands to: generate again") for path in differing]
        for problem in [*run.diagnostics(), *stale]:
            print(annotation(problem), file=sys.stderr if telling.as_json else sys.stdout)
        return
    for problem in filter(_is_worth_reading, run.diagnostics()):
        print(problem, file=sys.stderr)


def _is_worth_reading(problem: Diagnostic) -> bool:
    """Transformers' own shards are not the reader's to change: warnings of them would hide the rest."""
    return not (problem.warning and home_of(problem.path).inside)


def annotation(problem: Diagnostic) -> str:
    """A workflow command of GitHub, which shows the problem beside the line."""
    path = problem.path.relative_to(Path.cwd()) if problem.path.is_relative_to(Path.cwd()) else problem.path
    place = f"file={_property(path.as_posix())},line={problem.line},col={problem.column}"
    return f"::{_severity(problem)} {place}::{_data(problem.message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _severity(problem: Diagnostic) -> str:
    return "warning" if problem.warning else "error"


def structured(run: Run) -> list[dict[str, object]]:
    """Every problem and warning of a run, for JSON."""
    return [
        {
            "file": str(problem.path),
            "line": problem.line,
            "column": problem.column,
            "message": problem.message,
            "severity": _severity(problem),
        }
        for problem in run.diagnostics()
    ]
