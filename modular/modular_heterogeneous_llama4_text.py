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

import transformers.initialization as init
from transformers.cache_utils import Cache
from transformers.core_model_loading import WeightRenaming
from transformers.masking_utils import find_packed_sequence_indices
from transformers.modeling_flash_attention_utils import FlashAttentionKwargs
from transformers.modeling_outputs import MoeModelOutputWithPast
from transformers.modeling_utils import PreTrainedModel
from transformers.models.llama4.configuration_llama4 import Llama4TextConfig
from transformers.models.llama4.modeling_llama4 import (
    Llama4ForCausalLM,
    Llama4PreTrainedModel,
    Llama4Router,
    Llama4TextAttention,
    Llama4TextDecoderLayer,
    Llama4TextExperts,
    Llama4TextL2Norm,
    Llama4TextMLP,
    Llama4TextModel,
    Llama4TextMoe,
    Llama4TextRMSNorm,
    Llama4TextRotaryEmbedding,
)
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, is_tracing

from .modular_heterogeneous import HeterogeneousPreTrainedConfig, HeterogeneousPreTrainedModel, LoadOnlyRenaming


@strict
class HeterogeneousLlama4TextConfig(Llama4TextConfig, HeterogeneousPreTrainedConfig):
    r"""
    Config of the text model of a Llama 4 whose layers may differ. All fields of [`Llama4TextConfig`] keep their meaning;
    those below may be lists with one entry a layer, `None` where the layer has no such sub-block. A scalar means every
    layer.

    Args:
        mixer_types (`list[str]`, *optional*):
            What mixes tokens in each layer: `"attention"` or `"none"`. `layer_types` says in which of them within chunks,
            `no_rope_layers` in which without positions.
        mlp_types (`list[str]`, *optional*):
            The feed-forward block of each layer: `"moe"` (routed experts beside a shared one), `"dense"` or `"none"`. As
            the parent's `moe_layers` by default, which follows it.
        num_attention_heads (`int` or `list[int | None]`, defaults to 40):
            Query heads.
        num_key_value_heads (`int` or `list[int | None]`, defaults to 8):
            Key and value heads; each entry divides the layer's query heads.
        intermediate_size (`int` or `list[int | None]`, defaults to 8192):
            Width of each expert, the shared one included.
        intermediate_size_mlp (`int` or `list[int | None]`, defaults to 16384):
            Width of a dense MLP.
        num_local_experts (`int` or `list[int | None]`, defaults to 16):
            Routed experts.
        num_experts_per_tok (`int` or `list[int | None]`, defaults to 1):
            Experts that each token goes to, at most as many as the layer has.

    Raises:
        HeterogeneousConfigError: names every layer and size that is wrong, with what is allowed.
    """

    model_type = "heterogeneous_llama4_text"
    attribute_map = {"num_experts": "num_local_experts"}
    per_layer_sizes = {
        "num_attention_heads": ("mixer_types", ("attention",)),
        "num_key_value_heads": ("mixer_types", ("attention",)),
        "intermediate_size": ("mlp_types", ("moe",)),
        "intermediate_size_mlp": ("mlp_types", ("dense",)),
        "num_local_experts": ("mlp_types", ("moe",)),
        "num_experts_per_tok": ("mlp_types", ("moe",)),
    }
    supported_mixer_types = ("attention", "none")
    supported_mlp_types = ("moe", "dense", "none")
    mixers_by_layer_type = {"full_attention": "attention", "chunked_attention": "attention"}
    related_sizes = (
        ("num_key_value_heads", "divides", "num_attention_heads"),
        ("num_experts_per_tok", "is at most", "num_local_experts"),
    )
    optional_per_layer_sizes = ()
    compatible_model_types = ("llama4_text",)

    num_attention_heads: int | list[int | None] = 40
    num_key_value_heads: int | list[int | None] | None = 8
    intermediate_size: int | list[int | None] = 8192
    intermediate_size_mlp: int | list[int | None] = 16384
    num_local_experts: int | list[int | None] = 16
    num_experts_per_tok: int | list[int | None] = 1

    def __post_init__(self, **kwargs):
        self.refuse(self._depth_errors() or self._interval_errors())
        if (
            self.layer_types is None and self.attention_chunk_size is None
        ):  # as the parent says it, but in older releases
            self.layer_types = ["full_attention"] * self.num_hidden_layers
        if self.mlp_types is not None:
            self.moe_layers = [layer_idx for layer_idx, mlp in enumerate(self.mlp_types) if mlp == "moe"]
        elif self.moe_layers is None:
            step = self.interleave_moe_layer_step
            self.moe_layers = list(range(step - 1, self.num_hidden_layers, step))
        if self.mlp_types is None:
            experts = set(self.moe_layers)
            self.mlp_types = ["moe" if idx in experts else "dense" for idx in range(self.num_hidden_layers)]
        if self.no_rope_layers:
            self.no_rope_layers = self.no_rope_layers[: self.num_hidden_layers]  # the parent takes more
        super().__post_init__(**kwargs)

    def _interval_errors(self) -> list[str]:
        return [
            f"{name} is {getattr(self, name)}: a positive integer is needed"
            for name in ("interleave_moe_layer_step", "no_rope_layer_interval")
            if getattr(self, name) < 1
        ]

    def _layer_lists(self) -> list[str]:
        names = HeterogeneousPreTrainedConfig._layer_lists(self)
        return [*names, "no_rope_layers"] if isinstance(self.__dict__["no_rope_layers"], list) else names

    def normalise(self):
        HeterogeneousPreTrainedConfig.normalise(self)
        self.__dict__["moe_layers"] = [idx for idx, mlp in enumerate(self.mlp_types) if mlp == "moe"]


