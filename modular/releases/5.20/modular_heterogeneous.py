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
"""What every family shares, for transformers 5.20 and older, whose configs did not say when they were finished."""


class HeterogeneousPreTrainedConfig:
    def __post_init__(self, layer_types: list[str] | None = None, **kwargs):
        if layer_types is not None:
            self.layer_types = layer_types
        layers = self._depth_errors() or self._list_errors() or self._unknown_layer_types(self._layer_types)
        layers = layers or self._contradicted_layer_types()
        self.refuse([*self._unread_errors(kwargs), *layers, *early_errors(self.__dict__, kwargs)])
        if self.mixer_types is None:
            layer_types = self.layer_types or ["full_attention"] * self.num_hidden_layers
            self.mixer_types = [MIXERS_BY_LAYER_TYPE[layer_type] for layer_type in layer_types]
        if self.mlp_types is None:
            self.mlp_types = [self.supported_mlp_types[0]] * self.num_hidden_layers
        kwargs.pop("model_type", None)  # checkpoints of compatible types become this family's
        super().__post_init__(**kwargs)
        self._post_init_done = True
        self.normalise()  # ahead of `check`: parents keep a window beside `layer_types` that have none, and the reverse
        self.check()

    def _update_heterogeneous_to_dict_output(self, d: dict[str, Any]):
        # The lists are in the dict already; `layer_types` follows from them but for the layers of a scalar window
        for name in ("_model_config", "_layer_idx", "_layer_types", "_post_init_done"):
            d.pop(name, None)
        if isinstance(self.windows, int) and self._is_finished:
            d["layer_types"] = self.saved_layer_types()
        if self.fused_blocks is None:
            d.pop("fused_blocks", None)
