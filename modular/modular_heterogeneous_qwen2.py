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
from transformers.models.qwen2.configuration_qwen2 import Qwen2Config
from transformers.models.qwen2.modeling_qwen2 import (
    Qwen2Attention,
    Qwen2DecoderLayer,
    Qwen2ForCausalLM,
    Qwen2ForQuestionAnswering,
    Qwen2ForSequenceClassification,
    Qwen2ForTokenClassification,
    Qwen2MLP,
    Qwen2Model,
    Qwen2PreTrainedModel,
    Qwen2RMSNorm,
    Qwen2RotaryEmbedding,
)
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs

from .modular_heterogeneous import (
    HeterogeneousPreTrainedConfig,
    HeterogeneousPreTrainedModel,
)


@strict
class HeterogeneousQwen2Config(Qwen2Config, HeterogeneousPreTrainedConfig):
    r"""
    Config of a Qwen2 whose layers may differ. All fields of [`Qwen2Config`] keep their meaning; those below may be
    lists with one entry a layer, `None` where the layer has no such sub-block. A scalar means every layer.

    Args:
        mixer_types (`list[str]`, *optional*):
            What mixes tokens in each layer: `"attention"` or `"none"`.
        mlp_types (`list[str]`, *optional*):
            The feed-forward block of each layer: `"dense"` or `"none"`.
        intermediate_size (`int` or `list[int | None]`, defaults to 22016):
            Width of the MLP.
        num_key_value_heads (`int` or `list[int | None]`, defaults to 32):
            Key and value heads; each entry divides the layer's query heads.
        sliding_window (`int` or `list[int | None]`, defaults to 4096):
            How many positions, its own included, a token attends to. `None` is full attention.

    Raises:
        HeterogeneousConfigError: names every layer and size that is wrong, with what is allowed.
    """

    # Query heads are one number for all layers: Qwen2's head_dim is derived from it
    per_layer_sizes = {
        "intermediate_size": ("mlp_types", ("dense",)),
        "num_key_value_heads": ("mixer_types", ("attention",)),
        "sliding_window": ("mixer_types", ("attention",)),
    }
    supported_mixer_types = ("attention", "none")
    supported_mlp_types = ("dense", "none")
    related_sizes = (("num_key_value_heads", "divides", "num_attention_heads"),)
    sharded_sizes = {"tp_size": ("num_attention_heads", "num_key_value_heads")}
    compatible_model_types = ("qwen2",)

    intermediate_size: int | list[int | None] = 22016
    num_key_value_heads: int | list[int | None] | None = 32
    sliding_window: int | list[int | None] | None = 4096

    def __post_init__(self, **kwargs):
        self.refuse(self._depth_errors())
        self.use_sliding_window = self.use_sliding_window or isinstance(self.sliding_window, list)
        windows = self.sliding_window
        if self.layer_types is None and isinstance(windows, list) and len(windows) == self.num_hidden_layers:
            self.layer_types = ["full_attention" if window is None else "sliding_attention" for window in windows]
        super().__post_init__(**kwargs)

    def normalise(self):
        HeterogeneousPreTrainedConfig.normalise(self)
        self.use_sliding_window = self.sliding_window is not None


class HeterogeneousQwen2MLP(Qwen2MLP):
    pass


class HeterogeneousQwen2RotaryEmbedding(Qwen2RotaryEmbedding):
    pass


class HeterogeneousQwen2Attention(Qwen2Attention):
    pass


class HeterogeneousQwen2RMSNorm(Qwen2RMSNorm):
    pass


class HeterogeneousQwen2DecoderLayer(Qwen2DecoderLayer):
    def __init__(self, config: HeterogeneousQwen2Config, layer_idx: int):
        config = config.per_layer_config[layer_idx]
        nn.Module.__init__(self)
        self.has_mixer = config.mixer_types[layer_idx] != "none"
        self.has_mlp = config.mlp_types[layer_idx] != "none"
        self.sliding_window = config.sliding_window
        self.layer_idx = layer_idx
        self.hidden_size = config.hidden_size
        if self.has_mixer:
            self.self_attn = HeterogeneousQwen2Attention(config=config, layer_idx=layer_idx)
        if self.has_mlp:
            self.mlp = HeterogeneousQwen2MLP(config)
        if self.has_mixer:
            self.input_layernorm = HeterogeneousQwen2RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        if self.has_mlp:
            self.post_attention_layernorm = HeterogeneousQwen2RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

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


class HeterogeneousQwen2PreTrainedModel(Qwen2PreTrainedModel, HeterogeneousPreTrainedModel):
    pass


class HeterogeneousQwen2Model(Qwen2Model):
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


class HeterogeneousQwen2ForCausalLM(Qwen2ForCausalLM):
    pass


class HeterogeneousQwen2ForSequenceClassification(Qwen2ForSequenceClassification):
    pass


class HeterogeneousQwen2ForTokenClassification(Qwen2ForTokenClassification):
    pass


class HeterogeneousQwen2ForQuestionAnswering(Qwen2ForQuestionAnswering):
    pass


__all__ = [
    "HeterogeneousQwen2Config",
    "HeterogeneousQwen2ForCausalLM",
    "HeterogeneousQwen2ForQuestionAnswering",
    "HeterogeneousQwen2ForSequenceClassification",
    "HeterogeneousQwen2ForTokenClassification",
    "HeterogeneousQwen2Model",
    "HeterogeneousQwen2PreTrainedModel",
]
