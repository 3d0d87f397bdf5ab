"""TRL: the load-balancing loss, which its trainers compute with Mixtral's function, of layers that differ in experts."""

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch


MIXTRAL = "transformers.models.mixtral.modeling_mixtral"
Loss = Callable[..., Any]


def balance_by_layer() -> None:
    """Let Mixtral's function take lists, for which it fails; what it takes today, it computes itself."""
    import transformers.models.mixtral.modeling_mixtral  # noqa: F401

    module: Any = sys.modules[MIXTRAL]
    module.load_balancing_loss_func = by_layer(module.load_balancing_loss_func)


def by_layer(loss: Loss) -> Loss:
    """
    A load-balancing loss over layers that differ: the mean of the layers' own, as the families' forward computes it.

    Args:
        loss: of `(gate_logits, num_experts, top_k, attention_mask)`, with one number of experts and of experts per token.
    """

    @functools.wraps(loss)
    def load_balancing_loss_func(
        gate_logits: tuple[torch.Tensor, ...] | None,
        num_experts: int | Sequence[int | None] | None = None,
        top_k: int | Sequence[int | None] = 2,
        attention_mask: torch.Tensor | None = None,
    ) -> Any:
        if not isinstance(num_experts, list) and not isinstance(top_k, list):
            return loss(gate_logits, num_experts, top_k, attention_mask)
        if not gate_logits:
            return 0
        counts = [logits.shape[-1] for logits in gate_logits]
        chosen = [each for each in top_k if each is not None] if isinstance(top_k, list) else [top_k] * len(counts)
        losses = [
            loss((logits,), experts, per_token, attention_mask)
            for logits, experts, per_token in zip(gate_logits, counts, chosen, strict=True)
        ]
        return torch.stack([each.to(losses[0].device) for each in losses]).mean()

    return load_balancing_loss_func
