# Generated from modular/modular_heterogeneous_qwen3_vl_moe.py by `hetero generate`. Do not edit: change the shard and generate again.
# Parents: transformers 5.24.0, configuration_heterogeneous_qwen3_vl.py, modeling_heterogeneous_qwen3_vl.py; the code used of them: sha256 cf20b2f67b326116
# Code of the parents, under the Apache License 2.0:
#   Copyright 2025 The Qwen Team and The HuggingFace Inc. team. All rights reserved.
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

from transformers.configuration_utils import PreTrainedConfig
from transformers.modeling_rope_utils import RopeParameters
from transformers.models.qwen3_vl_moe.configuration_qwen3_vl_moe import Qwen3VLMoeVisionConfig

from .configuration_heterogeneous import HeterogeneousPreTrainedConfig


@strict
class HeterogeneousQwen3VLMoeTextConfig(HeterogeneousPreTrainedConfig):
    r"""
    Config of the text model of a Qwen3-VL with experts whose layers may differ. All fields of [`Qwen3VLMoeTextConfig`]
    keep their meaning; those below may be lists with one entry a layer, `None` where the layer has no such sub-block. A
    scalar means every layer.

    Args:
        mixer_types (`list[str]`, *optional*):
            What mixes tokens in each layer: `"attention"` or `"none"`.
        mlp_types (`list[str]`, *optional*):
            The feed-forward block of each layer: `"moe"`, `"dense"` or `"none"`. As the parent's by default.
        intermediate_size (`int` or `list[int | None]`, defaults to 5632):
            Width of a dense MLP.
        num_key_value_heads (`int` or `list[int | None]`, defaults to 16):
            Key and value heads; each entry divides the layer's query heads.
        moe_intermediate_size (`int` or `list[int | None]`, defaults to 1408):
            Width of each expert.
        num_experts_per_tok (`int` or `list[int | None]`, defaults to 4):
            Experts that each token goes to, at most as many as the layer has.
        num_experts (`int` or `list[int | None]`, defaults to 60):
            Experts.

    Raises:
        HeterogeneousConfigError: names every layer and size that is wrong, with what is allowed.
    """

    model_type = "heterogeneous_qwen3_vl_moe_text"
    attribute_map = {"num_local_experts": "num_experts"}
    # Default tensor parallel plan for base model `HeterogeneousQwen3VLMoe`
    base_model_tp_plan = {
        "layers.*.self_attn.q_proj": "colwise",
        "layers.*.self_attn.k_proj": "colwise",
        "layers.*.self_attn.v_proj": "colwise",
        "layers.*.self_attn.o_proj": "rowwise",
        "layers.*.mlp.gate_proj": "colwise",
        "layers.*.mlp.up_proj": "colwise",
        "layers.*.mlp.down_proj": "rowwise",
        "layers.*.mlp.experts.gate_up_proj": "packed_colwise",
        "layers.*.mlp.experts.down_proj": "rowwise",
        "layers.*.mlp.experts": "moe_tp_experts",
    }
    base_model_ep_plan = {
        "layers.*.mlp.experts.gate_up_proj": "grouped_gemm",
        "layers.*.mlp.experts.down_proj": "grouped_gemm",
        "layers.*.mlp.experts": "ep_dispatch_experts",
    }
    base_model_pp_plan = {
        "embed_tokens": (["input_ids"], ["inputs_embeds"]),
        "layers": (["hidden_states", "attention_mask"], ["hidden_states"]),
        "norm": (["hidden_states"], ["hidden_states"]),
    }

    vocab_size: int = 151936
    hidden_size: int = 2048

    intermediate_size: int | list[int | None] = 5632
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    num_key_value_heads: int | list[int | None] = 16
    hidden_act: str = "silu"
    max_position_embeddings: int = 128000
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    use_cache: bool = True
    tie_word_embeddings: bool = True
    rope_parameters: RopeParameters | dict | None = None
    attention_bias: bool = False
    attention_dropout: float | int = 0.0
    decoder_sparse_step: int = 1
    moe_intermediate_size: int | list[int | None] = 1408
    num_experts_per_tok: int | list[int | None] = 4
    num_experts: int | list[int | None] = 60
    output_router_logits: bool = False
    router_aux_loss_coef: float = 0.001
    mlp_only_layers: list[int] | None = None
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    base_config_key = "text_config"
    default_theta = 500000.0
    ignore_keys_at_rope_validation = {"mrope_section", "mrope_interleaved"}
    head_dim: int | None = None

    per_layer_sizes = {
        "intermediate_size": ("mlp_types", ("dense",)),
        "num_key_value_heads": ("mixer_types", ("attention",)),
        "moe_intermediate_size": ("mlp_types", ("moe",)),
        "num_experts_per_tok": ("mlp_types", ("moe",)),
        "num_experts": ("mlp_types", ("moe",)),
    }
    supported_mixer_types = ("attention", "none")
    supported_mlp_types = ("moe", "dense", "none")
    related_sizes = (
        ("num_key_value_heads", "divides", "num_attention_heads"),
        ("num_experts_per_tok", "is at most", "num_experts"),
    )
    sharded_sizes = {"tp_size": ("num_attention_heads", "num_key_value_heads"), "ep_size": ("num_experts",)}
    optional_per_layer_sizes = ()
    compatible_model_types = ("qwen3_vl_moe_text",)

    def __post_init__(self, **kwargs):
        self.refuse(self._depth_errors())
        if self.decoder_sparse_step < 1:
            self.refuse([f"decoder_sparse_step is {self.decoder_sparse_step}: a positive integer is needed"])
        if self.mlp_types is None:
            dense = set(self.mlp_only_layers or ())
            self.mlp_types = [
                "dense" if layer_idx in dense or (layer_idx + 1) % self.decoder_sparse_step else "moe"
                for layer_idx in range(self.num_hidden_layers)
            ]
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads

        self.head_dim = self.head_dim or self.hidden_size // self.num_attention_heads
        self.sliding_window = None
        self.mlp_only_layers = [] if self.mlp_only_layers is None else self.mlp_only_layers
        super().__post_init__(**kwargs)


