# Copyright 2025 IBM and the HuggingFace Inc. team. All rights reserved.
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
import torch
from huggingface_hub.dataclasses import strict
from torch import nn

from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.models.granitemoehybrid.configuration_granitemoehybrid import GraniteMoeHybridConfig
from transformers.models.granitemoehybrid.modeling_granitemoehybrid import (
    GraniteFlashAttentionKwargs,
    GraniteMoeHybridAttention,
    GraniteMoeHybridDecoderLayer,
    GraniteMoeHybridForCausalLM,
    GraniteMoeHybridMambaLayer,
    GraniteMoeHybridMLP,
    GraniteMoeHybridModel,
    GraniteMoeHybridMoE,
    GraniteMoeHybridPreTrainedModel,
    GraniteMoeHybridRMSNorm,
)
from transformers.processing_utils import Unpack

from .modular_heterogeneous import (
    HeterogeneousPreTrainedConfig,
    HeterogeneousPreTrainedModel,
    load_balancing_loss_func,  # noqa: F401  (in the place of the parent's)
)
from .modular_heterogeneous_llama import HeterogeneousLlamaAddRMSNorm, HeterogeneousLlamaNormMLP


@strict
class HeterogeneousGraniteMoeHybridConfig(GraniteMoeHybridConfig, HeterogeneousPreTrainedConfig):
    r"""
    Config of a Granite 4 hybrid whose layers may differ. All fields of [`GraniteMoeHybridConfig`] keep their meaning;
    those below may be lists with one entry a layer, `None` where the layer has no such sub-block. A scalar means every
    layer.

    Args:
        mixer_types (`list[str]`, *optional*):
            What mixes tokens in each layer: `"mamba"`, `"attention"` or `"none"`. Follows `layer_types` by default, and
            without it all are `"mamba"`.
        mlp_types (`list[str]`, *optional*):
            The feed-forward block of each layer: `"moe"` (routed experts beside a shared MLP), `"dense"` (the shared MLP
            alone) or `"none"`. By default `"moe"`, and `"dense"` where `num_local_experts` is 0 or `None`.
        num_key_value_heads (`int` or `list[int | None]`, *optional*):
            Key and value heads; each entry divides the query heads. As many as query heads by default.
        num_local_experts (`int` or `list[int | None]`, defaults to 8):
            Routed experts.
        num_experts_per_tok (`int` or `list[int | None]`, defaults to 2):
            Experts that a token is routed to, at most as many as the layer has.
        intermediate_size (`int` or `list[int | None]`, defaults to 11008):
            Width of one routed expert. `grouped_mm`, the default implementation of the experts, needs rows of a multiple
            of 16 bytes, in bfloat16 a multiple of 8; `batched_mm` and `eager` take every width.
        shared_intermediate_size (`int` or `list[int | None]`, defaults to 1024):
            Width of the shared MLP.
        fused_blocks (`str` or `list[str]`, *optional*):
            What is computed in one module, which a kernel may replace: `"norm_mlp"` (the MLP and the norm before it, in
            `"dense"` layers; in `"moe"` layers that norm feeds the experts too), `"add_norm"` (that norm and the residual
            connection before it) or `"none"`. One name means every layer that has these sub-blocks.
        layers_block_type (`list[str]`, *optional*):
            The name of `layer_types` in published checkpoints, with entries `"mamba"` and `"attention"`.

    Raises:
        HeterogeneousConfigError: names every layer and size that is wrong, and what is allowed.

    ```python
    >>> from transformers_heterogeneous import HeterogeneousGraniteMoeHybridConfig

    >>> config = HeterogeneousGraniteMoeHybridConfig(num_hidden_layers=3, num_local_experts=[8, 16, None])
    >>> config.per_layer_config[1].num_local_experts, config.mlp_types
    (16, ['moe', 'moe', 'dense'])
    ```"""

    model_type = "heterogeneous_granite_moe_hybrid"
    attribute_map = {"layers_block_type": "layer_types", "num_experts": "num_local_experts"}
    per_layer_sizes = {
        "num_key_value_heads": ("mixer_types", ("attention",)),
        "num_local_experts": ("mlp_types", ("moe",)),
        "num_experts_per_tok": ("mlp_types", ("moe",)),
        "intermediate_size": ("mlp_types", ("moe",)),
        "shared_intermediate_size": ("mlp_types", ("moe", "dense")),
    }
    supported_mixer_types = ("mamba", "attention", "none")
    supported_mlp_types = ("moe", "dense", "none")
    skippable = {
        "attention": {"mixer_types": ("attention",)},
        "mamba": {"mixer_types": ("mamba",)},
        "mlp": {"mlp_types": ("moe", "dense")},
        "moe": {"mlp_types": ("moe",)},
    }
    related_sizes = (
        ("num_key_value_heads", "divides", "num_attention_heads"),
        ("num_experts_per_tok", "is at most", "num_local_experts"),
    )
    sharded_sizes = {"ep_size": ("num_local_experts",)}  # widths are also split unevenly
    fusable = {
        "norm_mlp": (("mamba", "attention", "none"), ("dense",)),  # in a "moe" layer the norm feeds two sub-blocks
        "add_norm": (("mamba", "attention"), ("moe", "dense")),
    }
    compatible_model_types = ("granitemoehybrid",)

    intermediate_size: int | list[int | None] | None = 11008
    num_key_value_heads: int | list[int | None] | None = None
    num_local_experts: int | list[int | None] | None = 8
    num_experts_per_tok: int | list[int | None] | None = 2
    shared_intermediate_size: int | list[int | None] | None = 1024

    def __post_init__(self, layers_block_type: list[str] | None = None, **kwargs):
        self.refuse(self.number_errors() or self._depth_errors())  # the parent computes with them
        if self.layer_types is not None and layers_block_type not in (None, self.layer_types):
            self.refuse([f"layers_block_type = {layers_block_type} is not layer_types = {self.layer_types}"])
        self.layer_types = layers_block_type if self.layer_types is None else self.layer_types
        if self.layer_types is None and self.mixer_types is not None:
            attends = [mixer == "attention" for mixer in self.mixer_types]
            self.layer_types = ["full_attention" if attending else "linear_attention" for attending in attends]
        if self.mlp_types is None:
            self.mlp_types = ["moe" if num else "dense" for num in self._as_list("num_local_experts")]
        super().__post_init__(**kwargs)

    def _relation_errors(self) -> list[str]:
        errors = HeterogeneousPreTrainedConfig._relation_errors(self)
        head_dim, rest = divmod(self.mamba_expand * self.hidden_size, self.mamba_n_heads or 1)  # none is said already
        if rest:
            errors.append("mamba_n_heads must divide mamba_expand * hidden_size")
        elif self.mamba_d_head != head_dim:
            what = "mamba_expand * hidden_size / mamba_n_heads"
            errors.append(f"mamba_d_head is {self.mamba_d_head!r}, and {what} is {head_dim}")
        return errors

    def validate_architecture(self):
        raise AttributeError("See `_relation_errors`, and for the layers HeterogeneousPreTrainedConfig")


