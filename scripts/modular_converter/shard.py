"""A shard as the generator sees it: its own statements, its parents, and what it takes from helper shards."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from .diagnostics import Diagnostic, ShardError, nearest
from .names import ModelNames, read_model_names
from .prefix import infer_prefix
from .rename import Renaming, model_renaming
from .resolve import Home, home_of, installed_folder, is_helper_import, is_parent_import, module_file, parent_model
from .siblings import Siblings, inherits_here, is_shard, resolve_sibling
from .source import SourceFile, Statement, compile_error, read_source


@dataclass(frozen=True)
class Parent:
    """A parent file: what the shard imports from it, and how its names are renamed."""

    source: SourceFile
    module: str
    type: str
    model: str
    imported: tuple[str, ...]
    renaming: Renaming

    @property
    def is_sibling(self) -> bool:
        """Whether another shard of the same folder expands to this file."""
        return self.module.startswith(".") and not self.module.startswith("..")

    @cached_property
    def classes(self) -> frozenset[str]:
        """The imported names that are classes defined there, so that a class of the shard may inherit from them."""
        found = self.source.definitions
        return frozenset(name for name in self.imported if name in found and found[name].kind == "class")


@dataclass(frozen=True)
class Entry:
    """Something that can be emitted: a top-level statement of the shard, of a helper shard or of a renamed parent."""

    name: str
    statement: Statement
    renaming: Renaming
    file: int
    rank: int
    helper: bool = False

    @property
    def kind(self) -> str:
        return self.statement.kind

    @property
    def lead(self) -> str:
        return self.renaming.text(self.statement.lead)

    @property
    def text(self) -> str:
        return self.renaming.text(self.statement.text)

    @cached_property
    def identifiers(self) -> frozenset[str]:
        """The renamed names that the code mentions."""
        return frozenset(map(self.renaming.name, self.statement.identifiers))


@dataclass(frozen=True)
class Shard:
    """Everything that is known of a shard before its outputs are laid out."""

    source: SourceFile
    home: Home
    names: ModelNames
    model: str
    cased: str
    parents: tuple[Parent, ...]
    helpers: tuple[SourceFile, ...]
    entries: Mapping[str, Entry]
    bases: Mapping[str, tuple[str, ...]]
    problems: list[Diagnostic] = field(default_factory=list)
    used: set[tuple[int, str]] = field(default_factory=set)
    siblings: Siblings = field(default_factory=Siblings)
    siblings_at: Mapping[int, list[ast.ImportFrom]] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return self.source.path

    @cached_property
    def exported(self) -> list[str] | None:
        """The names in `__all__`; None for a helper shard, which has none."""
        return exports(self.source)

    @cached_property
    def classes(self) -> list[str]:
        """The shard's own classes, in order."""
        return [name for name, entry in self.entries.items() if entry.kind == "class" and not entry.helper]

    def parent_of(self, class_name: str) -> tuple[int, str] | None:
        """(index of the parent file, class name there) when a class inherits from another model."""
        for base in self.bases.get(class_name, ()):
            for index, parent in enumerate(self.parents):
                if base in parent.classes:
                    return index, base
        return None


def exports(source: SourceFile) -> list[str] | None:
    """The names in a shard's `__all__`; None for a helper shard, which has none."""
    for statement in source.of_kind("__all__"):
        node = ast.parse(statement.text).body[0]
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        names = [element.value for element in getattr(value, "elts", ()) if isinstance(element, ast.Constant)]
        if not isinstance(value, ast.List | ast.Tuple) or len(names) != len(value.elts):
            message = "`__all__` must be a list of string literals, each of which goes to the file of its kind"
            raise ShardError([Diagnostic(source.path, statement.line, 1, message)])
        return [str(name) for name in names]
    return None


def model_of(path: Path) -> str:
    """`modular_llama.py` -> `llama`."""
    return path.stem.partition("modular_")[2]


