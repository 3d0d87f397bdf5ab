"""`make survey`: `hetero new my_X --parent X` for every model X of the installed transformers, expanded and imported."""

import importlib
import json
import os
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .modular_converter.diagnostics import Diagnostic
from .modular_converter.places import installed_version
from .modular_converter.run import Run, expand
from .new import CannotStart, new_shard, parents


PACKAGE = "surveyed"
OUTCOMES = ("imports", "refused", "written, does not import", "crash")
YEAR = 2026


@dataclass
class Outcome:
    """What became of one model: one of `OUTCOMES`, and the reasons."""

    kind: str
    reasons: list[str] = field(default_factory=list)


def main() -> int:
    """Print the table; 0 when every model imports or is refused, 1 otherwise."""
    started = time.process_time()
    models = sys.argv[1:] or parents()
    with tempfile.TemporaryDirectory(prefix="survey-") as folder:
        outcomes = survey(models, Path(folder))
    print(table(outcomes))
    print(f"{sums(outcomes)}; {time.process_time() - started:.0f} s of CPU time without the imports", file=sys.stderr)
    return int(any(outcome.kind in OUTCOMES[2:] for outcome in outcomes.values()))


def survey(models: Iterable[str], folder: Path) -> dict[str, Outcome]:
    """The outcome of each model; `folder` is for the shards and what they expand to."""
    package = folder / PACKAGE
    outcomes: dict[str, Outcome] = {}
    shards: dict[Path, str] = {}
    for model in models:
        try:
            shards[new_shard(f"my_{model}", model, package, YEAR)] = model
        except CannotStart as error:
            outcomes[model] = Outcome("refused", [str(error)])
    run = expand(list(shards), lambda path: package)
    outcomes |= _told(run, shards)
    for path, text in run.files.items():
        if outcomes[shards[run.origin[path]]].kind == "imports":
            path.write_text(text, encoding="utf-8")
    (package / "__init__.py").touch()
    sys.path.insert(0, str(folder))
    try:
        for model in shards.values():
            if outcomes[model].kind == "imports" and (failures := in_a_fork(package, model)):
                outcomes[model] = Outcome("written, does not import", failures)
    finally:
        sys.path.remove(str(folder))
    return dict(sorted(outcomes.items()))


def _told(run: Run, shards: Mapping[Path, str]) -> dict[str, Outcome]:
    """What the expansion said of each model."""
    outcomes = {model: Outcome("imports") for model in shards.values()}
    refused: dict[str, list[str]] = defaultdict(list)
    for problem in sorted(set(run.problems)):
        if not problem.warning and (model := _model_of(problem, shards)):
            refused[model].append(f"{problem.path.name}:{problem.line}:{problem.column}: {problem.message}")
    outcomes |= {model: Outcome("refused", reasons) for model, reasons in refused.items()}
    for crash in run.crashes:
        outcomes[shards[crash.path]] = Outcome("crash", crash.message.strip().splitlines()[-1:])
    return outcomes


def _model_of(problem: Diagnostic, shards: Mapping[Path, str]) -> str | None:
    return shards.get(problem.path, problem.path.parent.name)


def in_a_fork(package: Path, model: str) -> list[str]:
    """Import the files of a model in a process of its own, so that one that crashes takes nothing with it."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        with os.fdopen(writing, "w") as pipe:
            json.dump(imported(package, model), pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    return json.loads(answer) if answer else [f"the import ended the process ({status})"]


def imported(package: Path, model: str) -> list[str]:
    """What goes wrong when the files of a model are imported and its configs built."""
    failures: list[str] = []
    for path in sorted(package.glob(f"*_my_{model}.py")):
        if path.name.startswith("modular_"):
            continue
        try:
            module = importlib.import_module(f"{PACKAGE}.{path.stem}")
            failures += [f"{path.name} has no {name}" for name in module.__all__ if not hasattr(module, name)]
            failures += [failure for name in module.__all__ if (failure := _config_failure(module, name, model))]
        except BaseException as error:
            failures.append(_reason(error, path))
    return failures


def _config_failure(module: object, name: str, model: str) -> str:
    """Why a config cannot be built without arguments, where that of the parent can."""
    return ""


def _reason(error: BaseException, path: Path) -> str:
    """The error, and the line of the file that leads to it."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    place = f"{path.name}:{lines[-1]}" if lines else path.name
    return f"{place}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


def table(outcomes: Mapping[str, Outcome]) -> str:
    rows = []
    for model, outcome in outcomes.items():
        rows.append(f"{model:32} {outcome.kind}")
        rows += [f"    {reason}" for reason in outcome.reasons]
    return "\n".join(rows)


def sums(outcomes: Mapping[str, Outcome]) -> str:
    counts = Counter(outcome.kind for outcome in outcomes.values())
    return f"transformers {installed_version('transformers')}: {len(outcomes)} models, " + ", ".join(
        f"{counts[kind]} {kind}" for kind in OUTCOMES
    )


if __name__ == "__main__":
    sys.exit(main())
