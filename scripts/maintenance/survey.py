"""`make survey`: `hetero new my_X --parent X` for every model X of the installed transformers, expanded and imported."""

import importlib
import json
import os
import re
import sys
import tempfile
import textwrap
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from ..command.new import FILE_TYPES, CannotStart, new_shard, parents
from ..modular_converter.run import Run, expand
from ..modular_converter.sources.diagnostics import Diagnostic
from ..modular_converter.sources.paths import installed_version


PACKAGE = "surveyed"
IMPORTS, AS_ITS_PARENT, REFUSED, BROKEN, CRASH = OUTCOMES = (
    "imports",
    "imports no more than its parent",
    "refused",
    "written, does not import",
    "crash",
)
YEAR, BATCH = 2026, 8
SHARED = ("transformers.modeling_utils", "transformers.generation", "transformers.processing_utils")  # what all import


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
    print(page(outcomes))
    print(f"{time.process_time() - started:.0f} s of CPU time without the imports", file=sys.stderr)
    return int(any(outcome.kind in (BROKEN, CRASH) for outcome in outcomes.values()))


def survey(models: Iterable[str], folder: Path) -> dict[str, Outcome]:
    """The outcome of each model; `folder` is for the shards and what they expand to."""
    package = folder / PACKAGE
    outcomes: dict[str, Outcome] = {}
    for batch in batched(models, BATCH):
        outcomes |= expanded(batch, package)
    (package / "__init__.py").touch()
    sys.path.insert(0, str(folder))
    for shared in SHARED:
        importlib.import_module(shared)
    try:
        for model in [model for model, outcome in outcomes.items() if outcome.kind == IMPORTS]:
            outcomes[model] = in_a_fork(package, model)
    finally:
        sys.path.remove(str(folder))
    return dict(sorted(outcomes.items()))


def batched(models: Iterable[str], size: int) -> Iterator[list[str]]:
    """A few models at a time: the files that were read last are remembered, and trees are big."""
    rest = list(models)
    while rest:
        yield rest[:size]
        rest = rest[size:]


def expanded(models: Iterable[str], package: Path) -> dict[str, Outcome]:
    """Write the shards and what they expand to."""
    outcomes: dict[str, Outcome] = {}
    shards: dict[Path, str] = {}
    for model in models:
        try:
            shards[new_shard(f"my_{model}", model, package, YEAR)[0]] = model
        except CannotStart as error:
            outcomes[model] = Outcome(REFUSED, [str(error)])
    run = expand(list(shards), lambda path: package)
    outcomes |= _told(run, shards)
    for path, text in run.files.items():
        if outcomes[shards[run.origin[path]]].kind == IMPORTS:
            path.write_text(text, encoding="utf-8")
    return outcomes


def _told(run: Run, shards: Mapping[Path, str]) -> dict[str, Outcome]:
    """What the expansion said of each model."""
    outcomes = {model: Outcome(IMPORTS) for model in shards.values()}
    refused: dict[str, list[str]] = defaultdict(list)
    for problem in sorted(set(run.problems)):
        if not problem.warning and (model := _model_of(problem, shards)):
            refused[model].append(f"{problem.path.name}:{problem.line}:{problem.column}: {problem.message}")
    outcomes |= {model: Outcome(REFUSED, reasons) for model, reasons in refused.items()}
    for crash in run.crashes:
        outcomes[shards[crash.path]] = Outcome(CRASH, crash.message.strip().splitlines()[-1:])
    return outcomes


def _model_of(problem: Diagnostic, shards: Mapping[Path, str]) -> str | None:
    return shards.get(problem.path, problem.path.parent.name)


