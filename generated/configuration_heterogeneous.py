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
from collections.abc import Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from huggingface_hub.errors import StrictDataclassClassValidationError
from safetensors import safe_open

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


class DerivedList(list):
    """Entries that are computed when they are read, so that setting one is refused: it would be lost."""

    def _refuse(self, *args):
        raise TypeError("layer_types is computed when it is read: set it as a whole, or mixer_types or sliding_window")

    __setitem__ = __delitem__ = __iadd__ = append = extend = insert = pop = remove = clear = sort = reverse = _refuse

    def __reduce__(self):
        return list, (list(self),)  # a copy is a plain list


class PerLayerConfigView(Sequence):
    """The configs of the layers, computed when read: indexed by layer, slice or layer type."""

    def __init__(self, config: "HeterogeneousPreTrainedConfig"):
        self.config = config
        self.attributes = config.per_layer_attributes or set()
        if isinstance(config.windows, int):
            self.attributes |= {"sliding_window"}  # `layer_types` says where it holds

    def __len__(self) -> int:
        return self.config.__dict__["num_hidden_layers"]

    def __getitem__(self, index: int | slice | str) -> "PreTrainedConfig | list[PreTrainedConfig]":
        if isinstance(index, slice):
            return [self[layer_idx] for layer_idx in range(*index.indices(len(self)))]
        if isinstance(index, str):
            return self.layer_config(self.layer_of_type(index))
        num_layers = len(self)
        if not -num_layers <= index < num_layers:
            raise IndexError(f"layer {index} of a model with {num_layers} layers")
        return self.layer_config(index % num_layers)

    def layer_config(self, layer_idx: int) -> PreTrainedConfig:
        """Every size a scalar. Where the layer has no such sub-block a size is the largest of the others, since readers
        of geometry (cache allocators, servers) expect a number."""
        fields = self.config.__dict__
        layer_fields = {"_layer_idx": layer_idx, "skip": self.config.skipped_sub_blocks(layer_idx)}
        for name in self.attributes - {"mixer_types", "mlp_types"}:
            sizes = fields[name] if isinstance(fields[name], list) else self.config.layer_sizes(name)
            size = sizes[layer_idx]
            if size is None and name not in self.config.optional_per_layer_sizes:
                size = max([size for size in sizes if size is not None], default=None)
            layer_fields[name] = size
        return self.config.with_fields(**layer_fields)

    def layer_of_type(self, layer_type: str) -> int:
        """The first layer with a cache of an entry of `layer_types`; a `ValueError` where such layers differ."""
        kinds = zip(self.config.layer_types, self.config.kv_sharing_modes)
        layers = [idx for idx, (kind, mode) in enumerate(kinds) if kind == layer_type and mode != "reuse"]
        if not layers:
            raise ValueError(
                f"layer type {layer_type!r} is not in layer_types: {sorted(set(self.config.layer_types))}"
            )
        for name in sorted(self.attributes):
            sizes = self.config.layer_sizes(name)
            values = {layer_idx: sizes[layer_idx] for layer_idx in layers}
            if len(set(values.values())) > 1:
                raise ValueError(f"layers of type {layer_type!r} differ in {name}: {values}; index by layer instead")
        return layers[0]


# Upstream's word for a layer -> what mixes tokens in it
MIXERS_BY_LAYER_TYPE = {
    "full_attention": "attention",
    "sliding_attention": "attention",
    "linear_attention": "mamba",
}


def has_state(mixer_type: str) -> bool:
    """Whether a mixer keeps something in the cache."""
    return mixer_type in MIXERS_BY_LAYER_TYPE.values()