def read_shard(path: Path, siblings: Siblings | None = None) -> Shard:
    """Read a shard and its parents."""
    siblings = siblings or Siblings((path.parent,))
    _refuse_name(path)
    source, home = read_source(path), home_of(path)
    _refuse_uncompilable(source)
    names = model_names(home)
    model = model_of(path)
    bases = {s.name: s.bases for s in source.of_kind("class")}
    resolved = _resolve_siblings(_from_imports(source), home, bases, siblings)
    imports = [each for node in _from_imports(source) for each in resolved.get(node.lineno, [node])]
    _refuse_imports(path, imports)
    parents = _parents(imports, home, names, names.cased(model), bases, siblings)
    helpers, borrowed = _helpers(imports, home)
    entries = _entries([*borrowed, *((s, False) for s in source.definitions.values())])
    shard = Shard(
        source,
        home,
        names,
        model,
        names.cased(model),
        tuple(parents),
        tuple(helpers.values()),
        entries,
        bases,
        siblings=siblings,
        siblings_at=resolved,
    )
    _refuse_two_parents(shard)
    return shard


def _resolve_siblings(
    nodes: Iterable[ast.ImportFrom], home: Home, bases: Mapping[str, tuple[str, ...]], siblings: Siblings
) -> dict[int, list[ast.ImportFrom]]:
    """The imports that name a sibling shard, by line, as imports of the files that it expands to."""
    inherited = {base for its in bases.values() for base in its}
    found: dict[int, list[ast.ImportFrom]] = {}
    for node in nodes:
        helper = is_helper_import(node)
        shard = helper and is_shard(home.shard.with_name(f"{node.module}.py"))
        file = not helper and parent_model(node.module or "") is not None and inherits_here(node, inherited)
        if not home.inside and (shard or file):
            found[node.lineno] = list(resolve_sibling(node, home.shard, siblings))
    return found


def _refuse_uncompilable(source: SourceFile) -> None:
    """Some of what can be parsed cannot be compiled, such as a starred expression on its own."""
    if error := compile_error(source.text):
        message = f"invalid syntax: {error.msg}"
        raise ShardError([Diagnostic(source.path, error.lineno or 1, error.offset or 1, message)]) from error


def _refuse_name(path: Path) -> None:
    if not path.stem.startswith("modular_"):
        message = f"a shard is called modular_<name>.py, so that its outputs can take its name; this is {path.name}"
        raise ShardError([Diagnostic(path, 1, 1, message)])


def model_names(home: Home) -> ModelNames:
    """The installed names of models, of the tree the shard lies in."""
    root = home.root or installed_folder("transformers")
    return _names_cache(root) if root else ModelNames({})


_read_names: dict[Path, ModelNames] = {}


def _names_cache(root: Path) -> ModelNames:
    if root not in _read_names:
        _read_names[root] = read_model_names(root / "models" / "auto")
    return _read_names[root]


def _refuse_imports(path: Path, nodes: Iterable[ast.ImportFrom]) -> None:
    found = [(node, message) for node in nodes for message in _refusals(node)]
    if found:
        raise ShardError(Diagnostic(path, node.lineno, node.col_offset + 1, message) for node, message in found)


def _refusals(node: ast.ImportFrom) -> Iterator[str]:
    """What is wrong with an import, whatever file it leads to."""
    if node.level == 0 and node.module == "transformers":
        yield "`from transformers import` hides the file: name the module that defines it"
    kind = parent_model(node.module or "")
    if kind is None or not is_parent_import(node):
        return
    for alias in node.names:
        if kind[0] == "modeling" and alias.name.endswith("Config"):
            yield f"{alias.name} is a config: import it from configuration_{kind[1]}, not from the modeling file"
        if alias.asname:
            yield f"`{alias.name} as {alias.asname}`: parents keep their names, drop the alias"
        if alias.name == "*":
            yield "`import *` hides what is inherited: name the classes and functions"


def _parents(
    nodes: Iterable[ast.ImportFrom],
    home: Home,
    names: ModelNames,
    default: str,
    bases: Mapping[str, tuple[str, ...]],
    siblings: Siblings,
) -> Iterator[Parent]:
    imported: dict[Path, tuple[ast.ImportFrom, SourceFile, list[str]]] = {}
    problems: list[Diagnostic] = []
    inherited = {base for its in bases.values() for base in its}
    for node in nodes:
        sibling = not home.inside and parent_model(node.module or "") is not None and inherits_here(node, inherited)
        if not (sibling or is_parent_import(node)):
            continue
        try:
            file = (siblings.source(node.module or "") if sibling else None) or read_source(module_file(node, home))
        except ShardError as error:
            problems += error.diagnostics
            continue
        wanted = [alias.name for alias in node.names]
        checked = [name for name in wanted if name in inherited or not home.inside]
        problems += _unknown_names(node, file, checked, home.shard)
        imported.setdefault(file.path, (node, file, []))[2].extend(wanted)
    if problems:
        raise ShardError(problems)
    for node, file, wanted in imported.values():
        yield _parent(file, node, wanted, names, default, bases)


