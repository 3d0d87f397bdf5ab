"""Tensors as a model has them: names and shapes, of each layer and outside the layers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from ..engine.headers import Shape


@dataclass(frozen=True)
class Tensor:
    """
    A tensor on disk.

    Attributes:
        name: Inside its layer, where it lies in one.
        stack: The tensor, called in the same way, that holds this one and others along a first dimension; "" where none does.
        is_tied: Whether it is another one's, so that it need not be there.
        is_routed: Whether it is of experts, of which a token passes through some.
        together: What this one and those of the other experts are called together: `stack`, or a name that no file has.
        inside: What the model calls the tensor that this one is saved from, where that is another name.
    """

    name: str
    shape: Shape
    stack: str = ""
    is_buffer: bool = False
    is_tied: bool = False
    is_routed: bool = False
    together: str = ""
    inside: str = ""


@dataclass(frozen=True)
class Ends:
    """
    What is before and behind the layers.

    Attributes:
        embedding: The module of the input embedding.
        norm: That of the last norm.
        head: That of the output embedding, "" where there is none.
        num_before: How many of the tensors outside are before the layers.
    """

    embedding: str = ""
    norm: str = ""
    head: str = ""
    num_before: int = 0


@dataclass(frozen=True)
class Tensors:
    """
    Those of a model.

    Attributes:
        outside: Those of no layer, by their whole names.
        layers: Layers that are alike have the same object.
        place: The module of the layers.
    """

    outside: Sequence[Tensor]
    layers: Sequence[Sequence[Tensor]]
    place: str = "model.layers"
    ends: Ends = Ends()

    def named(self) -> Iterator[tuple[str, Tensor]]:
        """All of them, by their whole names."""
        yield from ((tensor.name, tensor) for tensor in self.outside)
        for layer_idx, layer in enumerate(self.layers):
            yield from ((f"{self.place}.{layer_idx}.{tensor.name}", tensor) for tensor in layer)

    @property
    def num_parameters(self) -> int:
        counts = {id(part): num_parameters(part) for part in (self.outside, *self.layers)}
        return counts[id(self.outside)] + sum(counts[id(layer)] for layer in self.layers)


def num_parameters(tensors: Sequence[Tensor], routed: bool = False) -> int:
    """How many parameters there are in tensors, or in those of routed experts."""
    counted = (tensor for tensor in tensors if not (tensor.is_buffer or tensor.is_tied))
    return sum(prod(tensor.shape) for tensor in counted if tensor.is_routed or not routed)
