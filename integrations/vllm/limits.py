"""What vLLM would compute otherwise than transformers, or not at all: field, layer, value, and what to do. Knows no vLLM."""

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias


Config: TypeAlias = Any  # a `HeterogeneousPreTrainedConfig`; what transformers' classes are is not ours to prove

# model_type -> the class that serves it, here and in transformers
ARCHITECTURES = {
    "heterogeneous_gpt_oss": "HeterogeneousGptOssForCausalLM",
    "heterogeneous_granite_moe_hybrid": "HeterogeneousGraniteMoeHybridForCausalLM",
    "heterogeneous_llama": "HeterogeneousLlamaForCausalLM",
    "heterogeneous_mistral": "HeterogeneousMistralForCausalLM",
    "heterogeneous_nemotron_h": "HeterogeneousNemotronHForCausalLM",
    "heterogeneous_qwen2": "HeterogeneousQwen2ForCausalLM",
    "heterogeneous_qwen3": "HeterogeneousQwen3ForCausalLM",
    "heterogeneous_qwen3_moe": "HeterogeneousQwen3MoeForCausalLM",
}


class UnservedError(RuntimeError):
    """All that keeps vLLM from serving a model, a line each. No `ValueError`: pydantic would wrap it."""


def refuse(config: Config, problems: Iterable[str]) -> None:
    """Raise where there is something to say."""
    if found := list(problems):
        raise UnservedError("\n".join([f"{config.model_type} cannot be served by vLLM as it is:", *found]))


def architecture(config: Config) -> str:
    """The class that serves a config. Published ones, which our configs read, name another."""
    served = ARCHITECTURES[config.model_type]
    others = [name for name in config.architectures or () if not name.endswith("ForCausalLM")]
    refuse(config, [f"architectures is {others}: {served} alone is served"] if others else [])
    return served


def model_problems(config: Config, max_model_len: int) -> Iterator[str]:
    """What does not depend on how many processes serve the model."""
    yield from quantisation_problems(config)
    yield from needed_values(config)
    if "attention" not in config.mixer_types:
        return
    if turns(config):
        yield from rope_problems(config, max_model_len)
    if config.model_type == "heterogeneous_gpt_oss":
        yield from yarn_problems(config.rope_parameters)
    if config.model_type == "heterogeneous_granite_moe_hybrid":
        yield from head_problems(config)


DENSE: dict[str, tuple[tuple[Any, ...], tuple[str, ...]]] = {"hidden_act": (("silu",), ("dense",))}
# Family -> field -> the values that vLLM's modules have, and the layers for which they matter: mixers or MLPs
NEEDED: dict[str, dict[str, tuple[tuple[Any, ...], tuple[str, ...]]]] = {
    **dict.fromkeys(("heterogeneous_llama", "heterogeneous_mistral", "heterogeneous_qwen2"), DENSE),
    # Its vLLM attention has no bias on the output
    "heterogeneous_qwen3": {**DENSE, "attention_bias": ((False,), ("attention",))},
    "heterogeneous_qwen3_moe": {
        "hidden_act": (("silu",), ("dense", "moe")),
        "attention_bias": ((False,), ("attention",)),
    },
    "heterogeneous_gpt_oss": {
        "attention_bias": ((True,), ("attention",)),
        "swiglu_alpha": ((1.702,), ("moe",)),
        "swiglu_limit": ((7.0,), ("moe",)),
        "tie_word_embeddings": ((False,), ("attention", "none")),
    },
    "heterogeneous_granite_moe_hybrid": {
        "hidden_act": (("silu",), ("mamba", "dense", "moe")),
        "time_step_limit": (((0.0, float("inf")), None), ("mamba",)),
        "mamba_n_groups": ((1,), ("mamba",)),
    },
    "heterogeneous_nemotron_h": {
        "mlp_hidden_act": (("relu2",), ("dense", "moe")),
        "mlp_bias": ((False,), ("moe",)),
        "n_shared_experts": ((1,), ("moe",)),
        "mamba_hidden_act": (("silu", "swish"), ("mamba",)),
    },
}


def needed_values(config: Config) -> Iterator[str]:
    made_of = {*config.mixer_types, *config.mlp_types}
    for name, (values, kinds) in NEEDED[config.model_type].items():
        value = getattr(config, name, values[0])
        value = tuple(value) if isinstance(value, list) else value
        if value not in values and made_of.intersection(kinds):
            yield f"{name} is {value!r}: vLLM's layers of this family have {' or '.join(map(repr, values))} alone"


def quantisation_problems(config: Config) -> Iterator[str]:
    quantised = getattr(config, "quantization_config", None)
    method = quantised.get("quant_method") if isinstance(quantised, dict) else quantised
    if method is not None and (config.model_type, method) != ("heterogeneous_gpt_oss", "mxfp4"):
        yield (
            f"quantization_config: quant_method is {method!r}, with which these families were not tried there. "
            "`hetero convert --dequantise SRC DST` makes a checkpoint that is served"
        )


