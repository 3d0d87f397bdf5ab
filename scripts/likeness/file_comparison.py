"""What the definitions of a file are, and where two files' differ: comments, docstrings, annotations of arguments aside."""

import ast
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field

from .class_features import names_defined, without_docstring


DOCUMENTS = ("auto_docstring", "add_start_docstrings", "add_end_docstrings", "replace_return_docstrings")


@dataclass(frozen=True)
class Difference:
    """
    A definition that two files have otherwise.

    Attributes:
        members: Members of a class that differ, or that only the first file has.
        gone: Members that only the second has, and whether each is a method.
        header: Whether bases or decorators differ.
        missing: Whether the second file lacks it.
        besides: Whether only the second file has it.
    """

    name: str
    members: Sequence[str] = ()
    gone: Mapping[str, bool] = field(default_factory=dict)
    header: bool = False
    missing: bool = False
    besides: bool = False

    def __str__(self) -> str:
        if self.missing or self.besides:
            return f"{self.name}: {'not in the expansion' if self.missing else 'only in the expansion'}"
        parts = [
            *(["bases or decorators"] * self.header),
            *self.members,
            *(f"{name} (only there)" for name in self.gone),
        ]
        return f"{self.name}: {', '.join(parts)}" if parts else self.name


@dataclass
class Definitions:
    """The classes of some files by name, the text of their other definitions, and the conditions around imports."""

    classes: dict[str, ast.ClassDef] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)
    plain: dict[str, str] = field(default_factory=dict)
    guards: list[tuple[str, frozenset[str]]] = field(default_factory=list)
    exported: list[str] = field(default_factory=list)
    sources: dict[str, list[str]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)

    def members(self, name: str) -> dict[str, list[ast.stmt]]:
        """The statements of a class's body that do something, by the name that they define; a property's accessors are one."""
        found: dict[str, list[ast.stmt]] = {}
        for each in filter(_does_something, without_docstring(self.classes[name].body)):
            for defined in names_defined(each) or ["<statement>"]:
                found.setdefault(defined, []).append(each)
        return found

    def text(self, name: str, member: str | None = None) -> str:
        """A class as it is written, or a member of it."""
        whole, lines = self.classes[name], self.sources[name]
        if member is None:
            return segment(lines, whole)
        return "\n\n".join(
            segment(lines, each) if each.lineno > whole.lineno else f"    {ast.unparse(each)}"
            for each in self.members(name)[member]
        )


def _does_something(node: ast.stmt) -> bool:
    ellipsis = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and node.value.value is ...
    return not (ellipsis or isinstance(node, ast.Pass))


def definitions_of(trees: Sequence[ast.Module], texts: Sequence[str]) -> Definitions:
    """What some files define."""
    found = Definitions()
    for tree, text in zip(trees, texts, strict=True):
        lines = text.splitlines()
        for node in without_docstring(tree.body):
            if isinstance(node, ast.ClassDef):
                found.classes[node.name] = node
                found.order.append(node.name)
                found.sources[node.name] = lines
            elif isinstance(node, ast.If | ast.Try):
                found.guards.append((segment(lines, node), frozenset(_bound_in(node))))
            elif not isinstance(node, ast.Import | ast.ImportFrom):
                _add_other(found, node, lines)
    return found


def _add_other(found: Definitions, node: ast.stmt, lines: list[str]) -> None:
    names = names_defined(node)
    if names == ["__all__"] and isinstance(node, ast.Assign):
        found.exported += [str(each.value) for each in ast.walk(node.value) if isinstance(each, ast.Constant)]
        return
    found.order += names
    for name in names:
        found.others[name] = segment(lines, node)
        found.plain[name] = plain(node)


def _bound_in(node: ast.stmt) -> set[str]:
    bound: set[str] = set()
    for each in ast.walk(node):
        if isinstance(each, ast.Import | ast.ImportFrom):
            bound |= {(alias.asname or alias.name).partition(".")[0] for alias in each.names}
        elif isinstance(each, ast.stmt):
            bound |= set(names_defined(each))
    return bound


def names_in(text: str) -> set[str]:
    """Every name that a text of definitions mentions, in annotations that are strings too."""
    found = set()
    for each in ast.walk(ast.parse(text)):
        if isinstance(each, ast.Name):
            found.add(each.id)
        elif isinstance(each, ast.Constant) and isinstance(each.value, str) and each.value.isidentifier():
            found.add(each.value)
    return found


def segment(lines: Sequence[str], node: ast.stmt) -> str:
    """The lines of a statement with its decorators and the comments right above it."""
    first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", ()))])
    while first > 1 and lines[first - 2].strip().startswith("#") and "Copied from" not in lines[first - 2]:
        first -= 1
    return "\n".join(lines[first - 1 : node.end_lineno])


def differences(theirs: Definitions, ours: Definitions) -> list[Difference]:
    """Where the definitions of the second are not those of the first."""
    found = []
    for name in theirs.classes:
        if name not in ours.classes:
            found.append(Difference(name, missing=True))
        elif each := _of_class(name, theirs, ours):
            found.append(each)
    found += [Difference(name, besides=True) for name in ours.classes if name not in theirs.classes]
    found += [
        Difference(name, missing=name not in ours.plain)
        for name in theirs.plain
        if theirs.plain[name] != ours.plain.get(name)
    ]
    found += [Difference(name, besides=True) for name in ours.plain if name not in theirs.plain]
    return found


def _of_class(name: str, theirs: Definitions, ours: Definitions) -> Difference | None:
    first = {member: [plain(each) for each in nodes] for member, nodes in theirs.members(name).items()}
    second = {member: [plain(each) for each in nodes] for member, nodes in ours.members(name).items()}
    members = [member for member, nodes in first.items() if nodes != second.get(member)]
    gone = {
        member: any(isinstance(each, ast.FunctionDef) for each in ours.members(name)[member])
        for member in second
        if member not in first
    }
    header = _header(theirs.classes[name]) != _header(ours.classes[name])
    return Difference(name, members, gone, header) if members or gone or header else None


def _header(node: ast.ClassDef) -> list[str]:
    return [ast.unparse(each) for each in [*node.bases, *node.keywords, *_that_do(node.decorator_list)]]


def _that_do(decorators: Iterable[ast.expr]) -> list[ast.expr]:
    """The decorators but for those that write docstrings."""
    return [each for each in decorators if ast.unparse(each).partition("(")[0].rpartition(".")[2] not in DOCUMENTS]


def plain(node: ast.stmt) -> str:
    """A definition without docstrings, annotations of arguments and results, and decorators that write docstrings."""
    return ast.dump(_Plain().visit(deepcopy(node)))


class _Plain(ast.NodeTransformer):
    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.body = list(without_docstring(node.body)) or [ast.Pass()]
        node.returns = None
        node.decorator_list = _that_do(node.decorator_list)
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.body = list(without_docstring(node.body)) or [ast.Pass()]
        node.decorator_list = _that_do(node.decorator_list)
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node
