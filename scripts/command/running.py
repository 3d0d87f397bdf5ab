"""`hetero run` and `hetero autoload`: programs that load models by folder name and know no plug-ins, with the families."""

import os
import shutil
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal


STARTER = Path(__file__).resolve().parent / "autoload"
# Read by every Python of the environment as it starts; silent where the package was uninstalled since. It runs a file of ours by
# its path: whatever else is called `hetero` on the way of a program is the program's
PTH = "transformers_heterogeneous_autoload.pth"
FOLLOWER = Path(__file__).resolve().parents[2] / "integrations" / "at_import.py"
LINE = (
    "import os, importlib.util as u; p = {path}; "
    "s = os.path.isfile(p) and u.spec_from_file_location('transformers_heterogeneous_at_import', p); "
    "m = s and u.module_from_spec(s); s and (s.loader.exec_module(m), m.autoload())\n"
)


def line_for(path: Path) -> str:
    """The line of the `.pth` file, in ASCII: Python reads it in the encoding of the system."""
    return LINE.format(path=ascii(str(path)))


def run_command(command: Sequence[str]) -> int:
    """Become the program that is named, started with the families registered; returns only where it cannot be."""
    own = str(Path(sys.executable).parent)  # programs of this environment, activated or not
    search = os.pathsep.join(filter(None, [own, os.environ.get("PATH", os.defpath)]))
    program = shutil.which(command[0], path=search)
    if program is None:
        print(f"hetero run: {command[0]}: no such program, neither in {own} nor on PATH", file=sys.stderr)
        return 2
    sys.stdout.flush()
    os.execve(program, [program, *command[1:]], with_families({**os.environ, "PATH": search}))


def with_families(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment in which each Python registers the families, and the children that it starts."""
    before = environment.get("PYTHONPATH")
    return {**environment, "PYTHONPATH": os.pathsep.join(filter(None, [str(STARTER), before]))}


def autoload_command(state: Literal["on", "off", "status"]) -> int:
    """
    Let every Python of this environment register the families when it imports transformers, or no longer.

    Returns:
        0 when done, or `status` is on; 1 when it is off; 2 where the environment cannot be written to.
    """
    path = Path(sysconfig.get_path("purelib")) / PTH
    try:
        if state == "on" and path.is_symlink():
            print(
                f"hetero autoload: {path}: is a link, to {os.readlink(path)}, and is not followed: remove it",
                file=sys.stderr,
            )
            return 2
        if state == "on":
            path.write_text(line_for(FOLLOWER), encoding="ascii")
        elif state == "off":
            path.unlink(missing_ok=True)
    except OSError as error:
        print(f"hetero autoload: {path}: {error.strerror}", file=sys.stderr)
        return 2
    on = path.is_file()
    print(f"on: {path}" if on else f"off: there is no {path}")
    return int(state == "status" and not on)
