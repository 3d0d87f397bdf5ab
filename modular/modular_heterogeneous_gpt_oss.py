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

from transformers.cache_utils import Cache, DynamicCache
from transformers.integrations import use_kernel_forward_from_hub
from transformers.integrations.mxfp4 import Mxfp4GptOssExperts, Mxfp4GptOssMLP
from transformers.modeling_outputs import MoeCausalLMOutputWithPast, MoeModelOutputWithPast
from transformers.modeling_utils import PreTrainedModel, slice_logits_to_keep
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
from transformers.quantizers.quantizer_mxfp4 import Mxfp4HfQuantizer
from transformers.quantizers.quantizers_utils import should_convert_module
from transformers.utils import TransformersKwargs, logging

from .modular_fused_blocks import FusedBlocksPreTrainedModel
from .modular_heterogeneous import FusedBlocksConfig
from .modular_moe import layered_load_balancing_loss
from .modular_pretrained_model import HeterogeneousGenerationMixin


@strict
class HeterogeneousGptOssConfig(GptOssConfig, FusedBlocksConfig):
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
            the residual connection before it) or `"none"`. One name means every layer that has these sub-blocks. Weights
            are loaded from and saved to ordinary checkpoints.

    Raises:
        HeterogeneousConfigError: names every layer and size that is wrong, with what is allowed, and every entry of
            `per_layer_config` that cannot be expressed.

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
    adapter_targets = {  # experts are no modules: `target_parameters` reaches them
        "linear": ["q_proj", "k_proj", "v_proj", "o_proj"],
        "rescaled": ["k_proj", "v_proj"],
        "feedforward": [],
        "values": ["v_proj"],
        "norms": ["input_layernorm", "post_attention_layernorm", "norm"],
    }
    base_model_fsdp_plan = {
        "embed_tokens": "free_full_weight",
        "layers.*": "free_full_weight",
        "norm": "free_full_weight",  # diff with gpt-oss: not in one group with `lm_head`, which has another dtype
    }

    layer_types = AttributeError()  # computed
    num_local_experts: int | list[int | None] = 128
    intermediate_size: int | list[int | None] = 2880
    num_key_value_heads: int | list[int | None] | None = 8
    sliding_window: int | list[int | None] | None = 128
    num_experts_per_tok: int | list[int | None] = 4

    def __post_init__(self, layer_types: list[str] | None = None, **kwargs):
        self.refuse(self._depth_errors())
        self.layer_types = layer_types
        windows = self.sliding_window
        if self.layer_types is None and isinstance(windows, list) and len(windows) == self.num_hidden_layers:
            self.layer_types = ["full_attention" if window is None else "sliding_attention" for window in windows]
        super().__post_init__(**kwargs)


class HeterogeneousGptOssRMSNorm(GptOssRMSNorm):
    pass


class HeterogeneousGptOssMLP(GptOssMLP):
    def __init__(self, config: HeterogeneousGptOssConfig, layer_idx: int):
        model_config, config = config, config.per_layer_config[layer_idx]  # sizes are those of the layer
        super().__init__(config)
        self.experts.config = model_config  # the one that `set_experts_implementation` changes
        self.layer_idx = layer_idx


@use_kernel_forward_from_hub("NormMLP")  # instead of the experts' own, "MegaBlocksMoeMLP"
class HeterogeneousGptOssNormMLP(HeterogeneousGptOssMLP):
    """The experts and the norm before them, which owns its weight here: what one kernel may compute."""

    def __init__(self, config: HeterogeneousGptOssConfig, layer_idx: int):
        super().__init__(config, layer_idx)
        self.norm = HeterogeneousGptOssRMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(self, hidden_states):
        return super().forward(self.norm(hidden_states))


