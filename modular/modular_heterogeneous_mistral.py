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

from transformers.models.mistral.configuration_mistral import MistralConfig
from transformers.models.mistral.modeling_mistral import (
    MistralAttention,
    MistralForCausalLM,
    MistralForQuestionAnswering,
    MistralForSequenceClassification,
    MistralForTokenClassification,
    MistralMLP,
    MistralPreTrainedModel,
    MistralRMSNorm,
    MistralRotaryEmbedding,
)

from .modular_heterogeneous import (
    HeterogeneousPreTrainedConfig,
    HeterogeneousPreTrainedModel,
)
from .modular_heterogeneous_qwen2 import HeterogeneousQwen2DecoderLayer, HeterogeneousQwen2Model


@strict
class HeterogeneousMistralConfig(MistralConfig, HeterogeneousPreTrainedConfig):
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

    intermediate_size: int | list[int | None] = 14336
    num_attention_heads: int | list[int | None] = 32
    num_key_value_heads: int | list[int | None] = 8
    sliding_window: int | list[int | None] | None = 4096

    def __post_init__(self, **kwargs):
        self.refuse(self.head_dim_errors() or self._depth_errors())
        return super().__post_init__(**kwargs)


class HeterogeneousMistralMLP(MistralMLP):
    pass


class HeterogeneousMistralAttention(MistralAttention):
    pass


class HeterogeneousMistralRMSNorm(MistralRMSNorm):
    pass


class HeterogeneousMistralRotaryEmbedding(MistralRotaryEmbedding):
    def __init__(self, config: HeterogeneousMistralConfig):
        config = config.per_layer_config[0]  # query heads may be a list
        super().__init__(config)


class HeterogeneousMistralDecoderLayer(HeterogeneousQwen2DecoderLayer):
    pass


class HeterogeneousMistralPreTrainedModel(MistralPreTrainedModel, HeterogeneousPreTrainedModel):
    pass


class HeterogeneousMistralModel(HeterogeneousQwen2Model):
    pass


class HeterogeneousMistralForCausalLM(MistralForCausalLM):
    pass


class HeterogeneousMistralForTokenClassification(MistralForTokenClassification):
    pass


class HeterogeneousMistralForSequenceClassification(MistralForSequenceClassification):
    pass


class HeterogeneousMistralForQuestionAnswering(MistralForQuestionAnswering):
    pass


__all__ = [
    "HeterogeneousMistralConfig",
    "HeterogeneousMistralForCausalLM",
    "HeterogeneousMistralForQuestionAnswering",
    "HeterogeneousMistralForSequenceClassification",
    "HeterogeneousMistralForTokenClassification",
    "HeterogeneousMistralModel",
    "HeterogeneousMistralPreTrainedModel",
]
