"""
Apple's `openelm`: OpenELM 270M to 3B, which no release of transformers 5 has.

Query heads, KV heads and widths are listed by layer, the widths as multiples of the hidden size. One tensor holds queries, keys
and values, one below the other, another one gate and up projection. What it computes is a Qwen3 of such layers: RMS norms in
float32, of queries and keys too, with an epsilon of 1e-6 that no config says, RoPE over whole heads, a gated MLP.
"""

from collections.abc import Iterator, Mapping
from math import gcd
from typing import Any

from transformers_heterogeneous.configuration_heterogeneous import MAX_LAYERS, HeterogeneousConfigError
from transformers_heterogeneous.configuration_heterogeneous_qwen3 import HeterogeneousQwen3Config

from ..families import family_of
from .expression import any_window, other_types, refuse_inexpressible, shared_fields, without
from .published_format import PublishedFormat


# Field -> the family's
WORDS = {
    "model_dim": "hidden_size",
    "num_transformer_layers": "num_hidden_layers",
    "num_query_heads": "num_attention_heads",
    "num_kv_heads": "num_key_value_heads",
    "max_context_length": "max_position_embeddings",
    "rope_freq_constant": "rope_theta",
    "activation_fn_name": "hidden_act",
    "share_input_output_layers": "tie_word_embeddings",
}
# What there is one of in all that were published: the family has no other
NEEDED = {"normalization_layer_name": "rms_norm", "normalize_qk_projections": True, "ffn_with_glu": True}
# What the lists were computed from, and the length of a table of sines
DERIVED = ("qkv_multipliers", "num_gqa_groups", "rope_max_length")
LISTS = ("num_query_heads", "num_kv_heads", "ffn_multipliers")
RMS_NORM_EPS = 1e-6
SILU = ("swish", "silu")  # two names of one function


