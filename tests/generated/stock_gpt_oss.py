"""Stock gpt-oss layers of transformers put together by hand: what a heterogeneous gpt-oss is compared with."""

import torch
from torch import nn

from transformers import GptOssConfig
from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask
from transformers.models.gpt_oss.modeling_gpt_oss import (
    GptOssAttention,
    GptOssMLP,
    GptOssRMSNorm,
    GptOssRotaryEmbedding,
)

from .release import CACHE


SHARED = ("vocab_size", "hidden_size", "head_dim", "num_attention_heads", "max_position_embeddings", "rope_parameters")


def windows(fields: dict) -> list[int | None]:
    """The window of each layer: a list as it is, a scalar in every other layer from the first."""
    window, num_layers = fields.get("sliding_window"), fields["num_hidden_layers"]
    return window if isinstance(window, list) else [None if idx % 2 else window for idx in range(num_layers)]


class StockLayer(nn.Module):
    """One layer, sizes given, from stock parts; written after the published description, not after our code."""

    def __init__(self, fields: dict, layer_idx: int, **implementations: str):
        super().__init__()

        def size(name: str):
            value = fields.get(name)
            return value[layer_idx] if isinstance(value, list) else value

        self.window = windows(fields)[layer_idx]
        self.attends = size("mixer_types") != "none"
        self.has_experts = size("mlp_types") != "none"
        kind = "full_attention" if self.window is None else "sliding_attention"
        config = GptOssConfig(
            **{name: fields[name] for name in SHARED},
            num_hidden_layers=fields["num_hidden_layers"],
            layer_types=[kind] * fields["num_hidden_layers"],
            sliding_window=self.window,
            num_key_value_heads=size("num_key_value_heads") or 1,
            num_local_experts=size("num_local_experts") or 1,
            num_experts_per_tok=size("num_experts_per_tok") or 1,
            intermediate_size=size("intermediate_size") or 1,
            **implementations,
        )
        if self.attends:
            self.input_layernorm = GptOssRMSNorm(config.hidden_size, config.rms_norm_eps)
            self.self_attn = GptOssAttention(config, layer_idx)
        if self.has_experts:
            self.post_attention_layernorm = GptOssRMSNorm(config.hidden_size, config.rms_norm_eps)
            self.mlp = GptOssMLP(config)

    def forward(self, x, masks, position_embeddings):
        if self.attends:
            y = self.input_layernorm(x)
            y, _ = self.self_attn(y, position_embeddings=position_embeddings, attention_mask=masks[self.window])
            x = x + y
        if self.has_experts:
            y, _ = self.mlp(self.post_attention_layernorm(x))
            x = x + y
        return x


class Decoder(nn.Module):
    def __init__(self, fields: dict, **implementations: str):
        super().__init__()
        hidden_size = fields["hidden_size"]
        self.embed_tokens = nn.Embedding(fields["vocab_size"], hidden_size, fields["pad_token_id"])
        self.layers = nn.ModuleList(
            StockLayer(fields, layer_idx, **implementations) for layer_idx in range(fields["num_hidden_layers"])
        )
        self.norm = GptOssRMSNorm(hidden_size, GptOssConfig.rms_norm_eps)


class StockModel(nn.Module):
    """The parameters have the published names, so that a state dict fits strictly. Experts are run as transformers'
    models run them when nothing else is asked for."""

    def __init__(self, fields: dict, attn_implementation: str = "eager", experts_implementation: str = "grouped_mm"):
        super().__init__()
        implementations = {
            "attn_implementation": attn_implementation,
            "experts_implementation": experts_implementation,
        }
        self.config = GptOssConfig(**{name: fields[name] for name in SHARED}, **implementations)
        self.model = Decoder(fields, **implementations)
        self.lm_head = nn.Linear(fields["hidden_size"], fields["vocab_size"], bias=False)
        self.rotary = GptOssRotaryEmbedding(self.config)

    def masks(self, x, attention_mask):
        shared = {"inputs_embeds": x, "attention_mask": attention_mask, CACHE: None}
        masks = {None: create_causal_mask(config=self.config, **shared)}
        for window in {layer.window for layer in self.model.layers} - {None}:
            config = GptOssConfig(sliding_window=window, attn_implementation=self.config._attn_implementation)
            masks[window] = create_sliding_window_causal_mask(config=config, **shared)
        return masks

    def forward(self, tokens, attention_mask=None):
        x = self.model.embed_tokens(tokens)
        masks = self.masks(x, attention_mask)
        position_embeddings = self.rotary(x, torch.arange(tokens.shape[1])[None])
        for layer in self.model.layers:
            x = layer(x, masks, position_embeddings)
        return self.lm_head(self.model.norm(x))