class LayerPlan:
    """
    What the layers of a model are as it is built, and again when its masks are planned anew.

    Attributes:
        types: (mixer, MLP) of each layer.
        sliding_windows: the window of each layer.
        mask_names: the mask that each layer takes, `None` where it needs none.
        mask_kinds: name of a mask -> its layer type and its window: one for each distinct (kind, window) of the layers'
            mixers. The names are upstream's layer types; with several windows, the window is added to the name.
    """

    def __init__(self, config: "HeterogeneousPreTrainedConfig"):
        self.lists, self.windows = config.layer_lists(), config.windows_as_set
        self.types = list(zip(config.mixer_types, config.mlp_types))
        self.sliding_windows = config.layer_sizes("sliding_window")
        self.mask_names, self.mask_kinds = [], {}
        several = len({window for window in self.sliding_windows if window is not None}) > 1
        for mixer_type, layer_type, window in zip(config.mixer_types, config.layer_types, self.sliding_windows):
            name = f"{layer_type}_{window}" if several and window is not None else layer_type
            self.mask_names.append(name if has_state(mixer_type) else None)
            if has_state(mixer_type):
                self.mask_kinds[name] = (layer_type, window)

    def first_layers(self, num_layers: int) -> dict[str, int]:
        """Name of a mask -> the first of so many layers that takes it."""
        names = self.mask_names[:num_layers]
        return {name: names.index(name) for name in self.mask_kinds if name in names}

    def follow(
        self, config: "HeterogeneousPreTrainedConfig", layers: Sequence, cache: Any, use_cache: bool | None
    ) -> bool:
        """
        Let the config follow layers that were taken out of a built model, moved or copied; windows that were set on it
        hold for the model. Returns whether that asks for a new plan.

        Args:
            layers: those of the model. Each knows the `planned_idx` and `planned_types` that it had in this plan.
            cache: what the call comes with, if anything.
            use_cache: whether the call asks for one.

        Raises:
            ValueError: what was changed cannot be followed, or not with this cache.
        """
        order = [getattr(layer, "planned_idx", None) for layer in layers]
        moved = order != list(range(len(order))) or len(order) < len(config.mixer_types)
        if moved and len(set(layers)) < len(order):
            if cache is not None or use_cache:
                raise ValueError(
                    "A layer is there more than once, and it has one place in a cache: put a `copy.deepcopy` of it there, "
                    "or call with `use_cache=False`."
                )
            return False
        if moved:
            self._follow_layers(config, order)
        types = list(zip(config.mixer_types, config.mlp_types))
        planned = [layer.planned_types for layer in layers]
        if planned[: len(types)] != types:
            self._refuse_other_types(planned, types)
        if not moved and self.windows == config.windows_as_set:
            return False
        if cache is not None and cache.get_seq_length() > 0:
            raise ValueError("Layers or windows were changed since this cache was filled: begin with a new one.")
        config.check()
        return True

    def _follow_layers(self, config: "HeterogeneousPreTrainedConfig", order: list[int | None]):
        """Let the config say what the layers are."""
        if None in order:
            raise ValueError(
                f"Layer {order.index(None)} was not built with the model. Put a `copy.deepcopy` of one of its layers "
                "there, or build a model with as many layers and load the weights."
            )
        if config.layer_lists() == self.lists:
            config.keep_layers(order)
        elif len(config.mixer_types) != len(order):
            raise ValueError(
                f"The model has {len(order)} layers, of {len(self.lists['mixer_types'])} once, and mixer_types "
                f"has {len(config.mixer_types)} entries: set the lists of the config for the layers that are there."
            )
        config.num_hidden_layers = len(order)

    def _refuse_other_types(self, planned: list[tuple[str, str]], types: list[tuple[str, str]]):
        wrong = {idx: own for idx, (own, asked) in enumerate(zip(planned, types)) if own != asked}
        raise ValueError(
            f"mixer_types or mlp_types were set on the config of a built model, whose layers are {wrong}, by index: build "
            "a model of the config, or load one with `from_pretrained(path, per_layer_config={layer: {...}})`."
        )


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
        "mamba_expand",
    ),
}
ACTIVATIONS = ("hidden_act", "mamba_hidden_act", "mlp_hidden_act")
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


def is_list_of_factors(value: Any, num: int) -> bool:
    factors = value if isinstance(value, list | tuple) else []
    return len(factors) == num and all(is_number(factor) and 0 < factor < MAX_NUMBER for factor in factors)


