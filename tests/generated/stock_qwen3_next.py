"""Stock Qwen3-Next layers of transformers put together by hand: what our Qwen3-Nexts are compared with."""

import torch
from torch import nn

from transformers import Qwen3NextConfig
from transformers.masking_utils import create_causal_mask
from transformers.models.qwen3_next.modeling_qwen3_next import (
    Qwen3NextAttention,
    Qwen3NextGatedDeltaNet,
    Qwen3NextMLP,
    Qwen3NextRMSNorm,
    Qwen3NextRotaryEmbedding,
    Qwen3NextSparseMoeBlock,
)

from .release import CACHE


OURS = ("mixer_types", "mlp_types", "layer_types", "mlp_only_layers", "num_hidden_layers")


def scalars(fields: dict) -> dict:
    return {name: value for name, value in fields.items() if not isinstance(value, list) and name not in OURS}


class StockLayer(nn.Module):
    """One layer, sizes given, from stock parts; written after the published description, not after our code."""

    def __init__(self, fields: dict, layer_idx: int, attn_implementation: str):
        super().__init__()
        sizes = {
            name: value[layer_idx] or 1
            for name, value in fields.items()
            if isinstance(value, list) and name not in OURS
        }
        attends = ["attention" if kind == "full_attention" else "mamba" for kind in fields.get("layer_types") or ()]
        self.mixer = (fields.get("mixer_types") or attends)[layer_idx]
        config = Qwen3NextConfig(
            **scalars(fields) | sizes,
            num_hidden_layers=fields["num_hidden_layers"],
            layer_types=["full_attention"] * fields["num_hidden_layers"],
            attn_implementation=attn_implementation,
            experts_implementation="grouped_mm",  # the default of transformers' models
        )
        dense = layer_idx in fields.get("mlp_only_layers", ())
        mlp = fields["mlp_types"][layer_idx] if "mlp_types" in fields else "dense" if dense else "moe"
        if self.mixer != "none":
            self.input_layernorm = Qwen3NextRMSNorm(config.hidden_size, config.rms_norm_eps)
        if self.mixer == "mamba":
            self.linear_attn = Qwen3NextGatedDeltaNet(config, layer_idx)
        if self.mixer == "attention":
            self.self_attn = Qwen3NextAttention(config, layer_idx)
        if mlp != "none":
            self.post_attention_layernorm = Qwen3NextRMSNorm(config.hidden_size, config.rms_norm_eps)
            self.mlp = Qwen3NextSparseMoeBlock(config) if mlp == "moe" else Qwen3NextMLP(config)

    def forward(self, x, padding, causal_mask, position_embeddings):
        if self.mixer == "mamba":
            x = x + self.linear_attn(self.input_layernorm(x), attention_mask=padding)
        if self.mixer == "attention":
            y, _ = self.self_attn(self.input_layernorm(x), position_embeddings, causal_mask)
            x = x + y
        if hasattr(self, "mlp"):
            x = x + self.mlp(self.post_attention_layernorm(x))
        return x


class Decoder(nn.Module):
    def __init__(self, fields: dict, attn_implementation: str):
        super().__init__()
        hidden_size = fields["hidden_size"]
        self.embed_tokens = nn.Embedding(fields["vocab_size"], hidden_size, fields["pad_token_id"])
        self.layers = nn.ModuleList(
            StockLayer(fields, layer_idx, attn_implementation) for layer_idx in range(fields["num_hidden_layers"])
        )
        self.norm = Qwen3NextRMSNorm(hidden_size, Qwen3NextConfig.rms_norm_eps)


class StockModel(nn.Module):
    """The parameters have the names of the parent's model, so that a state dict fits strictly."""

    def __init__(self, fields: dict, attn_implementation: str = "eager"):
        super().__init__()
        self.config = Qwen3NextConfig(**scalars(fields), attn_implementation=attn_implementation)
        self.model = Decoder(fields, attn_implementation)
        self.lm_head = nn.Linear(fields["hidden_size"], fields["vocab_size"], bias=False)
        self.rotary = Qwen3NextRotaryEmbedding(self.config)

    def forward(self, tokens, attention_mask=None):
        x = self.model.embed_tokens(tokens)
        causal_mask = create_causal_mask(
            config=self.config, inputs_embeds=x, attention_mask=attention_mask, **{CACHE: None}
        )
        position_embeddings = self.rotary(x, torch.arange(tokens.shape[1])[None])
        for layer in self.model.layers:
            x = layer(x, attention_mask, causal_mask, position_embeddings)
        return self.lm_head(self.model.norm(x))
