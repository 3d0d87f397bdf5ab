# Generated from modular/modular_heterogeneous_gpt_oss.py by `hetero generate`. Do not edit: change the shard and generate again.
# Parents: transformers 5.24.0; the code used of them: sha256 74495a0e799223b4
# Code of the parents, under the Apache License 2.0:
#   Copyright 2025 The HuggingFace Team. All rights reserved.
#
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

from collections.abc import Callable
from fnmatch import fnmatchcase

import torch
from torch import nn
from torch.nn import functional as F

from transformers import initialization as init
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer
from transformers.configuration_utils import PreTrainedConfig
from transformers.conversion_mapping import get_checkpoint_conversion_mapping, register_checkpoint_conversion_mapping
from transformers.core_model_loading import WeightRenaming, WeightTransform
from transformers.generation import GenerationMixin
from transformers.integrations import use_experts_implementation, use_kernel_forward_from_hub, use_kernelized_func
from transformers.integrations.mxfp4 import Mxfp4GptOssExperts, Mxfp4GptOssMLP
from transformers.masking_utils import LAYER_PATTERN_TO_MASK_FUNCTION_MAPPING
from transformers.modeling_layers import (
    GenericForSequenceClassification,
    GenericForTokenClassification,
    GradientCheckpointingLayer,
)
from transformers.modeling_outputs import MoeCausalLMOutputWithPast, MoeModelOutputWithPast
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS, dynamic_rope_update
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel, slice_logits_to_keep
from transformers.processing_utils import Unpack
from transformers.quantizers.quantizer_mxfp4 import Mxfp4HfQuantizer
from transformers.quantizers.quantizers_utils import should_convert_module
from transformers.utils import TransformersKwargs, auto_docstring, can_return_tuple, logging
from transformers.utils.deprecation import deprecate_kwarg
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

from .configuration_heterogeneous import FusedBlocksConfig, HeterogeneousPreTrainedConfig
from .configuration_heterogeneous_gpt_oss import HeterogeneousGptOssConfig


logger = logging.get_logger(__name__)


@use_kernel_forward_from_hub("RMSNorm")
class HeterogeneousGptOssRMSNorm(nn.Module):
    def __init__(self, hidden_size, eps: float = 1e-6) -> None:
        """
        HeterogeneousGptOssRMSNorm is equivalent to T5LayerNorm
        """
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden_size))
        self.variance_epsilon = eps

    def forward(self, hidden_states) -> torch.Tensor:
        input_dtype = hidden_states.dtype
        hidden_states = hidden_states.to(torch.float32)
        variance = hidden_states.pow(2).mean(-1, keepdim=True)
        hidden_states = hidden_states * torch.rsqrt(variance + self.variance_epsilon)
        return (self.weight * hidden_states).to(input_dtype)  # main diff with Llama

    def extra_repr(self):
        return f"{tuple(self.weight.shape)}, eps={self.variance_epsilon}"


