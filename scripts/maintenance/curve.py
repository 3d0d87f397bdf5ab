"""`make curve`: how many lines had to be maintained, and how many were generated from them, over the history of the repository."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..command.plot import COLOURS, EXPERTS, FAINT, INK, LINEAR, MLP, WHOLE


ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "docs" / "maintenance.svg"
POINTS = 40  # commits that are looked at
KINDS = {
    "shards": r"modular/modular_\w+\.py",
    "generated": r"generated/\w+\.py",
    "generator": r"scripts/modular_converter/.*\.py",
    "converters": r"converters/.*\.py",
    "tests": r"tests/.*\.py",
}
FAMILY = re.compile(r"modular/modular_heterogeneous_(?!values)\w+\.py")


@dataclass(frozen=True)
class Point:
    """A commit: how many lines of each kind, overrides and families there were."""

    date: str
    commit: str
    lines: dict[str, int]
    overrides: int
    families: int


def git(folder: Path, *words: str, check: bool = True) -> str:
    return subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, check=check).stdout


def history(folder: Path, most: int) -> list[tuple[str, str]]:
    """(date, commit) on the way to this commit, first parents alone, evenly taken, and the last one of each day."""
    found = [line.split() for line in git(folder, "log", "--first-parent", "--format=%cs %H").splitlines()][::-1]
    step = max(1, -(-len(found) // most))
    last_of_day = {date: at for at, (date, _) in enumerate(found)}
    taken = {*range(len(found) - 1, -1, -step), *last_of_day.values()}
    return [(date, commit) for at, (date, commit) in enumerate(found) if at in taken]


def point_of(folder: Path, date: str, commit: str) -> Point:
    """What there was at a commit."""
    counted = git(folder, "grep", "-c", "", commit, "--", "*.py", check=False).splitlines()
    files = {path: int(number) for _, path, number in (line.split(":") for line in counted)}
    lines = {
        kind: sum(number for path, number in files.items() if re.fullmatch(pattern, path))
        for kind, pattern in KINDS.items()
    }
    lock = git(folder, "show", f"{commit}:modular/overrides.lock", check=False)
    families = sum(FAMILY.fullmatch(path) is not None for path in files)
    return Point(date, commit, lines, len(re.findall(r"^\[", lock, re.MULTILINE)), families)


def table(points: list[Point]) -> Iterator[str]:
    """The last point of each day, as a table of Markdown."""
    last = {point.date: point for point in points}
    columns = [*KINDS, "overrides", "families"]
    yield f"| day | {' | '.join(columns)} | generated to a line of shard |"
    yield "|" + "---|" * (len(columns) + 2)
    for date, point in last.items():
        numbers = [*(point.lines[kind] for kind in KINDS), point.overrides, point.families]
        ratio = point.lines["generated"] / max(point.lines["shards"], 1)
        yield f"| {date} | {' | '.join(f'{number:,}' for number in numbers)} | {ratio:.2f} |"


def draw(points: list[Point], out: Path) -> None:
    """Lines over commits, and the families there were."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.4), layout="constrained")
    axes = figure.subplots()
    colours = dict(zip(KINDS, (COLOURS[each] for each in (EXPERTS, WHOLE, MLP, LINEAR)), strict=False))
    for kind, colour in colours.items():
        axes.plot([point.lines[kind] for point in points], color=colour, label=kind)
    ticks = [at for at, point in enumerate(points) if not at or points[at - 1].date != point.date]
    axes.set_xticks(ticks, [points[at].date[5:] for at in ticks])
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylabel("lines", color=INK)
    axes.tick_params(axis="both", length=0, labelcolor=FAINT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, labelcolor=INK)
    with rc_context({"svg.hashsalt": "curve"}):
        figure.savefig(out, metadata={"Date": None})


def main(folder: Path = ROOT, out: Path = OUT) -> int:
    """Print the table and draw the curve."""
    points = [point_of(folder, *each) for each in history(folder, POINTS)]
    draw(points, out)
    print("\n".join(table(points)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
