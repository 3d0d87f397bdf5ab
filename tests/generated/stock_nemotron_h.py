"""Stock Nemotron-H blocks of transformers put together by hand: what a heterogeneous Nemotron-H is compared with."""

from torch import nn

from transformers import DynamicCache, NemotronHConfig
from transformers.masking_utils import create_causal_mask
from transformers.models.nemotron_h.modeling_nemotron_h import NemotronHBlock, NemotronHRMSNorm

from .release import CACHE


SIZES = (
    "num_key_value_heads",
    "ssm_state_size",
    "intermediate_size",
    "n_routed_experts",
    "num_experts_per_tok",
    "moe_intermediate_size",
    "moe_latent_size",
    "moe_shared_expert_intermediate_size",
)
KINDS = {
    ("mamba", "none"): "linear_attention",
    ("attention", "none"): "full_attention",
    ("none", "moe"): "moe",
    ("none", "dense"): "mlp",
    ("none", "none"): None,
}


class Named(nn.Module):
    """Holds sub-modules under names."""

    def __init__(self, **modules: nn.Module):
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)


class StockModel(nn.Module):
    """The parameters have the published names, so that a state dict fits strictly."""

    def __init__(self, fields: dict, attn_implementation: str = "eager"):
        super().__init__()
        if "layers_block_type" in fields:
            names = {"mamba": "linear_attention", "attention": "full_attention"}
            self.kinds = [names.get(kind, kind) for kind in fields["layers_block_type"]]
        else:
            self.kinds = [KINDS[layer] for layer in zip(fields["mixer_types"], fields["mlp_types"], strict=True)]
        layers = []
        for layer_idx, kind in enumerate(self.kinds):
            config = self.layer_config(fields, layer_idx, kind or "mlp", attn_implementation)
            layers.append(nn.Module() if kind is None else NemotronHBlock(config, layer_idx))
        self.config = config
        self.model = Named(
            embeddings=nn.Embedding(fields["vocab_size"], fields["hidden_size"]),
            layers=nn.ModuleList(layers),
            norm_f=NemotronHRMSNorm(fields["hidden_size"], config.layer_norm_epsilon),
        )
        self.lm_head = nn.Linear(fields["hidden_size"], fields["vocab_size"], bias=False)

    def layer_config(self, fields: dict, layer_idx: int, kind: str, attn_implementation: str) -> NemotronHConfig:
        """The config of a stock model in which every layer is this one."""
        sizes = {}
        for name in set(SIZES) & set(fields):
            size = fields[name][layer_idx] if isinstance(fields[name], list) else fields[name]
            if size is not None:
                sizes[name] = size
        shared = {
            name: value
            for name, value in fields.items()
            if name not in (*SIZES, "mixer_types", "mlp_types", "layers_block_type")
        }
        kinds = [kind] * len(self.kinds)
        implementations = {"attn_implementation": attn_implementation, "experts_implementation": "grouped_mm"}
        return NemotronHConfig(**shared, **sizes, layers_block_type=kinds, **implementations)

    def forward(self, tokens, attention_mask=None):
        x = self.model.embeddings(tokens)
        causal = create_causal_mask(
            config=self.config, inputs_embeds=x, attention_mask=attention_mask, **{CACHE: None}
        )
        padded = attention_mask is not None and not attention_mask.all()
        masks = {"full_attention": causal, "linear_attention": attention_mask if padded else None}
        cache = DynamicCache(config=NemotronHConfig(layers_block_type=[kind or "mlp" for kind in self.kinds]))
        for kind, layer in zip(self.kinds, self.model.layers, strict=True):
            if kind is not None:  # with a cache as models have by default: keys are laid out otherwise without
                x = layer(x, attention_mask=masks.get(kind), **{CACHE: cache})
        return self.lm_head(self.model.norm_f(x))
