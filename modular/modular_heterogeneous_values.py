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
import math
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from transformers.configuration_utils import PreTrainedConfig


# More than torch counts, and than a dimension has
MAX_NUMBER = 2**63
MAX_SIZE = 2**31
# What a model runs with, in words -> the test of it, and the fields that it holds for, in whichever family has them
NUMBERS = {
    "a positive integer": (
        lambda number: isinstance(number, int) and 0 < number < MAX_SIZE,
        ("vocab_size", "hidden_size", "num_hidden_layers", "max_position_embeddings"),
    ),
    "a number that is not negative": (
        lambda number: 0 <= number < MAX_NUMBER,
        ("rms_norm_eps", "layer_norm_epsilon", "initializer_range", "router_aux_loss_coef"),
    ),
    "a positive number": (lambda number: 0 < number < MAX_NUMBER, ("logits_scaling", "swiglu_limit")),
    "a number": (
        lambda number: -MAX_NUMBER < number < MAX_NUMBER,
        (
            *("embedding_multiplier", "attention_multiplier", "residual_multiplier"),
            *("routed_scaling_factor", "swiglu_alpha"),
        ),
    ),
}
# The same for fields of one kind of layer
MIXER_NUMBERS = {
    "attention": ("num_attention_heads", "head_dim"),
    "mamba": (
        *("chunk_size", "conv_kernel", "mamba_num_heads", "mamba_head_dim", "n_groups"),
        *("mamba_chunk_size", "mamba_d_conv", "mamba_n_heads", "mamba_n_groups", "mamba_d_state"),
        *("linear_conv_kernel_dim", "linear_key_head_dim", "linear_num_key_heads", "linear_value_head_dim"),
        "mamba_expand",
    ),
}
ACTIVATIONS = ("hidden_act", "mamba_hidden_act", "mlp_hidden_act")
# Known without transformers' table of them, whose import costs as much as torch's
USUAL_ACTIVATIONS = ("silu", "gelu", "relu", "relu2")
# Numbers in `rope_parameters`, `None` where a kind of RoPE has a default for it, and what a kind has no default for
ROPE_NUMBERS = (
    *("factor", "original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow"),
    *("low_freq_factor", "high_freq_factor"),
)
ROPE_NEEDS = {
    **{"default": (), "proportional": (), "linear": ("factor",), "dynamic": ("factor",), "yarn": ("factor",)},
    "llama3": ("factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"),
    "longrope": ("original_max_position_embeddings",),
}
# Where upstream has a default, and none in the place of `None`
ROPE_NOT_NONE = {"proportional": ("factor",), "yarn": ("original_max_position_embeddings",)}


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_positive(value: Any) -> bool:
    return is_number(value) and 0 < value < MAX_NUMBER


def is_list_of_names(value: Any) -> bool:
    return isinstance(value, list | tuple) and set(map(type, value)) <= {str}