class HeterogeneousGraniteMoeHybridRMSNorm(GraniteMoeHybridRMSNorm):
    pass


class HeterogeneousGraniteMoeHybridAttention(GraniteMoeHybridAttention):
    pass


class HeterogeneousGraniteMoeHybridMambaLayer(GraniteMoeHybridMambaLayer):
    pass


class HeterogeneousGraniteMoeHybridMLP(GraniteMoeHybridMLP):
    pass


class HeterogeneousGraniteMoeHybridMoE(GraniteMoeHybridMoE):
    pass


class HeterogeneousGraniteMoeHybridDecoderLayer(GraniteMoeHybridDecoderLayer):
    def __init__(self, config: HeterogeneousGraniteMoeHybridConfig, layer_idx: int):
        config = config.per_layer_config[layer_idx]
        nn.Module.__init__(self)
        self.layer_idx = layer_idx
        self.residual_multiplier = config.residual_multiplier
        self.mixer_type, self.mlp_type = config.mixer_types[layer_idx], config.mlp_types[layer_idx]
        if self.mlp_type == "moe":
            self.block_sparse_moe = HeterogeneousGraniteMoeHybridMoE(config)
        if self.mlp_type != "none":
            self.shared_mlp = HeterogeneousGraniteMoeHybridMLP(config)
            self.post_attention_layernorm = HeterogeneousGraniteMoeHybridRMSNorm(
                config.hidden_size, config.rms_norm_eps
            )
        if self.mixer_type == "mamba":
            self.mamba = HeterogeneousGraniteMoeHybridMambaLayer(config, layer_idx)
        elif self.mixer_type == "attention":
            self.self_attn = HeterogeneousGraniteMoeHybridAttention(config, layer_idx)
        if self.mixer_type != "none":
            self.input_layernorm = HeterogeneousGraniteMoeHybridRMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        cache: Cache | None = None,
        use_cache: bool | None = False,
        position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None,
        **kwargs: Unpack[GraniteFlashAttentionKwargs],
    ) -> torch.Tensor:
        if self.mixer_type != "none":
            residual = hidden_states
            hidden_states = self.input_layernorm(hidden_states)
            if self.mixer_type == "mamba":
                hidden_states = self.mamba(
                    hidden_states=hidden_states,
                    cache=cache,
                    attention_mask=attention_mask,
                    **kwargs,
                )
            else:
                hidden_states, _ = self.self_attn(
                    hidden_states=hidden_states,
                    attention_mask=attention_mask,
                    cache=cache,
                    use_cache=use_cache,
                    position_embeddings=position_embeddings,
                    **kwargs,
                )
            hidden_states = residual + hidden_states * self.residual_multiplier

        if self.mlp_type != "none":
            residual = hidden_states
            hidden_states = self.post_attention_layernorm(hidden_states)
            if self.mlp_type == "moe":
                moe_hidden_states = self.block_sparse_moe(hidden_states)
                hidden_states = moe_hidden_states + self.shared_mlp(hidden_states)
            else:
                hidden_states = self.shared_mlp(hidden_states)
            hidden_states = residual + hidden_states * self.residual_multiplier
        return hidden_states


