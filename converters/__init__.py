"""
Checkpoints in, checkpoints out.

Three rooms, each of which may use those behind it: `formats/` has one file a published form, `families/` reads names and
shapes of tensors off our models, `engine/` reads and writes safetensors and knows no models. The modules here are on top of
them.

Nothing opens a pickle or runs a checkpoint's own code. Names are imported when they are asked for, so that the engine can be
used without transformers and torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from .conversion import Report, convert
    from .conversion_options import ConversionOptions
    from .describing import describe
    from .description import Description
    from .engine.errors import CheckpointError
    from .inferring import Inference, infer
    from .pruning_plan import PruningPlan
    from .scoring import Scoring, score
    from .scoring_options import ScoringOptions
    from .seeing.parting import Parting, parting_of
    from .seeing.passed_masks import Masks, masks
    from .seeing.tracing import Trace, trace
    from .summary import LayerSummary, ModelSummary, summarise
    from .summary import summarise as inspect
    from .thinning import prune
    from .verification import Comparison, verify


HOMES = {
    "CheckpointError": "engine.errors",
    "Comparison": "verification",
    "ConversionOptions": "conversion_options",
    "Description": "description",
    "Inference": "inferring",
    "LayerSummary": "summary",
    "Masks": "seeing.passed_masks",
    "ModelSummary": "summary",
    "Parting": "seeing.parting",
    "PruningPlan": "pruning_plan",
    "Report": "conversion",
    "Scoring": "scoring",
    "ScoringOptions": "scoring_options",
    "Trace": "seeing.tracing",
    "convert": "conversion",
    "describe": "describing",
    "infer": "inferring",
    "inspect": "summary",
    "masks": "seeing.passed_masks",
    "parting_of": "seeing.parting",
    "prune": "thinning",
    "score": "scoring",
    "summarise": "summary",
    "trace": "seeing.tracing",
    "verify": "verification",
}
__all__ = [
    "CheckpointError",
    "Comparison",
    "ConversionOptions",
    "Description",
    "Inference",
    "LayerSummary",
    "Masks",
    "ModelSummary",
    "Parting",
    "PruningPlan",
    "Report",
    "Scoring",
    "ScoringOptions",
    "Trace",
    "convert",
    "describe",
    "infer",
    "inspect",
    "masks",
    "parting_of",
    "prune",
    "score",
    "summarise",
    "trace",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{HOMES[name]}", __name__), "summarise" if name == "inspect" else name)
