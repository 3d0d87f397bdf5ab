"""Everything that an expansion depended on, by content."""

from dataclasses import asdict
from pathlib import Path

from ..shards.shard import Shard
from ..sources.paths import FILE_TYPES, installed_folder
from ..syntax.import_statements import module_of
from .storage import Dependency, Record, file_digest, found_packages, generator_digest
from .used_code import used_digest


def record_of(shard: Shard) -> Record:
    """Everything that an expansion of the shard depends on."""
    return {
        "generator": generator_digest(),
        "packages": found_packages(parent_packages(shard)),
        "siblings": {module: shard.siblings.digest(module) for module in [*siblings(shard), *beside(shard)]},
        "dependencies": [asdict(each) for each in dependencies_of(shard)],
    }


def siblings(shard: Shard) -> list[str]:
    """The modules that other shards of the same folder expand to, and that this one inherits or imports from."""
    parents = [parent.source.path.stem for parent in shard.parents if parent.is_sibling]
    imported = [module_of(node) for nodes in shard.siblings_at.values() for node in nodes]
    return list(dict.fromkeys([*parents, *imported]))


def beside(shard: Shard) -> list[str]:
    """The modules of the shard that it does not expand to: where one is written by hand, its names are those of the shard."""
    if shard.home.inside:
        return []
    own = {shard.types[name] for name in shard.classes}
    return [f"{kind}_{shard.model}" for kind in FILE_TYPES if kind not in own]


def dependencies_of(shard: Shard) -> list[Dependency]:
    """Everything an expansion read: whole files of our own, of parents what was used."""
    names: dict[int, list[str]] = {index: [] for index in range(len(shard.parents))}
    for index, name in shard.used:
        names[index].append(name)
    parents = [
        dependency(shard.parents[index].source.path, sorted(found))
        for index, found in names.items()
        if not shard.parents[index].is_sibling
    ]
    own = [
        dependency(path, [])
        for path in (shard.path, *(helper.path for helper in shard.helpers), *package_files(shard))
    ]
    return own + parents


def package_files(shard: Shard) -> list[Path]:
    """The files that say which models there are, and the parents' versions."""
    root = shard.home.root or installed_folder("transformers")
    mappings = (
        []
        if root is None
        else [root / "models" / "auto" / name for name in ("auto_mappings.py", "configuration_auto.py")]
    )
    folders = [folder for package in parent_packages(shard) if (folder := installed_folder(package))]
    return [path for path in (*mappings, *(folder / "__init__.py" for folder in folders)) if path.is_file()]


def parent_packages(shard: Shard) -> list[str]:
    """The top-level packages that the parents are imported from."""
    modules = {parent.module for parent in shard.parents if not parent.module.startswith(".")}
    return sorted({"transformers", *(module.partition(".")[0] for module in modules)})


def dependency(path: Path, names: list[str]) -> Dependency:
    used = used_digest(path, names) if names else ""
    return Dependency(str(path), file_digest(path), used, tuple(names))
