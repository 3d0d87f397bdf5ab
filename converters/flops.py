"""
Floating-point operations of a forward, for one token: those of products of matrices, as torch's `FlopCounterMode` counts them.

2 for each number of a matrix that a token is multiplied with, and 4 x heads x width of a head for each key that it attends to: the
forward part of what is counted in Chowdhery et al., "PaLM: Scaling Language Modeling with Pathways", arXiv 2204.02311, appendix
B, layer by layer. Of experts those that a token goes to. The embedding is looked up and multiplies nothing; the recurrence and the
convolution of mamba layers are no products of matrices, and not counted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

from .families.tensors import Tensor


CONTEXT = 4096  # tokens, where no number is asked for


@dataclass(frozen=True)
class FlopsPerToken:
    """
    Operations for a token.

    Attributes:
        context: How many tokens there are.
        decode: For the last of them, the others being in the cache.
        prefill: For each, in the mean, where they come at once and each attends to those before it and itself.
    """

    context: int
    decode: int
    prefill: int


def flops_of(num_multiplied: int, layers: Iterable[tuple[int, int | None]], context: int = CONTEXT) -> FlopsPerToken:
    """
    The operations of a model for a token among so many.

    Args:
        num_multiplied: Numbers of all matrices that a token is multiplied with.
        layers: For each key that a token attends to, how many; and to how many it attends at most, `None` for all.
    """
    last, together = 2 * num_multiplied, 2 * num_multiplied * context
    for flops_per_key, most in layers:
        window = min(most or context, context)
        last += flops_per_key * window
        together += flops_per_key * (window * (window + 1) // 2 + (context - window) * window)
    return FlopsPerToken(context, last, together // context)


def num_multiplied(tensors: Sequence[Tensor], num_experts: int | None = None, top_k: int | None = None) -> int:
    """
    Numbers of the matrices of a layer that a token is multiplied with.

    Args:
        num_experts, top_k: How many experts there are, and how many a token goes to.
    """
    matrices = [tensor for tensor in tensors if is_matrix(tensor)]
    routed = sum(prod(tensor.shape) for tensor in matrices if tensor.is_routed)
    always = sum(prod(tensor.shape) for tensor in matrices if not tensor.is_routed)
    return always + (routed // num_experts * top_k if num_experts and top_k else 0)


def is_matrix(tensor: Tensor) -> bool:
    """Whether a tensor is a matrix, or a stack of these, that something is multiplied with."""
    return len(tensor.shape) > 1 and "conv1d" not in tensor.name and "bias" not in tensor.name.rpartition(".")[2]
