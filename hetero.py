"""Entry point of the `hetero` command.

Importing `transformers_heterogeneous` registers the families with transformers and so loads torch: seconds, which the
generator and `hetero --help` need not wait for. The command therefore puts the package in place without executing
its `__init__`, and imports from its sub-packages what each command asks for.
"""

import sys


STOPPED = 130  # what shells say of a command that Ctrl-C ended


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
            sys.exit(
                "hetero: the package transformers_heterogeneous is not installed: `pip install .` in a clone of its repository, "
                "or `pip install 'transformers-heterogeneous @ git+URL'` with the URL of that"
            )
        sys.modules["transformers_heterogeneous"] = importlib.util.module_from_spec(spec)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what is done does not fail for a letter that is missing
    from transformers_heterogeneous.scripts.command.cli import app

    app()


if __name__ == "__main__":
    main()
