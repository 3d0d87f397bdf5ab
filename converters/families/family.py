"""What the converters know of a model family, as data."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from ..engine.headers import Shape


def nothing(config: Any) -> dict[str, Any]:
    """For families without such tensors."""
    return {}


class ByLayer:
    """
    A config for what reads one layer after another. The sizes of all layers are listed once, not again for each of them:
    reading is linear in the number of layers.
    """

    def __init__(self, config: Any) -> None:
        self.config = config
        self.sizes: dict[str, list[int | None]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.config, name)

    def layer_sizes(self, name: str) -> list[int | None]:
        """The config's own list."""
        if name not in self.sizes:
            self.sizes[name] = self.config.layer_sizes(name)
        return self.sizes[name]


@dataclass(frozen=True)
class LayerFacts:
    """
    One layer in the words that all families share. Sizes are `None` where the layer has no such thing.

    Attributes:
        intermediate_size: Width of the dense MLP, or of one expert.
        cached_elements_per_token: Of keys and values, in the cache.
        conv_state_elements: That a mamba layer keeps for a sequence, in the cache's dtype.
        recurrent_state_elements: The same, in float32.
    """

    num_attention_heads: int | None = None
    num_key_value_heads: int | None = None
    sliding_window: int | None = None
    ssm_state_size: int | None = None
    intermediate_size: int | None = None
    num_experts: int | None = None
    num_experts_per_tok: int | None = None
    shared_intermediate_size: int | None = None
    latent_size: int | None = None
    cached_elements_per_token: int = 0
    conv_state_elements: int = 0
    recurrent_state_elements: int = 0


@dataclass(frozen=True)
class Family:
    """
    A family of models that checkpoints are converted to.

    Attributes:
        architecture: The class that `config.json` names, for causal language modeling.
        config_class: Reads every config that the family understands, with `from_dict`.
        layer_shapes: `(config, layer_idx)` -> names and shapes of one layer's tensors.
        layer_facts: `(config, layer_idx)` -> what a reader of the model wants to know of the layer.
        model_shapes: `config` -> names and shapes of the tensors outside the layers.
        optional: `config` -> tensors that a checkpoint may hold beside these (copies of tied weights).
        stacked: `config` -> name of a tensor that may stand in the place of others -> the names of those, in the order
            in which they are stacked along a new first dimension. `layer_shapes` gives the single ones.
        joined: `config` -> name of a tensor that other programs have in parts -> the names of these, in the order in which
            their bytes make the tensor.
        other_layouts: Pattern of names that tensors have in a layout that cannot be read as it is -> what it is.
        fused_mlp: The module of a layer into which its norm moves where the two are fused.
        buffers: Names, as a pattern, of tensors that are no parameters: on disk, but not counted.
        unused: Pattern of published tensor names -> why loading ignores them. They are kept: the way back needs them.
    """

    architecture: str
    config_class: Any
    layer_shapes: Callable[[Any, int], Mapping[str, Shape]]
    layer_facts: Callable[[Any, int], LayerFacts]
    model_shapes: Callable[[Any], Mapping[str, Shape]]
    optional: Callable[[Any], Mapping[str, Shape]]
    stacked: Callable[[Any], Mapping[str, tuple[str, ...]]] = nothing
    joined: Callable[[Any], Mapping[str, tuple[str, ...]]] = nothing
    other_layouts: Mapping[str, str] = field(default_factory=dict)
    fused_mlp: str = "mlp"
    buffers: str = ""
    unused: Mapping[str, str] = field(default_factory=dict)

    def fused_names(self, config: Any) -> dict[str, str]:
        """Beginnings of names where norm and MLP are one block on disk -> those where they are not."""
        return {
            f"model.layers.{layer}.{self.fused_mlp}.norm.": f"model.layers.{layer}.post_attention_layernorm."
            for layer, fused_block in enumerate(getattr(config, "fused_blocks", None) or ())
            if fused_block == "norm_mlp"
        }

    def num_parameters(self, config: Any) -> int:
        """How many parameters the model described by `config` has, tied ones counted once."""
        return self.count(self.tensor_shapes(config))

    def count(self, shapes: Mapping[str, Shape]) -> int:
        """How many of the elements of tensors are parameters."""
        counted = (shape for name, shape in shapes.items() if not fnmatchcase(name, self.buffers))
        return sum(map(math.prod, counted))

    def tensor_shapes(self, config: Any) -> dict[str, Shape]:
        """Names and shapes of all tensors that the model described by `config` has."""
        shapes, layers = dict(self.model_shapes(config)), ByLayer(config)
        for layer_idx in range(config.num_hidden_layers):
            shapes |= self.layer_shapes(layers, layer_idx)
        return shapes
