"""TRL: the load-balancing loss, which its trainers compute with Mixtral's function, of layers that differ in experts."""

import functools
import sys
from collections.abc import Callable
from typing import Any


MIXTRAL = "transformers.models.mixtral.modeling_mixtral"
Loss = Callable[..., Any]


def balance_by_layer() -> None:
    """Let Mixtral's function take lists, for which it fails: they go to the families' own loss."""
    import transformers.models.mixtral.modeling_mixtral  # noqa: F401

    module: Any = sys.modules[MIXTRAL]
    module.load_balancing_loss_func = by_layer(module.load_balancing_loss_func)


def by_layer(uniform: Loss) -> Loss:
    """A load-balancing loss that gives numbers of experts, or of experts per token, which are lists to the families' own."""
    from transformers_heterogeneous import modeling_heterogeneous

    @functools.wraps(uniform)
    def load_balancing_loss_func(
        gate_logits: Any, num_experts: Any = None, top_k: Any = 2, attention_mask: Any = None
    ) -> Any:
        lists = isinstance(num_experts, list) or isinstance(top_k, list)
        own: Loss = modeling_heterogeneous.load_balancing_loss_func
        return (own if lists else uniform)(gate_logits, num_experts, top_k, attention_mask)

    return load_balancing_loss_func
