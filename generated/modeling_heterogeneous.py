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
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import chain
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

from transformers.cache_utils import Cache, DynamicCache, DynamicLayer
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

from .configuration_heterogeneous import HeterogeneousPreTrainedConfig


logger = logging.get_logger(__name__)


class WindowMasks(dict):
    """The masks of layers of one type, by their windows."""

    def contiguous(self) -> "WindowMasks":
        """What `generate` asks of the mask of a type, before transformers 5.24."""
        return self


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


# Upstream's word for a layer -> what mixes tokens in it
MIXERS_BY_LAYER_TYPE = {
    "full_attention": "attention",
    "sliding_attention": "attention",
    "linear_attention": "mamba",
}
# What keeps something in the cache
MIXERS_WITH_STATE = frozenset(MIXERS_BY_LAYER_TYPE.values())
# What `save_pretrained` writes where there is no model card
MODEL_CARD = (
    "---\nlibrary_name: transformers\ntags:\n- transformers-heterogeneous\n---\n\nconfig.json says what each layer has.\n\n"
    '```python\nfrom {package} import {name}\n\nmodel = {name}.from_pretrained("path/to/this/folder")\n```\n'
)


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


__all__ = ["HeterogeneousPreTrainedModel", "create_causal_mask", "keep_layers", "load_balancing_loss_func"]
