# Generated from modular/modular_heterogeneous_gpt_oss.py by `hetero generate`. Do not edit: change the shard and generate again.
# Parents: transformers 5.24.0, modeling_heterogeneous_llama.py; the code used of them: sha256 67ec3a570d353ee7
# Code of the parents, under the Apache License 2.0:
#   Copyright 2025 The HuggingFace Team. All rights reserved.
#   Copyright 2022 EleutherAI and the HuggingFace Inc. team. All rights reserved.
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

from huggingface_hub.dataclasses import strict

from .configuration_heterogeneous import HeterogeneousPreTrainedConfig


@strict
class HeterogeneousGptOssConfig(HeterogeneousPreTrainedConfig):
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
            the residual connection before it) or `"none"`. One name means every layer that has these sub-blocks.

    Raises:
        HeterogeneousConfigError: names every layer and size that is wrong, and what is allowed.

    ```python
    >>> from transformers_heterogeneous import HeterogeneousGptOssConfig

    >>> config = HeterogeneousGptOssConfig(num_hidden_layers=4, num_local_experts=[128, 64, 64, 32])
    >>> config.per_layer_config[3].num_local_experts
    32
    ```"""

    model_type = "heterogeneous_gpt_oss"
    base_model_tp_plan = {"embed_tokens": "embedding_rowwise"}
    attribute_map = {
        "num_experts": "num_local_experts",
    }
    default_theta = 150000.0
    base_model_pp_plan = {
        "embed_tokens": (["input_ids"], ["inputs_embeds"]),
        "layers": (["hidden_states", "attention_mask"], ["hidden_states"]),
        "norm": (["hidden_states"], ["hidden_states"]),
    }
    base_model_ep_plan = {
        "layers.*.mlp.experts.gate_up_proj": "grouped_gemm",
        "layers.*.mlp.experts.gate_up_proj_bias": "grouped_gemm",
        "layers.*.mlp.experts.down_proj": "grouped_gemm",
        "layers.*.mlp.experts.down_proj_bias": "grouped_gemm",
        "layers.*.mlp.experts": "ep_dispatch_experts",
    }

    num_hidden_layers: int = 36

    num_local_experts: int | list[int | None] = 128
    vocab_size: int = 201088
    hidden_size: int = 2880
    intermediate_size: int | list[int | None] = 2880
    head_dim: int = 64
    num_attention_heads: int = 64
    num_key_value_heads: int | list[int | None] | None = 8
    sliding_window: int | list[int | None] | None = 128
    tie_word_embeddings: bool = False
    hidden_act: str = "silu"
    initializer_range: float = 0.02
    max_position_embeddings: int = 131072
    rms_norm_eps: float = 1e-5
    rope_parameters: dict | None = None
    attention_dropout: float | int = 0.0
    num_experts_per_tok: int | list[int | None] = 4
    swiglu_alpha: float = 1.702
    swiglu_limit: float = 7.0
    router_aux_loss_coef: float = 0.001
    output_router_logits: bool = False
    use_cache: bool = True
    layer_types: list[str] | None = None
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    attention_bias: bool = True
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
    base_model_fsdp_plan = {
        "embed_tokens": "free_full_weight",
        "layers.*": "free_full_weight",
        "norm": "free_full_weight",  # diff with gpt-oss: not in one group with `lm_head`, which has another dtype
    }

    def __post_init__(self, **kwargs):
        self.refuse(self._depth_errors())
        windows = self.sliding_window
        if self.layer_types is None and isinstance(windows, list) and len(windows) == self.num_hidden_layers:
            self.layer_types = ["full_attention" if window is None else "sliding_attention" for window in windows]
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads

        self.head_dim = self.head_dim if self.head_dim is not None else self.hidden_size // self.num_attention_heads
        if self.layer_types is None:
            self.layer_types = [
                "sliding_attention" if bool((i + 1) % 2) else "full_attention" for i in range(self.num_hidden_layers)
            ]

        if self.rope_parameters is None:
            self.rope_parameters = {
                "rope_type": "yarn",
                "factor": 32.0,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "truncate": False,
                "original_max_position_embeddings": 4096,
            }
        super().__post_init__(**kwargs)


__all__ = ["HeterogeneousGptOssConfig"]
