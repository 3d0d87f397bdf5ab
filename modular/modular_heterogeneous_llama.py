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

from transformers.cache_utils import Cache, DynamicCache
from transformers.integrations import use_kernel_forward_from_hub
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
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

from .modular_fused_blocks import FusedBlocksPreTrainedModel
from .modular_heterogeneous import FusedBlocksConfig
from .modular_pretrained_model import HeterogeneousGenerationMixin


@strict
class HeterogeneousLlamaConfig(LlamaConfig, FusedBlocksConfig):
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
            has these sub-blocks. Weights are loaded from and saved to ordinary checkpoints.
        num_key_value_heads_per_layer (`list[int]`, *optional*):
            Deci's name of a list of key and value heads; read into `num_key_value_heads` and not kept.

    Raises:
        HeterogeneousConfigError: names every layer and size that is wrong, with what is allowed, and every entry of
            `per_layer_config` that cannot be expressed.

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
    adapter_targets = {
        "linear": ["q_proj", "k_proj", "v_proj", "o_proj", "linear_attn"]
        + ["gate_proj", "up_proj", "down_proj", "linear_mlp"],
        "rescaled": ["k_proj", "v_proj", "linear_attn", "down_proj", "linear_mlp"],
        "feedforward": ["down_proj", "linear_mlp"],
        "values": ["v_proj"],
        "norms": ["input_layernorm", "post_attention_layernorm", "norm"],
    }
    unread_fields = {"llama": ("layer_types", "sliding_window", "use_sliding_window")}  # of models made over to Llama

    intermediate_size: int | list[int | None] | None = 11008
    num_attention_heads: int | list[int | None] = 32
    num_key_value_heads: int | list[int | None] | None = None
    sliding_window: int | list[int | None] | None = None

    def __post_init__(self, **kwargs):
        heads = self.num_attention_heads
        if self.head_dim is None and not isinstance(heads, int):
            self.refuse(["num_attention_heads is a list: head_dim must be given, it cannot be derived"])
        if self.head_dim is None and heads <= 0:  # which upstream divides by
            self.refuse([f"num_attention_heads is {heads}: a positive integer is needed"])
        if self.head_dim is None and self.hidden_size % heads:
            what = f"num_attention_heads = {heads} does not divide hidden_size = {self.hidden_size}"
            self.refuse([f"{what}: head_dim must be given"])
        super().__post_init__(**kwargs)

    def validate_architecture(self):
        raise AttributeError("The layers are checked one by one in HeterogeneousPreTrainedConfig")


class HeterogeneousLlamaRMSNorm(LlamaRMSNorm):
    pass


class HeterogeneousLlamaRotaryEmbedding(LlamaRotaryEmbedding):
    def __init__(self, config: HeterogeneousLlamaConfig):
        config = config.with_one_number_of_heads()
        super().__init__(config)


class HeterogeneousLlamaMLP(LlamaMLP):
    def __init__(self, config: HeterogeneousLlamaConfig, layer_idx: int):
        model_config, config = config, config.per_layer_config[layer_idx]  # sizes are those of the layer
        super().__init__(config)
        self.config = model_config


@use_kernel_forward_from_hub("NormMLP")
class HeterogeneousLlamaNormMLP(HeterogeneousLlamaMLP):
    """The MLP and the norm before it, which owns its weight here: what one kernel may compute."""

    def __init__(self, config: HeterogeneousLlamaConfig, layer_idx: int):
        super().__init__(config, layer_idx)
        self.norm = HeterogeneousLlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(self.norm(x))


