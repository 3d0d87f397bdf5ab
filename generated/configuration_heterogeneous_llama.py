# Generated from modular/modular_heterogeneous_llama.py by `hetero generate`. Do not edit: change the shard and generate again.
# Parents: transformers 5.24.0; the code used of them: sha256 94ad92a52cd497ef
#
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
from huggingface_hub.dataclasses import strict

from transformers.modeling_rope_utils import RopeParameters

from .configuration_heterogeneous import HeterogeneousPreTrainedConfig


@strict
class HeterogeneousLlamaConfig(HeterogeneousPreTrainedConfig):
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
            has these sub-blocks.

    Raises:
        HeterogeneousConfigError: names every layer and size that is wrong, and what is allowed.

    ```python
    >>> from transformers_heterogeneous import HeterogeneousLlamaConfig

    >>> config = HeterogeneousLlamaConfig(num_hidden_layers=4, mixer_types=["attention", "none", "attention", "none"])
    >>> config.per_layer_config[1].skip
    ['attention']
    ```"""

    model_type = "heterogeneous_llama"
    # Default tensor parallel plan for base model `HeterogeneousLlamaModel`
    base_model_tp_plan = {
        "layers.*.self_attn.q_proj": "colwise",
        "layers.*.self_attn.k_proj": "colwise",
        "layers.*.self_attn.v_proj": "colwise",
        "layers.*.self_attn.o_proj": "rowwise",
        "layers.*.mlp.gate_proj": "colwise",
        "layers.*.mlp.up_proj": "colwise",
        "layers.*.mlp.down_proj": "rowwise",
    }
    base_model_pp_plan = {
        "embed_tokens": (["input_ids"], ["inputs_embeds"]),
        "layers": (["hidden_states", "attention_mask"], ["hidden_states"]),
        "norm": (["hidden_states"], ["hidden_states"]),
    }

    vocab_size: int = 32000
    hidden_size: int = 4096
    intermediate_size: int | list[int | None] | None = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int | list[int | None] = 32
    num_key_value_heads: int | list[int | None] | None = None
    hidden_act: str = "silu"
    max_position_embeddings: int = 2048

    initializer_range: float = 0.02  # diff with Llama: its validator imports torch.distributed
    rms_norm_eps: float = 1e-6
    use_cache: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    pretraining_tp: int | None = 1
    tie_word_embeddings: bool = False
    rope_parameters: RopeParameters | dict | None = None
    attention_bias: bool = False
    attention_dropout: int | float | None = 0.0
    mlp_bias: bool = False
    head_dim: int | None = None
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
    unread_fields = {"llama": ("layer_types", "sliding_window", "use_sliding_window")}  # of models made over to Llama
    sliding_window: int | list[int | None] | None = None

    def __post_init__(self, **kwargs):
        self.refuse(self.head_dim_errors())
        if self.head_dim is None:
            self.head_dim = self.hidden_size // self.num_attention_heads
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads

        super().__post_init__(**kwargs)


__all__ = ["HeterogeneousLlamaConfig"]
