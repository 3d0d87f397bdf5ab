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
from transformers.models.qwen3_next.configuration_qwen3_next import Qwen3NextConfig
from transformers.models.qwen3_next.modeling_qwen3_next import (
    Qwen3NextAttention,
    Qwen3NextDecoderLayer,
    Qwen3NextForCausalLM,
    Qwen3NextForQuestionAnswering,
    Qwen3NextForSequenceClassification,
    Qwen3NextForTokenClassification,
    Qwen3NextGatedDeltaNet,
    Qwen3NextMLP,
    Qwen3NextModel,
    Qwen3NextPreTrainedModel,
    Qwen3NextRMSNorm,
    Qwen3NextRotaryEmbedding,
    Qwen3NextSparseMoeBlock,
)
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs

from .modular_heterogeneous import (
    HeterogeneousPreTrainedConfig,
    HeterogeneousPreTrainedModel,
    load_balancing_loss_func,  # noqa: F401  (in the place of the parent's)
)


@strict
class HeterogeneousQwen3NextConfig(Qwen3NextConfig, HeterogeneousPreTrainedConfig):
    r"""
    Config of a Qwen3Next whose layers may differ. All fields of [`Qwen3NextConfig`] keep their meaning; those below
    may be lists with one entry a layer, `None` where the layer has no such sub-block. A scalar means every layer.

    Args:
        mixer_types (`list[str]`, *optional*):
            What mixes tokens in each layer: `"attention"`, `"mamba"` (a gated delta net) or `"none"`. Follows `layer_types`
            by default.
        mlp_types (`list[str]`, *optional*):
            The feed-forward block of each layer: `"moe"`, `"dense"` or `"none"`. As the parent's by default.
        intermediate_size (`int` or `list[int | None]`, defaults to 5632):
            Width of the MLP.
        num_attention_heads (`int` or `list[int | None]`, defaults to 16):
            Query heads.
        num_key_value_heads (`int` or `list[int | None]`, defaults to 2):
            Key and value heads; each entry divides the layer's query heads.
        linear_num_value_heads (`int` or `list[int | None]`, defaults to 32):
            Value heads of a delta net, a multiple of its key heads.
        moe_intermediate_size (`int` or `list[int | None]`, defaults to 512):
            Width of each expert.
        shared_expert_intermediate_size (`int` or `list[int | None]`, defaults to 512):
            Width of the shared expert.
        num_experts_per_tok (`int` or `list[int | None]`, defaults to 10):
            Experts that each token goes to, at most as many as the layer has.
        num_experts (`int` or `list[int | None]`, defaults to 512):
            Experts.

    Raises:
        HeterogeneousConfigError: names every layer and size that is wrong, with what is allowed.
    """

    # The other sizes of delta nets are one for all of them: shapes tell them only together
    per_layer_sizes = {
        "intermediate_size": ("mlp_types", ("dense",)),
        "num_attention_heads": ("mixer_types", ("attention",)),
        "num_key_value_heads": ("mixer_types", ("attention",)),
        "linear_num_value_heads": ("mixer_types", ("mamba",)),
        "moe_intermediate_size": ("mlp_types", ("moe",)),
        "shared_expert_intermediate_size": ("mlp_types", ("moe",)),
        "num_experts_per_tok": ("mlp_types", ("moe",)),
        "num_experts": ("mlp_types", ("moe",)),
    }
    supported_mixer_types = ("attention", "mamba", "none")
    supported_mlp_types = ("moe", "dense", "none")
    attribute_map = {"num_local_experts": "num_experts"}
    known_fields = ("full_attention_interval",)
    skippable = {
        "attention": {"mixer_types": ("attention",)},
        "mamba": {"mixer_types": ("mamba",)},
        "mlp": {"mlp_types": ("moe", "dense")},
    }
    related_sizes = (
        ("num_key_value_heads", "divides", "num_attention_heads"),
        ("linear_num_key_heads", "divides", "linear_num_value_heads"),
        ("num_experts_per_tok", "is at most", "num_experts"),
    )
    sharded_sizes = {"tp_size": ("num_attention_heads", "num_key_value_heads"), "ep_size": ("num_experts",)}
    optional_per_layer_sizes = ()
    compatible_model_types = ("qwen3_next",)

    intermediate_size: int | list[int | None] = 5632
    num_attention_heads: int | list[int | None] = 16
    num_key_value_heads: int | list[int | None] = 2
    linear_num_value_heads: int | list[int | None] = 32
    moe_intermediate_size: int | list[int | None] = 512
    shared_expert_intermediate_size: int | list[int | None] = 512
    num_experts_per_tok: int | list[int | None] = 10
    num_experts: int | list[int | None] = 512

    def __post_init__(self, **kwargs):
        self.refuse(self._depth_errors() or self._list_errors())
        if self.decoder_sparse_step < 1:
            self.refuse([f"decoder_sparse_step is {self.decoder_sparse_step}: a positive integer is needed"])
        if self.layer_types is None and self.mixer_types is not None:
            self.layer_types = [
                "linear_attention" if mixer == "mamba" else "full_attention" for mixer in self.mixer_types
            ]
        if self.mlp_types is None:
            self.mlp_only_layers = [] if self.mlp_only_layers is None else self.mlp_only_layers
            sparse = [
                (num_experts or 0) > 0
                and layer_idx not in self.mlp_only_layers
                and (layer_idx + 1) % self.decoder_sparse_step == 0
                for layer_idx, num_experts in enumerate(self._as_list("num_experts"))
            ]
            self.mlp_types = ["moe" if is_sparse else "dense" for is_sparse in sparse]
        super().__post_init__(**kwargs)


