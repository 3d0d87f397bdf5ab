"""What of its parents a shard replaces: each override holds a copy of the parent's code as it was when it was written."""

import hashlib
from collections.abc import Iterator, Sequence

import libcst as cst

from ..naming.renaming import Renaming
from ..shards.shard import Parent, Shard
from ..sources.members import pieces_of
from ..sources.paths import installed_version
from ..syntax.docstrings import statements
from ..syntax.parameters import parameter_list
from ..syntax.statements import assigned_target, deletions, super_position
from ..syntax.tree import bare, block, code, same_code, without_comments
from .lock import Override


def digest_of(text: str) -> str:
    """Digest of a piece of code, comments and layout aside."""
    words = without_comments(cst.parse_module(text).with_changes(header=(), footer=()))
    return hashlib.sha256(words.encode()).hexdigest()[:16]


def overrides_of(shard: Shard) -> list[Override]:
    """Everything that a shard replaces of the parents that are not its siblings, sorted."""
    return sorted(_overrides(shard))


def _overrides(shard: Shard) -> Iterator[Override]:
    for name, entry in shard.entries.items():
        index, base = shard.parent_of(name) or (None, "")
        if entry.helper:
            continue
        if index is None:
            yield from _of_definition(shard, name, entry.statement.node)
        elif not shard.parents[index].is_sibling:
            yield from _of_class(shard, shard.parents[index], entry.statement.node, base)


def _of_class(shard: Shard, parent: Parent, child: cst.CSTNode, base: str) -> Iterator[Override]:
    original = parent.source.definitions[base].node
    assert isinstance(child, cst.ClassDef) and isinstance(original, cst.ClassDef)
    mine = pieces_of(child)
    for name, theirs in pieces_of(original).items():
        if node := mine.get(parent.renaming.name(name)):
            texts = (code(bare(theirs)), code(replaced(node, theirs, parent.renaming)))
            child_name = f"{child.name.value}.{parent.renaming.name(name)}"
            yield _override(shard, parent, child_name, f"{base}.{name}", texts, node)


def _of_definition(shard: Shard, name: str, node: cst.CSTNode) -> Iterator[Override]:
    """A class, function or constant of the shard that stands in the place of a parent's of that name."""
    for index, parent in enumerate(shard.parents):
        for original, statement in parent.source.definitions.items():
            if parent.is_sibling or original in parent.imported or parent.renaming.name(original) != name:
                continue
            if not same_code(statement.node, node):
                shard.used.add((index, original))
                yield _override(shard, parent, name, original, (statement.code, statement.code), node)


def _override(
    shard: Shard, parent: Parent, name: str, original: str, texts: tuple[str, str], node: cst.CSTNode
) -> Override:
    """An override, of the texts of the parent's piece and of what is replaced of it."""
    module = parent.module
    if module.startswith(".."):  # in transformers' own shards
        module = f"transformers.models.{module.lstrip('.').removeprefix('models.')}"
    package = module.partition(".")[0]
    release = f"{package} {installed_version(package)}"
    whole, text = texts
    line, column = shard.source.position(node)
    digests = (digest_of(whole), digest_of(text))
    return Override(name, f"{module}:{original}", release, *digests, text, line, column)


def replaced(child: cst.BaseStatement, parent: cst.BaseStatement, renaming: Renaming) -> cst.BaseStatement:
    """What of a parent's piece a child's replaces: all of it, or where it is merged into, header and lines taken. With
    `**super_kwargs` the parameters are the parent's, and the decorators where the child has none."""
    if not (isinstance(child, cst.FunctionDef) and isinstance(parent, cst.FunctionDef)):
        return bare(parent)
    mine = statements(list(block(child.body).body))
    position = super_position(mine, child.name.value)
    if position is None:
        return bare(parent)
    taken = lines_taken(mine[position + 1 :], block(parent.body).body, renaming)
    body = taken or [cst.SimpleStatementLine([cst.Expr(cst.Ellipsis())])]
    header = bare(parent)
    if list(dict(parameter_list(child.params))) == ["self", "**super_kwargs"]:
        header = header.with_changes(params=cst.Parameters(), decorators=parent.decorators if child.decorators else ())
    return header.with_changes(body=cst.IndentedBlock([*body]))


def lines_taken(
    after: Sequence[cst.BaseStatement], theirs: Sequence[cst.BaseStatement], renaming: Renaming
) -> list[cst.BaseStatement]:
    """The parent's assignments that statements after a call on `super()` replace or delete."""
    targets = {assigned_target(each) for each in after} | {name for _, name in deletions(after)}
    return [each for each in theirs if assigned_target(renaming.node(each)) in targets - {None}]