def in_a_fork(package: Path, model: str) -> Outcome:
    """Import the files of a model in a process of its own, so that one that crashes takes nothing with it."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reading)
            sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
            with os.fdopen(writing, "w") as pipe:
                json.dump(imported(package, model), pipe)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    return Outcome(*json.loads(answer)) if answer else Outcome(BROKEN, [f"the import ended the process ({status})"])


def imported(package: Path, model: str) -> tuple[str, list[str]]:
    """Import the files of a model, look for what they export, and build its configs."""
    shard = (package / f"modular_my_{model}.py").read_text(encoding="utf-8")
    parents = dict(re.findall(r"(?m)^class (\w+)\((\w+)\)", shard))
    failures: list[str] = []
    for kind in FILE_TYPES:
        path = package / f"{kind}_my_{model}.py"
        parent = f"transformers.models.{model}.{kind}_{model}"
        if not path.is_file():
            continue
        try:
            module = importlib.import_module(f"{PACKAGE}.{path.stem}")
        except Exception as error:
            if reason := _fails_too(parent, error):
                return AS_ITS_PARENT, [reason]
            failures.append(_reason(error, path))
            continue
        theirs = importlib.import_module(parent)
        if missing := [f"{path.name} has no {name}" for name in module.__all__ if not hasattr(module, name)]:
            failures += missing
            continue
        _register(module)
        failures += [
            each for name in module.__all__ if (each := _differs(module, name, theirs, parents.get(name, ""), model))
        ]
    return (BROKEN, failures) if failures else (IMPORTS, [])


def _fails_too(parent: str, error: Exception) -> str:
    """What the parent itself cannot be imported without, if that is the reason."""
    try:
        importlib.import_module(parent)
    except Exception as theirs:
        return str(error) if str(theirs) == str(error) else ""
    return ""


def _register(module: ModuleType) -> None:
    """Tell `AutoConfig` about the configs, as the `__init__.py` of a package of families does."""
    from transformers import AutoConfig

    for name in module.__all__:
        if name.endswith("Config") and getattr(getattr(module, name), "model_type", ""):
            AutoConfig.register(getattr(module, name).model_type, getattr(module, name), exist_ok=True)


def _differs(module: ModuleType, name: str, theirs: ModuleType, parent: str, model: str) -> str:
    """How a config without arguments is not that of the parent, names aside."""
    if not name.endswith("Config"):
        return ""
    try:
        expected = getattr(theirs, parent)().to_dict()
    except Exception:  # it has no defaults
        return ""
    try:
        found = getattr(module, name)().to_dict()
    except Exception as error:
        return f"{name}(): {type(error).__name__}: {error}"
    words = _words(found)
    for new, old in ((f"my_{model}", model), (f"My{parent}", parent)):
        words = words.replace(new, old)
    return "" if json.loads(words) == json.loads(_words(expected)) else f"{name}() is not {parent}(): {words}"


def _words(config: Mapping[str, object]) -> str:
    """The config as JSON, without the model types, which are names."""
    return re.sub(r'"model_type": "[^"]*"', '"model_type": ""', json.dumps(config, sort_keys=True, default=str))


def _reason(error: BaseException, path: Path) -> str:
    """The error, and the line of the file that leads to it."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    place = f"{path.name}:{lines[-1]}" if lines else path.name
    return f"{place}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


def page(outcomes: Mapping[str, Outcome]) -> str:
    """The sums, the reasons where a model does not import, and the names of those that do."""
    counts = Counter(outcome.kind for outcome in outcomes.values())
    sums = [f"| {kind} | {counts[kind]} |" for kind in OUTCOMES]
    others = [
        f"| {model} | {each.kind} | {'; '.join(each.reasons)} |" for model, each in outcomes.items() if each.reasons
    ]
    names = ", ".join(model for model, outcome in outcomes.items() if outcome.kind == IMPORTS)
    lines = [
        f"# `hetero new my_X --parent X` for every model X of transformers {installed_version('transformers')}",
        "",
        "Written by `make survey`. A model imports when its files do, have all that they export, and its configs without",
        "arguments are those of the parent, names aside.",
        "",
        *("| outcome | models |", "|---|---|", *sums, f"| all | {len(outcomes)} |", ""),
        *(("| model | outcome | reason |", "|---|---|---|", *others, "") if others else ()),
        "Imports:",
        *textwrap.wrap(names, 119, break_on_hyphens=False),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
