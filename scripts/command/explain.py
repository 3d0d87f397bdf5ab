"""`hetero explain Class.method`: where each piece of a generated method came from, and by which rule."""

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import libcst as cst

from ..modular_converter.run import expand
from ..modular_converter.shards.reading import read_shard
from ..modular_converter.shards.shard import Shard, model_of
from ..modular_converter.sources.diagnostics import ShardError, nearest
from ..modular_converter.sources.paths import FILE_TYPES
from ..modular_converter.sources.siblings import is_shard, siblings_of
from ..modular_converter.sources.source import SourceFile
from ..modular_converter.syntax.tree import bare, block, code, same_code
from .project import project_of


Methods = dict[str, cst.FunctionDef]
Rename = Callable[[cst.CSTNode], cst.CSTNode]


@dataclass(frozen=True)
class Origin:
    """A version of the method that pieces may come from: its tree, the file it stands in, and how it is renamed."""

    method: cst.FunctionDef
    source: SourceFile
    rule: str
    rename: Rename

    def place(self, node: cst.CSTNode) -> str:
        """`file:first-last`, lines of the file itself."""
        first, last = self.source.lines(node)
        if node is self.method.params:
            first = last = self.source.lines(self.method)[0]
        return f"{self.source.path.name}:{first}" + (f"-{last}" if last > first else "")


@dataclass(frozen=True)
class Piece:
    """One line of the explanation: what, its first line of code, its origin and the rule."""

    code: str
    place: str
    rule: str


def explain_command(name: str, shards: list[Path] | None) -> int:
    """Print the explanation of `Class.method`; 0, or 2 where there is no such method, with the nearest name."""
    try:
        paths = shards or [path for path in project_of(Path()).shards if is_shard(path)]
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
    files = generated_files(paths)
    methods = generated_methods(files)
    if name not in methods:
        raise LookupError(f"no generated {name}{nearest(name, methods)}")
    file, generated = methods[name]
    path = next(path for path in paths if any(file.stem == f"{kind}_{model_of(path)}" for kind in FILE_TYPES))
    shard = read_shard(path, siblings_of(path, lambda each: each.parent, files))
    origins = list(origins_of(shard, *name.split(".")))
    found = list(pieces(generated, origins))
    widths = [max(len(piece.place) for piece in found), max(len(piece.rule) for piece in found)]
    lines = [f"  {piece.place.ljust(widths[0])}  {piece.rule.ljust(widths[1])}  {piece.code}" for piece in found]
    return "\n".join([f"{name} in {file.name}", *lines])


def generated_files(paths: list[Path]) -> dict[Path, str]:
    """What the shards expand to."""
    run = expand(paths, lambda path: path.parent)
    if run.failed:
        raise LookupError("\n".join(run.messages()))
    return run.files


def generated_methods(files: dict[Path, str]) -> dict[str, tuple[Path, cst.FunctionDef]]:
    """`Class.method` -> its file and tree."""
    found: dict[str, tuple[Path, cst.FunctionDef]] = {}
    for file, text in files.items():
        for statement in cst.parse_module(text).body:
            if isinstance(statement, cst.ClassDef):
                found |= {f"{statement.name.value}.{key}": (file, node) for key, node in methods_of(statement).items()}
    return found


def methods_of(node: cst.ClassDef) -> Methods:
    """The methods of a class; of a property, its getter."""
    found: Methods = {}
    for member in block(node.body).body:
        if isinstance(member, cst.FunctionDef):
            found.setdefault(member.name.value, member)
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
                yield from origin_in(parent.source, original, method, rule, parent.renaming.node)


def origin_in(
    source: SourceFile, class_name: str, method: str, rule: str, rename: Rename = lambda node: node
) -> Iterator[Origin]:
    """The method in one file, if the file has it."""
    statement = source.definitions.get(class_name)
    if statement is not None and isinstance(statement.node, cst.ClassDef):
        methods = methods_of(statement.node)
        if method in methods:
            yield Origin(methods[method], source, rule, rename)


def pieces(generated: cst.FunctionDef, origins: list[Origin]) -> Iterator[Piece]:
    """Decorators, signature and statements of the generated method, each with the first origin that has it."""
    for decorator in generated.decorators:
        yield piece(one_line(decorator), decorator, ((o, o.method.decorators) for o in origins))
    yield piece(
        signature(generated),
        generated.params,
        ((o, [o.method.params]) for o in origins),
        "parent's and shard's parameters, merged",
    )
    for statement in block(generated.body).body:
        bodies = ((o, block(o.method.body).body) for o in origins)
        yield piece(one_line(statement), statement, bodies, "shard, base call rewritten")


def piece(
    text: str,
    node: cst.CSTNode,
    candidates: Iterable[tuple[Origin, Iterable[cst.CSTNode]]],
    otherwise: str = "",
) -> Piece:
    """The first candidate that is the same code, comments and layout aside."""
    for origin, nodes in candidates:
        for candidate in nodes:
            if same_code(origin.rename(candidate), node):
                return Piece(text, origin.place(candidate), origin.rule)
    return Piece(text, "", otherwise)


def signature(method: cst.FunctionDef) -> str:
    return f"def {method.name.value}({' '.join(code(method.params).split())})"


def one_line(node: cst.CSTNode) -> str:
    """Enough of a statement to find it: all of a simple one, the first line of a block."""
    text = code(bare(node)).strip()
    if isinstance(node, cst.BaseCompoundStatement):
        return f"{text.splitlines()[0]} ..."
    return " ".join(text.split())
