"""What vLLM would compute otherwise than transformers, or not at all: field, layer, value, and what to do. Knows no vLLM."""

from collections.abc import Iterator
from typing import Any, TypeAlias


Config: TypeAlias = Any  # a `HeterogeneousPreTrainedConfig`; what transformers' classes are is not ours to prove


class UnservedError(ValueError):
    """All that keeps vLLM from serving a model, a line each."""


def refuse(config: Config, problems: Iterator[str]) -> None:
    """Raise where there is something to say."""
    if found := list(problems):
        raise UnservedError("\n".join([f"{config.model_type} cannot be served by vLLM as it is:", *found]))


def model_problems(config: Config, max_model_len: int) -> Iterator[str]:
    """What does not depend on how many processes serve the model."""
    yield from rope_problems(config, max_model_len)
    yield from SPECIAL[config.model_type](config)


def llama_problems(config: Config) -> Iterator[str]:
    if "dense" in config.mlp_types and config.hidden_act != "silu":
        yield f"hidden_act is {config.hidden_act!r}: vLLM's gated MLP has 'silu' alone"


SPECIAL = {"heterogeneous_llama": llama_problems, "heterogeneous_gpt_oss": lambda config: iter(()), "heterogeneous_granite_moe_hybrid": lambda config: iter(()), "heterogeneous_nemotron_h": lambda config: iter(())}


def rope_problems(config: Config, max_model_len: int) -> Iterator[str]:
    """Kinds of RoPE that mean something else there."""
    rope = getattr(config, "rope_parameters", None) or {}
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


# Kind of RoPE -> the field that says up to which length both compute the same, where it is not any
ROPE_LIMITS = {
    **{"default": None, "linear": None, "llama3": None, "yarn": None},
    "dynamic": "max_position_embeddings",
    "longrope": "original_max_position_embeddings",
}


def longrope_problems(config: Config, rope: dict[str, Any]) -> Iterator[str]:
    factor = config.max_position_embeddings / rope["original_max_position_embeddings"]
    for name, value in (("factor", factor), ("attention_factor", None)):
        if rope.get(name) not in (None, value):
            yield f"rope_parameters: {name} is {rope[name]}: vLLM computes it from max_position_embeddings"


def parallel_problems(config: Config, tensor_parallel_size: int) -> Iterator[str]:
    """Layers that do not divide into so many parts. Key and value heads may also be fewer: each part has a copy then."""
    num, counts = tensor_parallel_size, {}
    for name in SPLIT & {*vars(config)}:
        counts[name] = {idx: size for idx, size in enumerate(config.layer_sizes(name)) if size and size % num}
    kv_heads = counts.get("num_key_value_heads", {})
    counts["num_key_value_heads"] = {idx: size for idx, size in kv_heads.items() if num % size}
    for name, wrong in sorted(counts.items()):
        if wrong:
            yield f"tensor_parallel_size = {num} does not divide {name} of these layers: {wrong}"


# Sizes that are split over the processes, in whichever family has them
SPLIT = {
    *("num_attention_heads", "num_key_value_heads", "intermediate_size", "shared_intermediate_size"),
    *("moe_intermediate_size", "moe_shared_expert_intermediate_size", "mamba_num_heads", "mamba_n_heads"),
}
