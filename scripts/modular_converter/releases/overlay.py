"""A shard for an older release: what a partial shard says takes the place of what the shard says under the same names.

A partial shard holds whole pieces and nothing else: methods and attributes under the name of their class, functions,
constants, classes and imports. `del name` takes a piece out, of a class or of the file.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import libcst as cst
from libcst.codemod import CodemodContext
from libcst.codemod.visitors import AddImportsVisitor

from ..sources.diagnostics import Diagnostic, ShardError
from ..sources.members import piece_name
from ..sources.source import SourceFile
from ..syntax.import_statements import aliases, bound_name, module_of
from ..syntax.tree import bare, block, code, identifiers, small


@dataclass
class Overlaid:
    """A shard with the pieces of a partial shard, and what these took the place of, by their names: `Class.method`."""

    module: cst.Module
    replaced: dict[str, str] = field(default_factory=dict)
    added: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """All pieces that are the partial shard's."""
        return [*self.replaced, *self.added]


def overlay(module: cst.Module, partial: SourceFile) -> Overlaid:
    """The shard `module` with the pieces of `partial`. Raises ShardError for what cannot be a piece of a shard."""
    done = Overlaid(module)
    problems: list[Diagnostic] = []
    for statement in partial.statements:
        node: Any = small(statement.node)
        if isinstance(node, cst.ImportFrom):
            done.module = _with_import(done.module, node)
        elif isinstance(node, cst.Del):
            problems += _taken_out(done, node, partial)
        elif isinstance(node, cst.ClassDef) and (known := _named(done.module.body, node.name.value)):
            problems += _into_class(done, known, node, partial)
        elif name := _name(statement.node):
            _put(done, name, statement.node)
        elif statement.kind != "docstring":
            problems.append(_misplaced(partial, statement.node))
    if problems:
        raise ShardError(problems)
    done.module = without_unused(module, done.module)
    return done


def _misplaced(partial: SourceFile, node: cst.CSTNode) -> Diagnostic:
    message = (
        "a partial shard holds methods and attributes under the name of their class, functions, constants, classes, "
        "`from ... import ...` and `del name`, and nothing else"
    )
    return Diagnostic(partial.path, *partial.position(node), message)


def _name(node: Any) -> str:
    return node.name.value if isinstance(node, cst.ClassDef) else piece_name(node)


def _named(body: Sequence[Any], name: str) -> Any:
    """The statement of this name, None where there is none."""
    return next((each for each in body if _name(each) == name), None)


def _put(done: Overlaid, name: str, node: Any) -> None:
    """A definition of the file in the place of that of its name, or before `__all__`."""
    body = list(done.module.body)
    if old := _named(body, name):
        done.replaced[name] = code(bare(old))
        body[body.index(old)] = node
    else:
        done.added.append(name)
        exports = _named(body, "__all__")
        body.insert(body.index(exports) if exports else len(body), node)
    done.module = done.module.with_changes(body=body)


def _into_class(done: Overlaid, known: cst.ClassDef, node: cst.ClassDef, partial: SourceFile) -> Iterator[Diagnostic]:
    """The members of a partial class in those of the shard's; a base that it states is wrong."""
    owner = node.name.value
    if node.bases or node.decorators:
        message = f"bases and decorators of {owner} are those of the shard: write `class {owner}:`"
        yield Diagnostic(partial.path, *partial.position(node), message)
    body: list[Any] = list(block(known.body).body)
    for each in block(node.body).body:
        if isinstance(small(each), cst.Del):
            yield from _deleted(body, f"{owner}.", each, done, partial)
        elif inner := piece_name(each):
            _placed(body, inner, each, f"{owner}.", done)
        elif not _is_said(each):
            yield _misplaced(partial, each)
    filled: Sequence[Any] = body or [cst.SimpleStatementLine([cst.Pass()])]
    new = known.with_changes(body=block(known.body).with_changes(body=filled))
    done.module = done.module.with_changes(body=[new if each is known else each for each in done.module.body])


