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

from fnmatch import fnmatchcase

import torch

from transformers.cache_utils import Cache, DynamicCache, DynamicLayer
from transformers.conversion_mapping import get_checkpoint_conversion_mapping, register_checkpoint_conversion_mapping
from transformers.core_model_loading import WeightRenaming, WeightTransform
from transformers.generation import GenerationMixin
from transformers.masking_utils import LAYER_PATTERN_TO_MASK_FUNCTION_MAPPING
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import logging
from transformers.utils.deprecation import deprecate_kwarg

from .modular_heterogeneous import HeterogeneousPreTrainedConfig


logger = logging.get_logger(__name__)


class LoadOnlyRenaming(WeightRenaming):
    """Reads names that are not written again."""

    __slots__ = ()

    def reverse_transform(self) -> WeightRenaming:
        return WeightRenaming("(?!)", "nothing")


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

    @staticmethod
    def _load_pretrained_model(model, state_dict, checkpoint_files, load_config, expected_keys=None):
        if load_config.hf_quantizer is None or not load_config.hf_quantizer.pre_quantized:
            model.config.refuse_modelopt(load_config.pretrained_model_name_or_path, state_dict, checkpoint_files)
        loaded = PreTrainedModel._load_pretrained_model(
            model, state_dict, checkpoint_files, load_config, expected_keys
        )
        tell_of_other_sizes(loaded[0].mismatched_keys, load_config)
        return loaded

    def _adjust_missing_and_unexpected_keys(self, loading_info):
        for pattern, description in self.ignored_tensors.items():
            if any(fnmatchcase(key, pattern) for key in loading_info.unexpected_keys):
                logger.warning(f"The tensors `{pattern}` of the checkpoint are not loaded: {description}.")
        super()._adjust_missing_and_unexpected_keys(loading_info)

    def renamings(self, config: HeterogeneousPreTrainedConfig) -> list[WeightTransform]:
        """What the loader renames or stacks, and `save_pretrained` names back."""
        return get_checkpoint_conversion_mapping(self.renamed_like) or []

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
