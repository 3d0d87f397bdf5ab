# Copyright 2024-2025 NVIDIA Corporation and The HuggingFace Inc. team. All rights reserved.
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
from transformers.configuration_utils import remap_legacy_layer_types
from transformers.core_model_loading import MergeModulelist, WeightConverter, WeightTransform
from transformers.modeling_outputs import MoeModelOutputWithPast
from transformers.models.nemotron_h.configuration_nemotron_h import NemotronHConfig
from transformers.models.nemotron_h.modeling_nemotron_h import (
    MIXER_TYPES,
    NemotronHBlock,
    NemotronHForCausalLM,
    NemotronHModel,
    NemotronHPreTrainedModel,
    NemotronHRMSNorm,
)
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, logging

from .modular_heterogeneous import (
    HeterogeneousPreTrainedConfig,
    HeterogeneousPreTrainedModel,
    LoadOnlyRenaming,
)


logger = logging.get_logger(__name__)

# What transformers calls a layer -> its mixer, its MLP
BLOCK_TYPES = {
    "linear_attention": ("mamba", "none"),
    "full_attention": ("attention", "none"),
    "moe": ("none", "moe"),
    "mlp": ("none", "dense"),
    "none": ("none", "none"),
}
BLOCK_NAMES = {layer: name for name, layer in BLOCK_TYPES.items()}
# Fields that ask for what these layers do not do -> the values that do not
INEXPRESSIBLE_FIELDS = {
    "sliding_window": (None,),
    "attention_bias": (None, False),
    "residual_in_fp32": (None, False),
}