@strict
class HeterogeneousQwen3VLMoeConfig(PreTrainedConfig):
    r"""
    Config of transformers' own Qwen3-VL with experts around a text model whose layers may differ. All fields of
    [`Qwen3VLMoeConfig`] keep their meaning; `text_config` is a [`HeterogeneousQwen3VLMoeTextConfig`].
    """

    model_type = "heterogeneous_qwen3_vl_moe"

    sub_configs_defaults = {"vision_config": Qwen3VLMoeVisionConfig, "text_config": HeterogeneousQwen3VLMoeTextConfig}

    text_config: dict | PreTrainedConfig | None = None
    vision_config: dict | PreTrainedConfig | None = None
    image_token_id: int = 151655
    video_token_id: int = 151656
    vision_start_token_id: int = 151652
    vision_end_token_id: int = 151653
    tie_word_embeddings: bool = False
    compatible_model_types = ("qwen3_vl_moe",)

    def __post_init__(self, **kwargs):
        if isinstance(self.vision_config, dict):  # old ones say another type
            self.vision_config = {**self.vision_config, "model_type": self.sub_configs["vision_config"].model_type}
        kwargs.pop("model_type", None)  # checkpoints of the parent's become this one's
        super().__post_init__(**kwargs)

    @classmethod
    def get_config_dict(cls, pretrained_model_name_or_path, **kwargs):
        config_dict, kwargs = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        if config_dict.get("model_type") in cls.compatible_model_types:
            config_dict = {name: value for name, value in config_dict.items() if name != "model_type"}
        return config_dict, kwargs


__all__ = ["HeterogeneousQwen3VLMoeConfig", "HeterogeneousQwen3VLMoeTextConfig"]
