"""Entry point of the `hetero` command, and of `describe` where torch is not wanted.

Importing `transformers_heterogeneous` registers the families with transformers and so loads torch: seconds, which the
generator and `hetero --help` need not wait for. The command therefore puts the package in place without executing
its `__init__`, and imports from its sub-packages what each command asks for.
"""

import sys


TYPE_CHECKING = False  # that of `typing`, which the command need not wait for either
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from transformers_heterogeneous.converters import Description

PACKAGE = "transformers_heterogeneous"
STOPPED = 130  # what shells say of a command that Ctrl-C ended


def describe(source: "Any", revision: "str | None" = None) -> "Description":
    """
    What a model is made of, as `transformers_heterogeneous.describe` says it: here without that package, which brings torch.
    Whoever imports it later has the whole of it.

    Args:
        source: A checkpoint folder, a config.json, a repository `org/name` of the hub; a config, or a dict of what config.json
            says.
        revision: Branch, tag or commit of the repository.
    """
    in_place = None if PACKAGE in sys.modules or "torch" in sys.modules else put_in_place()
    try:
        from transformers_heterogeneous.converters.describing import describe as described

        return described(source, revision)
    finally:
        if in_place is not None:
            take_away(in_place)


def put_in_place() -> "ModuleType":
    """The package as its folder, nothing of it executed."""
    import importlib.util

    spec = importlib.util.find_spec(PACKAGE)
    if spec is None:
        raise ModuleNotFoundError(
            f"the package {PACKAGE} is not installed: `pip install .` in a clone of its repository, or "
            "`pip install 'transformers-heterogeneous @ git+URL'` with the URL of that"
        )
    return sys.modules.setdefault(PACKAGE, importlib.util.module_from_spec(spec))


def take_away(package: "ModuleType") -> None:
    """Let the package be executed by whoever imports it, as if it had not been in place; what was imported of it stays."""
    from transformers_heterogeneous.integrations.at_import import at_import

    if sys.modules.get(PACKAGE) is package and not hasattr(package, "__version__"):
        del sys.modules[PACKAGE]
        at_import(PACKAGE, bind_modules)


def bind_modules() -> None:
    """Let the package have the modules of it that were imported ahead of it."""
    package = sys.modules[PACKAGE]
    for name in [name for name in sys.modules if name.startswith(f"{PACKAGE}.") and name.count(".") == 1]:
        vars(package).setdefault(name.rpartition(".")[2], sys.modules[name])


def main() -> None:
    """Run the `hetero` command with the arguments of the process; stopped at any moment, it says so in a line."""
    try:
        run()
    except KeyboardInterrupt:
        print("Stopped before anything was begun.", file=sys.stderr)
        sys.exit(STOPPED)


def run() -> None:
    """Put the package in place, and run the command. Imports stand here, where Ctrl-C is waited for."""
    import io

    if PACKAGE not in sys.modules:
        try:
            put_in_place()
        except ModuleNotFoundError as error:
            sys.exit(f"hetero: {error}")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what is done does not fail for a letter that is missing
    from transformers_heterogeneous.scripts.command.cli import app

    app()


if __name__ == "__main__":
    main()
