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
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import chain
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from safetensors import safe_open
from torch import nn

from transformers.cache_utils import Cache, DynamicCache, DynamicLayer
from transformers.configuration_utils import PreTrainedConfig, remap_legacy_layer_types
from transformers.conversion_mapping import get_checkpoint_conversion_mapping, register_checkpoint_conversion_mapping
from transformers.core_model_loading import (
    WeightConverter,
    WeightRenaming,
    WeightTransform,
    dot_natural_key,
    rename_source_key,
    revert_weight_conversion,
)
from transformers.masking_utils import LAYER_PATTERN_TO_MASK_FUNCTION_MAPPING, find_packed_sequence_indices
from transformers.modeling_utils import PreTrainedModel
from transformers.models.mixtral import modeling_mixtral
from transformers.utils import is_tracing, logging

from .modular_heterogeneous_values import MAX_SIZE, HeterogeneousValuesConfig, is_list_of_names
from .modular_unread_fields import foreign_code, transformers_class, unread_complaint, unread_members


logger = logging.get_logger(__name__)

# Upstream's word for a layer -> what mixes tokens in it
MIXERS_BY_LAYER_TYPE = {
    "full_attention": "attention",
    "sliding_attention": "attention",
    "linear_attention": "mamba",
}
# What keeps something in the cache
MIXERS_WITH_STATE = frozenset(MIXERS_BY_LAYER_TYPE.values())
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
# What `save_pretrained` writes where there is no model card
MODEL_CARD = (
    "---\nlibrary_name: transformers\ntags:\n- transformers-heterogeneous\n---\n\nconfig.json says what each layer has.\n\n"
    '```python\nfrom {package} import {name}\n\nmodel = {name}.from_pretrained("path/to/this/folder")\n```\n'
)


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


class WindowMasks(dict):
    """The masks of layers of one type, by their windows."""

    def contiguous(self) -> "WindowMasks":
        """What `generate` asks of the mask of a type, before transformers 5.24."""
        return self


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


class LoadOnlyRenaming(WeightRenaming):
    """Reads names that are not written again."""

    __slots__ = ()

    def reverse_transform(self) -> WeightRenaming:
        return WeightRenaming("(?!)", "nothing")


class FusionRenaming(WeightRenaming):
    """Moves the norm into a fused block. It is saved under its own name, also when the file had it in the block."""

    __slots__ = ()

    def was_used(self) -> bool:
        return True


def tell_of_other_sizes(mismatched_keys: set[tuple[str, tuple, tuple]], load_config):
    """Refuse tensors of other sizes than the config says, ahead of transformers' advice to ignore them. Where that is asked
    for, say what becomes of them."""
    if not mismatched_keys:
        return
    tensors = sorted(mismatched_keys)
    lines = [
        f"{name}: {list(found)} in the checkpoint, {list(wanted)} in the model" for name, found, wanted in tensors[:8]
    ]
    said = "\n  ".join([*lines, *([f"and {len(tensors) - 8} more"] if len(tensors) > 8 else [])])
    heading = (
        f"{load_config.pretrained_model_name_or_path}: {len(tensors)} tensors have other sizes than the config says"
    )
    if load_config.ignore_mismatched_sizes:
        logger.warning(f"{heading}, and start at random, since ignore_mismatched_sizes is set:\n  {said}")
        return
    raise RuntimeError(  # as transformers does
        f"{heading}:\n  {said}\n"
        "Sizes are not sliced while loading: `per_layer_config` leaves out whole sub-blocks (`skip`), and keeps the sizes of "
        "those that stay. To narrow one, load the model as it is, cut the weights, and save it with the sizes in its "
        "config; or prune with a tool that cuts them, such as ModelOpt, whose checkpoints are read. "
        "`ignore_mismatched_sizes=True` would give these tensors random numbers."
    )


