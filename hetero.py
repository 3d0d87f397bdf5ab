"""Entry point of the `hetero` command.

Importing `transformers_heterogeneous` registers the families with transformers and so loads torch: seconds, which the
generator and `hetero --help` need not wait for. The command therefore puts the package in place without executing
its `__init__`, and imports from its sub-packages what each command asks for.
"""

import sys


TYPE_CHECKING = False  # that of `typing`, whose import would cost every Python that starts a millisecond
if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.machinery import ModuleSpec
    from types import ModuleType

STOPPED = 130  # what shells say of a command that Ctrl-C ended
asked: set[str] = set()  # modules whose import is followed by something


def main() -> None:
    """Run the `hetero` command with the arguments of the process; stopped at any moment, it says so in a line."""
    try:
        run()
    except KeyboardInterrupt:
        print("Stopped before anything was begun.", file=sys.stderr)
        sys.exit(STOPPED)


def run() -> None:
    """Put the package in place, and run the command. Imports stand here, where Ctrl-C is waited for."""
    import importlib.util
    import io

    if "transformers_heterogeneous" not in sys.modules:
        spec = importlib.util.find_spec("transformers_heterogeneous")
        if spec is None:
            sys.exit(f"hetero: the package transformers_heterogeneous is not installed: {how_to_install()}")
        sys.modules["transformers_heterogeneous"] = importlib.util.module_from_spec(spec)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what is done does not fail for a letter that is missing
    from transformers_heterogeneous.scripts.command.cli import app

    app()


def how_to_install(extra: str = "", release: str = "") -> str:
    """The commands that install this package, with an extra or for a minor release of transformers. None asks a package index,
    where the name is nobody's yet, and may become somebody else's."""
    extras = f"[{extra}]" if extra else ""
    option = f" --config-settings transformers={release}" if release else ""
    clone = f"-e '.{extras}'" if extra else "."
    return (
        f"`pip install {clone}{option}` in a clone of its repository, or `pip install 'transformers-heterogeneous{extras} @ "
        f"git+URL'{option}` with the URL of that"
    )


def autoload() -> None:
    """Register the families as soon as transformers is imported: what `hetero autoload` and `hetero run` start Python with."""
    at_import("transformers", register)


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


def register() -> None:
    """Import the package, which registers; where it cannot be, the program goes on without it, and says so."""
    try:
        import transformers_heterogeneous  # noqa: F401
    except ImportError as error:
        print(f"hetero: the families are not registered: {error}", file=sys.stderr)


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


if __name__ == "__main__":
    main()
