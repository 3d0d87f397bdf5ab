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
from typing import Any

import torch
from safetensors import safe_open

from transformers.cache_utils import Cache, DynamicCache, DynamicLayer
from transformers.configuration_utils import PreTrainedConfig
from transformers.conversion_mapping import get_checkpoint_conversion_mapping, register_checkpoint_conversion_mapping
from transformers.core_model_loading import WeightRenaming, WeightTransform
from transformers.generation import GenerationMixin
from transformers.masking_utils import LAYER_PATTERN_TO_MASK_FUNCTION_MAPPING
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import logging
from transformers.utils.deprecation import deprecate_kwarg

from .modular_heterogeneous import HeterogeneousPreTrainedConfig, has_state


logger = logging.get_logger(__name__)


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


def refuse_modelopt(
    path: str, config: PreTrainedConfig, state_dict: dict[str, Any] | None, checkpoint_files: list[str] | None
):
    """Refuse weights that ModelOpt quantised. Transformers would read their bits as numbers, and leave their scales."""
    names = list(state_dict or ())
    for file in [file for file in checkpoint_files or () if file.endswith(".safetensors")]:
        with safe_open(file, framework="pt") as opened:
            names += opened.keys()
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
    # Where norm and MLP are fused: the norm, and the MLP into which it moves
    fused_norm = "post_attention_layernorm"
    fused_mlp = "mlp"
    layers_moved = False

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
        quantizer = load_config.hf_quantizer
        if quantizer is None or not quantizer.pre_quantized:
            refuse_modelopt(load_config.pretrained_model_name_or_path, model.config, state_dict, checkpoint_files)
        return PreTrainedModel._load_pretrained_model(model, state_dict, checkpoint_files, load_config, expected_keys)

    def _adjust_missing_and_unexpected_keys(self, loading_info):
        for pattern, description in self.ignored_tensors.items():
            if any(fnmatchcase(key, pattern) for key in loading_info.unexpected_keys):
                logger.warning(f"The tensors `{pattern}` of the checkpoint are not loaded: {description}.")
        super()._adjust_missing_and_unexpected_keys(loading_info)

    def renamings(self, config: HeterogeneousPreTrainedConfig) -> list[WeightTransform]:
        """
        What the loader renames or stacks, and `save_pretrained` names back.

        The norms of layers in which norm and MLP are fused move into the MLP, so that what is on disk is the same for
        every choice of `fused_blocks`. Where it is the fused layout, saved with `save_original_format=False`, the norms
        of all other layers are named back as they are loaded.
        """
        fused_blocks = config.fused_blocks or ["none"] * config.num_hidden_layers
        fused = "|".join(str(idx) for idx, fused_block in enumerate(fused_blocks) if fused_block == "norm_mlp")
        others = "|".join(str(idx) for idx, fused_block in enumerate(fused_blocks) if fused_block != "norm_mlp")
        norm, moved_norm = f"{self.fused_norm}.weight", f"{self.fused_mlp}.norm.weight"
        renamings = get_checkpoint_conversion_mapping(self.renamed_like) or []
        if fused:
            renamings.append(FusionRenaming(rf"layers.({fused}).{norm}", rf"layers.\1.{moved_norm}"))
        if others and config.fusable:
            renamings.append(LoadOnlyRenaming(rf"layers.({others}).{moved_norm}", rf"layers.\1.{norm}"))
        return renamings

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
        config = self.config
        order = [getattr(layer, "planned_idx", None) for layer in self.layers]
        moved = order != list(range(len(order))) or len(order) < len(config.mixer_types)
        if moved and len(set(self.layers)) < len(order):
            self._refuse_shared_layers(cache is not None or use_cache)
            return
        if moved:
            self._follow_layers(order)
        types = list(zip(config.mixer_types, config.mlp_types))
        if [layer.planned_types for layer in self.layers][: len(types)] != types:
            self._refuse_other_types(types)
        if moved or self.planned_windows != (config.windows, config.layer_types):
            if cache is not None and cache.get_seq_length() > 0:
                raise ValueError("Layers or windows were changed since this cache was filled: begin with a new one.")
            config.check_layer_types()
            self.plan_masks(config)

    def _follow_layers(self, order: list[int | None]):
        """Let the config say what the layers are, and each layer its own place in the cache."""
        config = self.config
        if None in order:
            raise ValueError(
                f"Layer {order.index(None)} was not built with the model. Put a `copy.deepcopy` of one of its layers "
                "there, or build a model with as many layers and load the weights."
            )
        if config.layer_lists() == self.planned_lists:
            config.keep_layers(order)
        elif len(config.mixer_types) != len(order):
            raise ValueError(
                f"The model has {len(order)} layers, of {len(self.planned_lists['mixer_types'])} once, and mixer_types "
                f"has {len(config.mixer_types)} entries: set the lists of the config for the layers that are there."
            )
        config.num_hidden_layers = len(order)
        for layer_idx, layer in enumerate(self.layers):
            for module in layer.modules():
                if hasattr(module, "layer_idx"):
                    module.layer_idx = layer_idx
        self.layers_moved = True

    def _refuse_shared_layers(self, cached: bool | None):
        if cached:
            raise ValueError(
                "A layer is there more than once, and it has one place in a cache: put a `copy.deepcopy` of it there, or "
                "call with `use_cache=False`."
            )

    def _refuse_other_types(self, types: list[tuple[str, str]]):
        planned = [layer.planned_types for layer in self.layers]
        wrong = {idx: own for idx, (own, asked) in enumerate(zip(planned, types)) if own != asked}
        raise ValueError(
            f"mixer_types or mlp_types were set on the config of a built model, whose layers are {wrong}, by index: build "
            "a model of the config, or load one with `from_pretrained(path, per_layer_config={layer: {...}})`."
        )

    def save_pretrained(self, *args, **kwargs):
        self.base_model.follow_changes()
        if self.base_model.layers_moved:  # what is named back is named by layer
            self._weight_conversions = self.renamings(self.config)
        super().save_pretrained(*args, **kwargs)

    def plan_masks(self, config: HeterogeneousPreTrainedConfig):
        """
        Plan one mask for each distinct (kind, window) of the layers' mixers.

        Sets `mask_name` of each layer, `None` where it needs no mask. The names are upstream's layer types; with several
        windows, the window is added to the name. `mask_kinds` says for each name the layer type and the window.
        """
        self.planned_lists = config.layer_lists()
        self.planned_windows = (config.windows, config.layer_types)
        windows = config.layer_sizes("sliding_window")
        several = len({window for window in windows if window is not None}) > 1
        self.mask_kinds = {}
        layers = zip(self.layers, config.mixer_types, config.mlp_types, config.layer_types, windows)
        for layer_idx, (layer, mixer_type, mlp_type, layer_type, window) in enumerate(layers):
            layer.planned_idx, layer.planned_types = layer_idx, (mixer_type, mlp_type)
            layer.mask_name = None
            for module in layer.children():
                if hasattr(module, "sliding_window"):
                    module.sliding_window = window
            if has_state(mixer_type):
                layer.mask_name = f"{layer_type}_{window}" if several and window is not None else layer_type
                self.mask_kinds[layer.mask_name] = (layer_type, window)

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
        base_model, config = self.base_model, self.config
        num_layers, windows = (
            config.num_hidden_layers,
            config.windows,
        )  # `assistant_early_exit` leaves the last ones out
        first_layers = {}
        for layer_idx, layer in enumerate(base_model.layers):
            if layer_idx < num_layers:
                first_layers.setdefault(layer.mask_name, layer_idx)
        masks = {}
        for name, (layer_type, window) in base_model.mask_kinds.items():
            if name not in first_layers:
                continue
            masks[name] = LAYER_PATTERN_TO_MASK_FUNCTION_MAPPING[layer_type](
                config=config if window in (None, windows) else config.with_fields(sliding_window=window),
                inputs_embeds=inputs_embeds,
                attention_mask=attention_mask,
                cache=cache,
                position_ids=position_ids,
                or_mask_function=or_mask_function,
                and_mask_function=and_mask_function,
                block_sequence_ids=block_sequence_ids,
                layer_idx=first_layers[name],
            )
        return masks


