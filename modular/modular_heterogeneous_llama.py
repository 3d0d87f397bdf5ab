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
import torch
from huggingface_hub.dataclasses import strict
from torch import nn

from transformers.cache_utils import Cache
from transformers.integrations import use_kernel_forward_from_hub
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import (
    LlamaAttention,
    LlamaDecoderLayer,
    LlamaForCausalLM,
    LlamaForQuestionAnswering,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
    LlamaMLP,
    LlamaModel,
    LlamaPreTrainedModel,
    LlamaRMSNorm,
    LlamaRotaryEmbedding,
)
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs

from .modular_heterogeneous import (
    HeterogeneousPreTrainedConfig,
    HeterogeneousPreTrainedModel,
    create_causal_mask,  # noqa: F401  (in the place of the parent's)
)


@strict
class HeterogeneousLlamaConfig(LlamaConfig, HeterogeneousPreTrainedConfig):
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
            has these sub-blocks.

    Raises:
        HeterogeneousConfigError: names every layer and size that is wrong, and what is allowed.

    ```python
    >>> from transformers_heterogeneous import HeterogeneousLlamaConfig

    >>> config = HeterogeneousLlamaConfig(num_hidden_layers=4, mixer_types=["attention", "none", "attention", "none"])
    >>> config.per_layer_config[1].skip
    ['attention']
    ```"""

    model_type = "heterogeneous_llama"
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
    compatible_model_types = ("llama",)
    unread_fields = {"llama": ("layer_types", "sliding_window", "use_sliding_window")}  # of models made over to Llama

    initializer_range: float = 0.02  # diff with Llama: its validator imports torch.distributed
    intermediate_size: int | list[int | None] | None = 11008
    num_attention_heads: int | list[int | None] = 32
    num_key_value_heads: int | list[int | None] | None = None
    sliding_window: int | list[int | None] | None = None

    def __post_init__(self, **kwargs):
        self.refuse(self.head_dim_errors())
        super().__post_init__(**kwargs)

    def validate_architecture(self):
        raise AttributeError("The layers are checked one by one in HeterogeneousPreTrainedConfig")


class HeterogeneousLlamaRMSNorm(LlamaRMSNorm):
    pass


class HeterogeneousLlamaRotaryEmbedding(LlamaRotaryEmbedding):
    def __init__(self, config: HeterogeneousLlamaConfig):
        config = config.per_layer_config[0]  # query heads may be a list, which is divided by
        super().__init__(config)


class HeterogeneousLlamaMLP(LlamaMLP):
    pass


class HeterogeneousLlamaLinearMLP(nn.Module):
    """One matrix in the place of the MLP, under the name that NVIDIA's checkpoints give it."""

    def __init__(self, config: HeterogeneousLlamaConfig):
        super().__init__()
        self.linear_mlp = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear_mlp(x)


class HeterogeneousLlamaAttention(LlamaAttention):
    pass


class HeterogeneousLlamaLinearAttention(nn.Module):
    """One matrix in the place of attention, under the name that NVIDIA's checkpoints give it."""

    def __init__(self, config: HeterogeneousLlamaConfig):
        super().__init__()
        self.linear_attn = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(self, hidden_states: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> tuple[torch.Tensor, None]:
        return self.linear_attn(hidden_states), None


class HeterogeneousLlamaDecoderLayer(LlamaDecoderLayer):
    def __init__(self, config: HeterogeneousLlamaConfig, layer_idx: int):
        config = config.per_layer_config[layer_idx]
        nn.Module.__init__(self)
        self.layer_idx = layer_idx
        self.layer_type, self.sliding_window = config.layer_types[layer_idx], config.sliding_window
        self.mixer_type, self.mlp_type = config.mixer_types[layer_idx], config.mlp_types[layer_idx]
        if self.mixer_type == "attention":
            self.self_attn = HeterogeneousLlamaAttention(config=config, layer_idx=layer_idx)
        elif self.mixer_type == "linear":
            self.self_attn = HeterogeneousLlamaLinearAttention(config)
        if self.mlp_type == "dense":
            self.mlp = HeterogeneousLlamaMLP(config)
        elif self.mlp_type == "linear":
            self.mlp = HeterogeneousLlamaLinearMLP(config)
        if self.mixer_type != "none":
            self.input_layernorm = HeterogeneousLlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        if self.mlp_type != "none":
            self.post_attention_layernorm = HeterogeneousLlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)

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
        if self.mixer_type == "attention" and isinstance(attention_mask, dict):
            attention_mask = attention_mask[self.layer_type]
            if isinstance(attention_mask, dict):  # one a window
                attention_mask = attention_mask[self.sliding_window]
        if self.mixer_type != "none":
            residual = hidden_states
            hidden_states = self.input_layernorm(hidden_states)
            hidden_states, _ = self.self_attn(
                hidden_states=hidden_states,
                attention_mask=attention_mask,
                position_ids=position_ids,
                cache=cache,
                use_cache=use_cache,
                position_embeddings=position_embeddings,
                sliding_window=self.sliding_window,
                **kwargs,
            )
            hidden_states = residual + hidden_states

        if self.mlp_type != "none":
            residual = hidden_states
            hidden_states = self.post_attention_layernorm(hidden_states)
            hidden_states = self.mlp(hidden_states)
            hidden_states = residual + hidden_states
        return hidden_states