def create_causal_mask(
    config: HeterogeneousPreTrainedConfig,
    inputs_embeds: torch.Tensor,
    attention_mask: torch.Tensor | dict[str, Any] | None,
    cache: Cache | None = None,
    position_ids: torch.LongTensor | None = None,
    past_key_values: Cache | None = None,
    **kwargs,
) -> dict[str, Any]:
    """The masks of all layers by their entry of `layer_types`, if they are not made yet. Where windows differ,
    `"sliding_attention"` has one mask a window, and a layer takes its own. Also what `generate` calls ahead of a compiled
    forward."""
    if isinstance(attention_mask, dict):
        return attention_mask
    cache = cache if cache is not None else past_key_values
    names = ("or_mask_function", "and_mask_function", "block_sequence_ids")
    overlays = {name: kwargs[name] for name in names if kwargs.get(name) is not None}
    masks = dict.fromkeys(config.layer_types)
    windows_differ = isinstance(config.windows, list)
    for (layer_type, window), layer_idx in config.per_layer_config.distinct_mixers.items():
        if layer_idx >= config.num_hidden_layers:  # `assistant_early_exit` leaves the last ones out
            continue
        mask = LAYER_PATTERN_TO_MASK_FUNCTION_MAPPING[layer_type](
            config.per_layer_config[layer_idx] if windows_differ else config,
            inputs_embeds,
            attention_mask,
            cache,
            position_ids=position_ids,
            layer_idx=layer_idx,
            **overlays,
        )
        if windows_differ and window:
            mask = WindowMasks({**(masks[layer_type] or {}), window: mask})
        masks[layer_type] = mask
    return masks


