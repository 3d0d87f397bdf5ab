"""`hetero inspect`: what a config says about each layer, as a table, as JSON, as a picture."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table

from transformers_heterogeneous.converters import CheckpointError, LayerSummary, ModelSummary, summarise
from transformers_heterogeneous.converters.flops import CONTEXT
from transformers_heterogeneous.converters.summary import FULL, folded

from .convert import numbers_in_words
from .plot import NoMatplotlib, kinds_in_words, plot_layers


# Title of each column -> how it is justified, and the cell of a layer
COLUMNS: dict[str, tuple[Literal["left", "right"], Callable[[LayerSummary], str]]] = {
    "mixer": ("left", lambda layer: "-" if layer.mixer == "none" else layer.mixer),
    "heads": ("right", lambda layer: number(layer.num_attention_heads)),
    "KV\nheads": ("right", lambda layer: number(layer.num_key_value_heads)),
    "window": ("right", lambda layer: FULL if layer.window == FULL else number(layer.sliding_window)),
    "state": ("right", lambda layer: number(layer.ssm_state_size)),
    "MLP": ("left", lambda layer: "-" if layer.mlp == "none" else layer.mlp),
    "experts": ("right", lambda layer: number(layer.num_experts)),
    "top-k": ("right", lambda layer: number(layer.num_experts_per_tok)),
    "width": ("right", lambda layer: number(layer.intermediate_size)),
    "shared": ("right", lambda layer: number(layer.shared_intermediate_size)),
    "latent": ("right", lambda layer: number(layer.latent_size)),
    "fused": ("left", lambda layer: layer.fused_block or "-"),
    "parameters\nper layer": ("right", lambda layer: f"{layer.num_parameters:,}"),
    "KV cache\nbytes/token": ("right", lambda layer: number(layer.kv_cache_bytes_per_token or None)),
}
WIDEST = 1000  # characters; a terminal that is narrower than the table wraps it, and nothing is cut off
# Columns that are left out of the table of a model in which no layer has such a thing
OPTIONAL_COLUMNS = ("state", "experts", "top-k", "shared", "latent", "fused")


def inspect_command(
    path: Path,
    as_json: bool,
    plot: Path | None,
    revision: str | None = None,
    other: Path | None = None,
    context: int | None = None,
) -> int:
    """Print a summary of a checkpoint or config, or of two side by side; 0 when done, 2 with the reason on stderr when it could
    not be. Without matplotlib the summary comes all the same."""
    context = context or CONTEXT
    if other is not None:
        return compare_command(path, other, as_json, plot, revision, context)
    try:
        summary = summarise(path, revision)
        undrawn = None if plot is None else without_matplotlib(summary, plot)
    except CheckpointError as error:
        print(error, file=sys.stderr)
        return 2
    if as_json:
        print(json.dumps(told(summary, context), indent=2))
    else:
        print_summary(summary, context)
    if undrawn:
        sys.stdout.flush()
        print(undrawn, file=sys.stderr)
        return 2
    return 0


def without_matplotlib(summary: ModelSummary, plot: Path) -> str | None:
    """Draw the picture, or return how to install what draws it."""
    try:
        plot_layers(summary, plot)
    except NoMatplotlib as error:
        return str(error)
    return None


def told(summary: ModelSummary, context: int) -> dict[str, Any]:
    """A summary as plain data, and the operations of a token among so many."""
    return {**summary.to_dict(), "flops_per_token": asdict(summary.flops_per_token(context))}


def compare_command(
    first: Path, second: Path, as_json: bool, plot: Path | None, revision: str | None, context: int
) -> int:
    """Print two summaries side by side: what holds for the whole model, and the layers that differ."""
    try:
        if plot is not None:
            raise CheckpointError("--plot draws one model: name one")
        summaries = [summarise(path, revision) for path in (first, second)]
    except CheckpointError as error:
        print(error, file=sys.stderr)
        return 2
    if as_json:
        print(json.dumps([told(summary, context) for summary in summaries], indent=2))
        return 0
    console = Console(highlight=False, emoji=False)
    for letter, summary in zip("AB", summaries, strict=True):
        console.print(f"{letter}: {summary.source} ({summary.format})", markup=False, soft_wrap=True)
    sides = [dict(totals(summary, context)) for summary in summaries]
    both = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for title in ("", "A", "B"):
        both.add_column(title, no_wrap=True)
    for name in {**sides[0], **sides[1]}:
        both.add_row(name, *(side.get(name, "-") for side in sides))
    differing = differing_layers(*summaries)
    for table in (both, differing):
        unbounded = console.options.update(max_width=WIDEST)
        console.width = max(console.width, console.measure(table, options=unbounded).maximum)
        console.print("", table)
    if not differing.row_count:
        console.print("the layers are alike")
    return 0


def differing_layers(first: ModelSummary, second: ModelSummary) -> Table:
    """One row for each thing that differs, and the layers in which it does; one that only one has differs in all that it has."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for title in ("differs", "A", "B", "layers"):
        table.add_column(title, no_wrap=True, justify="right" if title in "AB" else "left")
    cells = {title.replace("\n", " "): cell for title, (_, cell) in COLUMNS.items()}
    found: dict[tuple[str, str, str], list[int]] = {}
    for layer_idx, pair in enumerate(zip_longest(first.layers, second.layers)):
        sides = [{name: "-" if layer is None else cell(layer) for name, cell in cells.items()} for layer in pair]
        for name in (name for name in cells if sides[0][name] != sides[1][name]):
            found.setdefault((name, sides[0][name], sides[1][name]), []).append(layer_idx)
    for (name, *values), layers in found.items():
        table.add_row(name, *values, numbers_in_words(tuple(layers)))
    return table


