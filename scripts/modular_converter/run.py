"""One run of the generator: shards in, checked and formatted files out, with every problem on the way."""

import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .cache import Remembered, recall, remember
from .diagnostics import Diagnostic, ShardError
from .formatting import Finding, format_files
from .package import Family, family, render_package
from .render import expand_shard
from .shard import Shard, read_shard


FATAL = ("F821", "syntax", "invalid-syntax")
_SIBLING = re.compile(r"(?m)^\s*from \.(\w+) import")


@dataclass
class Run:
    """The files of a run by their place, the shard that each comes from, and what went wrong."""

    shards: int = 0
    files: dict[Path, str] = field(default_factory=dict)
    origin: dict[Path, Path] = field(default_factory=dict)
    problems: list[Diagnostic] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Whether nothing of this run may be written."""
        return bool(self.crashes) or any(not problem.warning for problem in self.problems)

    def messages(self) -> list[str]:
        """Every problem and warning, by place."""
        return [*map(str, sorted(set(self.problems))), *self.crashes]


@dataclass
class _Draft:
    """What a run has to format, the shards that it comes from, and the families of each folder."""

    texts: dict[Path, str] = field(default_factory=dict)
    origin: dict[Path, Shard] = field(default_factory=dict)
    shards: list[Shard] = field(default_factory=list)
    families: dict[Path, list[Family]] = field(default_factory=dict)


def expand(shards: Sequence[Path], place: Callable[[Path], Path], package: bool = False) -> Run:
    """Expand shards; `place` says into which folder the files of a shard go. Nothing is written but what is remembered.

    With `package`, each folder also gets the `__init__.py` that registers its families, and `py.typed`.
    """
    run, draft = Run(), _Draft()
    for path in shards:
        if known := recall(path):
            _add_remembered(path, known, place(path), run, draft)
        else:
            _add(path, place(path), run, draft)
    for folder, families in draft.families.items() if package else ():
        draft.texts[folder / "__init__.py"] = render_package(families, shards[0].parent.name)
        run.files[folder / "py.typed"] = ""
    formatted, findings = format_files(draft.texts)
    run.files |= formatted
    undefined = list(_undefined(findings, draft.origin))
    run.problems += [*undefined, *_missing_siblings(run)]
    _remember(draft, formatted, {problem.path for problem in undefined})
    return run


def _add_remembered(path: Path, known: Remembered, folder: Path, run: Run, draft: _Draft) -> None:
    """Take over what a shard expanded to the last time."""
    run.shards += bool(known.files)
    run.problems += [Diagnostic(path, line, column, message, True) for line, column, message in known.warnings]
    run.files |= {folder / name: text for name, text in known.files.items()}
    run.origin |= {folder / name: path for name in known.files}
    if known.files:
        draft.families.setdefault(folder, []).append(Family(known.modules, known.config))


def _add(path: Path, folder: Path, run: Run, draft: _Draft) -> None:
    """Expand one shard; whatever is wrong with it, the others still have their turn."""
    try:
        shard = read_shard(path)
        texts = expand_shard(shard)
    except ShardError as error:
        run.problems += error.diagnostics
        return
    except Exception:  # reported, and fails the run
        run.crashes.append(f"{path}:1:1: the generator crashed here; please report it\n{traceback.format_exc()}")
        return
    run.shards += bool(texts)
    run.problems += shard.problems
    run.origin |= {folder / name: path for name in texts}
    draft.texts |= {folder / name: text for name, text in texts.items()}
    draft.origin |= {folder / name: shard for name in texts}
    draft.shards.append(shard)
    if texts:
        draft.families.setdefault(folder, []).append(family(shard, texts))


def _remember(draft: _Draft, formatted: Mapping[Path, str], failed: set[Path]) -> None:
    """Keep the expansions in which nothing is wrong, warnings aside."""
    for shard in draft.shards:
        if shard.path in failed or any(not problem.warning for problem in shard.problems):
            continue
        files = {path.name: formatted[path] for path, origin in draft.origin.items() if origin is shard}
        texts = {Path(name): text for name, text in files.items()}
        found = family(shard, texts)
        warnings = tuple((problem.line, problem.column, problem.message) for problem in shard.problems)
        remember(shard, Remembered(files, found.modules, found.config, warnings))


def _undefined(findings: Iterable[Finding], origin: dict[Path, Shard]) -> Iterator[Diagnostic]:
    """Findings in the outputs, told at the place in the shard that most likely causes them."""
    for finding in findings:
        shard = origin.get(finding.key)
        if shard and finding.code in FATAL:
            quoted = re.search(r"`(\w+)`", finding.message)
            line, column = _locate(quoted[1], shard.source.text) if quoted else (1, 1)
            message = (
                f"{finding.message} in the output {finding.key.name} (line {finding.line}): "
                "define it in the shard, or import it from the module that defines it"
            )
            yield Diagnostic(shard.path, line, column, message)


def _locate(name: str, text: str) -> tuple[int, int]:
    """Line and column of the first mention of a name."""
    for number, line in enumerate(text.splitlines(), 1):
        match = re.search(rf"\b{re.escape(name)}\b", line)
        if match:
            return number, match.start() + 1
    return 1, 1


def _missing_siblings(run: Run) -> Iterator[Diagnostic]:
    """Relative imports of an output that neither this run writes nor its folder holds."""
    for path, shard in run.origin.items():
        for name in dict.fromkeys(_SIBLING.findall(run.files[path])):
            sibling = path.parent / f"{name}.py"
            if sibling not in run.files and not sibling.exists():
                message = f"the output {path.name} imports from .{name}, which is neither generated nor in its folder"
                yield Diagnostic(shard, 1, 1, message)
