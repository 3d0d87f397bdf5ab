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
"""What families with experts share. No `__all__`: nothing is expanded from here, families copy what they import."""

import torch

from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func


def per_layer_load_balancing_loss(
    router_logits: tuple[torch.Tensor, ...],
    num_experts: list[int | None],
    top_k: list[int | None],
    attention_mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """
    The mean of the layers' load-balancing losses, each with the layer's own experts.

    Args:
        router_logits: of the layers with experts only, each of shape (batch_size * sequence_length, num_experts).
        num_experts: one entry a layer, `None` where it has no experts.
        top_k: experts per token; one entry a layer, `None` where it has no experts.
        attention_mask: (batch_size, sequence_length); what is padding does not count.
    """
    layers = [sizes for sizes in zip(num_experts, top_k) if None not in sizes]
    losses = [
        load_balancing_loss_func((layer_logits,), layer_experts, layer_top_k, attention_mask)
        for layer_logits, (layer_experts, layer_top_k) in zip(router_logits, layers)
    ]
    return torch.stack([loss.to(losses[0].device) for loss in losses]).mean()
