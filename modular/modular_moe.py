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

from transformers.configuration_utils import PreTrainedConfig
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func


def layered_load_balancing_loss(
    router_logits: tuple[torch.Tensor, ...], config: PreTrainedConfig, attention_mask: torch.Tensor | None = None
) -> torch.Tensor:
    """
    The load-balancing loss: the parents', over the layers together, where these have the same number of experts and of
    experts per token; else the mean of the layers' own.

    Args:
        router_logits: of the layers with experts only, each of shape (batch_size * sequence_length, num_experts).
        config: the model's.
        attention_mask: (batch_size, sequence_length); what is padding does not count.
    """
    num_experts, top_k = config.num_local_experts, config.num_experts_per_tok
    if isinstance(num_experts, int) and isinstance(top_k, int):
        return load_balancing_loss_func(router_logits, num_experts, top_k, attention_mask)
    sizes = zip(config.layer_sizes("num_local_experts"), config.layer_sizes("num_experts_per_tok"))
    layers = [layer for layer in sizes if None not in layer]
    losses = [
        load_balancing_loss_func((layer_logits,), layer_experts, layer_top_k, attention_mask)
        for layer_logits, (layer_experts, layer_top_k) in zip(router_logits, layers)
    ]
    return torch.stack([loss.to(losses[0].device) for loss in losses]).mean()
