"""The tensors of a model, read off one that is built on the meta device with a layer of each kind."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from math import prod
from typing import Any

from ..engine.errors import CheckpointError
from ..engine.headers import Shape


IN_LAYER = re.compile(r"model\.layers\.(\d+)\.")
MOST_REMEMBERED = 16  # models, whose layers may be thousands


@dataclass(frozen=True)
class Tensor:
    """
    A tensor on disk.

    Attributes:
        name: Inside its layer, where it lies in one.
        stack: The tensor, called in the same way, that holds this one and others along a first dimension; "" where none does.
        is_tied: Whether it is another one's, so that it need not be there.
        is_routed: Whether it is of experts, of which a token passes through some.
    """

    name: str
    shape: Shape
    stack: str = ""
    is_buffer: bool = False
    is_tied: bool = False
    is_routed: bool = False


@dataclass(frozen=True)
class Tensors:
    """Those of a model. Layers that are alike have the same object."""

    outside: Sequence[Tensor]
    layers: Sequence[Sequence[Tensor]]

    def named(self) -> Iterator[tuple[str, Tensor]]:
        """All of them, by their whole names."""
        yield from ((tensor.name, tensor) for tensor in self.outside)
        for layer_idx, layer in enumerate(self.layers):
            yield from ((f"model.layers.{layer_idx}.{tensor.name}", tensor) for tensor in layer)

    @property
    def num_parameters(self) -> int:
        counts = {id(part): num_parameters(part) for part in (self.outside, *self.layers)}
        return counts[id(self.outside)] + sum(counts[id(layer)] for layer in self.layers)


def num_parameters(tensors: Sequence[Tensor], routed: bool = False) -> int:
    """How many parameters there are in tensors, or in those of routed experts."""
    counted = (tensor for tensor in tensors if not (tensor.is_buffer or tensor.is_tied))
    return sum(prod(tensor.shape) for tensor in counted if tensor.is_routed or not routed)


remembered: dict[tuple[type, str], Tensors] = {}


def tensors_of(model_class: Any, config: Any) -> Tensors:
    """
    The tensors of the model that a config describes.

    Raises:
        CheckpointError: where no model can be built of it, in the words of what could not.
    """
    kinds = zip(config.mixer_types, config.mlp_types, *map(config.layer_sizes, config.per_layer_sizes), strict=True)
    first: dict[Any, int] = {}
    firsts = [first.setdefault(kind, layer_idx) for layer_idx, kind in enumerate(kinds)]
    try:
        described = small_config(config, list(first.values()))
        key = model_class, described.to_json_string(use_diff=False)
        if key not in remembered:
            if len(remembered) == MOST_REMEMBERED:
                del remembered[next(iter(remembered))]
            remembered[key] = built(model_class, described)
    except Exception as error:  # whatever a module of any family says of its sizes
        reason = str(error) or type(error).__name__
        raise CheckpointError(
            f"{config.model_type}: no model can be built of this config:", reason.splitlines()
        ) from error
    places = {layer_idx: place for place, layer_idx in enumerate(first.values())}
    known = remembered[key]
    return Tensors(known.outside, [known.layers[places[layer_idx]] for layer_idx in firsts])


def small_config(config: Any, layers: Sequence[int]) -> Any:
    """The config of a model that has these layers alone, unfused, its experts and scales in plain numbers."""
    small = deepcopy(config)
    vars(small).pop("quantization_config", None)
    small.fused_blocks = None
    small.select_layers(layers)
    small._attn_implementation = "eager"  # others may not be installed
    return small


def built(model_class: Any, config: Any) -> Tensors:
    """The tensors of a model as `save_pretrained` names them. Nothing of it takes memory."""
    import torch

    from transformers.core_model_loading import revert_weight_conversion

    with torch.device("meta"):
        model = model_class(config)
    held, buffers = model.state_dict(), dict(model.named_buffers())
    on_disk = revert_weight_conversion(model, dict(held))
    homes = {name: name for name in held.keys() & on_disk.keys()}
    for name in held.keys() - on_disk.keys():
        homes |= dict.fromkeys(revert_weight_conversion(model, {name: held[name]}), name)
    num_parts = Counter(homes.values())
    outside: list[Tensor] = []
    layers: list[list[Tensor]] = [[] for _ in range(config.num_hidden_layers)]
    for name, tensor in on_disk.items():
        home, match = homes.get(name, name), IN_LAYER.match(name)
        prefix = match[0] if match else ""
        is_part = home != name and held[home].shape == (num_parts[home], *tensor.shape)
        found = Tensor(
            name.removeprefix(prefix),
            tuple(tensor.shape),
            stack=home.removeprefix(prefix) if is_part else "",
            is_buffer=home in buffers,
            is_tied=home in model.all_tied_weights_keys,
            is_routed="experts" in home.split("."),
        )
        (layers[int(match[1])] if match else outside).append(found)
    return Tensors(outside, layers)
