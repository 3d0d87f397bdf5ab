"""A picture of a model's layers, the first on the left, the last on the right."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers_heterogeneous.converters import CheckpointError, LayerSummary, ModelSummary
from transformers_heterogeneous.integrations.installing import how_to_install


EXTENSIONS = (".png", ".svg", ".pdf")
INK, FAINT, GRID = "#222222", "#666666", "#DDDDDD"
# What a layer has -> its colour; Okabe and Ito chose them so that any colour vision tells them apart
COLOURS = {
    "attention": "#0072B2",
    "attention in a window": "#56B4E9",
    "mamba": "#CC79A7",
    "linear (one matrix)": "#E69F00",
    "MLP": "#009E73",
    "experts": "#D55E00",
    "no such sub-block": "#E3E3E3",
}
WHOLE, WINDOWED, MAMBA, LINEAR, MLP, EXPERTS, ABSENT = COLOURS
COLUMN = 0.84  # of the distance between two layers is coloured
INCHES_PER_LAYER, NARROWEST, WIDEST = 0.12, 9.0, 16.0
STRIP_HEIGHT, HEADS_HEIGHT, WIDTHS_HEIGHT = 0.5, 1.1, 2.6  # inches
TICK_DISTANCES = (1, 2, 5, 10, 20, 50, 100)
MOST_TICKS = 20

# (layer, model's hidden size) -> (what the layer has, how much of it)
Reader = Callable[[LayerSummary, int], tuple[str, int]]


class NoMatplotlib(Exception):
    """Pictures are drawn by an extra, which is not installed."""


def plot_layers(summary: ModelSummary, path: Path) -> None:
    """
    Draw the layers: what mixes tokens and with how many KV heads above, the widths of the feed-forward blocks below.
    Sub-blocks that are not there are grey.

    Args:
        path: The file to write: .png, .svg or .pdf.

    Raises:
        CheckpointError: at any other extension, and where the file cannot be written.
        NoMatplotlib: without it.
    """
    check_picture(path)
    save_picture(draw(summary), path)


def check_picture(path: Path) -> None:
    """Raise what `plot_layers` raises where no picture can be drawn, before anything is computed for it."""
    if path.suffix.lower() not in EXTENSIONS:
        raise CheckpointError(f"{path}: cannot draw {path.suffix or 'a file without extension'!r}, only {EXTENSIONS}")
    if find_spec("matplotlib") is None:
        raise NoMatplotlib(f"--plot needs matplotlib: {how_to_install('plot')}")


def save_picture(figure: Any, path: Path) -> None:
    """Write a figure; a `CheckpointError` where that is not possible."""
    try:
        figure.savefig(path, dpi=160, facecolor="white")
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written: {error.strerror}") from error


def draw(summary: ModelSummary) -> Any:
    """The matplotlib figure."""
    from matplotlib.figure import Figure

    panels = list(panels_of(summary))
    heights = [height for _, _, height in panels]
    width = min(max(INCHES_PER_LAYER * len(summary.layers) + 2, NARROWEST), WIDEST)
    figure = Figure(figsize=(width, sum(heights) + 1.9), layout="constrained")
    all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights})
    for axes, (label, reader, _) in zip(all_axes[:, 0], panels, strict=True):
        draw_panel(axes, label, [reader(layer, summary.hidden_size) for layer in summary.layers])
    style_layers(all_axes[-1, 0], len(summary.layers))
    all_axes[0, 0].set_title(subtitle(summary), loc="left", color=FAINT, fontsize=10)
    headline = f"{summary.model_type}: {in_words(summary.num_parameters)} parameters"
    figure.suptitle(headline, x=0.01, ha="left", color=INK, fontsize=14, fontweight="bold")
    figure.legend(handles=legend_handles(summary), loc="outside lower left", ncols=5, frameon=False, labelcolor=INK)
    return figure


def in_words(number: int) -> str:
    """A count in the unit that leaves at least one digit before the point."""
    for unit, word in ((10**9, "billion"), (10**6, "million"), (10**3, "thousand")):
        if number >= unit:
            return f"{number / unit:,.2f} {word}"
    return str(number)


def panels_of(summary: ModelSummary) -> Iterator[tuple[str, Reader, float]]:
    """What is drawn: (label, reader, height in inches). Numbers that are the same in all layers need no panel."""
    layers = summary.layers
    yield "mixer", mixer_of, STRIP_HEIGHT
    if len({layer.num_key_value_heads for layer in layers} - {None}) > 1:
        yield "KV heads", heads_of, HEADS_HEIGHT
    if len({layer.num_experts for layer in layers} - {None}) > 1:
        yield "experts", experts_of, HEADS_HEIGHT
    if len({layer.num_experts_per_tok for layer in layers} - {None}) > 1:
        yield "experts\nof a token", top_k_of, HEADS_HEIGHT
    routed = any(layer.mlp == "moe" for layer in layers)
    yield "MLP width\nfor a token" if routed else "MLP width", width_of, WIDTHS_HEIGHT


def mixer_of(layer: LayerSummary, hidden_size: int) -> tuple[str, int]:
    """What mixes tokens; all cells of the strip are equally high."""
    attention = WINDOWED if layer.sliding_window else WHOLE
    kinds = {"attention": attention, "mamba": MAMBA, "linear": LINEAR, "none": ABSENT}
    return kinds[layer.mixer], 1


def heads_of(layer: LayerSummary, hidden_size: int) -> tuple[str, int]:
    """KV heads in the colour of the attention that has them."""
    kind, _ = mixer_of(layer, hidden_size)
    return (kind, layer.num_key_value_heads) if layer.num_key_value_heads else (ABSENT, 0)


def experts_of(layer: LayerSummary, hidden_size: int) -> tuple[str, int]:
    """How many experts there are."""
    return (EXPERTS, layer.num_experts) if layer.num_experts else (ABSENT, 0)


def top_k_of(layer: LayerSummary, hidden_size: int) -> tuple[str, int]:
    """How many experts a token passes through."""
    return (EXPERTS, layer.num_experts_per_tok) if layer.num_experts_per_tok else (ABSENT, 0)


def width_of(layer: LayerSummary, hidden_size: int) -> tuple[str, int]:
    """The feed-forward block: of experts those that a token passes through and the shared one, added up; one matrix in
    its place is as wide as the model."""
    width = layer.intermediate_size or 0
    active = width * (layer.num_experts_per_tok or 0) + (layer.shared_intermediate_size or 0)
    kinds = {"dense": (MLP, width), "moe": (EXPERTS, active), "linear": (LINEAR, hidden_size), "none": (ABSENT, 0)}
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
    heads = span_in_words({layer.num_key_value_heads for layer in summary.layers})
    kinds = ", ".join(kinds_in_words(summary)).replace("with attention", f"with attention ({heads} KV heads)")
    state = f", {summary.state_bytes:,} bytes per sequence" if summary.state_bytes else ""
    cache = f"{summary.kv_cache_bytes_per_token:,} bytes per token{state} ({summary.cache_dtype})"
    return f"{len(summary.layers)} layers: {kinds}\nCache: {cache}"


def kinds_in_words(summary: ModelSummary) -> Iterator[str]:
    """How many layers have which sub-block."""
    mixers = [layer.mixer for layer in summary.layers]
    mlps = [layer.mlp for layer in summary.layers]
    yield f"{mixers.count('attention')} with attention"
    if "mamba" in mixers:
        yield f"{mixers.count('mamba')} with mamba"
    if "moe" in mlps:
        yield f"{mlps.count('moe')} with experts"
    if num_dense := len(mlps) - mlps.count("moe") - mlps.count("none"):
        yield f"{num_dense} with an MLP"
