# Generated from modular/modular_heterogeneous.py by `hetero generate`. Do not edit: change the shard and generate again.
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
import copy
import inspect
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from huggingface_hub.errors import StrictDataclassClassValidationError

from transformers.configuration_utils import PreTrainedConfig, remap_legacy_layer_types
from transformers.generation.configuration_utils import GenerationConfig


class HeterogeneousConfigError(StrictDataclassClassValidationError, ValueError):
    """All that is wrong with a config, a line each: field, layer, value, and what is allowed."""

    def __init__(self, message: str):
        Exception.__init__(self, message)


class UnreadFieldsError(HeterogeneousConfigError):
    """A config has fields that may describe layers and that nobody reads; `fields` has their names."""

    def __init__(self, message: str, fields: Sequence[str] = ()):
        super().__init__(message)
        self.fields = tuple(fields)


class FrozenList(list):
    """A list of a config whose model is built; a copy is a plain list."""

    def _refuse(self, *args):
        raise TypeError("a model is built of this config: change the list of a copy, `copy.deepcopy(config)`")

    __setitem__ = __delitem__ = __iadd__ = __imul__ = append = extend = insert = pop = remove = clear = _refuse
    sort = reverse = _refuse

    def __reduce_ex__(self, protocol):
        return list, (list(self),)

    def __deepcopy__(self, memo: dict[int, Any]) -> list:
        return list(self)  # of names and numbers


# Upstream's word for a layer -> what mixes tokens in it
MIXERS_BY_LAYER_TYPE = {
    "full_attention": "attention",
    "sliding_attention": "attention",
    "linear_attention": "mamba",
}
# What keeps something in the cache
MIXERS_WITH_STATE = frozenset(MIXERS_BY_LAYER_TYPE.values())


class PerLayerConfigView(Sequence):
    """The configs of the layers, indexed by layer, slice or layer type: made when they are asked for, and kept."""

    def __init__(self, config: "HeterogeneousPreTrainedConfig"):
        self.config, self.fields = config, config.__dict__
        names = (config.per_layer_attributes or set()) - {"mixer_types", "mlp_types"}
        if isinstance(config.windows, int):
            names |= {"sliding_window"}  # `layer_types` says where it holds
        self.sizes = {name: config.layer_sizes(name) for name in sorted(names)}
        # Where a layer has no such sub-block, the largest of the others: readers of geometry (cache allocators, servers)
        # expect a number
        sizes = {name: [size for size in self.sizes[name] if size is not None] for name in self.sizes}
        self.absent = {name: max(sizes[name], default=None) for name in names - set(config.optional_per_layer_sizes)}
        self.skipped = config.skipped_sub_blocks()
        self.layers: dict[int, PreTrainedConfig] = {}

    def __len__(self) -> int:
        return self.fields["num_hidden_layers"]

    def __deepcopy__(self, memo: dict[int, Any]) -> "PerLayerConfigView":
        return self  # in a dict of a config's fields, which nobody reads; a copied config makes its own

    def __getitem__(self, index: int | slice | str) -> "PreTrainedConfig | list[PreTrainedConfig]":
        num_layers = self.fields["num_hidden_layers"]
        if isinstance(index, slice):
            return [self[layer_idx] for layer_idx in range(*index.indices(num_layers))]
        if isinstance(index, str):
            return self[self.layer_of_type(index)]
        if not -num_layers <= index < num_layers:
            raise IndexError(f"layer {index} of a model with {num_layers} layers")
        index %= num_layers
        if index not in self.layers:
            self.layers[index] = self.layer_config(index)
        return self.layers[index]

    def layer_config(self, layer_idx: int) -> PreTrainedConfig:
        """Every size a scalar, also of a sub-block that the layer does not have."""
        layer_config = object.__new__(type(self.config))
        fields = layer_config.__dict__
        fields.update(self.fields)
        fields.pop("_view", None)
        for name, sizes in self.sizes.items():
            size = sizes[layer_idx]
            fields[name] = self.absent.get(name) if size is None else size
        fields.update(skip=self.skipped[layer_idx], _layer_idx=layer_idx, _is_computed=True)
        return layer_config

    def layer_of_type(self, layer_type: str) -> int:
        """The first layer with a cache of an entry of `layer_types`; a `ValueError` where such layers differ."""
        kinds = enumerate(zip(self.config.layer_types, self.config.mixer_types))
        layers = [layer_idx for layer_idx, (kind, mixer) in kinds if kind == layer_type and mixer in MIXERS_WITH_STATE]
        if not layers:
            raise ValueError(
                f"layer type {layer_type!r} is not in layer_types: {sorted(set(self.config.layer_types))}"
            )
        for name, sizes in self.sizes.items():
            values = {layer_idx: sizes[layer_idx] for layer_idx in layers}
            if len(set(values.values())) > 1:
                raise ValueError(f"layers of type {layer_type!r} differ in {name}: {values}; index by layer instead")
        return layers[0]

    def find_distinct_mixers(self) -> dict[tuple[str, int | None], int]:
        """(entry of `layer_types`, window) of the layers whose mixers keep something -> the first such layer."""
        windows = self.sizes.get("sliding_window", [None] * len(self.config.layer_types))
        distinct = {}
        for layer_idx, (mixer, kind, window) in enumerate(
            zip(self.config.mixer_types, self.config.layer_types, windows)
        ):
            if mixer in MIXERS_WITH_STATE:
                distinct.setdefault((kind, window), layer_idx)
        return distinct


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


