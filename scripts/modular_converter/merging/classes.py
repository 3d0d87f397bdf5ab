"""Merging a child class with its (renamed) parent: header, docstring, attributes and methods."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import libcst as cst
from libcst import matchers as m

from ..naming.endings import common_suffix, without_common_ending
from ..naming.model_names import ModelNames
from ..naming.renaming import Renaming
from ..sources.diagnostics import nearest
from ..sources.source import LITERAL_STATEMENT
from ..syntax.decorators import half_of_property, merged_decorators
from ..syntax.deletions import deletes_attribute
from ..syntax.docstrings import is_docstring
from ..syntax.tree import block, code, comments, small
from .methods import body_of, merge_method, new_method
from .python_class import merge_bodies
from .python_header import check_hooks, python_bases, python_decorators, python_keywords
from .unroll import Scope


MethodKey = tuple[str, str]  # name, and which half of a property
Methods = dict[MethodKey, cst.FunctionDef]
INDENT = "    "


@dataclass(frozen=True)
class Members:
    """The body of a class, sorted by what its statements are."""

    docstrings: list[cst.BaseStatement] = field(default_factory=list)
    attributes: dict[str, cst.BaseStatement] = field(default_factory=dict)
    others: dict[str, cst.BaseStatement] = field(default_factory=dict)
    methods: Methods = field(default_factory=dict)


def merge_class(
    child: cst.ClassDef, original: cst.ClassDef, base: str, names: ModelNames, scope: Scope
) -> cst.ClassDef:
    """The merged class.

    The parent is already renamed; `base` is how the child's header writes its original name, and `names`
    spells model names.
    """
    parent = _fix_words(original, child.name.value, names)
    if not scope.exact:
        return _merge_outside(child, parent, base, scope)
    extra = [text for text in base_names(child) if text != base]
    bases = merged_bases(base_names(original), extra)
    _warn_of_lost_comment(child, parent, scope)
    members = _merge_members(child, parent, replace(scope, bases=tuple(bases)))
    decorators = merged_decorators(child.decorators, parent.decorators)
    body = [*members.docstrings, *members.attributes.values(), *members.others.values(), *members.methods.values()]
    return _assembled(child, parent, bases, parent.keywords, decorators, body)


def _merge_outside(child: cst.ClassDef, parent: cst.ClassDef, base: str, scope: Scope) -> cst.ClassDef:
    """The merged class with the meaning that Python gives to the two."""
    if comments(child.leading_lines):
        parent = parent.with_changes(leading_lines=child.leading_lines)
    check_hooks(child, parent, scope)
    bases = python_bases(child, parent, base, scope)
    keywords, decorators = python_keywords(child, parent, scope), python_decorators(child, parent, scope)
    body = merge_bodies(child, parent, base, replace(scope, bases=tuple(bases)))
    return _assembled(child, parent, bases, keywords, decorators, body)


def base_names(node: cst.ClassDef) -> list[str]:
    """The bases of a class, as they are written."""
    return [code(arg.value) for arg in node.bases]


def _warn_of_lost_comment(child: cst.ClassDef, parent: cst.ClassDef, scope: Scope) -> None:
    """Transformers' own shards lose the comment above an inheriting class: the parent's takes its place."""
    kept = comments(parent.leading_lines)
    for line in child.leading_lines:
        if line.comment and not line.whitespace.value and line.comment.value not in kept:
            message = "this comment is lost: the comment above a class that inherits comes from the parent"
            return scope.report(line.comment, f"{message}; move it into the class", warning=True)


def is_indented_otherwise(node: cst.ClassDef, indent: str) -> bool:
    """Whether the statements of the class, or those of its methods, do not stand at four spaces a level.

    `indent` is what is usual in its file.
    """
    methods = [each for each in block(node.body).body if isinstance(each, cst.FunctionDef)]
    suites = [each.body for each in (node, *methods) if isinstance(each.body, cst.IndentedBlock)]
    return any((suite.indent if suite.indent is not None else indent) != INDENT for suite in suites)


def _fix_words(parent: cst.ClassDef, name: str, names: ModelNames) -> cst.ClassDef:
    """Where the child is not called like the renamed parent, its strings and comments are renamed once more."""
    if parent.name.value == name:
        return parent
    old, new = without_common_ending(parent.name.value, name)
    renaming = Renaming(names.spelling(old), names.spelling(new))
    body = block(parent.body)
    return parent.with_changes(
        body=body.with_changes(body=[renaming.words(each) for each in body.body]),
        decorators=[renaming.words(each) for each in parent.decorators],
    )


def merged_bases(parent_bases: Iterable[str], extra: Sequence[str]) -> list[str]:
    """The parent's bases, each replaced by the extra base that specialises it; the rest is appended as written."""
    bases = []
    for base in parent_bases:
        replacement = next((name for name in extra if name != base and specialises(name, base)), base)
        bases.append(base if base in extra else replacement)
    bases += [name for name in extra if name not in bases]
    if "GradientCheckpointingLayer" in bases:
        bases = [base for base in bases if base != "nn.Module"]
    return list(dict.fromkeys(bases))


