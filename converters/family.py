"""What the converters know of a model family: its config class and the names and shapes of its tensors."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any


Shape = tuple[int, ...]


@dataclass(frozen=True)
class Family:
    """
    A family of models that checkpoints are converted to.

    Attributes:
        architecture: The class that `config.json` names, for causal language modeling.
        config_class: Reads every config that the family understands, with `from_dict`.
        layer_shapes: `(config, layer_idx)` -> names and shapes of one layer's tensors.
        model_shapes: `config` -> names and shapes of the tensors outside the layers.
        optional: `config` -> tensors that a checkpoint may hold beside these (copies of tied weights).
        problems: `config` -> what its class accepts and the models do not know, one message each.
    """

    architecture: str
    config_class: Any
    layer_shapes: Callable[[Any, int], Mapping[str, Shape]]
    model_shapes: Callable[[Any], Mapping[str, Shape]]
    optional: Callable[[Any], Mapping[str, Shape]]
    problems: Callable[[Any], Iterable[str]]

    def num_parameters(self, config: Any) -> int:
        """How many parameters the model described by `config` has, tied ones counted once."""
        return sum(map(math.prod, self.tensor_shapes(config).values()))

    def tensor_shapes(self, config: Any) -> dict[str, Shape]:
        """Names and shapes of all tensors that the model described by `config` has."""
        shapes = dict(self.model_shapes(config))
        for layer_idx in range(config.num_hidden_layers):
            shapes |= self.layer_shapes(config, layer_idx)
        return shapes


@dataclass(frozen=True)
class PublishedFormat:
    """
    A form in which checkpoints are published.

    Attributes:
        name: What reports call it.
        looks_like: How its config.json is recognised, in words.
        recognises: The same as a function of the config's dict.
        family: The family that it is converted to.
        dropped: Pattern of tensor names -> why they are left out. All other names are those of the family.
    """

    name: str
    looks_like: str
    recognises: Callable[[Mapping[str, Any]], bool]
    family: Family
    dropped: Mapping[str, str]