def head_problems(config: Config) -> Iterator[str]:
    head_dim, own = getattr(config, "head_dim", None), config.hidden_size // config.num_attention_heads
    if head_dim not in (None, own):
        yield f"head_dim is {head_dim}: vLLM's Granite has hidden_size / num_attention_heads = {own}"


def turns(config: Config) -> bool:
    """Whether the attention of a model has rotary embeddings."""
    named = getattr(config, "position_embedding_type", "rope") == "rope"
    return named and config.model_type != "heterogeneous_nemotron_h"


# Kind of RoPE -> the field that says up to which length both compute the same, where it is not any
ROPE_LIMITS = {
    **{"default": None, "linear": None, "llama3": None, "yarn": None},
    "dynamic": "max_position_embeddings",
    "longrope": "original_max_position_embeddings",
}


def rope_problems(config: Config, max_model_len: int) -> Iterator[str]:
    """Kinds of RoPE that mean something else there."""
    rope = config.rope_parameters
    rope_type = rope.get("rope_type", "default")
    if rope_type not in ROPE_LIMITS:
        yield f"rope_parameters: rope_type is {rope_type!r}, served are {list(ROPE_LIMITS)}"
        return
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        yield f"rope_parameters: partial_rotary_factor is {rope['partial_rotary_factor']}: vLLM turns that part alone"
    longest = ROPE_LIMITS[rope_type]
    limit = None if longest is None else rope.get(longest, getattr(config, longest, None))
    if limit is not None and max_model_len > limit:
        yield (
            f"rope_parameters: {rope_type!r} changes with the length in transformers, and not in vLLM. Up to {longest} = "
            f"{limit} they agree: set max_model_len to that (--max-model-len {limit})"
        )
    if rope_type == "longrope":
        yield from longrope_problems(config, rope)


def longrope_problems(config: Config, rope: dict[str, Any]) -> Iterator[str]:
    factor = config.max_position_embeddings / rope["original_max_position_embeddings"]
    for name, value in (("factor", factor), ("attention_factor", None)):
        if rope.get(name) not in (None, value):
            yield f"rope_parameters: {name} is {rope[name]}: vLLM computes it from max_position_embeddings"


# What vLLM's gpt-oss reads of `rope_parameters`; it reads nothing else
YARN_FIELDS = ("rope_theta", "factor", "original_max_position_embeddings", "beta_fast", "beta_slow")


def yarn_problems(rope: dict[str, Any]) -> Iterator[str]:
    missing = [name for name in YARN_FIELDS if rope.get(name) is None]
    if rope.get("rope_type") != "yarn" or missing:
        yield f"rope_parameters: vLLM's gpt-oss has YaRN alone, with all of {list(YARN_FIELDS)}, and here is {rope}"
    for name in ("attention_factor", "mscale", "mscale_all_dim"):
        if rope.get(name) is not None:
            yield f"rope_parameters: {name} is {rope[name]}, which vLLM's gpt-oss does not read"


# Sizes that are split over the processes, in whichever family has them
SPLIT = (
    *("num_attention_heads", "num_key_value_heads", "intermediate_size", "shared_intermediate_size"),
    *("moe_intermediate_size", "moe_shared_expert_intermediate_size", "mamba_num_heads", "mamba_n_heads"),
)
GROUPS = ("mamba_n_groups", "n_groups")


def engine_problems(config: Config, processes: Any, adapters: bool) -> Iterator[str]:
    """
    Ways of serving that do not go with the layers, or were never seen to be right.

    Args:
        processes: With the `tensor_parallel_size`, `pipeline_parallel_size` and `enable_expert_parallel` of vLLM.
        adapters: Whether LoRA adapters are to be served too.
    """
    yield from division_problems(config, processes.tensor_parallel_size)
    if processes.pipeline_parallel_size > 1 and config.model_type == "heterogeneous_granite_moe_hybrid":
        yield (
            f"pipeline_parallel_size is {processes.pipeline_parallel_size}: vLLM's loader of Granite knows no stages. "
            "Take tensor_parallel_size"
        )
    if processes.enable_expert_parallel:
        yield "enable_expert_parallel is on, with which experts that differ were not tried. Take tensor_parallel_size"
    if adapters:
        yield "enable_lora is on, with which layers that differ were not tried: merge the adapter (PEFT's merge_and_unload)"


def division_problems(config: Config, num: int) -> Iterator[str]:
    """Layers that do not divide into so many parts."""
    for name in [name for name in SPLIT if hasattr(config, name)]:
        wrong = {idx: size for idx, size in enumerate(config.layer_sizes(name)) if size and size % num}
        if name == "num_key_value_heads" and config.model_type != "heterogeneous_gpt_oss":
            wrong = {idx: size for idx, size in wrong.items() if num % size}  # each part has a copy of what is fewer
        if wrong:
            yield f"tensor_parallel_size = {num} does not divide {name} of these layers: {wrong}"
    for name in GROUPS if "mamba" in config.mixer_types else ():
        groups = getattr(config, name, 1)
        if groups != 1 and groups % num:
            yield f"tensor_parallel_size = {num} does not divide {name} = {groups}"
