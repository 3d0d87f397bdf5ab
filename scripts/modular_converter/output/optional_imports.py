"""Torch and torchvision are optional in some outputs: their imports are gathered into guarded blocks (R25)."""

from collections.abc import Iterator, Sequence

import libcst as cst
from libcst import matchers as m

from ..sources.pieces import Line
from ..syntax.import_statements import aliases, module_of, written_module
from ..syntax.tree import block, code, dotted, identifiers, small


GUARDED_TYPES = ("image_processing_pil", "feature_extraction")
SOFT_LIBRARIES = ("torch", "torchvision")


def with_optional_imports_guarded(plain: list[Line], guarded: list[cst.If], package: str) -> list[Line]:
    """Gather the imports of torch and torchvision into one guarded block each, after everything else."""
    for library in SOFT_LIBRARIES:
        test = f"is_{library}_available"
        moved = [node for node in plain if _imports(node, library)]
        plain = [node for node in plain if node not in moved]
        simple = [node for node in guarded if _is_guard_of(node, test)]
        guarded = [node for node in guarded if node not in simple]
        lines = {
            code(line): line
            for line in [*map(_alone, moved), *(each for node in simple for each in block(node.body).body)]
        }
        if not lines:
            continue
        plain = _with_helper(plain, f"{package}utils", test)
        guarded.append(cst.If(cst.Call(cst.Name(test)), cst.IndentedBlock(list(lines.values()))))
    return [*plain, *guarded]


def _imports(node: Line, library: str) -> bool:
    return any(name.partition(".")[0] == library for name in _modules(small(node)))


def _modules(node: cst.CSTNode) -> Iterator[str]:
    """The absolute modules that an import statement names."""
    if isinstance(node, cst.ImportFrom) and not node.relative:
        yield module_of(node)
    elif isinstance(node, cst.Import):
        yield from (alias.evaluated_name for alias in aliases(node))


def _alone(node: Line) -> Line:
    return cst.SimpleStatementLine([small(node)])


def _is_guard_of(node: cst.If, test: str) -> bool:
    return node.orelse is None and m.matches(node.test, m.Call(func=m.Name(test), args=[]))


def _with_helper(plain: Sequence[Line], module: str, test: str) -> list[Line]:
    """The imports with the helper that says whether a library is installed."""
    found = next((each for each in plain if _is_from(small(each), module)), None)
    if found is not None and test in identifiers(found):
        return [_closed_up(each) for each in plain]
    level = len(module) - len(module.lstrip("."))
    names = [cst.ImportAlias(cst.Name(test))]
    node = cst.ImportFrom(dotted(module.lstrip(".")), names, relative=[cst.Dot()] * level)
    return [*plain, cst.SimpleStatementLine([node])]


def _is_from(node: cst.CSTNode, module: str) -> bool:
    return isinstance(node, cst.ImportFrom) and written_module(node) == module


def _closed_up(node: Line) -> Line:
    """A statement without the empty lines above its comments."""
    lines = list(node.leading_lines)
    while lines and lines[0].comment is None:
        lines.pop(0)
    return node.with_changes(leading_lines=lines)