def is_list_of_names(value: Any) -> bool:
    return isinstance(value, list | tuple) and set(map(type, value)) <= {str}


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


# The lists that every family has, beside those of sizes
LAYER_LISTS = ("mixer_types", "mlp_types", "layer_types", "fused_blocks")
# How two sizes of one layer may be bound to each other, and what a message says where they are not
RELATIONS = {
    "divides": (lambda size, other: other % size == 0, "does not divide"),
    "is at most": (lambda size, other: size <= other, "is more than"),
}
# Of the fields that published configs describe layers with, those that no type of transformers has itself
PUBLISHED_LAYERS = {"block_configs", "drop_attn_list", "drop_mlp_list", "num_key_value_heads_per_layer"}
MAX_LAYERS = 4096  # eight times what any model has


class HeterogeneousPreTrainedConfig(HeterogeneousValuesConfig):
    """
    A config whose layers may differ from one another.

    **What is stored**, and what config.json says:

    - `mixer_types`, `mlp_types` and `layer_types` (upstream's words) say what each layer is made of: lists, one entry a
      layer.
    - A size named in `per_layer_sizes` is a scalar where all layers that have its sub-block agree, else a list with one
      entry a layer, `None` where the layer has no such sub-block. A scalar `sliding_window` holds for the layers of type
      `"sliding_attention"`.
    - `fused_blocks` is a list with one entry a layer, or `None` where nothing is fused.

    `per_layer_config[i]` is computed from it: the config of layer `i`, with scalars only. So are `per_layer_attributes`
    and `is_heterogeneous`, which say what differs, and `kv_sharing_modes`.

    **What may be set.** A field takes what the constructor takes, a scalar or a list. Setting `layer_types` sets
    `mixer_types`, and the reverse; `sliding_window` sets both forms of windows; `num_hidden_layers` cuts the lists, or
    adds layers where all are alike; `per_layer_config = {layer: {attribute: value, "skip": [...]}}` changes the lists,
    or nothing where it is refused. All is checked when a config is made, saved, or a model is built of it. From then on
    what describes layers is fixed: a copy is free again, and `keep_layers(model, layers)` takes layers out of a model.

    A model gives one entry of `attentions` for each layer that attends, and of `router_logits` for each that has experts:
    `layers_made_of("attention")` and `layers_made_of("moe")` are their layers.

    Raises:
        HeterogeneousConfigError: names every layer and field that is wrong, with what is allowed.
    """

    # Size -> the list that says whether a layer has it, and the entries of that list for which it does
    per_layer_sizes = {}
    # Sizes for which `None` is a choice ("no window") and not an absence
    optional_per_layer_sizes = ("sliding_window",)
    supported_mixer_types = ("attention", "linear", "none")
    supported_mlp_types = ("dense", "linear", "none")
    # Upstream's words for the family's layers -> what mixes tokens in them. Of several for one mixer, `layer_types` says which
    mixers_by_layer_type = MIXERS_BY_LAYER_TYPE
    # What `skip` in upstream's `per_layer_config` may name -> in which lists it puts "none", and in the place of what
    skippable = {
        "attention": {"mixer_types": ("attention", "linear")},
        "mlp": {"mlp_types": ("dense", "moe", "linear")},
    }
    # Fused block -> what a layer must be made of for it: types of its mixer, types of its MLP
    fusable = {}
    # (size, relation, size) of one layer
    related_sizes = (("num_key_value_heads", "divides", "num_attention_heads"),)
    # What is split over ranks -> sizes that must be multiples of their number, in every layer
    sharded_sizes = {"tp_size": ("num_attention_heads", "num_key_value_heads")}
    # Checkpoints of these model types are read without a warning: the family is meant for them
    compatible_model_types = ()
    # One of these -> fields that its checkpoints may carry and its models do not read
    unread_fields = {}
    # Beside its fields, what the parent's config reads, or computes and saves
    known_fields = ()
    # Field that describes layers in published configs, and that the family does not have -> what `from_dict` reads it
    # with: (config class, config) -> config. The package knows the published forms, and says here what they are
    published_readers = {}
    published_model_types = set()
    # A per-layer attribute that is read globally is its list; nothing raises
    allow_global_per_layer_attribute_access = True

    mixer_types: list[str] | None = None
    mlp_types: list[str] | None = None
    layer_types: list[str] | None = None
    fused_blocks: str | list[str] | None = None

    def __post_init__(self, **kwargs):
        layers = self._depth_errors() or self._list_errors() or self._unknown_layer_types()
        if not layers and self.mixer_types is None:
            layer_types = self.layer_types or [next(iter(self.mixers_by_layer_type))] * self.num_hidden_layers
            self.mixer_types = [self.mixers_by_layer_type[kind] for kind in remap_legacy_layer_types(layer_types)]
        layers = layers or self._layer_type_errors()
        self.refuse([*self._unread_errors(kwargs), *layers, *self.early_errors(kwargs)])
        if self.mlp_types is None:
            self.mlp_types = [self.supported_mlp_types[0]] * self.num_hidden_layers
        self.layer_types = self._derived_layer_types()
        kwargs.pop("model_type", None)  # checkpoints of compatible types become this family's
        super().__post_init__(**kwargs)
        self._post_init_done = True  # as upstream says since 5.21
        self.normalise()  # ahead of `check`: parents keep a window beside `layer_types` that have none, and the reverse
        self.check()

    def refuse(self, errors: Sequence[str]):
        """Raise a `HeterogeneousConfigError` where there are errors."""
        if errors:
            raise HeterogeneousConfigError("\n".join([f"{self.model_type}:", *errors]))

    def __setattr__(self, name: str, value: Any):
        name, fields = self.attribute_map.get(name, name), self.__dict__
        if "_layer_idx" in fields and not name.startswith("_") and fields.get(name) is not value:
            raise AttributeError(
                f"{name} cannot be set on the config of a layer, which is computed: set it on the model's"
            )
        if "_view" in fields and name in (*LAYER_LISTS, *self.per_layer_sizes, "per_layer_config"):
            raise AttributeError(
                f"{name} cannot be set: a model is built of this config. Set it on a copy, `copy.deepcopy(config)`, and "
                "build or load a model with that; `keep_layers(model, layers)` takes layers out of a model"
            )
        if value is None and name in ("mixer_types", "mlp_types") and self._is_finished:
            self.refuse([f"{name} cannot be None: a list with one entry a layer is needed"])
        super().__setattr__(name, list(value) if type(value) is list else value)  # not the one of who sets it
        if "_view" in fields:  # what may be set on a built model holds in its layers
            for layer_config in fields["_view"].layers.values():
                layer_config.__dict__[name] = fields.get(name)
        elif self._is_finished:
            self._bring_into_step(name)

    def _bring_into_step(self, name: str):
        """Let the other fields follow one that was set on a finished config."""
        fields = self.__dict__
        if name == "num_hidden_layers":
            fields.update({list_: self.fitted(list_, fields[list_]) for list_ in self._layer_lists()})
        elif name == "layer_types" and not self._unknown_layer_types():
            fields[name] = layer_types = remap_legacy_layer_types(fields[name])
            if len(layer_types) == len(self.mixer_types):
                layers = zip(self.mixer_types, layer_types)
                fields["mixer_types"] = [
                    self.mixers_by_layer_type[kind] if mixer in MIXERS_WITH_STATE else mixer for mixer, kind in layers
                ]
        elif name in ("mixer_types", "sliding_window"):
            if name == "sliding_window" and "sliding_attention" not in self.layer_types:
                fields["layer_types"] = None  # a scalar holds for all that attend
            fields["layer_types"] = self._derived_layer_types()

    @property
    def _is_finished(self) -> bool:
        return self.__dict__.get("_post_init_done", False)

    def freeze(self):
        """Check all, and refuse from now on that what describes layers is set: a model is built of it. A copy is free."""
        if "_view" in self.__dict__:
            return
        self.check()
        self.refuse(self._sharding_errors())
        self.__dict__.update({name: FrozenList(self.__dict__[name]) for name in self._layer_lists()})
        self.__dict__["_view"] = view = PerLayerConfigView(self)
        view.distinct_mixers = view.find_distinct_mixers()  # what every forward asks for

    def __getstate__(self) -> dict[str, Any]:
        """What a copy has."""
        fields = {name: value for name, value in self.__dict__.items() if name != "_view"}
        return {name: list(value) if isinstance(value, FrozenList) else value for name, value in fields.items()}

    def select_layers(self, layers: Sequence[int]):
        """Let the lists describe these of the layers, in this order."""
        frozen = self.__dict__.pop("_view", None) is not None
        kept = {name: [self.__dict__[name][idx] for idx in layers] for name in self._layer_lists()}
        self.__dict__.update(kept, num_hidden_layers=len(layers))
        self.normalise()
        if frozen:
            self.freeze()

    def _layer_lists(self) -> list[str]:
        """The names of the fields that are lists with one entry a layer."""
        return [name for name in (*LAYER_LISTS, *self.per_layer_sizes) if isinstance(self.__dict__.get(name), list)]

    def fitted(self, name: str, entries: list) -> list:
        """A list cut to the number of layers, or grown: to layers that are all alike more of them, and no fused ones."""
        missing = self.num_hidden_layers - len(entries)
        if missing > 0 and name == "fused_blocks":
            return entries + ["none"] * missing
        if missing > 0 and all(entry == entries[0] for entry in entries):
            return entries + entries[:1] * missing
        return entries[: self.num_hidden_layers]

    def _unread_errors(self, keywords: dict[str, Any]) -> list[str]:
        """Keywords that may describe layers and that nothing reads: the model would be another one."""
        if unread := unread_members(self, keywords):
            remedy = f"Say it with {[*self.per_layer_sizes, 'rope_parameters']}"
            lines = [unread_complaint(name, value, remedy) for name, value in unread.items()]
            raise UnreadFieldsError("\n".join([f"{self.model_type}:", *lines]), list(unread))
        return [
            f"{name} is how a published config describes its layers: {type(self).__name__}.from_dict reads it"
            for name in self.published_readers
            if keywords.get(name) is not None
        ]

    @classmethod
    def refuse_other_models(cls, config_dict: dict[str, Any]):
        """Refuse a config of one of transformers' types that says another model than that type's: with a published form's
        layers where the family does not know the type, or to be read with other code than transformers has."""
        if transformers_class(model_type := config_dict.get("model_type")) is None:
            return
        blocks = [
            name for name in PUBLISHED_LAYERS & cls.published_readers.keys() if config_dict.get(name) is not None
        ]
        if blocks and model_type not in cls.compatible_model_types:
            lines = [f"{name} describes layers of a {model_type}, and nothing reads them here" for name in blocks]
            raise UnreadFieldsError("\n".join([f"{cls.model_type}:", *lines]), blocks)
        # What a published form comes with is read here instead
        if named := [] if blocks else foreign_code(config_dict):
            raise UnreadFieldsError(
                f"{cls.model_type}:\nauto_map names {', '.join(named)}, and transformers has no such class for model_type "
                f"{model_type!r}: the checkpoint is a model of its own code, and would be read as another one. Load it with "
                f"that code, or take auto_map away where it computes what transformers' own {model_type} does",
                ["auto_map"],
            )

    def save_pretrained(self, *args, **kwargs):
        config = copy.deepcopy(self)
        config._bring_into_step("num_hidden_layers")  # `assistant_early_exit` and others change it for a while
        config.check()
        PreTrainedConfig.save_pretrained(config, *args, **kwargs)

    @classmethod
    def get_config_dict(cls, pretrained_model_name_or_path, **kwargs) -> tuple[dict[str, Any], dict[str, Any]]:
        config_dict, kwargs = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        cls.refuse_other_models(config_dict)
        if config_dict.get("model_type") in (*cls.compatible_model_types, *cls.published_model_types):
            config_dict = cls.without_unread_fields(config_dict)
            del config_dict["model_type"]
        return config_dict, kwargs

    @classmethod
    def without_unread_fields(cls, config_dict: dict[str, Any]) -> dict[str, Any]:
        """A config as the models of its own type read it."""
        unread = cls.unread_fields.get(str(config_dict.get("model_type")), ())
        return {name: value for name, value in config_dict.items() if name not in unread}

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs):
        config_dict = cls._decode_special_floats(config_dict)  # upstream does when it reads a file, not a dict
        if not isinstance(names := config_dict.get("attribute_map", {}), dict):  # which each look at a field goes over
            raise HeterogeneousConfigError(f"{cls.model_type}:\nattribute_map is {names!r}: leave it out")
        cls.refuse_other_models(config_dict)
        config_dict = cls.without_unread_fields(config_dict)
        config_dict |= {name: kwargs.pop(name) for name in cls.published_readers if name in kwargs}
        for name, read in cls.published_readers.items():
            if config_dict.get(name) is not None:
                config_dict = read(cls, config_dict)
        config_dict = {name: value for name, value in config_dict.items() if name not in cls.published_readers}
        made = super().from_dict(config_dict, **kwargs)
        config = made[0] if isinstance(made, tuple) else made
        config.check()  # upstream sets keywords one by one: what they make together is checked
        config.validate()  # upstream's part, which completes RoPE's
        return made

    def normalise(self):
        """Bring all fields into the form that is stored: `None` where a layer has no such sub-block, the scalar where all
        other entries are equal, `layer_types` that follow from both."""
        if self._list_errors():
            return  # for `check` to report
        fields = self.__dict__
        for name in LAYER_LISTS:
            if type(fields[name]) is list:
                fields[name] = list(fields[name])  # not the one of who made the config
        if isinstance(fields["fused_blocks"], str) and fields["fused_blocks"] in self.fusable:
            fits = [self.can_fuse(layer_idx, fields["fused_blocks"]) for layer_idx in range(self.num_hidden_layers)]
            fused = [fields["fused_blocks"] if fit else "none" for fit in fits]
            fields["fused_blocks"] = fused if any(fits) else fields["fused_blocks"]
        if fields["fused_blocks"] in ("none", ["none"] * self.num_hidden_layers):
            fields["fused_blocks"] = None
        fields["layer_types"] = self._derived_layer_types()  # ahead of windows that become one
        for name in self.per_layer_sizes:
            if isinstance(fields[name], list):
                fields[name] = self._normal_size(name, fields[name])
        if isinstance(self.windows, int) and "sliding_attention" not in fields["layer_types"]:
            fields["sliding_window"] = None  # upstream's configs keep a window beside layers that have none

    def _normal_size(self, name: str, sizes: list[int | None]) -> int | list[int | None] | None:
        having = self.layers_with(name)
        distinct = {size for size, has in zip(sizes, having) if has}
        if name == "sliding_window" and len(distinct) > 1:
            distinct.discard(None)  # `layer_types` says where there is none
        if len(distinct) > 1:
            return [size if has else None for size, has in zip(sizes, having)]
        return next(iter(distinct), type(self).__dataclass_fields__[name].default)  # of a size that no layer has

    @property
    def windows(self) -> int | list[int | None] | None:
        """`sliding_window`, in a family whose layers may have one."""
        return self.__dict__["sliding_window"] if "sliding_window" in type(self).per_layer_sizes else None

    def _derived_layer_types(self) -> list[str]:
        """Each layer in upstream's vocabulary, for its caches and masks: as given where its mixer has several words, and
        for windows where these are a scalar."""
        mixer_types, windows, given = self.mixer_types, self.windows, self.__dict__["layer_types"]
        if isinstance(windows, list):
            slides = [window is not None for window in windows]
        elif windows is not None and given is not None:
            slides = [layer_type == "sliding_attention" for layer_type in given]
        else:
            slides = [windows is not None] * len(mixer_types)
        words, has_windows = self._words(), "sliding_window" in self.per_layer_sizes
        asked = given if is_list_of_names(given) and len(given) == len(mixer_types) else mixer_types
        layer_types = []
        for mixer, slide, word in zip(mixer_types, slides, asked):
            of_mixer = [each for each in (word, *words) if words.get(each) == mixer]
            if has_windows and mixer == "attention":
                of_mixer = [each for each in of_mixer if (each == "sliding_attention") == slide]
            layer_types.append(next(iter(of_mixer), None))
        default = self.without_mixer(layer_types)
        return [layer_type or default for layer_type in layer_types]

    def _words(self) -> dict[str, str]:
        """Upstream's words that the layers may have, and their mixers. Layers slide where they may have windows, or where the
        family says so and has one window for all that do."""
        slides = "sliding_window" in self.per_layer_sizes or self.mixers_by_layer_type is not MIXERS_BY_LAYER_TYPE
        words = [word for word in self.mixers_by_layer_type if slides or word != "sliding_attention"]
        mixers = {word: self.mixers_by_layer_type[word] for word in words}
        return {word: mixer for word, mixer in mixers.items() if mixer in self.supported_mixer_types}

    def without_mixer(self, layer_types: list[str | None]) -> str:
        """What a layer without a mixer is called: as the first one with it, so that it adds no kind of mask.
        `kv_sharing_modes` keeps it out of the cache."""
        return next((layer_type for layer_type in layer_types if layer_type), "full_attention")

    def layers_with(self, name: str) -> list[bool]:
        """For each layer, whether it has the sub-block that the size `name` belongs to."""
        types, having = self.per_layer_sizes[name]
        return [layer_type in having for layer_type in getattr(self, types)]

    def layer_sizes(self, name: str) -> list[int | None]:
        """The size `name` of each layer, `None` where the layer has no such sub-block."""
        sizes = self.windows if name == "sliding_window" else getattr(self, name)
        if isinstance(sizes, list):
            return list(sizes)
        if name == "sliding_window":
            layers = zip(self.mixer_types, self.layer_types)
            having = [mixer == "attention" and kind == "sliding_attention" for mixer, kind in layers]
        else:
            having = self.layers_with(name) if name in self.per_layer_sizes else [True] * self.num_hidden_layers
        return [sizes if has else None for has in having]

    def saved_layer_types(self) -> list[str]:
        """`layer_types` as files have it, whatever word the release has for a layer without a mixer."""
        return self.layer_types

    def validate_rope(self):
        """Part of `@strict`-powered validation, which upstream's reads one number of heads for."""
        PreTrainedConfig.validate_rope(self.per_layer_config[0])

    def layers_made_of(self, kind: str) -> list[int]:
        """The layers whose mixer or MLP is of this kind. `outputs.attentions[i]` is of layer `layers_made_of("attention")[i]`,
        `outputs.router_logits[i]` of layer `layers_made_of("moe")[i]`; `outputs.hidden_states` has all layers."""
        return [idx for idx, types in enumerate(zip(self.mixer_types, self.mlp_types)) if kind in types]

    def skipped_sub_blocks(self) -> list[list[str]]:
        """What upstream's `skip` says of each layer."""
        layers = zip(self.mixer_types, self.mlp_types)
        return [[name for name, kind in zip(("attention", "mlp"), layer) if kind == "none"] for layer in layers]

    @property
    def is_heterogeneous(self) -> bool:
        return self.per_layer_attributes is not None

    @property
    def per_layer_attributes(self) -> set[str] | None:
        """The names of the attributes that are lists with unequal entries; `None` where there are none, and for the
        config of one layer."""
        fields = self.__dict__
        if "_is_computed" in fields:
            return None
        names = {name for name in self.per_layer_sizes if isinstance(fields.get(name), list)}
        # That layers attend or have a state is told by `layer_types`, as upstream's models do
        varied = {"mixer_types": set(fields["mixer_types"]) - {"attention", "mamba"}}
        varied |= {"mlp_types": len(set(fields["mlp_types"])) > 1}
        return names | {name for name, varies in varied.items() if varies} or None

    @property
    def per_layer_config(self) -> PerLayerConfigView:
        view = self.__dict__.get("_view")
        return PerLayerConfigView(self) if view is None else view

    @per_layer_config.setter
    def per_layer_config(self, overrides: dict[int | str, dict[str, Any]] | None):
        """Apply `{layer: {attribute: value, "skip": [...]}}` to the lists; layers and attributes left out stay as they are."""
        if overrides is None:
            return
        self.refuse(self._list_errors())
        lists = {name: self._as_list(name) for name in ("mixer_types", "mlp_types", *self.per_layer_sizes)}
        overrides = self._with_own_names(overrides)
        if errors := self._override_errors(overrides, lists):
            raise HeterogeneousConfigError("\n".join(["per_layer_config:", *errors]))
        for layer, attributes in overrides.items():
            changes = {name: value for name, value in attributes.items() if name != "skip"}
            for sub_block in attributes.get("skip", ()):
                changes |= self.entries_without(sub_block, int(layer))
            for name, value in changes.items():
                lists[name][int(layer)] = value
        before = dict(self.__dict__)
        try:
            for name, values in lists.items():
                setattr(self, name, values)
            if self._is_finished:
                self.check()
        except Exception:
            self.__dict__.update(before)  # an override that is refused changes nothing
            raise

    def _with_own_names(self, overrides: dict[int | str, dict[str, Any]]) -> dict[int | str, dict[str, Any]]:
        """Overrides with the attributes under their own names, where `attribute_map` has others for them."""

        def own_names(attributes):
            return {self.attribute_map.get(name, name): value for name, value in attributes.items()}

        if not isinstance(overrides, dict):
            return overrides
        return {key: own_names(value) if isinstance(value, dict) else value for key, value in overrides.items()}

    def entries_without(self, sub_block: str, layer_idx: int) -> dict[str, str]:
        """The lists in which the entry of a layer becomes "none" when `skip` names the sub-block."""
        lists = self.skippable[sub_block].items()
        return {types: "none" for types, skipped in lists if getattr(self, types)[layer_idx] in skipped}

    def _as_list(self, name: str) -> list:
        value = self.layer_sizes(name) if name == "sliding_window" else getattr(self, name)
        return list(value) if isinstance(value, list) else [value] * self.num_hidden_layers

    def _override_errors(self, overrides: dict[int | str, dict[str, Any]], known: dict[str, list]) -> list[str]:
        if not isinstance(overrides, dict):
            return [f"a dict of layer -> attributes is needed, not {type(overrides).__name__}"]
        times = Counter(int(layer) for layer in overrides if str(layer).isdecimal())
        errors = [f"layer {layer} is there twice" for layer in sorted(times) if times[layer] > 1]
        for layer, attributes in overrides.items():
            if not str(layer).isdecimal() or int(layer) >= self.num_hidden_layers:
                errors.append(f"layer {layer!r}: not an index in 0..{self.num_hidden_layers - 1}")
            elif not isinstance(attributes, dict):
                errors.append(f"layer {layer}: a dict of attributes is needed, not {attributes!r}")
            else:
                entries = {name: entries[int(layer)] for name, entries in known.items()}
                errors += [
                    f"layer {layer}: {error}" for error in self._layer_override_errors(int(layer), attributes, entries)
                ]
        return errors

    def _layer_override_errors(self, layer_idx: int, attributes: dict[str, Any], entries: dict[str, Any]) -> list[str]:
        skip, allowed, errors = attributes.get("skip", []), list(self.skippable), []
        if not isinstance(skip, list | tuple | set) or any(name not in allowed for name in skip):
            errors.append(f"skip = {skip!r}, allowed is a list out of {allowed}")
            skip = []
        found = {types: entries[types] for types in ("mixer_types", "mlp_types")}
        errors += [
            f"skip names {sub_block!r}, but the layer's entries are {found}"
            for sub_block in skip
            if not self.entries_without(sub_block, layer_idx)
            and any(found[types] != "none" for types in self.skippable[sub_block])
        ]
        errors += [
            f"{name} = {value!r} cannot vary by layer, only {sorted(entries)}"
            for name, value in attributes.items()
            if name not in entries and name != "skip"
        ]
        return errors + [
            f"{name} = {attributes[name]!r}, but its entry of {types} is {entries[types]!r}"
            for name, (types, having) in self.per_layer_sizes.items()
            if attributes.get(name) is not None and types not in attributes and entries[types] not in having
        ]

    @property
    def kv_sharing_modes(self) -> list[str | None]:
        """Upstream's word for layers that keep no state of their own in the cache: here those without a mixer that has
        one."""
        return [None if mixer in MIXERS_WITH_STATE else "reuse" for mixer in self.mixer_types]

    def check(self):
        """Bring all fields into the form that is stored, and refuse what is wrong with them."""
        errors = (
            self._depth_errors() or self._list_errors() or self._unknown_layer_types() or self._layer_type_errors()
        )
        if not errors:
            self.normalise()
            checks = (
                self._type_errors,
                self.value_errors,
                self._size_errors,
                self._fusion_errors,
                self._relation_errors,
            )
            errors = [error for check in checks for error in check()]
        self.refuse(errors)

    def validate_architecture(self):
        """Part of `@strict`-powered validation."""
        if "_is_computed" not in self.__dict__:  # from one that was checked
            self.check()

    def _depth_errors(self) -> list[str]:
        """Also where a family's parent makes a list of so many layers before anybody looks."""
        if 0 < self.num_hidden_layers <= MAX_LAYERS:
            return []
        return [
            f"num_hidden_layers is {self.num_hidden_layers}: a positive integer of at most {MAX_LAYERS:,} is needed"
        ]

    def _list_errors(self) -> list[str]:
        return [
            f"{name} has {len(self.__dict__[name])} entries, num_hidden_layers is {self.num_hidden_layers}: one a layer is needed"
            for name in self._layer_lists()
            if len(self.__dict__[name]) != self.num_hidden_layers
        ]

    def _unknown_layer_types(self) -> list[str]:
        layer_types = self.__dict__["layer_types"]
        if layer_types is None:
            return []
        if not is_list_of_names(layer_types):
            return [
                f"layer_types is {str(layer_types)[:100]}: a list with the name of a type for each layer is needed"
            ]
        known = list(self._words())
        layers = zip(remap_legacy_layer_types(layer_types), self.mixer_types or ["attention"] * len(layer_types))
        return [
            f"layer_types[{layer_idx}] is {kind!r}, allowed are {known}"
            for layer_idx, (kind, mixer) in enumerate(layers)
            if kind not in known and mixer in MIXERS_WITH_STATE and mixer in self.supported_mixer_types
        ]

    def _layer_type_errors(self) -> list[str]:
        """Where `layer_types`, as given, say something else than `mixer_types` and `sliding_window`."""
        if self.__dict__["layer_types"] is None:
            return []
        given = remap_legacy_layer_types(self.__dict__["layer_types"])
        windows = self.layer_sizes("sliding_window") if isinstance(self.windows, list) else [self.windows] * len(given)
        layers = enumerate(zip(self.mixer_types, given, self._derived_layer_types(), windows))
        return [
            f"layer_types[{layer_idx}] is {asked!r}, but "
            + (
                f"sliding_window[{layer_idx}] is {window}"
                if mixer == "attention"
                else f"mixer_types[{layer_idx}] is {mixer!r}"
            )
            + ": leave layer_types out"
            for layer_idx, (mixer, asked, kind, window) in layers
            if mixer in MIXERS_WITH_STATE
            and mixer in self.supported_mixer_types
            and asked != kind
            # Parents name layers that slide also where there is no window
            and (
                self._is_finished
                or window is not None
                or asked != "sliding_attention"
                or isinstance(self.windows, list)
            )
        ]

    def _type_errors(self) -> list[str]:
        errors = [
            f"{name}[{layer_idx}] is {layer_type!r}, allowed are {list(supported)}"
            for name, supported in (
                ("mixer_types", self.supported_mixer_types),
                ("mlp_types", self.supported_mlp_types),
            )
            for layer_idx, layer_type in enumerate(getattr(self, name))
            if layer_type not in supported
        ]
        mixers = [mixer for mixer in self.supported_mixer_types if mixer in MIXERS_WITH_STATE]
        if not set(mixers).intersection(self.mixer_types):
            errors.append(
                "mixer_types has nothing that mixes tokens: at least one layer must, since positions and caches follow "
                f"it. Keep the {' or '.join(mixers)} of one layer; without any, each token is mapped alone and a plain "
                "torch module serves"
            )
        return errors

    def _size_errors(self) -> list[str]:
        errors = []
        for name in self.per_layer_sizes:
            optional = name in self.optional_per_layer_sizes
            for place, size in self._sizes_that_count(name):
                if size is None and not optional or size is not None and not 0 < size < MAX_SIZE:
                    allowed = "a positive integer" + " or None" * optional
                    errors.append(f"{place} is {size}: there is such a sub-block, and {allowed} is needed")
        return errors

    def _sizes_that_count(self, name: str) -> list[tuple[str, int | None]]:
        """What messages call a size, and its value: once for a scalar, else for each layer that has the sub-block."""
        sizes = getattr(self, name)
        if not isinstance(sizes, list):
            return [(name, sizes)] if any(self.layers_with(name)) else []
        layers = enumerate(zip(sizes, self.layers_with(name)))
        return [(f"{name}[{layer_idx}]", size) for layer_idx, (size, has) in layers if has]

    def can_fuse(self, layer_idx: int, fused_block: str) -> bool:
        """Whether a layer has the sub-blocks that a fused one takes the place of."""
        mixers, mlps = self.fusable[fused_block]
        return self.mixer_types[layer_idx] in mixers and self.mlp_types[layer_idx] in mlps

    def _fusion_errors(self) -> list[str]:
        if self.fused_blocks is None:
            return []
        if not self.fusable:
            return [f"fused_blocks is {self.fused_blocks!r}: the layers of this family have no blocks that fuse"]
        one = isinstance(self.fused_blocks, str)
        errors, known = [], ["none", *self.fusable]
        for layer_idx, fused_block in [(None, self.fused_blocks)] if one else enumerate(self.fused_blocks):
            place = "fused_blocks" if one else f"fused_blocks[{layer_idx}]"
            if fused_block not in known:
                errors.append(
                    f"{place} is {fused_block!r}, allowed are {known}" + ", for all layers or one a layer" * one
                )
            elif fused_block != "none" and (one or not self.can_fuse(layer_idx, fused_block)):
                needed = " and ".join(f"one of {list(types)}" for types in self.fusable[fused_block])
                found = (
                    "" if one else f"{self.mixer_types[layer_idx]!r} and {self.mlp_types[layer_idx]!r}, needed are "
                )
                layer = "but no layer's mixer and MLP are" if one else "the layer's mixer and MLP are"
                errors.append(f"{place} is {fused_block!r}: {layer} {found}{needed}")
        return errors

    def _relation_errors(self) -> list[str]:
        wrong = []
        for name, relation, other_name in self.related_sizes:
            holds, complaint = RELATIONS[relation]
            layers = list(zip(self.layer_sizes(name), self.layer_sizes(other_name)))
            for size, other in dict.fromkeys(layers):
                if size and other and size > 0 and other > 0 and not holds(size, other):  # else said already
                    found = [layer_idx for layer_idx, sizes in enumerate(layers) if sizes == (size, other)]
                    wrong.append(f"layers {found}: {name} = {size} {complaint} {other_name} = {other}")
        return wrong

    def _sharding_errors(self) -> list[str]:
        distributed_config = getattr(self, "distributed_config", None)
        errors = []
        for num_ranks, names in self.sharded_sizes.items():
            num = getattr(distributed_config, num_ranks, None) or 1
            for name in names:
                wrong = {idx: size for idx, size in enumerate(self.layer_sizes(name)) if size and size % num}
                if wrong:
                    errors.append(f"{num_ranks} = {num} does not divide {name} of these layers: {wrong}")
        return errors

    def _update_heterogeneous_to_dict_output(self, d: dict[str, Any]):
        for name in ("_layer_idx", "_is_computed", "_view", "_post_init_done"):
            d.pop(name, None)
        d["layer_types"] = self.saved_layer_types()
        if self.fused_blocks is None:
            d.pop("fused_blocks", None)


__all__ = ["HeterogeneousConfigError", "HeterogeneousPreTrainedConfig", "UnreadFieldsError"]
