"""The text of an output, before the formatter: banner, header, imports, body, `__all__`."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import libcst as cst

from ..checks.import_checks import unknown_imports, unmet_imports
from ..checks.shard_checks import check_calls, check_shard
from ..layout.outputs import FIRST, Output, lay_out
from ..shards.shard import Shard
from ..sources.file_types import file_type
from ..sources.paths import installed_version
from ..sources.pieces import Line
from ..syntax.tree import small
from .imports import futures, output_imports
from .order import in_import_order
from .package import Family
from .parent_references import import_referenced_parents
from .registration import family


_SIREN_LINE = "#" + " " * 16 + "\N{POLICE CARS REVOLVING LIGHT}" * 48
_COPYRIGHT = re.compile(r"(?m)^#\s*(Copyright .*)$")


@dataclass(frozen=True)
class Expansion:
    """The unformatted files of a shard by name, and what the package has to know of them."""

    texts: dict[str, str]
    family: Family


def expand_shard(shard: Shard) -> Expansion | None:
    """What a shard expands to; None for a helper shard, which is copied from and has no files."""
    exported = shard.exported
    if exported is None:
        return None
    outputs = lay_out(shard)
    import_referenced_parents(shard, outputs)
    shard.used.update(pair for output in outputs.values() for pair in output.used)
    shard.problems.extend(check_shard(shard, outputs))
    banner = _inside_banner(shard) if shard.home.inside else _outside_banner(shard, outputs)
    if not shard.home.inside:
        for output in outputs.values():
            output.body = in_import_order(output.body, lazy=bool(futures(shard, output)))
    for kind, output in outputs.items():
        output.ending = deprecations(shard, kind)
    imports = {kind: output_imports(shard, output) for kind, output in outputs.items()}
    if not shard.home.inside:
        shard.problems.extend([*unknown_imports(shard), *unmet_imports(shard, outputs, imports)])
        if modeling := outputs.get("modeling"):
            shard.problems.extend(check_calls(shard, modeling, imports["modeling"]))
    texts = {}
    for kind, output in sorted(outputs.items()):
        names = [name for name in exported if shard.type_of(name) == kind]
        texts[f"{kind}_{shard.model}.py"] = banner + render_output(shard, output, imports[kind], names)
    return Expansion(texts, family(shard, outputs))


def render_output(shard: Shard, output: Output, imports: Iterable[Line], names: Iterable[str]) -> str:
    """Everything below the banner."""
    first = [output.body[name] for name in FIRST if name in output.body]
    rest = [nodes for name, nodes in output.body.items() if name not in FIRST]
    body = [
        *imports,
        *(node for nodes in (*first, *rest) for node in nodes),
        *output.ending,
        *_exports(shard, names),
    ]
    return cst.Module(body, header=shard.source.header_lines).code


def _exports(shard: Shard, names: Iterable[str]) -> Iterator[Line]:
    """`__all__` on one line, with the empty lines above it."""
    lead = next(shard.source.of_kind("__all__")).node.leading_lines
    strings = [cst.Element(cst.SimpleString(f'"{name}"')) for name in names]
    if strings:
        node = cst.Assign([cst.AssignTarget(cst.Name("__all__"))], cst.List(strings))
        yield cst.SimpleStatementLine([node], leading_lines=[line for line in lead if line.comment is None])


def deprecations(shard: Shard, kind: str) -> tuple[Line, ...]:
    """The part of `__getattr__ = deprecate_attr(...)` whose names belong to this type of file (R22)."""
    for statement in shard.source.of_kind("__getattr__"):
        node = small(statement.node)
        if isinstance(node, cst.Assign) and isinstance(node.value, cst.Call):
            positional = [
                arg.with_changes(comma=cst.MaybeSentinel.DEFAULT) for arg in node.value.args if not arg.keyword
            ]
            keywords = [kept for arg in node.value.args if arg.keyword and (kept := _of_type(arg, shard, kind))]
            if keywords:
                call = cst.Call(node.value.func, [*positional, *keywords])
                line = cst.SimpleStatementLine([node.with_changes(value=call)])
                return (line.with_changes(leading_lines=statement.node.leading_lines),)
    return ()


def _of_type(arg: cst.Arg, shard: Shard, kind: str) -> cst.Arg | None:
    if not isinstance(arg.value, cst.Dict):
        return cst.Arg(arg.value, arg.keyword)
    kept = [
        cst.DictElement(each.key, each.value)
        for each in arg.value.elements
        if isinstance(each, cst.DictElement)
        and isinstance(each.key, cst.SimpleString)
        and file_type(each.key.raw_value, shard.cased) == kind
    ]
    return cst.Arg(cst.Dict(kept), arg.keyword) if kept else None


def _inside_banner(shard: Shard) -> str:
    path = shard.path.as_posix()
    place = re.search(r"(?:src/transformers|transformers|examples)/.*", path)
    relative = place[0] if place else path
    if relative.startswith("transformers/"):
        relative = "src/" + relative
    lines = (
        _SIREN_LINE,
        f"#           This file was automatically generated from {relative}.",
        "#               Do NOT edit this file manually as any edits will be overwritten by the generation of",
        "#             the file from the modular. If any change should be done, please apply the change to the",
        f"#                          {shard.path.name} file directly. One of our CI enforces this.",
        _SIREN_LINE,
    )
    return "".join(line + "\n" for line in lines)


def _outside_banner(shard: Shard, outputs: Mapping[str, Output]) -> str:
    folder = shard.path.parent.name
    packages = sorted(
        {parent.module.partition(".")[0] for parent in shard.parents if not parent.module.startswith(".")}
    )
    siblings = [parent.source.path.name for parent in shard.parents if parent.is_sibling]
    versions = ", ".join([*(f"{package} {installed_version(package)}" for package in packages), *siblings])
    parents = (
        f"# Parents: {versions}; the code used of them: sha256 {parent_hash(shard, outputs)}\n" if versions else ""
    )
    return (
        f"# Generated from {folder}/{shard.path.name} by `hetero generate`. Do not edit: change the shard and generate again.\n"
        f"{parents}{notices(shard)}#\n"
    )


def notices(shard: Shard) -> str:
    """The copyright lines of the parents' files that the shard's own header does not repeat: their code is copied."""
    lines = [line for parent in shard.parents for line in _COPYRIGHT.findall(parent.source.header)]
    missing = [line for line in dict.fromkeys(lines) if line not in shard.source.header]
    return "# Code of the parents, under the Apache License 2.0:\n" * bool(missing) + "".join(
        f"#   {line}\n" for line in missing
    )


def parent_hash(shard: Shard, outputs: Mapping[str, Output]) -> str:
    """A short hash of exactly the parent statements that the outputs were made of."""
    used = sorted({pair for output in outputs.values() for pair in output.used})
    digest = hashlib.sha256()
    for index, name in used:
        parent = shard.parents[index]
        digest.update(f"{parent.module}:{name}\n".encode() + parent.source.definitions[name].code.encode())
    return digest.hexdigest()[:16]
