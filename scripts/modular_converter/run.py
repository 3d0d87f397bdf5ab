"""One run of the generator: shards in, checked and formatted files out, with every problem on the way."""

import gc
import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .cache import record
from .cache.storage import Record, Remembered, recall, remember
from .layout.origin import Origin, Parents, origin_of, origin_of_line
from .output import render
from .output.formatting import FATAL_RULES, INSIDE, OUTSIDE, Finding, format_files
from .output.package import Family
from .releases import overrides
from .releases.lock import Override
from .shards import reading
from .sources.diagnostics import Diagnostic, ShardError, compile_error
from .sources.paths import home_of
from .sources.siblings import Siblings, in_order, siblings_of


FATAL = (*FATAL_RULES, "syntax", "invalid-syntax")
_HALF_OF_PROPERTY = re.compile(r"\s*@\w+\.(setter|getter|deleter)\b")
_SIBLING = re.compile(r"(?m)^\s*from \.(\w+) import")


@dataclass
class Run:
    """The files of a run by their place, the shard that each comes from, what each shard replaces, and what went wrong."""

    shards: int = 0
    files: dict[Path, str] = field(default_factory=dict)
    origin: dict[Path, Path] = field(default_factory=dict)
    overrides: dict[Path, list[Override]] = field(default_factory=dict)
    problems: list[Diagnostic] = field(default_factory=list)
    crashes: list[Diagnostic] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Whether nothing of this run may be written."""
        return bool(self.crashes) or any(not problem.warning for problem in self.problems)

    def messages(self) -> list[str]:
        """Every problem and warning, by place."""
        return list(map(str, self.diagnostics()))

    def diagnostics(self) -> list[Diagnostic]:
        """Every problem and warning, by place, and then the crashes."""
        return [*sorted(set(self.problems)), *self.crashes]


@dataclass(frozen=True)
class _Done:
    """What is left of a shard that was expanded: no trees, which are big."""

    path: Path
    files: tuple[Path, ...]
    family: Family
    warnings: tuple[Diagnostic, ...]
    overrides: tuple[Override, ...]
    record: Record


@dataclass
class _Draft:
    """What a run has to format, the text of the shards that it comes from, and the families of each folder."""

    texts: dict[Path, str] = field(default_factory=dict)
    sources: dict[Path, str] = field(default_factory=dict)
    done: list[_Done] = field(default_factory=list)
    families: dict[Path, list[Family]] = field(default_factory=dict)
    fresh: dict[Path, str] = field(default_factory=dict)
    parents: dict[Path, Parents] = field(default_factory=dict)


def expand(
    shards: Sequence[Path],
    place: Callable[[Path], Path],
    package: Callable[[Sequence[Family], str], str] | None = None,
) -> Run:
    """Expand shards; `place` says into which folder the files of a shard go. Nothing is written but what is remembered.

    With `package`, each folder also gets the `__init__.py` that it makes of the families and the name of the shards' folder,
    and `py.typed`.
    """
    run, draft = Run(), _Draft()
    ordered, needed, circles = in_order(shards)
    run.problems += circles
    with _without_collector():
        _expand_all(ordered, needed, place, run, draft)
    for folder, families in draft.families.items() if package else ():
        assert package is not None
        draft.texts[folder / "__init__.py"] = package(families, shards[0].parent.name)
        run.files[folder / "py.typed"] = ""
    formatted, findings = _formatted(draft.texts | draft.sources, run.origin)
    formatted = {path: text for path, text in formatted.items() if path in draft.texts}
    run.files |= formatted
    undefined = list(_undefined(findings, run, draft)) or list(_uncompilable(formatted, run, draft))
    undefined = undefined or list(_undefined_in_shards(findings, draft))
    run.problems += [*undefined, *_missing_siblings(run, draft)]
    _remember(draft, formatted, {problem.path for problem in undefined})
    return run


@contextmanager
def _without_collector() -> Iterator[None]:
    """Trees have no cycles: looking for some again and again while they grow costs a quarter of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _expand_all(
    ordered: Iterable[Path], needed: set[Path], place: Callable[[Path], Path], run: Run, draft: _Draft
) -> None:
    for path in ordered:
        siblings = siblings_of(path, place, draft.fresh)
        if known := recall(path, siblings):
            _add_remembered(path, known, place(path), run, draft)
        else:
            _add(path, place(path), siblings, run, draft)
        if path in needed:
            draft.fresh |= _finished(path, run, draft)


def _add_remembered(path: Path, known: Remembered, folder: Path, run: Run, draft: _Draft) -> None:
    """Take over what a shard expanded to the last time."""
    run.shards += bool(known.files)
    run.problems += [
        Diagnostic(Path(file), line, column, message, True) for file, line, column, message in known.warnings
    ]
    run.overrides[path] = list(known.overrides)
    run.files |= {folder / name: text for name, text in known.files.items()}
    run.origin |= {folder / name: path for name in known.files}
    if known.files:
        draft.families.setdefault(folder, []).append(known.family)


