"""Import statements of an outside package, as files in the tree of transformers write them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import libcst as cst

from ..modular_converter.shards.shard import model_of
from ..modular_converter.sources.file_types import file_type
from ..modular_converter.sources.paths import parent_model
from ..modular_converter.sources.siblings import is_shard
from ..modular_converter.syntax.import_statements import aliases, names_of, written_module
from ..modular_converter.syntax.tree import code, dotted, rewrite, small


OURS = "transformers_heterogeneous"
# What every family imports and no layer is computed by -> what it is called in the tree. Not `modeling_...`: converters take
# such a module for a model's, and copy from it
SHARED = {"configuration_heterogeneous": "heterogeneous_config", "modeling_heterogeneous": "heterogeneous_model"}
SHARED_SHARD = "modular_heterogeneous"
FOLDER = "integrations"

Names = tuple[str, ...]


class CannotExport(Exception):
    """Why families cannot be laid into a source tree, a line each."""

    def __init__(self, *reasons: str) -> None:
        super().__init__("\n".join(reasons))


@dataclass(frozen=True)
class Place:
    """
    Where a file will be.

    Args:
        folders: of the tree, below `transformers`.
        shared: name -> the file of `SHARED` that defines it.
        beside: folder of the shard, where its siblings are.
    """

    folders: Names
    shared: Mapping[str, str]
    beside: Path = Path()

    def written(self, module: Names, names: list[cst.ImportAlias]) -> cst.ImportFrom:
        """The import of these names from a module of the tree."""
        common = 0
        while common < min(len(module) - 1, len(self.folders)) and module[common] == self.folders[common]:
            common += 1
        rest = ".".join(module[common:])
        dots = [cst.Dot()] * (len(self.folders) - common + 1)
        return cst.ImportFrom(dotted(rest) if rest else None, names, relative=dots)


def tree_model(shard: Path) -> str:
    """
    What a family's folder is called in the tree: as its shard, but for the family of a part of a model. Its classes have the
    model's name in front, and with them the folder: `heterogeneous_llama4`, where the shard is of `heterogeneous_llama4_text`.
    """
    model = model_of(shard)
    body = cst.parse_module(shard.read_text(encoding="utf-8")).body
    folders = {
        name: found[1]
        for statement in body
        if isinstance(node := small(statement), cst.ImportFrom) and not node.relative
        if (found := parent_model(written_module(node))) is not None and found[0] == "configuration"
        for name in names_of(node)
    }
    for each in (statement for statement in body if isinstance(statement, cst.ClassDef)):
        for base in (code(arg.value) for arg in each.bases):
            if base in folders and each.name.value.endswith(base):
                words = re.findall(r"[A-Z][^A-Z]*", each.name.value.removesuffix(base))
                whole = "_".join([*words, folders[base]]).lower()
                return whole if model.startswith(f"{whole}_") else model
    return model


def moved(tree: cst.Module, place: Place) -> cst.Module:
    """The code with its imports as that place needs them."""

    def inner(node: cst.ImportFrom) -> cst.ImportFrom:
        found = in_tree(node, place)
        if len(found) > 1:
            raise CannotExport(
                f"{written_module(node)}, imported in a function, is several files of the tree: split it"
            )
        return node.with_changes(module=found[0][0].module, relative=found[0][0].relative, names=found[0][0].names)

    def name(node: cst.Name) -> cst.Name:
        return node.with_changes(value=SHARED.get(node.value, node.value))

    body: list[cst.SimpleStatementLine | cst.BaseCompoundStatement] = []
    for statement in tree.body:
        node = small(statement)
        if isinstance(node, cst.ImportFrom) and is_ours(node):
            lines = [
                cst.SimpleStatementLine([each], trailing_whitespace=comment) for each, comment in in_tree(node, place)
            ]
            body += [lines[0].with_changes(leading_lines=getattr(statement, "leading_lines", ())), *lines[1:]]
        else:
            body.append(rewrite(statement, {cst.ImportFrom: inner, cst.Name: name}))
    return tree.with_changes(body=body)


def is_ours(node: cst.ImportFrom) -> bool:
    """Whether it names a file of this package or of transformers."""
    return written_module(node).partition(".")[0] in ("", OURS, "transformers")


def in_tree(node: cst.ImportFrom, place: Place) -> list[tuple[cst.ImportFrom, cst.TrailingWhitespace]]:
    """An import as it is written there; several, where its names are in several files or have comments of their own."""
    if not is_ours(node):
        return [(node, cst.TrailingWhitespace())]
    found: dict[tuple[Names, str], list[cst.ImportAlias]] = {}
    for alias in aliases(node):
        module, name = _home(written_module(node), alias.evaluated_name, place)
        alone = alias.with_changes(name=cst.Name(name), comma=cst.MaybeSentinel.DEFAULT)
        found.setdefault((module, _comment_behind(alias)), []).append(alone)
    return [
        (
            place.written(module, names),
            cst.TrailingWhitespace(cst.SimpleWhitespace("  " * bool(said)), cst.Comment(said) if said else None),
        )
        for (module, said), names in found.items()
    ]


def _comment_behind(alias: cst.ImportAlias) -> str:
    behind = getattr(alias.comma, "whitespace_after", None)
    line = behind.first_line if isinstance(behind, cst.ParenthesizedWhitespace) else None
    return line.comment.value if line is not None and line.comment is not None else ""


def _home(written: str, name: str, place: Place) -> tuple[Names, str]:
    """The module of the tree in which a name is, and its name there."""
    package, *parts = written.split(".") if not written.startswith(".") else ["", *written.lstrip(".").split(".")]
    if package == "transformers":
        return tuple(parts), name
    last = parts[-1] if parts else SHARED_SHARD
    if last == SHARED_SHARD:
        if name in SHARED:
            return (FOLDER,), SHARED[name]
        if name not in place.shared:
            raise CannotExport(f"{name}, imported from {written}, is defined in none of {', '.join(SHARED)}")
        return (FOLDER, SHARED[place.shared[name]]), name
    if last in SHARED:
        return (FOLDER, SHARED[last]), name
    if found := parent_model(last):
        return ("models", found[1], last), name
    model = last.removeprefix("modular_")
    if model == last or not is_shard(place.beside / f"{last}.py"):
        raise CannotExport(f"{name} is imported from {written}, which is no family and has no place in transformers")
    model = tree_model(place.beside / f"{last}.py")
    cased = "".join(part.title() for part in model.split("_"))
    return ("models", model, f"{file_type(name, cased)}_{model}"), name
