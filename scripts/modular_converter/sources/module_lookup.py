"""Which imports name a parent, and which file that parent is."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import libcst as cst

from ..syntax.import_statements import aliases, module_of, names_of, written_module
from .diagnostics import nearest
from .paths import FILE_TYPES, Home, package_folder, parent_model
from .siblings import Siblings
from .source import SourceFile, parse_source


def is_parent_import(node: cst.ImportFrom) -> bool:
    """Whether classes imported here may be inherited from; a sibling's `.configuration_x` is an ordinary import."""
    module = module_of(node)
    level = len(node.relative)
    if level == 1 or parent_model(module) is None:
        return False
    in_models = "models." in module or (level == 2 and module.count(".") == 1)
    return in_models or (level == 0 and not module.startswith("transformers."))


def is_helper_import(node: cst.ImportFrom) -> bool:
    """`from .modular_x import name`: a helper shard of the same folder."""
    return len(node.relative) == 1 and module_of(node).startswith("modular_")


def module_file(node: cst.ImportFrom, home: Home) -> Path:
    """The file an import names. Raises LookupError when there is none, with the nearest name."""
    module = module_of(node)
    if node.relative:
        base = home.shard.parents[len(node.relative) - 1]
        parts = module.split(".")
    else:
        package, *parts = module.split(".")
        base = home.root if home.root and package == "transformers" else package_folder(package)
    path = base.joinpath(*parts).with_suffix(".py")
    if not path.exists():
        raise LookupError(_missing(node, path))
    return path


def _missing(node: cst.ImportFrom, path: Path) -> str:
    folder, wanted = path.parent, path.stem
    if not folder.exists():
        folder, wanted = folder.parent, path.parent.name
    known = [entry.stem for entry in folder.iterdir()] if folder.exists() else []
    return f"the parent module {written_module(node)} does not exist (no file {path}){nearest(wanted, known)}"


def inherits_here(node: cst.ImportFrom, inherited: Iterable[str]) -> bool:
    """Whether an import from the same folder names a class that a class of the shard inherits from."""
    return len(node.relative) == 1 and not set(names_of(node)).isdisjoint(inherited)


def sibling_source(module: str, siblings: Siblings) -> SourceFile | None:
    """The generated file `<module>.py`, None when there is none."""
    found = siblings.find(module)
    return parse_source(*found) if found else None


def resolve_sibling(node: cst.ImportFrom, siblings: Siblings) -> Iterator[cst.ImportFrom]:
    """`from .modular_x import ...` as imports of the files that hold the names; others stay as they are.

    Raises LookupError when the sibling was never generated.
    """
    written = module_of(node)
    model = written.removeprefix("modular_")
    modules = [f"{kind}_{model}" for kind in FILE_TYPES] if model != written else [written]
    sources = {module: source for module in modules if (source := sibling_source(module, siblings))}
    if not sources:
        shard = f"modular_{_model_of(written)}.py"
        raise LookupError(f"there is no {modules[0]}.py in {siblings.folders[0]}: generate {shard} first")
    owners: dict[str, list[cst.ImportAlias]] = {}
    for alias in aliases(node):
        holding = (name for name, source in sources.items() if alias.evaluated_name in source.definitions)
        alone = alias.with_changes(comma=cst.MaybeSentinel.DEFAULT)  # which has a comment, and needs parentheses
        owners.setdefault(next(holding, next(iter(sources))), []).append(alone)
    for module, names in owners.items():
        yield cst.ImportFrom(cst.Name(module), names, relative=[cst.Dot()])


def _model_of(module: str) -> str:
    kind = parent_model(module)
    return kind[1] if kind else module.removeprefix("modular_")
