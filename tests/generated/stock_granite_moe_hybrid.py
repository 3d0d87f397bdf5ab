"""Stock GraniteMoeHybrid layers of transformers put together by hand: what our Granite hybrids are compared with."""

import torch
from torch import nn

from transformers import GraniteMoeHybridConfig
from transformers.masking_utils import create_causal_mask
from transformers.models.granitemoehybrid.modeling_granitemoehybrid import (
    GraniteMoeHybridAttention,
    GraniteMoeHybridMambaLayer,
    GraniteMoeHybridMLP,
    GraniteMoeHybridMoE,
    GraniteMoeHybridRMSNorm,
    GraniteMoeHybridRotaryEmbedding,
)

from .release import CACHE


PER_LAYER = (
    "num_key_value_heads",
    "num_local_experts",
    "num_experts_per_tok",
    "intermediate_size",
    "shared_intermediate_size",
)
OURS = ("mixer_types", "mlp_types", "layer_types", "num_hidden_layers")


def layer_kinds(fields: dict, layer_idx: int) -> tuple[str, str]:
    mixers = {"linear_attention": "mamba", "full_attention": "attention"}
    mixer = fields["mixer_types"][layer_idx] if fields.get("mixer_types") else mixers[fields["layer_types"][layer_idx]]
    mlp = "moe" if fields["num_local_experts"] != 0 else "dense"
    return mixer, fields["mlp_types"][layer_idx] if fields.get("mlp_types") else mlp


class StockLayer(nn.Module):
    """One layer, sizes given, from stock parts; written after the published description, not after our code."""

    def __init__(self, fields: dict, layer_idx: int, attn_implementation: str):
        super().__init__()
        scalars = {name: value for name, value in fields.items() if name not in (*PER_LAYER, *OURS)}
        for name in PER_LAYER:
            size = fields[name][layer_idx] if isinstance(fields[name], list) else fields[name]
            scalars[name] = 1 if size is None else size
        config = GraniteMoeHybridConfig(
            **scalars,
            num_hidden_layers=fields["num_hidden_layers"],
            attn_implementation=attn_implementation,
            experts_implementation="grouped_mm",  # the default of transformers' models
        )
        hidden_size = config.hidden_size
        self.multiplier = config.residual_multiplier
        self.mixer, self.mlp = layer_kinds(fields, layer_idx)
        if self.mixer != "none":
            self.input_layernorm = GraniteMoeHybridRMSNorm(hidden_size, config.rms_norm_eps)
        if self.mixer == "mamba":
            self.mamba = GraniteMoeHybridMambaLayer(config, layer_idx)
        if self.mixer == "attention":
            self.self_attn = GraniteMoeHybridAttention(config, layer_idx)
        if self.mlp != "none":
            self.post_attention_layernorm = GraniteMoeHybridRMSNorm(hidden_size, config.rms_norm_eps)
            self.shared_mlp = GraniteMoeHybridMLP(config)
        if self.mlp == "moe":
            self.block_sparse_moe = GraniteMoeHybridMoE(config)

    def forward(self, x, padding, causal_mask, position_embeddings):
        if self.mixer == "mamba":
            x = x + self.mamba(self.input_layernorm(x), attention_mask=padding) * self.multiplier
        if self.mixer == "attention":
            y = self.input_layernorm(x)
            y, _ = self.self_attn(y, causal_mask, position_embeddings=position_embeddings)
            x = x + y * self.multiplier
        if self.mlp != "none":
            y = self.post_attention_layernorm(x)
            routed = self.block_sparse_moe(y) if self.mlp == "moe" else None
            shared = self.shared_mlp(y)
            x = x + (shared if routed is None else routed + shared) * self.multiplier
        return x


class Decoder(nn.Module):
    def __init__(self, fields: dict, attn_implementation: str):
        super().__init__()
        hidden_size = fields["hidden_size"]
        self.embed_tokens = nn.Embedding(fields["vocab_size"], hidden_size, fields["pad_token_id"])
        self.layers = nn.ModuleList(
            StockLayer(fields, layer_idx, attn_implementation) for layer_idx in range(fields["num_hidden_layers"])
        )
        self.norm = GraniteMoeHybridRMSNorm(hidden_size, GraniteMoeHybridConfig.rms_norm_eps)


class StockModel(nn.Module):
    """The parameters have the names of the parent's model, so that a state dict fits strictly."""

    def __init__(self, fields: dict, attn_implementation: str = "eager"):
        super().__init__()
        names = ("hidden_size", "num_attention_heads", "mamba_n_heads", "max_position_embeddings")
        self.config = GraniteMoeHybridConfig(
            **{name: fields[name] for name in names}, attn_implementation=attn_implementation
        )
        self.fields = fields
        self.model = Decoder(fields, attn_implementation)
        self.lm_head = nn.Linear(fields["hidden_size"], fields["vocab_size"], bias=False)
        self.rotary = GraniteMoeHybridRotaryEmbedding(self.config)

    def forward(self, tokens, attention_mask=None):
        x = self.model.embed_tokens(tokens) * self.fields["embedding_multiplier"]
        causal_mask = create_causal_mask(
            config=self.config, inputs_embeds=x, attention_mask=attention_mask, **{CACHE: None}
        )
        position_embeddings = None
        if self.fields.get("position_embedding_type") == "rope":
            position_embeddings = self.rotary(x, torch.arange(tokens.shape[1])[None])
        for layer in self.model.layers:
            x = layer(x, attention_mask, causal_mask, position_embeddings)
        return self.lm_head(self.model.norm(x)) / self.fields["logits_scaling"]
