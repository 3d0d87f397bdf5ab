"""How a checkpoint may be scored, each option once: `score` takes them, and `hetero score` makes its own of them."""

from dataclasses import dataclass, field
from typing import Literal

from .conversion_options import told


@dataclass(frozen=True, kw_only=True)
class ScoringOptions:
    """
    Options of scoring.

    Attributes:
        max_samples: How many sequences of the data are taken, from the first one on.
        sequence_length: How many tokens of each, at most.
        batch_size: Sequences of one length that pass through a layer at once; those of other lengths are not padded.
        dtype: What is computed in, as torch calls it; by default the checkpoint's own.
        device: Where; by default the accelerator that torch finds, else the CPU.
        revision: Branch, tag or commit of a repository.
    """

    max_samples: int = field(default=128, metadata=told("Sequences that are taken.", least=1))
    sequence_length: int = field(default=2048, metadata=told("Tokens of each, at most.", least=1))
    batch_size: int = field(default=8, metadata=told("Sequences of one length computed at once.", least=1))
    dtype: Literal["bfloat16", "float16", "float32"] | None = field(
        default=None, metadata=told("What is computed in; by default the checkpoint's own.")
    )
    device: str | None = field(
        default=None, metadata=told("Where, as in cuda:1; by default the accelerator that there is.")
    )
    revision: str | None = field(default=None, metadata=told("Branch, tag or commit on the hub."))
