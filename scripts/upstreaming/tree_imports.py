"""Import statements of an outside package, as files in the tree of transformers write them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import libcst as cst

from ..modular_converter.sources.file_types import file_type
from ..modular_converter.sources.paths import parent_model
from ..modular_converter.sources.siblings import is_shard
from ..modular_converter.syntax.import_statements import aliases, written_module
from ..modular_converter.syntax.tree import dotted, rewrite, small


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


def moved(tree: cst.Module, place: Place) -> cst.Module:
    """The code with its imports as that place needs them."""

    def inner(node: cst.ImportFrom) -> cst.ImportFrom:
        found = in_tree(node, place)
        if len(found) > 1:
            raise CannotExport(
                f"{written_module(node)}, imported in a function, is several files of the tree: split it"
            )
        return found[0]

    def name(node: cst.Name) -> cst.Name:
        return node.with_changes(value=SHARED.get(node.value, node.value))

    body: list[cst.SimpleStatementLine | cst.BaseCompoundStatement] = []
    for statement in tree.body:
        node = small(statement)
        if isinstance(node, cst.ImportFrom):
            lines = [cst.SimpleStatementLine([each]) for each in in_tree(node, place)]
            body += [lines[0].with_changes(leading_lines=getattr(statement, "leading_lines", ())), *lines[1:]]
        else:
            body.append(rewrite(statement, {cst.ImportFrom: inner, cst.Name: name}))
    return tree.with_changes(body=body)


def in_tree(node: cst.ImportFrom, place: Place) -> list[cst.ImportFrom]:
    """An import as it is written there; several, where its names are in several files."""
    written = written_module(node)
    if written.partition(".")[0] not in ("", OURS, "transformers"):
        return [node]
    modules: dict[Names, list[cst.ImportAlias]] = {}
    for alias in aliases(node):
        module, name = _home(written, alias.evaluated_name, place)
        modules.setdefault(module, []).append(alias.with_changes(name=cst.Name(name)))
    if len(modules) == 1:  # with its layout, and its comments
        [(module, names)] = modules.items()
        made = place.written(module, names)
        return [node.with_changes(module=made.module, relative=made.relative, names=names)]
    return [place.written(module, [_alone(each) for each in names]) for module, names in modules.items()]


def _alone(alias: cst.ImportAlias) -> cst.ImportAlias:
    return alias.with_changes(comma=cst.MaybeSentinel.DEFAULT)


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
    cased = "".join(part.title() for part in model.split("_"))
    return ("models", model, f"{file_type(name, cased)}_{model}"), name
