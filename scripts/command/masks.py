"""`hetero masks`: what each token attends to in which layers, on a terminal, as JSON, as a picture."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers_heterogeneous.converters import CheckpointError
from transformers_heterogeneous.converters.calibration import encode
from transformers_heterogeneous.converters.seeing.passed_masks import (
    Masks,
    PassedMask,
    masks,
    packed,
    padded,
    plain,
    with_images,
)

from .convert import numbers_in_words
from .plot import ABSENT, COLOURS, FAINT, INK, WHOLE, NoMatplotlib, check_picture, save_picture
from .trace import plain_console, print_json


MOST_CELLS = 40  # of a row on a terminal; a cell stands for several tokens where there are more
MOST_PIXELS = 1000  # of a side of a picture; of more tokens, one in several is drawn
SEEN, IN_PART, UNSEEN = "██", "▒▒", "··"


@dataclass(frozen=True)
class Tokens:
    """What `hetero masks` is asked to run a model on: one of these, and images in it."""

    number: int | None
    prompt: str | None
    packed: str | None
    padded: str | None
    images: Sequence[str]


def masks_command(path: Path, tokens: Tokens, as_json: bool, plot: Path | None, revision: str | None) -> int:
    """Print the masks; 0 when done, 2 with the reason on stderr when it could not be."""
    try:
        if plot is not None:
            check_picture(plot)
        inputs, labels = inputs_of(path, tokens)
        found = masks(path, inputs, revision)
        if plot is not None:
            save_picture(draw_masks(found), plot)
    except (CheckpointError, NoMatplotlib) as error:
        print(error, file=sys.stderr)
        return 2
    print_json(found.to_dict()) if as_json else print_masks(found, labels)
    return 0


def inputs_of(path: Path, tokens: Tokens) -> tuple[Any, list[str]]:
    """What the model runs on, `None` for as many tokens as its windows need; and what tokens are called, where they are text."""
    ways = {"--tokens": tokens.number, "--prompt": tokens.prompt, "--packed": tokens.packed, "--padded": tokens.padded}
    given = [name for name, value in ways.items() if value is not None]
    if len(given) > 1:
        raise CheckpointError(f"{' and '.join(given)}: one of them is needed")
    if tokens.images and not given:
        raise CheckpointError("--image marks tokens, and how many there are is not said: give --tokens N too")
    inputs: Any = None
    labels: list[str] = []
    if tokens.prompt is not None:
        (ids,) = encode([tokens.prompt], path)
        inputs, labels = plain(len(ids)), words_of(ids, path)
    elif tokens.packed is not None:
        inputs = packed(read_lengths("--packed", tokens.packed))
    elif tokens.padded is not None:
        inputs = padded(read_lengths("--padded", tokens.padded))
    elif tokens.number is not None:
        inputs = plain(tokens.number)
    if tokens.images:
        inputs = with_images(inputs, [read_span(span, inputs["input_ids"].shape[1]) for span in tokens.images])
    return inputs, labels


def words_of(ids: Sequence[int], path: Path) -> list[str]:
    from transformers import AutoTokenizer

    return [repr(word)[1:-1] for word in AutoTokenizer.from_pretrained(path).convert_ids_to_tokens(list(ids))]


def read_lengths(option: str, text: str) -> list[int]:
    """Lengths of sequences, as in `3,5`."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and 0 < int(part) < 10**6 for part in parts):
        raise CheckpointError(f"{option} {text}: lengths of sequences are needed, as in 3,5")
    return [int(part) for part in parts]


def read_span(text: str, num_tokens: int) -> tuple[int, int]:
    """The first and the last token of an image, as in `2-5`."""
    ends = text.split("-")
    if len(ends) != 2 or not all(end.isdecimal() for end in ends) or not int(ends[0]) <= int(ends[1]) < num_tokens:
        raise CheckpointError(
            f"--image {text}: its first and last token are needed, as in 2-5, from 0 to {num_tokens - 1}"
        )
    return int(ends[0]), int(ends[1])


def print_masks(found: Masks, labels: Sequence[str]) -> None:
    """Each mask, and which layers take it."""
    console = plain_console()
    count = f"{len(found.masks)} masks" if len(found.masks) > 1 else "one mask"
    console.print(f"{found.source}: {found.computed_by} passes {count} to attention, {found.num_tokens:,} tokens")
    if found.without:
        console.print(f"no attention: layers {numbers_in_words(found.without)}")
    for mask in found.masks:
        console.print(f"\n{layers_in_words(mask)}")
        for title, rows in sequences_of(mask):
            if title:
                console.print(title)
            for line in lines_of(rows, labels):
                console.print(line)


def layers_in_words(mask: PassedMask) -> str:
    if not mask.layers:
        return ", ".join(mask.modules)
    return f"layer{'s' * (len(mask.layers) > 1)} {numbers_in_words(mask.layers)}"


def sequences_of(mask: PassedMask) -> Iterator[tuple[str, Any]]:
    """The sequences of a batch, one where all are alike."""
    if bool((mask.sees == mask.sees[:1]).all()):
        yield "", mask.sees[0]
        return
    for at, rows in enumerate(mask.sees):
        yield f"sequence {at}", rows


def lines_of(rows: Any, labels: Sequence[str]) -> Iterator[str]:
    """A mask in characters: what a token sees to the right of it."""
    queries, keys = rows.shape
    size = -(-max(queries, keys) // MOST_CELLS)
    wide = max((len(label) for label in labels), default=0) if size == 1 else 0
    digits = len(str(queries - 1))
    for at in range(0, queries, size):
        parts = [rows[at : at + size, key : key + size] for key in range(0, keys, size)]
        cells = (SEEN if bool(part.all()) else IN_PART if bool(part.any()) else UNSEEN for part in parts)
        label = f" {labels[at]:<{wide}}" if wide else ""
        yield f"{at:>{digits}}{label} {''.join(cells)}"
    if size > 1:
        yield f"a cell is {size} x {size} tokens; {IN_PART}: some of these"


def draw_masks(found: Masks) -> Any:
    """A panel for each mask, and for each sequence where they differ."""
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

    panels = [([layers_in_words(mask), title], rows) for mask in found.masks for title, rows in sequences_of(mask)]
    columns = min(len(panels), 3)
    lines = -(-len(panels) // columns)
    colours = ListedColormap([COLOURS[ABSENT], COLOURS[WHOLE]])
    figure = Figure(figsize=(3.6 * columns + 0.4, 3.9 * lines + 0.6), layout="constrained")
    all_axes = figure.subplots(lines, columns, squeeze=False).flatten()
    for axes, (titles, rows) in zip(all_axes, panels, strict=False):
        step = -(-max(rows.shape) // MOST_PIXELS)
        edges = (-0.5, rows.shape[1] - 0.5, rows.shape[0] - 0.5, -0.5)
        cells = rows[::step, ::step].numpy()
        axes.imshow(cells, cmap=colours, vmin=0, vmax=1, interpolation="nearest", extent=edges)
        title = ", ".join(filter(None, titles))
        axes.set_title(title if len(title) < 44 else f"{title[:40]} ...", loc="left", color=FAINT, fontsize=9)
        axes.tick_params(axis="both", length=0, labelcolor=FAINT)
        axes.set_xlabel("key", color=INK)
        axes.set_ylabel("query", color=INK)
    for axes in all_axes[len(panels) :]:
        axes.set_visible(False)
    headline = f"{found.computed_by}: {len(found.masks)} mask{'s' * (len(found.masks) > 1)}"
    figure.suptitle(headline, x=0.01, ha="left", color=INK, fontsize=13, fontweight="bold")
    return figure