@strict
class HeterogeneousNemotronHConfig(NemotronHConfig, HeterogeneousPreTrainedConfig):
    r"""
    Config of a Nemotron-H whose layers may differ. A layer has one sub-block: a mixer, an MLP, or neither. All fields of
    [`NemotronHConfig`] keep their meaning; those below may be lists with one entry a layer, `None` where the layer has no
    such sub-block. A scalar means every layer.

    Args:
        num_hidden_layers (`int`, *optional*):
            As many as the lists have entries by default.
        mixer_types (`list[str]`, *optional*):
            What mixes tokens in each layer: `"mamba"`, `"attention"` or `"none"`.
        mlp_types (`list[str]`, *optional*):
            The feed-forward block of each layer: `"moe"`, `"dense"` or `"none"`, always `"none"` in a layer with a mixer.
        num_key_value_heads (`int` or `list[int | None]`, defaults to 8):
            Key and value heads; each entry divides the query heads.
        ssm_state_size (`int` or `list[int | None]`, defaults to 128):
            State of the mamba layers.
        intermediate_size (`int` or `list[int | None]`, defaults to 21504):
            Width of a dense MLP.
        n_routed_experts (`int` or `list[int | None]`, defaults to 8):
            Routed experts, at least two in each of the `n_group` groups.
        num_experts_per_tok (`int` or `list[int | None]`, defaults to 2):
            Experts that a token is routed to, at most as many as `topk_group` groups have.
        moe_intermediate_size (`int` or `list[int | None]`, defaults to 7688):
            Width of one routed expert.
        moe_latent_size (`int` or `list[int | None]`, *optional*):
            Width of what the routed experts read and write. `None` is `hidden_size`, without a projection.
        moe_shared_expert_intermediate_size (`int` or `list[int | None]`, defaults to 7688):
            Width of the shared expert.

    Raises:
        HeterogeneousConfigError: names every layer and size that is wrong, and what is allowed.

    ```python
    >>> from transformers_heterogeneous import HeterogeneousNemotronHConfig

    >>> config = HeterogeneousNemotronHConfig(
    ...     mixer_types=["mamba", "none", "attention", "none"],
    ...     mlp_types=["none", "moe", "none", "moe"],
    ...     n_routed_experts=[None, 8, None, 4],
    ... )
    >>> config.per_layer_config[3].n_routed_experts
    4
    ```"""

    model_type = "heterogeneous_nemotron_h"
    attribute_map = {"num_local_experts": "n_routed_experts"}
    per_layer_sizes = {
        "num_key_value_heads": ("mixer_types", ("attention",)),
        "ssm_state_size": ("mixer_types", ("mamba",)),
        "intermediate_size": ("mlp_types", ("dense",)),
        "n_routed_experts": ("mlp_types", ("moe",)),
        "num_experts_per_tok": ("mlp_types", ("moe",)),
        "moe_intermediate_size": ("mlp_types", ("moe",)),
        "moe_latent_size": ("mlp_types", ("moe",)),
        "moe_shared_expert_intermediate_size": ("mlp_types", ("moe",)),
    }
    optional_per_layer_sizes = ("moe_latent_size",)
    supported_mixer_types = ("mamba", "attention", "none")
    supported_mlp_types = ("moe", "dense", "none")
    # In whatever list: a name that is not what the layer has is refused
    skippable = {
        "mixer": {"mixer_types": ("mamba", "attention"), "mlp_types": ("moe", "dense")},  # the module's name
        "attention": {"mixer_types": ("attention",), "mlp_types": ()},
        "mamba": {"mixer_types": ("mamba",), "mlp_types": ()},
        "mlp": {"mixer_types": (), "mlp_types": ("dense", "moe")},
        "moe": {"mixer_types": (), "mlp_types": ("moe",)},
    }
    related_sizes = (
        ("num_key_value_heads", "divides", "num_attention_heads"),
        ("num_experts_per_tok", "is at most", "n_routed_experts"),
        ("n_group", "divides", "n_routed_experts"),
        ("topk_group", "is at most", "n_group"),
    )
    sharded_sizes = {"ep_size": ("n_routed_experts",)}  # widths are also split unevenly, heads not at all
    compatible_model_types = ("nemotron_h",)

    num_hidden_layers: int | None = None
    time_step_limit: list[int | float] | tuple[int | float, ...] = (0.0, float("inf"))
    num_key_value_heads: int | list[int | None] | None = 8
    intermediate_size: int | list[int | None] | None = 21504
    ssm_state_size: int | list[int | None] | None = 128
    n_routed_experts: int | list[int | None] | None = 8
    num_experts_per_tok: int | list[int | None] | None = 2
    moe_intermediate_size: int | list[int | None] | None = 7688
    moe_latent_size: int | list[int | None] | None = None
    moe_shared_expert_intermediate_size: int | list[int | None] | None = 7688

    def __post_init__(self, layers_block_type: list[str] | None = None, **kwargs):
        if self.mixer_types is None and self.mlp_types is None:
            self.layers_block_type = layers_block_type or ["linear_attention", "moe", "full_attention", "mlp"]
        elif layers_block_type is not None:
            self.refuse(["layers_block_type is given beside mixer_types and mlp_types: give one of them"])
        nothing = ["none"] * len(self.mixer_types or self.mlp_types or ())
        self.mixer_types, self.mlp_types = self.mixer_types or nothing, self.mlp_types or nothing
        if self.num_hidden_layers is None:
            self.num_hidden_layers = len(nothing)
        if self.mtp_layers_block_type is None:
            self.mtp_layers_block_type = ["full_attention", "moe"]
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads
        limits = self.time_step_limit
        if len(limits) != 2 or not all(isinstance(limit, int | float) for limit in limits):
            self.refuse([f"time_step_limit is {limits!r}: two numbers are needed"])
        self.time_step_limit = [float(limit) for limit in limits]
        HeterogeneousPreTrainedConfig.__post_init__(self, **kwargs)

    @property
    def layers_block_type(self) -> list[str]:
        """The layers in one list, as transformers names them; `"none"` is a layer without a sub-block."""
        return [BLOCK_NAMES.get(layer, "none") for layer in zip(self.mixer_types, self.mlp_types)]

    @layers_block_type.setter
    def layers_block_type(self, block_types: list[str]):
        block_types = remap_legacy_layer_types([str(name) for name in block_types])
        errors = [
            f"layers_block_type[{layer_idx}] is {name!r}, allowed are {list(BLOCK_TYPES)}"
            for layer_idx, name in enumerate(block_types)
            if name not in BLOCK_TYPES
        ]
        self.refuse(errors)
        layers = [BLOCK_TYPES[name] for name in block_types]
        self.mixer_types, self.mlp_types = [mixer for mixer, _ in layers], [mlp for _, mlp in layers]

    def skipped_sub_blocks(self) -> list[list[str]]:
        return [["mixer"] if mixer == mlp == "none" else [] for mixer, mlp in zip(self.mixer_types, self.mlp_types)]

    def _type_errors(self) -> list[str]:
        layers = enumerate(zip(self.mixer_types, self.mlp_types))
        groups = ("n_group", "topk_group", "n_groups")
        return [
            *super()._type_errors(),
            *(f"{name} is {getattr(self, name)}, at least 1 is needed" for name in groups if getattr(self, name) < 1),
            *(
                f"{name} = {getattr(self, name)!r} is not what these layers do, only {list(allowed)}"
                for name, allowed in INEXPRESSIBLE_FIELDS.items()
                if getattr(self, name) not in allowed
            ),
            *(
                f"layer {layer_idx} has a mixer, {mixer!r}, and an MLP, {mlp!r}: one sub-block a layer, so one is 'none'"
                for layer_idx, (mixer, mlp) in layers
                if "none" not in (mixer, mlp)
            ),
        ]

    def _relation_errors(self) -> list[str]:
        errors, wrong = super()._relation_errors(), {}
        num_groups, topk_group = max(self.n_group, 1), self.topk_group
        layers = zip(self.layer_sizes("n_routed_experts"), self.layer_sizes("num_experts_per_tok"))
        for layer_idx, (num_experts, top_k) in enumerate(layers):
            num_in_group = (num_experts or 0) // num_groups
            message = f"n_routed_experts = {num_experts} in n_group = {num_groups} groups"
            if num_experts and num_in_group < 2:
                message += ": the router rates a group by its best two experts"
                wrong.setdefault(message, []).append(layer_idx)
            elif num_experts and top_k and num_experts >= top_k > topk_group * num_in_group:
                message += f": the topk_group = {topk_group} best have less than num_experts_per_tok = {top_k}"
                wrong.setdefault(message, []).append(layer_idx)
        return errors + [f"layers {layers}: {message}" for message, layers in wrong.items()]

    def normalise(self):
        if self.tie_word_embeddings:
            logger.warning(
                "tie_word_embeddings is True and taken for False: a Nemotron-H has a head of its own. A checkpoint without "
                "lm_head.weight was saved tied, by 0.1.0 of this package: put a copy of model.embeddings.weight there."
            )
            self.tie_word_embeddings = False  # what the models do, which have no such tie in transformers either
        HeterogeneousPreTrainedConfig.normalise(self)

    def validate_layer_type(self):
        raise AttributeError("The layers are checked in HeterogeneousPreTrainedConfig")

    @property
    def hybrid_override_pattern(self) -> str:
        """The layers in one string, for code that reads it."""
        if "none" in self.layers_block_type:
            raise AttributeError("a pattern has no character for layers with nothing in them")
        return self._list_to_pattern(self.layers_block_type)