@use_kernel_forward_from_hub("AddRMSNorm")
class HeterogeneousLlamaAddRMSNorm(HeterogeneousLlamaRMSNorm):
    """The residual connection and the norm behind it: what one kernel may compute."""

    def forward(self, hidden_states: torch.Tensor, residual: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        residual = residual + hidden_states
        return super().forward(residual), residual


class HeterogeneousLlamaLinearMLP(nn.Module):
    """One matrix in the place of the MLP, under the name that NVIDIA's checkpoints give it."""

    def __init__(self, config: HeterogeneousLlamaConfig, layer_idx: int):
        super().__init__()
        self.linear_mlp = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear_mlp(x)


class HeterogeneousLlamaAttention(LlamaAttention):
    def __init__(self, config: HeterogeneousLlamaConfig, layer_idx: int):
        model_config, config = config, config.per_layer_config[layer_idx]  # sizes are those of the layer
        super().__init__(config, layer_idx)
        self.config = model_config  # the one that `set_attn_implementation` changes
        self.sliding_window = config.sliding_window

    def forward(
        self,
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None,
        attention_mask: torch.Tensor | None = None,
        cache: Cache | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        kwargs["sliding_window"] = self.sliding_window  # diff with Llama
        return super().forward(hidden_states, position_embeddings, attention_mask, cache, **kwargs)


class HeterogeneousLlamaLinearAttention(nn.Module):
    """One matrix in the place of attention, under the name that NVIDIA's checkpoints give it."""

    def __init__(self, config: HeterogeneousLlamaConfig, layer_idx: int):
        super().__init__()
        self.linear_attn = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(self, hidden_states: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> tuple[torch.Tensor, None]:
        return self.linear_attn(hidden_states), None


HETEROGENEOUS_LLAMA_MIXERS = {
    "attention": HeterogeneousLlamaAttention,
    "linear": HeterogeneousLlamaLinearAttention,
}
HETEROGENEOUS_LLAMA_MLPS = {
    "dense": HeterogeneousLlamaMLP,
    "linear": HeterogeneousLlamaLinearMLP,
}


class HeterogeneousLlamaDecoderLayer(LlamaDecoderLayer):
    def __init__(self, config: HeterogeneousLlamaConfig, layer_idx: int):
        nn.Module.__init__(self)
        self.hidden_size = config.hidden_size
        mixer_type, mlp_type = config.mixer_types[layer_idx], config.mlp_types[layer_idx]
        fused_block = config.fused_blocks[layer_idx] if config.fused_blocks is not None else "none"
        self.has_mixer, self.has_mlp, self.adds_in_norm = (
            mixer_type != "none",
            mlp_type != "none",
            fused_block == "add_norm",
        )

        # In the order of Llama's modules
        if self.has_mixer:
            self.self_attn = HETEROGENEOUS_LLAMA_MIXERS[mixer_type](config=config, layer_idx=layer_idx)
        if self.has_mlp:
            mlp_class = HeterogeneousLlamaNormMLP if fused_block == "norm_mlp" else HETEROGENEOUS_LLAMA_MLPS[mlp_type]
            self.mlp = mlp_class(config=config, layer_idx=layer_idx)
        if self.has_mixer:
            self.input_layernorm = HeterogeneousLlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        if self.has_mlp and fused_block == "norm_mlp":
            self.post_attention_layernorm = nn.Identity()  # the norm is the MLP's
        elif self.has_mlp:
            norm_class = HeterogeneousLlamaAddRMSNorm if self.adds_in_norm else HeterogeneousLlamaRMSNorm
            self.post_attention_layernorm = norm_class(config.hidden_size, eps=config.rms_norm_eps)

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
            if not self.adds_in_norm:
                hidden_states = residual + hidden_states

        if self.has_mlp:
            if self.adds_in_norm:
                hidden_states, residual = self.post_attention_layernorm(hidden_states, residual)
            else:
                residual = hidden_states
                hidden_states = self.post_attention_layernorm(hidden_states)
            hidden_states = self.mlp(hidden_states)
            hidden_states = residual + hidden_states
        return hidden_states


class HeterogeneousLlamaPreTrainedModel(LlamaPreTrainedModel, FusedBlocksPreTrainedModel):
    pass


class HeterogeneousLlamaModel(LlamaModel):
    def __init__(self, config: HeterogeneousLlamaConfig):
        config.check_layers()
        super().__init__(config)
        self.plan_masks(config)

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
        if (input_ids is None) ^ (inputs_embeds is not None):
            raise ValueError("You must specify exactly one of input_ids or inputs_embeds")

        if inputs_embeds is None:
            inputs_embeds: torch.Tensor = self.embed_tokens(input_ids)

        self.follow_changes(cache, use_cache)
        if use_cache and cache is None:
            cache = DynamicCache(config=self.config)

        self.fill_cache(cache)

        if position_ids is None:
            past_seen_tokens = cache.get_seq_length() if cache is not None else 0
            position_ids = torch.arange(inputs_embeds.shape[1], device=inputs_embeds.device) + past_seen_tokens
            position_ids = position_ids.unsqueeze(0)

        # `generate` prepares the masks of a compiled forward
        if not isinstance(causal_masks := attention_mask, dict):
            causal_masks = self.create_masks_for_generate(
                inputs_embeds=inputs_embeds,
                attention_mask=attention_mask,
                cache=cache,
                position_ids=position_ids,
            )

        hidden_states = inputs_embeds
        position_embeddings = self.rotary_emb(hidden_states, position_ids=position_ids)

        for decoder_layer in self.layers[: self.config.num_hidden_layers]:
            mask_name = decoder_layer.mask_name
            hidden_states = decoder_layer(
                hidden_states,
                attention_mask=None if mask_name is None else causal_masks[mask_name],
                position_embeddings=position_embeddings,
                position_ids=position_ids,
                cache=cache,
                use_cache=use_cache,
                **kwargs,
            )

        hidden_states = self.norm(hidden_states)
        return BaseModelOutputWithPast(
            last_hidden_state=hidden_states,
            cache=cache,
        )


class HeterogeneousLlamaForCausalLM(LlamaForCausalLM, HeterogeneousGenerationMixin):
    def forward(self, **super_kwargs) -> CausalLMOutputWithPast:
        r"""
        Example:

        ```python
        >>> import transformers_heterogeneous
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer

        >>> path = "nvidia/Llama-3_3-Nemotron-Super-49B-v1"
        >>> model = AutoModelForCausalLM.from_pretrained(path, device_map="auto")
        >>> tokenizer = AutoTokenizer.from_pretrained(path)

        >>> inputs = tokenizer("Layers that are not there", return_tensors="pt").to(model.device)
        >>> tokenizer.decode(model.generate(**inputs, max_new_tokens=20)[0])
        ```"""
        return super().forward(**super_kwargs)


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
