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
"""gpt-oss for transformers 5.20 and older, where experts in MXFP4 had no module of their own around them."""

from types import MethodType

from transformers.integrations.mxfp4 import mlp_forward


class HeterogeneousGptOssMxfp4HfQuantizer:
    def _process_model_before_weight_loading(self, model: PreTrainedModel, **kwargs):
        if not isinstance(model, HeterogeneousGptOssPreTrainedModel):
            return super()._process_model_before_weight_loading(model, **kwargs)

        upstream_logger = logging.get_logger("transformers.integrations.mxfp4")
        upstream_logger.disabled = True  # it would warn that it knows none of the experts
        try:
            super()._process_model_before_weight_loading(model, **kwargs)
        finally:
            upstream_logger.disabled = False
        if self.quantization_config.dequantize:
            return

        mlps = {
            name: module
            for name, module in model.named_modules()
            if isinstance(module, HeterogeneousGptOssMLP)
            and should_convert_module(f"{name}.experts", self.modules_to_not_convert)
        }
        fused = [module.layer_idx for module in mlps.values() if isinstance(module, HeterogeneousGptOssNormMLP)]
        if fused:
            raise ValueError(
                f"fused_blocks is 'norm_mlp' in layers {fused}, whose experts are to stay packed as MXFP4: they have a "
                "kernel of their own. Choose 'none' or 'add_norm' there, or Mxfp4Config(dequantize=True)"
            )
        for module in mlps.values():
            with torch.device("meta"):
                module.experts = Mxfp4GptOssExperts(model.config.per_layer_config[module.layer_idx])
            module.forward = MethodType(mlp_forward, module)