def width_of(multiplier: float, hidden_size: int, divisor: int) -> int:
    """OpenELM's width of an MLP: a multiple of the divisor, the nearest one, and no more than a tenth less than asked."""
    asked = multiplier * hidden_size
    width = max(divisor, int(asked + divisor / 2) // divisor * divisor)
    return width + divisor if width < 0.9 * asked else width


def number_errors(config_dict: Mapping[str, Any]) -> Iterator[str]:
    """What widths and lists of layers cannot be read from."""
    for name in ("model_dim", "num_transformer_layers", "ffn_dim_divisor"):
        value, most = config_dict.get(name), MAX_LAYERS if name == "num_transformer_layers" else 2**31
        if type(value) is not int or not 0 < value <= most:
            yield f"{name} = {str(value)[:100]}: a positive integer is needed"
    for name, wanted in NEEDED.items():
        if config_dict.get(name) != wanted:
            yield f"{name} = {config_dict.get(name)!r}: heterogeneous_qwen3 has {wanted!r} alone"


def list_errors(config_dict: Mapping[str, Any]) -> Iterator[str]:
    """Lists that have not a number for each layer."""
    num_layers = config_dict["num_transformer_layers"]
    for name in LISTS:
        entries = config_dict.get(name)
        if not isinstance(entries, list) or len(entries) != num_layers:
            yield f"{name} = {str(entries)[:100]}: a list with one entry for each of {num_layers} layers is needed"
        elif any(type(entry) not in (int, float) or not 0 < entry < 2**31 for entry in entries):
            yield f"{name} = {str(entries)[:100]}: positive numbers are needed"


def read_config(config_dict: Mapping[str, Any]) -> dict[str, Any]:
    """A config as the family has it."""
    if errors := list(number_errors(config_dict)) or list(list_errors(config_dict)):
        raise HeterogeneousConfigError("\n".join(errors))
    hidden_size, divisor = config_dict["model_dim"], config_dict["ffn_dim_divisor"]
    widths = [width_of(multiplier, hidden_size, divisor) for multiplier in config_dict["ffn_multipliers"]]
    read = {own: config_dict[name] for name, own in WORDS.items() if name in config_dict}
    if read.get("hidden_act") in SILU:
        read["hidden_act"] = "silu"
    known = (*WORDS, *NEEDED, *DERIVED, *LISTS, "ffn_dim_divisor", "model_type", "auto_map")
    sizes = {"intermediate_size": widths, "rms_norm_eps": RMS_NORM_EPS, "sliding_window": None}
    return {**without(config_dict, *known), **read, **sizes, "attention_bias": False}


def problems(config: HeterogeneousQwen3Config) -> Iterator[str]:
    yield from other_types(config, "mixer_types", ("attention",))
    yield from other_types(config, "mlp_types", ("dense",))
    yield from any_window(config)
    wanted = {"hidden_act": "silu", "rms_norm_eps": RMS_NORM_EPS, "attention_bias": False, "attention_dropout": 0.0}
    wanted |= {"max_window_layers": HeterogeneousQwen3Config.max_window_layers}  # it would come back so
    for name, value in wanted.items():
        if getattr(config, name) != value:
            yield f"{name} = {getattr(config, name)!r}: this format has {value!r} alone"
    if (config.rope_parameters or {}).get("rope_type", "default") != "default":
        yield f"rope_parameters = {config.rope_parameters}: this format has the default RoPE alone"


def write_config(config: Any) -> dict[str, Any]:
    """OpenELM's config.json."""
    refuse_inexpressible("openelm", problems(config))
    fields = shared_fields(config, "openelm", "OpenELMForCausalLM")
    kept = ("architectures", "model_type", "head_dim", "vocab_size", "initializer_range", "use_cache", "dtype")
    ids = ("bos_token_id", "eos_token_id", "pad_token_id", "transformers_version", "quantization_config")
    written = {name: fields[name] for name in (*kept, *ids) if fields.get(name) is not None}
    lists = (config.layer_sizes(WORDS.get(name, "intermediate_size")) for name in LISTS)
    heads, kv_heads, widths = ([size or 0 for size in sizes] for sizes in lists)  # each layer has them
    groups = {query // key for query, key in zip(heads, kv_heads, strict=True)}
    return {
        **written,
        **NEEDED,
        "model_dim": config.hidden_size,
        "num_transformer_layers": config.num_hidden_layers,
        "num_query_heads": heads,
        "num_kv_heads": kv_heads,
        "num_gqa_groups": max(groups),
        "ffn_multipliers": [width / config.hidden_size for width in widths],
        "ffn_dim_divisor": gcd(*widths),
        "max_context_length": config.max_position_embeddings,
        "rope_max_length": config.max_position_embeddings,
        "rope_freq_constant": config.rope_parameters["rope_theta"],
        "activation_fn_name": "swish",
        "share_input_output_layers": config.tie_word_embeddings,
    }


def parts(config: HeterogeneousQwen3Config) -> dict[str, tuple[str, ...]]:
    """Tensor -> the family's tensors that it is, one below the other."""
    inner = {
        "attn_norm": ("input_layernorm",),
        "attn.qkv_proj": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "attn.q_norm": ("self_attn.q_norm",),
        "attn.k_norm": ("self_attn.k_norm",),
        "attn.out_proj": ("self_attn.o_proj",),
        "ffn_norm": ("post_attention_layernorm",),
        "ffn.proj_1": ("mlp.gate_proj", "mlp.up_proj"),
        "ffn.proj_2": ("mlp.down_proj",),
    }
    found: dict[str, tuple[str, ...]] = {
        "transformer.token_embeddings.weight": ("model.embed_tokens.weight",),
        "transformer.norm.weight": ("model.norm.weight",),
    }
    for layer in range(config.num_hidden_layers):
        for name, own in inner.items():
            names = tuple(f"model.layers.{layer}.{each}.weight" for each in own)
            found[f"transformer.layers.{layer}.{name}.weight"] = names
    return found


FORMAT = PublishedFormat(
    name="openelm",
    looks_like='model_type "openelm"',
    recognises=lambda config: config.get("model_type") == "openelm",
    family=family_of(HeterogeneousQwen3Config),
    read_config=read_config,
    dropped={"*.inv_freq": "buffer of rotary embeddings, computed from the config"},
    write_config=write_config,
    parts=parts,
)
