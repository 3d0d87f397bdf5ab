"""What the converters know of our families: the names and shapes of their tensors, one file a family."""

from collections.abc import Iterable
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from .family import Family


def found_modules(package: str, path: Iterable[str]) -> list[ModuleType]:
    """The modules of a package, in the order of their names."""
    return [import_module(f"{package}.{name}") for name in sorted(module.name for module in iter_modules(path))]


def found_families() -> "list[Family]":
    """What the modules of this sub-package call `FAMILY`."""
    return [module.FAMILY for module in found_modules(__name__, __path__) if hasattr(module, "FAMILY")]
