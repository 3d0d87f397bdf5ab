"""What the families' tables of tensors have in common."""

from collections.abc import Mapping
from typing import Any

from ..engine.headers import Shape


def sizes_of(config: Any, layer_idx: int) -> dict[str, Any]:
    """What may differ from layer to layer, of one of them; `None` where it has no such sub-block."""
    return {name: config.layer_sizes(name)[layer_idx] for name in config.per_layer_sizes}


def under(prefix: str, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """The same tensors inside the module `prefix`."""
    return {f"{prefix}.{name}": shape for name, shape in shapes.items()}


def linear_shapes(module: str, out_features: int, in_features: int, bias: bool = False) -> dict[str, Shape]:
    """Weight, and bias where there is one, of a linear map."""
    weight: dict[str, Shape] = {f"{module}.weight": (out_features, in_features)}
    return {**weight, f"{module}.bias": (out_features,)} if bias else weight


def attention_shapes(
    hidden_size: int, head_dim: int, num_attention_heads: int, num_key_value_heads: int, bias: bool = False
) -> dict[str, Shape]:
    """The four projections of grouped-query attention."""
    query, key_value = num_attention_heads * head_dim, num_key_value_heads * head_dim
    return {
        **linear_shapes("q_proj", query, hidden_size, bias),
        **linear_shapes("k_proj", key_value, hidden_size, bias),
        **linear_shapes("v_proj", key_value, hidden_size, bias),
        **linear_shapes("o_proj", hidden_size, query, bias),
    }


def mamba_shapes(
    *,
    hidden_size: int,
    num_heads: int,
    head_dim: int,
    state_size: int,
    num_groups: int,
    conv_kernel: int,
    bias: bool,
    conv_bias: bool,
) -> dict[str, Shape]:
    """A Mamba-2 mixer: in and out projections, convolution over x, B and C, and the parameters of the recurrence."""
    inner = num_heads * head_dim
    convolved = inner + 2 * num_groups * state_size
    conv_biases: dict[str, Shape] = {"conv1d.bias": (convolved,)} if conv_bias else {}
    return {
        "A_log": (num_heads,),
        "D": (num_heads,),
        "dt_bias": (num_heads,),
        "conv1d.weight": (convolved, 1, conv_kernel),
        **conv_biases,
        **linear_shapes("in_proj", inner + convolved + num_heads, hidden_size, bias),
        "norm.weight": (inner,),
        **linear_shapes("out_proj", hidden_size, inner, bias),
    }


def mamba_state(
    *, num_heads: int, head_dim: int, state_size: int, num_groups: int, conv_kernel: int
) -> tuple[int, int]:
    """Elements that a Mamba-2 mixer keeps for a sequence: of the convolution, of the recurrence."""
    inner = num_heads * head_dim
    return (inner + 2 * num_groups * state_size) * conv_kernel, inner * state_size
