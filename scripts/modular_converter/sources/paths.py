"""Where shards and installed packages lie: found by path arithmetic, nothing is imported."""

import importlib.util
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path


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
_VERSION = re.compile(r"^__version__\s*=\s*[\"']([^\"']+)", re.MULTILINE)
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


def installed_version(package: str) -> str:
    """The version a package states, read from its files."""
    folder = installed_folder(package)
    if folder is None:
        return "unknown"
    match = _VERSION.search((folder / "__init__.py").read_text(encoding="utf-8"))
    if match:
        return match[1]
    found = sorted(folder.parent.glob(f"{package}-*.dist-info"))
    return found[0].name.removeprefix(f"{package}-").removesuffix(".dist-info") if found else "unknown"
