"""
Something to follow the import of a module.

This file stands alone, since every Python of an environment may start with it: it imports nothing of ours, and is also run from
its path, so that no other module that is called as one of ours can take its place.
"""

import sys


TYPE_CHECKING = False  # that of `typing`, whose import would cost every Python that starts a millisecond
if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

AUTO = "transformers.models.auto.configuration_auto"
asked: set[str] = set()  # modules whose import is followed by something


def autoload() -> None:
    """Let transformers know the families without importing them: they are when one is asked for, by model type or by name."""
    at_import("transformers", offer_names)
    at_import(AUTO, offer_model_types)
    at_import("peft.auto", register)  # it asks for modules by name, of packages that it was told of


def at_import(name: str, follow: "Callable[[], None]") -> None:
    """Call `follow` as soon as module `name` has been executed, now where it is there already; asked again, nothing changes."""
    if name in asked:
        return
    asked.add(name)
    if name not in sys.modules:
        sys.meta_path.insert(0, AtImport(name, follow))
    elif is_executing(name):  # it imports, by way of others, what asks
        sys.meta_path.insert(0, AfterExecution(name, follow))
    else:
        follow()


def is_executing(name: str) -> bool:
    """Whether a module that is there is still being executed, so that some of its names are missing."""
    return bool(getattr(getattr(sys.modules[name], "__spec__", None), "_initializing", False))


def register() -> "Any":
    """Import the package, which registers; where it cannot be, the program goes on without it, and says so once."""
    try:
        import transformers_heterogeneous
    except ImportError as error:
        if "failed" not in asked:
            asked.add("failed")
            print(f"hetero: the families are not registered: {error}", file=sys.stderr)
        return None
    return transformers_heterogeneous


def is_being_imported() -> bool:
    """Whether the package is on its way: what it asks transformers for is then not asked of it."""
    return "transformers_heterogeneous" in sys.modules and is_executing("transformers_heterogeneous")


def offer_names() -> None:
    """Let `transformers.Heterogeneous...` be found, where it has no such name itself."""
    transformers: Any = sys.modules["transformers"]
    own = set(getattr(transformers, "__all__", ()))

    def __getattr__(name: str) -> "Any":
        may_be_ours = name.startswith("Heterogeneous") or (name.endswith("Config") and name not in own)
        if may_be_ours and not is_being_imported():
            package = register()
            if name in getattr(package, "__all__", ()):
                return getattr(package, name)
        raise AttributeError(f"module 'transformers' has no attribute {name!r}")

    transformers.__getattr__ = __getattr__


def offer_model_types() -> None:
    """Let the families be registered as soon as a model type is looked for that transformers does not have."""
    mapping = sys.modules[AUTO].CONFIG_MAPPING

    class Registered(dict):  # type: ignore[type-arg] # nothing of `typing` here
        """What was registered beside transformers' own model types."""

        def __contains__(self, model_type: object) -> bool:
            if not super().__contains__(model_type) and model_type not in mapping._mapping and not is_being_imported():
                register()
            return super().__contains__(model_type)

    mapping._extra_content = Registered(mapping._extra_content)


class AfterExecution:
    """A finder that finds nothing itself: whatever is imported next, it looks whether a module has been executed meanwhile, and
    calls."""

    def __init__(self, name: str, follow: "Callable[[], None]") -> None:
        self.name, self.follow = name, follow

    def find_spec(self, name: str, path: object = None, target: object = None) -> "ModuleSpec | None":
        if self not in sys.meta_path or (self.name in sys.modules and is_executing(self.name)):
            return None
        sys.meta_path.remove(self)
        if self.name in sys.modules:
            self.follow()
            return None
        again = AtImport(self.name, self.follow)  # it failed, and may be tried again, perhaps now
        sys.meta_path.insert(0, again)
        return again.find_spec(name, path, target)


class AtImport:
    """A finder that finds nothing itself: it lets the execution of one module be followed by a call. That module may be looked
    for any number of times before it is imported."""

    def __init__(self, name: str, follow: "Callable[[], None]") -> None:
        self.name, self.follow, self.looking = name, follow, False

    def find_spec(self, name: str, path: object = None, target: object = None) -> "ModuleSpec | None":
        if name != self.name or self.looking:
            return None
        from importlib.util import find_spec

        self.looking = True
        try:
            spec = find_spec(name)
        finally:
            self.looking = False
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = self.followed(spec.loader.exec_module)  # type: ignore[method-assign, assignment]
        return spec

    def followed(self, execute: "Callable[[ModuleType], None]") -> "Callable[[ModuleType], None]":
        def exec_module(module: "ModuleType") -> None:
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            execute(module)
            self.follow()

        return exec_module
