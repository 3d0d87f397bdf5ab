# Generated from modular/modular_heterogeneous_llama.py by `hetero generate`. Do not edit: change the shard and generate again.
# Parents: transformers 5.24.0; the code used of them: sha256 94ad92a52cd497ef
#
# Copyright 2022 EleutherAI and the HuggingFace Inc. team. All rights reserved.
# Copyright 2026 The transformers-heterogeneous authors. All rights reserved.
#
# The Llama that this family departs from is based on EleutherAI's GPT-NeoX library and the GPT-NeoX and OPT
# implementations in transformers, modified for Llama's architecture.
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
from transformers.modeling_rope_utils import RopeParameters
from transformers.utils.type_validators import interval

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


def ffn_mult_to_intermediate_size(ffn_mult: float, hidden_size: int) -> int:
    """DeciLM's width of a gated FFN: two thirds of `ffn_mult * hidden_size`, rounded up to a multiple of 256."""
    intermediate_size = int(2 * ffn_mult * hidden_size / 3)
    return -(-intermediate_size // 256) * 256


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


def read_attention(attention: dict[str, Any], num_attention_heads: int) -> tuple[dict[str, Any], list[str]]:
    """One layer's `attention` entry as (attributes of the layer, errors)."""
    if errors := impossible_choices(attention):
        return {}, errors
    if attention.get("no_op"):
        return {"mixer_types": "none"}, []
    sizes = ("n_heads_in_group", "num_key_value_heads", "window_length")
    errors = inexpressible_fields(attention, ("no_op", "replace_with_linear", *sizes))
    if attention.get("replace_with_linear"):
        return {"mixer_types": "linear"}, errors

    errors += impossible_sizes(attention, sizes)
    group_size, num_key_value_heads = attention.get("n_heads_in_group"), attention.get("num_key_value_heads")
    if group_size is None and num_key_value_heads is None:
        errors.append("needs n_heads_in_group or num_key_value_heads, or no_op or replace_with_linear set to true")
    elif not errors and group_size is not None:
        if num_attention_heads % group_size:
            errors.append(
                f"n_heads_in_group = {group_size} does not divide num_attention_heads = {num_attention_heads}"
            )
        elif num_key_value_heads not in (None, num_attention_heads // group_size):
            errors.append(
                f"n_heads_in_group = {group_size} makes {num_attention_heads // group_size} KV heads of "
                f"{num_attention_heads}, but num_key_value_heads = {num_key_value_heads}: give one, or the same"
            )
        num_key_value_heads = num_attention_heads // group_size
    layer = {
        "mixer_types": "attention",
        "num_key_value_heads": num_key_value_heads,
        "sliding_window": attention.get("window_length"),
    }
    return layer, errors


def read_ffn(ffn: dict[str, Any], hidden_size: int) -> tuple[dict[str, Any], list[str]]:
    """One layer's `ffn` entry as (attributes of the layer, errors)."""
    if errors := impossible_choices(ffn):
        return {}, errors
    if ffn.get("no_op"):
        return {"mlp_types": "none"}, []
    sizes = ("ffn_mult", "intermediate_size")
    errors = inexpressible_fields(ffn, ("no_op", "replace_with_linear", *sizes, "hidden_act", "gated"))
    if ffn.get("replace_with_linear"):
        return {"mlp_types": "linear"}, errors

    errors += impossible_sizes(ffn, sizes)
    if ffn.get("gated") is False:
        errors.append("gated = False cannot be expressed by this family, whose MLP has a gate")
    ffn_mult, intermediate_size = ffn.get("ffn_mult"), ffn.get("intermediate_size")
    if ffn_mult is None and intermediate_size is None:
        errors.append("needs ffn_mult or intermediate_size, or no_op or replace_with_linear set to true")
    elif not errors and ffn_mult is not None:
        width = ffn_mult_to_intermediate_size(ffn_mult, hidden_size)
        if intermediate_size not in (None, width):
            errors.append(
                f"ffn_mult = {ffn_mult} makes a width of {width} of {hidden_size}, but intermediate_size = "
                f"{intermediate_size}: give one, or the same"
            )
        intermediate_size = width
    return {"mlp_types": "dense", "intermediate_size": intermediate_size, "hidden_act": ffn.get("hidden_act")}, errors


def read_block(block: dict[str, Any], config: PreTrainedConfig) -> tuple[dict[str, Any], list[str]]:
    """One entry of `block_configs` as (attributes of the layer, errors)."""
    if not isinstance(block, dict):
        return {}, [f" = {block!r}: an object with attention and ffn is needed"]
    missing = [name for name in ("attention", "ffn") if not isinstance(block.get(name), dict)]
    if missing:
        return {}, [f".{name} = {block.get(name)!r}: an object is needed" for name in missing]
    mixer, mixer_errors = read_attention(block["attention"], config.num_attention_heads)
    mlp, mlp_errors = read_ffn(block["ffn"], config.hidden_size)
    errors = [f": {error}" for error in inexpressible_fields(block, ("attention", "ffn"))]
    errors += [f".attention: {error}" for error in mixer_errors] + [f".ffn: {error}" for error in mlp_errors]
    return mixer | mlp, errors


def read_block_configs(block_configs: list[dict[str, Any]], config: PreTrainedConfig) -> dict[str, Any]:
    """
    The layers that `block_configs` describes, as attributes of a family's config.

    Read are the dialects of `nemotron-nas` (`n_heads_in_group` with `ffn_mult`, or with `intermediate_size`) and of
    Puzzletron (`num_key_value_heads` with `intermediate_size`).

    Raises:
        HeterogeneousConfigError: names every block and field that the family cannot express.
    """
    if not isinstance(block_configs, list) or not isinstance(config.num_attention_heads, int):
        raise HeterogeneousConfigError(
            "block_configs is a list with one entry a layer, beside one num_attention_heads for all"
        )
    blocks = [read_block(block, config) for block in block_configs]
    errors = [f"block_configs[{layer_idx}]{error}" for layer_idx, (_, found) in enumerate(blocks) for error in found]
    if len(blocks) != config.num_hidden_layers:
        errors.append(f"block_configs has {len(blocks)} entries, num_hidden_layers is {config.num_hidden_layers}")
    layers = [layer for layer, _ in blocks]
    activations = {
        layer_idx: layer.get("hidden_act") or config.hidden_act
        for layer_idx, layer in enumerate(layers)
        if layer.get("mlp_types") == "dense"
    }
    found = list(activations.values())
    hidden_act = max(found, key=found.count, default=config.hidden_act)
    errors += [
        f"block_configs[{layer_idx}].ffn: hidden_act = {other!r}, of other layers {hidden_act!r}: one for all is needed"
        for layer_idx, other in activations.items()
        if other != hidden_act
    ]
    if errors:
        raise HeterogeneousConfigError("\n".join(errors))

    names = ("mixer_types", "mlp_types", "num_key_value_heads", "sliding_window", "intermediate_size")
    attributes = {name: [layer.get(name) for layer in layers] for name in names}
    attributes["hidden_act"] = hidden_act
    if config.head_dim is None and is_second_schema(block_configs):
        attributes["head_dim"] = 128  # the default of the remote code that wrote it, whatever hidden_size is
    return attributes


def is_second_schema(block_configs: list[dict[str, Any]]) -> bool:
    """Whether the blocks are in DeciLM's later schema, which gives widths and no longer `ffn_mult`."""
    grouped = any(block["attention"].get("n_heads_in_group") for block in block_configs)
    return grouped and any(
        block["ffn"].get("intermediate_size") and block["ffn"].get("ffn_mult") is None for block in block_configs
    )


@strict
class HeterogeneousLlamaConfig(FusedBlocksConfig):
    r"""
    Config of a Llama whose layers may differ. All fields of [`LlamaConfig`] keep their meaning; those below may be lists
    with one entry a layer, `None` where the layer has no such sub-block. A scalar means every layer.

    Args:
        mixer_types (`list[str]`, *optional*):
            What mixes tokens in each layer: `"attention"`, `"linear"` (one matrix in its place) or `"none"`. All
            `"attention"` by default.
        mlp_types (`list[str]`, *optional*):
            The feed-forward block of each layer: `"dense"`, `"linear"` (one matrix in its place) or `"none"`. All
            `"dense"` by default.
        num_attention_heads (`int` or `list[int | None]`, defaults to 32):
            Query heads. As a list it needs an explicit `head_dim`.
        num_key_value_heads (`int` or `list[int | None]`, *optional*):
            Key and value heads; each entry divides the layer's query heads. As many as query heads by default.
        intermediate_size (`int` or `list[int | None]`, defaults to 11008):
            Width of the gated MLP.
        sliding_window (`int` or `list[int | None]`, *optional*):
            How many positions, its own included, a token attends to. `None` is full attention.
        fused_blocks (`str` or `list[str]`, *optional*):
            What is computed in one module, which a kernel may replace: `"norm_mlp"` (the MLP and the norm before it),
            `"add_norm"` (that norm and the residual connection before it) or `"none"`. One name means every layer that
            has these sub-blocks. Weights are loaded from and saved to ordinary checkpoints.
        block_configs (`list[dict]`, *optional*):
            The layers as NVIDIA's Puzzle checkpoints describe them; read into the fields above and not kept.
        num_key_value_heads_per_layer (`list[int]`, *optional*):
            Deci's name of a list of key and value heads; read into `num_key_value_heads` and not kept.

    Raises:
        HeterogeneousConfigError: names every layer and size that is wrong, with what is allowed, and every entry of
            `block_configs` or `per_layer_config` that cannot be expressed.

    ```python
    >>> from transformers_heterogeneous import HeterogeneousLlamaConfig

    >>> config = HeterogeneousLlamaConfig(num_hidden_layers=4, mixer_types=["attention", "none", "attention", "none"])
    >>> config.per_layer_config[1].skip
    ['attention']
    ```"""

    model_type = "heterogeneous_llama"
    # Default tensor parallel plan for base model `HeterogeneousLlamaModel`
    base_model_tp_plan = {
        "layers.*.self_attn.q_proj": "colwise",
        "layers.*.self_attn.k_proj": "colwise",
        "layers.*.self_attn.v_proj": "colwise",
        "layers.*.self_attn.o_proj": "rowwise",
        "layers.*.mlp.gate_proj": "colwise",
        "layers.*.mlp.up_proj": "colwise",
        "layers.*.mlp.down_proj": "rowwise",
    }
    base_model_pp_plan = {
        "embed_tokens": (["input_ids"], ["inputs_embeds"]),
        "layers": (["hidden_states", "attention_mask"], ["hidden_states"]),
        "norm": (["hidden_states"], ["hidden_states"]),
    }

    vocab_size: int = 32000
    hidden_size: int = 4096

    intermediate_size: int | list[int | None] | None = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int | list[int | None] = 32
    num_key_value_heads: int | list[int | None] | None = None
    hidden_act: str = "silu"
    max_position_embeddings: int = 2048
    initializer_range: float = interval(min=0.0, max=1.0)(default=0.02)
    rms_norm_eps: float = 1e-6
    use_cache: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    pretraining_tp: int | None = 1
    tie_word_embeddings: bool = False
    rope_parameters: RopeParameters | dict | None = None
    attention_bias: bool = False
    attention_dropout: int | float | None = 0.0
    mlp_bias: bool = False
    head_dim: int | None = None
    per_layer_sizes = {
        "num_attention_heads": ("mixer_types", ("attention",)),
        "num_key_value_heads": ("mixer_types", ("attention",)),
        "sliding_window": ("mixer_types", ("attention",)),
        "intermediate_size": ("mlp_types", ("dense",)),
    }
    fusable = {
        "norm_mlp": (("attention", "linear", "none"), ("dense",)),
        "add_norm": (("attention", "linear"), ("dense", "linear")),
    }
    compatible_model_types = ("llama", "nemotron-nas", "deci")
    unread_fields = {"llama": ("layer_types", "sliding_window", "use_sliding_window")}  # of models made over to Llama
    sliding_window: int | list[int | None] | None = None

    def __post_init__(
        self,
        block_configs: list[dict[str, Any]] | None = None,
        num_key_value_heads_per_layer: list[int] | None = None,
        **kwargs,
    ):
        if num_key_value_heads_per_layer is not None:
            # Fine-tunes of DeciLM-6b carry a false `num_key_value_heads` beside it
            self.num_key_value_heads = num_key_value_heads_per_layer
            kwargs = drop_remote_code_keys(kwargs)
        if block_configs is not None:
            for name, value in read_block_configs(block_configs, self).items():
                setattr(self, name, value)
            kwargs = drop_remote_code_keys(kwargs)
        heads = self.num_attention_heads
        if self.head_dim is None and not isinstance(heads, int):
            self.refuse(["num_attention_heads is a list: head_dim must be given, it cannot be derived"])
        if self.head_dim is None and heads > 0 and self.hidden_size % heads:
            what = f"num_attention_heads = {heads} does not divide hidden_size = {self.hidden_size}"
            self.refuse([f"{what}: head_dim must be given"])
        if self.head_dim is None:
            self.head_dim = self.hidden_size // self.num_attention_heads
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads

        super().__post_init__(**kwargs)


class NemotronNasConfig(HeterogeneousLlamaConfig):
    """Reads the config of a published `nemotron-nas` checkpoint; what it returns is a [`HeterogeneousLlamaConfig`]."""

    model_type = "nemotron-nas"

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs):
        if not config_dict.get("block_configs"):
            raise HeterogeneousConfigError(
                "block_configs is missing: a nemotron-nas config describes its layers there"
            )
        return HeterogeneousLlamaConfig.from_dict(config_dict, **kwargs)


class DeciConfig(HeterogeneousLlamaConfig):
    """Reads the config of a published `deci` checkpoint; what it returns is a [`HeterogeneousLlamaConfig`]."""

    model_type = "deci"

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs):
        return HeterogeneousLlamaConfig.from_dict(config_dict, **kwargs)


__all__ = ["DeciConfig", "HeterogeneousLlamaConfig", "NemotronNasConfig"]
