"""Layers in the names of tensors and modules: which one something lies in, and what it is called when they are renumbered."""

import re
from collections.abc import Iterable, Mapping

from ..engine.plan import NamedTensor
from ..engine.tensor_plan import TensorPlan


# The number of a layer and the sub-module in it, in a family's names
IN_LAYER = re.compile(r"model\.layers\.(?P<number>\d+)(?:\.(?P<module>[^.]+)|$)")
Place = tuple[int, str]
OUTSIDE: Place = (-1, "")


def place_in(name: str) -> Place | None:
    """The layer that a tensor or module lies in, and the sub-module of it; `None` outside the layers."""
    match = IN_LAYER.match(name)
    return None if match is None else (int(match["number"]), match["module"] or "")


def places(names: Iterable[str]) -> set[Place]:
    """All sub-modules of layers that tensors lie in."""
    return {place for name in names if (place := place_in(name)) is not None}


def renumbered(name: str, numbers: Mapping[int, int]) -> str:
    """
    The name of a tensor or module in a model whose layers have other numbers; "" where its layer is not among them.

    Args:
        numbers: Old number -> new number; empty where all stay the same.
    """
    match = IN_LAYER.match(name)
    if not numbers or match is None:
        return name
    layer = int(match["number"])
    start, end = match.span("number")
    return f"{name[:start]}{numbers[layer]}{name[end:]}" if layer in numbers else ""


def left_out(
    tensors: Mapping[str, TensorPlan], reasons: Mapping[Place, str]
) -> tuple[dict[str, TensorPlan], tuple[NamedTensor, ...]]:
    """
    The tensors without those that lie in some sub-modules of layers, and these.

    Args:
        reasons: (layer, sub-module) -> why it is left out.
    """
    gone = {name: reason for name in tensors if (reason := reasons.get(place_in(name) or OUTSIDE))}
    pieces = {name: tensors[name].pieces[0] for name in gone}
    kept = {name: tensor for name, tensor in tensors.items() if name not in gone}
    return kept, tuple(NamedTensor(piece.tensor, piece.file, gone[name]) for name, piece in pieces.items())
