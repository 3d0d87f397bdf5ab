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
"""What every family shares, for transformers 5.22 and older: caches asked `layer_types` alone which layers keep nothing."""

WITHOUT_MIXER = "conv"  # of so many states as `number_of_conv_states` says: none


class HeterogeneousPreTrainedConfig:
    @property
    def layer_types(self) -> list[str] | None:
        """Each layer in upstream's words, computed when it is read; what was given until the config is finished. A layer
        without a mixer is called a convolution, which keeps nothing."""
        if "_model_config" in self.__dict__:
            return self._model_config.layer_types
        if not self._is_finished:
            return self._layer_types
        layers = zip(self.mixer_types, self._derived_layer_types())
        return DerivedList([kind if has_state(mixer) else WITHOUT_MIXER for mixer, kind in layers])

    @property
    def number_of_conv_states(self) -> int:
        """How many states a cache keeps for the layer that this is the config of."""
        layer_idx = self.__dict__.get("_layer_idx")
        return int(layer_idx is None or has_state(self._model_config.mixer_types[layer_idx]))

    def _is_without_mixer(self, layer_idx: int) -> bool:
        mixer_types = self.mixer_types or []
        return layer_idx < len(mixer_types) and not has_state(mixer_types[layer_idx])

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
            if kind not in known and not (kind == WITHOUT_MIXER and self._is_without_mixer(layer_idx))
        ]

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
        if absent := [layer_idx for layer_idx, mixer in enumerate(self.mixer_types) if mixer != "attention"]:
            raise ValueError(
                f"Continuous batching has no place for layers without attention, here {absent}, before transformers 5.23. "
                "Use `generate`, which takes a batch of padded prompts."
            )
