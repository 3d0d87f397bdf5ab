"""`hetero convert`: a checkpoint in any known format becomes one of the family, or of another format."""

import json
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, groupby
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from transformers_heterogeneous.converters import CheckpointError, Report
from transformers_heterogeneous.converters.engine.plan import NamedTensor
from transformers_heterogeneous.converters.engine.staging import staging_of


Told = TypeVar("Told")
MAX_LINES = 10  # of tensors for one reason; --json names them all


def print_json(report: Report) -> None:
    print(json.dumps(report.to_dict(), indent=2))


def convert_command(conversion: Callable[[], Told], dst: Path, print_with: Callable[[Told], None]) -> int:
    """
    Convert and print the report.

    Args:
        conversion: `convert`, or the like, with what was asked for.
        dst: What it writes.
        print_with: Prints what it returns.

    Returns:
        0 when done, 2 with the reason on stderr when it could not be.
    """
    # A polite kill ends as Ctrl-C does
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        report = conversion()
    except CheckpointError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"Stopped. Run it again to go on with what is finished, or remove {staging_of(dst)}", file=sys.stderr)
        return 2
    print_with(report)
    return 0


def print_report(report: Report) -> None:
    """The report in words, one line a fact."""
    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    done = "would become" if report.dry_run else "is now"
    console.print(f"{report.source} ({report.format}) {done} {report.target} ({report.to})")
    console.print(
        f"  {report.num_tensors:,} tensors, {report.num_parameters:,} parameters, {report.num_bytes:,} bytes"
    )
    for line in chain(cut_lines(report), weight_lines(report), other_lines(report)):
        console.print(f"  {line}")


def cut_lines(report: Report) -> Iterator[str]:
    """How large the model was before something was cut out of it, and is now."""
    if report.cut is None:
        return
    before, after = report.cut.before, report.cut.after
    for name, first, last in (
        ("parameters", before.num_parameters, after.num_parameters),
        ("active for a token", before.num_active_parameters, after.num_active_parameters),
        ("bytes", before.num_bytes, after.num_bytes),
        ("KV cache bytes per token", before.kv_cache_bytes_per_token, after.kv_cache_bytes_per_token),
        ("state bytes per sequence", before.state_bytes, after.state_bytes),
    ):
        if first:
            yield f"{name}: {first:,} -> {last:,} ({last / first:.1%})"
    plan = report.cut.record.get("plan", {})
    if plan:
        yield "chosen, the cheapest cut after another for what it frees (greedy):"
    for _, run in groupby(enumerate(plan.items()), key=lambda each: (int(each[1][0]) - each[0], each[1][1])):
        layers = [(int(layer), members) for _, (layer, members) in run]
        said = (
            f"without {' and '.join(v)}" if name == "skip" else f"{name} {v:,}" for name, v in layers[0][1].items()
        )
        yield f"  layer {numbers_in_words(tuple(layer for layer, _ in layers))}: {', '.join(said)}"


def weight_lines(report: Report) -> Iterator[str]:
    """What became of the tensors, and what it cost or would cost."""
    yield "tensors: " + ", ".join(f"{number:,} {operation}" for operation, number in report.operations.items())
    for how in sorted({file.how for file in report.files}):
        yield f"{how}: {span_of([file.name for file in report.files if file.how == how])}"
    if report.dry_run:
        cost = report.cost
        if cost.num_bytes_downloaded:
            yield f"download: {cost.num_bytes_downloaded:,} bytes of weights, into the hub's cache"
        yield (
            f"cost: {cost.num_bytes_written:,} bytes read and written, {cost.num_bytes_shared:,} shared with the source; "
            f"no temporary space; {cost.num_bytes_free:,} bytes are free"
        )
    if report.dropped_layers:
        yield f"dropped: layers without sub-blocks, the others are renumbered: {numbers_in_words(report.dropped_layers)}"
    yield from tensor_lines("dropped", report.dropped)
    yield from tensor_lines("kept, not used", report.unused)


def tensor_lines(what: str, tensors: Iterable[NamedTensor]) -> Iterator[str]:
    """A line for each tensor; one for all of a reason where there are many."""
    reasons: dict[str, list[NamedTensor]] = {}
    for tensor in tensors:
        reasons.setdefault(tensor.reason, []).append(tensor)
    for reason, found in reasons.items():
        if len(found) > MAX_LINES:
            yield f"{what}: {len(found):,} tensors, {found[0].name} to {found[-1].name}: {reason}"
            continue
        for tensor in found:
            yield f"{what}: {tensor.name} in {tensor.file}: {reason}"


def other_lines(report: Report) -> Iterator[str]:
    """What became of the config and of the other files."""
    if report.restored:
        yield "restored: config.json as it was published, byte for byte"
    if report.dropped_fields:
        yield f"dropped from config.json: {', '.join(report.dropped_fields)}"
    yield f"written: {', '.join(report.written)}"
    if report.carried:
        yield f"carried along: {', '.join(report.carried)}"
    for left in report.not_carried:
        yield f"not carried: {left.name}: {left.reason}"
    for reader, option in report.readers.items():
        yield f"read by {reader}" + (f" when written with {option}" if option else "")
    for reader, problems in report.not_readers.items():
        more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
        yield f"not read by {reader}: {problems[0]}{more}"


def numbers_in_words(numbers: tuple[int, ...]) -> str:
    """Numbers in their order, as in `3, 19-22`."""
    runs = groupby(enumerate(numbers), key=lambda numbered: numbered[1] - numbered[0])
    spans = [[number for _, number in run] for _, run in runs]
    return ", ".join(str(span[0]) if len(span) == 1 else f"{span[0]}-{span[-1]}" for span in spans)


def span_of(names: list[str]) -> str:
    """One name as it is, several as how many from where to where."""
    return names[0] if len(names) == 1 else f"{len(names)} files, {names[0]} to {names[-1]}"
