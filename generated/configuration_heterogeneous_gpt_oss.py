# Generated from modular/modular_heterogeneous_gpt_oss.py by `hetero generate`. Do not edit: change the shard and generate again.
# Parents: transformers 5.24.0; the code used of them: sha256 74495a0e799223b4
# Code of the parents, under the Apache License 2.0:
#   Copyright 2025 The HuggingFace Team. All rights reserved.
#
# Copyright 2025 The HuggingFace Inc. team. All rights reserved.
# Copyright 2026 The transformers-heterogeneous authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
from typing import Any

from huggingface_hub.dataclasses import strict

from transformers.configuration_utils import PreTrainedConfig

from .configuration_heterogeneous import FusedBlocksConfig, HeterogeneousConfigError


# Keys of the published configs that only the checkpoint's own remote code reads
REMOTE_CODE_KEYS = (
    "auto_map",
    "block_return_only_hidden_states",
    "llama4_attn_implementation",
    "naive_attention_decode_batched",
    "naive_attention_decode_single",
    "naive_attention_prefill",
    "output_router_logits",
    "router_aux_loss_coef",
    "router_z_loss_coef",
)
# Fields of sub-blocks that are true, false or null
CHOICES = (
    "no_op",
    "replace_with_linear",
    "gated",
    "unshifted_sink",
    "use_prefill_window_in_sink_attention",
)
# Values of keys outside the blocks that say something which Llama layers do not do
INEXPRESSIBLE_KEYS = {"position_embedding_type": (None, "rope"), "o_proj_bias": (None, False)}


def drop_remote_code_keys(config_dict: dict[str, Any]) -> dict[str, Any]:
    """The keys of a published config that mean something without its remote code; a `HeterogeneousConfigError` names those that
    the family cannot express."""
    errors = [
        f"{name} = {config_dict[name]!r} cannot be expressed, only {list(allowed)}"
        for name, allowed in INEXPRESSIBLE_KEYS.items()
        if config_dict.get(name) not in allowed
    ]
    if errors:
        raise HeterogeneousConfigError("\n".join(errors))
    return {name: value for name, value in config_dict.items() if name not in (*REMOTE_CODE_KEYS, *INEXPRESSIBLE_KEYS)}


def inexpressible_fields(sub_block: dict[str, Any], understood: tuple[str, ...]) -> list[str]:
    """The fields of a sub-block that ask for what the family does not do; null, false and empty ask for nothing."""
    harmless = {"weights_precision": "bf16"}
    return [
        f"{name} = {value!r} cannot be expressed by this family"
        for name, value in sub_block.items()
        if name not in understood and value and value != harmless.get(name)
    ]


def impossible_choices(sub_block: dict[str, Any]) -> list[str]:
    """The yes-or-no fields that say neither, since "false", 1.5 or "abc" would count as yes. Null is no."""
    return [
        f"{name} = {sub_block[name]!r}: true, false or null is needed"
        for name in CHOICES
        if not isinstance(sub_block.get(name), bool | None)
    ]


def impossible_sizes(sub_block: dict[str, Any], names: tuple[str, ...]) -> list[str]:
    """The fields that are given and are no positive numbers: integers, but for `ffn_mult`."""
    errors = []
    for name in names:
        value, kinds = sub_block.get(name), (int, float) if name == "ffn_mult" else (int,)
        possible = isinstance(value, kinds) and not isinstance(value, bool) and 0 < value < float("inf")
        if value is not None and not possible:
            kind = "number" if name == "ffn_mult" else "integer"
            errors.append(f"{name} = {value!r}: a positive {kind} is needed")
    return errors


# Members of an entry of `block_configs` in gpt-oss-puzzle: sizes under the config's own names
PUZZLE_SIZES = (
    "num_local_experts",
    "num_experts_per_tok",
    "intermediate_size",
    "num_key_value_heads",
    "sliding_window",
)
# `ffn.moe` of Puzzletron's entries -> the size that it is
PUZZLETRON_SIZES = {
    "num_local_experts": "num_local_experts",
    "num_experts_per_tok": "num_experts_per_tok",
    "expert_intermediate_dim": "intermediate_size",
}
# What Puzzletron says beside `ffn.moe`, if anything
EXPERT_ACTIVATION = {"gated": (None, True), "hidden_act": (None, "silu")}
# ModelOpt writes its default of 8192 also for models without a shared expert, as gpt-oss is one
NO_SHARED_EXPERT = (None, 0, 8192)


