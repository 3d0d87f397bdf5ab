"""Stock layers of transformers' Llama 4 put together by hand: what our text models of Llama 4 are compared with."""

import torch
from torch import nn

from transformers import Llama4TextConfig
from transformers.masking_utils import create_causal_mask, create_chunked_causal_mask
from transformers.models.llama4.modeling_llama4 import (
    Llama4TextAttention,
    Llama4TextMLP,
    Llama4TextMoe,
    Llama4TextRMSNorm,
    Llama4TextRotaryEmbedding,
)

from .release import CACHE


OURS = ("mixer_types", "mlp_types", "layer_types", "moe_layers", "no_rope_layers")


def scalars(fields: dict) -> dict:
    return {name: value for name, value in fields.items() if not isinstance(value, list) and name not in OURS}


class StockLayer(nn.Module):
    """One layer, sizes given, from stock parts; written after the published description, not after our code."""

    def __init__(self, fields: dict, layer_idx: int, attn_implementation: str):
        super().__init__()
        listed = {name: value for name, value in fields.items() if isinstance(value, list) and name not in OURS}
        config = Llama4TextConfig(
            **{**scalars(fields), **{name: value[layer_idx] or 1 for name, value in listed.items()}},
            no_rope_layers=fields["no_rope_layers"],
            attn_implementation=attn_implementation,
        )
        mixer = fields["mixer_types"][layer_idx] if "mixer_types" in fields else "attention"
        experts = layer_idx in (fields.get("moe_layers") or ())
        mlp = fields["mlp_types"][layer_idx] if "mlp_types" in fields else "moe" if experts else "dense"
        in_chunks = fields["no_rope_layers"][layer_idx] and config.attention_chunk_size is not None
        if "layer_types" in fields:
            in_chunks = fields["layer_types"][layer_idx] == "chunked_attention"
        self.mask = "chunks" if in_chunks else "all"
        if mixer != "none":
            self.input_layernorm = Llama4TextRMSNorm(config.hidden_size, config.rms_norm_eps)
            self.self_attn = Llama4TextAttention(config, layer_idx)
        if mlp != "none":
            self.post_attention_layernorm = Llama4TextRMSNorm(config.hidden_size, config.rms_norm_eps)
            dense = Llama4TextMLP(config, config.intermediate_size_mlp)
            self.feed_forward = Llama4TextMoe(config) if mlp == "moe" else dense

    def forward(self, x, masks, position_embeddings):
        if hasattr(self, "self_attn"):
            y, _ = self.self_attn(self.input_layernorm(x), position_embeddings, masks[self.mask])
            x = x + y
        if hasattr(self, "feed_forward"):
            y = self.feed_forward(self.post_attention_layernorm(x))
            x = x + (y[0] if isinstance(y, tuple) else y).view(x.shape)
        return x


class Decoder(nn.Module):
    def __init__(self, fields: dict, attn_implementation: str):
        super().__init__()
        hidden_size = fields["hidden_size"]
        self.embed_tokens = nn.Embedding(fields["vocab_size"], hidden_size, fields["pad_token_id"])
        self.layers = nn.ModuleList(
            StockLayer(fields, layer_idx, attn_implementation) for layer_idx in range(fields["num_hidden_layers"])
        )
        self.norm = Llama4TextRMSNorm(hidden_size, Llama4TextConfig.rms_norm_eps)


class StockModel(nn.Module):
    """The parameters have the names of the parent's model, so that a state dict fits strictly."""

    def __init__(self, fields: dict, attn_implementation: str = "eager"):
        super().__init__()
        self.config = Llama4TextConfig(**scalars(fields), attn_implementation=attn_implementation)
        self.model = Decoder(fields, attn_implementation)
        self.lm_head = nn.Linear(fields["hidden_size"], fields["vocab_size"], bias=False)
        self.rotary = Llama4TextRotaryEmbedding(self.config)

    def forward(self, tokens, attention_mask=None):
        x = self.model.embed_tokens(tokens)
        shared = {"config": self.config, "inputs_embeds": x, "attention_mask": attention_mask, CACHE: None}
        masks = {"all": create_causal_mask(**shared)}
        if self.config.attention_chunk_size is not None:
            masks["chunks"] = create_chunked_causal_mask(**shared)
        position_embeddings = self.rotary(x, torch.arange(tokens.shape[1])[None])
        for layer in self.model.layers:
            x = layer(x, masks, position_embeddings)
        return self.lm_head(self.model.norm(x))
