"""`hetero generate` and `hetero check`: expand shards into files, or compare them with the files that are there."""

import difflib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path

from ..modular_converter.output.formatting import format_files
from ..modular_converter.releases.lock import (
    NAME,
    BrokenLock,
    formatter_of,
    gone,
    read_lock,
    render_lock,
    stale,
    updated,
)
from ..modular_converter.run import Run, expand
from ..modular_converter.sources.diagnostics import Diagnostic, ShardError
from .problems import Format, Telling, make_strict, structured, tell
from .project import project_of


FIRST_LINES = 12


def generate_command(
    shards: list[Path] | None,
    out: Path | None,
    as_json: bool = False,
    strict: bool | None = None,
    format: Format = "text",
    accept: Sequence[str] = (),
    locked: bool = True,
) -> int:
    """Expand shards and write all their files, or none when one of them has a problem.

    `accept` names overrides whose parents may have changed since they were recorded; `all` is every one. Where not
    `locked`, nothing is compared with what was recorded, and nothing is recorded.
    """
    telling = Telling(strict, format, as_json)
    run = _expand(shards, out, telling)
    locks = locks_of(run, accept, formatter_here) if locked else {}
    run.problems += unknown_overrides(run, accept)
    if not run.failed:
        run.problems += write_files(run.files | locks)
    tell(run, (), telling)
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
    files = run.files | locks_of(run)
    if run.failed:  # of the package and the locks nothing is known while a shard is missing
        files = {path: text for path, text in files.items() if path in run.origin}
    on_disk = {path: read(path) for path in files if path.is_file()}
    differing = {
        path: diff_lines(path, on_disk.get(path, ""), text)
        for path, text in sorted(files.items())
        if on_disk.get(path) != text
    }
    formatted = differing.keys() & on_disk.keys() & run.files.keys()
    run.problems += _same_but_for_layout(run, {path: on_disk[path] for path in formatted})
    identical = len(run.files) - len(differing.keys() & run.files.keys())
    tell(run, differing, telling)
    if as_json:
        print(json.dumps(summary(run, differing, identical), indent=2))
    else:
        print_diffs(differing)
        print(f"{run.shards} shards, {len(run.files)} files, {identical} identical")
    return 2 if run.failed else int(bool(differing))


def _expand(shards: list[Path] | None, out: Path | None, telling: Telling) -> Run:
    run = _expand_leniently(shards, out)
    strict = not shards if telling.strict is None else telling.strict
    return make_strict(run) if strict else run


def _expand_leniently(shards: list[Path] | None, out: Path | None) -> Run:
    if shards:
        paths = [Path(os.path.abspath(shard)) for shard in shards]  # a link stays one: its files come beside it
        missing = [path for path in paths if not path.is_file()]
        if missing:
            return Run(problems=[Diagnostic(path, 1, 1, "there is no such shard") for path in missing])
        try:
            own = project_of(paths[0].parent)
        except ShardError as error:
            return Run(problems=list(error.diagnostics))
        run = expand(paths, lambda path: out or (own.generated if path.parent == own.modular else path.parent))
        run.problems += _without_files(run, paths)
        return run
    try:
        here = project_of(Path())
    except ShardError as error:
        return Run(problems=list(error.diagnostics))
    return expand(here.shards, lambda path: out or here.generated, here.package)


def locks_of(
    run: Run, accept: Sequence[str] = (), formatter: Callable[[Run, Path], str | None] | None = None
) -> dict[Path, str]:
    """The locks beside the shards of a run, as they should be; overrides of what has changed become problems of the run.
    `formatter` says what formats the files of a folder's shards, by default what is recorded."""
    found: dict[Path, str] = {}
    for folder in dict.fromkeys(shard.parent for shard in run.overrides):
        here = {shard: overrides for shard, overrides in run.overrides.items() if shard.parent == folder}
        try:
            lock = read_lock(folder)
        except BrokenLock as error:
            run.problems.append(Diagnostic(folder / NAME, 1, 1, str(error)))
            continue
        for shard, overrides in here.items():
            recorded = lock.get(shard.name, {})
            run.problems += [*stale(shard, overrides, recorded, accept), *gone(shard, overrides, recorded, accept)]
        after = updated(lock, here, folder)
        if after or (folder / NAME).is_file():
            found[folder / NAME] = render_lock(after, formatter(run, folder) if formatter else formatter_of(folder))
    return found


def formatter_here(run: Run, folder: Path) -> str:
    """What the files of a folder's shards are formatted with once they are written: what is recorded, where they are written
    already."""
    installed = f"ruff {version('ruff')}"
    files = [path for path, shard in run.origin.items() if shard.parent == folder and path in run.files]
    same = all(path.is_file() and read(path) == run.files[path] for path in files)
    return formatter_of(folder) or installed if same else installed


