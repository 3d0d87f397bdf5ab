"""
Small checkpoints as Puzzletron's second generation realises them: `block_configs` of typed sub-blocks and `per_layer_config`, which say
the same. Both are written out by hand after `modelopt.torch.puzzletron` on its branch `feature/puzzletron_v2`.
"""

from typing import Any

from . import published_families as published
from .published_families import HEAD_DIM, H, Shapes


def typed(*sub_blocks: dict[str, Any]) -> dict[str, Any]:
    return {"subblock_configs": list(sub_blocks)}


def attention(kv_heads: int, heads: int = 4, **more: Any) -> dict[str, Any]:
    sizes = {"num_kv_heads": kv_heads, "num_query_heads": heads}
    return {"kind": "attention", "name": "attention", "no_op": False, **sizes, **more}


def ffn(width: int) -> dict[str, Any]:
    return {"kind": "ffn", "name": "ffn", "no_op": False, "intermediate_size": width}


def moe(num_experts: int, width: int, top_k: int, **more: Any) -> dict[str, Any]:
    sizes = {"num_experts": num_experts, "expert_intermediate_size": width, "top_k": top_k}
    return {"kind": "moe", "name": "moe", "no_op": False, **sizes, **more}


def no_op(kind: str) -> dict[str, Any]:
    return {"kind": kind, "name": kind, "no_op": True}


def realised(config: dict[str, Any], blocks: list[dict[str, Any]], overrides: dict[str, Any]) -> dict[str, Any]:
    """The config of a base model as it is beside the tensors that a solution chose."""
    (architecture,) = config["architectures"]
    module = {"decoder_layer_module": f".{config['model_type']}"}
    layer = {"decoder_layer_class": architecture.replace("ForCausalLM", "DecoderLayer")}
    added = {"base_architecture": architecture, "anymodel_arch_info": module | layer}
    layers = {"block_configs": blocks, "per_layer_config": overrides, "num_hidden_layers": len(blocks)}
    return {**config, **added, **layers, "architectures": ["AnyModel"]}


# Two KV heads, a narrow MLP alone, two query heads without an MLP
DENSE_BLOCKS = [
    typed(attention(2), ffn(48)),
    typed(no_op("attention"), ffn(16)),
    typed(attention(1, heads=2), no_op("ffn")),
]
DENSE_OVERRIDES = {
    "1": {"skip": ["attention"], "intermediate_size": 16},
    "2": {"skip": ["mlp"], "num_attention_heads": 2, "num_key_value_heads": 1},
}
LLAMA = realised(
    {
        **published.DENSE,
        **{
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "head_dim": HEAD_DIM,
            "attention_bias": False,
        },
    },
    DENSE_BLOCKS,
    DENSE_OVERRIDES,
)
QWEN3 = realised(published.QWEN3, DENSE_BLOCKS, DENSE_OVERRIDES)
# Qwen2's heads are as wide as their number says, so there are as many in each layer
QWEN2 = realised(
    published.QWEN2,
    [*DENSE_BLOCKS[:2], typed(attention(1), no_op("ffn"))],
    {**DENSE_OVERRIDES, "2": {"skip": ["mlp"], "num_key_value_heads": 1}},
)
# A window of its own, none, that of the others
MISTRAL = realised(
    published.MISTRAL,
    [
        typed(attention(2, sliding_window_size=4), ffn(48)),
        typed(attention(2, sliding_window_size="full"), ffn(16)),
        typed(attention(1, sliding_window_size=8), no_op("ffn")),
    ],
    {
        "0": {"sliding_window": 4},
        "1": {"sliding_window": None, "intermediate_size": 16},
        "2": {"skip": ["mlp"], "num_key_value_heads": 1},
    },
)
QWEN3_MOE = realised(
    published.QWEN3_MOE,
    [
        typed(attention(2), moe(3, 16, 2)),
        typed(no_op("attention"), ffn(16)),
        typed(attention(1), moe(2, 16, 1)),
    ],
    {
        "0": {"num_experts": 3},
        "1": {"skip": ["attention"], "intermediate_size": 16},
        "2": {"num_key_value_heads": 1, "num_experts": 2, "num_experts_per_tok": 1},
    },
)
# A window of its own; no attention; full attention where the others slide, and no experts
GPT_OSS = realised(
    published.GPT_OSS,
    [
        typed(attention(2, sliding_window_size=4), moe(4, 32, 2)),
        typed(no_op("attention"), moe(2, 32, 1)),
        typed(attention(1, sliding_window_size="full"), no_op("moe")),
    ],
    {
        "0": {"sliding_window": 4},
        "1": {"skip": ["attention"], "num_local_experts": 2, "num_experts_per_tok": 1},
        "2": {
            **{"skip": ["mlp"], "num_key_value_heads": 1, "sliding_window": None},
            "layer_types": ["sliding_attention", "full_attention", "full_attention"],
        },
    },
)
GPT_OSS["anymodel_arch_info"] = {"decoder_layer_module": ".gpt_oss", "decoder_layer_class": "TransformerBlock"}


