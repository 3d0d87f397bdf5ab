"""
Puzzletron's AnyModel: the base model's config.json, model type and all, with `block_configs` that say how the layers
differ, and the tensors of each sub-block in a file of their own.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from transformers_heterogeneous.configuration_heterogeneous import HeterogeneousPreTrainedConfig

from ..families.family import ByLayer
from . import gpt_oss, gpt_oss_puzzle, nemotron_h, nemotron_h_puzzle, nemotron_nas
from .anymodel_halves import FOLDER, HALVES, NO_OPS, REST
from .expression import most_common, refuse_inexpressible, varying_sizes
from .parents import parent_fields, parent_formats, window_problems
from .published_format import PublishedFormat, Reader


# Members of a mamba -> Nemotron-H's sizes
MAMBA_NAMES = {
    "state_dim": "ssm_state_size",
    "num_heads": "mamba_num_heads",
    "head_dim": "mamba_head_dim",
    "num_groups": "n_groups",
}
# Norms -> the sub-block whose file they lie in
NORMS = {"input_layernorm": "attention", "post_attention_layernorm": "ffn"}
MIXERS, MLPS = ("self_attn", "attention"), ("mlp", "ffn")


def block_config(config: ByLayer, layer_idx: int, names: Mapping[str, str | None]) -> dict[str, Any]:
    """One layer. `names` says which of the family's sizes are the members of an entry."""

    def size(member: str) -> Any:
        name = names.get(member)
        return None if name is None else config.layer_sizes(name)[layer_idx]

    mixer, mlp = config.mixer_types[layer_idx], config.mlp_types[layer_idx]
    mamba = (
        {member: config.layer_sizes(name)[layer_idx] for member, name in MAMBA_NAMES.items()}
        if mixer == "mamba"
        else None
    )
    attention = {"num_key_value_heads": size("num_key_value_heads"), "llama4": None, "mamba": mamba}
    moe = {
        "num_local_experts": size("num_local_experts"),
        "num_experts_per_tok": size("num_experts_per_tok"),
        "expert_intermediate_dim": size("expert_intermediate_dim"),
        "shared_expert_intermediate_dim": size("shared_expert_intermediate_dim"),
    }
    ffn = {"moe": moe if mlp == "moe" else None, "intermediate_size": size("intermediate_size")}
    halves = {
        half: NO_OPS[half] if kind == "none" else {**members, **REST, "replace_with_linear": kind == "linear"}
        for half, kind, members in zip(HALVES, (mixer, mlp), (attention, ffn), strict=True)
    }
    return {**halves, "parallel_blocks": None}


def write_config(
    parent_fields: Callable[[Any], dict[str, Any]],
    problems: Callable[[Any], Iterator[str]],
    names: Mapping[str, str | None],
    config: Any,
) -> dict[str, Any]:
    """The base model's config.json, its sizes those that most layers have, and the blocks."""
    refuse_inexpressible("anymodel", problems(config))
    fields = parent_fields(config)
    sizes = [name for name in config.per_layer_sizes if name in fields]
    fields |= {name: most_common(config.layer_sizes(name), fields[name]) for name in sizes}
    layers = ByLayer(config)
    blocks = [block_config(layers, layer_idx, names) for layer_idx in range(config.num_hidden_layers)]
    return {**fields, "block_configs": blocks}


def file_of(tensor: str, config: Any) -> str:
    """The file of a tensor: of its sub-block, of the embedding, or of the final norm and the head."""
    parts = tensor.split(".")
    if "layers" not in parts or parts[0] == "mtp":
        embeds = "embed_tokens" in parts or "embeddings" in parts
        return f"{FOLDER}/{'embeddings' if embeds else 'lm_head'}.safetensors"
    layer_idx, module = int(parts[parts.index("layers") + 1]), parts[parts.index("layers") + 2]
    attends = config.mixer_types[layer_idx] != "none"
    groups = {**NORMS, **dict([MIXERS, MLPS])}
    group = groups.get(module, "attention" if attends else "ffn")  # Nemotron-H has `norm` and `mixer` alone
    return f"{FOLDER}/block_{layer_idx}_{group}.safetensors"


def dense_problems(config: HeterogeneousPreTrainedConfig) -> Iterator[str]:
    yield from varying_sizes(config, allowed=("num_key_value_heads", "intermediate_size", "sliding_window"))
    yield from window_problems(config)


def gpt_oss_problems(config: HeterogeneousPreTrainedConfig) -> Iterator[str]:
    allowed = ("num_key_value_heads", "num_local_experts", "num_experts_per_tok", "intermediate_size")
    yield from varying_sizes(config, allowed)


def nemotron_h_problems(config: HeterogeneousPreTrainedConfig) -> Iterator[str]:
    allowed = ("num_key_value_heads", "intermediate_size", "moe_intermediate_size", "n_routed_experts")
    yield from varying_sizes(config, (*allowed, "num_experts_per_tok", "moe_shared_expert_intermediate_size"))


DENSE_NAMES = {"num_key_value_heads": "num_key_value_heads", "intermediate_size": "intermediate_size"}
GPT_OSS_NAMES = {
    "num_key_value_heads": "num_key_value_heads",
    "num_local_experts": "num_local_experts",
    "num_experts_per_tok": "num_experts_per_tok",
    "expert_intermediate_dim": "intermediate_size",
}
NEMOTRON_H_NAMES = {
    "num_key_value_heads": "num_key_value_heads",
    "intermediate_size": "intermediate_size",
    "num_local_experts": "n_routed_experts",
    "num_experts_per_tok": "num_experts_per_tok",
    "expert_intermediate_dim": "moe_intermediate_size",
    "shared_expert_intermediate_dim": "moe_shared_expert_intermediate_size",
}


def has_halves(block_configs: Any) -> bool:
    """Whether blocks are Puzzletron's, with a half for attention and one for the FFN; others are flat."""
    blocks = block_configs if isinstance(block_configs, list) else []
    return any(isinstance(block, dict) and {*HALVES} & block.keys() for block in blocks)


def any_model(
    base: PublishedFormat,
    parent_fields: Callable[[Any], dict[str, Any]],
    problems: Callable[[Any], Iterator[str]],
    names: Mapping[str, str | None],
    read: Reader,
) -> PublishedFormat:
    """The AnyModel of a base model."""
    return PublishedFormat(
        name="anymodel",
        looks_like=f'model_type "{base.name}" with block_configs',
        recognises=lambda config: base.recognises(config) and has_halves(config.get("block_configs")),
        family=base.family,
        readers={"block_configs": read},
        before=("gpt_oss_puzzle", "per_layer_config", base.name),
        dropped=base.dropped,
        names=base.names,
        write_config=partial(write_config, parent_fields, problems, names),
        file_of=file_of,
    )


FORMATS = (
    *(
        any_model(each, parent_fields, dense_problems, DENSE_NAMES, nemotron_nas.read)
        for each in parent_formats()
        if "moe" not in each.family.config_class.supported_mlp_types
    ),
    any_model(gpt_oss.FORMAT, gpt_oss.parent_fields, gpt_oss_problems, GPT_OSS_NAMES, gpt_oss_puzzle.read),
    any_model(
        nemotron_h.FORMAT, nemotron_h.parent_fields, nemotron_h_problems, NEMOTRON_H_NAMES, nemotron_h_puzzle.read
    ),
)
