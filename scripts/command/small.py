"""Sizes of small models, by the names that configs give them: what is built to be compared, not to be used."""

import re
from collections.abc import Mapping


SMALL = (
    (r"vocab_size", 128),
    (r"(image|input)_size", 32),
    (r"patch_size", 8),
    (r"(num_)?(key_value|kv)_heads|num_query_groups", 2),
    (r"(\w+_)?(attention_heads|num_heads|n_heads?)", 4),
    (r"(\w+_)?(head_dim|d_kv)", 8),
    (r"(\w+_)?(intermediate_size|ffn_dim|d_ff|hidden_dim)|n_inner", 64),
    (r"(\w+_)?(hidden_size|embed_dim|projection_dim)|d_model|n_embd|dim", 32),
    (r"(\w*_)?(layers|blocks)|n_layers?|num_(\w+_)?layers|depth", 2),
    (r"max_position_embeddings|n_positions|n_ctx|max_(source|target)_positions", 128),
    (r"num_(local_|routed_)?experts|n_routed_experts", 4),
    (r"num_experts_per_tok|num_selected_experts", 2),
    (r"rotary_dim", 4),
)
# Of a model whose layers differ: what halves and still divides, and what is no size of `SMALL`
LAYERS = 8
SMALL_DECODER = {
    **{"hidden_size": 64, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 8},
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 8),
    **{"num_experts_per_tok": 2, "n_group": 2, "topk_group": 1, "moe_topk": 2, "moe_k": 2},
    **{"num_shared_experts": 1, "n_shared_experts": 1, "sliding_window": 4, "use_sliding_window": True},
    **{"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8},
    **{"index_topk": 4, "index_block_size": 4, "index_topk_blocks": 2, "index_n_heads": 4, "attention_chunk_size": 4},
    **{"local_attention": 8, "intermediate_size_mlp": 64, "linear_num_key_heads": 2, "linear_num_value_heads": 4},
    **{
        "attn_layer_indices": [1, 5],
        **dict.fromkeys(("num_hidden_layers", "num_layers", "n_layer"), LAYERS),
        "pad_token_id": 0,
    },
}


def small_value(name: str, value: int) -> int:
    """What a field of a config is in a small model."""
    if name.endswith("_token_id"):
        return 1 if value > 100 else value
    small = next((size for pattern, size in SMALL if re.fullmatch(pattern, name)), value)
    return min(small, value)


def small_decoder(fields: Mapping[str, object]) -> dict[str, object]:
    """The fields of a small decoder out of those that its config declares, with their defaults."""
    known = {
        name: small_value(name, value)
        for name, value in fields.items()
        if isinstance(value, int) and value is not True
    }
    small: dict[str, object] = {name: value for name, value in known.items() if value != fields[name]}
    small |= {name: value for name, value in SMALL_DECODER.items() if name in fields}
    if "kv_lora_rank" in fields:  # latent attention has as many keys as queries
        small["num_key_value_heads"] = small["num_attention_heads"]
    return small