def nearest(name: Any, known: Sequence[str]) -> str:
    """A hint at the closest known name, where one is close."""
    found = get_close_matches(str(name), list(known), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


def is_dtype(dtype: Any) -> bool:
    """Whether it names a dtype of torch, is one, or is none, or a dict of those of a model's parts."""
    if isinstance(dtype, str):
        import torch

        dtype = getattr(torch, dtype, dtype)
    return dtype is None or isinstance(dtype, dict) or type(dtype).__name__ == "dtype"


def rope_type_errors(name: str, rope: Any) -> list[str]:
    """A kind of RoPE that there is not."""
    if not isinstance(rope, dict):
        return [f"{name} is {str(rope)[:100]}: a dict is needed"]
    rope_type = rope.get("rope_type", rope.get("type", "default"))
    known = isinstance(rope_type, str) and rope_type in ROPE_NEEDS
    return [] if known else [f"{name}: rope_type is {rope_type!r}, allowed are {list(ROPE_NEEDS)}"]


class HeterogeneousValuesConfig(PreTrainedConfig):
    """A config that looks at what upstream does not: numbers, names of what there is not, RoPE."""

    def early_errors(self, keywords: dict[str, Any]) -> list[str]:
        """Values that upstream computes with before it judges them."""
        fields = self.__dict__
        errors = [
            f"{name} is {dtype!r}: the name of a dtype of torch is needed, such as 'bfloat16'"
            for name, dtype in (("dtype", fields.get("dtype")), ("torch_dtype", keywords.get("torch_dtype")))
            if not is_dtype(dtype)
        ]
        quantisation = keywords.get("quantization_config")
        if not (quantisation is None or isinstance(quantisation, dict) or hasattr(quantisation, "to_dict")):
            errors.append(f"quantization_config is {str(quantisation)[:100]!r}: a dict is needed")
        labels = fields.get("id2label")
        if not (labels is None or isinstance(labels, dict) and all(str(key).isdecimal() for key in labels)):
            errors.append(f"id2label is {labels!r}: a dict is needed, from the number of a label to its name")
        for name in ("rope_parameters", "rope_scaling"):
            errors += rope_type_errors(name, fields.get(name) or keywords.get(name) or {})
        return errors

    def head_dim_errors(self) -> list[str]:
        """Query heads from which a `head_dim` that is not given cannot be derived."""
        heads = self.num_attention_heads
        if self.head_dim is not None:
            return []
        if not isinstance(heads, int):
            return ["num_attention_heads is a list: head_dim must be given, it cannot be derived"]
        if heads <= 0:
            return [f"num_attention_heads is {heads}: a positive integer is needed"]
        what = f"num_attention_heads = {heads} does not divide hidden_size = {self.hidden_size}"
        return [f"{what}: head_dim must be given"] if self.hidden_size % heads else []

    def value_errors(self) -> list[str]:
        """Values outside the lists that no model runs with."""
        return [*self.number_errors(), *self._name_errors(), *self._rope_errors()]

    def number_errors(self) -> list[str]:
        """Numbers that no model runs with, also those of one kind of layer where there may be such."""
        numbers = {needed: (fits, set(names)) for needed, (fits, names) in NUMBERS.items()}
        for mixer, names in MIXER_NUMBERS.items():
            if self.mixer_types is None or mixer in self.mixer_types:
                numbers["a positive integer"][1].update(names)
        sizes = self.per_layer_sizes
        fields = {name: value for name, value in self.__dict__.items() if name not in sizes}
        return [
            f"{name} is {fields[name]!r}: {needed} is needed"
            for needed, (fits, names) in numbers.items()
            for name in sorted(names & fields.keys())
            if not (is_number(fields[name]) and fits(fields[name]))
        ]

    def _name_errors(self) -> list[str]:
        """Names and numbers of things that there are not: activations, a token to pad with."""
        fields, errors = self.__dict__, []
        for name in [name for name in ACTIVATIONS if fields.get(name, "silu") not in USUAL_ACTIVATIONS]:
            from transformers.activations import ACT2FN

            if not (isinstance(fields[name], str) and fields[name] in ACT2FN):
                hint = nearest(fields[name], ACT2FN)
                errors.append(f"{name} is {fields[name]!r}: transformers has no such activation{hint}")
        pad_token_id, vocab_size = fields.get("pad_token_id"), fields["vocab_size"]
        if pad_token_id is not None and not -vocab_size <= pad_token_id < vocab_size:
            errors.append(f"pad_token_id is {pad_token_id}, and vocab_size is {vocab_size}")
        return errors

    def _rope_errors(self) -> list[str]:
        """What is wrong with one RoPE for all layers."""
        rope = self.__dict__.get("rope_parameters")
        if not rope or self.__dict__.get("position_embedding_type", "rope") != "rope":
            return []
        if errors := rope_type_errors("rope_parameters", rope):
            return errors
        if nested := sorted(name for name in rope if name.endswith("_attention")):
            return [f"rope_parameters has {nested}: one RoPE for all layers is needed, not one a layer type"]
        rope_type = rope.get("rope_type", "default")
        names = ["rope_theta", *(name for name in ROPE_NUMBERS if rope.get(name) is not None), *ROPE_NEEDS[rope_type]]
        given = ("partial_rotary_factor", *ROPE_NOT_NONE.get(rope_type, ()))
        names += [name for name in given if name in rope]
        errors = [
            f"rope_parameters: {name} is {rope.get(name)!r}, a positive number is needed"
            for name in dict.fromkeys(names)
            if not is_positive(rope.get(name))
        ]
        if errors or rope_type != "longrope":
            return errors
        layer_config = self.per_layer_config[0]
        head_dim = getattr(layer_config, "head_dim", None) or self.hidden_size // layer_config.num_attention_heads
        num = math.ceil(int(head_dim * rope.get("partial_rotary_factor", 1.0)) / 2)  # a factor a pair that turns
        return [
            f"rope_parameters: {name} is {str(rope.get(name))[:100]}: {num} positive numbers are needed"
            for name in ("short_factor", "long_factor")
            if not (
                isinstance(rope.get(name), list | tuple)
                and len(rope[name]) == num
                and all(map(is_positive, rope[name]))
            )
        ]