class HeterogeneousQwen3NextRotaryEmbedding(Qwen3NextRotaryEmbedding):
    def __init__(self, config: HeterogeneousQwen3NextConfig):
        config = config.per_layer_config[0]  # query heads may be a list
        super().__init__(config)


class HeterogeneousQwen3NextRMSNorm(Qwen3NextRMSNorm):
    pass


class HeterogeneousQwen3NextAttention(Qwen3NextAttention):
    pass


class HeterogeneousQwen3NextGatedDeltaNet(Qwen3NextGatedDeltaNet):
    pass


class HeterogeneousQwen3NextMLP(Qwen3NextMLP):
    pass


class HeterogeneousQwen3NextSparseMoeBlock(Qwen3NextSparseMoeBlock):
    pass


class HeterogeneousQwen3NextDecoderLayer(Qwen3NextDecoderLayer):
    def __init__(self, config: HeterogeneousQwen3NextConfig, layer_idx: int):
        config = config.per_layer_config[layer_idx]
        nn.Module.__init__(self)
        mixer_type, mlp_type = config.mixer_types[layer_idx], config.mlp_types[layer_idx]
        self.has_mixer, self.has_mlp = mixer_type != "none", mlp_type != "none"
        self.layer_idx = layer_idx
        self.hidden_size = config.hidden_size
        self.block_type = config.layer_types[layer_idx]
        if mixer_type == "mamba":
            self.linear_attn = HeterogeneousQwen3NextGatedDeltaNet(config, layer_idx)
        elif mixer_type == "attention":
            self.self_attn = HeterogeneousQwen3NextAttention(config, layer_idx)
        if mlp_type == "moe":
            self.mlp = HeterogeneousQwen3NextSparseMoeBlock(config)
        elif mlp_type == "dense":
            self.mlp = HeterogeneousQwen3NextMLP(config, intermediate_size=config.intermediate_size)
        if self.has_mixer:
            self.input_layernorm = HeterogeneousQwen3NextRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        if self.has_mlp:
            self.post_attention_layernorm = HeterogeneousQwen3NextRMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(
        self,
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        cache: Cache | None = None,
        **kwargs: Unpack[FlashAttentionKwargs],
    ) -> torch.Tensor:
        if self.has_mixer:
            residual = hidden_states
            hidden_states = self.input_layernorm(hidden_states)
            # Token Mixer
            if self.block_type == "linear_attention":
                hidden_states = self.linear_attn(
                    hidden_states=hidden_states,
                    cache=cache,
                    attention_mask=attention_mask,
                    **kwargs,
                )
            elif self.block_type == "full_attention":
                # Self Attention
                hidden_states, _ = self.self_attn(
                    hidden_states=hidden_states,
                    attention_mask=attention_mask,
                    position_ids=position_ids,
                    cache=cache,
                    position_embeddings=position_embeddings,
                    **kwargs,
                )
            hidden_states = residual + hidden_states

        if self.has_mlp:
            # Fully Connected
            residual = hidden_states
            hidden_states = self.post_attention_layernorm(hidden_states)
            hidden_states = self.mlp(hidden_states)
            # For the MoE layers, we need to unpack
            if isinstance(hidden_states, tuple):
                hidden_states, _ = hidden_states
            hidden_states = residual + hidden_states

        return hidden_states


class HeterogeneousQwen3NextPreTrainedModel(Qwen3NextPreTrainedModel, HeterogeneousPreTrainedModel):
    ignored_tensors = {"mtp.*": "layers of multi-token prediction, which this family does not build"}
    renamed_like = "qwen3_next"  # tensors have other names in published checkpoints


class HeterogeneousQwen3NextModel(Qwen3NextModel):
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
        self.refuse_packed_rows(position_ids, attention_mask, kwargs.get("seq_idx"))
        if kwargs.get("seq_idx") is not None and kwargs.get("cu_seq_lens_q") is None:
            raise ValueError(
                "seq_idx without cu_seq_lens_q: the convolution of a delta net reads the one, its state the other, and "
                "would be carried from one sequence into the next. DataCollatorWithFlattening makes both "
                "(return_seq_idx=True, return_flash_attn_kwargs=True)"
            )
        if inputs_embeds is None and input_ids is not None:
            input_ids, inputs_embeds = None, self.embed_tokens(input_ids)
        attention_mask = self.create_masks_for_generate(
            self.config, inputs_embeds, attention_mask, cache, position_ids
        )
        return super().forward(input_ids, attention_mask, position_ids, cache, inputs_embeds, use_cache, **kwargs)


class HeterogeneousQwen3NextForCausalLM(Qwen3NextForCausalLM):
    pass


class HeterogeneousQwen3NextForSequenceClassification(Qwen3NextForSequenceClassification):
    pass


class HeterogeneousQwen3NextForTokenClassification(Qwen3NextForTokenClassification):
    pass


class HeterogeneousQwen3NextForQuestionAnswering(Qwen3NextForQuestionAnswering):
    pass


__all__ = [
    "HeterogeneousQwen3NextConfig",
    "HeterogeneousQwen3NextForCausalLM",
    "HeterogeneousQwen3NextForQuestionAnswering",
    "HeterogeneousQwen3NextForSequenceClassification",
    "HeterogeneousQwen3NextForTokenClassification",
    "HeterogeneousQwen3NextModel",
    "HeterogeneousQwen3NextPreTrainedModel",
]