@use_kernel_forward_from_hub("NormMLP")
class HeterogeneousLlamaNormMLP(HeterogeneousLlamaMLP):
    """The MLP and the norm before it, which owns its weight here: what one kernel may compute."""

    def __init__(self, config: HeterogeneousLlamaConfig):
        super().__init__(config)
        self.norm = HeterogeneousLlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(self, hidden_states):
        return super().forward(self.norm(hidden_states))


@use_kernel_forward_from_hub("AddRMSNorm")
class HeterogeneousLlamaAddRMSNorm(HeterogeneousLlamaRMSNorm):
    """The residual connection and the norm behind it: what one kernel may compute."""

    def forward(self, hidden_states: torch.Tensor, residual: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        residual = residual + hidden_states
        return super().forward(residual), residual


class HeterogeneousLlamaFusedDecoderLayer(HeterogeneousLlamaDecoderLayer):
    """A layer with `"add_norm"`."""

    def __init__(self, config: HeterogeneousLlamaConfig, layer_idx: int):
        super().__init__(config, layer_idx)
        self.post_attention_layernorm = HeterogeneousLlamaAddRMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> torch.Tensor:
        if self.mixer_type == "attention" and isinstance(attention_mask, dict):
            attention_mask = attention_mask[self.layer_type]
            if isinstance(attention_mask, dict):  # one a window
                attention_mask = attention_mask[self.sliding_window]
        residual = hidden_states
        hidden_states = self.input_layernorm(hidden_states)
        hidden_states, _ = self.self_attn(
            hidden_states=hidden_states, attention_mask=attention_mask, sliding_window=self.sliding_window, **kwargs
        )
        hidden_states, residual = self.post_attention_layernorm(hidden_states, residual)
        hidden_states = self.mlp(hidden_states)
        return residual + hidden_states


class HeterogeneousLlamaPreTrainedModel(LlamaPreTrainedModel, HeterogeneousPreTrainedModel):
    fused_mlp_class = HeterogeneousLlamaNormMLP
    fused_layer_class = HeterogeneousLlamaFusedDecoderLayer
    _no_split_modules = ["HeterogeneousLlamaDecoderLayer", "HeterogeneousLlamaFusedDecoderLayer"]


class HeterogeneousLlamaModel(LlamaModel):
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPast:
        cache = self.prepare_cache(cache, use_cache)
        return super().forward(input_ids, attention_mask, position_ids, cache, inputs_embeds, use_cache, **kwargs)


class HeterogeneousLlamaForCausalLM(LlamaForCausalLM):
    pass


class HeterogeneousLlamaForSequenceClassification(LlamaForSequenceClassification):
    pass


class HeterogeneousLlamaForQuestionAnswering(LlamaForQuestionAnswering):
    base_model_prefix = "model"  # diff with Llama: finds its layers in a causal checkpoint


class HeterogeneousLlamaForTokenClassification(LlamaForTokenClassification):
    pass


__all__ = [
    "HeterogeneousLlamaConfig",
    "HeterogeneousLlamaForCausalLM",
    "HeterogeneousLlamaForQuestionAnswering",
    "HeterogeneousLlamaForSequenceClassification",
    "HeterogeneousLlamaForTokenClassification",
    "HeterogeneousLlamaModel",
    "HeterogeneousLlamaPreTrainedModel",
]
