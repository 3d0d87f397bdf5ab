"""
Experts in plain torch, where vLLM's CPU backend has no kernel for them: without a gate, as Nemotron-H has them, and in MXFP4
on processors without AMX.

All else is vLLM's: names and shapes of the weights, their loading, routing, shared experts, latent projections. What is
replaced is the product of tokens and experts, and what refuses it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from vllm.model_executor.layers.fused_moe import config
from vllm.model_executor.layers.fused_moe.experts.cpu_moe import CPUExpertsMxfp4, CPUUnquantizedExperts
from vllm.model_executor.layers.quantization import mxfp4


FP4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)  # of the four bits the three that are no sign


def install() -> None:
    """For this process."""
    check = config.FusedMoEConfig.__post_init__

    def without_refusal(self: Any) -> None:
        try:
            check(self)
        except NotImplementedError as error:  # the last thing that is checked
            if "is_act_and_mul" not in str(error):
                raise

    config.FusedMoEConfig.__post_init__ = without_refusal
    CPUUnquantizedExperts._supports_no_act_and_mul = staticmethod(lambda: True)
    CPUUnquantizedExperts._supports_activation = staticmethod(lambda activation: activation.value == "relu2_no_mul")
    CPUUnquantizedExperts._supports_grouped_gemm = classmethod(lambda cls, moe_config: (True, None))
    CPUUnquantizedExperts.process_weights_after_loading = lambda self, layer: None
    CPUUnquantizedExperts.apply = without_gate
    CPUExpertsMxfp4._supports_current_device = staticmethod(lambda: True)
    CPUExpertsMxfp4.apply = of_gpt_oss
    mxfp4.GptOssMxfp4Config.get_supported_act_dtypes = classmethod(lambda cls: [torch.float32])
    mxfp4.convert_gpt_oss_weight_to_mxfp4_moe_kernel_format = as_loaded


def as_loaded(*args: Any, **named: Any) -> tuple[torch.Tensor, ...]:
    """The weights of the experts as they are, in the place of those for a kernel."""
    names = ("w13_weight", "w2_weight", "w13_weight_scale", "w2_weight_scale", "w13_bias", "w2_bias")
    return tuple(named[name].data for name in names)


def without_gate(
    self: Any, output: torch.Tensor, hidden_states: torch.Tensor, w1: torch.Tensor, w2: torch.Tensor, **named: Any
) -> None:
    """Nemotron-H's experts, of (tokens, hidden) into `output`."""

    def expert(idx: int, token: torch.Tensor) -> torch.Tensor:
        return w2[idx] @ torch.relu(w1[idx] @ token).square()

    add_up(output, hidden_states, expert, named["topk_weights"], named["topk_ids"])


def of_gpt_oss(
    self: Any, output: torch.Tensor, hidden_states: torch.Tensor, w1: torch.Tensor, w2: torch.Tensor, **named: Any
) -> None:
    """gpt-oss's experts in MXFP4, of (tokens, hidden) into `output`; gate and up take turns in the rows of `w1`."""
    w1, w2 = unpacked(w1, self.w1_scale), unpacked(w2, self.w2_scale)

    def expert(idx: int, token: torch.Tensor) -> torch.Tensor:
        both = w1[idx] @ token + self.quant_config.w1_bias[idx].float()
        gate, up = both[0::2].clamp(max=7.0), both[1::2].clamp(-7.0, 7.0)
        return w2[idx] @ ((up + 1) * gate * torch.sigmoid(1.702 * gate)) + self.quant_config.w2_bias[idx].float()

    add_up(output, hidden_states, expert, named["topk_weights"], named["topk_ids"])


def unpacked(packed: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """(experts, rows, columns / 2) of two numbers a byte, one exponent for 32 -> (experts, rows, columns)."""
    codes = torch.stack([packed & 15, packed >> 4], dim=-1).flatten(-2).long()
    numbers = torch.tensor([*FP4, *(-number for number in FP4)])[codes]
    return numbers * torch.exp2(scales.float() - 127).repeat_interleave(32, dim=-1)


def add_up(
    output: torch.Tensor,
    hidden_states: torch.Tensor,
    expert: Callable[[int, torch.Tensor], torch.Tensor],
    topk_weights: Sequence[torch.Tensor] | torch.Tensor,
    topk_ids: Sequence[torch.Tensor] | torch.Tensor,
) -> None:
    """Of each token what its experts say, times their weights."""
    output.zero_()
    for token, (weights, ids) in enumerate(zip(topk_weights, topk_ids, strict=True)):
        for weight, idx in zip(weights, ids, strict=True):
            output[token] += weight * expert(int(idx), hidden_states[token])
