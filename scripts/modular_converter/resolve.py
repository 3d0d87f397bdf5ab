"""Which imports name a parent, and which file that parent is: found by path arithmetic, nothing is imported."""

import importlib.util
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import libcst as cst

from .diagnostics import nearest
from .imported import module_of, written_module


FILE_TYPES = (
    "modeling",
    "configuration",
    "tokenization",
    "processing",
    "image_processing",
    "image_processing_pil",
    "video_processing",
    "feature_extraction",
)
_PARENT_MODULE = re.compile(
    r"^(image_processing_pil|image_processing|video_processing|feature_extraction"
    r"|modeling|configuration|tokenization|processing)_(\w+)$"
)


@dataclass(frozen=True)
class Home:
    """Where a shard lies: the package root it belongs to, when that is transformers itself, decides the import style."""

    shard: Path
    root: Path | None

    @property
    def inside(self) -> bool:
        """Whether the shard lies in the tree of the transformers package."""
        return self.root is not None


def home_of(shard: Path) -> Home:
    """A shard at `.../transformers/models/<model>/modular_<name>.py` belongs to that transformers tree."""
    folders = shard.parents
    for depth, folder in enumerate(folders[:-1]):
        if folder.name == "models" and depth >= 1 and folders[depth + 1].name == "transformers":
            return Home(shard, folders[depth + 1])
    return Home(shard, None)


def parent_model(module: str) -> tuple[str, str] | None:
    """(file type, model name) when the last part of a dotted module looks like a parent's, else None."""
    match = _PARENT_MODULE.match(module.rpartition(".")[2])
    if match is None or match[2] == "auto":
        return None
    return match[1], match[2]


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


def package_folder(package: str) -> Path:
    """The folder of an installed top-level package, without executing any of it."""
    folder = installed_folder(package)
    if folder is None:
        raise LookupError(f"the package {package} is not installed: install it, or inherit from one that is")
    return folder


@cache
def installed_folder(package: str) -> Path | None:
    """The folder of an installed top-level package, or None."""
    spec = importlib.util.find_spec(package)
    locations = list(spec.submodule_search_locations or ()) if spec else []
    return Path(locations[0]) if locations else None


def _missing(node: cst.ImportFrom, path: Path) -> str:
    folder, wanted = path.parent, path.stem
    if not folder.exists():
        folder, wanted = folder.parent, path.parent.name
    known = [entry.stem for entry in folder.iterdir()] if folder.exists() else []
    return f"the parent module {written_module(node)} does not exist (no file {path}){nearest(wanted, known)}"
