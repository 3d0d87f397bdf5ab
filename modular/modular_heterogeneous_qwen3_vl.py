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
from transformers.configuration_utils import PreTrainedConfig
from transformers.modeling_flash_attention_utils import FlashAttentionKwargs
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLConfig, Qwen3VLTextConfig, Qwen3VLVisionConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    Qwen3VLPreTrainedModel,
    Qwen3VLTextAttention,
    Qwen3VLTextDecoderLayer,
    Qwen3VLTextMLP,
    Qwen3VLTextModel,
    Qwen3VLTextRMSNorm,
    Qwen3VLTextRotaryEmbedding,
)
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs

from .modular_heterogeneous import HeterogeneousPreTrainedConfig, HeterogeneousPreTrainedModel
from .modular_heterogeneous import create_causal_mask as create_masks


@strict
class HeterogeneousQwen3VLTextConfig(Qwen3VLTextConfig, HeterogeneousPreTrainedConfig):
    r"""
    Config of the text model of a Qwen3-VL whose layers may differ. All fields of [`Qwen3VLTextConfig`] keep their meaning;
    those below may be lists with one entry a layer, `None` where the layer has no such sub-block. A scalar means every
    layer.

    Args:
        mixer_types (`list[str]`, *optional*):
            What mixes tokens in each layer: `"attention"` or `"none"`.
        mlp_types (`list[str]`, *optional*):
            The feed-forward block of each layer: `"dense"` or `"none"`.
        intermediate_size (`int` or `list[int | None]`, defaults to 22016):
            Width of the MLP.
        num_attention_heads (`int` or `list[int | None]`, defaults to 32):
            Query heads.
        num_key_value_heads (`int` or `list[int | None]`, defaults to 32):
            Key and value heads; each entry divides the layer's query heads.

    Raises:
        HeterogeneousConfigError: names every layer and size that is wrong, with what is allowed.
    """

    per_layer_sizes = {
        "intermediate_size": ("mlp_types", ("dense",)),
        "num_attention_heads": ("mixer_types", ("attention",)),
        "num_key_value_heads": ("mixer_types", ("attention",)),
    }
    supported_mixer_types = ("attention", "none")
    supported_mlp_types = ("dense", "none")
    optional_per_layer_sizes = ()
    compatible_model_types = ("qwen3_vl_text",)

    intermediate_size: int | list[int | None] = 22016
    num_attention_heads: int | list[int | None] = 32
    num_key_value_heads: int | list[int | None] | None = 32


@strict
class HeterogeneousQwen3VLConfig(Qwen3VLConfig):
    r"""
    Config of transformers' own Qwen3-VL around a text model whose layers may differ. All fields of [`Qwen3VLConfig`] keep
    their meaning; `text_config` is a [`HeterogeneousQwen3VLTextConfig`].
    """

    sub_configs_defaults = {"vision_config": Qwen3VLVisionConfig, "text_config": HeterogeneousQwen3VLTextConfig}
    compatible_model_types = ("qwen3_vl",)

    def __post_init__(self, **kwargs):
        if isinstance(self.vision_config, dict):  # old ones say another type
            self.vision_config = {**self.vision_config, "model_type": self.sub_configs["vision_config"].model_type}
        kwargs.pop("model_type", None)  # checkpoints of the parent's become this one's
        PreTrainedConfig.__post_init__(self, **kwargs)

    @classmethod
    def get_config_dict(cls, pretrained_model_name_or_path, **kwargs):
        config_dict, kwargs = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        if config_dict.get("model_type") in cls.compatible_model_types:
            config_dict = {name: value for name, value in config_dict.items() if name != "model_type"}
        return config_dict, kwargs


class HeterogeneousQwen3VLTextRMSNorm(Qwen3VLTextRMSNorm):
    pass


class HeterogeneousQwen3VLTextMLP(Qwen3VLTextMLP):
    pass


class HeterogeneousQwen3VLTextRotaryEmbedding(Qwen3VLTextRotaryEmbedding):
    def __init__(self, config: HeterogeneousQwen3VLTextConfig):
        config = config.per_layer_config[0]  # query heads may be a list
        super().__init__(config)


class HeterogeneousQwen3VLTextAttention(Qwen3VLTextAttention):
    pass


class HeterogeneousQwen3VLTextDecoderLayer(Qwen3VLTextDecoderLayer):
    def __init__(self, config: HeterogeneousQwen3VLTextConfig, layer_idx: int):
        config = config.per_layer_config[layer_idx]
        nn.Module.__init__(self)
        self.has_mixer = config.mixer_types[layer_idx] != "none"
        self.has_mlp = config.mlp_types[layer_idx] != "none"
        self.layer_idx = layer_idx
        self.hidden_size = config.hidden_size
        if self.has_mixer:
            self.self_attn = HeterogeneousQwen3VLTextAttention(config=config, layer_idx=layer_idx)
        if self.has_mlp:
            self.mlp = HeterogeneousQwen3VLTextMLP(config)
        if self.has_mixer:
            self.input_layernorm = HeterogeneousQwen3VLTextRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        if self.has_mlp:
            self.post_attention_layernorm = HeterogeneousQwen3VLTextRMSNorm(
                config.hidden_size, eps=config.rms_norm_eps
            )

    def forward(
        self,
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        cache: Cache | None = None,
        use_cache: bool | None = False,
        **kwargs: Unpack[TransformersKwargs],
    ) -> torch.Tensor:
        if self.has_mixer:
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


def create_causal_mask(config: HeterogeneousQwen3VLTextConfig, **kwargs):
    """The mask of all layers that attend, which have no windows."""
    return create_masks(config, **kwargs)["full_attention"]


class HeterogeneousQwen3VLPreTrainedModel(Qwen3VLPreTrainedModel, HeterogeneousPreTrainedModel):
    config: HeterogeneousQwen3VLTextConfig
    _no_split_modules = ["HeterogeneousQwen3VLTextDecoderLayer"]


class HeterogeneousQwen3VLTextModel(Qwen3VLTextModel):
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        visual_pos_masks: torch.Tensor | None = None,
        deepstack_visual_embeds: list[torch.Tensor] | None = None,
        **kwargs: Unpack[FlashAttentionKwargs],
    ) -> tuple | BaseModelOutputWithPast:
        cache = self.prepare_cache(cache, use_cache)
        return super().forward(
            input_ids,
            attention_mask,
            position_ids,
            cache,
            inputs_embeds,
            use_cache,
            visual_pos_masks,
            deepstack_visual_embeds,
            **kwargs,
        )


__all__ = [
    "HeterogeneousQwen3VLConfig",
    "HeterogeneousQwen3VLPreTrainedModel",
    "HeterogeneousQwen3VLTextConfig",
    "HeterogeneousQwen3VLTextModel",
]
