"""The order of an output that can be imported: what a statement needs at import comes before it.

What a class only mentions inside its methods may come later, as in a `PreTrainedModel` that initialises its subclasses.
"""

from collections.abc import Iterator, Mapping, Sequence

import libcst as cst


Body = dict[str, tuple[cst.SimpleStatementLine | cst.BaseCompoundStatement, ...]]


def in_import_order(body: Body, lazy: bool = False) -> Body:
    """The same statements; only those that come too late for another are moved up, directly before it. `lazy` is for a file
    whose annotations are not evaluated."""
    needs = {name: list(dict.fromkeys(_needed(nodes, body, lazy))) for name, nodes in body.items()}
    ordered: dict[str, None] = {}
    for name in body:
        _place(name, needs, ordered, set())
    return {name: body[name] for name in ordered}


def _place(name: str, needs: Mapping[str, Sequence[str]], ordered: dict[str, None], pending: set[str]) -> None:
    if name in ordered or name in pending:
        return
    pending.add(name)
    for needed in needs[name]:
        _place(needed, needs, ordered, pending)
    ordered[name] = None


def _needed(nodes: Sequence[cst.CSTNode], body: Body, lazy: bool) -> Iterator[str]:
    """The statements that run, or are looked up, when these are executed: also in functions that they call."""
    queue, called = list(nodes), set[str]()
    while queue:
        node = queue.pop(0)
        yield from (name for name in _names(node, lazy) if name in body)
        for name in [name for name in _called(node, lazy) if name in body and name not in called]:
            called.add(name)
            queue += [each.body for each in body[name] if isinstance(each, cst.FunctionDef)]


def _names(node: cst.CSTNode, lazy: bool) -> Iterator[str]:
    return (each.value for each in _executed(node, lazy) if isinstance(each, cst.Name))


def _called(node: cst.CSTNode, lazy: bool) -> Iterator[str]:
    for each in _executed(node, lazy):
        if isinstance(each, cst.Call) and isinstance(each.func, cst.Name):
            yield each.func.value
        elif isinstance(each, cst.Decorator) and isinstance(each.decorator, cst.Name):
            yield each.decorator.value


def _executed(node: cst.CSTNode, lazy: bool) -> Iterator[cst.CSTNode]:
    """The nodes that are evaluated when a statement is executed: of functions all but the body."""
    stack = [node]
    while stack:
        current = stack.pop()
        if lazy and isinstance(current, cst.Annotation):
            continue
        yield current
        stack += reversed(_evaluated_parts(current))


def _evaluated_parts(node: cst.CSTNode) -> Sequence[cst.CSTNode]:
    match node:
        case cst.FunctionDef():
            return [*node.decorators, node.params, *([node.returns] if node.returns else [])]
        case cst.Lambda():
            return [node.params]
        case cst.Attribute() | cst.Arg():
            return [node.value]
        case cst.Param():
            return [part for part in (node.annotation, node.default) if part]
        case cst.ClassDef():
            return [*node.decorators, *node.bases, *node.keywords, node.body]
        case cst.Name():
            return []
        case _:
            return node.children