class ExpertsConverter(WeightConverter):
    """Stacks the experts of a layer. They are saved one by one, also when they were stacked in the file."""

    __slots__ = ()

    def was_used(self) -> bool:
        return True


class HeterogeneousNemotronHRMSNorm(NemotronHRMSNorm):
    pass


class HeterogeneousNemotronHBlock(NemotronHBlock):
    """
    A layer: a norm and one sub-block, which is mamba, attention, an MLP or experts, or nothing at all.
    """

    def __init__(self, config: HeterogeneousNemotronHConfig, layer_idx: int):
        config = config.per_layer_config[layer_idx]
        nn.Module.__init__(self)
        self.config = config
        self.layer_idx = layer_idx
        self.block_type = BLOCK_NAMES[config.mixer_types[layer_idx], config.mlp_types[layer_idx]]
        if self.block_type != "none":
            self.norm = HeterogeneousNemotronHRMSNorm(config.hidden_size, eps=config.layer_norm_epsilon)
            self.mixer = MIXER_TYPES[self.block_type](config, layer_idx=layer_idx)

    def forward(
        self,
        hidden_states: torch.Tensor,
        cache: Cache | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        use_cache: bool | None = False,
        **kwargs: Unpack[TransformersKwargs],
    ) -> torch.Tensor:
        if self.block_type == "none":
            return hidden_states
        return super().forward(hidden_states, cache, attention_mask, position_ids, use_cache, **kwargs)


class HeterogeneousNemotronHPreTrainedModel(NemotronHPreTrainedModel, HeterogeneousPreTrainedModel):
    ignored_tensors = {"mtp.*": "layers of multi-token prediction, which this family does not build"}
    # diff with NemotronH, which rounds the parameters of the recurrence
    _keep_in_fp32_modules_strict = ["e_score_correction_bias", "gate.weight", "A_log", "D"]

    def renamings(self, config: HeterogeneousNemotronHConfig) -> list[WeightTransform]:
        prefix = LoadOnlyRenaming(r"^backbone\.", "model.")  # of older checkpoints
        experts = [
            ExpertsConverter(f"mixer.experts.*.{name}.weight", f"mixer.experts.{name}", [MergeModulelist(dim=0)])
            for name in ("up_proj", "down_proj")
        ]
        return [prefix, *experts, *super().renamings(config)]


class HeterogeneousNemotronHModel(NemotronHModel):
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        inputs_embeds: torch.LongTensor | None = None,
        position_ids: torch.LongTensor | None = None,
        cache: Cache | None = None,
        use_cache: bool | None = None,
        attention_mask: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | MoeModelOutputWithPast:
        cache = self.prepare_cache(cache, use_cache)
        self.refuse_packed_rows(position_ids, attention_mask, kwargs.get("seq_idx"))
        if inputs_embeds is None and input_ids is not None:
            input_ids, inputs_embeds = None, self.embeddings(input_ids)
        attention_mask = self.create_masks_for_generate(
            self.config, inputs_embeds, attention_mask, cache, position_ids
        )
        return super().forward(input_ids, inputs_embeds, position_ids, cache, use_cache, attention_mask, **kwargs)


class HeterogeneousNemotronHForCausalLM(NemotronHForCausalLM):
    pass

    def create_masks_for_generate(self):
        raise AttributeError("See HeterogeneousPreTrainedModel")


__all__ = [
    "HeterogeneousNemotronHConfig",
    "HeterogeneousNemotronHForCausalLM",
    "HeterogeneousNemotronHModel",
    "HeterogeneousNemotronHPreTrainedModel",
]