def _unknown_names(
    node: ast.ImportFrom, source: SourceFile, wanted: Iterable[str], shard: Path
) -> Iterator[Diagnostic]:
    imported = {bound for statement in source.of_kind("import", "guard") for bound in bound_names(statement.node)}
    for name in wanted:
        if name not in source.definitions and name not in imported:
            message = f"{node.module or ''} defines no {name}{nearest(name, source.definitions)}"
            yield Diagnostic(shard, node.lineno, node.col_offset + 1, message)


def bound_names(node: ast.AST | None) -> list[str]:
    """The names that import statements inside `node` bind."""
    found = []
    for child in ast.walk(node) if node else ():
        if isinstance(child, ast.Import | ast.ImportFrom):
            found += [alias.asname or alias.name.partition(".")[0] for alias in child.names]
    return found


def _parent(
    source: SourceFile,
    node: ast.ImportFrom,
    wanted: list[str],
    names: ModelNames,
    default: str,
    bases: Mapping[str, tuple[str, ...]],
) -> Parent:
    module = "." * node.level + (node.module or "")
    kind = parent_model(module)
    assert kind is not None
    pairs = [(child, base) for child, its in bases.items() for base in its if base in wanted]
    classes = [statement.name for statement in source.of_kind("class")]
    prefix = infer_prefix(pairs, default, names.cased(kind[1]), classes)
    return Parent(source, module, kind[0], kind[1], tuple(wanted), model_renaming(names, kind[1], prefix))


Helpers = dict[Path, SourceFile]
Borrowed = list[tuple[Statement, bool]]


def _helpers(imports: Iterable[ast.ImportFrom], home: Home, path: tuple[Path, ...] = ()) -> tuple[Helpers, Borrowed]:
    """The helper shards that are imported, directly or by one another, and the statements taken from them."""
    helpers: Helpers = {}
    taken: Borrowed = []
    for node in imports:
        if is_helper_import(node):
            helper = read_source(module_file(node, home))
            _refuse_cycle(node, helper.path, (*path, home.shard))
            deeper, statements = _helpers(_from_imports(helper), home_of(helper.path), (*path, home.shard))
            helpers |= deeper | {helper.path: helper}
            taken += [*statements, *((statement, True) for statement in helper.definitions.values())]
            problems = list(_unknown_names(node, helper, [alias.name for alias in node.names], home.shard))
            if problems:
                raise ShardError(problems)
    return helpers, taken


def _refuse_cycle(node: ast.ImportFrom, helper: Path, path: tuple[Path, ...]) -> None:
    if helper in path:
        cycle = " -> ".join(file.name for file in [*path[path.index(helper) :], helper])
        message = f"shards import one another in a circle: {cycle}; move what they share into a third one"
        raise ShardError([Diagnostic(path[-1], node.lineno, node.col_offset + 1, message)])


def _from_imports(source: SourceFile) -> list[ast.ImportFrom]:
    return [statement.node for statement in source.of_kind("import") if isinstance(statement.node, ast.ImportFrom)]


def _entries(statements: Iterable[tuple[Statement, bool]]) -> dict[str, Entry]:
    keep = Renaming()
    found: dict[str, Entry] = {}
    for rank, (statement, helper) in enumerate(statements):
        found[statement.name] = Entry(statement.name, statement, keep, -1, rank, helper)
    return found


def _refuse_two_parents(shard: Shard) -> None:
    found = []
    known = {name for parent in shard.parents for name in parent.classes}
    for name, bases in shard.bases.items():
        parents = [base for base in bases if base in known]
        if len(parents) > 1:
            line = shard.source.definitions[name].line
            message = f"{name} has {len(parents)} parents from other models ({', '.join(parents)}): keep one"
            found.append(Diagnostic(shard.path, line, 1, message))
    if found:
        raise ShardError(found)