class HeterogeneousPreTrainedModel(PreTrainedModel):
    # Names, as patterns, in `_keys_to_ignore_on_load_unexpected` that are to be told of -> what such tensors are
    ignored_tensors = {}
    # Transformers' own model type whose checkpoints need their tensors renamed for this family too
    renamed_like = None
    # Of `fused_blocks`: the class of a layer with "add_norm", and of an MLP with "norm_mlp"; the norm, and the MLP into which
    # that moves it
    fused_layer_class, fused_mlp_class = None, None
    fused_norm = "post_attention_layernorm"
    fused_mlp = "mlp"

    def __init__(self, config: HeterogeneousPreTrainedConfig, *inputs, **kwargs):
        if not hasattr(config, "mixer_types"):  # remote code has a copy of the class
            ours, theirs = self.config_class.__name__, type(config).__name__
            raise TypeError(
                f"{type(self).__name__} takes a {ours}, not a {theirs}: {ours}.from_dict(config.to_dict()) makes one"
            )
        config.freeze()
        super().__init__(config, *inputs, **kwargs)
        # Anew for each model, which also keeps its own: another one of the family may be fused otherwise
        renamings = self.renamings(config)
        register_checkpoint_conversion_mapping(type(config).model_type, renamings, overwrite=True)
        self._weight_conversions = renamings or None  # which saving asks of every tensor

    def post_init(self):
        """Let layers be fused, and make float32 what stays so when a checkpoint is loaded, before all get their first
        values."""
        if self is self.base_model:
            for layer_idx, fused_block in enumerate(self.config.fused_blocks or ()):
                if fused_block == "add_norm":
                    self.layers[layer_idx] = self.fused_layer_class(self.config, layer_idx)
                elif fused_block == "norm_mlp":
                    layer, layer_config = self.layers[layer_idx], self.config.per_layer_config[layer_idx]
                    setattr(layer, self.fused_mlp, self.fused_mlp_class(layer_config))
                    setattr(layer, self.fused_norm, nn.Identity())
        if torch.get_default_dtype() in (torch.float16, torch.bfloat16):
            for name, tensor in self.state_dict(keep_vars=True).items():
                if any(fnmatchcase(name, f"*{pattern}*") for pattern in self._keep_in_fp32_modules_strict or ()):
                    tensor.data = tensor.data.float()
        super().post_init()

    def _initialize_weights(self, module: nn.Module, is_custom_code: bool = False):
        super()._initialize_weights(module)  # custom code passes over modules without parameters of their own

    def __setstate__(self, state: dict[str, Any]):
        super().__setstate__(state)
        self.config.freeze()
        self.base_model.take_layer_configs()

    def take_layer_configs(self):
        """Let each layer have its index, and its config be the one that follows what is set on the model's."""
        for layer_idx, part in [(0, self), *enumerate(self.layers)]:  # RoPE has the first layer's
            for module in part.modules():
                if hasattr(module, "layer_idx"):
                    module.layer_idx = layer_idx
                if "_layer_idx" in vars(getattr(module, "config", None) or object):
                    module.config = self.config.per_layer_config[layer_idx]

    @staticmethod
    def _load_pretrained_model(model, state_dict, checkpoint_files, load_config, expected_keys=None):
        names = names_on_disk(state_dict, checkpoint_files)
        if load_config.hf_quantizer is None or not load_config.hf_quantizer.pre_quantized:
            refuse_modelopt(model.config, load_config.pretrained_model_name_or_path, names)
        weight_mapping = [*model.unfused(names), *(load_config.weight_mapping or ())]
        load_config = replace(load_config, weight_mapping=weight_mapping)
        loaded = PreTrainedModel._load_pretrained_model(
            model, state_dict, checkpoint_files, load_config, expected_keys
        )
        tell_of_other_sizes(loaded[0].mismatched_keys, load_config)
        return loaded

    def unfused(self, names: list[str]) -> list[WeightRenaming]:
        """What names norms as in plain layers, where they were saved in fused ones, with `save_original_format=False`."""
        moved_norm = f".{self.fused_mlp}.norm.weight"
        plain = LoadOnlyRenaming(rf"layers.(\d+){moved_norm}", rf"layers.\1.{self.fused_norm}.weight")
        return [plain] if any(name.endswith(moved_norm) for name in names) else []

    def _adjust_missing_and_unexpected_keys(self, loading_info):
        for pattern, description in self.ignored_tensors.items():
            if any(fnmatchcase(key, pattern) for key in loading_info.unexpected_keys):
                logger.warning(f"The tensors `{pattern}` of the checkpoint are not loaded: {description}.")
        super()._adjust_missing_and_unexpected_keys(loading_info)

    def renamings(self, config: HeterogeneousPreTrainedConfig) -> list[WeightTransform]:
        """What the loader renames or stacks, and `save_pretrained` names back. The norms of layers in which norm and MLP
        are fused move into the MLP, so that what is on disk is the same for every choice of `fused_blocks`."""
        renamings = get_checkpoint_conversion_mapping(self.renamed_like) or []
        fused_blocks = enumerate(config.fused_blocks or ())
        if fused := "|".join(str(layer_idx) for layer_idx, fused_block in fused_blocks if fused_block == "norm_mlp"):
            moved_norm = rf"layers.\1.{self.fused_mlp}.norm.weight"
            renamings.append(FusionRenaming(rf"layers.({fused}).{self.fused_norm}.weight", moved_norm))
        return renamings

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, missing_keys, *args):
        missing_keys += [prefix + name for name in self.take_names_on_disk(state_dict, prefix)]
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing_keys, *args)

    def take_names_on_disk(self, state_dict: dict[str, torch.Tensor], prefix: str = "") -> list[str]:
        """Rename and stack in place what is under names on disk, as `from_pretrained` does, for loaders that do not. Parts of
        a stack that are not there, as in a shard, stay what they are in the model; their names are returned."""
        own = dict(chain(*(named(remove_duplicate=False) for named in (self.named_parameters, self.named_buffers))))
        foreign = [name for name in state_dict if name.startswith(prefix) and name.removeprefix(prefix) not in own]
        conversions = getattr(self, "_weight_conversions", None) or []
        conversions = copy.deepcopy([*self.unfused(foreign), *conversions])  # they note that they were used
        renamings = [each for each in conversions if isinstance(each, WeightRenaming)]
        converters = {
            name: each for each in conversions if isinstance(each, WeightConverter) for name in each.source_patterns
        }
        stacks: dict[str, dict[str, torch.Tensor]] = {}
        for name in foreign if conversions else ():
            renamed = rename_source_key(
                name.removeprefix(prefix), renamings, list(converters.values()), self.base_model_prefix, own
            )
            target, pattern = renamed
            if target not in own:
                continue  # torch tells of it
            twin = state_dict.get(prefix + target)
            if (
                twin is not None and twin.data_ptr() != own[target].data_ptr()
            ):  # torch.distributed adds what the model has
                into = f"{prefix + target}, which it becomes in {type(self).__name__}"
                raise RuntimeError(f"{name}: {into}, is there too")
            tensor = state_dict.pop(name)
            if pattern is None:
                state_dict[prefix + target] = tensor
            else:
                stacks.setdefault(target, {})[name.removeprefix(prefix)] = tensor
        missing = []
        for target, parts in stacks.items():
            try:
                stacked, left = self.stacked(target, own[target].detach(), parts, converters)
            except Exception as error:
                into = f"{prefix + target} of {type(self).__name__}, {tuple(own[target].shape)}"
                raise RuntimeError(f"{sorted(parts)} cannot be stacked into {into}: {error}") from error
            state_dict.update({prefix + name: tensor for name, tensor in stacked.items()})
            missing += left
        return missing

    def stacked(
        self, target: str, held: torch.Tensor, parts: dict[str, torch.Tensor], converters
    ) -> tuple[dict, list]:
        """Parts by their names on disk as one tensor, completed from the one that is held, and the names of what it had to
        give."""

        def place(name: str) -> tuple[str, str]:
            found = ((pattern, re.search(pattern.replace("*", r"\d+"), name)) for pattern in converters)
            return next((match.group(), pattern) for pattern, match in found if match)

        given = {place(name): (name, tensor) for name, tensor in parts.items()}
        if len(given) < len(parts):
            raise ValueError("a part is there under two names")
        kept = {place(name): (name, part) for name, part in revert_weight_conversion(self, {target: held}).items()}
        mapping = copy.deepcopy(converters[next(iter(given))[1]])
        every = kept | given
        for part, pattern in sorted(every, key=lambda place: dot_natural_key(place[0])):
            mapping.add_tensor(target, every[part, pattern][0], pattern, every[part, pattern][1])
        converted = mapping.convert(target, model=self, config=self.config)
        stacked = {name: tensor[0] if isinstance(tensor, list) else tensor for name, tensor in converted.items()}
        return stacked, [kept[place][0] for place in kept.keys() - given.keys()]

    def check_layers(self):
        """Refuse, by a `ValueError`, layers that were taken out of `model.layers`, put there or moved by hand."""
        order = [getattr(layer, "layer_idx", idx) for idx, layer in enumerate(self.layers)]
        if order != list(range(len(self.config.mixer_types))):
            raise ValueError(
                f"model.layers has layers {order}, and config describes 0 to {len(self.config.mixer_types) - 1}: take layers "
                "out, move or repeat them with `transformers_heterogeneous.keep_layers(model, [0, 2, ...])`, which changes "
                "model and config"
            )

    def save_pretrained(self, save_directory, is_main_process=True, *args, **kwargs):
        """As transformers saves; where there is no model card, with one that says what loads the folder."""
        self.base_model.check_layers()
        super().save_pretrained(save_directory, is_main_process, *args, **kwargs)
        package, card = type(self).__module__.partition(".")[0], os.path.join(save_directory, "README.md")
        remote = package == "transformers_modules"  # code that lies beside the weights, and is imported by no name
        if is_main_process and not remote and os.path.isdir(save_directory) and not os.path.exists(card):
            with open(card, "w", encoding="utf-8") as file:
                file.write(MODEL_CARD.format(package=package, name=type(self).__name__))

    def prepare_cache(self, cache: Cache | None, use_cache: bool | None) -> Cache | None:
        """The cache of a forward. One that was made without a config gets its layers from this model's: it would take a
        layer that does not attend, and keeps nothing, for one that has seen nothing."""
        self.check_layers()
        config = self.config
        if cache is None:
            return DynamicCache(config=config) if use_cache else None
        if not isinstance(cache, DynamicCache):
            return cache
        if not cache.layers:
            cache.layers, cache.layer_class_to_replicate = DynamicCache(config=config).layers, None
        elif (
            isinstance(cache.layers[0], DynamicLayer) and config.mixer_types[0] not in MIXERS_WITH_STATE
        ):  # made from tensors
            layers = zip(cache.layers, DynamicCache(config=config).layers, config.mixer_types)
            cache.layers = [layer if mixer in MIXERS_WITH_STATE else own_layer for layer, own_layer, mixer in layers]
        return cache

    def refuse_packed_rows(
        self,
        position_ids: torch.LongTensor | None,
        attention_mask: torch.Tensor | dict | None,
        seq_idx: torch.Tensor | None,
    ):
        """Refuse rows of several sequences, each of whose positions begin again, where mamba layers are not told of them."""
        layers = self.config.layers_made_of("mamba")
        told = seq_idx is not None or attention_mask is not None or position_ids is None
        if told or not layers or is_tracing(position_ids):
            return
        if (sequences := find_packed_sequence_indices(position_ids)) is not None:
            raise ValueError(
                f"position_ids begin again: {int(sequences.max()) + 1} sequences in a row, and the mamba layers {layers} would "
                "carry the state of one into the next. Pass `seq_idx`, which says of each token its sequence (int32, shaped "
                "as position_ids; DataCollatorWithFlattening(return_seq_idx=True) makes it) and needs mamba_ssm and "
                "causal_conv1d, or one sequence a row, padded, with its attention_mask."
            )

    create_masks_for_generate = staticmethod(create_causal_mask)

    def init_continuous_batching(self, *args, **kwargs):
        """Refuse what upstream's paged cache cannot hold, for which it would return empty outputs."""
        instead = "Use `generate`, which takes a batch of padded prompts."
        if layers := self.config.layers_made_of("mamba"):
            raise ValueError(
                f"Continuous batching has no cache for the state of mamba layers, here {layers}. {instead}"
            )
        geometry = {"num_attention_heads", "num_key_value_heads", "sliding_window"}
        if varying := sorted(geometry.intersection(self.config.per_layer_attributes or ())):
            values = "; ".join(f"{name} = {getattr(self.config, name)}" for name in varying)
            raise ValueError(
                f"Continuous batching has one cache geometry for all layers, and here they differ: {values}. {instead}"
            )
        return super().init_continuous_batching(*args, **kwargs)

    def _prepare_cache_for_generation(self, generation_config, *args, **kwargs):
        if generation_config.use_cache is not False and "attention" not in self.config.mixer_types:
            raise ValueError(
                "No layer attends, and only a layer that does counts the tokens in a cache: call `generate` with "
                "`use_cache=False`."
            )
        return super()._prepare_cache_for_generation(generation_config, *args, **kwargs)

    def _get_candidate_generator(self, generation_config, *args, **kwargs):
        num_layers = generation_config.assistant_early_exit
        if num_layers is not None and "attention" not in self.config.mixer_types[:num_layers]:
            first = self.config.mixer_types.index("attention") + 1
            raise ValueError(f"assistant_early_exit = {num_layers}: no layer before it attends, {first} is the least")
        return super()._get_candidate_generator(generation_config, *args, **kwargs)


