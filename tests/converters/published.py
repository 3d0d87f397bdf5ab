"""Tiny checkpoints in the published layouts. Shapes are written out by hand: they are what the converters are held to."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file


H, V, HEAD_DIM = 64, 96, 16
GLOBALS: dict[str, Any] = {
    "_name_or_path": "llama_nemotron_super",
    "architectures": ["DeciLMForCausalLM"],
    "attention_bias": False,
    "auto_map": {"AutoConfig": "configuration_decilm.DeciLMConfig"},
    "bos_token_id": 1,
    "eos_token_id": [2, 3],
    "hidden_act": "silu",
    "hidden_size": H,
    "max_position_embeddings": 128,
    "mlp_bias": False,
    "num_attention_heads": 4,
    "rms_norm_eps": 1e-5,
    "rope_scaling": {"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0}
    | {"original_max_position_embeddings": 64, "rope_type": "llama3"},
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.48.3",
    "vocab_size": V,
}
# A Llama's own config names no code
LLAMA_GLOBALS = {name: value for name, value in GLOBALS.items() if name != "auto_map"}

NO_OP = {"no_op": True, "replace_with_linear": False}
LINEAR = {"no_op": False, "replace_with_linear": True}
REST_OF_ATTENTION = {"num_sink_tokens": None, "sparsify": None, "unshifted_sink": False, "window_length": None}
REST_OF_ATTENTION["use_prefill_window_in_sink_attention"] = False


def blocks(
    *layers: tuple[dict[str, Any], dict[str, Any]], attention: dict[str, Any], ffn: dict[str, Any]
) -> list[dict]:
    return [{"attention": {**attention, **mixer}, "ffn": {**ffn, **mlp}} for mixer, mlp in layers]


# Five layers: attention with two KV heads, none, one matrix, attention with one KV head, nothing at all
SCHEMA_A0 = blocks(
    ({"n_heads_in_group": 2}, {"ffn_mult": 6.0}),
    (NO_OP, {"ffn_mult": 11.5}),
    (LINEAR, NO_OP),
    ({"n_heads_in_group": 4}, LINEAR),
    (NO_OP, NO_OP),
    attention={"n_heads_in_group": None, "no_op": False, "replace_with_linear": False},
    ffn={"ffn_mult": None, "no_op": False, "replace_with_linear": False},
)
SCHEMA_A = [
    {"attention": {**REST_OF_ATTENTION, **block["attention"]}, "ffn": {"sparsify": None, **block["ffn"]}}
    for block in SCHEMA_A0
]
SCHEMA_B = blocks(
    ({"n_heads_in_group": 2}, {"intermediate_size": 256}),
    (NO_OP, {"intermediate_size": 512}),
    (LINEAR, NO_OP),
    ({"n_heads_in_group": 4}, LINEAR),
    (NO_OP, NO_OP),
    attention={"no_op": False, "weights_precision": "bf16", "mamba": None, "llama4": None, "n_heads_in_group": None},
    ffn={"no_op": False, "gated": True, "hidden_act": "silu", "moe": None, "intermediate_size": None},
)
SCHEMA_C = blocks(
    ({"num_key_value_heads": 2}, {"intermediate_size": 256}),
    (NO_OP, {"intermediate_size": 512}),
    (LINEAR, NO_OP),
    ({"num_key_value_heads": 1}, LINEAR),
    (NO_OP, NO_OP),
    attention={"no_op": False, "num_key_value_heads": None},
    ffn={"no_op": False, "intermediate_size": None},
)
NULL_GLOBALS = {"intermediate_size": None, "num_key_value_heads": None}
NEMOTRON_NAS = {"model_type": "nemotron-nas", "num_hidden_layers": 5}
DIALECTS: dict[str, dict[str, Any]] = {
    "A0": {**GLOBALS, **NEMOTRON_NAS, **NULL_GLOBALS, "block_configs": SCHEMA_A0},
    "A": {**GLOBALS, **NEMOTRON_NAS, **NULL_GLOBALS, "block_configs": SCHEMA_A},
    "B, absent globals": {**GLOBALS, **NEMOTRON_NAS, "head_dim": HEAD_DIM, "block_configs": SCHEMA_B},
    "no model type": {**GLOBALS, "num_hidden_layers": 5, "block_configs": SCHEMA_A},
    "AnyModel llama": {
        **GLOBALS,
        **{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 5},
        **{"num_key_value_heads": 4, "intermediate_size": 1024, "block_configs": SCHEMA_C},
    },
}
CONFIG = DIALECTS["A"]
LAYER_0 = {
    "input_layernorm.weight": (H,),
    "self_attn.q_proj.weight": (H, H),
    "self_attn.k_proj.weight": (2 * HEAD_DIM, H),
    "self_attn.v_proj.weight": (2 * HEAD_DIM, H),
    "self_attn.o_proj.weight": (H, H),
    "post_attention_layernorm.weight": (H,),
    "mlp.gate_proj.weight": (256, H),
    "mlp.up_proj.weight": (256, H),
    "mlp.down_proj.weight": (H, 256),
}
LAYERS: list[dict[str, tuple[int, ...]]] = [
    LAYER_0,
    {
        "post_attention_layernorm.weight": (H,),
        "mlp.gate_proj.weight": (512, H),
        "mlp.up_proj.weight": (512, H),
        "mlp.down_proj.weight": (H, 512),
    },
    {"input_layernorm.weight": (H,), "self_attn.linear_attn.weight": (H, H)},
    {
        "input_layernorm.weight": (H,),
        "self_attn.q_proj.weight": (H, H),
        "self_attn.k_proj.weight": (HEAD_DIM, H),
        "self_attn.v_proj.weight": (HEAD_DIM, H),
        "self_attn.o_proj.weight": (H, H),
        "post_attention_layernorm.weight": (H,),
        "mlp.linear_mlp.weight": (H, H),
    },
    {},
]
# DeciLM: four layers that differ in KV heads alone
DECI_HEADS = [2, 1, 1, 4]
DECI = {
    **{name: value for name, value in GLOBALS.items() if name != "rope_theta"},
    **{"model_type": "deci", "num_hidden_layers": 4, "intermediate_size": 256, "use_bfloat16": True},
    **{"num_key_value_heads_per_layer": DECI_HEADS, "rope_scaling": {"type": "dynamic", "factor": 2.0}},
}
# As fine-tunes of DeciLM-6b say it
TRAP = {
    **DECI,
    **{"model_type": "llama", "num_key_value_heads": 4, "naive_attention_prefill": False},
    "auto_map": {"AutoConfig": "Deci/DeciLM-6b-instruct--configuration_decilm.DeciLMConfig"},
}
DECI_LAYERS = [
    {
        name: (heads * HEAD_DIM, H) if name in ("self_attn.k_proj.weight", "self_attn.v_proj.weight") else shape
        for name, shape in LAYER_0.items()
    }
    for heads in DECI_HEADS
]


def tensors_of(layers: list[dict[str, tuple[int, ...]]], tied: bool = False) -> dict[str, torch.Tensor]:
    """Random tensors of all names of a model with these layers."""
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (V, H)}
    for layer_idx, layer in enumerate(layers):
        shapes |= {f"model.layers.{layer_idx}.{name}": shape for name, shape in layer.items()}
    shapes |= {"model.norm.weight": (H,)} | ({} if tied else {"lm_head.weight": (V, H)})
    generator = torch.Generator().manual_seed(7)
    return {name: torch.randn(shape, generator=generator).to(torch.bfloat16) for name, shape in shapes.items()}


def write_index(folder: Path, weight_map: dict[str, str]) -> None:
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def write_checkpoint(
    folder: Path,
    config: dict[str, Any] = CONFIG,
    tensors: dict[str, torch.Tensor] | None = None,
    file_names: tuple[str, ...] = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
) -> dict[str, torch.Tensor]:
    """A checkpoint in `folder`, its tensors dealt out to the files in turn; one file gets no index."""
    tensors = tensors_of(LAYERS) if tensors is None else tensors
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    names = list(tensors)
    for number, file_name in enumerate(file_names):
        (folder / file_name).parent.mkdir(exist_ok=True)
        shard = {name: tensors[name] for name in names[number :: len(file_names)]}
        save_file(shard, folder / file_name, metadata={"format": "pt"})
    if len(file_names) > 1:
        write_index(folder, {name: file_names[number % len(file_names)] for number, name in enumerate(names)})
    return tensors


def read_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a folder, read by the safetensors library."""
    found: dict[str, torch.Tensor] = {}
    for path in folder.rglob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            found |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return found


def assert_same_tensors(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name
