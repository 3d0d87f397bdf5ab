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

from transformers.models.qwen3.configuration_qwen3 import Qwen3Config
from transformers.models.qwen3.modeling_qwen3 import (
    Qwen3Attention,
    Qwen3ForCausalLM,
    Qwen3ForQuestionAnswering,
    Qwen3ForSequenceClassification,
    Qwen3ForTokenClassification,
    Qwen3MLP,
    Qwen3PreTrainedModel,
    Qwen3RMSNorm,
    Qwen3RotaryEmbedding,
)

from .modular_heterogeneous import (
    HeterogeneousPreTrainedConfig,
    HeterogeneousPreTrainedModel,
)
from .modular_heterogeneous_qwen2 import HeterogeneousQwen2DecoderLayer, HeterogeneousQwen2Model


@strict
class HeterogeneousQwen3Config(Qwen3Config, HeterogeneousPreTrainedConfig):
    r"""
    Config of a Qwen3 whose layers may differ. All fields of [`Qwen3Config`] keep their meaning; those below may be
    lists with one entry a layer, `None` where the layer has no such sub-block. A scalar means every layer.

    Args:
        mixer_types (`list[str]`, *optional*):
            What mixes tokens in each layer: `"attention"` or `"none"`.
        mlp_types (`list[str]`, *optional*):
            The feed-forward block of each layer: `"dense"` or `"none"`.
        intermediate_size (`int` or `list[int | None]`, defaults to 22016):
            Width of the MLP.
        num_attention_heads (`int` or `list[int | None]`, defaults to 32):
            Query heads. As a list it needs an explicit `head_dim`.
        num_key_value_heads (`int` or `list[int | None]`, defaults to 32):
            Key and value heads; each entry divides the layer's query heads.
        sliding_window (`int` or `list[int | None]`, defaults to 4096):
            How many positions, its own included, a token attends to. `None` is full attention.

    Raises:
        HeterogeneousConfigError: names every layer and size that is wrong, with what is allowed.
    """

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
    compatible_model_types = ("qwen3",)

    intermediate_size: int | list[int | None] = 22016
    num_attention_heads: int | list[int | None] = 32
    num_key_value_heads: int | list[int | None] | None = 32
    sliding_window: int | list[int | None] | None = 4096

    def __post_init__(self, **kwargs):
        self.refuse(self._depth_errors())
        self.use_sliding_window = self.use_sliding_window or isinstance(self.sliding_window, list)
        windows = self.sliding_window
        if self.layer_types is None and isinstance(windows, list) and len(windows) == self.num_hidden_layers:
            self.layer_types = ["full_attention" if window is None else "sliding_attention" for window in windows]
        super().__post_init__(**kwargs)

    def normalise(self):
        HeterogeneousPreTrainedConfig.normalise(self)
        self.use_sliding_window = self.sliding_window is not None


class HeterogeneousQwen3RMSNorm(Qwen3RMSNorm):
    pass


class HeterogeneousQwen3MLP(Qwen3MLP):
    pass


class HeterogeneousQwen3RotaryEmbedding(Qwen3RotaryEmbedding):
    def __init__(self, config: HeterogeneousQwen3Config):
        config = config.per_layer_config[0]  # query heads may be a list
        super().__init__(config)


class HeterogeneousQwen3Attention(Qwen3Attention):
    pass


class HeterogeneousQwen3DecoderLayer(HeterogeneousQwen2DecoderLayer):
    pass


class HeterogeneousQwen3PreTrainedModel(Qwen3PreTrainedModel, HeterogeneousPreTrainedModel):
    pass


class HeterogeneousQwen3Model(HeterogeneousQwen2Model):
    pass


class HeterogeneousQwen3ForCausalLM(Qwen3ForCausalLM):
    pass


class HeterogeneousQwen3ForSequenceClassification(Qwen3ForSequenceClassification):
    pass


class HeterogeneousQwen3ForTokenClassification(Qwen3ForTokenClassification):
    pass


class HeterogeneousQwen3ForQuestionAnswering(Qwen3ForQuestionAnswering):
    pass


__all__ = [
    "HeterogeneousQwen3Config",
    "HeterogeneousQwen3ForCausalLM",
    "HeterogeneousQwen3ForQuestionAnswering",
    "HeterogeneousQwen3ForSequenceClassification",
    "HeterogeneousQwen3ForTokenClassification",
    "HeterogeneousQwen3Model",
    "HeterogeneousQwen3PreTrainedModel",
]