def names_on_disk(state_dict: dict[str, Any] | None, checkpoint_files: list[str] | None) -> list[str]:
    """The names of the tensors that are to be loaded."""
    names = list(state_dict or ())
    for file in [file for file in checkpoint_files or () if file.endswith(".safetensors")]:
        with safe_open(file, framework="pt") as opened:
            names += opened.keys()
    return names


def refuse_modelopt(config: HeterogeneousPreTrainedConfig, path: str, names: list[str]):
    """Refuse weights that ModelOpt quantised. Transformers would read their bits as numbers, and leave their scales."""
    scales = [name for name in names if name.endswith(("weight_scale", "weight_scale_2", "weight_scale_inv"))]
    said = getattr(config, "quantization_config", None)
    said = said if isinstance(said, dict) and said.get("quant_method") == "modelopt" else {}
    if scales or said.get("quant_algo"):
        found = f"{len(scales)} tensors with scales, as {scales[0]!r}" if scales else f"quantization_config = {said}"
        raise ValueError(
            f"{path}: the weights are quantised, in ModelOpt's FP8 or NVFP4 ({found}), and cannot be loaded so. "
            f"`hetero convert --dequantise {path} DST` makes a checkpoint of them that can be loaded."
        )


def keep_layers(model: HeterogeneousPreTrainedModel, layers: Sequence[int]) -> HeterogeneousPreTrainedModel:
    """
    Take layers out of a model, reorder or repeat them: the model has these of its layers afterwards, in this order, and
    its config describes them. What is saved loads as it is.

    Args:
        model: of one of the families, with a head or without, or one that has it as its text model. It is changed, and
            returned.
        layers: indices of layers. One that is there again is a copy, with weights of its own.

    Raises:
        ValueError: an index is none of a layer, or what is left is no model. Nothing is changed.
    """
    base = getattr(model.base_model, "language_model", model.base_model)  # beside a vision model
    config = base.config
    layers, num_layers = list(layers), len(config.mixer_types)
    if wrong := [idx for idx in layers if not 0 <= idx < num_layers] or [] if layers else [None]:
        raise ValueError(f"layers {wrong}: indices in 0..{num_layers - 1} are needed")
    described = copy.deepcopy(config)
    described.select_layers(layers)
    described.freeze()
    held = {name: value for name, value in vars(config).items() if isinstance(value, list)}
    del vars(config)["_view"]
    vars(config).update({name: vars(described)[name] for name in (*held, "num_hidden_layers")})
    config.freeze()
    for module in {model, base} if config is model.config else {base}:  # heads keep numbers of experts for their loss
        for name, value in list(vars(module).items()):
            field = next(
                (field for field, entries in held.items() if isinstance(value, list) and value == entries), None
            )
            if field is not None:
                setattr(module, name, vars(config)[field])
        module._weight_conversions = module.renamings(config) or None
    modules = [
        base.layers[idx] if idx not in layers[:at] else copy.deepcopy(base.layers[idx])
        for at, idx in enumerate(layers)
    ]
    del base.layers[:]  # in place, whatever the parent calls them
    base.layers.extend(modules)
    base.take_layer_configs()
    return model


