# Generated from modular/modular_heterogeneous_llama4_text.py by `hetero generate`. Do not edit: change the shard and generate again.
# Parents: transformers 5.24.0; the code used of them: sha256 d3872a808b5935a9
# Code of the parents, under the Apache License 2.0:
#   Copyright 2025 The LLAMA4 and HuggingFace Inc. team. All rights reserved.
#
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

from huggingface_hub.dataclasses import strict

from transformers.modeling_rope_utils import RopeParameters

from .configuration_heterogeneous import HeterogeneousPreTrainedConfig


@strict
class HeterogeneousLlama4TextConfig(HeterogeneousPreTrainedConfig):
    r"""
    Config of the text model of a Llama 4 whose layers may differ. All fields of [`Llama4TextConfig`] keep their meaning;
    those below may be lists with one entry a layer, `None` where the layer has no such sub-block. A scalar means every
    layer.

    Args:
        mixer_types (`list[str]`, *optional*):
            What mixes tokens in each layer: `"attention"` or `"none"`. `layer_types` says in which of them within chunks,
            `no_rope_layers` in which without positions.
        mlp_types (`list[str]`, *optional*):
            The feed-forward block of each layer: `"moe"` (routed experts beside a shared one), `"dense"` or `"none"`. As
            the parent's `moe_layers` by default, which follows it.
        num_attention_heads (`int` or `list[int | None]`, defaults to 40):
            Query heads.
        num_key_value_heads (`int` or `list[int | None]`, defaults to 8):
            Key and value heads; each entry divides the layer's query heads.
        intermediate_size (`int` or `list[int | None]`, defaults to 8192):
            Width of each expert, the shared one included.
        intermediate_size_mlp (`int` or `list[int | None]`, defaults to 16384):
            Width of a dense MLP.
        num_local_experts (`int` or `list[int | None]`, defaults to 16):
            Routed experts.
        num_experts_per_tok (`int` or `list[int | None]`, defaults to 1):
            Experts that each token goes to, at most as many as the layer has.

    Raises:
        HeterogeneousConfigError: names every layer and size that is wrong, with what is allowed.
    """

    model_type = "heterogeneous_llama4_text"
    default_theta = 500000.0
    base_model_tp_plan = {
        "layers.*.self_attn.q_proj": "colwise",
        "layers.*.self_attn.k_proj": "colwise",
        "layers.*.self_attn.v_proj": "colwise",
        "layers.*.self_attn.o_proj": "rowwise",
        "layers.*.feed_forward.shared_expert.gate_proj": "colwise",
        "layers.*.feed_forward.shared_expert.up_proj": "colwise",
        "layers.*.feed_forward.shared_expert.down_proj": "rowwise",
        "layers.*.feed_forward.experts.gate_up_proj": "packed_rowwise",  # row because not linear
        "layers.*.feed_forward.experts.down_proj": "colwise",  # col because not linear
        "layers.*.feed_forward.experts": "moe_tp_experts",
        "layers.*.feed_forward.gate_proj": "colwise",
        "layers.*.feed_forward.up_proj": "colwise",
        "layers.*.feed_forward.down_proj": "rowwise",
    }
    # No `base_model_ep_plan`: the experts take every token pre-scaled by its router score rather than the routing,
    # so there is nothing to dispatch. They shard with the tensor-parallel plan above.

    vocab_size: int = 202048
    hidden_size: int = 5120
    intermediate_size: int | list[int | None] = 8192
    intermediate_size_mlp: int | list[int | None] = 16384
    num_hidden_layers: int = 48

    num_attention_heads: int | list[int | None] = 40
    num_key_value_heads: int | list[int | None] | None = 8
    head_dim: int = 128
    hidden_act: str = "silu"
    max_position_embeddings: int = 4096 * 32
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-5
    use_cache: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    tie_word_embeddings: bool = False
    attention_dropout: float | int = 0.0
    num_experts_per_tok: int | list[int | None] = 1
    num_local_experts: int | list[int | None] = 16
    moe_layers: list[int] | None = None
    interleave_moe_layer_step: int = 1
    use_qk_norm: bool = True
    output_router_logits: bool = False
    router_aux_loss_coef: float = 0.001
    router_jitter_noise: float = 0.0
    rope_parameters: RopeParameters | dict | None = None
    no_rope_layers: list[int] | None = None
    no_rope_layer_interval: int = 4
    attention_chunk_size: int | None = 8192
    layer_types: list[str] | None = None
    attn_temperature_tuning: bool = True
    floor_scale: int = 8192
    attn_scale: float = 0.1
    attention_bias: bool = False
    attribute_map = {"num_experts": "num_local_experts"}
    per_layer_sizes = {
        "num_attention_heads": ("mixer_types", ("attention",)),
        "num_key_value_heads": ("mixer_types", ("attention",)),
        "intermediate_size": ("mlp_types", ("moe",)),
        "intermediate_size_mlp": ("mlp_types", ("dense",)),
        "num_local_experts": ("mlp_types", ("moe",)),
        "num_experts_per_tok": ("mlp_types", ("moe",)),
    }
    supported_mixer_types = ("attention", "none")
    supported_mlp_types = ("moe", "dense", "none")
    mixers_by_layer_type = {"full_attention": "attention", "chunked_attention": "attention"}
    related_sizes = (
        ("num_key_value_heads", "divides", "num_attention_heads"),
        ("num_experts_per_tok", "is at most", "num_local_experts"),
    )
    optional_per_layer_sizes = ()
    compatible_model_types = ("llama4_text",)

    def __post_init__(self, **kwargs):
        self.refuse(self._depth_errors() or self._interval_errors())
        if (
            self.layer_types is None and self.attention_chunk_size is None
        ):  # as the parent says it, but in older releases
            self.layer_types = ["full_attention"] * self.num_hidden_layers
        if self.mlp_types is not None:
            self.moe_layers = [layer_idx for layer_idx, mlp in enumerate(self.mlp_types) if mlp == "moe"]
        elif self.moe_layers is None:
            step = self.interleave_moe_layer_step
            self.moe_layers = list(range(step - 1, self.num_hidden_layers, step))
        if self.mlp_types is None:
            experts = set(self.moe_layers)
            self.mlp_types = ["moe" if idx in experts else "dense" for idx in range(self.num_hidden_layers)]
        if self.no_rope_layers:
            self.no_rope_layers = self.no_rope_layers[: self.num_hidden_layers]  # the parent takes more
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads

        default_no_rope_layers = [
            int((layer_idx + 1) % self.no_rope_layer_interval != 0) for layer_idx in range(self.num_hidden_layers)
        ]
        self.no_rope_layers = self.no_rope_layers if self.no_rope_layers else default_no_rope_layers
        self.head_dim = self.head_dim if self.head_dim is not None else self.hidden_size // self.num_attention_heads

        self.moe_layers = (
            self.moe_layers
            if self.moe_layers is not None
            else list(
                range(
                    self.interleave_moe_layer_step - 1,
                    self.num_hidden_layers,
                    self.interleave_moe_layer_step,
                )
            )
        )

        if self.layer_types is None:
            self.layer_types = [
                "chunked_attention" if no_rope and self.attention_chunk_size is not None else "full_attention"
                for no_rope in self.no_rope_layers
            ]

        super().__post_init__(**kwargs)

    def _interval_errors(self) -> list[str]:
        return [
            f"{name} is {getattr(self, name)}: a positive integer is needed"
            for name in ("interleave_moe_layer_step", "no_rope_layer_interval")
            if getattr(self, name) < 1
        ]

    def _layer_lists(self) -> list[str]:
        names = super()._layer_lists()
        return [*names, "no_rope_layers"] if isinstance(self.__dict__["no_rope_layers"], list) else names

    def normalise(self):
        super().normalise()
        self.__dict__["moe_layers"] = [idx for idx, mlp in enumerate(self.mlp_types) if mlp == "moe"]


__all__ = ["HeterogeneousLlama4TextConfig"]
