"""`hetero generate` and `hetero check`: expand shards into files, or compare them with the files that are there."""

import difflib
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from .modular_converter.run import Run, expand


HOUSE = Path(__file__).resolve().parents[1]
FIRST_LINES = 12


def generate_command(shards: list[Path] | None, out: Path | None) -> int:
    """Expand shards and write all their files, or none when one of them has a problem."""
    run = _expand(shards, out)
    if _report(run):
        return 2
    write_files(run.files)
    print(f"{run.shards} shards, {len(run.files)} files written")
    return 0


def check_command(shards: list[Path] | None, out: Path | None, as_json: bool) -> int:
    """Expand shards in memory and compare with what is on disk."""
    run = _expand(shards, out)
    differing = {path: diff_lines(path, text) for path, text in sorted(run.files.items()) if read(path) != text}
    failed = _report(run)
    if as_json:
        print(json.dumps(summary(run, differing), indent=2))
    else:
        print_diffs(differing)
        print(f"{run.shards} shards, {len(run.files)} files, {len(run.files) - len(differing)} identical")
    return 2 if failed else int(bool(differing))


def _expand(shards: list[Path] | None, out: Path | None) -> Run:
    if shards:
        paths = [shard.resolve() for shard in shards]
        missing = [path for path in paths if not path.is_file()]
        if missing:
            return Run(crashes=[f"{path}: there is no such shard" for path in missing])
        return expand(paths, lambda path: out or path.parent)
    folder = out or (HOUSE / "generated" if (HOUSE / "generated").exists() else HOUSE)
    return expand(sorted((HOUSE / "modular").glob("modular_*.py")), lambda path: folder, package=True)


def _report(run: Run) -> bool:
    """Print every problem on stderr; whether one of them stops the run."""
    for message in run.messages():
        print(message, file=sys.stderr)
    return run.failed


def summary(run: Run, differing: Mapping[Path, list[str]]) -> dict[str, object]:
    """The numbers of a check, and the first lines of each difference."""
    return {
        "shards": run.shards,
        "files": len(run.files),
        "identical": len(run.files) - len(differing),
        "differing": [str(path) for path in differing],
        "first_lines": {str(path): "".join(lines[:FIRST_LINES]) for path, lines in differing.items()},
        "problems": run.messages(),
    }


def read(path: Path) -> str | None:
    """The text of a file, None when there is none."""
    return path.read_text(encoding="utf-8") if path.exists() else None


def diff_lines(path: Path, text: str) -> list[str]:
    """A unified diff from what is on disk to what the shard expands to."""
    before = (read(path) or "").splitlines(keepends=True)
    return list(difflib.unified_diff(before, text.splitlines(keepends=True), str(path), f"{path} (expanded)"))


def print_diffs(differing: Mapping[Path, Iterable[str]]) -> None:
    """Show the differences, in colour on a terminal."""
    if not differing:
        return
    from rich.console import Console
    from rich.syntax import Syntax

    console = Console()
    for lines in differing.values():
        text = "".join(lines)
        if console.is_terminal:
            console.print(Syntax(text, "diff", theme="ansi_dark", background_color="default"))
        else:
            sys.stdout.write(text)


def write_files(files: Mapping[Path, str]) -> None:
    """Replace every file, after all of them were written in full beside their places."""
    staged: list[tuple[str, Path]] = []
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            staged.append((temporary, path))
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
                stream.write(text)
            os.chmod(temporary, 0o644)
        for temporary, path in staged:
            os.replace(temporary, path)
    finally:
        for temporary, _ in staged:
            Path(temporary).unlink(missing_ok=True)