def load_balancing_loss_func(
    gate_logits: tuple[torch.Tensor, ...] | None,
    num_experts: int | list[int | None] | None = None,
    top_k: int | list[int | None] = 2,
    attention_mask: torch.Tensor | None = None,
) -> torch.Tensor | int:
    """
    The load-balancing loss: the parents', over the layers together, where these have the same number of experts and of
    experts per token; else the mean of the layers' own.

    Args:
        gate_logits: of the layers with experts only, each of shape (batch_size * sequence_length, num_experts).
        num_experts, top_k: one number for all layers, or a list with one entry a layer, `None` where it has no experts.
        attention_mask: (batch_size, sequence_length); what is padding does not count.
    """
    if not gate_logits:
        return torch.zeros(())
    if isinstance(num_experts, int) and isinstance(top_k, int):
        return modeling_mixtral.load_balancing_loss_func(gate_logits, num_experts, top_k, attention_mask)
    num_layers = len(num_experts if isinstance(num_experts, list) else top_k)
    sizes = zip(*(size if isinstance(size, list) else [size] * num_layers for size in (num_experts, top_k)))
    layers = zip(gate_logits, [layer for layer in sizes if None not in layer])
    losses = [modeling_mixtral.load_balancing_loss_func((logits,), *layer, attention_mask) for logits, layer in layers]
    return torch.stack([loss.to(losses[0].device) for loss in losses]).mean()


__all__ = [
    "HeterogeneousConfigError",
    "HeterogeneousPreTrainedConfig",
    "HeterogeneousPreTrainedModel",
    "UnreadFieldsError",
    "create_causal_mask",
    "keep_layers",
    "load_balancing_loss_func",
]