class HeterogeneousLlama4TextMLP(Llama4TextMLP):
    pass


class HeterogeneousLlama4TextRMSNorm(Llama4TextRMSNorm):
    pass


class HeterogeneousLlama4TextExperts(Llama4TextExperts):
    pass


class HeterogeneousLlama4Router(Llama4Router):
    pass


class HeterogeneousLlama4TextMoe(Llama4TextMoe):
    pass


class HeterogeneousLlama4TextL2Norm(Llama4TextL2Norm):
    pass


class HeterogeneousLlama4TextRotaryEmbedding(Llama4TextRotaryEmbedding):
    pass


class HeterogeneousLlama4TextAttention(Llama4TextAttention):
    pass


class HeterogeneousLlama4TextDecoderLayer(Llama4TextDecoderLayer):
    def __init__(self, config, layer_idx):
        config = config.per_layer_config[layer_idx]
        nn.Module.__init__(self)
        self.has_mixer = config.mixer_types[layer_idx] != "none"
        self.has_mlp = config.mlp_types[layer_idx] != "none"
        self.hidden_size = config.hidden_size
        self.layer_idx = layer_idx
        if self.has_mixer:
            self.self_attn = HeterogeneousLlama4TextAttention(config, layer_idx)
        self.is_moe_layer = config.mlp_types[layer_idx] == "moe"
        if self.has_mlp:
            if self.is_moe_layer:  # the 128E model interleaves dense / sparse
                self.feed_forward = HeterogeneousLlama4TextMoe(config)
            else:
                self.feed_forward = HeterogeneousLlama4TextMLP(config, intermediate_size=config.intermediate_size_mlp)
        if self.has_mixer:
            self.input_layernorm = HeterogeneousLlama4TextRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        if self.has_mlp:
            self.post_attention_layernorm = HeterogeneousLlama4TextRMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        cache: Cache | None = None,
        use_cache: bool | None = False,
        position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None,
        **kwargs: Unpack[FlashAttentionKwargs],
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor] | None]:
        if self.has_mixer:
            residual = hidden_states

            hidden_states = self.input_layernorm(hidden_states)

            # Self Attention
            attention_states, _ = self.self_attn(
                hidden_states=hidden_states,
                position_embeddings=position_embeddings,
                attention_mask=attention_mask,
                cache=cache,
                use_cache=use_cache,
                **kwargs,
            )
            hidden_states = residual + attention_states

        if self.has_mlp:
            # Fully Connected
            residual = hidden_states
            hidden_states = self.post_attention_layernorm(hidden_states)
            hidden_states = self.feed_forward(hidden_states)
            if self.is_moe_layer:
                hidden_states, _ = hidden_states
            hidden_states = residual + hidden_states.view(residual.shape)

        return hidden_states


class HeterogeneousLlama4PreTrainedModel(Llama4PreTrainedModel, HeterogeneousPreTrainedModel):
    config: HeterogeneousLlama4TextConfig
    base_model_prefix = "model"  # diff with Llama4: finds its layers in a causal checkpoint
    input_modalities = ("text",)

    def _init_weights(self, module):
        PreTrainedModel._init_weights(self, module)
        if isinstance(module, HeterogeneousLlama4TextExperts):
            init.normal_(module.gate_up_proj, mean=0.0, std=self.config.initializer_range)
            init.normal_(module.down_proj, mean=0.0, std=self.config.initializer_range)

    def unfused(self, names: list[str]) -> list[WeightRenaming]:
        beside_vision = any(name.startswith("language_model.") for name in names)
        prefix = [LoadOnlyRenaming(r"^language_model\.", "")] if beside_vision else []
        return [*prefix, *HeterogeneousPreTrainedModel.unfused(self, names)]


class HeterogeneousLlama4TextModel(Llama4TextModel):
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | MoeModelOutputWithPast:
        cache = self.prepare_cache(cache, use_cache)
        if attention_mask is None and position_ids is not None and not is_tracing(position_ids):
            if (sequences := find_packed_sequence_indices(position_ids)) is not None:
                raise ValueError(
                    f"position_ids begin again: {int(sequences.max()) + 1} sequences in a row, and Llama 4 counts chunks, and "
                    "the scale of layers without positions, from the beginning of the row. Pass one sequence a row, padded, "
                    "with its attention_mask"
                )
        if inputs_embeds is None and input_ids is not None:
            input_ids, inputs_embeds = None, self.embed_tokens(input_ids)
        attention_mask = self.create_masks_for_generate(
            self.config, inputs_embeds, attention_mask, cache, position_ids
        )
        return super().forward(input_ids, attention_mask, position_ids, cache, inputs_embeds, use_cache, **kwargs)


class HeterogeneousLlama4ForCausalLM(Llama4ForCausalLM):
    base_model_prefix = "model"


__all__ = [
    "HeterogeneousLlama4TextConfig",
    "HeterogeneousLlama4ForCausalLM",
    "HeterogeneousLlama4TextModel",
    "HeterogeneousLlama4PreTrainedModel",
]