def mamba(state: int) -> dict[str, Any]:
    sizes = {"state_dim": state, "num_heads": 8, "head_dim": 16, "num_groups": 2, "conv_kernel_size": 4}
    return {"kind": "mamba", "name": "mamba", "no_op": False, **sizes}


# Less state, fewer and narrower experts, a layer with nothing in it, one KV head, a dense MLP
NEMOTRON_H = realised(
    {
        **{name: value for name, value in published.SUPER_3.items() if "pattern" not in name and name != "auto_map"},
        "layers_block_type": ["mamba", "moe", "attention", "attention", "mlp"],
        "num_nextn_predict_layers": 0,
    },
    [
        typed(mamba(12), no_op("ffn")),
        typed(no_op("attention"), moe(2, 16, 1, shared_expert_intermediate_size=40, latent_dim=32)),
        typed(no_op("attention"), no_op("ffn")),
        typed(attention(1, qk_head_dim=16, v_head_dim=16), no_op("ffn")),
        typed(no_op("attention"), ffn(24)),
    ],
    {
        "0": {"skip": ["mlp"], "ssm_state_size": 12},
        "1": {"skip": ["attention"], "n_routed_experts": 2, "moe_intermediate_size": 16, "num_experts_per_tok": 1},
        "2": {"skip": ["attention", "mlp"]},
        "3": {"skip": ["mlp"], "num_key_value_heads": 1},
        "4": {"skip": ["attention"], "intermediate_size": 24},
    },
)
# As Puzzletron takes a model in: blocks alone, the base's architecture, and what they leave unsaid around them
TEACHER = {
    **{name: value for name, value in LLAMA.items() if name not in ("anymodel_arch_info", "per_layer_config")},
    **{"architectures": ["LlamaForCausalLM"], "block_configs": [typed(attention(2), ffn(48))] * 3},
}
del TEACHER["base_architecture"]


def attention_shapes(model_type: str, kv_heads: int, heads: int = 4) -> Shapes:
    """With so many query heads."""
    shapes = dict(published.dense_attention(model_type, kv_heads))
    width = heads * (32 if model_type == "qwen3" else HEAD_DIM)
    return {**shapes, "self_attn.q_proj.weight": (width, H), "self_attn.o_proj.weight": (H, width)}


def dense_layers(model_type: str, heads: int = 2) -> list[Shapes]:
    """Those of `DENSE_BLOCKS`."""
    mlp = published.dense_mlp
    return [published.dense_attention(model_type) | mlp(), mlp(16), attention_shapes(model_type, 1, heads)]


MISTRAL_LAYERS = [
    published.dense_attention("mistral") | published.dense_mlp(),
    published.dense_attention("mistral") | published.dense_mlp(16),
    published.dense_attention("mistral", 1),
]
QWEN3_MOE_LAYERS = [
    published.dense_attention("qwen3") | published.routed_experts(3),
    published.dense_mlp(16),
    published.dense_attention("qwen3", 1) | published.routed_experts(2),
]


def nemotron_moe(num_experts: int, width: int) -> Shapes:
    return published.nemotron_moe(num_experts, width, latent=published.LATENT)


NEMOTRON_H_LAYERS = [
    published.nemotron_mamba(12),
    nemotron_moe(2, 16),
    {},
    published.nemotron_layer(published.attention(1)),
    published.nemotron_mlp(24),
]
