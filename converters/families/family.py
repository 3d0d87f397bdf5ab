"""What the converters know of a model family: a few words that no model says, and what its models say."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from ..engine.headers import Shape
from .meta_models import tensors_of
from .tensors import Tensors


def nothing(config: Any) -> dict[str, Any]:
    """For families without such tensors."""
    return {}


def causal_class(config_class: Any) -> str:
    """The class for causal language modeling of a config, also where it is that of a text model that has others beside it."""
    return f"{config_class.__name__.removesuffix('Config').removesuffix('Text')}ForCausalLM"


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
class Family:
    """
    A family of models that checkpoints are converted to.

    Attributes:
        config_class: Reads every config that the family understands, with `from_dict`. All else has a default that fits a
            family which uses transformers' words, and saves what it loads.
        fields: Kind of mixer or MLP -> size, as `LayerSummary` calls it -> the config's field, where it is another.
        joined: `config` -> name of a tensor that other programs have in parts -> the names of these, in the order in which
            their bytes make the tensor.
        concatenated: Pattern of names of tensors in which parts of one size follow one another, so that a unit of the size is
            a row in each -> `config` -> the rows before the first part. In others the rows of a unit are together.
        other_layouts: Pattern of names that tensors have in a layout that cannot be read as it is -> what it is.
    """

    config_class: Any
    fields: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    joined: Callable[[Any], Mapping[str, tuple[str, ...]]] = nothing
    concatenated: Mapping[str, Callable[[Any], int]] = field(default_factory=dict)
    other_layouts: Mapping[str, str] = field(default_factory=dict)

    @property
    def architecture(self) -> str:
        """The class that `config.json` names, for causal language modeling."""
        return causal_class(self.config_class)

    @property
    def model_class(self) -> Any:
        """The same itself. Its module is imported when it is asked for."""
        return getattr(self.modeling, self.architecture)

    @property
    def base_class(self) -> Any:
        """The same without a head."""
        return getattr(self.modeling, self.config_class.__name__.replace("Config", "Model"))

    @property
    def modeling(self) -> Any:
        """The module of its models."""
        return import_module(self.config_class.__module__.replace("configuration_", "modeling_"))

    @property
    def unused(self) -> Mapping[str, str]:
        """Pattern of published tensor names -> why loading ignores them. They are kept: the way back needs them."""
        found: Mapping[str, str] = self.model_class.ignored_tensors
        return found

    def tensors(self, config: Any, cached: bool = False) -> Tensors:
        """The tensors of the model described by `config`, as they lie on disk; `cached` ones need no model's code."""
        return tensors_of(config, lambda: self.model_class, cached)

    def tensor_shapes(self, config: Any) -> dict[str, Shape]:
        """Names and shapes of the tensors that a checkpoint has to hold."""
        return {name: tensor.shape for name, tensor in self.tensors(config).named() if not tensor.is_tied}

    def optional(self, config: Any) -> dict[str, Shape]:
        """Tensors that a checkpoint may hold beside these: copies of tied weights."""
        return {name: tensor.shape for name, tensor in self.tensors(config).named() if tensor.is_tied}

    def buffers(self, config: Any) -> Collection[str]:
        """Tensors that are no parameters: on disk, but not counted."""
        return {name for name, tensor in self.tensors(config).named() if tensor.is_buffer}

    def stacked(self, config: Any) -> dict[str, tuple[str, ...]]:
        """Name of a tensor that may stand in the place of others -> the names of those, in the order in which they are
        stacked along a new first dimension. `tensor_shapes` gives the single ones."""
        found: dict[str, list[str]] = {}
        for name, tensor in self.tensors(config).named():
            if tensor.stack:
                found.setdefault(name.removesuffix(tensor.name) + tensor.stack, []).append(name)
        return {stack: tuple(names) for stack, names in found.items()}

    def num_parameters(self, config: Any) -> int:
        """How many parameters the model described by `config` has, tied ones counted once."""
        return self.tensors(config).num_parameters

    def fused_names(self, config: Any) -> dict[str, str]:
        """Beginnings of names where norm and MLP are one block on disk -> those where they are not."""
        fused_blocks = enumerate(getattr(config, "fused_blocks", None) or ())
        layers = [f"model.layers.{layer}." for layer, fused_block in fused_blocks if fused_block == "norm_mlp"]
        norm, mlp = (self.model_class.fused_norm, self.model_class.fused_mlp) if layers else ("", "")
        return {f"{layer}{mlp}.norm.": f"{layer}{norm}." for layer in layers}