def nearest(name: Any, known: Sequence[str]) -> str:
    """A hint at the closest known name, where one is close."""
    found = get_close_matches(str(name), list(known), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


def is_index(key: Any) -> bool:
    return str(key).isdecimal()


def is_dtype(dtype: Any) -> bool:
    """Whether it names a dtype of torch, is one, or is none, or a dict of those of a model's parts."""
    if isinstance(dtype, str):
        import torch

        dtype = getattr(torch, dtype, dtype)
    return dtype is None or isinstance(dtype, dict) or type(dtype).__name__ == "dtype"


def number_errors(fields: dict[str, Any], mixer_types: Sequence[str] | None) -> list[str]:
    """Numbers that no model runs with, also those of one kind of layer where there may be such."""
    numbers = {needed: (fits, set(names)) for needed, (fits, names) in NUMBERS.items()}
    for mixer, names in MIXER_NUMBERS.items():
        if mixer_types is None or mixer in mixer_types:
            numbers["a positive integer"][1].update(names)
    return [
        f"{name} is {fields[name]!r}: {needed} is needed"
        for needed, (fits, names) in numbers.items()
        for name in sorted(names & fields.keys())
        if not (is_number(fields[name]) and fits(fields[name]))
    ]


def name_errors(fields: dict[str, Any]) -> list[str]:
    """Names and numbers of things that there are not: activations, a token to pad with."""
    from transformers.activations import ACT2FN

    errors = [
        f"{name} is {fields[name]!r}: transformers has no such activation{nearest(fields[name], ACT2FN)}"
        for name in ACTIVATIONS
        if name in fields and not (isinstance(fields[name], str) and fields[name] in ACT2FN)
    ]
    pad_token_id, vocab_size = fields.get("pad_token_id"), fields["vocab_size"]
    if pad_token_id is not None and not -vocab_size <= pad_token_id < vocab_size:
        errors.append(f"pad_token_id is {pad_token_id}, and vocab_size is {vocab_size}")
    return errors


def early_errors(fields: dict[str, Any], keywords: dict[str, Any]) -> list[str]:
    """Values that upstream computes with before it judges them."""
    errors = [
        f"{name} is {dtype!r}: the name of a dtype of torch is needed, such as 'bfloat16'"
        for name, dtype in (("dtype", fields.get("dtype")), ("torch_dtype", keywords.get("torch_dtype")))
        if not is_dtype(dtype)
    ]
    quantisation = keywords.get("quantization_config")
    if not (quantisation is None or isinstance(quantisation, dict) or hasattr(quantisation, "to_dict")):
        errors.append(f"quantization_config is {str(quantisation)[:100]!r}: a dict is needed")
    labels = fields.get("id2label")
    if not (labels is None or isinstance(labels, dict) and all(map(is_index, labels))):
        errors.append(f"id2label is {labels!r}: a dict is needed, from the number of a label to its name")
    for name in ("rope_parameters", "rope_scaling"):
        errors += rope_type_errors(name, fields.get(name) or keywords.get(name) or {})
    return errors


def rope_type_errors(name: str, rope: Any) -> list[str]:
    """A kind of RoPE that there is not."""
    if not isinstance(rope, dict):
        return [f"{name} is {str(rope)[:100]}: a dict is needed"]
    rope_type = rope.get("rope_type", rope.get("type", "default"))
    known = isinstance(rope_type, str) and rope_type in ROPE_NEEDS
    return [] if known else [f"{name}: rope_type is {rope_type!r}, allowed are {list(ROPE_NEEDS)}"]


def rope_errors(rope: dict[str, Any]) -> list[str]:
    """What is wrong with one RoPE for all layers."""
    rope_type = rope.get("rope_type", "default")
    names = ["rope_theta", *(name for name in ROPE_NUMBERS if rope.get(name) is not None)]
    names += [name for name in ROPE_NEEDS.get(rope_type, ()) if name not in names]
    given = ("partial_rotary_factor", *ROPE_NOT_NONE.get(rope_type, ()))
    names += [name for name in given if name in rope and name not in names]
    return [
        f"rope_parameters: {name} is {rope.get(name)!r}, a positive number is needed"
        for name in names
        if not (is_number(rope.get(name)) and 0 < rope[name] < MAX_NUMBER)
    ]


def longrope_errors(rope: dict[str, Any], head_dim: int) -> list[str]:
    """Factors that are not one for each pair of dimensions that turns."""
    num = math.ceil(int(head_dim * rope.get("partial_rotary_factor", 1.0)) / 2)
    return [
        f"rope_parameters: {name} is {str(rope.get(name))[:100]}: {num} positive numbers are needed"
        for name in ("short_factor", "long_factor")
        if not is_list_of_factors(rope.get(name), num)
    ]


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
    known = {*vars(GenerationConfig()), *config.published_readers, *declared_names(type(config))}
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


# How two sizes of one layer may be bound to each other, and what a message says where they are not
RELATIONS = {
    "divides": (lambda size, other: other % size == 0, "does not divide"),
    "is at most": (lambda size, other: size <= other, "is more than"),
}
MAX_LAYERS = 2**16  # more than anybody lists


def is_list_of_names(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)


class HeterogeneousPreTrainedConfig(PreTrainedConfig):
    """
    A config whose layers may differ from one another.

    **What is stored**, and what config.json says:

    - `mixer_types` and `mlp_types` say what each layer is made of: lists, one entry a layer.
    - A size named in `per_layer_sizes` is a scalar where all layers that have its sub-block agree, else a list with one
      entry a layer, `None` where the layer has no such sub-block.
    - `fused_blocks` is a list with one entry a layer, or `None` where nothing is fused.
    - `layer_types`, beside a scalar `sliding_window` only: the window holds for the layers of type `"sliding_attention"`,
      all that attend where none are named.

    **What is derived**, whenever it is read: `layer_types`, the layers in upstream's words, also where it is not stored;
    `kv_sharing_modes`; `per_layer_config[i]`, the config of layer `i` with scalars only; `per_layer_attributes` and
    `is_heterogeneous`, which say what differs.

    **What may be set on a finished config.** A field holds at once for all that is derived, and a built model follows a
    window. It may be set to what a constructor takes, a scalar or a list. All fields are brought into the stored form, and
    checked together, when a config is made or overridden with keywords, saved, and ahead of building a model (`check`).
    Further:

    - `per_layer_config = {layer: {attribute: value, "skip": [...]}}` changes the lists and is checked at once: a dict that
      is refused changes nothing.
    - A scalar `sliding_window` holds for the layers that had one, all that attend where none had.
    - `layer_types` says where a scalar window holds, and which layers attend where others have a state; what nothing
      follows is refused.
    - `num_hidden_layers` alone leaves the lists as they are, since upstream lowers it for a while. Where a model is built
      of such a config, or it is saved, it has the first layers; more of them where all are alike.
    - The config of one layer is for reading: setting a field of it is refused.

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
    # What `skip` in upstream's `per_layer_config` may name -> in which lists it puts "none", and in the place of what
    skippable = {
        "attention": {"mixer_types": ("attention", "linear")},
        "mlp": {"mlp_types": ("dense", "moe", "linear")},
    }
    # What a layer may have computed in one module, and of what: see `FusedBlocksConfig`
    fusable = {}
    # (size, relation, size) of one layer
    related_sizes = (("num_key_value_heads", "divides", "num_attention_heads"),)
    # What is split over ranks -> sizes that must be multiples of their number, in every layer
    sharded_sizes = {"tp_size": ("num_attention_heads", "num_key_value_heads")}
    # Checkpoints of these model types are read without a warning: the family is meant for them
    compatible_model_types = ()
    # What adapters go to where their config names no modules, for PEFT -> names of modules, or a regular expression
    adapter_targets = {}
    # One of these -> fields that its checkpoints may carry and its models do not read
    unread_fields = {}
    # Field that describes layers in published configs, and that the family does not have -> what `from_dict` reads it
    # with: (config class, config) -> config. The package knows the published forms, and says here what they are
    published_readers = {}
    published_model_types = set()
    # A per-layer attribute that is read globally is its list; nothing raises
    allow_global_per_layer_attribute_access = True
    # `layer_types` as they were given, and where they are stored
    _layer_types = None

    mixer_types: list[str] | None = None
    mlp_types: list[str] | None = None
    fused_blocks: str | list[str] | None = None

    def __post_init__(self, layer_types: list[str] | None = None, **kwargs):
        if layer_types is not None:
            self.layer_types = layer_types
        layers = self._depth_errors() or self._list_errors() or self._unknown_layer_types(self._layer_types)
        layers = layers or self._contradicted_layer_types()
        self.refuse([*self._unread_errors(kwargs), *layers, *early_errors(self.__dict__, kwargs)])
        if self.mixer_types is None:
            layer_types = self.layer_types or ["full_attention"] * self.num_hidden_layers
            self.mixer_types = [MIXERS_BY_LAYER_TYPE[layer_type] for layer_type in layer_types]
        if self.mlp_types is None:
            self.mlp_types = [self.supported_mlp_types[0]] * self.num_hidden_layers
        kwargs.pop("model_type", None)  # checkpoints of compatible types become this family's
        super().__post_init__(**kwargs)
        self.normalise()  # ahead of `check`: parents keep a window beside `layer_types` that have none, and the reverse
        self.check()

    def refuse(self, errors: Sequence[str]):
        """Raise a `HeterogeneousConfigError` where there are errors."""
        if errors:
            raise HeterogeneousConfigError("\n".join([f"{self.model_type}:", *errors]))

    def __setattr__(self, name: str, value: Any):
        if "_layer_idx" in self.__dict__ and not name.startswith("_"):
            by_layer = name in self.per_layer_sizes
            remedy = (
                f"`per_layer_config = {{layer: {{{name!r}: {value!r}}}}}` there"
                if by_layer
                else "it there, for all layers"
            )
            raise AttributeError(
                f"{name} cannot be set to {value!r} on the config of a layer, which is computed from the model's: set {remedy}"
            )
        if value is None and name in ("mixer_types", "mlp_types") and self._is_finished:
            self.refuse([f"{name} cannot be None: a list with one entry a layer is needed"])
        if name == "sliding_window" and self._is_finished:
            slides = isinstance(value, int) and "sliding_attention" in self.layer_types
            self._layer_types = self._derived_layer_types() if slides else None  # of those that had a window
        super().__setattr__(name, value)

    @property
    def _is_finished(self) -> bool:
        return self.__dict__.get("_post_init_done", False)

    @property
    def layer_types(self) -> list[str] | None:
        """Each layer in upstream's words, computed when it is read; what was given until the config is finished."""
        if "_model_config" in self.__dict__:
            return self._model_config.layer_types
        return DerivedList(self._derived_layer_types()) if self._is_finished else self._layer_types

    @layer_types.setter
    def layer_types(self, layer_types: list[str] | None):
        if is_list_of_names(layer_types):
            layer_types = remap_legacy_layer_types(layer_types)
        if self._is_finished and layer_types is not None:
            self.refuse(self._unknown_layer_types(layer_types))
            if len(layer_types) == len(self.mixer_types):
                layers = zip(self.mixer_types, layer_types)
                self.mixer_types = [
                    MIXERS_BY_LAYER_TYPE[kind] if has_state(mixer) else mixer for mixer, kind in layers
                ]
        self._layer_types = layer_types

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
        blocks = [name for name in cls.published_readers if config_dict.get(name) is not None]
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

    def _depth_errors(self) -> list[str]:
        """Also where a family's parent makes a list of so many layers before anybody looks."""
        if 0 < self.num_hidden_layers < MAX_LAYERS:
            return []
        return [f"num_hidden_layers is {self.num_hidden_layers}: a positive integer below {MAX_LAYERS} is needed"]

    def save_pretrained(self, *args, **kwargs):
        config = copy.deepcopy(self)  # `assistant_early_exit` and others change the number of layers for a while
        config._fit_lists()
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
        for name, read in cls.published_readers.items():
            if config_dict.get(name) is not None:
                config_dict = read(cls, config_dict)
        config_dict = {name: value for name, value in config_dict.items() if name not in cls.published_readers}
        # Upstream sets keywords one by one on a finished config: what they make together is checked, and last comes what
        # the others decide of
        last = [name for name in kwargs if cls.attribute_map.get(name, name) == "layer_types"]
        layer_types = [kwargs.pop(name) for name in last]
        if "num_hidden_layers" in kwargs:
            config_dict, kwargs = cls.with_other_depth(config_dict, kwargs)
        made = super().from_dict(config_dict, **kwargs)
        config = made[0] if isinstance(made, tuple) else made
        for value in layer_types:
            config.layer_types = value
        config.check()
        config.validate()  # upstream's part, which completes RoPE's
        return made

    @classmethod
    def with_other_depth(cls, config_dict: dict[str, Any], kwargs: dict[str, Any]) -> tuple[dict, dict]:
        """Move an overridden `num_hidden_layers`, and the lists that come with it, from the keywords to the config, which
        checks them together; its own lists are fitted."""
        depth = kwargs["num_hidden_layers"]
        names = ["num_hidden_layers", "mixer_types", "mlp_types", "layer_types", "fused_blocks", *cls.per_layer_sizes]
        overrides = {name: kwargs[name] for name in names if name in kwargs}
        fitted = {
            name: cls.fitted(name, entries, depth)
            for name, entries in config_dict.items()
            if cls.attribute_map.get(name, name) in names and isinstance(entries, list)
        }
        rest = {name: value for name, value in kwargs.items() if name not in overrides}
        return config_dict | fitted | overrides, rest

    @staticmethod
    def fitted(name: str, entries: list, depth: int) -> list:
        """A list cut to so many layers, or grown: to layers that are all alike more of them, and no fused ones."""
        if len(entries) < depth and name == "fused_blocks":
            return entries + ["none"] * (depth - len(entries))
        if len(entries) < depth and all(entry == entries[0] for entry in entries):
            return entries[:1] * depth
        return entries[:depth]

    def layer_lists(self) -> dict[str, list]:
        """The fields that are lists with one entry a layer."""
        names = ("mixer_types", "mlp_types", "layer_types", "fused_blocks", *self.per_layer_sizes)
        fields = {**self.__dict__, "layer_types": self._derived_layer_types()}
        return {name: list(fields[name]) for name in names if isinstance(fields.get(name), list)}

    def _set_layer_lists(self, lists: dict[str, list], num_hidden_layers: int):
        layer_types = lists.pop("layer_types")
        self.__dict__.update(lists, _layer_types=layer_types, num_hidden_layers=num_hidden_layers)
        self.normalise()

    def keep_layers(self, layers: Sequence[int]):
        """Let the lists describe these of the layers, in this order."""
        lists = {name: [entries[idx] for idx in layers] for name, entries in self.layer_lists().items()}
        self._set_layer_lists(lists, len(layers))

    def _fit_lists(self):
        """Fit all lists where it is `num_hidden_layers` that was changed: they are as long as one another."""
        depth, lists = self.num_hidden_layers, self.layer_lists()
        if {len(entries) for entries in lists.values()} != {depth} and len(set(map(len, lists.values()))) == 1:
            self._set_layer_lists({name: self.fitted(name, entries, depth) for name, entries in lists.items()}, depth)

    def normalise(self):
        """Bring all fields into the form that is stored: `None` where a layer has no such sub-block, the scalar where all
        other entries are equal, `layer_types` beside a scalar window only."""
        if self._list_errors():
            return  # for `check` to report
        fields = self.__dict__
        for name in ("mixer_types", "mlp_types", "fused_blocks"):
            if isinstance(fields[name], list):
                fields[name] = list(fields[name])  # not the one of who made the config
        if fields["fused_blocks"] in ("none", ["none"] * self.num_hidden_layers):
            fields["fused_blocks"] = None
        layer_types = self._derived_layer_types()  # ahead of windows that become one
        for name in self.per_layer_sizes:
            if isinstance(fields[name], list):
                fields[name] = self._normal_size(name, fields[name])
        if isinstance(self.windows, int) and "sliding_attention" not in layer_types:
            fields["sliding_window"] = None  # upstream's configs keep a window beside layers that have none
        fields["_layer_types"] = layer_types if isinstance(self.windows, int) else None

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

    @property
    def windows_as_set(self) -> tuple:
        """What a model compares with to know whether a window was set."""
        return self.windows, self._layer_types

    def _derived_layer_types(self) -> list[str]:
        """Each layer in upstream's vocabulary, for its caches and masks. A layer without a mixer counts as the first one
        with it, so that it adds no kind of mask; `kv_sharing_modes` keeps it out of the cache."""
        mixer_types, windows, given = self.mixer_types, self.windows, self._layer_types
        if isinstance(windows, list):
            slides = [window is not None for window in windows]
        elif windows is not None and given is not None:
            slides = [layer_type == "sliding_attention" for layer_type in given]
        else:
            slides = [windows is not None] * len(mixer_types)
        kinds = {"mamba": ("linear_attention",) * 2, "attention": ("full_attention", "sliding_attention")}
        layer_types = [kinds[mixer][slide] if mixer in kinds else None for mixer, slide in zip(mixer_types, slides)]
        default = next((layer_type for layer_type in layer_types if layer_type), "full_attention")
        return [layer_type or default for layer_type in layer_types]

    def saved_layer_types(self) -> list[str]:
        """`layer_types` as files have it, whatever word the release has for a layer without a mixer."""
        return self._derived_layer_types()

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
            layers = zip(self.mixer_types, self._derived_layer_types())
            having = [mixer == "attention" and kind == "sliding_attention" for mixer, kind in layers]
        else:
            having = self.layers_with(name) if name in self.per_layer_sizes else [True] * self.num_hidden_layers
        return [sizes if has else None for has in having]

    def with_fields(self, **fields) -> PreTrainedConfig:
        """This config for readers that know one size. It is not validated, as what it is made of was."""
        config = object.__new__(type(self))
        config.__dict__.update(self.__dict__, _model_config=self, **fields)
        return config

    def with_one_number_of_heads(self) -> PreTrainedConfig:
        """This config for upstream's RoPE, which divides by the query heads, and then takes `head_dim` all the same."""
        heads = self.__dict__["num_attention_heads"]
        if not isinstance(heads, list):
            return self
        return self.with_fields(num_attention_heads=max(filter(None, heads), default=1))

    def validate_rope(self):
        """Part of `@strict`-powered validation, which upstream's reads one number of heads for."""
        PreTrainedConfig.validate_rope(self.with_one_number_of_heads())

    def layers_made_of(self, kind: str) -> list[int]:
        """The layers whose mixer or MLP is of this kind. `outputs.attentions[i]` is of layer `layers_made_of("attention")[i]`,
        `outputs.router_logits[i]` of layer `layers_made_of("moe")[i]`; `outputs.hidden_states` has all layers."""
        return [idx for idx, types in enumerate(zip(self.mixer_types, self.mlp_types)) if kind in types]

    def skipped_sub_blocks(self, layer_idx: int) -> list[str]:
        """What upstream's `skip` says of a layer."""
        lists = {"attention": "mixer_types", "mlp": "mlp_types"}
        return [name for name, types in lists.items() if self.__dict__[types][layer_idx] == "none"]

    @property
    def is_heterogeneous(self) -> bool:
        return self.per_layer_attributes is not None

    @property
    def per_layer_attributes(self) -> set[str] | None:
        """The names of the attributes that are lists with unequal entries; `None` where there are none, and for the
        config of one layer."""
        fields = self.__dict__  # not `getattr`, which costs a hundred times as much and is asked for at every layer
        if "_model_config" in fields:
            return None
        names = {name for name in type(self).per_layer_sizes if isinstance(fields.get(name), list)}
        # That layers attend or have a state is told by `layer_types`, as upstream's models do
        varied = {"mixer_types": set(fields["mixer_types"]) - {"attention", "mamba"}}
        varied |= {"mlp_types": len(set(fields["mlp_types"])) > 1}
        return names | {name for name, varies in varied.items() if varies} or None

    @property
    def per_layer_config(self) -> PerLayerConfigView:
        return PerLayerConfigView(self)

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
        if not isinstance(overrides, dict):
            return overrides
        return {
            layer: {self.attribute_map.get(name, name): value for name, value in attributes.items()}
            if isinstance(attributes, dict)
            else attributes
            for layer, attributes in overrides.items()
        }

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
        errors, layers = [], [int(layer) for layer in overrides if str(layer).isdecimal()]
        errors += [f"layer {layer} is there twice" for layer in sorted(set(layers)) if layers.count(layer) > 1]
        for layer, attributes in overrides.items():
            if not str(layer).isdecimal() or int(layer) >= self.num_hidden_layers:
                errors.append(f"layer {layer!r}: not an index in 0..{self.num_hidden_layers - 1}")
                continue
            if not isinstance(attributes, dict):
                errors.append(f"layer {layer}: a dict of attributes is needed, not {attributes!r}")
                continue
            skip = attributes.get("skip", [])
            known_sub_blocks = list(self.skippable)
            if not isinstance(skip, list | tuple | set) or any(name not in known_sub_blocks for name in skip):
                errors.append(f"layer {layer}: skip = {skip!r}, allowed is a list out of {known_sub_blocks}")
                skip = []
            mixer_and_mlp = {types: known[types][int(layer)] for types in ("mixer_types", "mlp_types")}
            errors += [
                f"layer {layer}: skip names {sub_block!r}, but the layer's entries are {mixer_and_mlp}"
                for sub_block in skip
                if not self.entries_without(sub_block, int(layer))
                and any(mixer_and_mlp[types] != "none" for types in self.skippable[sub_block])
            ]
            errors += [
                f"layer {layer}: {name} = {value!r} cannot vary by layer, only {sorted(known)}"
                for name, value in attributes.items()
                if name not in known and name != "skip"
            ]
            errors += [
                f"layer {layer}: {name} = {attributes[name]!r}, but its entry of {types} is {known[types][int(layer)]!r}"
                for name, (types, having) in self.per_layer_sizes.items()
                if attributes.get(name) is not None
                and types not in attributes
                and known[types][int(layer)] not in having
            ]
        return errors

    @property
    def kv_sharing_modes(self) -> list[str | None]:
        """Upstream's word for layers that keep no state of their own in the cache: here those without a mixer that has
        one."""
        return [None if has_state(mixer) else "reuse" for mixer in self.mixer_types]

    def check(self):
        """Bring all fields into the form that is stored, and refuse what is wrong with them."""
        errors = self._list_errors() or self._layer_type_errors()
        if not errors:
            self.normalise()
            found = (
                *(self._type_errors, self._number_errors, lambda: name_errors(self.__dict__), self._rope_errors),
                *(self._size_errors, self._fusion_errors, self._relation_errors),
            )
            errors = [error for check in found for error in check()]
        self.refuse(errors)

    def check_layers(self):
        """Check ahead of building a model: fields may have been set since the config was made, and how the model is to be
        spread over devices is known now."""
        self._fit_lists()
        self.check()
        if errors := self._sharding_errors():
            raise HeterogeneousConfigError("\n".join([f"{self.model_type} cannot be spread so:", *errors]))

    def validate_architecture(self):
        """Part of `@strict`-powered validation."""
        if "_model_config" not in self.__dict__:  # what a reader sees was checked
            self.check()

    def _list_errors(self) -> list[str]:
        fields = self.__dict__
        names = ("mixer_types", "mlp_types", "layer_types", "fused_blocks", *self.per_layer_sizes)
        lists = {name: self._layer_types if name == "layer_types" else fields.get(name) for name in names}
        return [
            f"{name} has {len(entries)} entries, num_hidden_layers is {self.num_hidden_layers}: one a layer is needed"
            for name, entries in lists.items()
            if isinstance(entries, list) and len(entries) != self.num_hidden_layers
        ]

    def _unknown_layer_types(self, layer_types: list[str] | None) -> list[str]:
        """Names that there are not."""
        if layer_types is None:
            return []
        if not is_list_of_names(layer_types):
            return [
                f"layer_types is {str(layer_types)[:100]}: a list with the name of a type for each layer is needed"
            ]
        known = [kind for kind, mixer in MIXERS_BY_LAYER_TYPE.items() if mixer in self.supported_mixer_types]
        if "sliding_window" not in self.per_layer_sizes:
            known.remove("sliding_attention")
        return [
            f"layer_types[{layer_idx}] is {kind!r}, allowed are {known}"
            for layer_idx, kind in enumerate(layer_types)
            if kind not in known
        ]

    def _layer_type_errors(self) -> list[str]:
        """Where `layer_types`, as they were set, say something else than follows from what they leave to the lists."""
        layers = enumerate(zip(self.mixer_types, self._layer_types or (), self._derived_layer_types()))
        mixers = [mixer for mixer in self.supported_mixer_types if has_state(mixer)]  # others are told of as such
        wrong = {idx: asked for idx, (mixer, asked, kind) in layers if mixer in mixers and asked != kind}
        said = f"layer_types cannot be {wrong}: they follow from mixer_types and sliding_window. Override these"
        return [said] if wrong else []

    def _contradicted_layer_types(self) -> list[str]:
        """Where `layer_types`, as given, and the lists say something different of a layer."""
        layer_types = self._layer_types or []
        mixer_types = self.mixer_types or [MIXERS_BY_LAYER_TYPE[kind] for kind in layer_types]
        errors = [
            f"layer_types[{layer_idx}] is {kind!r}, but mixer_types[{layer_idx}] is {mixer!r}: leave layer_types out"
            for layer_idx, (kind, mixer) in enumerate(zip(layer_types, mixer_types))
            if has_state(mixer) and MIXERS_BY_LAYER_TYPE[kind] != mixer
        ]
        layers = zip(mixer_types, layer_types, self.windows) if isinstance(self.windows, list) else ()
        return errors + [
            f"layer_types[{layer_idx}] is {kind!r}, but sliding_window[{layer_idx}] is {window}: leave layer_types out"
            for layer_idx, (mixer, kind, window) in enumerate(layers)
            if mixer == "attention" and (kind == "sliding_attention") != (window is not None)
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
        mixers = [mixer for mixer in self.supported_mixer_types if mixer in ("attention", "mamba")]
        if not set(mixers).intersection(self.mixer_types):
            errors.append(
                "mixer_types has nothing that mixes tokens: at least one layer must, since positions and caches follow "
                f"it. Keep the {' or '.join(mixers)} of one layer; without any, each token is mapped alone and a plain "
                "torch module serves"
            )
        return errors

    def _number_errors(self) -> list[str]:
        """Numbers that no model runs with, outside the lists."""
        own = {name: value for name, value in self.__dict__.items() if name not in self.per_layer_sizes}
        return number_errors(own, self.mixer_types)

    def _rope_errors(self) -> list[str]:
        rope = self.__dict__.get("rope_parameters")
        if not rope or self.__dict__.get("position_embedding_type", "rope") != "rope":
            return []
        if errors := rope_type_errors("rope_parameters", rope):
            return errors
        nested = sorted(name for name in rope if name in MIXERS_BY_LAYER_TYPE)
        if nested:
            return [f"rope_parameters has {nested}: one RoPE for all layers is needed, not one a layer type"]
        errors = rope_errors(rope)
        if errors or rope.get("rope_type") != "longrope":
            return errors
        config = self.with_one_number_of_heads()
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return longrope_errors(rope, head_dim)

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

    def _fusion_errors(self) -> list[str]:
        if self.fused_blocks is None:
            return []
        return [f"fused_blocks is {self.fused_blocks!r}: the layers of this family have no blocks that fuse"]

    def _relation_errors(self) -> list[str]:
        errors = []
        for name, relation, other_name in self.related_sizes:
            holds, complaint = RELATIONS[relation]
            wrong = {}
            for layer_idx, (size, other) in enumerate(zip(self.layer_sizes(name), self.layer_sizes(other_name))):
                possible = all(number is not None and number > 0 for number in (size, other))  # else said already
                if possible and not holds(size, other):
                    message = f"{name} = {size} {complaint} {other_name} = {other}"
                    wrong.setdefault(message, []).append(layer_idx)
            errors += [f"layers {layers}: {message}" for message, layers in wrong.items()]
        return errors

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

    def layer_plan(self) -> LayerPlan:
        """What a model has to know of its layers."""
        return LayerPlan(self)

    def refuse_continuous_batching(self):
        """Refuse what upstream's paged cache cannot hold, for which it would return empty outputs."""
        if layers := self.layers_made_of("mamba"):
            raise ValueError(
                f"Continuous batching has no cache for the state of mamba layers, here {layers}. "
                "Use `generate`, which takes a batch of padded prompts."
            )
        geometry = {"num_attention_heads", "num_key_value_heads", "sliding_window"}
        if varying := sorted(geometry.intersection(self.per_layer_attributes or ())):
            values = "; ".join(f"{name} = {getattr(self, name)}" for name in varying)
            raise ValueError(
                f"Continuous batching has one cache geometry for all layers, and here they differ: {values}. "
                "Use `generate`, which takes a batch of padded prompts."
            )

    def refuse_cached_generation(self):
        """Refuse to count tokens where no layer does."""
        if "attention" not in self.mixer_types:
            raise ValueError(
                "No layer attends, and only a layer that does counts the tokens in a cache. "
                "Call `generate` with `use_cache=False`, or `forward` token by token, which keeps the mamba states."
            )

    def refuse_early_exit(self, num_layers: int):
        """Refuse to draft with so many layers where none of them attends."""
        if "attention" not in self.mixer_types[:num_layers]:
            first = self.mixer_types.index("attention") + 1
            raise ValueError(f"assistant_early_exit = {num_layers}: no layer before it attends, {first} is the least")

    def refuse_modelopt(self, path: str, state_dict: dict[str, Any] | None, checkpoint_files: list[str] | None):
        """Refuse weights that ModelOpt quantised. Transformers would read their bits as numbers, and leave their
        scales."""
        names = list(state_dict or ())
        for file in [file for file in checkpoint_files or () if file.endswith(".safetensors")]:
            with safe_open(file, framework="pt") as opened:
                names += opened.keys()
        scales = [name for name in names if name.endswith(("weight_scale", "weight_scale_2", "weight_scale_inv"))]
        said = getattr(self, "quantization_config", None)
        said = said if isinstance(said, dict) and said.get("quant_method") == "modelopt" else {}
        if scales or said.get("quant_algo"):
            found = (
                f"{len(scales)} tensors with scales, as {scales[0]!r}" if scales else f"quantization_config = {said}"
            )
            raise ValueError(
                f"{path}: the weights are quantised, in ModelOpt's FP8 or NVFP4 ({found}), and cannot be loaded so. "
                f"`hetero convert --dequantise {path} DST` makes a checkpoint of them that can be loaded."
            )

    def _update_heterogeneous_to_dict_output(self, d: dict[str, Any]):
        # The lists are in the dict already; `layer_types` follows from them but for the layers of a scalar window
        for name in ("_model_config", "_layer_idx", "_layer_types"):
            d.pop(name, None)
        if isinstance(self.windows, int) and self._is_finished:
            d["layer_types"] = self.saved_layer_types()
        if self.fused_blocks is None:
            d.pop("fused_blocks", None)


class FusedBlocksConfig(HeterogeneousPreTrainedConfig):
    """A config of layers that may compute several blocks in one module, which a kernel may replace."""

    # Fused block -> what a layer must be made of for it: types of its mixer, types of its MLP
    fusable = {}

    def normalise(self):
        if isinstance(self.fused_blocks, str) and self.fused_blocks in self.fusable and not self._list_errors():
            fits = [self.can_fuse(layer_idx, self.fused_blocks) for layer_idx in range(self.num_hidden_layers)]
            if any(fits):
                self.fused_blocks = [self.fused_blocks if fit else "none" for fit in fits]
        super().normalise()

    def can_fuse(self, layer_idx: int, fused_block: str) -> bool:
        """Whether a layer has the sub-blocks that a fused one takes the place of."""
        mixers, mlps = self.fusable[fused_block]
        return self.mixer_types[layer_idx] in mixers and self.mlp_types[layer_idx] in mlps

    def layers_with_fused_norm(self) -> tuple[list[int], list[int]]:
        """The layers whose norm is the MLP's, and the others."""
        fused_blocks = self.fused_blocks or ["none"] * self.num_hidden_layers
        fused = [idx for idx, fused_block in enumerate(fused_blocks) if fused_block == "norm_mlp"]
        return fused, [idx for idx in range(len(fused_blocks)) if idx not in fused]

    def _fusion_errors(self) -> list[str]:
        if self.fused_blocks is None:
            return []
        known = ["none", *self.fusable]
        if isinstance(self.fused_blocks, str):
            if self.fused_blocks not in known:
                return [f"fused_blocks is {self.fused_blocks!r}, allowed are {known}, for all layers or one a layer"]
            fits = [self.can_fuse(layer_idx, self.fused_blocks) for layer_idx in range(self.num_hidden_layers)]
            needed = self._needed_to_fuse(self.fused_blocks)
            complaint = f"fused_blocks is {self.fused_blocks!r}, but no layer's mixer and MLP are {needed}"
            return [] if any(fits) else [complaint]
        errors = []
        for layer_idx, fused_block in enumerate(self.fused_blocks):
            if fused_block not in known:
                errors.append(f"fused_blocks[{layer_idx}] is {fused_block!r}, allowed are {known}")
            elif fused_block != "none" and not self.can_fuse(layer_idx, fused_block):
                found = f"{self.mixer_types[layer_idx]!r} and {self.mlp_types[layer_idx]!r}"
                errors.append(
                    f"fused_blocks[{layer_idx}] is {fused_block!r}: the layer's mixer and MLP are {found}, "
                    f"needed are {self._needed_to_fuse(fused_block)}"
                )
        return errors

    def _needed_to_fuse(self, fused_block: str) -> str:
        return " and ".join(f"one of {list(types)}" for types in self.fusable[fused_block])


__all__ = ["HeterogeneousConfigError", "HeterogeneousPreTrainedConfig", "UnreadFieldsError"]