class HeterogeneousGraniteMoeHybridNormMLP(HeterogeneousLlamaNormMLP):
    pass


class HeterogeneousGraniteMoeHybridAddRMSNorm(HeterogeneousLlamaAddRMSNorm):
    pass


class HeterogeneousGraniteMoeHybridFusedDecoderLayer(HeterogeneousGraniteMoeHybridDecoderLayer):
    """A layer with `"add_norm"`."""

    def __init__(self, config: HeterogeneousGraniteMoeHybridConfig, layer_idx: int):
        super().__init__(config, layer_idx)
        self.post_attention_layernorm = HeterogeneousGraniteMoeHybridAddRMSNorm(
            config.hidden_size, config.rms_norm_eps
        )

    def forward(self, hidden_states: torch.Tensor, **kwargs: Unpack[GraniteFlashAttentionKwargs]) -> torch.Tensor:
        residual = hidden_states
        hidden_states = self.input_layernorm(hidden_states)
        if self.mixer_type == "mamba":
            hidden_states = self.mamba(hidden_states=hidden_states, **kwargs)
        else:
            hidden_states, _ = self.self_attn(hidden_states=hidden_states, **kwargs)
        hidden_states = hidden_states * self.residual_multiplier
        hidden_states, residual = self.post_attention_layernorm(hidden_states, residual)
        mlp_hidden_states = self.shared_mlp(hidden_states)
        if self.mlp_type == "moe":
            mlp_hidden_states = self.block_sparse_moe(hidden_states) + mlp_hidden_states
        return residual + mlp_hidden_states * self.residual_multiplier


class HeterogeneousGraniteMoeHybridPreTrainedModel(GraniteMoeHybridPreTrainedModel, HeterogeneousPreTrainedModel):
    fused_mlp_class = HeterogeneousGraniteMoeHybridNormMLP
    fused_layer_class = HeterogeneousGraniteMoeHybridFusedDecoderLayer
    _no_split_modules = [
        "HeterogeneousGraniteMoeHybridDecoderLayer",
        "HeterogeneousGraniteMoeHybridFusedDecoderLayer",
    ]
    _keep_in_fp32_modules_strict = ["A_log", "D"]  # diff with GraniteMoeHybrid: what is exponentiated and accumulated
    renamed_like = "granitemoehybrid"  # the experts have other names in published checkpoints
    fused_mlp = "shared_mlp"


class HeterogeneousGraniteMoeHybridModel(GraniteMoeHybridModel):
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Unpack[GraniteFlashAttentionKwargs],
    ) -> tuple | BaseModelOutputWithPast:
        cache = self.prepare_cache(cache, use_cache)
        self.refuse_packed_rows(position_ids, attention_mask, kwargs.get("seq_idx"))
        if inputs_embeds is None and input_ids is not None:
            input_ids, inputs_embeds = None, self.embed_tokens(input_ids)
        attention_mask = self.create_masks_for_generate(
            self.config, inputs_embeds, attention_mask, cache, position_ids
        )
        return super().forward(input_ids, attention_mask, position_ids, cache, inputs_embeds, use_cache, **kwargs)


class HeterogeneousGraniteMoeHybridForCausalLM(GraniteMoeHybridForCausalLM):
    pass


__all__ = [
    "HeterogeneousGraniteMoeHybridConfig",
    "HeterogeneousGraniteMoeHybridForCausalLM",
    "HeterogeneousGraniteMoeHybridModel",
    "HeterogeneousGraniteMoeHybridPreTrainedModel",
]
