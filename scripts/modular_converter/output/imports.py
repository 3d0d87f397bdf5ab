"""The import statements of an output: candidates from the shard and its parents, kept where a name is used (R24)."""

import re
from collections.abc import Iterable, Iterator, Mapping, Set
from functools import lru_cache

import libcst as cst

from ..layout.absolute_imports import with_absolute_imports
from ..layout.outputs import Output
from ..shards.shard import Parent, Shard
from ..sources.module_lookup import is_helper_import, is_parent_import
from ..sources.pieces import Line
from ..sources.source import Import, Statement
from ..syntax.import_statements import aliases, bound_name, module_of
from ..syntax.tree import Edits, bare, block, code, identifiers, rewrite, small, walk
from .optional_imports import GUARDED_TYPES, with_optional_imports_guarded


_WORD = re.compile(r"[^\W\d]\w*")
_LONGEST_ANNOTATION = 200


def output_imports(shard: Shard, output: Output) -> list[Line]:
    """The imports that `output` needs, plain ones first."""
    body = [node for nodes in output.body.values() for node in nodes]
    wanted = used_names([*body, *output.ending]) - output.body.keys()
    candidates = list(_unique(_from_siblings(shard, output), _candidates(shard, _guarding(shard, output))).values())
    wanted |= {name for each in candidates if isinstance(each, cst.If) for name in _tested(each)}
    kept = _kept(candidates, wanted, output)
    while not shard.home.inside and (more := _used_in_guards(kept) - wanted):
        wanted |= more
        kept = _kept(candidates, wanted, output)
    kept = [*futures(shard, output), *kept]
    plain = [node for node in kept if not isinstance(node, cst.If)]
    guarded = [node for node in kept if isinstance(node, cst.If)]
    if output.type in GUARDED_TYPES:
        return with_optional_imports_guarded(plain, guarded, "..." if shard.home.inside else "transformers.")
    return [*plain, *guarded]


def futures(shard: Shard, output: Output) -> list[Line]:
    """`from __future__ import ...`, where the code of an output was written under it; transformers' own files lose it."""
    if shard.home.inside:
        return []
    sources = [
        shard.source,
        *shard.helpers,
        *(shard.parents[index].source for index in sorted({i for i, _ in output.used})),
    ]
    found = (each.node for source in sources for each in source.of_kind("import") if _is_future(small(each.node)))
    return list({code(bare(node)): bare(node) for node in found}.values())


def _is_future(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.ImportFrom) and not node.relative and module_of(node) == "__future__"


def _kept(candidates: Iterable[Line], wanted: Set[str], output: Output) -> list[Line]:
    taken = set(output.body)
    return [node for each in candidates if (node := _keep(each, wanted, taken))]


def _used_in_guards(kept: Iterable[Line]) -> set[str]:
    """The names that the guarded blocks use beside their imports, as in what an `else` defines instead."""
    guards = (each for each in kept if isinstance(each, cst.If))
    drop: Edits = {cst.Import: _nothing, cst.ImportFrom: _nothing}
    return used_names(rewrite(guard, drop) for guard in guards)


def _nothing(node: cst.CSTNode) -> cst.Pass:
    return cst.Pass()


def _tested(guard: cst.If) -> frozenset[str]:
    """The names in the conditions of a guarded block of imports."""
    return identifiers(*(each.test for each in walk(guard) if isinstance(each, cst.If)))


def used_names(nodes: Iterable[cst.CSTNode]) -> set[str]:
    """Names that the code reads, and words of its short strings, which may be annotations."""
    found: set[str] = set()
    for each in (inner for node in nodes for inner in walk(node)):
        if isinstance(each, cst.Name):
            found.add(each.value)
        elif isinstance(each, cst.SimpleString | cst.FormattedStringText) and len(each.value) < _LONGEST_ANNOTATION:
            found.update(_WORD.findall(each.value))
    return found


def _guarding(shard: Shard, output: Output) -> frozenset[int]:
    """The parents whose guarded blocks an output may have: outside transformers, those whose code is in it."""
    return frozenset(range(len(shard.parents)) if shard.home.inside else (index for index, _ in output.used))


@lru_cache(maxsize=1)
def _candidates(shard: Shard, guarding: frozenset[int]) -> dict[str, Line]:
    """What the files of a shard may import, by its wording; in transformers' own, comments in a list of names are lost."""
    written = _written(shard, guarding)
    return _unique(map(_without_comments_in_list, written) if shard.home.inside else written, {})


def _without_comments_in_list(line: Line) -> Line:
    node = small(line)
    listed = isinstance(node, cst.ImportFrom) and not isinstance(node.names, cst.ImportStar)
    return line.with_changes(body=[_on_one_line(node, node.names)]) if listed else line


