"""One run of the generator: shards in, checked and formatted files out, with every problem on the way."""

import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .diagnostics import Diagnostic, ShardError
from .formatting import Finding, format_files
from .package import Family, family, render_package
from .render import expand_shard
from .shard import Shard, read_shard


FATAL = ("F821", "syntax", "invalid-syntax")
_SIBLING = re.compile(r"(?m)^\s*from \.(\w+) import")


@dataclass
class Run:
    """The files of a run by their place, and what went wrong."""

    shards: int = 0
    files: dict[Path, str] = field(default_factory=dict)
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
    """The unformatted files of a run, and the shard that each comes from."""

    texts: dict[Path, str] = field(default_factory=dict)
    origin: dict[Path, Shard] = field(default_factory=dict)
    families: dict[Path, list[Family]] = field(default_factory=dict)


def expand(shards: Sequence[Path], place: Callable[[Path], Path], package: bool = False) -> Run:
    """Expand shards; `place` says into which folder the files of a shard go. Nothing is written.

    With `package`, each folder also gets the `__init__.py` that registers its families, and `py.typed`.
    """
    run, draft = Run(), _Draft()
    for path in shards:
        _add(path, place(path), run, draft)
    for folder, families in draft.families.items() if package else ():
        draft.texts[folder / "__init__.py"] = render_package(families, shards[0].parent.name)
        run.files[folder / "py.typed"] = ""
    formatted, findings = format_files(draft.texts)
    run.files = formatted | run.files
    run.problems += [*_undefined(findings, draft.origin), *_missing_siblings(run.files, draft.origin)]
    return run


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
    draft.texts |= {folder / name: text for name, text in texts.items()}
    draft.origin |= {folder / name: shard for name in texts}
    if texts:
        draft.families.setdefault(folder, []).append(family(shard, texts))


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


def _missing_siblings(files: Mapping[Path, str], origin: Mapping[Path, Shard]) -> Iterator[Diagnostic]:
    """Relative imports of an output that neither this run writes nor its folder holds."""
    for path, shard in origin.items():
        for name in dict.fromkeys(_SIBLING.findall(files[path])):
            sibling = path.parent / f"{name}.py"
            if sibling not in files and not sibling.exists():
                message = f"the output {path.name} imports from .{name}, which is neither generated nor in its folder"
                yield Diagnostic(shard.path, 1, 1, message)