@use_kernel_forward_from_hub("AddRMSNorm")
class HeterogeneousGptOssAddRMSNorm(HeterogeneousGptOssRMSNorm):
    """The residual connection and the norm behind it: what one kernel may compute."""

    def forward(self, hidden_states: torch.Tensor, residual: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        residual = residual + hidden_states
        return super().forward(residual), residual


class HeterogeneousGptOssAttention(GptOssAttention):
    def __init__(self, config: HeterogeneousGptOssConfig, layer_idx: int):
        model_config, config = config, config.per_layer_config[layer_idx]  # sizes are those of the layer
        super().__init__(config, layer_idx)
        self.config = model_config  # the one that `set_attn_implementation` changes
        self.sliding_window = config.sliding_window


class HeterogeneousGptOssDecoderLayer(GptOssDecoderLayer):
    def __init__(self, config: HeterogeneousGptOssConfig, layer_idx: int):
        nn.Module.__init__(self)
        self.hidden_size = config.hidden_size
        self.has_mixer = config.mixer_types[layer_idx] != "none"
        self.has_mlp = config.mlp_types[layer_idx] != "none"
        fused_block = config.fused_blocks[layer_idx] if config.fused_blocks is not None else "none"
        self.adds_in_norm = fused_block == "add_norm"

        # In the order of gpt-oss's modules
        if self.has_mixer:
            self.self_attn = HeterogeneousGptOssAttention(config=config, layer_idx=layer_idx)
        if self.has_mlp:
            mlp_class = HeterogeneousGptOssNormMLP if fused_block == "norm_mlp" else HeterogeneousGptOssMLP
            self.mlp = mlp_class(config, layer_idx)
        if self.has_mixer:
            self.input_layernorm = HeterogeneousGptOssRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        if fused_block == "norm_mlp":
            self.post_attention_layernorm = nn.Identity()  # the norm is the MLP's
        elif self.has_mlp:
            norm_class = HeterogeneousGptOssAddRMSNorm if self.adds_in_norm else HeterogeneousGptOssRMSNorm
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
            hidden_states, _ = self.mlp(hidden_states)
            hidden_states = residual + hidden_states
        return hidden_states


class HeterogeneousGptOssPreTrainedModel(GptOssPreTrainedModel, FusedBlocksPreTrainedModel):
    # diff with gpt-oss, which keeps them only when float16 is asked for
    _keep_in_fp32_modules = AttributeError()
    _keep_in_fp32_modules_strict = ["post_attention_layernorm", "input_layernorm", "norm"]
    _keys_to_ignore_on_load_unexpected = [r"self_attn\.[qkv]_scale$"]
    ignored_tensors = {"*.self_attn.[qkv]_scale": "scales of a KV cache in FP8, for servers that have one"}


class HeterogeneousGptOssModel(GptOssModel):
    def __init__(self, config: HeterogeneousGptOssConfig):
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
    ) -> MoeModelOutputWithPast:
        if (input_ids is None) ^ (inputs_embeds is not None):
            raise ValueError("You must specify exactly one of input_ids or inputs_embeds")

        self.follow_changes(cache, use_cache)
        if use_cache and cache is None:
            cache = DynamicCache(config=self.config)

        self.fill_cache(cache)

        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)

        if position_ids is None:
            past_seen_tokens = cache.get_seq_length() if cache is not None else 0
            position_ids = torch.arange(inputs_embeds.shape[1], device=inputs_embeds.device) + past_seen_tokens
            position_ids = position_ids.unsqueeze(0)

        # It may already have been prepared by e.g. `generate`
        if not isinstance(causal_mask_mapping := attention_mask, dict):
            causal_mask_mapping = self.create_masks_for_generate(
                inputs_embeds=inputs_embeds,
                attention_mask=attention_mask,
                cache=cache,
                position_ids=position_ids,  # diff with gpt-oss: they may begin again, where another sequence does
            )

        hidden_states = inputs_embeds
        position_embeddings = self.rotary_emb(hidden_states, position_ids)

        for decoder_layer in self.layers[: self.config.num_hidden_layers]:
            mask_name = decoder_layer.mask_name
            hidden_states = decoder_layer(
                hidden_states,
                attention_mask=None if mask_name is None else causal_mask_mapping[mask_name],
                position_embeddings=position_embeddings,
                position_ids=position_ids,
                cache=cache,
                use_cache=use_cache,
                **kwargs,
            )
        hidden_states = self.norm(hidden_states)
        return MoeModelOutputWithPast(
            last_hidden_state=hidden_states,
            cache=cache,
        )


