"""
The model card of the output: the source's, with a note of where it came from and a table of its layers. The note stands
between two marks, so that it can be taken out again.
"""

import re
from collections.abc import Sequence

from .summary import FULL, LayerSummary, folded


FENCE = "---"
BEGIN, END = "<!-- hetero convert: begin -->", "<!-- hetero convert: end -->"
NOTE = re.compile(rf"\n?{re.escape(BEGIN)}\n(.*?)\n{re.escape(END)}\n\n", re.DOTALL)
CONVERTED = "> Converted by `hetero convert`"
# What a card begins with where the source had none
NEW_CARD = """\
---
library_name: transformers
tags:
- transformers-heterogeneous
---
"""
LOADING = """\
```python
import transformers_heterogeneous
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained("path/to/this/folder")  # or its name on the hub
```"""
# Titles of the table's columns -> the field of a layer
COLUMNS = {
    "mixer": "mixer",
    "heads": "num_attention_heads",
    "KV heads": "num_key_value_heads",
    "window": "window",
    "state": "ssm_state_size",
    "MLP": "mlp",
    "experts": "num_experts",
    "top-k": "num_experts_per_tok",
    "width": "intermediate_size",
    "shared": "shared_intermediate_size",
    "latent": "latent_size",
    "parameters per layer": "num_parameters",
}


def with_note(card: str, note: str) -> str:
    """A card with a note as its first paragraph, after the metadata; every other byte stays as it is."""
    metadata, text = parted(card)
    return f"{metadata}{chr(10) if metadata else ''}{BEGIN}\n{note}\n{END}\n\n{text}"


def without_note(card: str) -> str:
    """A card as it was before `with_note`."""
    return NOTE.sub("", card, count=1)


def parted(card: str) -> tuple[str, str]:
    """The metadata of a card (YAML between two lines of dashes, at the beginning) and the text after it."""
    lines = card.splitlines(keepends=True)
    fences = [at for at, line in enumerate(lines) if line.rstrip() == FENCE]
    if len(fences) < 2 or fences[0] != 0:
        return "", card
    end = fences[1] + 1
    return "".join(lines[:end]), "".join(lines[end:])


def earlier_conversions(card: str) -> list[str]:
    """What the note of a card says of conversions before this one."""
    note = NOTE.search(card)
    return [line for line in note[1].splitlines() if line.startswith(CONVERTED)] if note else []


def origin_note(source: str, published: str, written: str) -> str:
    """
    Where a checkpoint came from, in Markdown.

    Args:
        source: The folder's name, or the repository.
        published: Name of the format that it came in.
        written: Name of the format that it is in now.
    """
    # A folder may be called anything: what would end the code span or the line, or is no text at all
    source = "".join(char if char.isprintable() and char != "`" else "?" for char in source)
    return f"{CONVERTED} of transformers-heterogeneous from `{source}`, format `{published}`, to format `{written}`."


def layer_table(layers: Sequence[LayerSummary]) -> str:
    """The layers in Markdown, one line for each run of equal ones; no column where no layer has such a thing."""
    columns = {title: name for title, name in COLUMNS.items() if any(has(layer, name) for layer in layers)}
    rows = [
        ["layers", *columns],
        ["---", *("---" if name in ("mixer", "mlp") else "---:" for name in columns.values())],
    ]
    rows += [[span, *(cell(getattr(layer, name)) for name in columns.values())] for span, layer in folded(layers)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def has(layer: LayerSummary, name: str) -> bool:
    """Whether a layer has something to say in a column; that all attend to everything needs no column."""
    value = getattr(layer, name)
    return value not in (None, FULL) if name == "window" else bool(value)


def cell(value: str | int | None) -> str:
    """A value, a dash where there is nothing."""
    return "-" if value in (None, "none") else f"{value:,}" if isinstance(value, int) else str(value)
