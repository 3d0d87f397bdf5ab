"""Reading a shard: which parents, siblings and helper shards its imports name, and what is refused there."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import libcst as cst

from ..naming.foreign_names import foreign_names
from ..naming.model_names import ModelNames, read_model_names
from ..naming.prefix import front, infer_prefix
from ..naming.renaming import Renaming, model_renaming
from ..sources.diagnostics import Diagnostic, ShardError, compile_error, nearest
from ..sources.module_lookup import (
    inherits_here,
    is_helper_import,
    is_parent_import,
    module_file,
    resolve_sibling,
    sibling_source,
)
from ..sources.paths import FILE_TYPES, Home, home_of, installed_folder, parent_model
from ..sources.siblings import Siblings, is_shard
from ..sources.source import SourceFile, Statement, imports_in, read_source
from ..syntax.import_statements import aliases, bound_name, module_of, names_of, written_module
from ..syntax.tree import small
from .shard import Entry, Parent, Shard, class_types, model_of


def read_shard(path: Path, siblings: Siblings | None = None) -> Shard:
    """Read a shard and its parents."""
    siblings = siblings or Siblings((path.parent,))
    _refuse_name(path)
    source, home = read_source(path), home_of(path)
    _refuse_uncompilable(source)
    model = model_of(path)
    bases = {s.name: s.bases for s in source.of_kind("class")}
    names = model_names(home)
    if not home.inside:
        names = names.spelled_in(model, bases)
    inherited = _inherited(source, bases)
    resolved = _resolve_siblings(source, home, inherited, siblings)
    imports = [(node, each) for node in _from_imports(source) for each in resolved.get(node, [node])]
    _refuse_imports(source, imports)
    files = _parent_files(source, imports, home, inherited, siblings)
    if not home.inside:
        names = _own_spelling(names, model, files, bases)
    helpers = _Helpers(siblings)
    borrowed = helpers.read(source, [each for _, each in imports], home)
    entries = _entries([*borrowed, *((s, False) for s in source.definitions.values())])
    theirs = {name for *_, wanted in files for name in wanted}
    alone = {name for name, its in bases.items() if not home.inside and theirs.isdisjoint(its)}
    types = class_types(entries, names.cased(model), alone)
    family = _Family(path, model, names, bases, siblings, frozenset(types[name] for name in bases.keys() & types))
    parents = [_parent(file, node, wanted, family, home) for node, file, wanted in files]
    shard = Shard(
        source,
        home,
        names,
        model,
        names.cased(model),
        tuple(parents),
        tuple(helpers.sources.values()),
        entries,
        bases,
        types,
        siblings=siblings,
        siblings_at=resolved | helpers.siblings_at,
    )
    _refuse_two_parents(shard)
    return shard


def _problem(source: SourceFile, node: cst.CSTNode, message: object) -> Diagnostic:
    return Diagnostic(source.path, *source.position(node), str(message))


def _inherited(source: SourceFile, bases: Mapping[str, tuple[str, ...]]) -> frozenset[str]:
    """The bases whose code classes take over: those from abroad, else the siblings, which are mixins beside the former."""
    abroad = {name for node in _from_imports(source) if is_parent_import(node) for name in names_of(node)}
    return frozenset().union(*(abroad.intersection(its) or its for its in bases.values()))


def _resolve_siblings(
    source: SourceFile, home: Home, inherited: Set[str], siblings: Siblings
) -> dict[cst.ImportFrom, list[cst.ImportFrom]]:
    """The imports that name a sibling shard, as imports of the files that it expands to."""
    found: dict[cst.ImportFrom, list[cst.ImportFrom]] = {}
    for node in _from_imports(source):
        helper = is_helper_import(node)
        shard = helper and is_shard(home.shard.with_name(f"{module_of(node)}.py"))
        file = not helper and parent_model(module_of(node)) is not None and inherits_here(node, inherited)
        if not home.inside and (shard or file):
            try:
                found[node] = list(resolve_sibling(node, siblings))
            except LookupError as error:
                raise ShardError([_problem(source, node, error.args[0])]) from error
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


Imports = Sequence[tuple[cst.ImportFrom, cst.ImportFrom]]  # as written, and as resolved


def _refuse_imports(source: SourceFile, imports: Imports) -> None:
    found = [_problem(source, written, message) for written, node in imports for message in _refusals(node)]
    if found:
        raise ShardError(found)


def _refusals(node: cst.ImportFrom) -> Iterator[str]:
    """What is wrong with an import, whatever file it leads to."""
    if written_module(node) == "transformers":
        yield "`from transformers import` hides the file: name the module that defines it"
    kind = parent_model(module_of(node))
    if kind is None or not is_parent_import(node):
        return
    for alias in aliases(node):
        name, other = alias.evaluated_name, alias.evaluated_alias
        if kind[0] == "modeling" and name.endswith("Config"):
            yield f"{name} is a config: import it from configuration_{kind[1]}, not from the modeling file"
        if other:
            yield f"`{name} as {other}`: parents keep their names, drop the alias"
    if isinstance(node.names, cst.ImportStar):
        yield "`import *` hides what is inherited: name the classes and functions"


def _parent_files(
    source: SourceFile,
    imports: Imports,
    home: Home,
    inherited: Set[str],
    siblings: Siblings,
) -> list["ParentFile"]:
    """The files that the shard inherits from, each with the import that names it first and all that is imported."""
    imported: dict[Path, tuple[cst.ImportFrom, SourceFile, list[str]]] = {}
    problems: list[Diagnostic] = []
    for written, node in imports:
        module = module_of(node)
        sibling = not home.inside and parent_model(module) is not None and inherits_here(node, inherited)
        if not (sibling or is_parent_import(node)):
            continue
        try:
            file = (sibling_source(module, siblings) if sibling else None) or read_source(module_file(node, home))
        except LookupError as error:
            problems.append(_problem(source, written, error.args[0]))
            continue
        except ShardError as error:
            problems += error.diagnostics
            continue
        wanted = names_of(node)
        checked = [name for name in wanted if name in inherited or not home.inside]
        problems += (_problem(source, written, message) for message in _unknown_names(node, file, checked))
        imported.setdefault(file.path, (node, file, []))[2].extend(wanted)
    if problems:
        raise ShardError(problems)
    return list(imported.values())


def _unknown_names(node: cst.ImportFrom, source: SourceFile, wanted: Iterable[str]) -> Iterator[str]:
    imported = {bound for statement in source.of_kind("import", "guard") for bound in bound_names(statement.node)}
    for name in wanted:
        if name not in source.definitions and name not in imported:
            yield f"{module_of(node)} defines no {name}{nearest(name, source.definitions)}"


def bound_names(node: cst.CSTNode) -> list[str]:
    """The names that import statements inside `node` bind."""
    return [bound_name(alias) for each in imports_in(node) for alias in aliases(each)]


ParentFile = tuple[cst.ImportFrom, SourceFile, list[str]]


def _own_spelling(
    names: ModelNames, model: str, files: Iterable[ParentFile], bases: Mapping[str, tuple[str, ...]]
) -> ModelNames:
    """The names with those of the parents as their classes spell them; and that of the shard, where its classes do not
    spell the file's name, as what they have in the place of their parents' names."""
    fronts: list[str] = []
    for node, file, wanted in files:
        kind = parent_model(module_of(node))
        assert kind is not None
        if kind[1] != model:
            names = names.spelled_in(kind[1], (each.name for each in file.of_kind("class")))
        pairs = [(child, base) for child, its in bases.items() for base in its if base in wanted]
        fronts += filter(None, (front(child, base, names.cased(kind[1])) for child, base in pairs))
    return names if model in names.own or not fronts else names.with_own(model, Counter(fronts).most_common(1)[0][0])


@dataclass(frozen=True)
class _Family:
    """What the names of a parent depend on: who inherits from it, and what lies beside the shard."""

    path: Path
    model: str
    names: ModelNames
    bases: Mapping[str, tuple[str, ...]]
    siblings: Siblings
    own_types: frozenset[str]

    @cached_property
    def types(self) -> frozenset[str]:
        """The types of the files that the shard expands to, and of those that lie there written by hand."""
        return self.own_types | frozenset(filter(self._by_hand, FILE_TYPES))

    def _by_hand(self, kind: str) -> bool:
        found = self.siblings.find(f"{kind}_{self.model}")
        return found is not None and not found[1].startswith(
            f"# Generated from {self.path.parent.name}/{self.path.name} "
        )

    def beside(self, source: SourceFile, module: str) -> str:
        """The text of another file of a parent, empty where there is none."""
        found = Siblings((source.path.parent,), self.siblings.fresh).find(module)
        return found[1] if found else ""


def _parent(source: SourceFile, node: cst.ImportFrom, wanted: list[str], family: _Family, home: Home) -> Parent:
    module = written_module(node)
    kind = parent_model(module)
    assert kind is not None
    names = family.names
    pairs = [(child, base) for child, its in family.bases.items() for base in its if base in wanted]
    classes = [statement.name for statement in source.of_kind("class")]
    prefix = infer_prefix(pairs, names.cased(family.model), names.cased(kind[1]), classes, home.inside)
    renaming = model_renaming(names, kind[1], prefix)
    if not home.inside:
        along = frozenset(f"{each}_{kind[1]}" for each in family.types)
        beside = [family.beside(source, each) for each in sorted(along)]
        renaming = replace(
            renaming, along=along, foreign=foreign_names(source, beside, renaming, along, names.config_of_type)
        )
    return Parent(source, module, kind[0], kind[1], tuple(wanted), renaming)


Borrowed = list[tuple[Statement, bool]]


@dataclass(frozen=True)
class _Helpers:
    """The helper shards that are imported, directly or by one another, and what these import from siblings."""

    siblings: Siblings
    sources: dict[Path, SourceFile] = field(default_factory=dict)
    siblings_at: dict[cst.ImportFrom, list[cst.ImportFrom]] = field(default_factory=dict)

    def read(
        self, source: SourceFile, imports: Iterable[cst.ImportFrom], home: Home, trail: tuple[Path, ...] = ()
    ) -> Borrowed:
        """The statements that a shard, or another helper, takes from helpers."""
        taken: Borrowed = []
        for node in filter(is_helper_import, imports):
            try:
                helper = read_source(module_file(node, home))
            except LookupError as error:
                raise ShardError([_problem(source, node, error.args[0])]) from error
            _refuse_cycle(source, node, helper.path, (*trail, home.shard))
            place = home_of(helper.path)
            resolved = _resolve_siblings(helper, place, frozenset(), self.siblings)
            self.siblings_at.update(resolved)
            copied = [each for each in _from_imports(helper) if each not in resolved]
            taken += self.read(helper, copied, place, (*trail, home.shard))
            self.sources[helper.path] = helper
            taken += [(statement, True) for statement in helper.definitions.values()]
            problems = [_problem(source, node, message) for message in _unknown_names(node, helper, names_of(node))]
            if problems:
                raise ShardError(problems)
        return taken


def _refuse_cycle(source: SourceFile, node: cst.ImportFrom, helper: Path, path: tuple[Path, ...]) -> None:
    if helper in path:
        cycle = " -> ".join(file.name for file in [*path[path.index(helper) :], helper])
        message = f"shards import one another in a circle: {cycle}; move what they share into a third one"
        raise ShardError([_problem(source, node, message)])


def _from_imports(source: SourceFile) -> list[cst.ImportFrom]:
    found = (small(statement.node) for statement in source.of_kind("import"))
    return [node for node in found if isinstance(node, cst.ImportFrom)]


def _entries(statements: Iterable[tuple[Statement, bool]]) -> dict[str, Entry]:
    keep = Renaming()
    found: dict[str, Entry] = {}
    for rank, (statement, helper) in enumerate(statements):
        found[statement.name] = Entry(statement.name, statement, keep, -1, rank, helper)
    return found


def _refuse_two_parents(shard: Shard) -> None:
    found = []
    for name in shard.bases:
        parents = list(dict.fromkeys(base for _, base in shard.parents_of(name)))
        if len(parents) > 1:
            line = shard.source.line(shard.source.definitions[name].node)
            message = f"{name} has {len(parents)} parents from other models ({', '.join(parents)}): keep one"
            found.append(Diagnostic(shard.path, line, 1, message))
    if found:
        raise ShardError(found)
