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
from transformers.modeling_flash_attention_utils import FlashAttentionKwargs
from transformers.modeling_outputs import MoeModelOutputWithPast
from transformers.models.qwen3_vl_moe.configuration_qwen3_vl_moe import (
    Qwen3VLMoeTextConfig,
    Qwen3VLMoeVisionConfig,
)
from transformers.models.qwen3_vl_moe.modeling_qwen3_vl_moe import (
    Qwen3VLMoePreTrainedModel,
    Qwen3VLMoeTextAttention,
    Qwen3VLMoeTextMLP,
    Qwen3VLMoeTextModel,
    Qwen3VLMoeTextRMSNorm,
    Qwen3VLMoeTextRotaryEmbedding,
    Qwen3VLMoeTextSparseMoeBlock,
)
from transformers.processing_utils import Unpack

from .modular_heterogeneous import HeterogeneousPreTrainedConfig, HeterogeneousPreTrainedModel
from .modular_heterogeneous_qwen3_vl import (
    HeterogeneousQwen3VLConfig,
    HeterogeneousQwen3VLTextDecoderLayer,
    create_causal_mask,  # noqa: F401  (in the place of the parent's)
)


@strict
class HeterogeneousQwen3VLMoeTextConfig(Qwen3VLMoeTextConfig, HeterogeneousPreTrainedConfig):
    r"""
    Config of the text model of a Qwen3-VL with experts whose layers may differ. All fields of [`Qwen3VLMoeTextConfig`]
    keep their meaning; those below may be lists with one entry a layer, `None` where the layer has no such sub-block. A
    scalar means every layer.

    Args:
        mixer_types (`list[str]`, *optional*):
            What mixes tokens in each layer: `"attention"` or `"none"`.
        mlp_types (`list[str]`, *optional*):
            The feed-forward block of each layer: `"moe"`, `"dense"` or `"none"`. As the parent's by default.
        intermediate_size (`int` or `list[int | None]`, defaults to 5632):
            Width of a dense MLP.
        num_key_value_heads (`int` or `list[int | None]`, defaults to 16):
            Key and value heads; each entry divides the layer's query heads.
        moe_intermediate_size (`int` or `list[int | None]`, defaults to 1408):
            Width of each expert.
        num_experts_per_tok (`int` or `list[int | None]`, defaults to 4):
            Experts that each token goes to, at most as many as the layer has.
        num_experts (`int` or `list[int | None]`, defaults to 60):
            Experts.

    Raises:
        HeterogeneousConfigError: names every layer and size that is wrong, with what is allowed.
    """

    per_layer_sizes = {
        "intermediate_size": ("mlp_types", ("dense",)),
        "num_key_value_heads": ("mixer_types", ("attention",)),
        "moe_intermediate_size": ("mlp_types", ("moe",)),
        "num_experts_per_tok": ("mlp_types", ("moe",)),
        "num_experts": ("mlp_types", ("moe",)),
    }
    supported_mixer_types = ("attention", "none")
    supported_mlp_types = ("moe", "dense", "none")
    attribute_map = {"num_local_experts": "num_experts"}
    related_sizes = (
        ("num_key_value_heads", "divides", "num_attention_heads"),
        ("num_experts_per_tok", "is at most", "num_experts"),
    )
    sharded_sizes = {"tp_size": ("num_attention_heads", "num_key_value_heads"), "ep_size": ("num_experts",)}
    optional_per_layer_sizes = ()
    compatible_model_types = ("qwen3_vl_moe_text",)

    intermediate_size: int | list[int | None] = 5632
    num_key_value_heads: int | list[int | None] = 16
    moe_intermediate_size: int | list[int | None] = 1408
    num_experts_per_tok: int | list[int | None] = 4
    num_experts: int | list[int | None] = 60

    def __post_init__(self, **kwargs):
        self.refuse(self._depth_errors())
        if self.decoder_sparse_step < 1:
            self.refuse([f"decoder_sparse_step is {self.decoder_sparse_step}: a positive integer is needed"])
        if self.mlp_types is None:
            dense = set(self.mlp_only_layers or ())
            self.mlp_types = [
                "dense" if layer_idx in dense or (layer_idx + 1) % self.decoder_sparse_step else "moe"
                for layer_idx in range(self.num_hidden_layers)
            ]
        super().__post_init__(**kwargs)


@strict
class HeterogeneousQwen3VLMoeConfig(HeterogeneousQwen3VLConfig):
    r"""
    Config of transformers' own Qwen3-VL with experts around a text model whose layers may differ. All fields of
    [`Qwen3VLMoeConfig`] keep their meaning; `text_config` is a [`HeterogeneousQwen3VLMoeTextConfig`].
    """

    sub_configs_defaults = {"vision_config": Qwen3VLMoeVisionConfig, "text_config": HeterogeneousQwen3VLMoeTextConfig}
    compatible_model_types = ("qwen3_vl_moe",)


class HeterogeneousQwen3VLMoeTextRMSNorm(Qwen3VLMoeTextRMSNorm):
    pass


class HeterogeneousQwen3VLMoeTextMLP(Qwen3VLMoeTextMLP):
    pass


class HeterogeneousQwen3VLMoeTextSparseMoeBlock(Qwen3VLMoeTextSparseMoeBlock):
    pass


class HeterogeneousQwen3VLMoeTextRotaryEmbedding(Qwen3VLMoeTextRotaryEmbedding):
    pass


class HeterogeneousQwen3VLMoeTextAttention(Qwen3VLMoeTextAttention):
    pass


class HeterogeneousQwen3VLMoeTextDecoderLayer(HeterogeneousQwen3VLTextDecoderLayer):
    def __init__(self, config: HeterogeneousQwen3VLMoeTextConfig, layer_idx: int):
        config = config.per_layer_config[layer_idx]
        nn.Module.__init__(self)
        self.has_mixer = config.mixer_types[layer_idx] != "none"
        self.has_mlp = config.mlp_types[layer_idx] != "none"
        self.layer_idx = layer_idx
        self.hidden_size = config.hidden_size
        if self.has_mixer:
            self.self_attn = HeterogeneousQwen3VLMoeTextAttention(config, layer_idx)
        if self.has_mlp:
            experts = config.mlp_types[layer_idx] == "moe"
            mlp = HeterogeneousQwen3VLMoeTextSparseMoeBlock if experts else HeterogeneousQwen3VLMoeTextMLP
            self.mlp = mlp(config)
        if self.has_mixer:
            self.input_layernorm = HeterogeneousQwen3VLMoeTextRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        if self.has_mlp:
            self.post_attention_layernorm = HeterogeneousQwen3VLMoeTextRMSNorm(
                config.hidden_size, eps=config.rms_norm_eps
            )


class HeterogeneousQwen3VLMoePreTrainedModel(Qwen3VLMoePreTrainedModel, HeterogeneousPreTrainedModel):
    config: HeterogeneousQwen3VLMoeTextConfig
    renamed_like = "qwen3_vl_moe"  # experts are the other way round in published checkpoints
    _no_split_modules = ["HeterogeneousQwen3VLMoeTextDecoderLayer"]


class HeterogeneousQwen3VLMoeTextModel(Qwen3VLMoeTextModel):
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
    ) -> tuple | MoeModelOutputWithPast:
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
    "HeterogeneousQwen3VLMoeConfig",
    "HeterogeneousQwen3VLMoePreTrainedModel",
    "HeterogeneousQwen3VLMoeTextConfig",
    "HeterogeneousQwen3VLMoeTextModel",
]
