"""MXFP4: experts that stay packed, with the sizes of their layer."""

from types import MethodType
from typing import Any

import torch

from transformers.integrations import mxfp4
from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING
from transformers.quantizers.quantizer_mxfp4 import Mxfp4HfQuantizer
from transformers.quantizers.quantizers_utils import should_convert_module
from transformers.utils import logging
from transformers_heterogeneous.modeling_heterogeneous_gpt_oss import (
    HeterogeneousGptOssMLP,
    HeterogeneousGptOssNormMLP,
    HeterogeneousGptOssPreTrainedModel,
)


class HeterogeneousMxfp4HfQuantizer(Mxfp4HfQuantizer):  # type: ignore[misc]
    """What transformers' own quantizer does, for models whose layers differ too."""

    quant_method = "mxfp4"

    def _process_model_before_weight_loading(self, model: Any, **kwargs: Any) -> None:
        if not isinstance(model, HeterogeneousGptOssPreTrainedModel):
            return super()._process_model_before_weight_loading(model, **kwargs)  # type: ignore[no-any-return]

        upstream_logger = logging.get_logger("transformers.integrations.mxfp4")
        upstream_logger.disabled = True  # it would warn that it knows none of the experts
        try:
            super()._process_model_before_weight_loading(model, **kwargs)
        finally:
            upstream_logger.disabled = False
        if not self.quantization_config.dequantize:
            self._pack_experts(model)

    def _pack_experts(self, model: Any) -> None:
        """Put packed experts in the place of those of every layer."""
        mlps = {
            name: module
            for name, module in model.named_modules()
            if isinstance(module, HeterogeneousGptOssMLP)
            and should_convert_module(f"{name}.experts", self.modules_to_not_convert)
        }
        fused = [name for name, module in mlps.items() if isinstance(module, HeterogeneousGptOssNormMLP)]
        if fused:
            raise ValueError(
                f"fused_blocks is 'norm_mlp' in {fused}, whose experts are to stay packed as MXFP4: they have a kernel of "
                "their own. Choose 'none' or 'add_norm' there, or Mxfp4Config(dequantize=True)"
            )
        for name, mlp in mlps.items():
            with torch.device("meta"):
                experts = mxfp4.Mxfp4GptOssExperts(mlp.experts.config)
            if hasattr(mxfp4, "Mxfp4GptOssMLP"):
                model.set_submodule(name, mxfp4.Mxfp4GptOssMLP(mlp.router, experts))
            else:  # until transformers 5.21
                mlp.experts, mlp.forward = experts, MethodType(mxfp4.mlp_forward, mlp)  # type: ignore[method-assign]

    def remove_quantization_config(self, model: Any) -> None:
        super().remove_quantization_config(model)
        if isinstance(model, HeterogeneousGptOssPreTrainedModel):
            # What is saved is dequantised; the renamings registered for the family may be those of another model by now
            model._weight_conversions = model.renamings(model.config)


def enter_quantizer() -> None:
    """Let transformers take this quantizer for its own."""
    AUTO_QUANTIZER_MAPPING[HeterogeneousMxfp4HfQuantizer.quant_method] = HeterogeneousMxfp4HfQuantizer
