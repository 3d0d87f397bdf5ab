"""Merging a child class with its (renamed) parent: header, docstring, attributes and methods."""

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from .blocks import Class, is_docstring, join, read_class, read_method
from .diagnostics import nearest
from .methods import merge_method, merged_decorators, new_method
from .names import ModelNames
from .rename import Renaming
from .source import Chunk
from .unroll import Scope


MethodKey = tuple[str, str]  # name, and which half of a property
Methods = dict[MethodKey, Chunk]


@dataclass(frozen=True)
class Members:
    """The body of a class, sorted by what its statements are."""

    docstrings: list[Chunk]
    attributes: dict[str, Chunk]
    others: dict[str, Chunk]
    methods: Methods


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
    if _is_indented_otherwise(child) or _is_indented_otherwise(original):
        message = f"{child.name} and its parent must both be indented by four spaces a level, as they become one class"
        scope.report(child.line, 1, message)
        return f"class {child.name}:\n    pass\n"
    bases = merged_bases(original.bases, [name for name in child.bases if name != base])
    parent = _fix_words(original, child.name, names)
    if scope.exact:
        _warn_of_lost_comment(child_source, parent.lead, scope)
    elif "#" in child.lead:
        parent = replace(parent, lead=child.lead)
    members = _merge_members(child, parent, replace(scope, bases=tuple(bases)))
    return _render(child, parent, bases, members)


def _warn_of_lost_comment(child: Source, kept: str, scope: Scope) -> None:
    """Transformers' own shards lose the comment above an inheriting class: the parent's takes its place."""
    lines = child.lead.splitlines()
    for number, line in enumerate(lines, child.line - len(lines)):
        if line.startswith("#") and line not in kept.splitlines():
            message = "this comment is lost: the comment above a class that inherits comes from the parent"
            return scope.report(number, 1, f"{message}; move it into the class", warning=True)


def _is_indented_otherwise(parsed: Class) -> bool:
    """Whether the statements of the class, or those of its methods, do not stand at four spaces a level."""
    methods = [read_method(chunk) for chunk in parsed.body if isinstance(chunk.node, ast.FunctionDef)]
    inner = [chunk.text for method in methods for chunk in method.body[:1]]
    return any(_indent(chunk.text) != 4 for chunk in parsed.body) or any(_indent(text) != 8 for text in inner)


def _indent(text: str) -> int:
    return len(text) - len(text.lstrip(" "))


def _fix_words(parent: Class, name: str, names: ModelNames) -> Class:
    """Where the child is not called like the renamed parent, its strings and comments are renamed once more."""
    if parent.name == name:
        return parent
    old, new = _without_common_ending(parent.name, name)
    renaming = Renaming(names.spelling(old), names.spelling(new))
    body = tuple(replace(part, lead=renaming.words(part.lead), text=renaming.words(part.text)) for part in parent.body)
    decorators = replace(parent.decorators, lines=tuple(map(renaming.words, parent.decorators.lines)))
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
    members = Members([], {}, {}, {})
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
        members.others[getattr(node, "name", chunk.text)] = chunk


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
    scope = replace(scope, parent_methods=frozenset(name for name, _ in theirs.methods))
    methods = _merge_methods(mine, theirs, scope)
    attributes = _merge_attributes(mine, theirs, scope)
    return Members(mine.docstrings or theirs.docstrings, attributes, theirs.others | mine.others, methods)


def _merge_attributes(mine: Members, theirs: Members, scope: Scope) -> dict[str, Chunk]:
    merged = dict(theirs.attributes)
    for name, chunk in mine.attributes.items():
        if not _is_deletion(chunk.node):
            merged[name] = chunk
        elif merged.pop(name, None) is None:
            hint = nearest(name, theirs.attributes)
            message = f"`{name} = AttributeError()` deletes nothing: the parent has no such attribute{hint}"
            scope.report(chunk.line, chunk.node.col_offset + 1, message)
    overridden = set() if scope.exact else {name for name, _ in mine.methods}
    return {name: chunk for name, chunk in merged.items() if name not in overridden}


def _is_deletion(node: ast.stmt) -> bool:
    match node:
        case ast.Assign(value=value) | ast.AnnAssign(value=value):
            return isinstance(value, ast.Call) and ast.unparse(value.func) == "AttributeError"
    return False


def _merge_methods(mine: Members, theirs: Members, scope: Scope) -> Methods:
    kept = {key: chunk for key, chunk in theirs.methods.items() if key[0] not in mine.attributes}
    for key, chunk in mine.methods.items():
        deleted = _deleted(key, chunk, kept, scope)
        for name in deleted:
            del kept[name]
        if not deleted:
            kept[key] = _merge_one(chunk, theirs.methods.get(key), scope)
    return kept


def _merge_one(chunk: Chunk, parent: Chunk | None, scope: Scope) -> Chunk:
    child = read_method(chunk)
    merged = merge_method(child, read_method(parent), scope) if parent else new_method(child, scope)
    return replace(chunk, lead="", text=merged.render())


def _deleted(key: MethodKey, chunk: Chunk, kept: Methods, scope: Scope) -> list[MethodKey]:
    """The parent's methods that a child's method takes away instead of overriding them.

    Transformers' own shards recognise a deletion by its layout only: one blank line, a signature of one line, no
    docstring.
    """
    error = _raised_error(chunk.node)
    if not error:
        return []
    if scope.exact:
        laid_out = chunk.lead == "\n" and chunk.node.body[0].lineno == chunk.node.lineno + 1  # type: ignore[attr-defined]
        return [key] if laid_out and key in kept else []
    found = [name for name in kept if name[0] == key[0]]
    if not found and error == "AttributeError":
        hint = nearest(key[0], (name for name, _ in kept))
        message = f"`raise AttributeError` deletes nothing: the parent has no method {key[0]}{hint}"
        scope.report(chunk.line, chunk.node.col_offset + 1, message)
    return found


def _raised_error(node: ast.stmt) -> str:
    """The error that is all a method does, if it is one that deletes; empty otherwise."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        match node.body[0]:
            case ast.Raise(exc=ast.Call(func=ast.Name(id=name))) if name.endswith("Error") and not node.decorator_list:
                return name
    return ""


def _render(child: Class, parent: Class, bases: Sequence[str], members: Members) -> str:
    decorators = merged_decorators(child.decorators, parent.decorators)
    arguments = ", ".join([*bases, *parent.keywords])
    head = f"class {child.name}" + (f"({arguments})" if arguments else "") + f":{parent.trailing}"
    methods = join(members.methods.values())
    body = join(members.docstrings) + join(members.attributes.values()) + join(members.others.values()) + methods
    return parent.lead + decorators.text + parent.between + head + (body or "    pass\n")
