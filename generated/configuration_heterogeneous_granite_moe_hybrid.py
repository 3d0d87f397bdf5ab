# Generated from modular/modular_heterogeneous_granite_moe_hybrid.py by `hetero generate`. Do not edit: change the shard and generate again.
# Parents: transformers 5.24.0, modeling_heterogeneous_llama.py; the code used of them: sha256 b9e1cdd5b1cc473a
# Code of the parents, under the Apache License 2.0:
#   Copyright 2022 EleutherAI and the HuggingFace Inc. team. All rights reserved.
#
# Copyright 2025 IBM and the HuggingFace Inc. team. All rights reserved.
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

from transformers.modeling_rope_utils import RopeParameters

from .configuration_heterogeneous import HeterogeneousPreTrainedConfig


@strict
class HeterogeneousGraniteMoeHybridConfig(HeterogeneousPreTrainedConfig):
    r"""
    Config of a Granite 4 hybrid whose layers may differ. All fields of [`GraniteMoeHybridConfig`] keep their meaning;
    those below may be lists with one entry a layer, `None` where the layer has no such sub-block. A scalar means every
    layer.

    Args:
        mixer_types (`list[str]`, *optional*):
            What mixes tokens in each layer: `"mamba"`, `"attention"` or `"none"`. Follows `layer_types` by default, and
            without it all are `"mamba"`.
        mlp_types (`list[str]`, *optional*):
            The feed-forward block of each layer: `"moe"` (routed experts beside a shared MLP), `"dense"` (the shared MLP
            alone) or `"none"`. By default `"moe"`, and `"dense"` where `num_local_experts` is 0 or `None`.
        num_key_value_heads (`int` or `list[int | None]`, *optional*):
            Key and value heads; each entry divides the query heads. As many as query heads by default.
        num_local_experts (`int` or `list[int | None]`, defaults to 8):
            Routed experts.
        num_experts_per_tok (`int` or `list[int | None]`, defaults to 2):
            Experts that a token is routed to, at most as many as the layer has.
        intermediate_size (`int` or `list[int | None]`, defaults to 11008):
            Width of one routed expert. `grouped_mm`, the default implementation of the experts, needs rows of a multiple
            of 16 bytes, in bfloat16 a multiple of 8; `batched_mm` and `eager` take every width.
        shared_intermediate_size (`int` or `list[int | None]`, defaults to 1024):
            Width of the shared MLP.
        fused_blocks (`str` or `list[str]`, *optional*):
            What is computed in one module, which a kernel may replace: `"norm_mlp"` (the MLP and the norm before it, in
            `"dense"` layers; in `"moe"` layers that norm feeds the experts too), `"add_norm"` (that norm and the residual
            connection before it) or `"none"`. One name means every layer that has these sub-blocks.
        layers_block_type (`list[str]`, *optional*):
            The name of `layer_types` in published checkpoints, with entries `"mamba"` and `"attention"`.

    Raises:
        HeterogeneousConfigError: names every layer and size that is wrong, and what is allowed.

    ```python
    >>> from transformers_heterogeneous import HeterogeneousGraniteMoeHybridConfig

    >>> config = HeterogeneousGraniteMoeHybridConfig(num_hidden_layers=3, num_local_experts=[8, 16, None])
    >>> config.per_layer_config[1].num_local_experts, config.mlp_types
    (16, ['moe', 'moe', 'dense'])
    ```"""

    model_type = "heterogeneous_granite_moe_hybrid"
    attribute_map = {"layers_block_type": "layer_types", "num_experts": "num_local_experts"}
    base_model_tp_plan = {
        "layers.*.block_sparse_moe.experts.gate_up_proj": "packed_colwise",
        "layers.*.block_sparse_moe.experts.down_proj": "rowwise",
        "layers.*.block_sparse_moe.experts": "moe_tp_experts",
    }
    base_model_ep_plan = {
        "layers.*.block_sparse_moe.experts.gate_up_proj": "grouped_gemm",
        "layers.*.block_sparse_moe.experts.down_proj": "grouped_gemm",
        "layers.*.block_sparse_moe.experts": "ep_dispatch_experts",
    }

    vocab_size: int = 32000
    hidden_size: int = 4096

    intermediate_size: int | list[int | None] | None = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int | list[int | None] | None = None
    hidden_act: str = "silu"
    max_position_embeddings: int = 2048
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    use_cache: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    tie_word_embeddings: bool = False
    rope_parameters: RopeParameters | dict | None = None
    attention_bias: bool = False
    attention_dropout: float | int | None = 0.0
    embedding_multiplier: int | float | None = 1.0
    logits_scaling: int | float | None = 1.0
    residual_multiplier: int | float | None = 1.0
    attention_multiplier: int | float | None = 1.0
    num_local_experts: int | list[int | None] | None = 8
    num_experts_per_tok: int | list[int | None] | None = 2
    output_router_logits: bool | None = False
    router_aux_loss_coef: float | None = 0.001
    shared_intermediate_size: int | list[int | None] | None = 1024
    position_embedding_type: str | None = None
    layer_types: list[str] | None = None
    mamba_n_heads: int | None = 128
    mamba_n_groups: int | None = 1
    mamba_d_state: int | None = 256
    mamba_d_head: int | str | None = "auto"
    mamba_d_conv: int | None = 4
    mamba_expand: int | None = 2
    mamba_chunk_size: int | None = 256
    mamba_conv_bias: bool | None = True
    mamba_proj_bias: bool | None = False
    time_step_limit: list[float, float] | tuple[float, float] | None = (0.0, float("inf"))
    per_layer_sizes = {
        "num_key_value_heads": ("mixer_types", ("attention",)),
        "num_local_experts": ("mlp_types", ("moe",)),
        "num_experts_per_tok": ("mlp_types", ("moe",)),
        "intermediate_size": ("mlp_types", ("moe",)),
        "shared_intermediate_size": ("mlp_types", ("moe", "dense")),
    }
    supported_mixer_types = ("mamba", "attention", "none")
    supported_mlp_types = ("moe", "dense", "none")
    skippable = {
        "attention": {"mixer_types": ("attention",)},
        "mamba": {"mixer_types": ("mamba",)},
        "mlp": {"mlp_types": ("moe", "dense")},
        "moe": {"mlp_types": ("moe",)},
    }
    related_sizes = (
        ("num_key_value_heads", "divides", "num_attention_heads"),
        ("num_experts_per_tok", "is at most", "num_local_experts"),
    )
    sharded_sizes = {"ep_size": ("num_local_experts",)}  # widths are also split unevenly
    fusable = {
        "norm_mlp": (("mamba", "attention", "none"), ("dense",)),  # in a "moe" layer the norm feeds two sub-blocks
        "add_norm": (("mamba", "attention"), ("moe", "dense")),
    }
    compatible_model_types = ("granitemoehybrid",)

    def __post_init__(self, layers_block_type: list[str] | None = None, **kwargs):
        self.refuse(self.number_errors() or self._depth_errors())  # the parent computes with them
        if self.layer_types is not None and layers_block_type not in (None, self.layer_types):
            self.refuse([f"layers_block_type = {layers_block_type} is not layer_types = {self.layer_types}"])
        self.layer_types = layers_block_type if self.layer_types is None else self.layer_types
        if self.layer_types is None and self.mixer_types is not None:
            attends = [mixer == "attention" for mixer in self.mixer_types]
            self.layer_types = ["full_attention" if attending else "linear_attention" for attending in attends]
        if self.mlp_types is None:
            self.mlp_types = ["moe" if num else "dense" for num in self._as_list("num_local_experts")]
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads

        mamba_intermediate = self.mamba_expand * self.hidden_size
        if self.mamba_d_head == "auto":
            self.mamba_d_head = mamba_intermediate // self.mamba_n_heads

        self.time_step_limit = tuple(self.time_step_limit) if self.time_step_limit is not None else None
        if self.layer_types is None:
            self.layer_types = ["linear_attention"] * self.num_hidden_layers

        super().__post_init__(**kwargs)

    def _relation_errors(self) -> list[str]:
        errors = super()._relation_errors()
        head_dim, rest = divmod(self.mamba_expand * self.hidden_size, self.mamba_n_heads or 1)  # none is said already
        if rest:
            errors.append("mamba_n_heads must divide mamba_expand * hidden_size")
        elif self.mamba_d_head != head_dim:
            what = "mamba_expand * hidden_size / mamba_n_heads"
            errors.append(f"mamba_d_head is {self.mamba_d_head!r}, and {what} is {head_dim}")
        return errors


__all__ = ["HeterogeneousGraniteMoeHybridConfig"]
