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
"""
Fields of a config that nobody reads. What describes layers there would be lost, and the model silently another one. No
`__all__`: what is imported is copied.

Judged by what is declared: by the family's config, by transformers' own of the type that the config says, and by what that
reads under older names. Of the rest, what may describe layers is asked about: a list, a dict, or a number that a layer may
have or that there may be of them.
"""

import inspect
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from transformers.generation.configuration_utils import GenerationConfig


# What transformers reads and its config classes do not declare: RoPE's older names, what it asks for as it loads, and what
# of the fields of a generation config it passes over
READ_BY_TRANSFORMERS = (
    *("rope_parameters", "rope_scaling", "rope_theta", "partial_rotary_factor"),
    *("dtype", "torch_dtype", "attn_implementation", "experts_implementation", "output_attentions"),
    *("num_labels", "name_or_path", "per_layer_config", "quantization_config", "auto_map", "model_type"),
)
# Reviewed: no field of these says anything of the layers. Lists, dicts and small numbers alone are asked about, so no others
# are named. Of tools: how weights are quantised or compiled, what runs them, what is shown of them; of older releases of
# transformers
HARMLESS = (
    *("quantization", "compression_config", "neuron", "transformers.js_config", "auto_mapping", "custom_pipelines"),
    *("task_specific_params", "generation_config", "mergekit_config", "torchao_config", "bad_words_ids"),
)
# The same of those that are numbers: how it was trained; positions; OpenAI's own name of `num_experts_per_tok`, which stays
# what it was where experts are pruned
HARMLESS_NUMBERS = (
    *("seed", "epochs", "num_epochs", "num_train_epochs", "batch_size", "train_batch_size", "micro_batch_size"),
    *("gradient_accumulation_steps", "warmup_steps", "world_size", "pretraining_tp", "tp_size", "lora_rank"),
    *("tensor_parallel_size", "tensor_model_parallel_size", "pipeline_model_parallel_size", "_num_labels"),
    *("sliding_window", "initial_context_length", "experts_per_token"),
)
# Tokens by their numbers, and the layers that predict several at once, which no family builds
HARMLESS_PATTERN = re.compile(r".*_token_(id|ids|index)|mtp_.*|num_nextn_predict_layers|num_mtp_\w+")
MANY_KINDS = 8  # more kinds of layers than one config has


def is_index_of(value: Any, num_layers: int) -> bool:
    """Whether it is a number that a layer may have, counted from either end, or that there may be of them."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= num_layers


def lists_layers(text: str, num_layers: int) -> bool:
    """Whether it is a list of layers in a string, or has a letter for each of them."""
    numbers = re.split(r"[\s,;]+", text.strip("[]() "))
    if len(numbers) > 1 and all(number.isdecimal() and int(number) <= num_layers for number in numbers):
        return True
    return len(text) == num_layers > MANY_KINDS and len(set(text)) <= MANY_KINDS


def may_describe_layers(name: str, value: Any, num_layers: int) -> bool:
    """Whether a field may say something of the layers. Of nothing, and of yes or no, nothing is lost; a number that no
    layer has does where it says "layer" itself."""
    if isinstance(value, str):
        return lists_layers(value, num_layers)
    if isinstance(value, list | tuple | dict):
        return bool(value)
    number = isinstance(value, int) and not isinstance(value, bool)
    return number and name not in HARMLESS_NUMBERS and (abs(value) <= num_layers or "layer" in name)


def describes_layers(name: str, value: Any, num_layers: int) -> bool:
    """Whether it is a list with one entry a layer, or of layers, or a dict by layer."""
    if isinstance(value, dict):
        return bool(value) and all(str(layer).isdecimal() and int(layer) < num_layers for layer in value)
    if not isinstance(value, list | tuple) or not value:
        return False
    return len(value) == num_layers or all(is_index_of(entry, num_layers) for entry in value)


def declared_names(config_class: Any) -> set[str]:
    """The fields that a class of configs has, and what it reads under other names."""
    names = {each.name for each in fields(config_class)} | {*config_class.attribute_map}
    for base in config_class.__mro__:
        names |= {name for name, member in vars(base).items() if isinstance(member, property)}
        if "__post_init__" in vars(base):
            names |= {*inspect.signature(base.__post_init__).parameters}
    return names


def transformers_class(model_type: Any) -> Any:
    """Transformers' own class of configs of a type, `None` where it has none."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING, CONFIG_MAPPING_NAMES

    return CONFIG_MAPPING[model_type] if isinstance(model_type, str) and model_type in CONFIG_MAPPING_NAMES else None


def unread_members(config: Any, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """
    The keywords that may describe layers and that nobody reads.

    Args:
        config: The family's, unfinished.
        keywords: What neither the family has read nor the readers of published configs, with the `model_type` that the
            file says. Where that is the family's own, what else is there was set by a user, and is asked about where it
            describes layers beyond doubt.
    """
    num_layers = config.__dict__["num_hidden_layers"]
    asks = describes_layers if keywords.get("model_type") == config.model_type else may_describe_layers
    asked = {
        name: value for name, value in keywords.items() if asks(name, value, num_layers) and not is_harmless(name)
    }
    if not asked:
        return {}
    known = {*vars(GenerationConfig()), *config.published_readers, *config.known_fields, *declared_names(type(config))}
    if (theirs := transformers_class(keywords.get("model_type"))) is not None:
        known |= declared_names(theirs)
    return {name: value for name, value in asked.items() if name not in known}


def is_harmless(name: str) -> bool:
    """Whether a field is read, or known to say nothing of the layers."""
    return name in (*READ_BY_TRANSFORMERS, *HARMLESS) or HARMLESS_PATTERN.fullmatch(name) is not None


def unread_complaint(name: str, value: Any, remedy: str) -> str:
    """What a message says of a field that nobody reads."""
    return (
        f"{name} = {str(value)[:100]} may describe the layers, and nothing reads it: the model would be another one. "
        f"{remedy}, or take the field away where it says nothing of them"
    )


def foreign_code(config_dict: Mapping[str, Any]) -> list[str]:
    """The classes of remote code that a config of one of transformers' own types is to be read with, and that are none of
    transformers' for that type."""
    import transformers

    auto_map, theirs = config_dict.get("auto_map"), transformers_class(config_dict.get("model_type"))
    if theirs is None or not isinstance(auto_map, dict):
        return []
    prefix, known = theirs.__name__.removesuffix("Config"), transformers.__all__
    named = {
        str(name).rpartition(".")[2]: str(name)
        for auto_class, name in auto_map.items()
        if auto_class.startswith(("AutoConfig", "AutoModel"))
    }
    return sorted(name for last, name in named.items() if not (last.startswith(prefix) and last in known))
