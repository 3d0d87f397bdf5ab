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
"""Granite 4 hybrids for transformers 5.23 and older: mamba layers called the cache cache_params, attention past_key_values."""


class HeterogeneousGraniteMoeHybridDecoderLayer:
    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = False,
        position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None,
        **kwargs: Unpack[GraniteFlashAttentionKwargs],
    ) -> torch.Tensor:
        if self.mixer_type != "none":
            residual = hidden_states
            hidden_states = self.input_layernorm(hidden_states)
            if self.mixer_type == "mamba":
                hidden_states = self.mamba(
                    hidden_states=hidden_states,
                    cache_params=past_key_values,
                    attention_mask=attention_mask,
                    **kwargs,
                )
            else:
                hidden_states, _ = self.self_attn(
                    hidden_states=hidden_states,
                    attention_mask=attention_mask,
                    past_key_values=past_key_values,
                    use_cache=use_cache,
                    position_embeddings=position_embeddings,
                    **kwargs,
                )
            hidden_states = residual + hidden_states * self.residual_multiplier

        if self.mlp_type != "none":
            residual = hidden_states
            hidden_states = self.post_attention_layernorm(hidden_states)
            if self.mlp_type == "moe":
                moe_hidden_states = self.block_sparse_moe(hidden_states)
                hidden_states = moe_hidden_states + self.shared_mlp(hidden_states)
            else:
                hidden_states = self.shared_mlp(hidden_states)
            hidden_states = residual + hidden_states * self.residual_multiplier
        return hidden_states


class HeterogeneousGraniteMoeHybridFusedDecoderLayer:
    def forward(
        self,
        hidden_states: torch.Tensor,
        past_key_values: Cache | None = None,
        use_cache: bool | None = False,
        position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None,
        **kwargs: Unpack[GraniteFlashAttentionKwargs],
    ) -> torch.Tensor:
        attention = {"use_cache": use_cache, "position_embeddings": position_embeddings}
        residual = hidden_states
        hidden_states = self.input_layernorm(hidden_states)
        if self.mixer_type == "mamba":
            hidden_states = self.mamba(hidden_states=hidden_states, cache_params=past_key_values, **kwargs)
        else:
            hidden_states, _ = self.self_attn(
                hidden_states=hidden_states, past_key_values=past_key_values, **attention, **kwargs
            )
        hidden_states = hidden_states * self.residual_multiplier
        hidden_states, residual = self.post_attention_layernorm(hidden_states, residual)
        mlp_hidden_states = self.shared_mlp(hidden_states)
        if self.mlp_type == "moe":
            mlp_hidden_states = self.block_sparse_moe(hidden_states) + mlp_hidden_states
        return residual + mlp_hidden_states * self.residual_multiplier
