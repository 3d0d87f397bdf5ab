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
"""What the models of every family share. No `__all__`: families copy what they import."""

import copy
import re
from fnmatch import fnmatchcase
from itertools import chain

import torch

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
from transformers.generation import GenerationMixin
from transformers.masking_utils import LAYER_PATTERN_TO_MASK_FUNCTION_MAPPING, find_packed_sequence_indices
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import is_tracing, logging
from transformers.utils.deprecation import deprecate_kwarg

from .modular_heterogeneous import HeterogeneousPreTrainedConfig


logger = logging.get_logger(__name__)


class LoadOnlyRenaming(WeightRenaming):
    """Reads names that are not written again."""

    __slots__ = ()

    def reverse_transform(self) -> WeightRenaming:
        return WeightRenaming("(?!)", "nothing")


class HeterogeneousPreTrainedModel(PreTrainedModel):
    # Names, as patterns, in `_keys_to_ignore_on_load_unexpected` that are to be told of -> what such tensors are
    ignored_tensors = {}
    # Transformers' own model type whose checkpoints need their tensors renamed for this family too
    renamed_like = None

    def __init__(self, config: HeterogeneousPreTrainedConfig, *inputs, **kwargs):
        if not hasattr(config, "mixer_types"):  # remote code has a copy of the class
            ours, theirs = self.config_class.__name__, type(config).__name__
            raise TypeError(
                f"{type(self).__name__} takes a {ours}, not a {theirs}: {ours}.from_dict(config.to_dict()) makes one"
            )
        super().__init__(config, *inputs, **kwargs)
        if renamings := self.renamings(config):
            # Anew for each model, which also keeps its own: another one of the family may be fused otherwise
            register_checkpoint_conversion_mapping(type(config).model_type, renamings, overwrite=True)
            self._weight_conversions = renamings

    def post_init(self):
        """Make float32 what stays so when a checkpoint is loaded, before it gets its first values."""
        if torch.get_default_dtype() in (torch.float16, torch.bfloat16):
            for name, tensor in self.state_dict(keep_vars=True).items():
                if any(fnmatchcase(name, f"*{pattern}*") for pattern in self._keep_in_fp32_modules_strict or ()):
                    tensor.data = tensor.data.float()
        super().post_init()

    @staticmethod
    def _load_pretrained_model(model, state_dict, checkpoint_files, load_config, expected_keys=None):
        if load_config.hf_quantizer is None or not load_config.hf_quantizer.pre_quantized:
            model.config.refuse_modelopt(load_config.pretrained_model_name_or_path, state_dict, checkpoint_files)
        return PreTrainedModel._load_pretrained_model(model, state_dict, checkpoint_files, load_config, expected_keys)

    def _adjust_missing_and_unexpected_keys(self, loading_info):
        for pattern, description in self.ignored_tensors.items():
            if any(fnmatchcase(key, pattern) for key in loading_info.unexpected_keys):
                logger.warning(f"The tensors `{pattern}` of the checkpoint are not loaded: {description}.")
        super()._adjust_missing_and_unexpected_keys(loading_info)

    def renamings(self, config: HeterogeneousPreTrainedConfig) -> list[WeightTransform]:
        """What the loader renames or stacks, and `save_pretrained` names back."""
        return get_checkpoint_conversion_mapping(self.renamed_like) or []

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, missing_keys, *args):
        missing_keys += [prefix + name for name in self.take_names_on_disk(state_dict, prefix)]
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing_keys, *args)

    def take_names_on_disk(self, state_dict: dict[str, torch.Tensor], prefix: str = "") -> list[str]:
        """Rename and stack in place what is under names on disk, as `from_pretrained` does, for loaders that do not. Parts of
        a stack that are not there, as in a shard, stay what they are in the model; their names are returned."""
        own = dict(chain(*(named(remove_duplicate=False) for named in (self.named_parameters, self.named_buffers))))
        foreign = [name for name in state_dict if name.startswith(prefix) and name.removeprefix(prefix) not in own]
        conversions = copy.deepcopy(getattr(self, "_weight_conversions", None) or [])  # they note that they were used
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

    def save_pretrained(self, *args, **kwargs):
        self.base_model.follow_changes()
        super().save_pretrained(*args, **kwargs)

    def fill_cache(self, cache: Cache | None):
        """Give a cache that was made without a config its layers. It would take one that does not attend, and keeps
        nothing, for one that has seen nothing."""
        if not isinstance(cache, DynamicCache):
            return
        layers = cache.layers
        if not layers:
            cache.layers = DynamicCache(config=self.config).layers
            cache.layer_class_to_replicate = None
        elif self.layers[0].mask_name is None and isinstance(layers[0], DynamicLayer):  # made from tensors
            own_layers = DynamicCache(config=self.config).layers
            for layer_idx, layer in enumerate(self.layers[: len(layers)]):
                if layer.mask_name is None:
                    layers[layer_idx] = own_layers[layer_idx]

    def follow_changes(self, cache: Cache | None = None, use_cache: bool | None = None):
        """Follow what was changed since the last forward, or since the model was built: layers that were taken out, moved
        or copied, and windows that were set."""
        if self.layer_plan.follow(self.config, self.layers, cache, use_cache):
            self.plan_masks(self.config)

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

    def plan_masks(self, config: HeterogeneousPreTrainedConfig):
        """Plan one mask for each distinct (kind, window) of the layers' mixers. Each layer is told its `mask_name`, `None`
        where it needs no mask, its window, and its place in the cache."""
        self.layer_plan = plan = config.layer_plan()
        self.mask_kinds = plan.mask_kinds
        for layer_idx, layer in enumerate(self.layers):
            layer.planned_idx, layer.planned_types = layer_idx, plan.types[layer_idx]
            layer.mask_name = plan.mask_names[layer_idx]
            for module in layer.children():
                if hasattr(module, "sliding_window"):
                    module.sliding_window = plan.sliding_windows[layer_idx]
            for module in layer.modules():
                if hasattr(module, "layer_idx"):
                    module.layer_idx = layer_idx

    @deprecate_kwarg("past_key_values", "5.40.0", new_name="cache")
    def create_masks_for_generate(
        self,
        inputs_embeds: torch.Tensor,
        attention_mask: torch.Tensor | None,
        cache: Cache | None,
        position_ids: torch.LongTensor | None = None,
        or_mask_function=None,
        and_mask_function=None,
        block_sequence_ids: torch.Tensor | None = None,
        **kwargs,
    ) -> dict[str, torch.Tensor | None]:
        """The masks of all layers by name. Also what `generate` calls ahead of a compiled forward."""
        plan, config = self.base_model.layer_plan, self.base_model.config
        first_layers = plan.first_layers(config.num_hidden_layers)  # `assistant_early_exit` leaves the last ones out
        masks = {}
        for name, layer_idx in first_layers.items():
            layer_type, window = plan.mask_kinds[name]
            masks[name] = LAYER_PATTERN_TO_MASK_FUNCTION_MAPPING[layer_type](
                config=config if window in (None, config.windows) else config.with_fields(sliding_window=window),
                inputs_embeds=inputs_embeds,
                attention_mask=attention_mask,
                cache=cache,
                position_ids=position_ids,
                or_mask_function=or_mask_function,
                and_mask_function=and_mask_function,
                block_sequence_ids=block_sequence_ids,
                layer_idx=layer_idx,
            )
        return masks


class HeterogeneousGenerationMixin(GenerationMixin):
    def init_continuous_batching(self, *args, **kwargs):
        self.config.refuse_continuous_batching()
        return super().init_continuous_batching(*args, **kwargs)

    def _prepare_cache_for_generation(self, generation_config, model_kwargs, *args, **kwargs):
        use_cache = generation_config.use_cache is not False
        self.base_model.follow_changes(model_kwargs.get("cache"), use_cache)
        if use_cache:
            self.config.refuse_cached_generation()
        return super()._prepare_cache_for_generation(generation_config, model_kwargs, *args, **kwargs)

    def _get_candidate_generator(self, generation_config, *args, **kwargs):
        if generation_config.assistant_early_exit is not None:
            self.config.refuse_early_exit(generation_config.assistant_early_exit)
        return super()._get_candidate_generator(generation_config, *args, **kwargs)
