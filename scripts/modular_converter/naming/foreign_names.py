"""Which identifiers with a model's name in them are the model's own, and which are what others call so.

`BertNormalizer` of another package, `torch.clip`, `OPENAI_CLIP_MEAN`: what no file of the model binds keeps its name.
"""

import re
import symtable
from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import Path

import libcst as cst

from ..sources.diagnostics import ShardError
from ..sources.pieces import Piece, cut
from ..sources.source import SourceFile
from ..syntax.import_statements import module_of, names_of
from ..syntax.tree import walk
from .renaming import Renaming


# An attribute of every config, which the name of one model happens to be a part of.
OF_EVERY_CONFIG = "is_encoder_decoder"


_MODEL_TYPE = re.compile(r"\bmodel_type\s*(?::\s*\w+\s*)?=\s*[\"']([\w-]+)[\"']\s*$", re.MULTILINE)


def foreign_names(
    source: SourceFile, family: Iterable[str], renaming: Renaming, along: Set[str], model_types: Iterable[str]
) -> frozenset[str]:
    """The words of a file that must not be renamed: identifiers that neither it nor the other files of its `family` bind,
    all but one of those that would become the same name, and types of other models, some of which begin alike.
    `along` are the modules that are renamed with it."""
    texts = (source.text, *family)
    foreign = _foreign(texts, renaming, along)
    own_types = {found for text in texts for found in _MODEL_TYPE.findall(text)}
    types = (
        {each for each in model_types if renaming.touches(each)}
        - own_types
        - {renaming.old.lower if renaming.old else ""}
    )
    return foreign | types | _colliding(source.definitions.keys() - foreign, renaming)


def _foreign(texts: Sequence[str], renaming: Renaming, along: Set[str]) -> frozenset[str]:
    named = {each for each in re.findall(r"[^\W\d]\w*", texts[0]) if renaming.touches(each)}
    own = set(along)
    for text in texts:
        try:
            own.update(_in_scopes(symtable.symtable(text, "", "exec")))
            for piece in cut(Path(), text):
                if _may_bind(piece, named - own):
                    own.update(_bound(piece, along))
        except (SyntaxError, ValueError, ShardError):  # newer than this Python or LibCST: told where it matters
            return frozenset()
    return frozenset(named - own | named & {OF_EVERY_CONFIG})


def _in_scopes(table: symtable.SymbolTable) -> Iterator[str]:
    """The names that are bound in any scope of a file, parameters among them, but not by imports."""
    yield from (each.get_name() for each in table.get_symbols() if each.is_assigned() or each.is_parameter())
    for child in table.get_children():
        yield child.get_name()
        yield from _in_scopes(child)


def _may_bind(piece: Piece, names: Set[str]) -> bool:
    """Whether lines may bind some names as attributes, in imports, or name them in strings: only then are they parsed."""
    if not piece.kind or "import" in piece.text:
        return bool(names)
    return any(f".{name}" in piece.text or f'"{name}"' in piece.text or f"'{name}'" in piece.text for name in names)


def _bound(piece: Piece, along: Set[str]) -> Iterator[str]:
    """The attributes that lines bind, what they import from files that are renamed along; and strings that may name some."""
    for node in (each for statement in piece.statements for each in walk(statement)):
        match node:
            case cst.AssignTarget(target=target) | cst.AnnAssign(target=target) | cst.AsName(name=target):
                yield from _names_in(target)
            case cst.AugAssign(target=target) | cst.For(target=target) | cst.CompFor(target=target):
                yield from _names_in(target)
            case cst.ImportFrom() if len(node.relative) == 1 and module_of(node) in along:
                yield from names_of(node)
            case cst.SimpleString() if "_" in (name := str(node.raw_value)) and name.isidentifier():
                yield name


def _names_in(target: cst.CSTNode) -> Iterator[str]:
    """The names and attributes that an assignment to a target binds."""
    match target:
        case cst.Name(value=name) | cst.Attribute(attr=cst.Name(value=name)):
            yield name
        case cst.Tuple(elements=elements) | cst.List(elements=elements):
            for each in elements:
                yield from _names_in(each.value)


def _colliding(names: Iterable[str], renaming: Renaming) -> frozenset[str]:
    """Where a file spells its model in two ways, the name that is not as usual stays."""
    taken: dict[str, str] = {}
    for name in sorted(names, key=lambda each: (renaming.touches(each), not renaming.spells(each), each)):
        taken.setdefault(renaming.name(name), name)
    return frozenset(names) - frozenset(taken.values())
