"""
A model's description as the class that NVIDIA's Puzzletron asks of it (`modelopt.torch.puzzletron`, seen with 0.47): for every
family, also one that was generated.

Nothing of ours imports this; it is for who has ModelOpt.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable
from typing import Any

from modelopt.torch.puzzletron.anymodel.model_descriptor import ModelDescriptor
from modelopt.torch.puzzletron.anymodel.puzzformer import MatchingZeros, Same, return_tuple_of_size
from modelopt.torch.puzzletron.pruning.expert_removal_pruning_mixin import (
    ExpertRemovalLayerDescriptor,
    ExpertRemovalPruningMixIn,
)
from modelopt.torch.puzzletron.pruning.ffn_intermediate_pruning_mixin import (
    FFNIntermediateLayerDescriptor,
    FFNIntermediatePruningMixIn,
)
from modelopt.torch.puzzletron.pruning.kv_heads_pruning_mixin import KVHeadsLayerDescriptor, KVHeadsPruningMixIn
from modelopt.torch.puzzletron.utils.dummy_modules import DummyBlock

from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers_heterogeneous.converters import Description, describe


PLAIN = (str, int, float, bool, type(None))


def descriptor_of(source: Any) -> type[ModelDescriptor]:
    """
    The descriptor of a model. `ModelDescriptorFactory.register(name=descriptor_of(...))` lets Puzzletron have it by a name.

    Args:
        source: A description, or what `describe` takes.
    """
    description = source if isinstance(source, Description) else describe(source)
    name = f"{description.architecture.removesuffix('ForCausalLM')}Descriptor"
    return type(name, (DescribedModel,), {"description": description, "__module__": __name__})


class DescribedModel(ModelDescriptor):  # type: ignore[misc]
    """What a description says, by the names that Puzzletron has for it."""

    description: Description

    @classmethod
    def decoder_layer_cls(cls) -> Any:
        """The layers of what AutoModelForCausalLM makes of such a config: transformers' own, where its type is."""
        config_class = CONFIG_MAPPING[cls.description.config_type or cls.description.model_type]
        model_class = AutoModelForCausalLM._model_mapping[config_class]
        module = inspect.getmodule(model_class)
        found = [getattr(module, name) for name in model_class._no_split_modules if hasattr(module, name)]
        return found[0] if len(found) == 1 else found

    @classmethod
    def block_config_to_layer_overrides(cls, block_config: Any) -> dict[str, Any]:
        overrides = cls.description.layer_overrides(block_config)
        return {name: value for name, value in overrides.items() if name in cls.description.sizes}

    @classmethod
    def requires_trust_remote_code(cls) -> bool:
        return cls.description.requires_trust_remote_code

    @classmethod
    def uses_autocast(cls) -> bool:
        return cls.description.uses_autocast

    @classmethod
    def input_embedding_name(cls) -> str:
        return cls.description.input_embedding

    @classmethod
    def output_embedding_name(cls) -> str:
        return cls.description.output_embedding

    @classmethod
    def final_norm_name(cls) -> str:
        return cls.description.final_norm

    @classmethod
    def layer_block_name(cls, index: int) -> str:
        return cls.description.layer_name(index)

    @classmethod
    def layer_name_predicates(cls, num_layers: int) -> dict[str, re.Pattern[str]]:
        return {group: re.compile(pattern) for group, pattern in cls.description.patterns(num_layers).items()}

    @classmethod
    def get_weight_groups(cls, layer_names: Iterable[str], num_hidden_layers: int) -> dict[str, list[str]]:
        return cls.description.weight_groups(layer_names, num_hidden_layers)

    @classmethod
    def attn_no_op_supported(cls) -> bool:
        return "none" in cls.description.kinds["mixer_types"]

    @classmethod
    def mlp_no_op_supported(cls) -> bool:
        return "none" in cls.description.kinds["mlp_types"]

    @classmethod
    def attn_no_op_post_init(cls, decoder_layer: Any) -> None:
        cls.take_out(decoder_layer, "attention")

    @classmethod
    def mlp_no_op_post_init(cls, decoder_layer: Any) -> None:
        cls.take_out(decoder_layer, "ffn")

    @classmethod
    def take_out(cls, decoder_layer: Any, half: str) -> None:
        """Let a half of a layer add nothing: norms pass on what they get, all else gives zeros. What is of both halves, as all of a
        Nemotron-H's layer is, goes with the second."""
        gone = decoder_layer.__dict__.setdefault("taken_out", set())
        gone.add(half)
        patterns = {each: re.compile(pattern) for each, pattern in cls.description.inside.items()}
        for name, module in list(decoder_layer.named_children()):
            tensors = [f"{name}.{inner}" for inner in module.state_dict()]
            halves = {
                each for each, pattern in patterns.items() if tensors and all(map(pattern.fullmatch, tensors))
            } or {each for each, pattern in patterns.items() if any(map(pattern.fullmatch, tensors))}
            if halves and halves <= gone:
                setattr(decoder_layer, name, nothing_for(module))

    @classmethod
    def create_dummy_block(cls, original_layer: Any, block_index: int) -> Any:
        """A block that passes on what it gets, with what a model's forward may ask of a layer."""
        block = DummyBlock(block_index=block_index)
        for name, value in vars(original_layer).items():
            if not name.startswith("_") and name not in vars(block) and (isinstance(value, PLAIN) or name == "config"):
                setattr(block, name, value)
        return block

    @classmethod
    def init_rotary_embedding(cls, model: Any, runtime: Any) -> None:
        for name, module in list(model.named_modules()):
            if type(module).__name__.endswith("RotaryEmbedding"):
                model.set_submodule(name, type(module)(config=module.config, device=runtime.device))

    @classmethod
    def truncate_pattern_for_subblock(cls, lm_config: Any, parent_layer_index: int | None = None) -> None:
        """Let a config be that of one of its layers."""
        if "hybrid_override_pattern" in vars(lm_config):  # else it is read off a list
            ModelDescriptor.truncate_pattern_for_subblock(lm_config, parent_layer_index)
        num_layers = lm_config.num_hidden_layers
        layer = parent_layer_index or 0
        layer = layer if layer in range(num_layers) else 0
        if hasattr(lm_config, "select_layers"):
            lm_config.select_layers([layer])
            return
        for name, value in list(vars(lm_config).items()):
            if isinstance(value, list) and len(value) == num_layers and {*map(type, value)} == {str}:
                setattr(lm_config, name, [value[layer]])
            elif name == "mlp_only_layers" and value:  # by their numbers
                setattr(lm_config, name, [0] if layer in value else [])

    @classmethod
    def pruning_mixins(cls) -> dict[str, Any]:
        found = {
            "kv_heads": (KVHeadsPruningMixIn, cls.kv_heads()),
            "ffn_intermediate": (FFNIntermediatePruningMixIn, cls.width()),
            "experts_removal": (ExpertRemovalPruningMixIn, cls.experts()),
        }
        return {name: mixin(layer) for name, (mixin, layer) in found.items() if layer is not None}

    @classmethod
    def following(cls, member: str, kind: str) -> dict[str, int]:
        """The tensors of a layer that follow a member of a block config -> in which dimension."""
        size = cls.description.sizes.get(cls.description.members.get(member, ""))
        dimensions = size.dimensions.get(kind, {}) if size else {}
        return {name: places[0][0] for name, places in dimensions.items()}

    @classmethod
    def kv_heads(cls) -> Any:
        """Where keys and values have a projection each, and there is one of queries before and of outputs behind them."""
        following = cls.following("attention.num_key_value_heads", "attention")
        key_value = [name.removesuffix(".weight") for name in following if name.endswith(".weight")]
        weights = [name for name in cls.in_first_layer("attention") if name.endswith("_proj.weight")]
        names = [name.removesuffix(".weight") for name in weights]
        if len(names) != 4 or names[1:3] != key_value:
            return None
        module = names[0].rpartition(".")[0]
        return KVHeadsLayerDescriptor(
            o_proj_name=names[3],
            attn_prefix_name=f"{cls.description.layer_modules}.{{layer_idx}}.{module}",
            qkvo_weight_names=[name.removeprefix(f"{module}.") for name in names],
        )

    @classmethod
    def in_first_layer(cls, kind: str) -> list[str]:
        """The tensors of the first layer with such a sub-block, by their names in the layer."""
        for number, layer in enumerate(cls.description.layers):
            for half, found in zip(("attention", "ffn"), (layer.mixer, layer.mlp), strict=True):
                if found == kind:
                    names = cls.description.groups[f"block_{number}_{half}"]
                    return [name.partition(f".{number}.")[2] for name in names]
        return []

    @classmethod
    def width(cls) -> Any:
        """Where the width is that of matrices, one of them being what comes out."""
        following = cls.following("ffn.intermediate_size", "dense")
        names = [name.removesuffix(".weight") for name, dim in following.items() if name.endswith(".weight")]
        out = [name.removesuffix(".weight") for name, dim in following.items() if dim == 1]
        if len(out) != 1 or len(names) < 2:
            return None
        module = out[0].rpartition(".")[0]
        return FFNIntermediateLayerDescriptor(
            down_proj_name=out[0],
            ffn_prefix_name=f"{cls.description.layer_modules}.{{layer_idx}}.{module}",
            linear_weight_names=sorted(name.removeprefix(f"{module}.") for name in names),
        )

    @classmethod
    def experts(cls) -> Any:
        """Where experts are one tensor each of them, on disk as in the model."""
        following = cls.following("ffn.moe.num_local_experts", "moe")
        stacked = [name for name in following if "experts" in name.split(".")]
        routers = [name for name in following if name not in stacked]
        if not stacked or not set(stacked) <= set(cls.in_first_layer("moe")):
            return None
        module = stacked[0].partition(".experts.")[0]
        inner = [name.removeprefix(f"{module}.") for name in routers]
        return ExpertRemovalLayerDescriptor(
            target_name=routers[0].rpartition(".")[0],
            moe_prefix_name=f"{cls.description.layer_modules}.{{layer_idx}}.{module}",
            expert_prefix_name="experts",
            router_weights=[name for name in inner if name.endswith("weight")],
            router_biases=[name for name in inner if not name.endswith("weight")],
            is_fused_experts=True,
            fused_expert_weights=[name.removeprefix(f"{module}.") for name in stacked],
        )


def nothing_for(module: Any) -> Any:
    """What takes the place of a module whose sub-block is to add nothing."""
    if "Norm" in type(module).__name__:
        return Same()
    outputs = num_outputs(type(module))
    return MatchingZeros() if outputs == 1 else return_tuple_of_size(MatchingZeros, size=outputs)()


def num_outputs(module_class: type) -> int:
    """How many values the forward of a module returns."""
    forward: Any = module_class.forward  # type: ignore[attr-defined]
    source = textwrap.dedent(inspect.getsource(inspect.unwrap(forward)))
    returned = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Return)]
    return max((len(value.elts) for value in returned if isinstance(value, ast.Tuple)), default=1)