def print_summary(summary: ModelSummary, context: int = CONTEXT) -> None:
    """The table of layers and the totals."""
    console = Console(highlight=False, emoji=False)
    console.print(f"{summary.source} ({summary.format})\n", markup=False, soft_wrap=True)
    table = layer_table(summary)
    unbounded = console.options.update(max_width=WIDEST)
    console.width = max(console.width, console.measure(table, options=unbounded).maximum)
    console.print(table, "")
    for name, value in totals(summary, context):
        console.print(f"{name:<24}{value}", markup=False, soft_wrap=True)


def layer_table(summary: ModelSummary) -> Table:
    """One row for each run of equal layers."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    columns = [
        (title, justify, cell)
        for title, (justify, cell) in COLUMNS.items()
        if title not in OPTIONAL_COLUMNS or any(cell(layer) != "-" for layer in summary.layers)
    ]
    table.add_column("layers", no_wrap=True)
    for title, justify, _ in columns:
        table.add_column(title, justify=justify, no_wrap=True)
    for indices, layer in folded(summary.layers):
        cells = [cell(layer) for _, _, cell in columns]
        table.add_row(indices, *cells, style="dim" if layer.num_parameters == 0 else "")
    return table


def number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def totals(summary: ModelSummary, context: int = CONTEXT) -> Iterator[tuple[str, str]]:
    """Names and values of what holds for the whole model."""
    yield "layers", f"{summary.num_hidden_layers}: {', '.join(kinds_in_words(summary))}"
    yield "parameters", f"{summary.num_parameters:,}"
    if summary.num_active_parameters < summary.num_parameters:
        yield "  active for a token", f"{summary.num_active_parameters:,}"
    yield "dtype", summary.dtype or f"not in the config; the cache is counted in {summary.cache_dtype}"
    yield "KV cache per token", f"{summary.kv_cache_bytes_per_token:,} bytes"
    if summary.kv_cache_bytes_per_token_past_windows < summary.kv_cache_bytes_per_token:
        yield "  past all windows", f"{summary.kv_cache_bytes_per_token_past_windows:,} bytes"
    if summary.state_bytes:
        yield "state per sequence", f"{summary.state_bytes:,} bytes"
    flops = summary.flops_per_token(context)
    yield "FLOPs per token", f"{flops.decode:,} to decode the last of {context:,}"
    yield "  in a prefill", f"{flops.prefill:,} for each of these, in the mean"
    yield "loads with", "; ".join(filter(None, (summary.loads_with or "nothing as it is", summary.loading_note)))