def unknown_overrides(run: Run, accept: Sequence[str]) -> Iterator[Diagnostic]:
    """Names given to `--accept` that no override of the run has, nor one that was recorded."""
    folders = {shard.parent for shard in run.overrides}
    known = {override.name for overrides in run.overrides.values() for override in overrides}
    known |= {name for folder in folders for entries in read_lock(folder).values() for name in entries}
    for name in () if run.failed else accept:
        if name not in known | {"all"}:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "an override is named as in Class.method"
            for folder in sorted(folders):
                yield Diagnostic(folder / NAME, 1, 1, f"--accept {name}: there is no such override; {hint}")


def _without_files(run: Run, shards: Iterable[Path]) -> list[Diagnostic]:
    """Where nothing comes of what was asked for, though nothing is wrong with it, why."""
    message = "no file comes from this shard: it has no `__all__`, so it is one that other shards copy from"
    nothing = not run.files and not run.diagnostics()
    return [Diagnostic(path, 1, 1, message, warning=True) for path in shards if nothing]


def _same_but_for_layout(run: Run, on_disk: Mapping[Path, str]) -> Iterator[Diagnostic]:
    """Files that only another formatter, or another system, keeps from being what their shards expand to."""
    formatted, _ = format_files({path: text.replace("\r\n", "\n") for path, text in on_disk.items()})
    installed = f"ruff {version('ruff')}"
    for path, text in formatted.items():
        if "\r\n" in on_disk[path] and text == run.files[path]:
            yield Diagnostic(path, 1, 1, "this differs in its line ends: they are CRLF, and LF is written", True)
        elif text == run.files[path]:
            known = formatter_of(run.origin[path].parent) if path in run.origin else None
            by = f"formatted by {known}, as {NAME} says, " if known and known != installed else ""
            said = f"this differs in its format alone: it is {by}not as {installed}, which is installed here, formats"
            yield Diagnostic(path, 1, 1, said, True)


def written(run: Run) -> dict[str, object]:
    """The numbers of a generation, what was written, and what is wrong."""
    files = [] if run.failed else [str(path) for path in sorted(run.files)]
    return {"shards": run.shards, "files": len(run.files), "written": files, "errors": structured(run)}


def summary(run: Run, differing: Mapping[Path, list[str]], identical: int) -> dict[str, object]:
    """The numbers of a check, and the first lines of each difference."""
    return {
        "shards": run.shards,
        "files": len(run.files),
        "identical": identical,
        "differing": [str(path) for path in differing],
        "first_lines": {str(path): "".join(lines[:FIRST_LINES]) for path, lines in differing.items()},
        "errors": structured(run),
    }


def read(path: Path) -> str:
    """The text of a file with the line ends that it has."""
    return path.read_bytes().decode("utf-8", errors="replace")


def diff_lines(path: Path, before: str, text: str) -> list[str]:
    """A unified diff from what is on disk to what the shard expands to."""
    old, new = before.splitlines(keepends=True), text.splitlines(keepends=True)
    return list(difflib.unified_diff(old, new, str(path), f"{path} (expanded)"))


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


def write_files(files: Mapping[Path, str]) -> list[Diagnostic]:
    """Replace every file, after all of them were written in full beside their places. What stands in the way is told,
    and then nothing is replaced."""
    staged: dict[Path, Path] = {}
    made = {folder for path in files for folder in path.parents if not folder.exists()}
    problems: list[Diagnostic] = []
    try:
        problems += [problem for path, text in files.items() if (problem := _stage(path, text, staged))]
        for path, temporary in staged.items() if not problems else ():
            os.replace(temporary, path)
    finally:
        for temporary in staged.values():
            temporary.unlink(missing_ok=True)
        for folder in sorted(made, reverse=True) if problems else ():
            folder.rmdir()
    return problems


def _stage(path: Path, text: str, staged: dict[Path, Path]) -> Diagnostic | None:
    """Write a text in full beside the place that it is for; returns why that cannot be."""
    try:
        if path.is_dir():
            return Diagnostic(path, 1, 1, "cannot be written: there is a folder of this name")
        if path.is_symlink():
            return Diagnostic(path, 1, 1, f"is a link, to {os.readlink(path)}, and is not replaced: remove it")
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        staged[path] = Path(temporary)
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
        os.chmod(temporary, 0o644)
    except OSError as error:
        return Diagnostic(path, 1, 1, f"cannot be written: {error.strerror}: {error.filename}")
    return None
