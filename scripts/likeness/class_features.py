"""What a class of a modeling file is known by: hashes of its trees, with variables' names, docstrings and annotations left out.

Each tree is hashed twice: with the names of attributes as they are, and with these left out too, so that a file that calls
`q_proj` otherwise is still found. Names of attributes, methods and callees count once more by themselves.
"""

import ast
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32


SMALLEST = 4  # nodes of a tree that says something
LONGEST = 30  # characters of a string that is a value and no message
_SAYS_NOTHING = frozenset({"annotation", "returns", "decorator_list", "type_comment", "ctx", "kind", "type_params"})
_KEPT = frozenset({"self", "super", "torch", "nn"})


@dataclass(frozen=True)
class Known:
    """A class of a file, and the hashes that it is known by."""

    name: str
    features: frozenset[int]


def classes_of(path: Path) -> list[ast.ClassDef]:
    """The classes of the top level of a file; SyntaxError where it is no Python."""
    return [each for each in parsed(path).body if isinstance(each, ast.ClassDef)]


def parsed(path: Path) -> ast.Module:
    """The tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def known_classes(path: Path) -> list[Known]:
    """Every class of a file with what it is known by."""
    classes = classes_of(path)
    model = model_prefix([each.name for each in classes])
    return [Known(each.name, features_of(each, model)) for each in classes]


def model_prefix(names: Sequence[str]) -> str:
    """How a file's classes spell its model: `Qwen3Moe` of Qwen3MoeMLP, Qwen3MoeModel; the longest front that most of them have."""
    fronts = Counter(name[:end] for name in names for end in range(1, len(name)) if name[end].isupper())
    most = max(fronts.values(), default=0)
    return max((front for front, times in fronts.items() if times >= max(0.8 * most, 2)), key=len, default="")


def features_of(definition: ast.ClassDef, model: str) -> frozenset[int]:
    """The hashes that a class is known by."""
    trees = _Trees(model)
    trees.word("role", trees.plain(definition.name))
    for base in definition.bases:
        trees.word("base", trees.plain(ast.unparse(base).rpartition(".")[2]))
    for statement in without_docstring(definition.body):
        if isinstance(statement, ast.FunctionDef):
            trees.word("method", statement.name)
        trees.of(statement)
    return frozenset(trees.found)


def defined_in(definition: ast.ClassDef) -> list[tuple[str, ast.stmt]]:
    """The names that a class's body defines, and the statements that do."""
    body = without_docstring(definition.body)
    return [(name, statement) for statement in body for name in names_defined(statement)]


def member_hashes(definition: ast.ClassDef, model: str) -> dict[str, list[int]]:
    """Each method and attribute of a class as one hash, or several where it is bound several times."""
    trees = _Trees(model)
    found: dict[str, list[int]] = {}
    for name, statement in defined_in(definition):
        found.setdefault(name, []).append(trees.of(statement)[0])
    return found


def names_defined(node: ast.stmt) -> list[str]:
    """The names that a statement binds by itself."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = (
        node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    )
    return [each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)]


def without_docstring(body: Sequence[ast.stmt]) -> Sequence[ast.stmt]:
    """The statements of a body but for its docstring."""
    first = body[0] if body else None
    says = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    return body[1:] if says else body


class _Trees:
    """Hashes of trees, from the leaves up, collected as they are made."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.found: set[int] = set()

    def plain(self, name: str) -> str:
        """A name without that of the model."""
        return name.removeprefix(self.model) or name

    def word(self, kind: str, name: str) -> None:
        self.found.add(_hash(f"{kind} {name}"))

    def of(self, node: ast.AST) -> tuple[int, int, int]:
        """The hash of a tree with and without names of attributes, and its size."""
        if isinstance(node, ast.Name):
            return self._name(node.id)
        if isinstance(node, ast.Constant):
            return self._constant(node.value)
        named, unnamed, size = [type(node).__name__], [type(node).__name__], 1
        for part in self._parts(node):
            if isinstance(part, ast.AST):
                with_names, without, count = self.of(part)
                named.append(str(with_names))
                unnamed.append(str(without))
                size += count
            else:
                named.append(part)
        if isinstance(node, ast.Attribute):
            self.word("word", node.attr)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            self.word("callee", self.plain(node.func.id))
        whole, folded = _hash("|".join(named)), _hash("|".join(unnamed))
        if size >= SMALLEST:
            self.found.add(whole)
            self.found.add(folded ^ 1)
        return whole, folded, size

    def _parts(self, node: ast.AST) -> Iterator[ast.AST | str]:
        """The trees and the words that a node is made of, with a mark where a list of them ends."""
        for name in node._fields:
            value = getattr(node, name)
            if name in _SAYS_NOTHING or value is None:
                continue
            if isinstance(value, list):
                yield from self._listed(without_docstring(value) if name == "body" else value)
            elif isinstance(value, ast.AST):
                yield value
            elif name in ("attr", "arg") and not isinstance(node, ast.arg):
                yield self.plain(str(value))

    def _listed(self, values: Iterable[object]) -> Iterator[ast.AST | str]:
        for value in values:
            if isinstance(value, ast.AST):
                yield value
        yield "."

    def _name(self, name: str) -> tuple[int, int, int]:
        """Variables are alike; what is called, and classes, have names that mean something."""
        kept = name if name in _KEPT else self.plain(name) if name[0].isupper() else "v"
        return _hash(kept), _hash(kept), 1

    def _constant(self, value: object) -> tuple[int, int, int]:
        text = repr(self.plain(value) if isinstance(value, str) else value)
        text = text if len(text) <= LONGEST else "..."
        return _hash(text), _hash(text), 1


def _hash(text: str) -> int:
    return crc32(text.encode("utf-8", "surrogatepass"))
