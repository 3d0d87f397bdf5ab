# Generated from modular/modular_heterogeneous_qwen3_next.py by `hetero generate`. Do not edit: change the shard and generate again.
# Parents: transformers 5.24.0; the code used of them: sha256 177fab2ba19eb082
# Code of the parents, under the Apache License 2.0:
#   Copyright 2025 The Qwen team, Alibaba Group and the HuggingFace Inc. team. All rights reserved.
#
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
class HeterogeneousQwen3NextConfig(HeterogeneousPreTrainedConfig):
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

    model_type = "heterogeneous_qwen3_next"

    base_model_tp_plan = {
        "layers.*.self_attn.q_proj": "colwise",
        "layers.*.self_attn.k_proj": "colwise",
        "layers.*.self_attn.v_proj": "colwise",
        "layers.*.self_attn.q_norm": "replicated_with_grad_allreduce",
        "layers.*.self_attn.k_norm": "replicated_with_grad_allreduce",
        "layers.*.self_attn.o_proj": "rowwise",
        "layers.*.mlp.experts.gate_up_proj": "packed_colwise",
        "layers.*.mlp.experts.down_proj": "rowwise",
        "layers.*.mlp.shared_expert.gate_proj": "colwise",
        "layers.*.mlp.shared_expert.up_proj": "colwise",
        "layers.*.mlp.shared_expert.down_proj": "rowwise",
        "layers.*.mlp.experts": "moe_tp_experts",
        "layers.*.mlp.gate_proj": "colwise",
        "layers.*.mlp.up_proj": "colwise",
        "layers.*.mlp.down_proj": "rowwise",
        "layers.*.linear_attn.in_proj_qkvz": "colwise_gather_output",
        "layers.*.linear_attn.in_proj_ba": "colwise_gather_output",
        "layers.*.linear_attn.out_proj": "colwise_gather_output",
    }
    base_model_pp_plan = {
        "embed_tokens": (["input_ids"], ["inputs_embeds"]),
        "layers": (["hidden_states", "attention_mask"], ["hidden_states"]),
        "norm": (["hidden_states"], ["hidden_states"]),
    }
    base_model_ep_plan = {
        "layers.*.mlp.experts.gate_up_proj": "grouped_gemm",
        "layers.*.mlp.experts.down_proj": "grouped_gemm",
        "layers.*.mlp.experts": "ep_dispatch_experts",
    }

    vocab_size: int = 151936
    hidden_size: int = 2048

    intermediate_size: int | list[int | None] = 5632
    num_hidden_layers: int = 48
    num_attention_heads: int | list[int | None] = 16
    num_key_value_heads: int | list[int | None] = 2
    hidden_act: str = "silu"
    max_position_embeddings: int = 32768
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    use_cache: bool = True
    tie_word_embeddings: bool = False
    rope_parameters: RopeParameters | dict | None = None
    attention_bias: bool = False
    attention_dropout: float | int = 0.0
    head_dim: int = 256
    linear_conv_kernel_dim: int = 4
    linear_key_head_dim: int = 128
    linear_value_head_dim: int = 128
    linear_num_key_heads: int = 16
    linear_num_value_heads: int | list[int | None] = 32
    decoder_sparse_step: int = 1
    moe_intermediate_size: int | list[int | None] = 512
    shared_expert_intermediate_size: int | list[int | None] = 512
    num_experts_per_tok: int | list[int | None] = 10
    num_experts: int | list[int | None] = 512
    norm_topk_prob: bool = True
    output_router_logits: bool = False
    router_aux_loss_coef: float = 0.001
    mlp_only_layers: list[int] | None = None
    layer_types: list[str] | None = None
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

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
        kwargs.setdefault("partial_rotary_factor", 0.25)  # assign default for BC
        self.mlp_only_layers = [] if self.mlp_only_layers is None else self.mlp_only_layers
        if self.layer_types is None:
            interval_pattern = kwargs.pop("full_attention_interval", 4)
            self.layer_types = [
                "linear_attention" if bool((i + 1) % interval_pattern) else "full_attention"
                for i in range(self.num_hidden_layers)
            ]

        super().__post_init__(**kwargs)


__all__ = ["HeterogeneousQwen3NextConfig"]
