"""
Stock layers of transformers' Qwen3-VL put together by hand, around its own vision model: what ours are compared with. Written after
the published description, positions in three dimensions too, not after our code.
"""

from importlib import import_module

import torch
from torch import nn

import transformers
from transformers.masking_utils import create_causal_mask

from .release import CACHE
from .small_qwen3_vl import IMAGE, MARKS, OUTSIDE, SeeingFamily


MERGED = 2  # places of a picture a side that become one token


def positions_of(tokens: torch.Tensor, kept: torch.Tensor, grids: torch.Tensor) -> torch.Tensor:
    """(3, rows, tokens): text counts on in all three; a picture has one time, and its rows and columns; text behind it goes on
    behind the longer side. Padding does not count."""
    positions = torch.zeros(3, *tokens.shape, dtype=torch.long)
    left = [grid.tolist() for grid in grids]
    for row, line in enumerate(tokens.tolist()):
        now, place = 0, 0
        while place < len(line):
            if line[place] != IMAGE:
                positions[:, row, place] = now * kept[row, place]
                now, place = now + int(kept[row, place]), place + 1
                continue
            _, height, width = left.pop(0)
            height, width = height // MERGED, width // MERGED
            for token in range(height * width):
                down, across = divmod(token, width)
                positions[:, row, place + token] = torch.tensor([now, now + down, now + across])
            now, place = now + max(height, width), place + height * width
    return positions


class StockLayer(nn.Module):
    """One layer, sizes given, from stock parts."""

    def __init__(self, family: SeeingFamily, module, fields: dict, layer_idx: int, attn_implementation: str):
        super().__init__()
        lists = {key: value for key, value in fields.items() if isinstance(value, list) and key != "mlp_only_layers"}
        sizes = {**fields, **{key: value[layer_idx] or 1 for key, value in lists.items()}}
        mixer, mlp = (sizes.pop(key, "some") for key in ("mixer_types", "mlp_types"))
        config = getattr(transformers, f"{family.name}TextConfig")(**sizes)
        config._attn_implementation = attn_implementation
        config._experts_implementation = "grouped_mm"

        def part(name: str):
            return getattr(module, f"{family.name}Text{name}")

        if mixer != "none":
            self.input_layernorm = part("RMSNorm")(config.hidden_size, config.rms_norm_eps)
            self.self_attn = part("Attention")(config, layer_idx)
        if mlp != "none":
            self.post_attention_layernorm = part("RMSNorm")(config.hidden_size, config.rms_norm_eps)
            dense = mlp == "dense" or layer_idx in fields.get("mlp_only_layers", ())
            self.mlp = part("SparseMoeBlock" if "num_experts" in fields and not dense else "MLP")(config)

    def forward(self, x, mask, position_embeddings):
        if hasattr(self, "self_attn"):
            x = x + self.self_attn(self.input_layernorm(x), position_embeddings, mask)[0]
        if hasattr(self, "mlp"):
            x = x + self.mlp(self.post_attention_layernorm(x))
        return x


class StockModel(nn.Module):
    """The parameters have the names of the parent's model, so that a state dict fits strictly."""

    def __init__(self, family: SeeingFamily, fields: dict, attn_implementation: str = "sdpa"):
        super().__init__()
        config_class = family.PARENT_CONFIG
        module = import_module(config_class.__module__.replace("configuration_", "modeling_"))
        scalars = {key: value for key, value in fields.items() if not isinstance(value, list)}
        whole = config_class(**OUTSIDE, text_config={**scalars, "num_attention_heads": 4, "num_key_value_heads": 4})
        self.config = whole.text_config
        self.config._attn_implementation = attn_implementation
        text = nn.Module()
        text.embed_tokens = nn.Embedding(self.config.vocab_size, self.config.hidden_size)
        layers = range(fields["num_hidden_layers"])
        text.layers = nn.ModuleList(StockLayer(family, module, fields, idx, attn_implementation) for idx in layers)
        text.norm = getattr(module, f"{family.name}TextRMSNorm")(self.config.hidden_size, self.config.rms_norm_eps)
        self.model = nn.Module()
        vision = getattr(module, f"{family.name}VisionModel")
        self.model.visual = vision._from_config(whole.vision_config, attn_implementation=attn_implementation)
        self.model.language_model = text
        self.lm_head = nn.Linear(self.config.hidden_size, self.config.vocab_size, bias=False)
        self.rotary = getattr(module, f"{family.name}TextRotaryEmbedding")(self.config)

    def forward(self, input_ids, pixel_values=None, image_grid_thw=(), attention_mask=None, **kwargs):
        text = self.model.language_model
        x = text.embed_tokens(input_ids)
        features = []
        seen = input_ids == IMAGE
        if pixel_values is not None:
            vision = self.model.visual(pixel_values, grid_thw=image_grid_thw)
            x = x.masked_scatter(seen[..., None], vision.pooler_output)
            features = vision.deepstack_features
        kept = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        position_embeddings = self.rotary(x, positions_of(input_ids, kept, image_grid_thw))
        shared = {"inputs_embeds": x, "attention_mask": attention_mask, CACHE: None, "position_ids": None}
        mask = create_causal_mask(config=self.config, **shared)
        for layer_idx, layer in enumerate(text.layers):
            x = layer(x, mask, position_embeddings)
            if layer_idx < len(features):
                x = x.masked_scatter(seen[..., None], x[seen] + features[layer_idx])
        return self.lm_head(text.norm(x))

    def greedy(self, inputs: dict, num_tokens: int) -> torch.Tensor:
        """Each token, but those that stand for pictures, from a forward over all before it."""
        tokens = inputs["input_ids"]
        for _ in range(num_tokens):
            more = torch.ones(len(tokens), tokens.shape[1] - inputs["input_ids"].shape[1], dtype=torch.long)
            mask = inputs.get("attention_mask")
            mask = None if mask is None else torch.cat([mask, more], dim=1)
            with torch.no_grad():
                logits = self(**{**inputs, "input_ids": tokens, "attention_mask": mask})[:, -1]
                logits[:, MARKS] = -torch.inf
            tokens = torch.cat([tokens, logits.argmax(-1, keepdim=True)], dim=1)
        return tokens
