# Generated from modular/modular_heterogeneous_mistral.py by `hetero generate`. Do not edit: change the shard and generate again.
# Parents: transformers 5.24.0, modeling_heterogeneous_qwen2.py; the code used of them: sha256 26a4657f7a74fd02
# Code of the parents, under the Apache License 2.0:
#   Copyright 2023 Mistral AI and the HuggingFace Inc. team. All rights reserved.
#   Copyright 2024 The Qwen team, Alibaba Group and the HuggingFace Inc. team. All rights reserved.
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
from transformers.utils import logging

from .configuration_heterogeneous import HeterogeneousPreTrainedConfig


logger = logging.get_logger(__name__)


@strict
class HeterogeneousMistralConfig(HeterogeneousPreTrainedConfig):
    r"""
    Config of a Mistral whose layers may differ. All fields of [`MistralConfig`] keep their meaning; those below may be
    lists with one entry a layer, `None` where the layer has no such sub-block. A scalar means every layer.

    Args:
        mixer_types (`list[str]`, *optional*):
            What mixes tokens in each layer: `"attention"` or `"none"`.
        mlp_types (`list[str]`, *optional*):
            The feed-forward block of each layer: `"dense"` or `"none"`.
        intermediate_size (`int` or `list[int | None]`, defaults to 14336):
            Width of the MLP.
        num_attention_heads (`int` or `list[int | None]`, defaults to 32):
            Query heads. As a list it needs an explicit `head_dim`.
        num_key_value_heads (`int` or `list[int | None]`, defaults to 8):
            Key and value heads; each entry divides the layer's query heads.
        sliding_window (`int` or `list[int | None]`, defaults to 4096):
            How many positions, its own included, a token attends to. `None` is full attention.

    Raises:
        HeterogeneousConfigError: names every layer and size that is wrong, with what is allowed.
    """

    model_type = "heterogeneous_mistral"
    # Default tensor parallel plan for base model `HeterogeneousMistralModel`
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

    intermediate_size: int | list[int | None] = 14336
    num_hidden_layers: int = 32
    num_attention_heads: int | list[int | None] = 32
    num_key_value_heads: int | list[int | None] = 8
    head_dim: int | None = None
    hidden_act: str = "silu"
    max_position_embeddings: int = 4096 * 32
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    use_cache: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    tie_word_embeddings: bool = False
    rope_parameters: RopeParameters | dict | None = None
    sliding_window: int | list[int | None] | None = 4096
    attention_dropout: float | int = 0.0

    per_layer_sizes = {
        "intermediate_size": ("mlp_types", ("dense",)),
        "num_attention_heads": ("mixer_types", ("attention",)),
        "num_key_value_heads": ("mixer_types", ("attention",)),
        "sliding_window": ("mixer_types", ("attention",)),
    }
    supported_mixer_types = ("attention", "none")
    supported_mlp_types = ("dense", "none")
    related_sizes = (("num_key_value_heads", "divides", "num_attention_heads"),)
    sharded_sizes = {"tp_size": ("num_attention_heads", "num_key_value_heads")}
    compatible_model_types = ("mistral",)

    def __post_init__(self, **kwargs):
        self.refuse(self.head_dim_errors() or self._depth_errors())
        self.head_dim = self.head_dim if self.head_dim is not None else self.hidden_size // self.num_attention_heads
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads

        if "layer_types" in kwargs:
            logger.warning_once(
                "Detected HeterogeneousMistral model with layer_types. Consider using AutoModel or Ministral classes instead to enable alternating attention compatibility."
            )
        return super().__post_init__(**kwargs)


__all__ = ["HeterogeneousMistralConfig"]
