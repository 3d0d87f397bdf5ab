"""`hetero trace`: what each module of a model gives, and where another model gives something else."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, floor, log10
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from transformers_heterogeneous.converters import CheckpointError, Parting, Trace, parting_of, trace
from transformers_heterogeneous.converters.seeing.recorder import LAYER
from transformers_heterogeneous.converters.seeing.tracing import read_trace

from .convert import numbers_in_words
from .plot import COLOURS, FAINT, INK, WHOLE, NoMatplotlib, check_picture, save_picture, style_layers
from .prune import read_layers


MOST_NAMED = 8  # modules that only one has
WIDEST = 1000


@dataclass(frozen=True)
class Asked:
    """What `hetero trace` was asked for, as its options say it."""

    prompt: str | None
    ids: str | None
    against: Path | None
    layers: str | None
    tolerance: float
    every_layer: bool
    by_family: bool
    dtype: str | None
    device: str | None
    plot: Path | None
    as_json: bool
    revision: str | None


def trace_command(path: Path, asked: Asked) -> int:
    """
    Print a trace, or where it parts from another.

    Returns:
        0 when done and nothing parts, 1 where two part, 2 with the reason on stderr when it could not be done.
    """
    try:
        if asked.against is None and (asked.plot is not None or asked.layers is not None):
            what = (
                "--plot draws the difference of two" if asked.layers is None else "--layers says which are the other's"
            )
            raise CheckpointError(f"{what}: name the other by --against")
        if asked.prompt is not None and asked.ids is not None:
            raise CheckpointError("--prompt and --ids: one of them is needed")
        if asked.plot is not None:
            check_picture(asked.plot)
        return traced(path, asked)
    except (CheckpointError, NoMatplotlib) as error:
        print(error, file=sys.stderr)
        return 2


def traced(path: Path, asked: Asked) -> int:
    """The same, where nothing is wrong."""
    other = None if asked.against is None else saved_trace(asked.against)
    first = (
        read_trace(path) if path.suffix == ".json" and path.is_file() else made(path, inputs_of(asked, other), asked)
    )
    if asked.against is None:
        print_json(first.to_dict()) if asked.as_json else print_trace(first, asked.every_layer)
        return 0
    second = made(asked.against, first.tokens, asked) if other is None else other
    layers = None if asked.layers is None else list(read_layers(asked.layers))
    parting = parting_of(first, second, layers, asked.tolerance)
    if asked.as_json:
        print_json(parting.to_dict())
    else:
        print_parting(parting, first, second)
    if asked.plot is not None:
        save_picture(draw_parting(parting), asked.plot)
    return 0 if parting.module is None else 1


def saved_trace(path: Path) -> Trace | None:
    """A trace that was saved; `None` where a checkpoint is named."""
    return read_trace(path) if path.suffix == ".json" and path.is_file() else None


def made(path: Path, inputs: Any, asked: Asked) -> Trace:
    """A trace of a checkpoint, the tensors kept where they are to be compared."""
    keep, by_family = asked.against is not None, asked.by_family
    more = {"dtype": asked.dtype, "device": asked.device, "revision": asked.revision}
    return trace(str(path), inputs, keep_values=keep, by_family=by_family, **more)


def inputs_of(asked: Asked, other: Trace | None) -> Any:
    """What enters the model: a text, ids, or the tokens of the trace that it is compared with."""
    if asked.ids is not None:
        try:
            return [int(each) for each in asked.ids.split(",")]
        except ValueError as error:
            raise CheckpointError(f"--ids {asked.ids}: token ids are needed, as in 1,15,7") from error
    if asked.prompt is not None:
        return asked.prompt
    if other is not None and other.tokens is not None:
        return other.tokens
    raise CheckpointError("there is nothing to run it on: give --prompt TEXT, or --ids 1,15,7")


def print_json(members: Any) -> None:
    print(json.dumps(members, indent=1))


def plain_console() -> Console:
    return Console(highlight=False, soft_wrap=True, markup=False, emoji=False)


def print_trace(whole: Trace, every_layer: bool) -> None:
    """A table of the modules, one layer of each kind or all."""
    console = plain_console()
    console.print(f"{head_line(whole)}, {len(whole.tokens[0]) if whole.tokens else 0} tokens\n")
    told = whole if every_layer else whole.one_of_each_kind()
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("module", no_wrap=True)
    for title in ("shape", "dtype", "mean", "deviation", "least", "most"):
        table.add_column(title, justify="left" if title == "dtype" else "right", no_wrap=True)
    for each in told.activations:
        numbers = each.gave
        values = (numbers.mean, numbers.std, numbers.least, numbers.most)
        cells = ("-" if value is None else f"{value:.4g}" for value in values)
        shape = "x".join(map(str, numbers.shape))
        table.add_row(each.module or "(the model)", shape, numbers.dtype, *cells)
    console.width = max(
        console.width, console.measure(table, options=console.options.update(max_width=WIDEST)).maximum
    )
    console.print(table, "")
    for line in kind_lines(whole):
        console.print(line)


def head_line(told: Trace) -> str:
    how = ", one layer in memory at a time" if told.one_by_one else ""
    return f"{told.source}: computed by {told.computed_by}{how}"


def kind_lines(told: Trace) -> Iterator[str]:
    """Which layers are built alike, and what they lack."""
    kinds: dict[tuple[str, int, tuple[str, ...]], list[int]] = {}
    for name, layer in told.layers.items():
        stack, _, number = name.rpartition(".")
        kinds.setdefault((stack, layer.kind, layer.absent), []).append(int(number))
    for (stack, _, absent), numbers in kinds.items():
        alike = " are built alike" if len(numbers) > 1 else " is the only one of its kind"
        lacks = f"; absent: {', '.join(absent)}" if absent else ""
        yield f"{stack}: {numbers_in_words(tuple(numbers))}{alike}{lacks}"


def print_parting(parting: Parting, first: Trace, second: Trace) -> None:
    """Where two part, and by how much behind each layer."""
    console = plain_console()
    console.print(f"A: {head_line(first)}")
    console.print(f"B: {head_line(second)}")
    if parting.numbers:
        pairs = ", ".join(f"{layer} is {other}" for layer, other in parting.numbers.items())
        console.print(f"layers of A in B: {pairs}; others have the same number")
    console.print(f"{parting.num_compared:,} tensors compared, {parting.num_equal:,} are the same byte for byte")
    for side, names in zip("AB", parting.alone, strict=True):
        if names:
            more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
            named = ", ".join(name or "(the model)" for name in names[:MOST_NAMED])
            console.print(f"only {side} has {named}{more}")
    for line in parting_lines(parting):
        console.print(line)
    if parting.module is not None:
        console.print("\nbehind layer            apart")
        for name, apart in parting.layers.items():
            console.print(f"{name:<23} {'other shape' if apart is None else f'{apart:.3g}'}")


def parting_lines(parting: Parting) -> Iterator[str]:
    """The verdict in words."""
    if parting.module is None or parting.apart is None:
        yield "They do not part."
        return
    same = "the same" + (f" but for {', '.join(parting.arguments)}" if parting.arguments else "")
    named = parting.module or "the model itself"
    yield (
        f"They part in {named}"
        + (f" ({parting.class_name})" if parting.class_name else "")
        + (f": it takes {same}, and gives something else")
    )
    apart = parting.apart
    amount = "in its shape" if apart.relative is None else f"relative {apart.relative:.3g}"
    if apart.largest is not None and apart.at is not None:
        amount += f", at most {apart.largest:.3g}, at {list(apart.at)}"
    yield f"  first seen in {parting.seen_in}: apart {amount}"


def draw_parting(parting: Parting) -> Any:
    """How far apart two are behind each layer."""
    from matplotlib.figure import Figure

    layers = [
        (int(match["number"]), value)
        for name, value in parting.layers.items()
        if (match := LAYER.fullmatch(name)) and value is not None
    ]
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    numbers, values = [number for number, _ in layers], [value for _, value in layers]
    axes.bar(numbers, values, color=COLOURS[WHOLE], width=0.8)
    if positive := [value for value in values if value > 0]:
        axes.set_yscale("log")
        axes.set_ylim(10 ** floor(log10(min(positive)) - 0.5), 10 ** ceil(log10(max(positive))))
        axes.minorticks_off()
    axes.set_ylabel("relative difference behind it", color=INK)
    axes.tick_params(axis="both", length=0, labelcolor=FAINT)
    axes.spines[["top", "right"]].set_visible(False)
    style_layers(axes, len(numbers))
    where = "do not part" if parting.module is None else f"part in {parting.module or 'the model itself'}"
    figure.suptitle(f"They {where}", x=0.01, ha="left", color=INK, fontsize=13, fontweight="bold")
    axes.set_title(f"A: {parting.first}\nB: {parting.second}", loc="left", color=FAINT, fontsize=9)
    return figure
