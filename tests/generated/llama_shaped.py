"""Families whose parents are Llama-shaped: small models of every kind, and the parent's own layers put together by hand."""

from importlib import import_module
from types import SimpleNamespace

import torch
from torch import nn

import transformers
import transformers_heterogeneous
from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask

from .release import CACHE
from .small import MIXED as LLAMA_MIXED
from .small import THINNED, UNIFORM


WITHOUT_LINEAR = {
    name: ["none" if kind == "linear" else kind for kind in LLAMA_MIXED[name]] for name in ("mixer_types", "mlp_types")
}


EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
# For a parent with experts: what each kind has beside a Llama's fields, or in their place
OF_EXPERTS = {
    "uniform": {**EXPERTS, "mlp_only_layers": [1]},
    "thinned": {**EXPERTS, "num_experts": [4, 8, 4, 2, 4]},
    "mixed": {
        "mlp_types": ["moe", "dense", "moe", "none", "none", "moe", "none", "dense"],
        "num_experts": [4, None, 6, None, None, 3, None, None],
        "num_experts_per_tok": [2, None, 3, None, None, 1, None, None],
        "moe_intermediate_size": [32, None, 64, None, None, 32, None, None],
        "intermediate_size": [None, 96, None, None, None, None, None, 64],
    },
}


def small_models(name: str, by_kind: dict[str, dict] | None = None, **fields) -> SimpleNamespace:
    """
    What `tests/generated/small_*.py` have, for a parent.

    Args:
        name: of the parent's classes, as in `Qwen3`.
        by_kind: In the configs of a kind.
        fields: In all configs; `None` for one that the parent does not have.
    """

    def having(kind: str, config: dict) -> dict:
        members = {**config, **(by_kind or {}).get(kind, {}), **fields}
        return {key: value for key, value in members.items() if value is not None}

    config_class = getattr(transformers_heterogeneous, f"Heterogeneous{name}Config")
    causal = getattr(transformers_heterogeneous, f"Heterogeneous{name}ForCausalLM")

    def build(config: dict, model_class=causal, attn_implementation: str = "eager"):
        torch.manual_seed(0)
        made = config_class(**config)
        made._attn_implementation = attn_implementation
        return model_class(made).eval()

    # A Qwen has its window where it is told to use it, in the layers from a number on
    asks = {"use_sliding_window": True, "max_window_layers": 0}
    windows = {key: value for key, value in asks.items() if key in config_class.__dataclass_fields__}
    uniform, thinned = having("uniform", UNIFORM), having("thinned", THINNED)
    kinds = {
        "uniform": uniform,
        "thinned": thinned,
        "windowed": {**thinned, "sliding_window": 6, **windows},
        "half_windowed": {**thinned, "sliding_window": [6, None, None, None, 6]},
        "mixed": having("mixed", {**LLAMA_MIXED, **WITHOUT_LINEAR}),
    }
    return SimpleNamespace(
        BASE=uniform,
        UNIFORM=uniform,
        THINNED=kinds["thinned"],
        MIXED=kinds["mixed"],
        KINDS=kinds,
        CONFIG=config_class,
        CAUSAL=causal,
        PARENT_CONFIG=getattr(transformers, f"{name}Config"),
        PARENT=getattr(transformers, f"{name}ForCausalLM"),
        build=build,
    )


class StockLayer(nn.Module):
    """One of the parent's layers, with the parent's config of its sizes, and without what is said to be absent."""

    def __init__(self, name: str, module, fields: dict, layer_idx: int, attn_implementation: str):
        super().__init__()
        dense = layer_idx in fields.get("mlp_only_layers", ())
        listed = [key for key, value in fields.items() if isinstance(value, list) and key != "mlp_only_layers"]
        sizes = {key: value[layer_idx] if key in listed else value for key, value in fields.items()}
        mixer, mlp = (sizes.pop(key, "some") for key in ("mixer_types", "mlp_types"))
        self.window = sizes.pop("sliding_window", None) if mixer != "none" else None
        sizes = {key: 1 if value is None else value for key, value in sizes.items()}
        implementations = {"attn_implementation": attn_implementation, "experts_implementation": "grouped_mm"}
        config = getattr(transformers, f"{name}Config")(**sizes, **implementations)
        norm = getattr(module, f"{name}RMSNorm")
        if mixer != "none":
            self.input_layernorm = norm(config.hidden_size, config.rms_norm_eps)
            self.self_attn = getattr(module, f"{name}Attention")(config, layer_idx)
        if mlp != "none":
            self.post_attention_layernorm = norm(config.hidden_size, config.rms_norm_eps)
            experts = not dense and mlp != "dense" and hasattr(config, "num_experts")
            self.mlp = getattr(module, f"{name}SparseMoeBlock" if experts else f"{name}MLP")(config)

    def forward(self, x, masks, position_embeddings):
        if hasattr(self, "self_attn"):
            y = self.input_layernorm(x)
            x = x + self.self_attn(y, position_embeddings=position_embeddings, attention_mask=masks[self.window])[0]
        if hasattr(self, "mlp"):
            x = x + self.mlp(self.post_attention_layernorm(x))
        return x


def stock_model(name: str):
    """The class of what a family is compared with. Its parameters have the published names."""
    model_type = getattr(transformers, f"{name}Config").model_type
    module = import_module(f"transformers.models.{model_type}.modeling_{model_type}")

    class Decoder(nn.Module):
        def __init__(self, fields, config, attn_implementation):
            super().__init__()
            self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
            layers = (
                StockLayer(name, module, fields, idx, attn_implementation)
                for idx in range(fields["num_hidden_layers"])
            )
            self.layers = nn.ModuleList(layers)
            self.norm = getattr(module, f"{name}RMSNorm")(config.hidden_size, config.rms_norm_eps)

    class StockModel(nn.Module):
        def __init__(self, fields: dict, attn_implementation: str = "eager"):
            super().__init__()
            scalars = {key: value for key, value in fields.items() if not isinstance(value, list)}
            config_class = getattr(transformers, f"{name}Config")
            self.config = config_class(**{**scalars, "num_attention_heads": 4, "num_key_value_heads": 4})
            self.config._attn_implementation = attn_implementation
            self.model = Decoder(fields, self.config, attn_implementation)
            self.lm_head = nn.Linear(self.config.hidden_size, self.config.vocab_size, bias=False)
            self.rotary = getattr(module, f"{name}RotaryEmbedding")(self.config)

        def forward(self, tokens, attention_mask=None):
            x = self.model.embed_tokens(tokens)
            position_ids = torch.arange(tokens.shape[1])[None]
            shared = {"inputs_embeds": x, "attention_mask": attention_mask, CACHE: None, "position_ids": position_ids}
            masks = {None: create_causal_mask(config=self.config, **shared)}
            for window in {layer.window for layer in self.model.layers} - {None}:
                config = transformers.MistralConfig(
                    sliding_window=window, attn_implementation=self.config._attn_implementation
                )
                masks[window] = create_sliding_window_causal_mask(config=config, **shared)
            position_embeddings = self.rotary(x, position_ids)
            for layer in self.model.layers:
                x = layer(x, masks, position_embeddings)
            return self.lm_head(self.model.norm(x))

    return StockModel
