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
"""Qwen3-MoE for transformers 5.22 and older, whose own loss counted in another way."""


def load_balancing_loss_func(
    gate_logits: tuple[torch.Tensor] | None,
    num_experts: int | list[int | None] | None = None,
    top_k: int | list[int | None] = 2,
    attention_mask: torch.Tensor | None = None,
) -> torch.Tensor:
    return layered_load_balancing_loss(gate_logits, num_experts, top_k, attention_mask)
