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
"""What the models of every family share, for transformers 5.23 and older: the cache was called past_key_values until 5.24."""


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
        plan, config = self.base_model.layer_plan, self.base_model.config
        first_layers = plan.first_layers(config.num_hidden_layers)  # `assistant_early_exit` leaves the last ones out
        masks = {}
        for name, layer_idx in first_layers.items():
            layer_type, window = plan.mask_kinds[name]
            masks[name] = LAYER_PATTERN_TO_MASK_FUNCTION_MAPPING[layer_type](
                config=config if window in (None, config.windows) else config.with_fields(sliding_window=window),
                inputs_embeds=inputs_embeds,
                attention_mask=attention_mask,
                past_key_values=past_key_values,
                position_ids=position_ids,
                or_mask_function=or_mask_function,
                and_mask_function=and_mask_function,
                block_sequence_ids=block_sequence_ids,
                layer_idx=layer_idx,
            )
        return masks


class HeterogeneousGenerationMixin:
    def _prepare_cache_for_generation(self, generation_config, model_kwargs, *args, **kwargs):
        use_cache = generation_config.use_cache is not False
        self.base_model.follow_changes(model_kwargs.get("past_key_values"), use_cache)
        if use_cache:
            self.config.refuse_cached_generation()
        return super()._prepare_cache_for_generation(generation_config, model_kwargs, *args, **kwargs)
