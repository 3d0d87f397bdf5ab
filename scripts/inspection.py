"""`hetero inspect`: what a config says about each layer, as a table, as JSON, as a picture."""

import json
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table

from transformers_heterogeneous.converters import CheckpointError, LayerSummary, ModelSummary, summarise


# Title of each column -> how it is justified
COLUMNS: dict[str, Literal["left", "right"]] = {
    "layers": "left",
    "mixer": "left",
    "heads": "right",
    "KV\nheads": "right",
    "window": "right",
    "MLP": "left",
    "width": "right",
    "parameters\nper layer": "right",
    "KV cache\nbytes/token": "right",
}


def inspect_command(path: Path, as_json: bool, plot: Path | None) -> int:
    """Print a summary of a checkpoint or config; 0 when done, 2 with the reason on stderr when it could not be."""
    try:
        summary = summarise(path)
        if plot is not None:
            from .plot import plot_layers

            plot_layers(summary, plot)
    except CheckpointError as error:
        print(error, file=sys.stderr)
        return 2
    if as_json:
        print(json.dumps(summary.to_dict(), indent=2))
    else:
        print_summary(summary)
    return 0


def print_summary(summary: ModelSummary) -> None:
    """The table of layers and the totals."""
    console = Console(highlight=False)
    console.print(f"{summary.source} ({summary.format})\n", markup=False, soft_wrap=True)
    console.print(layer_table(summary), "")
    for name, value in totals(summary):
        console.print(f"{name:<24}{value}", markup=False, soft_wrap=True)


def layer_table(summary: ModelSummary) -> Table:
    """One row for each run of equal layers."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for column, justify in COLUMNS.items():
        table.add_column(column, justify=justify, no_wrap=True)
    for indices, layer in folded(summary.layers):
        table.add_row(*row(indices, layer), style="dim" if layer.num_parameters == 0 else "")
    return table


def folded(layers: tuple[LayerSummary, ...]) -> Iterator[tuple[str, LayerSummary]]:
    """Runs of equal layers, as (indices such as `12-41`, the layer)."""
    for layer, run in groupby(enumerate(layers), key=lambda numbered: numbered[1]):
        indices = [layer_idx for layer_idx, _ in run]
        yield str(indices[0]) if len(indices) == 1 else f"{indices[0]}-{indices[-1]}", layer


def row(indices: str, layer: LayerSummary) -> list[str]:
    """The cells of one run; a dash where the layer has no such thing."""
    window = "full" if layer.mixer == "attention" and layer.sliding_window is None else number(layer.sliding_window)
    return [
        indices,
        "-" if layer.mixer == "none" else layer.mixer,
        number(layer.num_attention_heads),
        number(layer.num_key_value_heads),
        window,
        "-" if layer.mlp == "none" else layer.mlp,
        number(layer.intermediate_size),
        f"{layer.num_parameters:,}",
        number(layer.kv_cache_bytes_per_token or None),
    ]


def number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def totals(summary: ModelSummary) -> Iterator[tuple[str, str]]:
    """Names and values of what holds for the whole model."""
    attending = sum(layer.mixer == "attention" for layer in summary.layers)
    feeding = sum(layer.mlp != "none" for layer in summary.layers)
    yield "layers", f"{summary.num_hidden_layers}: {attending} with attention, {feeding} with an MLP"
    yield "parameters", f"{summary.num_parameters:,}"
    yield "dtype", summary.dtype or f"not in the config; the cache is counted in {summary.cache_dtype}"
    yield "KV cache per token", f"{summary.kv_cache_bytes_per_token:,} bytes"
    if summary.kv_cache_bytes_per_token_past_windows < summary.kv_cache_bytes_per_token:
        yield "  past all windows", f"{summary.kv_cache_bytes_per_token_past_windows:,} bytes"