def _add(path: Path, folder: Path, siblings: Siblings, run: Run, draft: _Draft) -> None:
    """Expand one shard; whatever is wrong with it, the others still have their turn."""

    try:
        shard = reading.read_shard(path, siblings)
        expansion = render.expand_shard(shard)
        run.overrides[path] = [] if shard.home.inside else overrides.overrides_of(shard)
        recorded = record.record_of(shard)
    except ShardError as error:
        run.problems += error.diagnostics
        return
    except Exception:  # reported, and fails the run
        message = f"the generator crashed here; please report it\n{traceback.format_exc()}"
        run.crashes.append(Diagnostic(path, 1, 1, message))
        return
    run.problems += shard.problems
    if not shard.home.inside:
        draft.sources[path] = shard.source.text
    draft.parents[path] = [(parent.source.path, parent.renaming.name) for parent in shard.parents]
    files = {folder / name: text for name, text in expansion.texts.items()} if expansion else {}
    run.shards += bool(files)
    run.origin |= dict.fromkeys(files, path)
    draft.texts |= files
    found = expansion.family if expansion else Family({}, "")
    if files:
        draft.families.setdefault(folder, []).append(found)
    if all(problem.warning for problem in shard.problems):
        replaced = tuple(run.overrides[path])
        draft.done.append(_Done(path, tuple(files), found, tuple(shard.problems), replaced, recorded))


def _finished(path: Path, run: Run, draft: _Draft) -> dict[Path, str]:
    """The formatted files of a shard that others inherit from."""
    files = [file for file, origin in run.origin.items() if origin == path]
    formatted, _ = _formatted({file: draft.texts[file] for file in files if file in draft.texts}, run.origin)
    return {file: formatted.get(file) or run.files[file] for file in files}


def _formatted(texts: Mapping[Path, str], origin: Mapping[Path, Path]) -> tuple[dict[Path, str], list[Finding]]:
    """Formatted as transformers formats its own files, or as ours are."""
    inside = {path for path in texts if path in origin and home_of(origin[path]).inside}
    theirs, first = format_files({path: texts[path] for path in texts if path in inside}, INSIDE)
    ours, second = format_files({path: texts[path] for path in texts if path not in inside}, OUTSIDE)
    return theirs | ours, [*first, *second]


def _remember(draft: _Draft, formatted: Mapping[Path, str], failed: set[Path]) -> None:
    """Keep the expansions in which nothing is wrong, warnings aside."""
    for done in draft.done:
        if done.path not in failed:
            files = {path.name: formatted[path] for path in done.files}
            warnings = tuple((str(each.path), each.line, each.column, each.message) for each in done.warnings)
            remember(done.path, done.record, Remembered(files, done.family, warnings, done.overrides))


def _undefined(findings: Iterable[Finding], run: Run, draft: _Draft) -> Iterator[Diagnostic]:
    """Findings in the outputs, told at the place in the shard that causes them; each name once for an output."""
    told: set[tuple[Path, str]] = set()
    for finding in findings:
        shard = run.origin.get(finding.key)
        if shard is None or finding.code not in FATAL or (finding.key, finding.message) in told:
            continue
        told.add((finding.key, finding.message))
        quoted = re.search(r"Undefined name `(\w+)`", finding.message)
        origin = _origin(shard, draft, quoted[1] if quoted else "", draft.texts[finding.key], finding.line)
        remedy = "define it in the shard, or import it from the module that defines it"
        message = f"{finding.message} in the output {finding.key.name} (line {finding.line}){origin.told}"
        message += f": {remedy}" if finding.code == "F821" else ""
        yield Diagnostic(shard, origin.line, origin.column, message)


def _undefined_in_shards(findings: Iterable[Finding], draft: _Draft) -> Iterator[Diagnostic]:
    """Names that a shard uses and only a parent's file has, which the expansion would lend it: as Python it cannot run."""
    for finding in findings:
        if finding.key not in draft.sources or finding.code != "F821":
            continue
        line = draft.sources[finding.key].splitlines()[finding.line - 1]
        if not _HALF_OF_PROPERTY.match(line):  # which the language has
            message = f"{finding.message}: import it, or define it; that a parent's file has it is not enough"
            yield Diagnostic(finding.key, finding.line, finding.column, message)


def _origin(shard: Path, draft: _Draft, name: str, output: str, line: int) -> Origin:
    text, parents = shard.read_text(encoding="utf-8-sig"), draft.parents.get(shard, ())
    if name:
        return origin_of(name, text, parents)
    lines = output.splitlines()
    return origin_of_line(lines[line - 1] if 0 < line <= len(lines) else "", text, parents)


def _uncompilable(texts: Mapping[Path, str], run: Run, draft: _Draft) -> Iterator[Diagnostic]:
    """Outputs that Python refuses although the formatter read them."""
    for path, shard in run.origin.items():
        if path in texts and (error := compile_error(texts[path])):
            origin = _origin(shard, draft, "", texts[path], error.lineno or 0)
            message = f"the output {path.name} (line {error.lineno}) is not valid Python: {error.msg}{origin.told}"
            yield Diagnostic(shard, origin.line, origin.column, message)


def _missing_siblings(run: Run, draft: _Draft) -> Iterator[Diagnostic]:
    """Relative imports of an output that neither this run writes nor its folder holds."""
    for path, shard in run.origin.items():
        for name in dict.fromkeys(_SIBLING.findall(run.files[path])):
            sibling = path.parent / f"{name}.py"
            if sibling not in run.files and not sibling.exists():
                origin = _origin(shard, draft, name, "", 0)
                message = f"the output {path.name} imports from .{name}, which is neither generated nor in its folder"
                yield Diagnostic(shard, origin.line, origin.column, message + origin.told)
