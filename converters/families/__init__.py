"""What the converters know of our families, most of which the models say themselves. A file here holds what none says."""

from collections.abc import Iterable
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from .family import Family


PACKAGE = __name__.partition(".")[0]


def found_modules(package: str, path: Iterable[str], prefix: str = "") -> list[ModuleType]:
    """The modules of a package whose names begin so, in the order of their names."""
    names = sorted(module.name for module in iter_modules(path) if module.name.startswith(prefix))
    return [import_module(f"{package}.{name}") for name in names]


@cache
def found_families() -> tuple[Family, ...]:
    """Those of the package: what the modules here call `FAMILY`, and every other config that it has, without such a module."""
    told = {
        module.FAMILY.config_class: module.FAMILY for module in found_modules(__name__, __path__, "heterogeneous_")
    }
    configs = found_modules(PACKAGE, import_module(PACKAGE).__path__, "configuration_heterogeneous_")
    classes = [value for module in configs for value in vars(module).values() if is_config_of(value, module)]
    return tuple(told.get(config_class) or Family(config_class) for config_class in classes)


def is_config_of(value: Any, module: ModuleType) -> bool:
    """Whether something is the config class of a family, defined in this module. A text model beside others is none: no
    checkpoint has it alone."""
    parts = {part for each in vars(module).values() for part in getattr(each, "sub_configs", {}).values()}
    own = isinstance(value, type) and value.__module__ == module.__name__ and value not in parts
    return own and hasattr(value, "per_layer_sizes")


@cache
def family_of(config_class: Any) -> Family:
    """The family of a config class, be it the package's own or not."""
    return next((family for family in found_families() if family.config_class is config_class), Family(config_class))