class HeterogeneousGenerationMixin(GenerationMixin):
    def init_continuous_batching(self, *args, **kwargs):
        """Refuses what upstream's paged cache cannot hold, for which it would return empty outputs."""
        if "mamba" in self.config.mixer_types:
            layers = [layer_idx for layer_idx, mixer in enumerate(self.config.mixer_types) if mixer == "mamba"]
            raise ValueError(
                f"Continuous batching has no cache for the state of mamba layers, here {layers}. "
                "Use `generate`, which takes a batch of padded prompts."
            )
        geometry = {"num_attention_heads", "num_key_value_heads", "sliding_window"}
        varying = sorted(geometry.intersection(self.config.per_layer_attributes or ()))
        if varying:
            values = "; ".join(f"{name} = {getattr(self.config, name)}" for name in varying)
            raise ValueError(
                f"Continuous batching has one cache geometry for all layers, and here they differ: {values}. "
                "Use `generate`, which takes a batch of padded prompts."
            )
        return super().init_continuous_batching(*args, **kwargs)

    def _prepare_cache_for_generation(self, generation_config, model_kwargs, *args, **kwargs):
        self.base_model.follow_changes(model_kwargs.get("cache"), generation_config.use_cache is not False)
        if "attention" not in self.config.mixer_types and generation_config.use_cache is not False:
            raise ValueError(
                "No layer attends, and only a layer that does counts the tokens in a cache. "
                "Call `generate` with `use_cache=False`, or `forward` token by token, which keeps the mamba states."
            )
        return super()._prepare_cache_for_generation(generation_config, model_kwargs, *args, **kwargs)

    def _get_candidate_generator(self, generation_config, *args, **kwargs):
        early_exit = generation_config.assistant_early_exit
        if early_exit is not None and "attention" not in self.config.mixer_types[:early_exit]:
            first = self.config.mixer_types.index("attention") + 1
            raise ValueError(f"assistant_early_exit = {early_exit}: no layer before it attends, {first} is the least")
        return super()._get_candidate_generator(generation_config, *args, **kwargs)
