"""The second table of `make survey`: `hetero new my_X --parent X --heterogeneous` for every causal language model X.

Each family is written, expanded and judged by the harness of `hetero check --run --heterogeneous`, in a process of its own. What
came of it is remembered by the content of all that it depends on, so that a survey that was stopped goes on where it was.
"""

import hashlib
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ..command.new import CannotStart, OutOfScope, models_folder, new_shard, parents
from ..modular_converter.cache.storage import cache_folder
from ..modular_converter.sources.paths import installed_version


WORKS, REFUSED, WRONG, NOT_JUDGED, OUT = KINDS = (
    "works as written",
    "refused",
    "wrong",
    "not judged",
    "out of scope",
)
YEAR, LIMIT = 2026, 400  # seconds for one model
ROPE = {"rope_type": "default", "rope_theta": 10000.0}
# Of small configs, what the harness does not know by name
CONFIGS: dict[str, dict[str, Any]] = {
    "cohere_compass": {"rope_parameters": {"full_attention": ROPE, "sliding_attention": ROPE}},
}


@dataclass
class Judged:
    """What became of the family of one model."""

    kind: str
    reasons: list[str] = field(default_factory=list)
    varied: list[str] = field(default_factory=list)
    equal: int = 0
    lines: int = 0
    seconds: float = 0.0


def survey_heterogeneous(
    models: Iterable[str] | None = None, say: Callable[[str], None] = lambda line: None
) -> dict[str, Judged]:
    """What became of each causal language model of the installed transformers."""
    import torch

    import transformers_heterogeneous  # noqa: F401  # what shards import from; the processes inherit it

    from ..command import judge  # noqa: F401  # as it is now, also where it is edited meanwhile

    torch.set_num_threads(1)
    code_digest()
    found = {}
    for model in models or causal_models():
        remembered = cache_folder() / "survey" / f"{key_of(model)}.json"
        if not remembered.is_file():
            answer = in_a_process(lambda model=model: asdict(judged_model(model)))  # type: ignore[misc]
            remembered.parent.mkdir(parents=True, exist_ok=True)
            remembered.write_text(answer or json.dumps(asdict(Judged(NOT_JUDGED, ["the process ended early"]))))
        found[model] = Judged(**json.loads(remembered.read_text()))
        say(f"{model}: {found[model].kind} {'; '.join(found[model].reasons)[:200]}")
    return found


def causal_models() -> list[str]:
    """The models whose file defines a causal language model."""
    models = models_folder()
    pattern = re.compile(r"^class \w+(ForCausalLM|LMHeadModel)\(", re.MULTILINE)
    return [
        name
        for name in parents()
        if pattern.search((models / name / f"modeling_{name}.py").read_text(encoding="utf-8"))
    ]


def key_of(model: str) -> str:
    """A name for all that the outcome depends on."""
    digest = hashlib.sha256(code_digest())
    for file in sorted((models_folder() / model).glob("*.py")):
        digest.update(file.read_bytes())
    return f"{model}-{digest.hexdigest()[:24]}"


@cache
def code_digest() -> bytes:
    """Of the code as it is when the survey begins, which its processes have."""
    scripts = Path(__file__).resolve().parents[1]
    files = [
        *sorted((scripts / "heterogenise").glob("*.py")),
        *sorted((scripts / "modular_converter").rglob("*.py")),
        *(scripts / "command" / name for name in ("judge.py", "new.py", "small.py")),
        *sorted((scripts.parent / "modular").glob("modular_heterogeneous*.py")),
        Path(__file__),
    ]
    digest = hashlib.sha256(f"{installed_version('transformers')}\n{sys.version}".encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.digest()


def in_a_process(work: Callable[[], Any]) -> str:
    """What a function returns, as JSON; nothing where its process ends first."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        with suppress(BaseException):
            os.close(reading)
            signal.alarm(LIMIT)
            sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
            with os.fdopen(writing, "w") as pipe:
                json.dump(work(), pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return answer


def judged_model(model: str) -> Judged:
    """Write, expand and judge the family of one model."""
    from ..command.judge import judged

    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="survey-") as folder:
        try:
            shard, _ = new_shard(f"my_{model}", model, Path(folder), YEAR, heterogeneous=True)
        except OutOfScope as error:
            return Judged(OUT, [str(error).splitlines()[-1].strip()])
        except CannotStart as error:
            return Judged(REFUSED, [line.strip() for line in str(error).splitlines()[1:]])
        lines = len(shard.read_text(encoding="utf-8").splitlines())
        verdict = judged(shard.resolve(), CONFIGS.get(model, {}))
    kind = WRONG if verdict.differences else NOT_JUDGED if verdict.failures else WORKS
    reasons = [line.splitlines()[0][:300] for line in (*verdict.differences, *verdict.failures)]
    seconds = round(time.perf_counter() - started, 1)
    return Judged(kind, reasons, verdict.varied, len(verdict.equal), lines, seconds)


def page(found: Mapping[str, Judged]) -> str:
    """The sums, the families with what varies in them, and the reasons of the others."""
    counts = Counter(each.kind for each in found.values())
    works = [
        f"| {model} | {each.lines} | {', '.join(each.varied)} |" for model, each in found.items() if each.kind == WORKS
    ]
    lines = [
        f"# `hetero new my_X --parent X --heterogeneous` for every causal language model X of transformers {installed_version('transformers')}",
        "",
        "Written by `make survey`. A family works when the harness of `hetero check --run --heterogeneous` finds it equal, bit for bit in",
        "fp32 on the CPU: with layers alike to its parent, with layers that differ (absent attention, absent MLP, both, every size that may",
        "vary varied, windows that differ, MLPs of two kinds exchanged) to the parent's own layers put together by hand; forward, padded,",
        "cached steps, generation, gradients, saved and loaded.",
        "",
        *(
            "| outcome | models |",
            "|---|---|",
            *(f"| {kind} | {counts[kind]} |" for kind in KINDS),
            f"| all | {len(found)} |",
            "",
        ),
        f"{sum(each.equal for each in found.values())} comparisons were equal. The families took {sum(each.seconds for each in found.values()):.0f} s on one core.",
        "",
        *("| works as written | lines of the shard | may be lists |", "|---|---|---|", *works, ""),
    ]
    for kind in (REFUSED, WRONG, NOT_JUDGED):
        rows = [f"| {model} | {cell(each.reasons)} |" for model, each in found.items() if each.kind == kind]
        lines += [f"| {kind} | reason |", "|---|---|", *rows, ""] if rows else []
    names = [model for model, each in found.items() if each.kind == OUT]
    lines += [
        f"Out of scope, as encoder-decoder models, decoders with cross-attention, and models without attention: {', '.join(names)}"
    ]
    return "\n".join(lines)


def cell(reasons: Sequence[str]) -> str:
    return "; ".join(reasons).replace("|", "\\|")


def main() -> int:
    """Print the table; 0 when no family is wrong."""
    found = survey_heterogeneous(sys.argv[1:] or None, lambda line: print(line, file=sys.stderr, flush=True))
    print(page(found))
    return int(any(each.kind == WRONG for each in found.values()))


if __name__ == "__main__":
    sys.exit(main())