def _is_said(node: Any) -> bool:
    """Whether a statement computes nothing: a docstring, `...`, `pass`."""
    return isinstance(small(node), cst.Pass) or isinstance(getattr(small(node), "value", None), cst.SimpleString)


def _placed(body: list[Any], name: str, node: Any, owner: str, done: Overlaid) -> None:
    if old := _named(body, name):
        done.replaced[owner + name] = code(bare(old))
        body[body.index(old)] = node
    else:
        done.added.append(owner + name)
        body[:] = [each for each in body if not isinstance(small(each), cst.Pass)]
        body.append(node)


def _deleted(body: list[Any], owner: str, node: Any, done: Overlaid, partial: SourceFile) -> Iterator[Diagnostic]:
    for name in _targets(small(node)):
        if old := _named(body, name):
            done.replaced[owner + name] = code(bare(old))
            body.remove(old)
        else:
            yield Diagnostic(partial.path, *partial.position(node), f"the shard has no {owner}{name} to take out")


def _targets(node: cst.Del) -> list[str]:
    target = node.target
    elements = [each.value for each in target.elements] if isinstance(target, cst.Tuple) else [target]
    return [code(each) for each in elements]


def _taken_out(done: Overlaid, node: cst.Del, partial: SourceFile) -> Iterator[Diagnostic]:
    """Definitions of the file that are not there, or imported names."""
    body = list(done.module.body)
    for name in _targets(node):
        if old := _named(body, name):
            done.replaced[name] = code(bare(old))
            body.remove(old)
        else:
            yield Diagnostic(partial.path, *partial.position(node), f"the shard has no {name} to take out")
    done.module = done.module.with_changes(body=body)


def _with_import(module: cst.Module, node: cst.ImportFrom) -> cst.Module:
    """The module with the names of an import, in the place of imports of the same names."""
    names = {bound_name(alias) for alias in aliases(node)}
    context = CodemodContext()
    for alias in aliases(node):
        pair = (alias.evaluated_name, alias.evaluated_alias)
        AddImportsVisitor.add_needed_import(context, module_of(node), *pair, relative=len(node.relative))
    return AddImportsVisitor(context).transform_module(_without_imports(module, names))


def without_unused(before: cst.Module, module: cst.Module) -> cst.Module:
    """The module without imports of names that only the code before it used."""
    return _without_imports(module, used_names(before) - used_names(module))


def used_names(module: cst.Module) -> frozenset[str]:
    """The names that are mentioned outside import statements."""
    return identifiers(*(node for node in module.body if not isinstance(small(node), cst.Import | cst.ImportFrom)))


def _without_imports(module: cst.Module, names: set[str] | frozenset[str]) -> cst.Module:
    body = [each for node in module.body for each in _thinned(node, names)]
    return module.with_changes(body=body)


def _thinned(node: Any, names: set[str] | frozenset[str]) -> Iterator[Any]:
    """An import without some of its names; nothing where none is left."""
    each = small(node)
    if not isinstance(each, cst.ImportFrom) or not names & {bound_name(alias) for alias in aliases(each)}:
        yield node
        return
    kept = [alias for alias in aliases(each) if bound_name(alias) not in names]
    if kept:
        kept[-1] = kept[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
        yield node.with_changes(body=[each.with_changes(names=kept)])


def pieces_in(names: Sequence[str], partial: SourceFile) -> dict[str, tuple[int, int]]:
    """Where a partial shard has each of its pieces."""
    found = {}
    for name in names:
        outer, _, inner = name.partition(".")
        node = _named([each.node for each in partial.statements], outer)
        if inner and isinstance(node, cst.ClassDef):
            node = _named(block(node.body).body, inner) or node  # what is taken out is told at its class
        found[name] = partial.position(node) if node is not None else (1, 1)
    return found
