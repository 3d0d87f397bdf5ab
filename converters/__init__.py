"""
Checkpoints in, checkpoints out.

One file a published format; beneath them an engine that knows safetensors and no models. Nothing here imports modeling
files, opens a pickle or runs a checkpoint's own code.
"""

from .conversion import Report, convert
from .errors import CheckpointError
from .summary import LayerSummary, ModelSummary, summarise


__all__ = ["CheckpointError", "LayerSummary", "ModelSummary", "Report", "convert", "summarise"]
