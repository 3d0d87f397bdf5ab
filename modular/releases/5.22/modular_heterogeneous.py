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


class HeterogeneousPreTrainedConfig:
    def without_mixer(self, layer_types: list[str | None]) -> str:
        """What a layer without a mixer is called: a convolution, of which `number_of_conv_states` says that it keeps
        nothing."""
        return "conv"

    @property
    def number_of_conv_states(self) -> int:
        """How many states a cache keeps for the layer that this is the config of."""
        layer_idx = self.__dict__.get("_layer_idx")
        return int(layer_idx is None or self.mixer_types[layer_idx] in MIXERS_WITH_STATE)

    def saved_layer_types(self) -> list[str]:
        """`layer_types` as files have it, whatever word the release has for a layer without a mixer."""
        kept = [kind for kind, mixer in zip(self.layer_types, self.mixer_types) if mixer in MIXERS_WITH_STATE]
        return [
            kind if mixer in MIXERS_WITH_STATE else kept[0] for kind, mixer in zip(self.layer_types, self.mixer_types)
        ]


class HeterogeneousPreTrainedModel:
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
        if absent := [layer_idx for layer_idx, mixer in enumerate(self.config.mixer_types) if mixer != "attention"]:
            raise ValueError(
                f"Continuous batching has no place for layers without attention, here {absent}, before transformers 5.23. "
                f"{instead}"
            )
        return super().init_continuous_batching(*args, **kwargs)
