"""`make survey-run`: `hetero check --run` on the unedited copy of every model of the installed transformers.

Each model is one process, and what came of it a line of build/survey_run.jsonl: a run that was stopped goes on where it was. The page
goes to standard output.
"""

import io
import json
import os
import signal
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch

from transformers_heterogeneous.integrations.whole_package import execute_package

from ..command.new import CannotStart, new_shard, parents
from ..command.run_shard import run_one
from ..modular_converter.sources.paths import installed_version


ROOT = Path(__file__).resolve().parents[2]
YEAR, SECONDS, MAX_CELL = 2026, 180, 300
PASSED, NEEDS, DIFFERS, REFUSED, ENDED = OUTCOMES = (
    "equal, with the outputs of every model",
    "equal as far as it ran; the rest says what it needs",
    "differs",
    "refused",
    "not ended in three minutes, or in the memory there is",
)
KINDS = {0: PASSED, 1: DIFFERS, 2: NEEDS}


def main() -> int:
    """Run what is left, and print the page; 1 where a copy differs."""
    results = ROOT / "build" / "survey_run.jsonl"
    results.parent.mkdir(exist_ok=True)
    done = {row[0] for row in rows(results)}
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    execute_package()
    for model in sys.argv[1:] or parents():
        if model not in done:
            with results.open("a") as file:
                file.write(json.dumps(in_a_fork(model)) + "\n")
    found = list(rows(results))
    print(page(found))
    return int(any(kind_of(row) == DIFFERS for row in found))


def rows(results: Path) -> Iterator[list[Any]]:
    """[model, exit code or reason, what was printed, lines of what could not be run] of each model that was tried."""
    for line in results.read_text().splitlines() if results.is_file() else ():
        yield json.loads(line)


def in_a_fork(model: str) -> list[Any]:
    """What comes of one model, in a process that may end for lack of memory or time."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        signal.alarm(SECONDS)
        with os.fdopen(writing, "w") as pipe:
            json.dump(tried(model), pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return list(json.loads(answer)) if answer else [model, ENDED, "", []]


def tried(model: str) -> list[Any]:
    """Copy a model and run the copy."""
    out, err = io.StringIO(), io.StringIO()
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(out), redirect_stderr(err):
        try:
            shard, _ = new_shard(f"my_{model}", model, Path(folder), YEAR)
            code: Any = run_one(shard, {})
        except CannotStart as error:
            code = f"{REFUSED}: {error}"
    told = [line for line in err.getvalue().splitlines() if line.startswith("modular_")]
    return [model, code, out.getvalue(), told]


def kind_of(row: list[Any]) -> str:
    code = row[1]
    return KINDS[code] if code in KINDS else REFUSED if str(code).startswith(REFUSED) else ENDED


def page(found: list[list[Any]]) -> str:
    """The tables."""
    counts = Counter(map(kind_of, found))
    lines = [
        f"# `hetero check --run` on the copy of every model of transformers {installed_version('transformers')}",
        "",
        "Written by `make survey-run`. `hetero new my_X --parent X` writes the copy; shard and expansion are executed, and compared on small",
        "configs and inputs that are tried by the names of their fields. What those do not tell is given with `--config`.",
        "",
        "| outcome | models |",
        "|---|---|",
        *(f"| {kind} | {counts[kind]} |" for kind in OUTCOMES),
        f"| all | {len(found)} |",
        "",
        "| model | what its classes need, or why |",
        "|---|---|",
    ]
    lines += (f"| {row[0]} | {short(reasons(row))} |" for row in sorted(found) if kind_of(row) != PASSED)
    equal = ", ".join(sorted(row[0] for row in found if kind_of(row) == PASSED))
    return "\n".join([*lines, "", "Equal:", equal])


def reasons(row: list[Any]) -> list[str]:
    """The reasons of a model, each once, with the first class that it is of."""
    if kind_of(row) in (REFUSED, ENDED):
        return [str(row[1])]
    found: dict[str, str] = {}
    for line in row[3]:
        said = line.partition(": ")[2].replace("|", "\\|")
        name, _, reason = said.partition(" could not be run from the small config (give its fields with --config): ")
        found.setdefault(reason or said, f"{name}: {reason}" if reason else said)
    printed = [line.partition(": ")[2] for line in row[2].splitlines() if line.startswith("modular_")]
    return [*(line for line in printed if not line.startswith(("equal", "differs;"))), *found.values()]


def short(told: list[str]) -> str:
    """As much of the reasons as a cell holds."""
    text = "; ".join(told).replace("\n", " ")
    return f"{text[:MAX_CELL]}..." if len(text) > MAX_CELL else text


if __name__ == "__main__":
    sys.exit(main())
