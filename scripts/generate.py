"""`hetero generate` and `hetero check`: expand shards into files, or compare them with the files that are there."""

import difflib
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from .modular_converter.diagnostics import Diagnostic
from .modular_converter.run import Run, expand
from .problems import Format, Telling, make_strict, structured, tell


HOUSE = Path(__file__).resolve().parents[1]
FIRST_LINES = 12


def generate_command(
    shards: list[Path] | None,
    out: Path | None,
    as_json: bool = False,
    strict: bool | None = None,
    format: Format = "text",
) -> int:
    """Expand shards and write all their files, or none when one of them has a problem."""
    telling = Telling(strict, format, as_json)
    run = _expand(shards, out, telling)
    tell(run, (), telling)
    if not run.failed:
        write_files(run.files)
    if as_json:
        print(json.dumps(written(run), indent=2))
    elif not run.failed:
        print(f"{run.shards} shards, {len(run.files)} files written")
    return 2 if run.failed else 0


def check_command(
    shards: list[Path] | None,
    out: Path | None,
    as_json: bool,
    strict: bool | None = None,
    format: Format = "text",
) -> int:
    """Expand shards in memory and compare with what is on disk."""
    telling = Telling(strict, format, as_json)
    run = _expand(shards, out, telling)
    differing = {path: diff_lines(path, text) for path, text in sorted(run.files.items()) if read(path) != text}
    tell(run, differing, telling)
    if as_json:
        print(json.dumps(summary(run, differing), indent=2))
    else:
        print_diffs(differing)
        print(f"{run.shards} shards, {len(run.files)} files, {len(run.files) - len(differing)} identical")
    return 2 if run.failed else int(bool(differing))


def _expand(shards: list[Path] | None, out: Path | None, telling: Telling) -> Run:
    run = _expand_leniently(shards, out)
    strict = not shards if telling.strict is None else telling.strict
    return make_strict(run) if strict else run


def _expand_leniently(shards: list[Path] | None, out: Path | None) -> Run:
    if shards:
        paths = [shard.resolve() for shard in shards]
        missing = [path for path in paths if not path.is_file()]
        if missing:
            return Run(problems=[Diagnostic(path, 1, 1, "there is no such shard") for path in missing])
        return expand(paths, lambda path: out or path.parent)
    folder = out or (HOUSE / "generated" if (HOUSE / "generated").exists() else HOUSE)
    return expand(sorted((HOUSE / "modular").glob("modular_*.py")), lambda path: folder, package=True)


def written(run: Run) -> dict[str, object]:
    """The numbers of a generation, what was written, and what is wrong."""
    files = [] if run.failed else [str(path) for path in sorted(run.files)]
    return {"shards": run.shards, "files": len(run.files), "written": files, "errors": structured(run)}


def summary(run: Run, differing: Mapping[Path, list[str]]) -> dict[str, object]:
    """The numbers of a check, and the first lines of each difference."""
    return {
        "shards": run.shards,
        "files": len(run.files),
        "identical": len(run.files) - len(differing),
        "differing": [str(path) for path in differing],
        "first_lines": {str(path): "".join(lines[:FIRST_LINES]) for path, lines in differing.items()},
        "errors": structured(run),
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
