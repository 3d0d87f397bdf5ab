"""One run of the generator: shards in, checked and formatted files out, with every problem on the way."""

import re
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .diagnostics import Diagnostic, ShardError
from .formatting import Finding, format_files
from .package import Family, family, render_package
from .render import expand_shard
from .shard import Shard, read_shard


@dataclass
class Run:
    """The files of a run by their place, and what went wrong."""

    shards: int = 0
    files: dict[Path, str] = field(default_factory=dict)
    problems: list[Diagnostic] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)


def expand(shards: Sequence[Path], place: Callable[[Path], Path], package: bool = False) -> Run:
    """Expand shards; `place` says into which folder the files of a shard go. Nothing is written."""
    run = Run()
    raw: dict[Path, str] = {}
    origin: dict[Path, Shard] = {}
    families: dict[Path, list[Family]] = {}
    for path in shards:
        expanded = _guarded(path, run)
        if expanded is None:
            continue
        shard, texts = expanded
        run.shards += bool(texts)
        folder = place(path)
        raw |= {folder / name: text for name, text in texts.items()}
        origin |= {folder / name: shard for name in texts}
        if package and texts:
            families.setdefault(folder, []).append(family(shard, texts))
    for folder, found in families.items():
        raw[folder / "__init__.py"] = render_package(found, shards[0].parent.name)
    run.files, findings = format_files(raw)
    run.files |= {folder / "py.typed": "" for folder in families}
    run.problems += _undefined(findings, origin)
    return run


def _guarded(path: Path, run: Run) -> tuple[Shard, dict[Path, str]] | None:
    """Expand one shard; whatever it does wrong, the others still have their turn."""
    try:
        shard = read_shard(path)
        texts = expand_shard(shard)
    except ShardError as error:
        run.problems += error.diagnostics
        return None
    except Exception:  # reported, and fails the run
        run.crashes.append(f"{path}:1:1: the generator crashed here; please report it\n{traceback.format_exc()}")
        return None
    if not shard.home.inside:
        run.problems += shard.problems
    return shard, texts


def _undefined(findings: Iterable[Finding], origin: dict[Path, Shard]) -> list[Diagnostic]:
    """Findings in the outputs, told at the place in the shard that most likely causes them."""
    found: dict[Diagnostic, None] = {}
    for finding in findings:
        shard = origin.get(finding.key)
        if shard is None or shard.home.inside or finding.code not in ("F821", "syntax", "invalid-syntax"):
            continue
        quoted = re.search(r"`(\w+)`", finding.message)
        line, column = _locate(quoted[1], shard.source.text) if quoted else (1, 1)
        message = (
            f"{finding.message} in the output {finding.key.name} (line {finding.line}): "
            "define it in the shard, or import it from the module that defines it"
        )
        found[Diagnostic(shard.path, line, column, message)] = None
    return list(found)


def _locate(name: str, text: str) -> tuple[int, int]:
    for number, line in enumerate(text.splitlines(), 1):
        match = re.search(rf"\b{re.escape(name)}\b", line)
        if match:
            return number, match.start() + 1
    return 1, 1
