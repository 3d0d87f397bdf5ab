# Generated from modular/modular_heterogeneous_nemotron_h.py by `hetero generate`. Do not edit: change the shard and generate again.
# Parents: transformers 5.24.0; the code used of them: sha256 11ef1677462d21d3
# Code of the parents, under the Apache License 2.0:
#   Copyright 2024 The HuggingFace Inc. team. All rights reserved.
#   Copyright (c) 2025, NVIDIA CORPORATION. All rights reserved.
#
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
from huggingface_hub.dataclasses import strict

from transformers.configuration_utils import remap_legacy_layer_types
from transformers.utils import logging

from .configuration_heterogeneous import HeterogeneousPreTrainedConfig


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
class HeterogeneousNemotronHConfig(HeterogeneousPreTrainedConfig):
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
    base_model_tp_plan = {
        "embeddings": "embedding_rowwise",
        "layers.*.mixer.experts.up_proj": "colwise",
        "layers.*.mixer.experts.down_proj": "rowwise",
        "layers.*.mixer.experts": "moe_tp_experts",
    }
    base_model_ep_plan = {
        "layers.*.mixer.experts.up_proj": "grouped_gemm",
        "layers.*.mixer.experts.down_proj": "grouped_gemm",
        "layers.*.mixer.experts": "ep_dispatch_experts",
    }

    vocab_size: int = 131072
    hidden_size: int = 4096
    tie_word_embeddings: bool = False
    use_cache: bool = True
    num_logits_to_keep: int = 1
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    num_attention_heads: int = 32
    num_key_value_heads: int | list[int | None] | None = 8
    head_dim: int = 128
    max_position_embeddings: int = 4096
    attention_bias: bool = False
    attention_dropout: float | int = 0.0
    sliding_window: int | None = None
    intermediate_size: int | list[int | None] | None = 21504
    mlp_hidden_act: str = "relu2"
    mlp_bias: bool = False
    use_mamba_kernels: bool = True
    ssm_state_size: int | list[int | None] | None = 128
    mamba_num_heads: int = 128
    mamba_head_dim: int = 64
    mamba_hidden_act: str = "silu"
    n_groups: int = 8
    conv_kernel: int = 4
    expand: int = 2
    time_step_min: float = 0.001
    time_step_max: float = 0.1
    time_step_limit: list[int | float] | tuple[int | float, ...] = (0.0, float("inf"))
    time_step_floor: float = 1e-4
    use_conv_bias: bool = True
    chunk_size: int = 128
    mamba_proj_bias: bool = False
    mamba_ssm_cache_dtype: str = "float32"
    n_routed_experts: int | list[int | None] | None = 8
    output_router_logits: bool = False
    n_shared_experts: int = 1
    moe_intermediate_size: int | list[int | None] | None = 7688
    moe_shared_expert_intermediate_size: int | list[int | None] | None = 7688
    moe_latent_size: int | list[int | None] | None = None
    moe_shared_expert_overlap: bool = True
    num_experts_per_tok: int | list[int | None] | None = 2
    routed_scaling_factor: float | int = 1.0
    n_group: int = 1
    topk_group: int = 1
    norm_topk_prob: bool = True
    num_nextn_predict_layers: int = 0
    mtp_layers_block_type: list[str] | None = None
    use_bias: bool = False
    initializer_range: float = 0.02
    layer_norm_epsilon: float = 1e-5
    residual_in_fp32: bool = False
    hidden_dropout: float | int = 0.0
    rescale_prenorm_residual: bool = True
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
        super().__post_init__(**kwargs)

    @property
    def hybrid_override_pattern(self) -> str:
        """The layers in one string, for code that reads it."""
        if "none" in self.layers_block_type:
            raise AttributeError("a pattern has no character for layers with nothing in them")
        return self._list_to_pattern(self.layers_block_type)

    @property
    def mtp_hybrid_override_pattern(self) -> str:
        """
        Backward compatibility property.
        Returns the pattern string representation of mtp_layers_block_type.
        """
        return self._list_to_pattern(self.mtp_layers_block_type)

    @staticmethod
    def _list_to_pattern(layers_list: list) -> str:
        """Convert list of layer types back to pattern string (for backward compatibility)."""
        reverse_mapping = {"linear_attention": "M", "moe": "E", "full_attention": "*", "mlp": "-"}
        return "".join(reverse_mapping[layer_type] for layer_type in layers_list)

    @staticmethod
    def _pattern_to_list(pattern: str) -> list:
        """Convert pattern string to list of layer types (for backward compatibility)."""
        pattern_mapping = {"M": "linear_attention", "E": "moe", "*": "full_attention", "-": "mlp"}
        return [pattern_mapping[char] for char in pattern]

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
        super().normalise()


__all__ = ["HeterogeneousNemotronHConfig"]
