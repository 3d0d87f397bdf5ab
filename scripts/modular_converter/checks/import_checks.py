"""Whether what is imported is there: from another output of the same shard, from a sibling, from the parents' packages."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import libcst as cst

from ..layout.origin import origin_of
from ..layout.outputs import Output
from ..shards.shard import Shard
from ..sources.diagnostics import Diagnostic, nearest
from ..sources.module_lookup import is_helper_import, is_parent_import
from ..sources.paths import installed_folder
from ..sources.pieces import Line
from ..sources.source import imports_in
from ..syntax.import_statements import module_of, names_of, written_module


_UNTOLD = re.compile(r"import \*|__getattr__|_LazyModule|globals\(\)")  # such a module may have any name
_BOUND = re.compile(r"(?m)^(?:class|def|async def) (\w+)|^(\w+)\s*[:=]")


def unknown_imports(shard: Shard) -> Iterator[Diagnostic]:
    """Names that the shard imports from files that can be read, and that are not in them."""
    packages = {"transformers", *(parent.module.partition(".")[0] for parent in shard.parents)}
    for source in (shard.source, *shard.helpers):
        for written in (each for statement in source.of_kind("import") for each in imports_in(statement.node)):
            if not isinstance(written, cst.ImportFrom) or (
                is_helper_import(written) and written not in shard.siblings_at
            ):
                continue
            for node in shard.siblings_at.get(written, [written]):
                for message in _unknown(node, shard, packages):
                    yield Diagnostic(source.path, *source.position(written), message)


def _unknown(node: cst.ImportFrom, shard: Shard, packages: Iterable[str]) -> Iterator[str]:
    module = module_of(node)
    if len(node.relative) == 1 and (found := shard.siblings.find(module)):
        yield from _absent(node, found[1])
    elif not node.relative and module.partition(".")[0] in packages and not is_parent_import(node):
        folder = installed_folder(module.partition(".")[0])
        path = folder.joinpath(*module.split(".")[1:]) if folder else None
        if path and not path.is_dir() and not path.with_suffix(".py").is_file():
            yield f"there is no module {module}{nearest(path.name, _modules(path.parent))}"
        elif path:
            yield from _absent(node, _text(path), _modules(path))


def _modules(folder: Path) -> list[str]:
    return [each.stem for each in folder.iterdir()] if folder.is_dir() else []


def _text(path: Path) -> str:
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else "import *"


def _absent(node: cst.ImportFrom, text: str, modules: Iterable[str] = ()) -> Iterator[str]:
    for name in () if _UNTOLD.search(text) else names_of(node):
        if name not in modules and not re.search(rf"\b{re.escape(name)}\b", text):
            known = [first or second for first, second in _BOUND.findall(text)]
            yield f"{written_module(node)} defines no {name}{nearest(name, known)}"


def unmet_imports(
    shard: Shard, outputs: Mapping[str, Output], lines: Mapping[str, Iterable[Line]]
) -> Iterator[Diagnostic]:
    """Names that one output imports from another of the same shard, which has them not."""
    for kind, output in outputs.items():
        body = [node for nodes in output.body.values() for node in nodes]
        for node in (each for line in (*lines[kind], *body) for each in imports_in(line)):
            if not isinstance(node, cst.ImportFrom) or len(node.relative) != 1:
                continue
            target = module_of(node).removesuffix(f"_{shard.model}")
            if target in outputs and target != kind:
                there = _names_there(outputs[target], lines[target])
                yield from (_unmet(shard, kind, target, name) for name in names_of(node) if name not in there)


def _names_there(output: Output, lines: Iterable[Line]) -> set[str]:
    """What can be imported from an output: its statements, and what its imports and guards bind."""
    text = cst.Module(list(lines)).code
    return {*output.body, *re.findall(r"\w+", text)}


def _unmet(shard: Shard, kind: str, target: str, name: str) -> Diagnostic:
    origin = origin_of(name, shard.source.text, [(each.source.path, each.renaming.name) for each in shard.parents])
    message = (
        f"the {kind} file imports {name} from the {target} file, which the shard gives no {name}{origin.told}: "
        f"define it, or inherit it from the {target} file of the parent"
    )
    return Diagnostic(shard.path, origin.line, origin.column, message)
