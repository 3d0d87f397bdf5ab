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
    def _derived_layer_types(self) -> list[str]:
        """Each layer in upstream's vocabulary, for its caches and masks. A layer without a mixer is called a convolution, which
        keeps nothing."""
        windows = self.windows
        if isinstance(windows, list):
            slides = [window is not None for window in windows]
        elif windows is not None and self.layer_types is not None:
            slides = self.sliding_layers()
        else:
            slides = [windows is not None] * self.num_hidden_layers
        kinds = {"mamba": ("linear_attention",) * 2, "attention": ("full_attention", "sliding_attention")}
        layer_types = [
            kinds[mixer][slide] if mixer in kinds else None for mixer, slide in zip(self.mixer_types, slides)
        ]
        return [layer_type or WITHOUT_MIXER for layer_type in layer_types]

    def saved_layer_types(self) -> list[str]:
        """`layer_types` as files have it, which newer releases read too: a layer without a mixer counts as the first one
        with it."""
        default = next(
            (layer_type for layer_type in self.layer_types if layer_type != WITHOUT_MIXER), "full_attention"
        )
        return [default if layer_type == WITHOUT_MIXER else layer_type for layer_type in self.layer_types]

    @property
    def number_of_conv_states(self) -> int:
        """How many states a cache keeps for the layer that this is the config of."""
        layer_idx = self.__dict__.get("_layer_idx")
        return int(layer_idx is None or has_state(self.mixer_types[layer_idx]))

    def _is_without_mixer(self, layer_idx: int) -> bool:
        mixer_types = self.mixer_types or []
        return layer_idx < len(mixer_types) and not has_state(mixer_types[layer_idx])

    def _layer_type_errors(self, layer_types: list[str] | None, mixer_types: Sequence[str]) -> list[str]:
        known = [kind for kind, mixer in MIXERS_BY_LAYER_TYPE.items() if mixer in self.supported_mixer_types]
        if "sliding_window" not in self.per_layer_sizes:
            known.remove("sliding_attention")
        errors = [
            f"layer_types[{layer_idx}] is {kind!r}, allowed are {known}"
            for layer_idx, kind in enumerate(layer_types or ())
            if kind not in known and not (kind == WITHOUT_MIXER and self._is_without_mixer(layer_idx))
        ]
        layers = enumerate(zip(layer_types or (), mixer_types))
        return errors + [
            f"layer_types[{layer_idx}] is {kind!r}, but mixer_types[{layer_idx}] is {mixer!r}: leave layer_types out"
            for layer_idx, (kind, mixer) in layers
            if has_state(mixer) and MIXERS_BY_LAYER_TYPE.get(kind, mixer) != mixer
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