class HeterogeneousGptOssForCausalLM(GptOssForCausalLM, HeterogeneousGenerationMixin):
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        output_router_logits: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MoeCausalLMOutputWithPast:
        r"""
        Example:

        ```python
        >>> import transformers_heterogeneous
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer

        >>> path = "nvidia/gpt-oss-puzzle-88B"
        >>> model = AutoModelForCausalLM.from_pretrained(path, device_map="auto")
        >>> tokenizer = AutoTokenizer.from_pretrained(path)

        >>> inputs = tokenizer("Half of the experts left", return_tensors="pt").to(model.device)
        >>> tokenizer.decode(model.generate(**inputs, max_new_tokens=20)[0])
        ```"""

        output_router_logits = (
            output_router_logits if output_router_logits is not None else self.config.output_router_logits
        )

        outputs: MoeModelOutputWithPast = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            cache=cache,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            output_router_logits=output_router_logits,
            **kwargs,
        )

        hidden_states = outputs.last_hidden_state
        hidden_states = slice_logits_to_keep(hidden_states, logits_to_keep)
        logits = self.lm_head(hidden_states)

        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, self.vocab_size, **kwargs)

        aux_loss = None
        if output_router_logits and outputs.router_logits:  # diff with gpt-oss: there may be no layer with experts
            aux_loss = layered_load_balancing_loss(outputs.router_logits, self.config, attention_mask)
            if labels is not None:
                loss += self.router_aux_loss_coef * aux_loss.to(loss.device)  # make sure to reside in the same device

        return MoeCausalLMOutputWithPast(
            loss=loss,
            aux_loss=aux_loss,
            logits=logits,
            cache=outputs.cache,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            router_logits=outputs.router_logits,
        )


class HeterogeneousGptOssForSequenceClassification(GptOssForSequenceClassification):
    pass


class HeterogeneousGptOssForTokenClassification(GptOssForTokenClassification):
    pass


class HeterogeneousGptOssMxfp4HfQuantizer(Mxfp4HfQuantizer):
    """MXFP4 experts with the sizes of their layer; for every other model, what transformers' own quantizer does."""

    quant_method = "mxfp4"

    def _process_model_before_weight_loading(self, model: PreTrainedModel, **kwargs):
        if not isinstance(model, HeterogeneousGptOssPreTrainedModel):
            return super()._process_model_before_weight_loading(model, **kwargs)

        upstream_logger = logging.get_logger("transformers.integrations.mxfp4")
        upstream_logger.disabled = True  # it would warn that it knows none of the experts
        try:
            super()._process_model_before_weight_loading(model, **kwargs)
        finally:
            upstream_logger.disabled = False
        if self.quantization_config.dequantize:
            return

        mlps = {
            name: module
            for name, module in model.named_modules()
            if isinstance(module, HeterogeneousGptOssMLP)
            and should_convert_module(f"{name}.experts", self.modules_to_not_convert)
        }
        fused = [module.layer_idx for module in mlps.values() if isinstance(module, HeterogeneousGptOssNormMLP)]
        if fused:
            raise ValueError(
                f"fused_blocks is 'norm_mlp' in layers {fused}, whose experts are to stay packed as MXFP4: they have a "
                "kernel of their own. Choose 'none' or 'add_norm' there, or Mxfp4Config(dequantize=True)"
            )
        for name, module in mlps.items():
            with torch.device("meta"):
                experts = Mxfp4GptOssExperts(model.config.per_layer_config[module.layer_idx])
                model.set_submodule(name, Mxfp4GptOssMLP(module.router, experts))

    def remove_quantization_config(self, model: PreTrainedModel):
        super().remove_quantization_config(model)
        if isinstance(model, HeterogeneousGptOssPreTrainedModel):
            # What is saved is dequantised; the renamings registered for the family may be those of another model by now
            model._weight_conversions = model.renamings(model.config)


__all__ = [
    "HeterogeneousGptOssConfig",
    "HeterogeneousGptOssForCausalLM",
    "HeterogeneousGptOssForSequenceClassification",
    "HeterogeneousGptOssForTokenClassification",
    "HeterogeneousGptOssModel",
    "HeterogeneousGptOssMxfp4HfQuantizer",
    "HeterogeneousGptOssPreTrainedModel",
]
