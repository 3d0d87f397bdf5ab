"""What expanding shards costs: CPU seconds and peak memory, against parsing the same files once with libcst."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..modular_converter.sources.paths import installed_folder


Row = tuple[str, str, str, str]

HETERO = [sys.executable, "-c", "import hetero; hetero.main()"]
FLOOR = """
import sys, libcst
for path in sys.argv[1:]:
    libcst.parse_module(open(path, encoding="utf-8").read())
"""


@dataclass(frozen=True)
class Cost:
    """CPU seconds of a command and its children, peak memory in MB of the largest of them."""

    seconds: float
    megabytes: float


def cost(command: list[str], cache: Path) -> Cost:
    """Run a command in a process that measures its own children; `cache` is its XDG_CACHE_HOME."""
    measure = (
        "import resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(used.ru_utime + used.ru_stime, used.ru_maxrss)"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", measure, *command], env=environment, capture_output=True, text=True, check=True
    )
    seconds, peak = map(float, done.stdout.split())
    return Cost(seconds, peak / 1024)


def corpus() -> list[str]:
    """The shards that the installed transformers ships."""
    package = installed_folder("transformers")
    assert package is not None
    return sorted(map(str, (package / "models").glob("*/modular_*.py")))


def parents_and_shards(shards: list[str]) -> list[str]:
    """The shards and every model file beside any of them: what an expansion has to read at least."""
    package = installed_folder("transformers")
    assert package is not None
    return shards + sorted(map(str, (package / "models").glob("*/model*ing_*.py")))


def rows() -> Iterator[Row]:
    """Own families and the whole corpus, cold and unchanged, with the ratio to the floor."""
    shards = corpus()
    with tempfile.TemporaryDirectory() as folder:
        floor = cost([sys.executable, "-c", FLOOR, *parents_and_shards(shards)], Path(folder))
        yield "libcst parses the corpus and its parents once", *figures(floor), "1.00"
        for name, arguments in (("own families", []), (f"corpus, {len(shards)} shards", [*shards, "--json"])):
            cache = Path(folder) / name.partition(",")[0]
            for state in ("cold", "unchanged"):
                measured = cost([*HETERO, "check", *arguments], cache)
                yield f"hetero check, {name}, {state}", *figures(measured), f"{measured.seconds / floor.seconds:.2f}"


def figures(measured: Cost) -> tuple[str, str]:
    return f"{measured.seconds:.2f}", f"{measured.megabytes:.0f}"