def read_puzzle_block(block: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """One entry in gpt-oss-puzzle's dialect as (attributes of the layer, errors)."""
    errors = [*inexpressible_fields(block, PUZZLE_SIZES), *impossible_sizes(block, PUZZLE_SIZES)]
    return {name: block[name] for name in PUZZLE_SIZES if name in block}, [f": {error}" for error in errors]


def read_puzzletron_attention(attention: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """One layer's `attention` in Puzzletron's dialect as (attributes of the layer, errors)."""
    if errors := impossible_choices(attention):
        return {}, errors
    if attention.get("no_op"):
        return {"mixer_types": "none"}, []
    sizes = ("num_key_value_heads", "window_length")
    errors = [*inexpressible_fields(attention, ("no_op", *sizes)), *impossible_sizes(attention, sizes)]
    layer = {"mixer_types": "attention", "num_key_value_heads": attention.get("num_key_value_heads")}
    if attention.get("window_length") is not None:  # else `layer_types` says where the one window holds
        layer["sliding_window"] = attention["window_length"]
    return layer, errors


def read_puzzletron_ffn(ffn: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """One layer's `ffn` in Puzzletron's dialect as (attributes of the layer, errors)."""
    if errors := impossible_choices(ffn):
        return {}, errors
    if ffn.get("no_op"):
        return {"mlp_types": "none"}, []
    errors = inexpressible_fields(ffn, ("no_op", "moe", *EXPERT_ACTIVATION))
    errors += [
        f"{name} = {ffn[name]!r} cannot be expressed, only {list(allowed)}"
        for name, allowed in EXPERT_ACTIVATION.items()
        if ffn.get(name) not in allowed
    ]
    moe = ffn.get("moe")
    if not isinstance(moe, dict):
        return {}, [*errors, f"moe = {moe!r}: an object is needed, or no_op set to true"]
    errors += [
        f"moe: {error}" for error in inexpressible_fields(moe, (*PUZZLETRON_SIZES, "shared_expert_intermediate_dim"))
    ]
    errors += [f"moe: {error}" for error in impossible_sizes(moe, tuple(PUZZLETRON_SIZES))]
    shared = moe.get("shared_expert_intermediate_dim")
    if shared not in NO_SHARED_EXPERT:
        errors.append(f"moe: shared_expert_intermediate_dim = {shared!r}, but this family has no shared expert")
    sizes = {ours: moe[theirs] for theirs, ours in PUZZLETRON_SIZES.items() if moe.get(theirs) is not None}
    return {"mlp_types": "moe", **sizes}, errors


def read_puzzletron_block(block: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """One entry in Puzzletron's dialect as (attributes of the layer, errors)."""
    missing = [name for name in ("attention", "ffn") if not isinstance(block.get(name), dict)]
    if missing:
        return {}, [f".{name} = {block.get(name)!r}: an object is needed" for name in missing]
    mixer, mixer_errors = read_puzzletron_attention(block["attention"])
    mlp, mlp_errors = read_puzzletron_ffn(block["ffn"])
    errors = [f": {error}" for error in inexpressible_fields(block, ("attention", "ffn"))]
    errors += [f".attention: {error}" for error in mixer_errors] + [f".ffn: {error}" for error in mlp_errors]
    return mixer | mlp, errors


def read_expert_blocks(block_configs: list[dict[str, Any]], config: PreTrainedConfig) -> dict[str, list]:
    """
    The layers that `block_configs` describes, as attributes of a config. Read are the dialects of gpt-oss-puzzle
    (`num_local_experts` beside `sliding_window`) and of Puzzletron (`attention` beside `ffn`).

    Raises:
        HeterogeneousConfigError: names every block and field that the family cannot express.
    """
    if not isinstance(block_configs, list):
        raise HeterogeneousConfigError(f"block_configs is a list with one entry a layer, not {block_configs!r}")
    blocks = []
    for block in block_configs:
        if not isinstance(block, dict):
            blocks.append(({}, [f" = {block!r}: an object is needed"]))
        elif "attention" in block or "ffn" in block:
            blocks.append(read_puzzletron_block(block))
        else:
            blocks.append(read_puzzle_block(block))
    errors = [f"block_configs[{layer_idx}]{error}" for layer_idx, (_, found) in enumerate(blocks) for error in found]
    if len(blocks) != config.num_hidden_layers:
        errors.append(f"block_configs has {len(blocks)} entries, num_hidden_layers is {config.num_hidden_layers}")

    experts = {name: getattr(config, name) for name in PUZZLETRON_SIZES.values()}  # where `moe` leaves one out
    layers = [experts | layer if layer.get("mlp_types") == "moe" else layer for layer, _ in blocks]
    attributes = {
        name: [layer.get(name) for layer in layers]
        for name in ("mixer_types", "mlp_types", *PUZZLE_SIZES)
        if any(name in layer for layer in layers)
    }
    errors += [
        f"block_configs[{layer_idx}]: {name} is missing, other blocks have it"
        for layer_idx, layer in enumerate(layers)
        for name in attributes
        if name not in layer and "mixer_types" not in attributes and not blocks[layer_idx][1]
    ]
    if errors:
        raise HeterogeneousConfigError("\n".join(errors))
    return attributes


@strict
class HeterogeneousGptOssConfig(FusedBlocksConfig):
    r"""
    Config of a gpt-oss whose layers may differ. All fields of [`GptOssConfig`] keep their meaning; those below may be
    lists with one entry a layer, `None` where the layer has no such sub-block. A scalar means every layer.

    Args:
        mixer_types (`list[str]`, *optional*):
            What mixes tokens in each layer: `"attention"` or `"none"`. All `"attention"` by default.
        mlp_types (`list[str]`, *optional*):
            The feed-forward block of each layer: `"moe"` or `"none"`. All `"moe"` by default.
        num_local_experts (`int` or `list[int | None]`, defaults to 128):
            Experts.
        num_experts_per_tok (`int` or `list[int | None]`, defaults to 4):
            Experts that each token goes to, at most as many as the layer has.
        intermediate_size (`int` or `list[int | None]`, defaults to 2880):
            Width of each expert.
        num_key_value_heads (`int` or `list[int | None]`, *optional*, defaults to 8):
            Key and value heads; each entry divides `num_attention_heads`.
        sliding_window (`int` or `list[int | None]`, *optional*, defaults to 128):
            How many positions, its own included, a token attends to. `None` is full attention. A scalar holds for the
            layers that `layer_types` calls `"sliding_attention"`, every other one from the first by default; a list
            decides by itself.
        fused_blocks (`str` or `list[str]`, *optional*):
            What is computed in one module, which a kernel may replace: `"norm_mlp"` (the experts and the norm before
            them; not where experts stay packed as MXFP4, which have a kernel of their own), `"add_norm"` (that norm and
            the residual connection before it) or `"none"`. One name means every layer that has these sub-blocks. Weights
            are loaded from and saved to ordinary checkpoints.
        block_configs (`list[dict]`, *optional*):
            The layers as NVIDIA's Puzzle checkpoints describe them; read into the fields above and not kept.

    Raises:
        HeterogeneousConfigError: names every layer and size that is wrong, with what is allowed, and every entry of
            `block_configs` or `per_layer_config` that cannot be expressed.

    ```python
    >>> from transformers_heterogeneous import HeterogeneousGptOssConfig

    >>> config = HeterogeneousGptOssConfig(num_hidden_layers=4, num_local_experts=[128, 64, 64, 32])
    >>> config.per_layer_config[3].num_local_experts
    32
    ```"""

    model_type = "heterogeneous_gpt_oss"
    base_model_tp_plan = {"embed_tokens": "embedding_rowwise"}
    attribute_map = {
        "num_experts": "num_local_experts",
    }
    default_theta = 150000.0
    base_model_pp_plan = {
        "embed_tokens": (["input_ids"], ["inputs_embeds"]),
        "layers": (["hidden_states", "attention_mask"], ["hidden_states"]),
        "norm": (["hidden_states"], ["hidden_states"]),
    }
    base_model_ep_plan = {
        "layers.*.mlp.experts.gate_up_proj": "grouped_gemm",
        "layers.*.mlp.experts.gate_up_proj_bias": "grouped_gemm",
        "layers.*.mlp.experts.down_proj": "grouped_gemm",
        "layers.*.mlp.experts.down_proj_bias": "grouped_gemm",
        "layers.*.mlp.experts": "ep_dispatch_experts",
    }

    num_hidden_layers: int = 36
    num_local_experts: int | list[int | None] = 128
    vocab_size: int = 201088
    hidden_size: int = 2880
    intermediate_size: int | list[int | None] = 2880
    head_dim: int = 64
    num_attention_heads: int = 64
    num_key_value_heads: int | list[int | None] | None = 8
    sliding_window: int | list[int | None] | None = 128
    tie_word_embeddings: bool = False
    hidden_act: str = "silu"
    initializer_range: float = 0.02
    max_position_embeddings: int = 131072
    rms_norm_eps: float = 1e-5
    rope_parameters: dict | None = None
    attention_dropout: float | int = 0.0
    num_experts_per_tok: int | list[int | None] = 4
    swiglu_alpha: float = 1.702
    swiglu_limit: float = 7.0
    router_aux_loss_coef: float = 0.001
    output_router_logits: bool = False
    use_cache: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    attention_bias: bool = True
    per_layer_sizes = {
        "num_key_value_heads": ("mixer_types", ("attention",)),
        "sliding_window": ("mixer_types", ("attention",)),
        "num_local_experts": ("mlp_types", ("moe",)),
        "num_experts_per_tok": ("mlp_types", ("moe",)),
        "intermediate_size": ("mlp_types", ("moe",)),
    }
    supported_mixer_types = ("attention", "none")
    supported_mlp_types = ("moe", "none")
    related_sizes = (
        ("num_key_value_heads", "divides", "num_attention_heads"),
        ("num_experts_per_tok", "is at most", "num_local_experts"),
    )
    sharded_sizes = {"ep_size": ("num_local_experts",)}
    fusable = {
        "norm_mlp": (("attention", "none"), ("moe",)),
        "add_norm": (("attention",), ("moe",)),
    }
    compatible_model_types = ("gpt_oss", "gpt_oss_puzzle")
    base_model_fsdp_plan = {
        "embed_tokens": "free_full_weight",
        "layers.*": "free_full_weight",
        "norm": "free_full_weight",  # diff with gpt-oss: not in one group with `lm_head`, which has another dtype
    }

    def __post_init__(
        self, layer_types: list[str] | None = None, block_configs: list[dict[str, Any]] | None = None, **kwargs
    ):
        self.refuse(self._depth_errors())
        self.layer_types = layer_types
        if block_configs is not None:
            for name, value in read_expert_blocks(block_configs, self).items():
                setattr(self, name, value)
            kwargs = drop_remote_code_keys(kwargs)
        windows = self.sliding_window
        if self.layer_types is None and isinstance(windows, list) and len(windows) == self.num_hidden_layers:
            self.layer_types = ["full_attention" if window is None else "sliding_attention" for window in windows]
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads

        self.head_dim = self.head_dim if self.head_dim is not None else self.hidden_size // self.num_attention_heads
        if self.layer_types is None:
            self.layer_types = [
                "sliding_attention" if bool((i + 1) % 2) else "full_attention" for i in range(self.num_hidden_layers)
            ]

        if self.rope_parameters is None:
            self.rope_parameters = {
                "rope_type": "yarn",
                "factor": 32.0,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "truncate": False,
                "original_max_position_embeddings": 4096,
            }
        super().__post_init__(**kwargs)


class GptOssPuzzleConfig(HeterogeneousGptOssConfig):
    """Reads the config of a published `gpt_oss_puzzle` checkpoint; what it returns is a [`HeterogeneousGptOssConfig`]."""

    model_type = "gpt_oss_puzzle"

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs):
        if not config_dict.get("block_configs"):
            raise HeterogeneousConfigError(
                "block_configs is missing: a gpt_oss_puzzle config describes its layers there"
            )
        return HeterogeneousGptOssConfig.from_dict(config_dict, **kwargs)


__all__ = ["GptOssPuzzleConfig", "HeterogeneousGptOssConfig"]
