"""
Experts without a gate, as Nemotron-H has them, in plain torch: vLLM's CPU backend has no kernel for them.

All else is vLLM's: names and shapes of the weights, their loading, routing, shared experts, latent projections. What is
replaced is the product of tokens and experts, and the sentence that refuses it.
"""

from typing import Any

import torch
from vllm.model_executor.layers.fused_moe import config
from vllm.model_executor.layers.fused_moe.experts.cpu_moe import CPUUnquantizedExperts


def install() -> None:
    """For this process and those that are forked from it."""
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
    CPUUnquantizedExperts.apply = apply


def apply(
    self: Any, output: torch.Tensor, hidden_states: torch.Tensor, w1: torch.Tensor, w2: torch.Tensor, **kw: Any
) -> None:
    """(tokens, hidden) -> (tokens, hidden): of the experts of each token, times its weights."""
    output.zero_()
    for token, (weights, experts) in enumerate(zip(kw["topk_weights"], kw["topk_ids"], strict=True)):
        for weight, expert in zip(weights, experts, strict=True):
            width = torch.relu(w1[expert] @ hidden_states[token]).square()
            output[token] += weight.to(output.dtype) * (w2[expert] @ width)