@use_experts_implementation(is_concatenated=False, is_transposed=True, has_bias=True)
class HeterogeneousGptOssExperts(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.intermediate_size = config.intermediate_size
        self.num_experts = config.num_local_experts
        self.hidden_size = config.hidden_size
        self.gate_up_proj = nn.Parameter(torch.empty(self.num_experts, self.hidden_size, 2 * self.intermediate_size))
        self.gate_up_proj_bias = nn.Parameter(torch.empty(self.num_experts, 2 * self.intermediate_size))
        self.down_proj = nn.Parameter(torch.empty((self.num_experts, self.intermediate_size, self.hidden_size)))
        self.down_proj_bias = nn.Parameter(torch.empty(self.num_experts, self.hidden_size))
        self.alpha = config.swiglu_alpha
        self.limit = config.swiglu_limit

    def _apply_gate(self, gate_up: torch.Tensor) -> torch.Tensor:
        gate, up = gate_up[..., ::2], gate_up[..., 1::2]
        gate = gate.clamp(min=None, max=self.limit)
        up = up.clamp(min=-self.limit, max=self.limit)
        glu = gate * torch.sigmoid(gate * self.alpha)
        gated_output = (up + 1) * glu
        return gated_output

    def forward(self, hidden_states: torch.Tensor, router_indices=None, routing_weights=None) -> torch.Tensor:
        next_states = torch.zeros_like(hidden_states, dtype=hidden_states.dtype, device=hidden_states.device)
        with torch.no_grad():
            expert_mask = torch.nn.functional.one_hot(
                router_indices, num_classes=self.num_experts
            )  # masking is also a class
            expert_mask = expert_mask.permute(2, 1, 0)
            # we sum on the top_k and on the sequence length to get which experts
            # are hit this time around
            expert_hit = torch.greater(expert_mask.sum(dim=(-1, -2)), 0).nonzero()
        for expert_idx in expert_hit:
            # expert_idx only have 1 element, so we can use scale for fast indexing
            expert_idx = expert_idx[0]
            # skip masking index
            if expert_idx == self.num_experts:
                continue
            top_k_pos, token_idx = torch.where(expert_mask[expert_idx])
            current_state = hidden_states[token_idx]
            gate_up = current_state @ self.gate_up_proj[expert_idx] + self.gate_up_proj_bias[expert_idx]
            gated_output = self._apply_gate(gate_up)
            out = gated_output @ self.down_proj[expert_idx] + self.down_proj_bias[expert_idx]
            weighted_output = out * routing_weights[token_idx, top_k_pos, None]
            next_states.index_add_(0, token_idx, weighted_output.to(hidden_states.dtype))

        return next_states


class HeterogeneousGptOssTopKRouter(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.top_k = config.num_experts_per_tok
        self.num_experts = config.num_local_experts
        self.hidden_dim = config.hidden_size
        self.weight = nn.Parameter(torch.zeros(self.num_experts, self.hidden_dim))
        self.bias = nn.Parameter(torch.zeros(self.num_experts))

    def forward(self, hidden_states):
        router_logits = F.linear(hidden_states, self.weight, self.bias)  # (num_tokens, num_experts)
        router_top_value, router_indices = torch.topk(router_logits, self.top_k, dim=-1)  # (num_tokens, top_k)
        router_scores = torch.nn.functional.softmax(router_top_value, dim=1, dtype=router_top_value.dtype)
        return router_logits, router_scores, router_indices


@use_kernel_forward_from_hub("MegaBlocksMoeMLP")
class HeterogeneousGptOssMLP(nn.Module):
    def __init__(self, config: HeterogeneousGptOssConfig, layer_idx: int):
        super().__init__()
        model_config, config = config, config.per_layer_config[layer_idx]  # sizes are those of the layer
        self.router = HeterogeneousGptOssTopKRouter(config)
        self.experts = HeterogeneousGptOssExperts(config)
        self.experts.config = model_config  # the one that `set_experts_implementation` changes
        self.layer_idx = layer_idx

    def forward(self, hidden_states):
        batch_size, sequence_length, hidden_dim = hidden_states.shape
        hidden_states = hidden_states.reshape(-1, hidden_dim)
        _, router_scores, router_indices = self.router(hidden_states)
        hidden_states = self.experts(hidden_states, router_indices, router_scores)
        hidden_states = hidden_states.reshape(batch_size, sequence_length, hidden_dim)
        return hidden_states, router_scores


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


def repeat_kv(hidden_states: torch.Tensor, n_rep: int) -> torch.Tensor:
    """
    This is the equivalent of torch.repeat_interleave(x, dim=1, repeats=n_rep). The hidden states go from (batch,
    num_key_value_heads, seqlen, head_dim) to (batch, num_attention_heads, seqlen, head_dim)
    """
    batch, num_key_value_heads, slen, head_dim = hidden_states.shape
    if n_rep == 1:
        return hidden_states
    hidden_states = hidden_states[:, :, None, :, :].expand(batch, num_key_value_heads, n_rep, slen, head_dim)
    return hidden_states.reshape(batch, num_key_value_heads * n_rep, slen, head_dim)


def _apply_rotary_emb(
    x: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
) -> torch.Tensor:
    first_half, second_half = torch.chunk(x, 2, dim=-1)
    first_ = first_half * cos - second_half * sin
    second_ = second_half * cos + first_half * sin
    return torch.cat((first_, second_), dim=-1)


@use_kernel_forward_from_hub("rotary_pos_emb")
def apply_rotary_pos_emb(q, k, cos, sin, unsqueeze_dim=1):
    cos = cos.unsqueeze(unsqueeze_dim)
    sin = sin.unsqueeze(unsqueeze_dim)
    q_embed = _apply_rotary_emb(q, cos, sin)
    k_embed = _apply_rotary_emb(k, cos, sin)
    return q_embed, k_embed


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float | int = 0.0,
    **kwargs,
):
    key_states = repeat_kv(key, module.num_key_value_groups)
    value_states = repeat_kv(value, module.num_key_value_groups)
    attn_weights = torch.matmul(query, key_states.transpose(2, 3)) * scaling
    if attention_mask is not None:
        attn_weights = attn_weights + attention_mask

    sinks = module.sinks.reshape(1, -1, 1, 1).expand(query.shape[0], -1, query.shape[-2], -1)
    combined_logits = torch.cat([attn_weights, sinks], dim=-1)

    # This was not in the original implementation and slightly affect results; it prevents overflow in BF16/FP16
    # when training with bsz>1 we clamp max values.

    combined_logits = combined_logits - combined_logits.max(dim=-1, keepdim=True).values
    probs = F.softmax(combined_logits, dim=-1, dtype=combined_logits.dtype)
    scores = probs[..., :-1]  # we drop the sink here
    attn_weights = nn.functional.dropout(scores, p=dropout, training=module.training).to(value_states.dtype)
    attn_output = torch.matmul(attn_weights, value_states)
    attn_output = attn_output.transpose(1, 2).contiguous()
    return attn_output, attn_weights


@use_kernelized_func(apply_rotary_pos_emb)
class HeterogeneousGptOssAttention(nn.Module):
    """Multi-headed attention from 'Attention Is All You Need' paper"""

    def __init__(self, config: HeterogeneousGptOssConfig, layer_idx: int):
        super().__init__()
        model_config, config = config, config.per_layer_config[layer_idx]  # sizes are those of the layer
        self.layer_type = config.layer_types[layer_idx] if hasattr(config, "layer_types") else None
        self.config = model_config  # the one that `set_attn_implementation` changes
        self.layer_idx = layer_idx
        self.head_dim = getattr(config, "head_dim", config.hidden_size // config.num_attention_heads)
        self.num_key_value_groups = config.num_attention_heads // config.num_key_value_heads
        self.scaling = self.head_dim**-0.5
        self.attention_dropout = config.attention_dropout
        self.is_causal = True
        self.q_proj = nn.Linear(
            config.hidden_size, config.num_attention_heads * self.head_dim, bias=config.attention_bias
        )
        self.k_proj = nn.Linear(
            config.hidden_size, config.num_key_value_heads * self.head_dim, bias=config.attention_bias
        )
        self.v_proj = nn.Linear(
            config.hidden_size, config.num_key_value_heads * self.head_dim, bias=config.attention_bias
        )
        self.o_proj = nn.Linear(
            config.num_attention_heads * self.head_dim, config.hidden_size, bias=config.attention_bias
        )
        self.sliding_window = config.sliding_window
        self.sinks = nn.Parameter(torch.empty(config.num_attention_heads))

    @deprecate_kwarg("past_key_values", "5.40.0", new_name="cache")
    def forward(
        self,
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        attention_mask: torch.Tensor | None,
        cache: Cache | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        input_shape = hidden_states.shape[:-1]
        hidden_shape = (*input_shape, -1, self.head_dim)

        query_states = self.q_proj(hidden_states).view(hidden_shape).transpose(1, 2)
        key_states = self.k_proj(hidden_states).view(hidden_shape).transpose(1, 2)
        value_states = self.v_proj(hidden_states).view(hidden_shape).transpose(1, 2)

        cos, sin = position_embeddings
        query_states, key_states = apply_rotary_pos_emb(query_states, key_states, cos, sin)

        if cache is not None:
            key_states, value_states = cache.update(key_states, value_states, self.layer_idx, kwargs=kwargs)

        attention_interface: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )

        attn_output, attn_weights = attention_interface(
            self,
            query_states,
            key_states,
            value_states,
            attention_mask,
            dropout=0.0 if not self.training else self.attention_dropout,
            scaling=self.scaling,
            sliding_window=self.sliding_window,
            s_aux=self.sinks,  # diff with Llama
            **kwargs,
        )

        attn_output = attn_output.reshape(*input_shape, -1).contiguous()
        attn_output = self.o_proj(attn_output)
        return attn_output, attn_weights


class HeterogeneousGptOssDecoderLayer(GradientCheckpointingLayer):
    def __init__(self, config: HeterogeneousGptOssConfig, layer_idx: int):
        super().__init__()
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

    @deprecate_kwarg("past_key_values", "5.40.0", new_name="cache")
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


class FusionRenaming(WeightRenaming):
    """Moves the norm into a fused block. It is saved under its own name, also when the file had it in the block."""

    __slots__ = ()

    def was_used(self) -> bool:
        return True


class LoadOnlyRenaming(WeightRenaming):
    """Reads names that are not written again."""

    __slots__ = ()

    def reverse_transform(self) -> WeightRenaming:
        return WeightRenaming("(?!)", "nothing")


class HeterogeneousPreTrainedModel(PreTrainedModel):
    # Names, as patterns, in `_keys_to_ignore_on_load_unexpected` that are to be told of -> what such tensors are
    ignored_tensors = {}
    # Transformers' own model type whose checkpoints need their tensors renamed for this family too
    renamed_like = None

    def __init__(self, config: HeterogeneousPreTrainedConfig, *inputs, **kwargs):
        if not hasattr(config, "mixer_types"):  # remote code has a copy of the class
            ours, theirs = self.config_class.__name__, type(config).__name__
            raise TypeError(
                f"{type(self).__name__} takes a {ours}, not a {theirs}: {ours}.from_dict(config.to_dict()) makes one"
            )
        super().__init__(config, *inputs, **kwargs)
        if renamings := self.renamings(config):
            # Anew for each model, which also keeps its own: another one of the family may be fused otherwise
            register_checkpoint_conversion_mapping(type(config).model_type, renamings, overwrite=True)
            self._weight_conversions = renamings

    @staticmethod
    def _load_pretrained_model(model, state_dict, checkpoint_files, load_config, expected_keys=None):
        if load_config.hf_quantizer is None or not load_config.hf_quantizer.pre_quantized:
            model.config.refuse_modelopt(load_config.pretrained_model_name_or_path, state_dict, checkpoint_files)
        loaded = PreTrainedModel._load_pretrained_model(
            model, state_dict, checkpoint_files, load_config, expected_keys
        )
        tell_of_other_sizes(loaded[0].mismatched_keys, load_config)
        return loaded

    def _adjust_missing_and_unexpected_keys(self, loading_info):
        for pattern, description in self.ignored_tensors.items():
            if any(fnmatchcase(key, pattern) for key in loading_info.unexpected_keys):
                logger.warning(f"The tensors `{pattern}` of the checkpoint are not loaded: {description}.")
        super()._adjust_missing_and_unexpected_keys(loading_info)

    def renamings(self, config: HeterogeneousPreTrainedConfig) -> list[WeightTransform]:
        """What the loader renames or stacks, and `save_pretrained` names back."""
        return get_checkpoint_conversion_mapping(self.renamed_like) or []

    def save_pretrained(self, *args, **kwargs):
        self.base_model.follow_changes()
        super().save_pretrained(*args, **kwargs)

    def fill_cache(self, cache: Cache | None):
        """Give a cache that was made without a config its layers. It would take one that does not attend, and keeps
        nothing, for one that has seen nothing."""
        if not isinstance(cache, DynamicCache):
            return
        layers = cache.layers
        if not layers:
            cache.layers = DynamicCache(config=self.config).layers
            cache.layer_class_to_replicate = None
        elif self.layers[0].mask_name is None and isinstance(layers[0], DynamicLayer):  # made from tensors
            own_layers = DynamicCache(config=self.config).layers
            for layer_idx, layer in enumerate(self.layers[: len(layers)]):
                if layer.mask_name is None:
                    layers[layer_idx] = own_layers[layer_idx]

    def follow_changes(self, cache: Cache | None = None, use_cache: bool | None = None):
        """Follow what was changed since the last forward, or since the model was built: layers that were taken out, moved
        or copied, and windows that were set."""
        if self.layer_plan.follow(self.config, self.layers, cache, use_cache):
            self.plan_masks(self.config)

    def plan_masks(self, config: HeterogeneousPreTrainedConfig):
        """Plan one mask for each distinct (kind, window) of the layers' mixers. Each layer is told its `mask_name`, `None`
        where it needs no mask, its window, and its place in the cache."""
        self.layer_plan = plan = config.layer_plan()
        self.mask_kinds = plan.mask_kinds
        for layer_idx, layer in enumerate(self.layers):
            layer.planned_idx, layer.planned_types = layer_idx, plan.types[layer_idx]
            layer.mask_name = plan.mask_names[layer_idx]
            for module in layer.children():
                if hasattr(module, "sliding_window"):
                    module.sliding_window = plan.sliding_windows[layer_idx]
            for module in layer.modules():
                if hasattr(module, "layer_idx"):
                    module.layer_idx = layer_idx

    @deprecate_kwarg("past_key_values", "5.40.0", new_name="cache")
    def create_masks_for_generate(
        self,
        inputs_embeds: torch.Tensor,
        attention_mask: torch.Tensor | None,
        cache: Cache | None,
        position_ids: torch.LongTensor | None = None,
        or_mask_function=None,
        and_mask_function=None,
        block_sequence_ids: torch.Tensor | None = None,
        **kwargs,
    ) -> dict[str, torch.Tensor | None]:
        """The masks of all layers by name. Also what `generate` calls ahead of a compiled forward."""
        plan, config = self.base_model.layer_plan, self.base_model.config
        first_layers = plan.first_layers(config.num_hidden_layers)  # `assistant_early_exit` leaves the last ones out
        masks = {}
        for name, layer_idx in first_layers.items():
            layer_type, window = plan.mask_kinds[name]
            masks[name] = LAYER_PATTERN_TO_MASK_FUNCTION_MAPPING[layer_type](
                config=config if window in (None, config.windows) else config.with_fields(sliding_window=window),
                inputs_embeds=inputs_embeds,
                attention_mask=attention_mask,
                cache=cache,
                position_ids=position_ids,
                or_mask_function=or_mask_function,
                and_mask_function=and_mask_function,
                block_sequence_ids=block_sequence_ids,
                layer_idx=layer_idx,
            )
        return masks


class FusedBlocksPreTrainedModel(HeterogeneousPreTrainedModel):
    # Where norm and MLP are fused: the norm, and the MLP into which it moves
    fused_norm = "post_attention_layernorm"
    fused_mlp = "mlp"

    def renamings(self, config: FusedBlocksConfig) -> list[WeightTransform]:
        """
        The norms of layers in which norm and MLP are fused move into the MLP, so that what is on disk is the same for
        every choice of `fused_blocks`. Where it is the fused layout, saved with `save_original_format=False`, the norms
        of all other layers are named back as they are loaded.
        """
        self.renamed_layers = config.layers_with_fused_norm()
        fused, others = ("|".join(map(str, layers)) for layers in self.renamed_layers)
        norm, moved_norm = f"{self.fused_norm}.weight", f"{self.fused_mlp}.norm.weight"
        renamings = super().renamings(config)
        if fused:
            renamings.append(FusionRenaming(rf"layers.({fused}).{norm}", rf"layers.\1.{moved_norm}"))
        if others:
            renamings.append(LoadOnlyRenaming(rf"layers.({others}).{moved_norm}", rf"layers.\1.{norm}"))
        return renamings

    def save_pretrained(self, *args, **kwargs):
        self.base_model.follow_changes()
        if self.renamed_layers != self.config.layers_with_fused_norm():  # what is named back is named by layer
            self._weight_conversions = self.renamings(self.config)
        super().save_pretrained(*args, **kwargs)


def tell_of_other_sizes(mismatched_keys: set[tuple[str, tuple, tuple]], load_config):
    """Refuse tensors of other sizes than the config says, ahead of transformers' advice to ignore them. Where that is asked
    for, say what becomes of them."""
    if not mismatched_keys:
        return
    tensors = sorted(mismatched_keys)
    lines = [
        f"{name}: {list(found)} in the checkpoint, {list(wanted)} in the model" for name, found, wanted in tensors[:8]
    ]
    said = "\n  ".join([*lines, *([f"and {len(tensors) - 8} more"] if len(tensors) > 8 else [])])
    heading = (
        f"{load_config.pretrained_model_name_or_path}: {len(tensors)} tensors have other sizes than the config says"
    )
    if load_config.ignore_mismatched_sizes:
        logger.warning(f"{heading}, and start at random, since ignore_mismatched_sizes is set:\n  {said}")
        return
    raise RuntimeError(  # as transformers does
        f"{heading}:\n  {said}\n"
        "Sizes are not sliced while loading: `per_layer_config` leaves out whole sub-blocks (`skip`), and keeps the sizes of "
        "those that stay. To narrow one, load the model as it is, cut the weights, and save it with the sizes in its "
        "config; or prune with a tool that cuts them, such as ModelOpt, whose checkpoints are read. "
        "`ignore_mismatched_sizes=True` would give these tensors random numbers."
    )


@auto_docstring
class HeterogeneousGptOssPreTrainedModel(FusedBlocksPreTrainedModel):
    config: HeterogeneousGptOssConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["HeterogeneousGptOssDecoderLayer"]
    _supports_flash_attn = True
    _supports_sdpa = False
    _supports_flex_attn = True

    _can_compile_fullgraph = True
    _supports_attention_backend = True
    _can_record_outputs = {
        "router_logits": OutputRecorder(HeterogeneousGptOssTopKRouter, index=0),
        "hidden_states": HeterogeneousGptOssDecoderLayer,
        "attentions": HeterogeneousGptOssAttention,
    }
    _compatible_flash_implementations = [
        "kernels-community/vllm-flash-attn3",
        "flash_attention_4",
        "kernels-community/metal-flash-sdpa",
        "kernels-community/aiter-flash-attn",
    ]
    _keep_in_fp32_modules_strict = ["post_attention_layernorm", "input_layernorm", "norm"]
    _keys_to_ignore_on_load_unexpected = [r"self_attn\.[qkv]_scale$"]
    ignored_tensors = {"*.self_attn.[qkv]_scale": "scales of a KV cache in FP8, for servers that have one"}

    def _init_weights(self, module):
        super()._init_weights(module)
        std = self.config.initializer_range
        if isinstance(module, HeterogeneousGptOssExperts):
            init.normal_(module.gate_up_proj, mean=0.0, std=std)
            init.zeros_(module.gate_up_proj_bias)
            init.normal_(module.down_proj, mean=0.0, std=std)
            init.zeros_(module.down_proj_bias)
        elif isinstance(module, HeterogeneousGptOssAttention):
            init.normal_(module.sinks, mean=0.0, std=std)
        elif isinstance(module, HeterogeneousGptOssTopKRouter):
            init.normal_(module.weight, mean=0.0, std=std)
            init.normal_(module.bias, mean=0.0, std=std)


class HeterogeneousGptOssRotaryEmbedding(nn.Module):
    def __init__(self, config: HeterogeneousGptOssConfig):
        super().__init__()
        self.max_seq_len_cached = config.max_position_embeddings
        self.original_max_seq_len = config.max_position_embeddings

        self.config = config

        self.rope_type = self.config.rope_parameters["rope_type"]
        rope_init_fn: Callable = self.compute_default_rope_parameters
        if self.rope_type != "default":
            rope_init_fn = ROPE_INIT_FUNCTIONS[self.rope_type]
        inv_freq, self.attention_scaling = rope_init_fn(self.config)

        self.inv_freq = nn.Buffer(inv_freq, persistent=False)
        self.original_inv_freq = nn.Buffer(inv_freq.clone(), persistent=False)

    @staticmethod
    def compute_default_rope_parameters(config: HeterogeneousGptOssConfig, **kwargs) -> tuple[torch.Tensor, float]:
        """
        Computes the inverse frequencies according to the original RoPE implementation
        Args:
            config ([`~transformers.PreTrainedConfig`]):
                The model configuration.
        Returns:
            Tuple of (`torch.Tensor`, `float`), containing the inverse frequencies for the RoPE embeddings and the
            post-processing scaling factor applied to the computed cos/sin (unused in this type of RoPE).
        """
        base = config.rope_parameters["rope_theta"]
        dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads

        attention_factor = 1.0  # Unused in this type of RoPE
        # Compute the inverse frequencies
        inv_freq = 1.0 / (base ** (torch.arange(0, dim, 2, dtype=torch.float) / dim))
        return inv_freq, attention_factor

    @dynamic_rope_update  # power user: used with advanced RoPE types (e.g. dynamic rope)
    def forward(self, x, position_ids):
        freqs = position_ids[..., None].float() * self.inv_freq.to(device=x.device, dtype=torch.float)
        emb = freqs
        cos = emb.cos() * self.attention_scaling
        sin = emb.sin() * self.attention_scaling

        return cos.to(x.dtype), sin.to(x.dtype)


@auto_docstring
class HeterogeneousGptOssModel(HeterogeneousGptOssPreTrainedModel):
    def __init__(self, config: HeterogeneousGptOssConfig):
        config.check_layers()
        super().__init__(config)
        self.padding_idx = config.pad_token_id
        self.vocab_size = config.vocab_size

        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, self.padding_idx)
        self.layers = nn.ModuleList(
            [HeterogeneousGptOssDecoderLayer(config, layer_idx) for layer_idx in range(config.num_hidden_layers)]
        )
        self.norm = HeterogeneousGptOssRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.rotary_emb = HeterogeneousGptOssRotaryEmbedding(config=config)
        self.gradient_checkpointing = False
        self.plan_masks(config)

        # Initialize weights and apply final processing
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs
    @auto_docstring
    @deprecate_kwarg("past_key_values", "5.40.0", new_name="cache")
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


class HeterogeneousGenerationMixin(GenerationMixin):
    def init_continuous_batching(self, *args, **kwargs):
        self.config.refuse_continuous_batching()
        return super().init_continuous_batching(*args, **kwargs)

    def _prepare_cache_for_generation(self, generation_config, model_kwargs, *args, **kwargs):
        use_cache = generation_config.use_cache is not False
        self.base_model.follow_changes(model_kwargs.get("cache"), use_cache)
        if use_cache:
            self.config.refuse_cached_generation()
        return super()._prepare_cache_for_generation(generation_config, model_kwargs, *args, **kwargs)

    def _get_candidate_generator(self, generation_config, *args, **kwargs):
        if generation_config.assistant_early_exit is not None:
            self.config.refuse_early_exit(generation_config.assistant_early_exit)
        return super()._get_candidate_generator(generation_config, *args, **kwargs)


def load_balancing_loss_func(
    gate_logits: torch.Tensor | tuple[torch.Tensor] | None,
    num_experts: int | None = None,
    top_k=2,
    attention_mask: torch.Tensor | None = None,
) -> torch.Tensor | int:
    r"""
    Computes auxiliary load balancing loss as in Switch Transformer - implemented in Pytorch.

    See Switch Transformer (https://huggingface.co/papers/2101.03961) for more details. This function implements the loss
    function presented in equations (4) - (6) of the paper. It aims at penalizing cases where the routing between
    experts is too unbalanced.

    Args:
        gate_logits:
            Logits from the `gate`, should be a tuple of model.config.num_hidden_layers tensors of
            shape [batch_size X sequence_length, num_experts].
        num_experts:
            Number of experts
        top_k:
            The number of experts to route per-token, can be also interpreted as the `top-k` routing
            parameter.
        attention_mask (`torch.Tensor`, *optional*):
            The attention_mask used in forward function
            shape [batch_size X sequence_length] if not None.

    Returns:
        The auxiliary loss.
    """
    if gate_logits is None or not isinstance(gate_logits, tuple):
        return 0

    # Accumulate assignment counts and probability sums layer by layer, normalizing at the end,
    # so peak memory stays O(seq_len * num_experts) regardless of the number of layers.
    compute_device = gate_logits[0].device
    # Use histc to avoid bincount's device-to-host sync.
    # GPU requires integers for determinism; CPU and MPS require floats for support and determinism.
    histc_dtype = torch.float32 if compute_device.type in ("cpu", "mps") else torch.int32
    tokens_per_expert_sum = torch.zeros(num_experts, dtype=torch.float32, device=compute_device)
    router_prob_sum = torch.zeros(num_experts, dtype=torch.float32, device=compute_device)
    total_rows = 0.0

    if attention_mask is not None:
        # The same flat mask applies to every layer's [batch_size * sequence_length] rows.
        flat_mask = attention_mask.reshape(-1).to(device=compute_device, dtype=torch.float32)

    for layer_gate in gate_logits:
        routing_weights = torch.nn.functional.softmax(layer_gate.to(compute_device), dim=-1)
        _, selected_experts = torch.topk(routing_weights, top_k, dim=-1)
        if attention_mask is None:
            # Count top-k assignments with fixed bounds to avoid a device-to-host sync.
            tokens_per_expert_sum = tokens_per_expert_sum + torch.histc(
                selected_experts.reshape(-1).to(histc_dtype), bins=num_experts, min=0, max=num_experts
            )
            # Sum of routing probabilities per expert
            router_prob_sum = router_prob_sum + routing_weights.float().sum(dim=0)
            total_rows = total_rows + routing_weights.shape[0]
        else:
            # Same reductions, weighted by the attention mask to exclude padding tokens
            tokens_per_expert_sum = tokens_per_expert_sum + torch.zeros(
                num_experts, dtype=torch.float32, device=compute_device
            ).scatter_add_(0, selected_experts.reshape(-1), flat_mask.repeat_interleave(top_k))
            router_prob_sum = router_prob_sum + (routing_weights.float() * flat_mask.unsqueeze(-1)).sum(dim=0)
            total_rows = total_rows + flat_mask.sum()

    tokens_per_expert = tokens_per_expert_sum / total_rows
    router_prob_per_expert = router_prob_sum / total_rows

    overall_loss = torch.sum(tokens_per_expert * router_prob_per_expert.unsqueeze(0))
    return overall_loss * num_experts


def layered_load_balancing_loss(
    router_logits: tuple[torch.Tensor, ...], config: PreTrainedConfig, attention_mask: torch.Tensor | None = None
) -> torch.Tensor:
    """
    The load-balancing loss: the parents', over the layers together, where these have the same number of experts and of
    experts per token; else the mean of the layers' own.

    Args:
        router_logits: of the layers with experts only, each of shape (batch_size * sequence_length, num_experts).
        config: the model's.
        attention_mask: (batch_size, sequence_length); what is padding does not count.
    """
    num_experts, top_k = config.num_local_experts, config.num_experts_per_tok
    if isinstance(num_experts, int) and isinstance(top_k, int):
        return load_balancing_loss_func(router_logits, num_experts, top_k, attention_mask)
    sizes = zip(config.layer_sizes("num_local_experts"), config.layer_sizes("num_experts_per_tok"))
    layers = [layer for layer in sizes if None not in layer]
    losses = [
        load_balancing_loss_func((layer_logits,), layer_experts, layer_top_k, attention_mask)
        for layer_logits, (layer_experts, layer_top_k) in zip(router_logits, layers)
    ]
    return torch.stack([loss.to(losses[0].device) for loss in losses]).mean()


@auto_docstring
class HeterogeneousGptOssForCausalLM(HeterogeneousGptOssPreTrainedModel, HeterogeneousGenerationMixin):
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}
    _tp_plan = {"lm_head": "colwise_gather_output"}
    _pp_plan = {"lm_head": (["hidden_states"], ["logits"])}
    _fsdp_plan = {"lm_head": "keep_full_weight"}

    def __init__(self, config: HeterogeneousGptOssConfig):
        super().__init__(config)
        self.model = HeterogeneousGptOssModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.router_aux_loss_coef = config.router_aux_loss_coef
        self.num_experts = config.num_local_experts
        self.num_experts_per_tok = config.num_experts_per_tok

        # Initialize weights and apply final processing
        self.post_init()

    @can_return_tuple
    @auto_docstring
    @deprecate_kwarg("past_key_values", "5.40.0", new_name="cache")
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


class HeterogeneousGptOssForSequenceClassification(
    GenericForSequenceClassification, HeterogeneousGptOssPreTrainedModel
):
    pass


class HeterogeneousGptOssForTokenClassification(GenericForTokenClassification, HeterogeneousGptOssPreTrainedModel):
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
    "HeterogeneousGptOssForCausalLM",
    "HeterogeneousGptOssForSequenceClassification",
    "HeterogeneousGptOssForTokenClassification",
    "HeterogeneousGptOssModel",
    "HeterogeneousGptOssMxfp4HfQuantizer",
    "HeterogeneousGptOssPreTrainedModel",
]
