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

import torch
from huggingface_hub.dataclasses import strict
from torch import nn

from transformers.cache_utils import Cache
from transformers.modeling_outputs import MoeModelOutputWithPast
from transformers.models.gpt_oss.configuration_gpt_oss import GptOssConfig
from transformers.models.gpt_oss.modeling_gpt_oss import (
    GptOssAttention,
    GptOssDecoderLayer,
    GptOssForCausalLM,
    GptOssForSequenceClassification,
    GptOssForTokenClassification,
    GptOssMLP,
    GptOssModel,
    GptOssPreTrainedModel,
    GptOssRMSNorm,
)
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs

from .modular_heterogeneous import (
    HeterogeneousPreTrainedConfig,
    HeterogeneousPreTrainedModel,
    load_balancing_loss_func,  # noqa: F401  (in the place of the parent's)
)
from .modular_heterogeneous_llama import HeterogeneousLlamaAddRMSNorm, HeterogeneousLlamaNormMLP


@strict
class HeterogeneousGptOssConfig(GptOssConfig, HeterogeneousPreTrainedConfig):
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
            the residual connection before it) or `"none"`. One name means every layer that has these sub-blocks.

    Raises:
        HeterogeneousConfigError: names every layer and size that is wrong, and what is allowed.

    ```python
    >>> from transformers_heterogeneous import HeterogeneousGptOssConfig

    >>> config = HeterogeneousGptOssConfig(num_hidden_layers=4, num_local_experts=[128, 64, 64, 32])
    >>> config.per_layer_config[3].num_local_experts
    32
    ```"""

    model_type = "heterogeneous_gpt_oss"
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
    compatible_model_types = ("gpt_oss",)
    base_model_fsdp_plan = {
        "embed_tokens": "free_full_weight",
        "layers.*": "free_full_weight",
        "norm": "free_full_weight",  # diff with gpt-oss: not in one group with `lm_head`, which has another dtype
    }

    num_local_experts: int | list[int | None] = 128
    intermediate_size: int | list[int | None] = 2880
    num_key_value_heads: int | list[int | None] | None = 8
    sliding_window: int | list[int | None] | None = 128
    num_experts_per_tok: int | list[int | None] = 4

    def __post_init__(self, **kwargs):
        self.refuse(self._depth_errors())
        windows = self.sliding_window
        if self.layer_types is None and isinstance(windows, list) and len(windows) == self.num_hidden_layers:
            self.layer_types = ["full_attention" if window is None else "sliding_attention" for window in windows]
        super().__post_init__(**kwargs)


class HeterogeneousGptOssRMSNorm(GptOssRMSNorm):
    pass


class HeterogeneousGptOssMLP(GptOssMLP):
    pass


class HeterogeneousGptOssAttention(GptOssAttention):
    pass


class HeterogeneousGptOssDecoderLayer(GptOssDecoderLayer):
    def __init__(self, config: HeterogeneousGptOssConfig, layer_idx: int):
        config = config.per_layer_config[layer_idx]
        nn.Module.__init__(self)
        self.layer_idx = layer_idx
        self.sliding_window = config.sliding_window
        self.has_mixer = config.mixer_types[layer_idx] != "none"
        self.has_mlp = config.mlp_types[layer_idx] != "none"
        if self.has_mixer:
            self.self_attn = HeterogeneousGptOssAttention(config=config, layer_idx=layer_idx)
            self.input_layernorm = HeterogeneousGptOssRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        if self.has_mlp:
            self.mlp = HeterogeneousGptOssMLP(config)
            self.post_attention_layernorm = HeterogeneousGptOssRMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        cache: Cache | None = None,
        use_cache: bool | None = False,
        position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> torch.Tensor:
        if self.has_mixer:
            if isinstance(attention_mask, dict):  # one a window
                attention_mask = attention_mask[self.sliding_window]
            residual = hidden_states
            hidden_states = self.input_layernorm(hidden_states)
            hidden_states, _ = self.self_attn(
                hidden_states=hidden_states,
                attention_mask=attention_mask,
                position_ids=position_ids,
                cache=cache,
                use_cache=use_cache,
                position_embeddings=position_embeddings,
                **kwargs,
            )
            hidden_states = residual + hidden_states

        if self.has_mlp:
            residual = hidden_states
            hidden_states = self.post_attention_layernorm(hidden_states)
            hidden_states, _ = self.mlp(hidden_states)
            hidden_states = residual + hidden_states
        return hidden_states


class HeterogeneousGptOssNormMLP(HeterogeneousLlamaNormMLP):
    pass


class HeterogeneousGptOssAddRMSNorm(HeterogeneousLlamaAddRMSNorm):
    pass


class HeterogeneousGptOssFusedDecoderLayer(HeterogeneousGptOssDecoderLayer):
    """A layer with `"add_norm"`."""

    def __init__(self, config: HeterogeneousGptOssConfig, layer_idx: int):
        super().__init__(config, layer_idx)
        self.post_attention_layernorm = HeterogeneousGptOssAddRMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> torch.Tensor:
        if isinstance(attention_mask, dict):  # one a window
            attention_mask = attention_mask[self.sliding_window]
        residual = hidden_states
        hidden_states = self.input_layernorm(hidden_states)
        hidden_states, _ = self.self_attn(hidden_states=hidden_states, attention_mask=attention_mask, **kwargs)
        hidden_states, residual = self.post_attention_layernorm(hidden_states, residual)
        hidden_states, _ = self.mlp(hidden_states)
        return residual + hidden_states


class HeterogeneousGptOssPreTrainedModel(GptOssPreTrainedModel, HeterogeneousPreTrainedModel):
    fused_mlp_class = HeterogeneousGptOssNormMLP
    fused_layer_class = HeterogeneousGptOssFusedDecoderLayer
    _no_split_modules = ["HeterogeneousGptOssDecoderLayer", "HeterogeneousGptOssFusedDecoderLayer"]
    # diff with gpt-oss, which keeps them only when float16 is asked for
    _keep_in_fp32_modules = AttributeError()
    _keep_in_fp32_modules_strict = ["post_attention_layernorm", "input_layernorm", "norm"]
    _keys_to_ignore_on_load_unexpected = [r"self_attn\.[qkv]_scale$"]
    ignored_tensors = {"*.self_attn.[qkv]_scale": "scales of a KV cache in FP8, for servers that have one"}


class HeterogeneousGptOssModel(GptOssModel):
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MoeModelOutputWithPast:
        cache = self.prepare_cache(cache, use_cache)
        if inputs_embeds is None and input_ids is not None:
            input_ids, inputs_embeds = None, self.embed_tokens(input_ids)
        attention_mask = self.create_masks_for_generate(
            self.config, inputs_embeds, attention_mask, cache, position_ids
        )
        return super().forward(input_ids, attention_mask, position_ids, cache, inputs_embeds, use_cache, **kwargs)


class HeterogeneousGptOssForCausalLM(GptOssForCausalLM):
    pass


class HeterogeneousGptOssForSequenceClassification(GptOssForSequenceClassification):
    pass


class HeterogeneousGptOssForTokenClassification(GptOssForTokenClassification):
    pass


__all__ = [
    "HeterogeneousGptOssConfig",
    "HeterogeneousGptOssForCausalLM",
    "HeterogeneousGptOssForSequenceClassification",
    "HeterogeneousGptOssForTokenClassification",
    "HeterogeneousGptOssModel",
    "HeterogeneousGptOssPreTrainedModel",
]
