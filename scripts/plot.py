"""A picture of a model's layers, the first on the left, the last on the right."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers_heterogeneous.converters import CheckpointError, LayerSummary, ModelSummary


EXTENSIONS = (".png", ".svg", ".pdf")
INK, FAINT, GRID = "#222222", "#666666", "#DDDDDD"
# What a layer has -> its colour; Okabe and Ito chose them so that any colour vision tells them apart
COLOURS = {
    "attention": "#0072B2",
    "attention in a window": "#56B4E9",
    "linear (one matrix)": "#E69F00",
    "MLP": "#009E73",
    "no such sub-block": "#E3E3E3",
}
WHOLE, WINDOWED, LINEAR, MLP, ABSENT = COLOURS
COLUMN = 0.84  # of the distance between two layers is coloured
INCHES_PER_LAYER, NARROWEST, WIDEST = 0.12, 9.0, 16.0
STRIP_HEIGHT, HEADS_HEIGHT, WIDTHS_HEIGHT = 0.5, 1.1, 2.6  # inches
TICK_DISTANCES = (1, 2, 5, 10, 20, 50, 100)
MOST_TICKS = 20

# (layer, model's hidden size) -> (what the layer has, how much of it)
Reader = Callable[[LayerSummary, int], tuple[str, int]]


def plot_layers(summary: ModelSummary, path: Path) -> None:
    """
    Draw the layers: what mixes tokens and with how many KV heads above, the widths of the feed-forward blocks below.
    Sub-blocks that are not there are grey.

    Args:
        path: The file to write: .png, .svg or .pdf.

    Raises:
        CheckpointError: at any other extension, without matplotlib, and where the file cannot be written.
    """
    if path.suffix.lower() not in EXTENSIONS:
        raise CheckpointError(f"{path}: cannot draw {path.suffix or 'a file without extension'!r}, only {EXTENSIONS}")
    if find_spec("matplotlib") is None:
        raise CheckpointError('--plot needs matplotlib: pip install "transformers-heterogeneous[plot]"')
    figure = draw(summary)
    try:
        figure.savefig(path, dpi=160, facecolor="white")
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written: {error.strerror}") from error


def draw(summary: ModelSummary) -> Any:
    """The matplotlib figure."""
    from matplotlib.figure import Figure

    panels: list[tuple[str, Reader, float]] = [
        ("mixer", mixer_of, STRIP_HEIGHT),
        ("MLP width", width_of, WIDTHS_HEIGHT),
    ]
    if len({layer.num_key_value_heads for layer in summary.layers} - {None}) > 1:
        panels.insert(1, ("KV heads", heads_of, HEADS_HEIGHT))
    heights = [height for _, _, height in panels]
    width = min(max(INCHES_PER_LAYER * len(summary.layers) + 2, NARROWEST), WIDEST)
    figure = Figure(figsize=(width, sum(heights) + 1.9), layout="constrained")
    all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights})
    for axes, (label, reader, _) in zip(all_axes[:, 0], panels, strict=True):
        draw_panel(axes, label, [reader(layer, summary.hidden_size) for layer in summary.layers])
    style_layers(all_axes[-1, 0], len(summary.layers))
    all_axes[0, 0].set_title(subtitle(summary), loc="left", color=FAINT, fontsize=10)
    headline = f"{summary.model_type}: {summary.num_parameters / 1e9:,.2f} billion parameters"
    figure.suptitle(headline, x=0.01, ha="left", color=INK, fontsize=14, fontweight="bold")
    figure.legend(handles=legend_handles(summary), loc="outside lower left", ncols=5, frameon=False, labelcolor=INK)
    return figure


def mixer_of(layer: LayerSummary, hidden_size: int) -> tuple[str, int]:
    """What mixes tokens; all cells of the strip are equally high."""
    kinds = {"attention": WINDOWED if layer.sliding_window else WHOLE, "linear": LINEAR, "none": ABSENT}
    return kinds[layer.mixer], 1


def heads_of(layer: LayerSummary, hidden_size: int) -> tuple[str, int]:
    """KV heads in the colour of the attention that has them."""
    kind, _ = mixer_of(layer, hidden_size)
    return (kind, layer.num_key_value_heads) if layer.num_key_value_heads else (ABSENT, 0)


def width_of(layer: LayerSummary, hidden_size: int) -> tuple[str, int]:
    """The feed-forward block; one matrix in its place is as wide as the model."""
    kinds = {"dense": (MLP, layer.intermediate_size or 0), "linear": (LINEAR, hidden_size), "none": (ABSENT, 0)}
    return kinds[layer.mlp]


def draw_panel(axes: Any, label: str, cells: list[tuple[str, int]]) -> None:
    """One bar for each layer; where it has nothing, grey over the whole height."""
    highest = max(amount for _, amount in cells) or 1
    amounts = [highest if kind == ABSENT else amount for kind, amount in cells]
    axes.bar(range(len(cells)), amounts, width=COLUMN, color=[COLOURS[kind] for kind, _ in cells], zorder=2)
    axes.set_ylabel(label, rotation=0, ha="right", va="center", color=INK)
    axes.set_yticks(amount_ticks(highest))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.grid(axis="y", color=GRID, linewidth=0.6, zorder=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    axes.tick_params(axis="both", length=0, labelcolor=FAINT)


def amount_ticks(highest: int) -> list[float]:
    """The largest amount itself and round ones below it; none on a strip, where all cells are one high."""
    from matplotlib.ticker import MaxNLocator

    ticks = MaxNLocator(4, integer=True).tick_values(0, highest)
    return [tick for tick in ticks if tick < 0.9 * highest] + [highest] if highest > 1 else []


def style_layers(axes: Any, num_layers: int) -> None:
    """The horizontal axis: numbers of layers at a round distance, and the last one."""
    fitting = (distance for distance in TICK_DISTANCES if num_layers / distance <= MOST_TICKS)
    distance = next(fitting, TICK_DISTANCES[-1])
    ticks = [layer for layer in range(0, num_layers, distance) if num_layers - 1 - layer >= distance / 2]
    axes.set_xticks([*ticks, num_layers - 1])
    axes.set_xlim(-0.7, num_layers - 0.3)
    axes.set_xlabel("layer", color=INK)


def legend_handles(summary: ModelSummary) -> list[Any]:
    """A patch for each thing that the picture shows."""
    from matplotlib.patches import Patch

    shown = {reader(layer, 1)[0] for reader in (mixer_of, width_of) for layer in summary.layers}
    windows = {layer.sliding_window for layer in summary.layers}
    labels = {kind: kind for kind in COLOURS} | {WINDOWED: f"{WINDOWED} of {span_in_words(windows)}"}
    return [Patch(color=COLOURS[kind], label=label) for kind, label in labels.items() if kind in shown]


def span_in_words(values: set[int | None]) -> str:
    """The smallest and the largest of several values; `None` is none."""
    numbers = sorted(value for value in values if value is not None)
    return " to ".join(f"{value:,}" for value in dict.fromkeys(numbers[:1] + numbers[-1:]))


def subtitle(summary: ModelSummary) -> str:
    """How many layers have what, and what the cache takes."""
    attending = sum(layer.mixer == "attention" for layer in summary.layers)
    feeding = sum(layer.mlp != "none" for layer in summary.layers)
    heads = span_in_words({layer.num_key_value_heads for layer in summary.layers})
    return (
        f"{len(summary.layers)} layers, {attending} with attention ({heads} KV heads), {feeding} with an MLP. "
        f"KV cache: {summary.kv_cache_bytes_per_token:,} bytes per token ({summary.cache_dtype})"
    )
