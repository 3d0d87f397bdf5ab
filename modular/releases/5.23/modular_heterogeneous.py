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
"""What every family shares, for transformers 5.23 and older: the cache was called past_key_values until 5.24."""


class HeterogeneousPreTrainedModel:
    def create_masks_for_generate(
        self,
        inputs_embeds: torch.Tensor,
        attention_mask: torch.Tensor | None,
        past_key_values: Cache | None,
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
                past_key_values=past_key_values,
                position_ids=position_ids,
                or_mask_function=or_mask_function,
                and_mask_function=and_mask_function,
                block_sequence_ids=block_sequence_ids,
                layer_idx=first_layers[name],
            )
        return masks


class HeterogeneousGenerationMixin:
    def _prepare_cache_for_generation(self, generation_config, model_kwargs, *args, **kwargs):
        self.base_model.follow_changes(model_kwargs.get("past_key_values"), generation_config.use_cache is not False)
        if "attention" not in self.config.mixer_types and generation_config.use_cache is not False:
            raise ValueError(
                "No layer attends, and only a layer that does counts the tokens in a cache. "
                "Call `generate` with `use_cache=False`, or `forward` token by token, which keeps the mamba states."
            )
        return super()._prepare_cache_for_generation(generation_config, model_kwargs, *args, **kwargs)
