"""Merging a child class with its (renamed) parent: header, docstring, attributes and methods."""

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from .blocks import Class, Function, is_docstring, join, read_class, read_method
from .diagnostics import nearest
from .methods import Report, Scope, merge_method, merged_decorators, new_method
from .rename import Renaming
from .names import ModelNames
from .source import Chunk


@dataclass(frozen=True)
class Members:
    """The body of a class, sorted by what its statements are."""

    docstrings: list[Chunk]
    attributes: dict[str, Chunk]
    others: list[Chunk]
    methods: dict[tuple[str, str], Chunk]


@dataclass(frozen=True)
class Source:
    """A class statement as it stands in a file: the comments above it, its text, and its line."""

    lead: str
    text: str
    line: int = 1


def merge_class(child_source: Source, parent_source: Source, base: str, names: ModelNames, scope: Scope) -> str:
    """The source of the merged class.

    The parent is already renamed; `base` is how the child's header writes its original name, and `names`
    spells model names.
    """
    child = read_class(child_source.lead, child_source.text, child_source.line)
    original = read_class(parent_source.lead, parent_source.text, parent_source.line)
    bases = merged_bases(original.bases, [name for name in child.bases if name != base])
    parent = _fix_words(original, child.name, names)
    members = _merge_members(child, parent, replace(scope, bases=tuple(bases)))
    return _render(child, parent, bases, members)


def _fix_words(parent: Class, name: str, names: ModelNames) -> Class:
    """Where the child is not called like the renamed parent, its strings and comments are renamed once more."""
    if parent.name == name:
        return parent
    old, new = _without_common_ending(parent.name, name)
    renaming = Renaming(names.spelling(old), names.spelling(new))
    body = tuple(replace(part, lead=renaming.words(part.lead), text=renaming.words(part.text)) for part in parent.body)
    decorators = replace(parent.decorators, text=renaming.words(parent.decorators.text))
    return replace(parent, body=body, decorators=decorators)


def _without_common_ending(first: str, second: str) -> tuple[str, str]:
    ending = _common_ending(first, second)
    return (
        (first.removesuffix(ending), second.removesuffix(ending)) if ending not in (first, second) else (first, second)
    )


def common_suffix(first: str, second: str) -> str:
    """The longest common ending, if it begins with a capital and is the whole of neither name; else nothing."""
    suffix = _common_ending(first, second)
    return suffix if suffix[:1].isupper() and suffix not in (first, second) else ""


def _common_ending(first: str, second: str) -> str:
    length = 0
    while length < min(len(first), len(second)) and first[-length - 1] == second[-length - 1]:
        length += 1
    return first[len(first) - length :]


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


def _members(body: Iterable[Chunk]) -> Members:
    members = Members([], {}, [], {})
    for chunk in body:
        _sort_member(chunk, members)
    return members


def _sort_member(chunk: Chunk, members: Members) -> None:
    node = chunk.node
    if is_docstring(chunk):
        members.docstrings.append(chunk)
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        members.attributes[_target(node)] = chunk
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        members.methods[node.name, _accessor(node)] = chunk
    elif not _is_filler(node):
        members.others.append(chunk)


def _target(node: ast.Assign | ast.AnnAssign) -> str:
    return ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)


def _is_filler(node: ast.stmt) -> bool:
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def _accessor(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Which half of a property a method is: `setter`, `deleter`, or nothing for a getter and plain methods."""
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Attribute) and decorator.attr in ("setter", "deleter"):
            return decorator.attr
    return ""


def _merge_members(child: Class, parent: Class, scope: Scope) -> Members:
    mine, theirs = _members(child.body), _members(parent.body)
    methods = _merge_methods(mine, theirs, scope)
    attributes = _merge_attributes(mine, theirs, scope.report)
    return Members(mine.docstrings or theirs.docstrings, attributes, [*theirs.others, *mine.others], methods)


def _merge_attributes(mine: Members, theirs: Members, report: Report) -> dict[str, Chunk]:
    merged = dict(theirs.attributes)
    for name, chunk in mine.attributes.items():
        if not _is_deletion(chunk.node):
            merged[name] = chunk
        elif merged.pop(name, None) is None:
            hint = nearest(name, theirs.attributes)
            report(
                chunk.line, 5, f"`{name} = AttributeError()` deletes nothing: the parent has no such attribute{hint}"
            )
    return merged


def _is_deletion(node: ast.stmt) -> bool:
    match node:
        case ast.Assign(value=ast.Call(func=ast.Name(id="AttributeError"))):
            return True
    return False


def _merge_methods(mine: Members, theirs: Members, scope: Scope) -> dict[tuple[str, str], Chunk]:
    kept = {key: chunk for key, chunk in theirs.methods.items() if key[0] not in mine.attributes}
    for key, chunk in mine.methods.items():
        if _deletes_method(chunk) and (key in kept):
            del kept[key]
            continue
        child = read_method(chunk)
        parent = theirs.methods.get(key)
        merged = merge_method(child, read_method(parent), scope) if parent else new_method(child, scope)
        kept[key] = replace(chunk, lead="", text=merged.render())
    return kept


def _deletes_method(chunk: Chunk) -> bool:
    """A one-line signature directly followed by `raise ...Error(...)`."""
    node = chunk.node
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.decorator_list:
        return False
    match node.body[0]:
        case ast.Raise(exc=ast.Call(func=ast.Name(id=name))) if name.endswith("Error"):
            return chunk.lead == "\n" and node.body[0].lineno == node.lineno + 1
    return False


def _render(child: Class, parent: Class, bases: Sequence[str], members: Members) -> str:
    decorators = merged_decorators(child.decorators, parent.decorators)
    arguments = ", ".join([*bases, *parent.keywords])
    head = f"class {child.name}" + (f"({arguments})" if arguments else "") + f":{parent.trailing}"
    methods = join(members.methods.values())
    body = join(members.docstrings) + join(members.attributes.values()) + join(members.others) + methods
    return parent.lead + decorators.text + parent.between + head + (body or "    pass\n")


def method_names(parsed: Class) -> list[str]:
    """The methods a class defines, in order."""
    return [name for name, _ in _members(parsed.body).methods]


def read_methods(parsed: Class) -> list[Function]:
    """The methods of a class, taken apart."""
    return [read_method(chunk) for chunk in _members(parsed.body).methods.values()]
