"""A shard of ours as a shard inside transformers."""

import re
from collections.abc import Collection, Iterator
from pathlib import Path

import libcst as cst

from ..modular_converter.output.formatting import INSIDE, format_files
from ..modular_converter.sources.source import SourceFile, read_source
from ..modular_converter.syntax.import_statements import aliases, module_of, names_of, written_module
from ..modular_converter.syntax.tree import code, small
from .config_docs import with_documented_configs
from .tree_imports import FOLDER, OURS, SHARED, CannotExport, Place, moved


# Said in docstrings: what registers the families outside
_REGISTERING = re.compile(rf"(?m)^[ ]*>>> import {OURS}\n")
_SHARED_MODEL = SHARED["modeling_heterogeneous"]


def upstream_shard(path: Path, place: Place, shared_model: SourceFile, models: Path) -> str:
    """
    The text of `modular_<family>.py` in the tree.

    Args:
        place: of the new file.
        shared_model: what the models of all families import, as the package has it.
        models: the folder of the tree that has the parents.
    """
    tree = moved(cst.parse_module(_REGISTERING.sub("", path.read_text(encoding="utf-8"))), place)
    tree = _with_functions(tree, list(_taking_a_parents_place(tree, models)), shared_model)
    tree = _without_fields_behind_properties(tree, models)
    tree = with_documented_configs(tree, _parents(tree, models))
    written = tree.code.replace(f"from {OURS} import", "from transformers import")  # in docstrings
    if OURS in written:
        line = next(line.strip() for line in written.splitlines() if OURS in line)
        raise CannotExport(f"{path.name}: `{line}` names the package, which transformers does not know")
    return formatted(path, written)


def formatted(path: Path, text: str) -> str:
    """As transformers formats its own."""
    texts, findings = format_files({path: text}, INSIDE)
    if findings:
        raise CannotExport(
            *(f"{path.name}: {each.message} (line {each.line} of what is written)" for each in findings)
        )
    return texts[path]


def _taking_a_parents_place(tree: cst.Module, models: Path) -> Iterator[str]:
    """Functions that all families share and that a parent's file defines. Inside transformers what a shard imports does not
    take the place of what a parent defines; what it defines does."""
    shared = [
        alias.evaluated_name
        for node in _imports(tree)
        if written_module(node).endswith(f"{FOLDER}.{_SHARED_MODEL}")
        for alias in aliases(node)
    ]
    files = set(_parents(tree, models).values())
    defined = {each.name for file in files for each in read_source(file).of_kind("function")}
    yield from (name for name in shared if name in defined)


def _imports(tree: cst.Module) -> list[cst.ImportFrom]:
    return [node for statement in tree.body if isinstance(node := small(statement), cst.ImportFrom)]


def _parents(tree: cst.Module, models: Path) -> dict[str, Path]:
    """What a shard inside transformers imports of other models -> the file that it is from."""
    found: dict[str, Path] = {}
    for node in _imports(tree):
        file = models.joinpath(*module_of(node).split(".")).with_suffix(".py")
        if len(node.relative) == len("..") and file.is_file():
            found |= dict.fromkeys(names_of(node), file)
    return found


def _without_fields_behind_properties(tree: cst.Module, models: Path) -> cst.Module:
    """A property takes the place of a parent's field of its name in Python; inside transformers the field has to be deleted."""
    parents = _parents(tree, models)

    def deleting(node: cst.ClassDef) -> cst.ClassDef:
        bases = [base for arg in node.bases if (base := code(arg.value)) in parents]
        fields = {name for base in bases for name in _fields(read_source(parents[base]).definitions[base].node)}
        body = list(node.body.body)
        for name in sorted(
            {each.name.value for each in body if isinstance(each, cst.FunctionDef) and _is_property(each)}
        ):
            if name in fields:  # behind the property: in front of it linters see it bound twice
                last = max(
                    at for at, each in enumerate(body) if isinstance(each, cst.FunctionDef) and each.name.value == name
                )
                body.insert(last + 1, cst.parse_statement(f"\n{name} = AttributeError()\n"))
        return node.with_changes(body=node.body.with_changes(body=body))

    return tree.with_changes(body=[deleting(each) if isinstance(each, cst.ClassDef) else each for each in tree.body])


def _fields(node: cst.CSTNode) -> set[str]:
    """The annotated names of a class."""
    assert isinstance(node, cst.ClassDef)
    return {code(line.target) for each in node.body.body if isinstance(line := small(each), cst.AnnAssign)}


def _is_property(node: cst.FunctionDef) -> bool:
    return any(code(each.decorator) == "property" for each in node.decorators)


def _with_functions(tree: cst.Module, names: Collection[str], shared_model: SourceFile) -> cst.Module:
    """The shard with these functions of its own, which call the shared ones."""
    if not names:
        return tree
    body, last = [], 0
    for statement in tree.body:
        node = small(statement)
        if isinstance(node, cst.ImportFrom) and written_module(node).endswith(f"{FOLDER}.{_SHARED_MODEL}"):
            kept = [alias for alias in aliases(node) if alias.evaluated_name not in names]
            front = statement.with_changes(body=[node.with_changes(names=kept)]) if kept else None
            whole = cst.parse_statement(f"from {'.' * len(node.relative)}{FOLDER} import {_SHARED_MODEL}\n")
            body += [each for each in (front, whole) if each]
        else:
            body.append(statement)
        if isinstance(node, cst.Import | cst.ImportFrom):
            last = len(body)
    functions = [_calling(shared_model.definitions[name].node) for name in names]
    return tree.with_changes(body=[*body[:last], *functions, *body[last:]])


def _calling(function: cst.CSTNode) -> cst.FunctionDef:
    """The same function, which hands over what it is given."""
    assert isinstance(function, cst.FunctionDef)
    handed = ", ".join(parameter.name.value for parameter in function.params.params)
    call = cst.parse_statement(f"return {_SHARED_MODEL}.{function.name.value}({handed})\n")
    return function.with_changes(body=cst.IndentedBlock([call]), leading_lines=[cst.EmptyLine(), cst.EmptyLine()])
