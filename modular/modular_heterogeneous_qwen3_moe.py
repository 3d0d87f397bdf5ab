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
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssModel
from transformers.models.qwen3_moe.configuration_qwen3_moe import Qwen3MoeConfig
from transformers.models.qwen3_moe.modeling_qwen3_moe import (
    Qwen3MoeAttention,
    Qwen3MoeDecoderLayer,
    Qwen3MoeForCausalLM,
    Qwen3MoeForQuestionAnswering,
    Qwen3MoeForSequenceClassification,
    Qwen3MoeForTokenClassification,
    Qwen3MoeMLP,
    Qwen3MoePreTrainedModel,
    Qwen3MoeRMSNorm,
    Qwen3MoeRotaryEmbedding,
    Qwen3MoeSparseMoeBlock,
)
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs

from .modular_heterogeneous import (
    HeterogeneousPreTrainedConfig,
    HeterogeneousPreTrainedModel,
    load_balancing_loss_func,  # noqa: F401  (in the place of the parent's)
)


@strict
class HeterogeneousQwen3MoeConfig(Qwen3MoeConfig, HeterogeneousPreTrainedConfig):
    r"""
    Config of a Qwen3Moe whose layers may differ. All fields of [`Qwen3MoeConfig`] keep their meaning; those below may
    be lists with one entry a layer, `None` where the layer has no such sub-block. A scalar means every layer.

    Args:
        mixer_types (`list[str]`, *optional*):
            What mixes tokens in each layer: `"attention"` or `"none"`.
        mlp_types (`list[str]`, *optional*):
            The feed-forward block of each layer: `"moe"`, `"dense"` or `"none"`. As the parent's by default.
        intermediate_size (`int` or `list[int | None]`, defaults to 6144):
            Width of the MLP.
        num_key_value_heads (`int` or `list[int | None]`, defaults to 4):
            Key and value heads; each entry divides the layer's query heads.
        sliding_window (`int` or `list[int | None]`, defaults to 4096):
            How many positions, its own included, a token attends to. `None` is full attention.
        moe_intermediate_size (`int` or `list[int | None]`, defaults to 768):
            Width of each expert.
        num_experts_per_tok (`int` or `list[int | None]`, defaults to 8):
            Experts that each token goes to, at most as many as the layer has.
        num_experts (`int` or `list[int | None]`, defaults to 128):
            Experts.

    Raises:
        HeterogeneousConfigError: names every layer and size that is wrong, with what is allowed.
    """

    per_layer_sizes = {
        "intermediate_size": ("mlp_types", ("dense",)),
        "num_key_value_heads": ("mixer_types", ("attention",)),
        "sliding_window": ("mixer_types", ("attention",)),
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
    compatible_model_types = ("qwen3_moe",)
    known_fields = ("head_dim",)  # which the parent reads, and does not declare
    unread_fields = {"qwen3_moe": ("max_window_layers",)}  # Qwen3's, in every published config

    intermediate_size: int | list[int | None] = 6144
    num_key_value_heads: int | list[int | None] = 4
    sliding_window: int | list[int | None] | None = 4096
    moe_intermediate_size: int | list[int | None] = 768
    num_experts_per_tok: int | list[int | None] = 8
    num_experts: int | list[int | None] = 128

    def __post_init__(self, **kwargs):
        self.refuse(self._depth_errors() or self._list_errors())
        self.use_sliding_window = self.use_sliding_window or isinstance(self.sliding_window, list)
        if self.decoder_sparse_step < 1:
            self.refuse([f"decoder_sparse_step is {self.decoder_sparse_step}: a positive integer is needed"])
        if self.mlp_types is None:
            self.mlp_only_layers = [] if self.mlp_only_layers is None else self.mlp_only_layers
            self.mlp_types = [
                "moe"
                if (layer_idx not in self.mlp_only_layers)
                and (
                    (self._as_list("num_experts")[layer_idx] or 0) > 0
                    and (layer_idx + 1) % self.decoder_sparse_step == 0
                )
                else "dense"
                for layer_idx in range(self.num_hidden_layers)
            ]
        super().__post_init__(**kwargs)

    def normalise(self):
        HeterogeneousPreTrainedConfig.normalise(self)
        self.use_sliding_window = self.sliding_window is not None


class HeterogeneousQwen3MoeAttention(Qwen3MoeAttention):
    pass


class HeterogeneousQwen3MoeMLP(Qwen3MoeMLP):
    pass


class HeterogeneousQwen3MoeSparseMoeBlock(Qwen3MoeSparseMoeBlock):
    pass


class HeterogeneousQwen3MoeRMSNorm(Qwen3MoeRMSNorm):
    pass


class HeterogeneousQwen3MoeRotaryEmbedding(Qwen3MoeRotaryEmbedding):
    pass


class HeterogeneousQwen3MoeDecoderLayer(Qwen3MoeDecoderLayer):
    def __init__(self, config: HeterogeneousQwen3MoeConfig, layer_idx: int):
        config = config.per_layer_config[layer_idx]
        nn.Module.__init__(self)
        self.has_mixer = config.mixer_types[layer_idx] != "none"
        mlp_type = config.mlp_types[layer_idx]
        self.has_mlp = mlp_type != "none"
        self.sliding_window = config.sliding_window
        self.layer_idx = layer_idx
        if self.has_mixer:
            self.self_attn = HeterogeneousQwen3MoeAttention(config, layer_idx)
        if self.has_mlp:
            if mlp_type == "moe":
                self.mlp = HeterogeneousQwen3MoeSparseMoeBlock(config)
            elif mlp_type == "dense":
                self.mlp = HeterogeneousQwen3MoeMLP(config, intermediate_size=config.intermediate_size)
        if self.has_mixer:
            self.input_layernorm = HeterogeneousQwen3MoeRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        if self.has_mlp:
            self.post_attention_layernorm = HeterogeneousQwen3MoeRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.hidden_size = config.hidden_size

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


class HeterogeneousQwen3MoePreTrainedModel(Qwen3MoePreTrainedModel, HeterogeneousPreTrainedModel):
    renamed_like = "qwen3_moe"  # tensors have other names in published checkpoints


class HeterogeneousQwen3MoeModel(GptOssModel):  # Qwen3-MoE's, with a mask for each type of layer
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


class HeterogeneousQwen3MoeForCausalLM(Qwen3MoeForCausalLM):
    pass


class HeterogeneousQwen3MoeForSequenceClassification(Qwen3MoeForSequenceClassification):
    pass


class HeterogeneousQwen3MoeForTokenClassification(Qwen3MoeForTokenClassification):
    pass


class HeterogeneousQwen3MoeForQuestionAnswering(Qwen3MoeForQuestionAnswering):
    pass


__all__ = [
    "HeterogeneousQwen3MoeConfig",
    "HeterogeneousQwen3MoeForCausalLM",
    "HeterogeneousQwen3MoeForQuestionAnswering",
    "HeterogeneousQwen3MoeForSequenceClassification",
    "HeterogeneousQwen3MoeForTokenClassification",
    "HeterogeneousQwen3MoeModel",
    "HeterogeneousQwen3MoePreTrainedModel",
]
