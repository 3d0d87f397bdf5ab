"""
Tiny checkpoints in the published layouts of Qwen, Mistral, gpt-oss, Granite 4 and Nemotron-H. Names, shapes and fields are written out
by hand after the published files: they are what the converters are held to.
"""

from typing import Any

import torch


H, V, HEAD_DIM, HEADS, KV_HEADS = 64, 96, 16, 4, 2
Shapes = dict[str, tuple[int, ...]]


def attention(kv_heads: int = KV_HEADS, bias: bool = False) -> Shapes:
    query, key_value = HEADS * HEAD_DIM, kv_heads * HEAD_DIM
    weights: Shapes = {
        "q_proj.weight": (query, H),
        "k_proj.weight": (key_value, H),
        "v_proj.weight": (key_value, H),
        "o_proj.weight": (H, query),
    }
    biases = {name.replace("weight", "bias"): shape[:1] for name, shape in weights.items()} if bias else {}
    return {**weights, **biases}


def inside(module: str, shapes: Shapes) -> Shapes:
    return {f"{module}.{name}": shape for name, shape in shapes.items()}


# --- Qwen2, Qwen3, Mistral ------------------------------------------------------------------------------------------

DENSE: dict[str, Any] = {
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": H,
    "initializer_range": 0.02,
    "intermediate_size": 48,
    "max_position_embeddings": 256,
    "num_attention_heads": HEADS,
    "num_hidden_layers": 3,
    "num_key_value_heads": KV_HEADS,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "use_cache": True,
    "vocab_size": V,
}
WINDOWS = {"max_window_layers": 2, "sliding_window": 8, "use_sliding_window": False}
QWEN2 = {**DENSE, **WINDOWS, "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "tie_word_embeddings": True}
QWEN3 = {
    **{**DENSE, **WINDOWS, "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"},
    **{"attention_bias": False, "head_dim": 32, "rope_scaling": None},
}
MISTRAL = {**DENSE, "architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 8}
# Two KV heads, a narrow MLP alone, one KV head without an MLP
DENSE_BLOCKS = [
    {"attention": {"no_op": False, "num_key_value_heads": 2}, "ffn": {"no_op": False, "intermediate_size": 48}},
    {"attention": {"no_op": True, "num_key_value_heads": None}, "ffn": {"no_op": False, "intermediate_size": 16}},
    {"attention": {"no_op": False, "num_key_value_heads": 1}, "ffn": {"no_op": True, "intermediate_size": None}},
]
DENSE_OVERRIDES = {
    "1": {"intermediate_size": 16, "skip": ["attention"]},
    "2": {"num_key_value_heads": 1, "skip": ["mlp"]},
}


def dense_attention(model_type: str, kv_heads: int = KV_HEADS) -> Shapes:
    """Qwen2 has biases, but none on the output; Qwen3 norms of queries and keys, and heads of another size."""
    if model_type == "qwen3":
        shapes: Shapes = {"q_proj.weight": (128, H), "k_proj.weight": (kv_heads * 32, H)}
        shapes |= {"v_proj.weight": (kv_heads * 32, H), "o_proj.weight": (H, 128)}
        shapes |= {"q_norm.weight": (32,), "k_norm.weight": (32,)}
    else:
        shapes = attention(kv_heads, bias=model_type == "qwen2")
        shapes.pop("o_proj.bias", None)
    return {"input_layernorm.weight": (H,), **inside("self_attn", shapes)}


def dense_mlp(width: int = 48) -> Shapes:
    mlp: Shapes = {"gate_proj.weight": (width, H), "up_proj.weight": (width, H), "down_proj.weight": (H, width)}
    return {"post_attention_layernorm.weight": (H,), **inside("mlp", mlp)}


def dense_layers(model_type: str) -> list[Shapes]:
    return [dense_attention(model_type) | dense_mlp()] * 3


def dense_block_layers(model_type: str) -> list[Shapes]:
    """Those of `DENSE_BLOCKS`."""
    return [dense_attention(model_type) | dense_mlp(), dense_mlp(16), dense_attention(model_type, 1)]


# --- Qwen3-MoE, experts one by one ----------------------------------------------------------------------------------

QWEN3_MOE = {
    **{name: value for name, value in QWEN3.items() if name != "layer_types"},
    **{"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "decoder_sparse_step": 1},
    **{"mlp_only_layers": [1], "moe_intermediate_size": 16, "norm_topk_prob": True, "num_experts": 4},
    **{"num_experts_per_tok": 2, "output_router_logits": False, "router_aux_loss_coef": 0.001, "sliding_window": None},
}
QWEN3_MOE_OVERRIDES = {"0": {"num_experts": 3}, "1": {"intermediate_size": 16, "skip": ["attention"]}} | {
    "2": {"num_experts": 2, "num_experts_per_tok": 1, "num_key_value_heads": 1}
}
# An entry also for the layer without experts
EXPERTS_BY_LAYER = [3, 4, 2]


def routed_experts(num: int) -> Shapes:
    shapes: Shapes = {"gate.weight": (num, H)}
    for expert in range(num):
        shapes |= {f"experts.{expert}.{name}_proj.weight": (16, H) for name in ("gate", "up")}
        shapes |= {f"experts.{expert}.down_proj.weight": (H, 16)}
    return {"post_attention_layernorm.weight": (H,), **inside("mlp", shapes)}


QWEN3_MOE_LAYERS = [
    dense_attention("qwen3") | routed_experts(4),
    dense_attention("qwen3") | dense_mlp(),
    dense_attention("qwen3") | routed_experts(4),
]
QWEN3_MOE_OTHER_LAYERS = [
    dense_attention("qwen3") | routed_experts(3),
    dense_mlp(16),
    dense_attention("qwen3", 1) | routed_experts(2),
]
QWEN3_MOE_PRUNED_LAYERS = [
    dense_attention("qwen3") | routed_experts(3),
    dense_attention("qwen3") | dense_mlp(),
    dense_attention("qwen3") | routed_experts(2),
]


# --- Qwen3-Next, experts one by one, delta nets with one tensor for four things -------------------------------------

QWEN3_NEXT: dict[str, Any] = {
    **{name: value for name, value in QWEN3_MOE.items() if name not in WINDOWS},
    **{"architectures": ["Qwen3NextForCausalLM"], "model_type": "qwen3_next", "full_attention_interval": 2},
    **{"num_hidden_layers": 4, "mlp_only_layers": [], "num_experts": 6, "partial_rotary_factor": 0.25},
    **{"linear_conv_kernel_dim": 4, "linear_key_head_dim": 8, "linear_num_key_heads": 2, "linear_num_value_heads": 4},
    **{"linear_value_head_dim": 16, "shared_expert_intermediate_size": 24, "use_sliding_window": False},
}
QWEN3_NEXT_EXPERTS = [6, 3, 4, 2]
QWEN3_NEXT_OVERRIDES = {"0": {"num_experts": 3, "skip": ["mamba"]}, "1": {"num_key_value_heads": 1}} | {
    "2": {"linear_num_value_heads": 2, "shared_expert_intermediate_size": 8},
    "3": {"skip": ["mlp"]},
}


def delta_net(value_heads: int = 4) -> Shapes:
    """Two key heads of 8, value heads of 16: keys, values and gates are convolved or not, and beta and the decay."""
    keys, values = 2 * 8, value_heads * 16
    shapes: Shapes = {
        "A_log": (value_heads,),
        "conv1d.weight": (2 * keys + values, 1, 4),
        "dt_bias": (value_heads,),
        "in_proj_ba.weight": (2 * value_heads, H),
        "in_proj_qkvz.weight": (2 * keys + 2 * values, H),
        "norm.weight": (16,),
        "out_proj.weight": (H, values),
    }
    return {"input_layernorm.weight": (H,), **inside("linear_attn", shapes)}


def gated_attention(kv_heads: int = KV_HEADS) -> Shapes:
    """Qwen3's, with a gate of each head beside its query."""
    return {**dense_attention("qwen3", kv_heads), "self_attn.q_proj.weight": (256, H)}


def shared_and_routed(num: int = 6, shared: int = 24) -> Shapes:
    expert = {name.replace("mlp.", "mlp.shared_expert."): shape for name, shape in dense_mlp(shared).items()}
    return {**routed_experts(num), **expert, "mlp.shared_expert_gate.weight": (1, H)}


QWEN3_NEXT_LAYERS = [(delta_net if layer % 2 == 0 else gated_attention)() | shared_and_routed() for layer in range(4)]
QWEN3_NEXT_PRUNED_LAYERS = [
    (delta_net if layer % 2 == 0 else gated_attention)() | shared_and_routed(num)
    for layer, num in enumerate(QWEN3_NEXT_EXPERTS)
]
QWEN3_NEXT_OTHER_LAYERS = [
    shared_and_routed(3),
    gated_attention(1) | shared_and_routed(),
    delta_net(2) | shared_and_routed(shared=8),
    gated_attention(),
]
QWEN3_NEXT_MTP: Shapes = {
    "mtp.fc.weight": (H, 2 * H),
    **inside("mtp.layers.0", gated_attention() | shared_and_routed()),
    **{f"mtp.{name}.weight": (H,) for name in ("norm", "pre_fc_norm_embedding", "pre_fc_norm_hidden")},
}


# --- the text model of Llama 4 --------------------------------------------------------------------------------------

LLAMA4_TEXT: dict[str, Any] = {
    **{name: value for name, value in DENSE.items() if name not in ("intermediate_size", "rms_norm_eps")},
    **{
        "architectures": ["Llama4ForCausalLM"],
        "model_type": "llama4_text",
        "num_hidden_layers": 4,
        "head_dim": HEAD_DIM,
    },
    **{"attention_bias": False, "attention_chunk_size": 4, "attn_scale": 0.1, "attn_temperature_tuning": True},
    **{"floor_scale": 4, "interleave_moe_layer_step": 2, "intermediate_size": 16, "intermediate_size_mlp": 48},
    **{"for_llm_compressor": False, "moe_layers": [1, 3], "no_rope_layers": [1, 1, 1, 0], "num_experts_per_tok": 1},
    **{"num_local_experts": 4, "output_router_logits": False, "rms_norm_eps": 1e-5, "router_aux_loss_coef": 0.001},
    **{"router_jitter_noise": 0.0, "use_qk_norm": True},
    "layer_types": ["chunked_attention"] * 3 + ["full_attention"],
    "rope_scaling": {"factor": 16.0, "high_freq_factor": 1.0, "low_freq_factor": 1.0, "rope_type": "llama3"}
    | {"original_max_position_embeddings": 64},
}
LLAMA4_OVERRIDES = {"0": {"intermediate_size_mlp": 32, "skip": ["attention"]}, "1": {"num_local_experts": 2}} | {
    "3": {"num_key_value_heads": 1, "intermediate_size": 8},
}


def llama4_layer(mlp: Shapes, kv_heads: int | None = KV_HEADS) -> Shapes:
    mixer = {"input_layernorm.weight": (H,), **inside("self_attn", attention(kv_heads))} if kv_heads else {}
    return {**mixer, "post_attention_layernorm.weight": (H,), **inside("feed_forward", mlp)}


def llama4_mlp(width: int = 48) -> Shapes:
    return {"gate_proj.weight": (width, H), "up_proj.weight": (width, H), "down_proj.weight": (H, width)}


def llama4_experts(num: int = 4, width: int = 16) -> Shapes:
    experts: Shapes = {"experts.gate_up_proj": (num, H, 2 * width), "experts.down_proj": (num, width, H)}
    return {**experts, "router.weight": (num, H), **inside("shared_expert", llama4_mlp(width))}


LLAMA4_LAYERS = [llama4_layer(llama4_experts() if layer % 2 else llama4_mlp()) for layer in range(4)]
LLAMA4_OTHER_LAYERS = [
    llama4_layer(llama4_mlp(32), None),
    llama4_layer(llama4_experts(2)),
    llama4_layer(llama4_mlp()),
    llama4_layer(llama4_experts(width=8), 1),
]


# --- gpt-oss --------------------------------------------------------------------------------------------------------

WIDTH = 32
GPT_OSS: dict[str, Any] = {
    "architectures": ["GptOssForCausalLM"],
    "attention_bias": True,
    "eos_token_id": 2,
    "experts_per_token": 2,
    "head_dim": HEAD_DIM,
    "hidden_act": "silu",
    "hidden_size": H,
    "initial_context_length": 64,
    "initializer_range": 0.02,
    "intermediate_size": WIDTH,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    "max_position_embeddings": 256,
    "model_type": "gpt_oss",
    "num_attention_heads": HEADS,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 3,
    "num_key_value_heads": KV_HEADS,
    "num_local_experts": 4,
    "pad_token_id": 0,
    "rms_norm_eps": 1e-5,
    "rope_scaling": {"beta_fast": 32.0, "beta_slow": 1.0, "factor": 4.0, "truncate": False}
    | {"original_max_position_embeddings": 64, "rope_type": "yarn"},
    "rope_theta": 150000,
    "sliding_window": 8,
    "swiglu_limit": 7.0,
    "tie_word_embeddings": False,
    "vocab_size": V,
}
# A full layer of 4 experts, two windows, 2 experts
PUZZLE_BLOCKS = [
    {"num_local_experts": 4, "sliding_window": 8},
    {"num_local_experts": 4, "sliding_window": None},
    {"num_local_experts": 2, "sliding_window": 12},
]
GPT_OSS_PUZZLE: dict[str, Any] = {
    **{name: value for name, value in GPT_OSS.items() if name not in ("num_local_experts", "sliding_window")},
    "architectures": ["GptOssPuzzleForCausalLM"],
    "auto_map": {
        "AutoConfig": "configuration_gpt_oss_puzzle.GptOssPuzzleConfig",
        "AutoModelForCausalLM": "modeling_gpt_oss_puzzle.GptOssPuzzleForCausalLM",
    },
    "block_configs": PUZZLE_BLOCKS,
    "model_type": "gpt_oss_puzzle",
}
MXFP4 = {
    "quant_method": "mxfp4",
    "modules_to_not_convert": [
        "model.layers.*.self_attn",
        "model.layers.*.mlp.router",
        "model.embed_tokens",
        "lm_head",
    ],
}
# No attention in the second layer, no experts in the third
ANYMODEL_GPT_OSS_BLOCKS = [
    {
        "attention": {"no_op": False, "num_key_value_heads": 2},
        "ffn": {"no_op": False, "moe": {"num_local_experts": 4, "num_experts_per_tok": 2}},
    },
    {
        "attention": {"no_op": True, "num_key_value_heads": None},
        "ffn": {"no_op": False, "moe": {"num_local_experts": 2, "num_experts_per_tok": 1}},
    },
    {
        "attention": {"no_op": False, "num_key_value_heads": 1},
        "ffn": {"no_op": True, "moe": None},
    },
]


def gpt_oss_attention(kv_heads: int = KV_HEADS) -> Shapes:
    return {
        "input_layernorm.weight": (H,),
        **inside("self_attn", attention(kv_heads, bias=True) | {"sinks": (HEADS,)}),
    }


def gpt_oss_experts(num_experts: int) -> Shapes:
    return {
        "post_attention_layernorm.weight": (H,),
        "mlp.router.weight": (num_experts, H),
        "mlp.router.bias": (num_experts,),
        "mlp.experts.gate_up_proj": (num_experts, H, 2 * WIDTH),
        "mlp.experts.gate_up_proj_bias": (num_experts, 2 * WIDTH),
        "mlp.experts.down_proj": (num_experts, WIDTH, H),
        "mlp.experts.down_proj_bias": (num_experts, H),
    }


GPT_OSS_LAYERS = [gpt_oss_attention() | gpt_oss_experts(4) for _ in range(3)]
PUZZLE_LAYERS = [gpt_oss_attention() | gpt_oss_experts(num_experts) for num_experts in (4, 4, 2)]
ANYMODEL_GPT_OSS_LAYERS = [gpt_oss_attention() | gpt_oss_experts(4), gpt_oss_experts(2), gpt_oss_attention(1)]


def packed(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The experts in MXFP4: random blocks of sixteen bytes for 32 numbers, and one exponent a block."""
    generator = torch.Generator().manual_seed(11)
    found: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            found[name] = tensor
            continue
        num_experts, width_in, width_out = tensor.shape
        blocks = (num_experts, width_out, width_in // 32, 16)
        found[f"{name}_blocks"] = torch.randint(0, 256, blocks, generator=generator, dtype=torch.uint8)
        found[f"{name}_scales"] = torch.randint(118, 124, blocks[:-1], generator=generator, dtype=torch.uint8)
    return found


# --- Granite 4 hybrids ----------------------------------------------------------------------------------------------

SHARED_WIDTH, MAMBA_HEADS, MAMBA_HEAD_DIM, STATE = 48, 8, 16, 16
GRANITE: dict[str, Any] = {
    "architectures": ["GraniteMoeHybridForCausalLM"],
    "attention_bias": False,
    "attention_multiplier": 0.25,
    "bos_token_id": 1,
    "embedding_multiplier": 12,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": H,
    "intermediate_size": WIDTH,
    "layer_types": ["mamba", "attention", "mamba"],
    "logits_scaling": 6,
    "mamba_chunk_size": 8,
    "mamba_conv_bias": True,
    "mamba_d_conv": 4,
    "mamba_d_head": MAMBA_HEAD_DIM,
    "mamba_d_state": STATE,
    "mamba_expand": 2,
    "mamba_n_groups": 1,
    "mamba_n_heads": MAMBA_HEADS,
    "mamba_proj_bias": False,
    "max_position_embeddings": 256,
    "model_type": "granitemoehybrid",
    "num_attention_heads": HEADS,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 3,
    "num_key_value_heads": KV_HEADS,
    "num_local_experts": 4,
    "pad_token_id": 0,
    "position_embedding_type": "nope",
    "residual_multiplier": 0.22,
    "rms_norm_eps": 1e-5,
    "rope_scaling": None,
    "rope_theta": 10000,
    "shared_intermediate_size": SHARED_WIDTH,
    "tie_word_embeddings": True,
    "torch_dtype": "float32",
    "vocab_size": V,
}


def mamba(heads: int, head_dim: int, state: int, groups: int) -> Shapes:
    inner = heads * head_dim
    convolved = inner + 2 * groups * state
    return {
        "in_proj.weight": (inner + convolved + heads, H),
        "conv1d.weight": (convolved, 1, 4),
        "conv1d.bias": (convolved,),
        "A_log": (heads,),
        "D": (heads,),
        "dt_bias": (heads,),
        "norm.weight": (inner,),
        "out_proj.weight": (H, inner),
    }


def granite_mlp(num_experts: int) -> Shapes:
    shared: Shapes = {
        "post_attention_layernorm.weight": (H,),
        "shared_mlp.input_linear.weight": (2 * SHARED_WIDTH, H),
        "shared_mlp.output_linear.weight": (H, SHARED_WIDTH),
    }
    routed: Shapes = {
        "block_sparse_moe.router.layer.weight": (num_experts, H),
        "block_sparse_moe.input_linear.weight": (num_experts, 2 * WIDTH, H),
        "block_sparse_moe.output_linear.weight": (num_experts, H, WIDTH),
    }
    return shared | routed if num_experts else shared


GRANITE_MAMBA = inside("mamba", mamba(MAMBA_HEADS, MAMBA_HEAD_DIM, STATE, 1))
GRANITE_MIXERS = [GRANITE_MAMBA, inside("self_attn", attention()), GRANITE_MAMBA]
GRANITE_LAYERS = [{"input_layernorm.weight": (H,), **mixer, **granite_mlp(4)} for mixer in GRANITE_MIXERS]
GRANITE_DENSE_LAYERS = [{"input_layernorm.weight": (H,), **mixer, **granite_mlp(0)} for mixer in GRANITE_MIXERS]


# --- Nemotron-H -----------------------------------------------------------------------------------------------------

GROUPS, EXPERTS, TOP_K, EXPERT_WIDTH, SHARED_EXPERT_WIDTH, LATENT = 2, 4, 2, 24, 40, 32
NEMOTRON_H: dict[str, Any] = {
    "architectures": ["NemotronHForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "attention_head_dim": HEAD_DIM,
    "auto_map": {
        "AutoConfig": "configuration_nemotron_h.NemotronHConfig",
        "AutoModelForCausalLM": "modeling_nemotron_h.NemotronHForCausalLM",
    },
    "bos_token_id": 1,
    "chunk_size": 8,
    "conv_kernel": 4,
    "eos_token_id": 2,
    "expand": 2,
    "hidden_dropout": 0.0,
    "hidden_size": H,
    "hybrid_override_pattern": "M-M*-",
    "initializer_range": 0.02,
    "intermediate_size": WIDTH,
    "layer_norm_epsilon": 1e-5,
    "mamba_head_dim": MAMBA_HEAD_DIM,
    "mamba_hidden_act": "silu",
    "mamba_num_heads": MAMBA_HEADS,
    "mamba_proj_bias": False,
    "max_position_embeddings": 256,
    "mlp_bias": False,
    "mlp_hidden_act": "relu2",
    "model_type": "nemotron_h",
    "n_groups": GROUPS,
    "num_attention_heads": HEADS,
    "num_hidden_layers": 5,
    "num_key_value_heads": KV_HEADS,
    "num_logits_to_keep": 1,
    "pad_token_id": 0,
    "rescale_prenorm_residual": True,
    "residual_in_fp32": False,
    "rms_norm_eps": 1e-5,
    "ssm_state_size": STATE,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "use_bias": False,
    "use_cache": True,
    "use_conv_bias": True,
    "use_mamba_kernels": True,
    "vocab_size": V,
}
WITHOUT_ATTENTION_HEAD_DIM = {name: value for name, value in NEMOTRON_H.items() if name != "attention_head_dim"}
ROUTED = {
    "moe_intermediate_size": EXPERT_WIDTH,
    "moe_shared_expert_intermediate_size": SHARED_EXPERT_WIDTH,
    "n_group": 1,
    "n_routed_experts": EXPERTS,
    "n_shared_experts": 1,
    "norm_eps": 1e-5,
    "norm_topk_prob": True,
    "num_experts_per_tok": TOP_K,
    "routed_scaling_factor": 2.5,
    "topk_group": 1,
}
NANO_3 = {**WITHOUT_ATTENTION_HEAD_DIM, **ROUTED, "head_dim": HEAD_DIM, "hybrid_override_pattern": "MEM*E"}
SUPER_3 = {
    **NANO_3,
    **{"moe_latent_size": LATENT, "moe_shared_expert_overlap": False, "time_step_limit": [0.0, float("inf")]},
    **{"num_nextn_predict_layers": 1, "mtp_hybrid_override_pattern": "*E"},
}
ULTRA_3 = {
    **{name: value for name, value in SUPER_3.items() if "pattern" not in name and name != "num_hidden_layers"},
    "layers_block_type": ["mamba", "moe", "mamba", "attention", "moe"],
    "mtp_layers_block_type": ["attention", "moe"],
    "time_step_limit": [0.0, 1e308],
}
BLOCKWISE = ("moe_intermediate_size", "num_experts_per_tok", "n_routed_experts", "moe_latent_size")
PUZZLE_75B: dict[str, Any] = {
    **{name: value for name, value in ULTRA_3.items() if name not in (*BLOCKWISE, "layers_block_type")},
    "architectures": ["NemotronHPuzzleForCausalLM"],
    "auto_map": {
        "AutoConfig": "configuration_nemotron_h_puzzle.NemotronHPuzzleConfig",
        "AutoModelForCausalLM": "modeling_nemotron_h_puzzle.NemotronHPuzzleForCausalLM",
    },
    "block_configs": [
        {"block_type": "mamba", "ssm_state_size": 12},
        {
            **{"block_type": "moe", "moe_intermediate_size": 16, "num_experts_per_tok": 1, "n_routed_experts": 4},
            **{"moe_latent_size": LATENT, "moe_shared_expert_intermediate_size": SHARED_EXPERT_WIDTH},
        },
        {"block_type": "mamba", "ssm_state_size": 12},
        {"block_type": "attention"},
        {
            **{"block_type": "moe", "moe_intermediate_size": 24, "num_experts_per_tok": 3, "n_routed_experts": 6},
            **{"moe_latent_size": LATENT, "moe_shared_expert_intermediate_size": SHARED_EXPERT_WIDTH},
        },
    ],
    "model_type": "nemotron_h_puzzle",
    "num_hidden_layers": None,
    "ssm_state_size": 12,
}
# A narrower MLP, one KV head, a layer with nothing in it
ANYMODEL_NEMOTRON_BLOCKS = [
    {"attention": {"no_op": False, "num_key_value_heads": None}, "ffn": {"no_op": True, "intermediate_size": None}},
    {"attention": {"no_op": True, "num_key_value_heads": None}, "ffn": {"no_op": False, "intermediate_size": 16}},
    {"attention": {"no_op": True, "num_key_value_heads": None}, "ffn": {"no_op": True, "intermediate_size": None}},
    {"attention": {"no_op": False, "num_key_value_heads": 1}, "ffn": {"no_op": True, "intermediate_size": None}},
    {"attention": {"no_op": True, "num_key_value_heads": None}, "ffn": {"no_op": False, "intermediate_size": 32}},
]
ANYMODEL_NEMOTRON = {**NEMOTRON_H, "block_configs": ANYMODEL_NEMOTRON_BLOCKS}


def nemotron_layer(mixer: Shapes) -> Shapes:
    return {"norm.weight": (H,), **inside("mixer", mixer)}


def nemotron_mamba(state: int = STATE) -> Shapes:
    return nemotron_layer(mamba(MAMBA_HEADS, MAMBA_HEAD_DIM, state, GROUPS))


def nemotron_mlp(width: int = WIDTH) -> Shapes:
    return nemotron_layer({"up_proj.weight": (width, H), "down_proj.weight": (H, width)})


def nemotron_moe(num_experts: int = EXPERTS, width: int = EXPERT_WIDTH, latent: int | None = None) -> Shapes:
    experts: Shapes = {}
    for expert in range(num_experts):
        experts[f"experts.{expert}.up_proj.weight"] = (width, latent or H)
        experts[f"experts.{expert}.down_proj.weight"] = (latent or H, width)
    shapes: Shapes = {
        "gate.weight": (num_experts, H),
        "gate.e_score_correction_bias": (num_experts,),
        **experts,
        "shared_experts.up_proj.weight": (SHARED_EXPERT_WIDTH, H),
        "shared_experts.down_proj.weight": (H, SHARED_EXPERT_WIDTH),
    }
    if latent:
        shapes |= {"fc1_latent_proj.weight": (latent, H), "fc2_latent_proj.weight": (H, latent)}
    return nemotron_layer(shapes)


NEMOTRON_ATTENTION = nemotron_layer(attention())
NEMOTRON_H_LAYERS = [nemotron_mamba(), nemotron_mlp(), nemotron_mamba(), NEMOTRON_ATTENTION, nemotron_mlp()]
NANO_3_LAYERS = [nemotron_mamba(), nemotron_moe(), nemotron_mamba(), NEMOTRON_ATTENTION, nemotron_moe()]
SUPER_3_LAYERS = [
    nemotron_mamba(),
    nemotron_moe(latent=LATENT),
    nemotron_mamba(),
    NEMOTRON_ATTENTION,
    nemotron_moe(latent=LATENT),
]
PUZZLE_75B_LAYERS = [
    nemotron_mamba(12),
    nemotron_moe(4, 16, LATENT),
    nemotron_mamba(12),
    NEMOTRON_ATTENTION,
    nemotron_moe(6, 24, LATENT),
]
ANYMODEL_NEMOTRON_LAYERS = [nemotron_mamba(), nemotron_mlp(16), {}, nemotron_layer(attention(1)), nemotron_mlp(32)]
MTP_SHAPES: Shapes = {
    **{f"mtp.layers.0.{name}.weight": (H,) for name in ("enorm", "hnorm", "norm")},
    "mtp.layers.0.eh_proj.weight": (H, 2 * H),
    **inside("mtp.layers.0.mixer", attention()),
    **inside("mtp.layers.1", nemotron_moe(latent=LATENT)),
    "mtp.layers.1.final_layernorm.weight": (H,),
}


# --- tensors --------------------------------------------------------------------------------------------------------


def llama_like(layers: list[Shapes], tied: bool = False) -> Shapes:
    """All tensors of a model with Llama's names outside the layers."""
    shapes: Shapes = {"model.embed_tokens.weight": (V, H)}
    for layer_idx, layer in enumerate(layers):
        shapes |= inside(f"model.layers.{layer_idx}", layer)
    return {**shapes, "model.norm.weight": (H,), **({} if tied else {"lm_head.weight": (V, H)})}


def nemotron_like(layers: list[Shapes], prefix: str = "backbone", more: Shapes | None = None) -> Shapes:
    """All tensors of a Nemotron-H."""
    shapes: Shapes = {f"{prefix}.embeddings.weight": (V, H)}
    for layer_idx, layer in enumerate(layers):
        shapes |= inside(f"{prefix}.layers.{layer_idx}", layer)
    return {**shapes, f"{prefix}.norm_f.weight": (H,), "lm_head.weight": (V, H), **(more or {})}


def random_tensors(shapes: Shapes, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """Random tensors, small enough for models to stay finite; the correction of the router's scores is float32."""
    generator = torch.Generator().manual_seed(5)
    tensors = {name: torch.randn(shape, generator=generator) * 0.1 for name, shape in shapes.items()}
    return {
        name: tensor if name.endswith("e_score_correction_bias") else tensor.to(dtype)
        for name, tensor in tensors.items()
    }
