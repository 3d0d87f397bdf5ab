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
    def __post_init__(self, **kwargs):
        if errors := [*self._unread_errors(kwargs), *self._depth_errors(), *early_errors(self.__dict__, kwargs)]:
            raise ValueError(f"{self.model_type}:\n" + "\n".join(errors))
        if self.layer_types is not None:
            self.layer_types = remap_legacy_layer_types(self.layer_types)
        if errors := self._list_errors() or self._layer_type_errors(self.layer_types, self.mixer_types or ()):
            raise ValueError(f"{self.model_type}:\n" + "\n".join(errors))
        if self.mixer_types is None:
            layer_types = self.layer_types or ["full_attention"] * self.num_hidden_layers
            self.mixer_types = [MIXERS_BY_LAYER_TYPE[layer_type] for layer_type in layer_types]
        if self.mlp_types is None:
            self.mlp_types = [self.supported_mlp_types[0]] * self.num_hidden_layers
        if errors := self._window_errors():
            raise ValueError(f"{self.model_type}:\n" + "\n".join(errors))
        self._simplify_layer_types()
        kwargs.pop("model_type", None)  # checkpoints of compatible types become this family's
        super().__post_init__(**kwargs)
        self.simplify_sizes()
        self._post_init_done = True

    def _update_heterogeneous_to_dict_output(self, d: dict[str, Any]):
        # The lists are in the dict already; `layer_types` follows from them but for the layers of a scalar window
        d.pop("_model_config", None)
        d.pop("_layer_idx", None)
        d.pop("_post_init_done", None)
        if not isinstance(self.windows, int):
            d.pop("layer_types", None)
        elif "layer_types" in d:
            d["layer_types"] = self.saved_layer_types()
        if self.fused_blocks is None:
            d.pop("fused_blocks", None)
