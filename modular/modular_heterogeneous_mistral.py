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
from transformers.models.mistral.configuration_mistral import MistralConfig
from transformers.models.mistral.modeling_mistral import (
    MistralAttention,
    MistralDecoderLayer,
    MistralForCausalLM,
    MistralForQuestionAnswering,
    MistralForSequenceClassification,
    MistralForTokenClassification,
    MistralMLP,
    MistralPreTrainedModel,
    MistralRMSNorm,
    MistralRotaryEmbedding,
)
from transformers.models.qwen2.modeling_qwen2 import Qwen2Model
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs

from .modular_heterogeneous import (
    HeterogeneousPreTrainedConfig,
    HeterogeneousPreTrainedModel,
)


@strict
class HeterogeneousMistralConfig(MistralConfig, HeterogeneousPreTrainedConfig):
    r"""
    Config of a Mistral whose layers may differ. All fields of [`MistralConfig`] keep their meaning; those below may be
    lists with one entry a layer, `None` where the layer has no such sub-block. A scalar means every layer.

    Args:
        mixer_types (`list[str]`, *optional*):
            What mixes tokens in each layer: `"attention"` or `"none"`.
        mlp_types (`list[str]`, *optional*):
            The feed-forward block of each layer: `"dense"` or `"none"`.
        intermediate_size (`int` or `list[int | None]`, defaults to 14336):
            Width of the MLP.
        num_attention_heads (`int` or `list[int | None]`, defaults to 32):
            Query heads. As a list it needs an explicit `head_dim`.
        num_key_value_heads (`int` or `list[int | None]`, defaults to 8):
            Key and value heads; each entry divides the layer's query heads.
        sliding_window (`int` or `list[int | None]`, defaults to 4096):
            How many positions, its own included, a token attends to. `None` is full attention.

    Raises:
        HeterogeneousConfigError: names every layer and size that is wrong, with what is allowed.
    """

    per_layer_sizes = {
        "intermediate_size": ("mlp_types", ("dense",)),
        "num_attention_heads": ("mixer_types", ("attention",)),
        "num_key_value_heads": ("mixer_types", ("attention",)),
        "sliding_window": ("mixer_types", ("attention",)),
    }
    supported_mixer_types = ("attention", "none")
    supported_mlp_types = ("dense", "none")
    related_sizes = (("num_key_value_heads", "divides", "num_attention_heads"),)
    sharded_sizes = {"tp_size": ("num_attention_heads", "num_key_value_heads")}
    compatible_model_types = ("mistral",)

    intermediate_size: int | list[int | None] = 14336
    num_attention_heads: int | list[int | None] = 32
    num_key_value_heads: int | list[int | None] = 8
    sliding_window: int | list[int | None] | None = 4096

    def __post_init__(self, **kwargs):
        self.refuse(self.head_dim_errors() or self._depth_errors())
        super().__post_init__(**kwargs)


class HeterogeneousMistralMLP(MistralMLP):
    pass


class HeterogeneousMistralAttention(MistralAttention):
    pass


class HeterogeneousMistralRMSNorm(MistralRMSNorm):
    pass


class HeterogeneousMistralRotaryEmbedding(MistralRotaryEmbedding):
    def __init__(self, config: HeterogeneousMistralConfig):
        config = config.per_layer_config[0]  # query heads may be a list
        super().__init__(config)


class HeterogeneousMistralDecoderLayer(MistralDecoderLayer):
    def __init__(self, config: HeterogeneousMistralConfig, layer_idx: int):
        config = config.per_layer_config[layer_idx]
        nn.Module.__init__(self)
        self.has_mixer = config.mixer_types[layer_idx] != "none"
        self.has_mlp = config.mlp_types[layer_idx] != "none"
        self.sliding_window = config.sliding_window
        self.layer_idx = layer_idx
        self.hidden_size = config.hidden_size
        if self.has_mixer:
            self.self_attn = HeterogeneousMistralAttention(config=config, layer_idx=layer_idx)
        if self.has_mlp:
            self.mlp = HeterogeneousMistralMLP(config)
        if self.has_mixer:
            self.input_layernorm = HeterogeneousMistralRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        if self.has_mlp:
            self.post_attention_layernorm = HeterogeneousMistralRMSNorm(config.hidden_size, eps=config.rms_norm_eps)

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
            if isinstance(attention_mask, dict):  # one mask a window
                attention_mask = attention_mask[self.sliding_window]
            residual = hidden_states
            hidden_states = self.input_layernorm(hidden_states)
            # Self Attention
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
            # Fully Connected
            residual = hidden_states
            hidden_states = self.post_attention_layernorm(hidden_states)
            hidden_states = self.mlp(hidden_states)
            hidden_states = residual + hidden_states

        return hidden_states


class HeterogeneousMistralPreTrainedModel(MistralPreTrainedModel, HeterogeneousPreTrainedModel):
    pass


class HeterogeneousMistralModel(Qwen2Model):  # Mistral's, with a mask for each type of layer
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
        if inputs_embeds is None and input_ids is not None:
            input_ids, inputs_embeds = None, self.embed_tokens(input_ids)
        attention_mask = self.create_masks_for_generate(
            self.config, inputs_embeds, attention_mask, cache, position_ids
        )
        return super().forward(input_ids, attention_mask, position_ids, cache, inputs_embeds, use_cache, **kwargs)


class HeterogeneousMistralForCausalLM(MistralForCausalLM):
    pass


class HeterogeneousMistralForTokenClassification(MistralForTokenClassification):
    pass


class HeterogeneousMistralForSequenceClassification(MistralForSequenceClassification):
    pass


class HeterogeneousMistralForQuestionAnswering(MistralForQuestionAnswering):
    pass


__all__ = [
    "HeterogeneousMistralConfig",
    "HeterogeneousMistralForCausalLM",
    "HeterogeneousMistralForQuestionAnswering",
    "HeterogeneousMistralForSequenceClassification",
    "HeterogeneousMistralForTokenClassification",
    "HeterogeneousMistralModel",
    "HeterogeneousMistralPreTrainedModel",
]
