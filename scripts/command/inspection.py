"""`hetero inspect`: what a config says about each layer, as a table, as JSON, as a picture."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table

from transformers_heterogeneous.converters import CheckpointError, LayerSummary, ModelSummary, summarise
from transformers_heterogeneous.converters.summary import FULL, folded

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


def inspect_command(path: Path, as_json: bool, plot: Path | None, revision: str | None = None) -> int:
    """Print a summary of a checkpoint or config; 0 when done, 2 with the reason on stderr when it could not be. Without
    matplotlib the summary comes all the same."""
    try:
        summary = summarise(path, revision)
        undrawn = None if plot is None else without_matplotlib(summary, plot)
    except CheckpointError as error:
        print(error, file=sys.stderr)
        return 2
    if as_json:
        print(json.dumps(summary.to_dict(), indent=2))
    else:
        print_summary(summary)
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


def print_summary(summary: ModelSummary) -> None:
    """The table of layers and the totals."""
    console = Console(highlight=False, emoji=False)
    console.print(f"{summary.source} ({summary.format})\n", markup=False, soft_wrap=True)
    table = layer_table(summary)
    unbounded = console.options.update(max_width=WIDEST)
    console.width = max(console.width, console.measure(table, options=unbounded).maximum)
    console.print(table, "")
    for name, value in totals(summary):
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


def totals(summary: ModelSummary) -> Iterator[tuple[str, str]]:
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
    yield "loads with", "; ".join(filter(None, (summary.loads_with or "nothing as it is", summary.loading_note)))
