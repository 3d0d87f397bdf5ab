# Generated from modular/modular_heterogeneous_qwen3_vl.py by `hetero generate`. Do not edit: change the shard and generate again.
# Parents: transformers 5.24.0; the code used of them: sha256 0efc916e7cbd66ac
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
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLVisionConfig

from .configuration_heterogeneous import HeterogeneousPreTrainedConfig


@strict
class HeterogeneousQwen3VLTextConfig(HeterogeneousPreTrainedConfig):
    r"""
    Config of the text model of a Qwen3-VL whose layers may differ. All fields of [`Qwen3VLTextConfig`] keep their meaning;
    those below may be lists with one entry a layer, `None` where the layer has no such sub-block. A scalar means every
    layer.

    Args:
        mixer_types (`list[str]`, *optional*):
            What mixes tokens in each layer: `"attention"` or `"none"`.
        mlp_types (`list[str]`, *optional*):
            The feed-forward block of each layer: `"dense"` or `"none"`.
        intermediate_size (`int` or `list[int | None]`, defaults to 22016):
            Width of the MLP.
        num_attention_heads (`int` or `list[int | None]`, defaults to 32):
            Query heads.
        num_key_value_heads (`int` or `list[int | None]`, defaults to 32):
            Key and value heads; each entry divides the layer's query heads.

    Raises:
        HeterogeneousConfigError: names every layer and size that is wrong, with what is allowed.
    """

    model_type = "heterogeneous_qwen3_vl_text"
    base_config_key = "text_config"
    base_model_tp_plan = {"embed_tokens": "embedding_rowwise"}
    default_theta = 500000.0
    ignore_keys_at_rope_validation = {"mrope_section", "mrope_interleaved"}

    vocab_size: int = 151936
    hidden_size: int = 4096

    intermediate_size: int | list[int | None] = 22016
    num_hidden_layers: int = 32
    num_attention_heads: int | list[int | None] = 32
    num_key_value_heads: int | list[int | None] | None = 32
    head_dim: int = 128
    hidden_act: str = "silu"
    max_position_embeddings: int = 128000
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    use_cache: bool = True
    rope_parameters: RopeParameters | dict | None = None
    attention_bias: bool = False
    attention_dropout: float | int = 0.0
    pad_token_id: int | None = None

    per_layer_sizes = {
        "intermediate_size": ("mlp_types", ("dense",)),
        "num_attention_heads": ("mixer_types", ("attention",)),
        "num_key_value_heads": ("mixer_types", ("attention",)),
    }
    supported_mixer_types = ("attention", "none")
    supported_mlp_types = ("dense", "none")
    optional_per_layer_sizes = ()
    compatible_model_types = ("qwen3_vl_text",)

    def __post_init__(self, **kwargs):
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads

        super().__post_init__(**kwargs)


@strict
class HeterogeneousQwen3VLConfig(PreTrainedConfig):
    r"""
    Config of transformers' own Qwen3-VL around a text model whose layers may differ. All fields of [`Qwen3VLConfig`] keep
    their meaning; `text_config` is a [`HeterogeneousQwen3VLTextConfig`].
    """

    model_type = "heterogeneous_qwen3_vl"

    sub_configs_defaults = {"vision_config": Qwen3VLVisionConfig, "text_config": HeterogeneousQwen3VLTextConfig}

    text_config: dict | PreTrainedConfig | None = None
    vision_config: dict | PreTrainedConfig | None = None
    image_token_id: int = 151655
    video_token_id: int = 151656
    vision_start_token_id: int = 151652
    vision_end_token_id: int = 151653
    tie_word_embeddings: bool = False
    compatible_model_types = ("qwen3_vl",)

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


__all__ = ["HeterogeneousQwen3VLConfig", "HeterogeneousQwen3VLTextConfig"]
