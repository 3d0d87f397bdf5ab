"""Stock Llama layers of transformers put together by hand: what a heterogeneous Llama is compared with."""

import torch
from torch import nn

from transformers import LlamaConfig, MistralConfig
from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask
from transformers.models.llama.modeling_llama import (
    LlamaAttention,
    LlamaMLP,
    LlamaRMSNorm,
    LlamaRotaryEmbedding,
)

from .release import CACHE


class Named(nn.Module):
    """Holds one sub-module under a name."""

    def __init__(self, **modules: nn.Module):
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)


class StockLayer(nn.Module):
    """One layer, sizes given, from stock parts; written after the published description, not after our code."""

    def __init__(self, fields: dict, layer_idx: int, attn_implementation: str):
        super().__init__()

        def size(name: str):
            value = fields.get(name)
            return value[layer_idx] if isinstance(value, list) else value

        self.window = size("sliding_window")
        mixer, mlp = size("mixer_types") or "attention", size("mlp_types") or "dense"
        hidden_size = fields["hidden_size"]
        config = LlamaConfig(
            hidden_size=hidden_size,
            head_dim=fields["head_dim"],
            num_attention_heads=size("num_attention_heads") or 4,
            num_key_value_heads=size("num_key_value_heads") or 4,
            intermediate_size=size("intermediate_size") or 8,
            attn_implementation=attn_implementation,
        )
        if mixer != "none":
            self.input_layernorm = LlamaRMSNorm(hidden_size, config.rms_norm_eps)
            linear = nn.Linear(hidden_size, hidden_size, bias=False)
            self.self_attn = LlamaAttention(config, layer_idx) if mixer == "attention" else Named(linear_attn=linear)
        if mlp != "none":
            self.post_attention_layernorm = LlamaRMSNorm(hidden_size, config.rms_norm_eps)
            linear = nn.Linear(hidden_size, hidden_size, bias=False)
            self.mlp = LlamaMLP(config) if mlp == "dense" else Named(linear_mlp=linear)

    def forward(self, x, masks, position_embeddings):
        if hasattr(self, "self_attn"):
            y = self.input_layernorm(x)
            if isinstance(self.self_attn, LlamaAttention):
                y, _ = self.self_attn(y, position_embeddings=position_embeddings, attention_mask=masks[self.window])
            else:
                y = self.self_attn.linear_attn(y)
            x = x + y
        if hasattr(self, "mlp"):
            y = self.post_attention_layernorm(x)
            x = x + (self.mlp(y) if isinstance(self.mlp, LlamaMLP) else self.mlp.linear_mlp(y))
        return x


class StockModel(nn.Module):
    """The parameters have the published names, so that a state dict fits strictly."""

    def __init__(self, fields: dict, attn_implementation: str = "eager"):
        super().__init__()
        self.config = LlamaConfig(
            **{name: fields[name] for name in ("vocab_size", "hidden_size", "head_dim", "max_position_embeddings")},
            attn_implementation=attn_implementation,
        )
        self.model = Named(
            embed_tokens=nn.Embedding(fields["vocab_size"], fields["hidden_size"]),
            layers=nn.ModuleList(
                StockLayer(fields, layer_idx, attn_implementation) for layer_idx in range(fields["num_hidden_layers"])
            ),
            norm=LlamaRMSNorm(fields["hidden_size"], self.config.rms_norm_eps),
        )
        self.lm_head = nn.Linear(fields["hidden_size"], fields["vocab_size"], bias=False)
        self.rotary = LlamaRotaryEmbedding(self.config)

    def masks(self, x, attention_mask, position_ids):
        shared = {
            "inputs_embeds": x,
            "attention_mask": attention_mask,
            CACHE: None,
            "position_ids": position_ids,
        }
        masks = {None: create_causal_mask(config=self.config, **shared)}
        for window in {layer.window for layer in self.model.layers} - {None}:
            config = MistralConfig(sliding_window=window, attn_implementation=self.config._attn_implementation)
            masks[window] = create_sliding_window_causal_mask(config=config, **shared)
        return masks

    def forward(self, tokens, attention_mask=None):
        x = self.model.embed_tokens(tokens)
        position_ids = torch.arange(tokens.shape[1])[None]
        masks = self.masks(x, attention_mask, position_ids)
        position_embeddings = self.rotary(x, position_ids)
        for layer in self.model.layers:
            x = layer(x, masks, position_embeddings)
        return self.lm_head(self.model.norm(x))
