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

"""Qwen3-VL for transformers 5.19: configs inside a config are made by it, of classes that `sub_configs` names."""


class HeterogeneousQwen3VLConfig:
    sub_configs_defaults = {}  # of 5.20 and newer
    sub_configs = {"vision_config": Qwen3VLVisionConfig, "text_config": HeterogeneousQwen3VLTextConfig}

    def __post_init__(self, **kwargs):
        if isinstance(self.vision_config, dict):  # old ones say another type
            self.vision_config = {**self.vision_config, "model_type": self.sub_configs["vision_config"].model_type}
        for name, config_class in self.sub_configs.items():
            value = getattr(self, name)
            if value is None or isinstance(value, dict):
                setattr(self, name, config_class(**(value or {})))
        kwargs.pop("model_type", None)  # checkpoints of the parent's become this one's
        PreTrainedConfig.__post_init__(self, **kwargs)
