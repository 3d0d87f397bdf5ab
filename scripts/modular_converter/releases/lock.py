"""`overrides.lock`: what each override of the shards in a folder replaced, as it was when somebody last looked at it."""

import difflib
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..sources.diagnostics import Diagnostic


NAME = "overrides.lock"
FORMATTER = "formatter"
_HEAD = """\
# What the shards beside this file replace of their parents, as the parents had it. Written by `hetero generate`, which
# stops where a parent has changed such a piece since: `hetero rebase` carries the override along.
"""


@dataclass(frozen=True, order=True)
class Override:
    """
    A piece of a parent that a shard replaces, deletes, or takes lines out of.

    Attributes:
        name: The override in the shard: `Class.method`, `Class.method.setter`, `Class.attribute`, `function`.
        parent: What it replaces: `package.module:Class.method`.
        release: The parent's package and its version, as in `transformers 5.24.0`.
        whole: Digest of the parent's piece, comments and layout aside.
        digest: The same of what is replaced of it.
        text: The code of what is replaced, without the comments above it: all of the piece, or of a method that is merged
            into, its header and the lines that are taken away.
        line: Line of the override in the shard.
        column: Its column.
    """

    name: str
    parent: str
    release: str
    whole: str
    digest: str
    text: str
    line: int
    column: int


@dataclass(frozen=True)
class Recorded:
    """A piece of a parent as the lock has it."""

    parent: str
    release: str
    whole: str
    digest: str
    text: str


Lock = dict[str, dict[str, Recorded]]  # shard's file name -> override -> what it replaced


class BrokenLock(Exception):
    """Why a lock cannot be read."""


def read_lock(folder: Path, name: str = NAME) -> Lock:
    """What is recorded in a folder; nothing where there is no lock. Raises BrokenLock."""
    path = folder / name
    if not path.is_file():
        return {}
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
        found.pop(FORMATTER, None)
        return {shard: {name: Recorded(**each) for name, each in entries.items()} for shard, entries in found.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise BrokenLock(f"this cannot be read: {error}; take it back from version control, or delete it") from error


def formatter_of(folder: Path) -> str | None:
    """What the files of a folder's shards were formatted with, as in `ruff 0.14.10`, where the lock says it."""
    path = folder / NAME
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8")).get(FORMATTER) if path.is_file() else None
    except (OSError, ValueError):  # which reading the lock tells
        return None
    return found if isinstance(found, str) else None


def render_lock(lock: Lock, formatter: str | None = None) -> str:
    """The text of a lock: sorted, so that a change is a small diff."""
    entries = [_entry(shard, name, lock[shard][name]) for shard in sorted(lock) for name in sorted(lock[shard])]
    said = [f"{FORMATTER} = {json.dumps(formatter)}\n"] if formatter else []
    return "\n".join([_HEAD, *said, *entries])


def _entry(shard: str, name: str, recorded: Recorded) -> str:
    literal = "'''" not in recorded.text and all(each.isprintable() or each in "\n\t" for each in recorded.text)
    text = f"'''\n{recorded.text}'''" if literal else json.dumps(recorded.text, ensure_ascii=False)
    return (
        f"[{json.dumps(shard)}.{json.dumps(name)}]\n"
        f"parent = {json.dumps(recorded.parent)}\n"
        f"release = {json.dumps(recorded.release)}\n"
        f"whole = {json.dumps(recorded.whole)}\n"
        f"digest = {json.dumps(recorded.digest)}\n"
        f"text = {text}\n"
    )


def updated(lock: Lock, overrides: Mapping[Path, Iterable[Override]], folder: Path) -> Lock:
    """The lock after a run over some shards of its folder: what is unchanged stays as it was recorded."""
    kept = {shard: entries for shard, entries in lock.items() if (folder / shard).is_file()}
    for shard, found in overrides.items():
        kept[shard.name] = {each.name: _recorded(each, lock.get(shard.name, {})) for each in found}
    return {shard: entries for shard, entries in kept.items() if entries}


def _recorded(override: Override, before: Mapping[str, Recorded]) -> Recorded:
    known = before.get(override.name)
    if known and (known.parent, known.digest) == (override.parent, override.digest):
        return known
    return Recorded(override.parent, override.release, override.whole, override.digest, override.text)


def stale(
    shard: Path, overrides: Iterable[Override], recorded: Mapping[str, Recorded], accepted: Iterable[str]
) -> Iterator[Diagnostic]:
    """The overrides whose parent has changed since they were recorded, each at its place with what changed."""
    for override in overrides:
        known = recorded.get(override.name)
        if known and is_stale(override, known) and not {override.name, "all"} & set(accepted):
            yield Diagnostic(shard, override.line, override.column, _message(shard, override, known))


def gone(
    shard: Path, overrides: Iterable[Override], recorded: Mapping[str, Recorded], accepted: Iterable[str] = ()
) -> Iterator[Diagnostic]:
    """The overrides of what the parent no longer has, each at its place."""
    left = recorded.keys() - {override.name for override in overrides}
    if not left or "all" in accepted:
        return
    from ..sources.members import place_of  # only now has something to be parsed

    for name in sorted(left - set(accepted)):
        if place := place_of(shard, name):
            known = recorded[name]
            message = (
                f"{name} replaces {known.parent.partition(':')[2]} as {known.release} had it, and that is gone from it"
            )
            remedy = f"see what took its place, and then `hetero generate --accept {name}`"
            yield Diagnostic(shard, *place, f"{message}: {remedy}")


def is_stale(override: Override, known: Recorded) -> bool:
    """Whether the parent has changed what is replaced; a shard that replaces more or less of the same piece has not."""
    return known.parent == override.parent and known.whole != override.whole and known.digest != override.digest


def _message(shard: Path, override: Override, known: Recorded) -> str:
    piece = known.parent.partition(":")[2]
    changed = f"as {known.release} had it, and {override.release} has changed that"
    if known.release == override.release:
        changed = (
            f"as {known.release} had it when that was recorded, and now it is another there: the installed "
            f"{override.parent.partition('.')[0]} is edited, or another build"
        )
    return "\n".join(
        [
            f"{override.name} replaces {piece} {changed}:",
            *diff_of(known, override),
            f"  carry it along with `hetero rebase {shard.name}`, or, after looking, `hetero generate --accept {override.name}`",
        ]
    )


def diff_of(known: Recorded, now: Override | Recorded) -> Iterator[str]:
    """What changed in a piece since it was recorded, indented."""
    names = (known.release, now.release)
    if known.release == now.release:
        names = (f"{known.release}, as recorded", f"{now.release}, as it is now")
    texts = (known.text.splitlines(), now.text.splitlines())
    for line in difflib.unified_diff(*texts, *names, lineterm="", n=2):
        yield f"    {line}"