def specialises(name: str, base: str) -> bool:
    """Whether an extra base takes the place of a parent's base: both end alike."""
    if not base.isidentifier() or not name.isidentifier():
        return False
    return name.endswith(base) or bool(common_suffix(name, base))


def _members(node: cst.ClassDef) -> Members:
    members = Members()
    for statement in block(node.body).body:
        _sort_member(statement, members)
    return members


def _sort_member(statement: cst.BaseStatement, members: Members) -> None:
    node = small(statement)
    if is_docstring(statement):
        members.docstrings.append(statement)
    elif isinstance(node, cst.Assign | cst.AnnAssign):
        members.attributes[_target(node)] = statement
    elif isinstance(node, cst.FunctionDef):
        members.methods[node.name.value, half_of_property(node)] = node
    elif not (isinstance(node, cst.Pass) or m.matches(node, LITERAL_STATEMENT)):
        members.others[node.name.value if isinstance(node, cst.ClassDef) else code(statement)] = statement


def _target(node: cst.Assign | cst.AnnAssign) -> str:
    return code(node.targets[0].target if isinstance(node, cst.Assign) else node.target)


def _merge_members(child: cst.ClassDef, parent: cst.ClassDef, scope: Scope) -> Members:
    mine, theirs = _members(child), _members(parent)
    scope = replace(scope, parent_methods=frozenset(name for name, _ in theirs.methods))
    methods = _merge_methods(mine, theirs, scope)
    attributes = _merge_attributes(mine, theirs, scope)
    return Members(mine.docstrings or theirs.docstrings, attributes, theirs.others | mine.others, methods)


def _merge_attributes(mine: Members, theirs: Members, scope: Scope) -> dict[str, cst.BaseStatement]:
    merged = dict(theirs.attributes)
    for name, statement in mine.attributes.items():
        if not deletes_attribute(statement):
            merged[name] = statement
        elif merged.pop(name, None) is None:
            hint = nearest(name, theirs.attributes)
            message = f"`{name} = AttributeError()` deletes nothing: the parent has no such attribute{hint}"
            scope.report(statement, message)
    return merged


def _merge_methods(mine: Members, theirs: Members, scope: Scope) -> Methods:
    kept = {key: method for key, method in theirs.methods.items() if key[0] not in mine.attributes}
    for key, method in mine.methods.items():
        deleted = _deleted(key, method, kept)
        for name in deleted:
            del kept[name]
        if not deleted:
            parent = theirs.methods.get(key)
            kept[key] = merge_method(method, parent, scope) if parent else new_method(method, scope)
    return kept


def _deleted(key: MethodKey, method: cst.FunctionDef, kept: Methods) -> list[MethodKey]:
    """The parent's methods that a child's method takes away instead of overriding them.

    Transformers' own shards recognise a deletion by its layout only: one blank line, a signature of one line, no
    docstring.
    """
    return [key] if key in kept and _raises_error(method) and _is_laid_out_as_deletion(method) else []


def _is_laid_out_as_deletion(method: cst.FunctionDef) -> bool:
    lines = [code(line) for line in method.leading_lines]
    head = code(method.with_changes(leading_lines=(), body=cst.SimpleStatementSuite([cst.Pass()])))
    return lines == ["\n"] and head.count("\n") == 1 and not getattr(body_of(method)[0], "leading_lines", ())


def _raises_error(method: cst.FunctionDef) -> bool:
    """Whether the first thing a method does is to raise some error."""
    match body_of(method)[0]:
        case cst.SimpleStatementLine(body=[cst.Raise(exc=cst.Call(func=cst.Name(value=name))), *_]):
            return name.endswith("Error") and not method.decorators
    return False


def _assembled(
    child: cst.ClassDef,
    parent: cst.ClassDef,
    bases: Sequence[str],
    keywords: Sequence[cst.Arg],
    decorators: Sequence[cst.Decorator],
    body: Sequence[cst.BaseStatement],
) -> cst.ClassDef:
    """The parent's header with the child's name, around the merged body."""
    written = {code(arg.value): arg.value for arg in (*parent.bases, *child.bases)}
    return parent.with_changes(
        name=child.name,
        type_parameters=child.type_parameters or parent.type_parameters,
        decorators=decorators,
        bases=[cst.Arg(written[name]) for name in bases],
        keywords=[arg.with_changes(comma=cst.MaybeSentinel.DEFAULT) for arg in keywords],
        lpar=cst.MaybeSentinel.DEFAULT,
        rpar=cst.MaybeSentinel.DEFAULT,
        body=block(parent.body).with_changes(body=body or [cst.SimpleStatementLine([cst.Pass()])], footer=()),
    )
