"""`hetero explain Class.method`: where each piece of a generated method came from, and by which rule."""

import ast
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .modular_converter.diagnostics import ShardError, nearest
from .modular_converter.run import expand
from .modular_converter.shard import Shard, read_shard
from .modular_converter.source import SourceFile


HOUSE = Path(__file__).resolve().parents[1]
Method = ast.FunctionDef | ast.AsyncFunctionDef
Methods = dict[str, Method]


@dataclass(frozen=True)
class Origin:
    """A version of the method that pieces may come from: its syntax tree, and where its text stands."""

    method: Method
    path: Path
    rule: str
    offset: int = 0

    def place(self, node: ast.AST) -> str:
        """`file:first-last`, lines of the file itself."""
        first = getattr(node, "lineno", self.method.lineno) + self.offset
        last = (getattr(node, "end_lineno", None) or first - self.offset) + self.offset
        return f"{self.path.name}:{first}" + (f"-{last}" if last > first else "")


@dataclass(frozen=True)
class Piece:
    """One line of the explanation: what, its first line of code, its origin and the rule."""

    code: str
    place: str
    rule: str


def explain_command(name: str, shards: list[Path] | None) -> int:
    """Print the explanation of `Class.method`; 0, or 2 where there is no such method, with the nearest name."""
    paths = shards or sorted((HOUSE / "modular").glob("modular_*.py"))
    try:
        text = explain(name, [path.resolve() for path in paths])
    except (LookupError, ShardError) as error:
        print(f"hetero explain: {error.args[0] if isinstance(error, LookupError) else error}", file=sys.stderr)
        return 2
    print(text)
    return 0


def explain(name: str, paths: list[Path]) -> str:
    """
    The pieces of a generated method, one a line: origin, rule, code.

    Raises:
        LookupError: where no output has such a class or method; the message has the nearest name.
    """
    methods = generated_methods(paths)
    if name not in methods:
        raise LookupError(f"no generated {name}{nearest(name, methods)}")
    file, generated = methods[name]
    shard = next(shard for shard in map(read_shard, paths) if file.stem.endswith(f"_{shard.model}"))
    origins = list(origins_of(shard, *name.split(".")))
    found = list(pieces(generated, origins))
    widths = [max(len(piece.place) for piece in found), max(len(piece.rule) for piece in found)]
    lines = [f"  {piece.place.ljust(widths[0])}  {piece.rule.ljust(widths[1])}  {piece.code}" for piece in found]
    return "\n".join([f"{name} in {file.name}", *lines])


def generated_methods(paths: list[Path]) -> dict[str, tuple[Path, Method]]:
    """`Class.method` -> its file and syntax tree, for everything that the shards expand to."""
    found: dict[str, tuple[Path, Method]] = {}
    run = expand(paths, lambda path: path.parent)
    if run.failed:
        raise LookupError("\n".join(run.messages()))
    for file, text in run.files.items():
        for statement in ast.parse(text).body:
            if isinstance(statement, ast.ClassDef):
                found |= {f"{statement.name}.{key}": (file, node) for key, node in methods_of(statement).items()}
    return found


def methods_of(node: ast.ClassDef) -> Methods:
    """The methods of a class; of a property, its getter."""
    found: Methods = {}
    for member in node.body:
        if isinstance(member, Method):
            found.setdefault(member.name, member)
    return found


def origins_of(shard: Shard, class_name: str, method: str) -> Iterator[Origin]:
    """The shard's own version of a method, then the parent's, then the one in a class that was copied whole."""
    own = list(origin_in(shard.source, class_name, method, "shard"))
    yield from own
    for helper in shard.helpers:
        yield from origin_in(helper, class_name, method, "helper shard, copied")
    in_shard = class_name in shard.source.definitions
    rule = "parent, pasted for super()" if own else "parent, inherited" if in_shard else "parent, class copied"
    inherited = shard.parent_of(class_name) if in_shard else None
    for index, parent in enumerate(shard.parents):
        for original in parent.source.definitions:
            if (index, original) == inherited or (not in_shard and parent.renaming.name(original) == class_name):
                yield from origin_in(parent.source, original, method, rule, parent.renaming.text)


def origin_in(
    source: SourceFile, class_name: str, method: str, rule: str, rename: Callable[[str], str] = str
) -> Iterator[Origin]:
    """The method in one file, if the file has it."""
    statement = source.definitions.get(class_name)
    if statement is None or statement.kind != "class":
        return
    node = ast.parse(rename(statement.text)).body[0]
    assert isinstance(node, ast.ClassDef)
    if method in methods_of(node):
        yield Origin(methods_of(node)[method], source.path, rule, statement.line - 1)


def pieces(generated: Method, origins: list[Origin]) -> Iterator[Piece]:
    """Decorators, signature and statements of the generated method, each with the first origin that has it."""
    for decorator in generated.decorator_list:
        yield piece(f"@{ast.unparse(decorator)}", decorator, ((o, o.method.decorator_list) for o in origins))
    yield piece(
        signature(generated),
        generated.args,
        ((o, [o.method.args]) for o in origins),
        "parent's and shard's parameters, merged",
    )
    for statement in generated.body:
        yield piece(
            ast.unparse(statement), statement, ((o, o.method.body) for o in origins), "shard, base call rewritten"
        )


def piece(
    code: str, node: ast.AST, candidates: Iterable[tuple[Origin, Iterable[ast.AST]]], otherwise: str = ""
) -> Piece:
    """The first candidate that is the same code, comments and layout aside."""
    wanted = ast.dump(node)
    for origin, nodes in candidates:
        for candidate in nodes:
            if ast.dump(candidate) == wanted:
                return Piece(first_line(code), origin.place(candidate), origin.rule)
    return Piece(first_line(code), "", otherwise)


def signature(method: Method) -> str:
    return f"def {method.name}({ast.unparse(method.args)})"


def first_line(code: str) -> str:
    """Enough of a statement to find it."""
    first, *rest = code.splitlines()
    return f"{first} ..." if rest else first