def _written(shard: Shard, guarding: Set[int]) -> Iterator[Line]:
    for source in (shard.source, *shard.helpers):
        for statement in source.of_kind("import", "guard"):
            node = small(statement.node)
            if isinstance(node, cst.ImportFrom) and node in shard.siblings_at:
                # What is imported from a sibling and neither inherited nor copied stays an import.
                yield from (cst.SimpleStatementLine([each]) for each in shard.siblings_at[node])
            elif not (isinstance(node, cst.ImportFrom) and (is_parent_import(node) or is_helper_import(node))):
                yield statement.node
    for index, parent in enumerate(shard.parents):
        for statement in parent.source.of_kind("import", *(["guard"] if index in guarding else [])):
            yield _from_parent(shard, parent, statement)
    if not shard.home.inside:
        yield from _parents_imports(shard)


def _from_siblings(shard: Shard, output: Output) -> Iterator[Line]:
    """What the file takes from the others of its shard."""
    for kind, names in output.siblings.items():
        listed = [cst.ImportAlias(cst.Name(name)) for name in names]
        module = cst.Name(f"{kind}_{shard.model}")
        yield cst.SimpleStatementLine([cst.ImportFrom(module, listed, relative=[cst.Dot()])])


def _parents_imports(shard: Shard) -> Iterator[Line]:
    """What the shard imports from its parents, where it is used under its own name and not only inherited."""
    for source in (shard.source, *shard.helpers):
        for node in (small(statement.node) for statement in source.of_kind("import")):
            if isinstance(node, cst.ImportFrom) and node not in shard.siblings_at and is_parent_import(node):
                yield cst.SimpleStatementLine([node])


def _from_parent(shard: Shard, parent: Parent, statement: Statement) -> Line:
    """The import of a parent as this output has to write it; the comments above it keep the parent's words."""
    node = parent.renaming.node(statement.node)
    node = node.with_changes(leading_lines=statement.node.leading_lines)
    return with_absolute_imports(shard, parent, _with_sibling_module(node, parent, shard.model))


def _with_sibling_module(node: Line, parent: Parent, model: str) -> Line:
    """With an alias as prefix, the sibling module keeps the model's own name (outside transformers, see `outside`)."""
    new = parent.renaming.new
    if new is None or new.lower == model or parent.renaming.along is not None:
        return node

    def own_name(found: cst.ImportFrom) -> cst.ImportFrom:
        module = module_of(found)
        front = module.removesuffix(new.lower)
        if len(found.relative) != 1 or front == module or not re.fullmatch("[a-z_]*", front):
            return found
        return found.with_changes(module=cst.Name(front + model))

    return rewrite(node, {cst.ImportFrom: own_name})


def _unique(candidates: Iterable[Line], known: Mapping[str, Line]) -> dict[str, Line]:
    """The first of each wording, after those that are known."""
    found = dict(known)
    for each in candidates:
        found.setdefault(code(bare(each)), each)
    return found


def _keep(candidate: Line, wanted: Set[str], taken: set[str]) -> Line | None:
    if isinstance(candidate, cst.If):
        return _keep_guarded(candidate, wanted, taken)
    return keep_names(candidate, wanted, taken)


def keep_names(statement: Line, wanted: Set[str], taken: set[str]) -> Line | None:
    """The import statement with only the names that are wanted and that no earlier import binds."""
    node: Import = small(statement)
    kept = [each for each in aliases(node) if bound_name(each) in wanted and _claims(each, node, taken)]
    if not kept or isinstance(node.names, cst.ImportStar):
        return None
    if len(kept) == len(node.names) and "#" in code(bare(statement)):
        return statement
    return cst.SimpleStatementLine([_on_one_line(node, kept)], leading_lines=statement.leading_lines)


def _on_one_line(node: Import, kept: Iterable[cst.ImportAlias]) -> Import:
    names = [each.with_changes(comma=cst.MaybeSentinel.DEFAULT) for each in kept]
    if isinstance(node, cst.Import):
        return cst.Import(names)
    return cst.ImportFrom(node.module, names, relative=node.relative)


def _claims(alias: cst.ImportAlias, node: Import, taken: set[str]) -> bool:
    """Whether this import is the first that binds its name."""
    whole = isinstance(node, cst.Import) and not alias.asname
    key = alias.evaluated_name if whole else bound_name(alias)
    if key in taken:
        return False
    taken.add(key)
    return True


def _keep_guarded(guard: cst.If, wanted: Set[str], taken: set[str]) -> cst.If | None:
    """A guarded block with only the imports that are wanted; an `else` stays as it is."""
    lines = [node for each in block(guard.body).body if (node := _keep_in_guard(each, wanted, taken))]
    return guard.with_changes(body=cst.IndentedBlock(lines)) if lines else None


def _keep_in_guard(statement: cst.BaseStatement, wanted: Set[str], taken: set[str]) -> cst.BaseStatement | None:
    if isinstance(statement, cst.SimpleStatementLine):
        if isinstance(small(statement), cst.Import | cst.ImportFrom):
            kept = keep_names(statement, wanted, taken)
            return bare(kept) if kept else None
        return cst.SimpleStatementLine([small(statement)])
    return bare(statement)
