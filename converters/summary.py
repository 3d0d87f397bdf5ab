"""What a config says about each layer and about the whole model, as numbers."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch

from .family import Family
from .formats import family_config, read_config


@dataclass(frozen=True)
class LayerSummary:
    """One layer. Heads, window (positions) and width are `None` where the layer has no such thing."""

    mixer: str
    num_attention_heads: int | None
    num_key_value_heads: int | None
    sliding_window: int | None
    mlp: str
    intermediate_size: int | None
    num_parameters: int
    kv_cache_bytes_per_token: int


@dataclass(frozen=True)
class ModelSummary:
    """
    A model. Cache sizes are in bytes for one token of one sequence, in `cache_dtype`: the config's `dtype`, or bfloat16
    where it has none. Past the windows only layers with full attention still grow.
    """

    source: str
    format: str
    model_type: str
    num_hidden_layers: int
    hidden_size: int
    head_dim: int
    vocab_size: int
    dtype: str | None
    cache_dtype: str
    num_parameters: int
    kv_cache_bytes_per_token: int
    kv_cache_bytes_per_token_past_windows: int
    layers: tuple[LayerSummary, ...]

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain data."""
        return asdict(self)


def summarise(path: str | Path) -> ModelSummary:
    """
    Summarise a checkpoint folder or a config.json; weights are not looked at.

    Raises:
        CheckpointError: where the config is of no known format, or names layers that are wrong.
    """
    published, config_dict = read_config(Path(path))
    config = family_config(published, config_dict, str(path))
    cache_dtype = config.dtype or torch.bfloat16
    layers = tuple(layer_summaries(published.family, config, cache_dtype.itemsize))
    unbounded = (layer for layer in layers if layer.sliding_window is None)
    return ModelSummary(
        source=str(path),
        format=published.name,
        model_type=config.model_type,
        num_hidden_layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        head_dim=config.head_dim,
        vocab_size=config.vocab_size,
        dtype=dtype_name(config.dtype),
        cache_dtype=str(dtype_name(cache_dtype)),
        num_parameters=published.family.num_parameters(config),
        kv_cache_bytes_per_token=sum(layer.kv_cache_bytes_per_token for layer in layers),
        kv_cache_bytes_per_token_past_windows=sum(layer.kv_cache_bytes_per_token for layer in unbounded),
        layers=layers,
    )


def dtype_name(dtype: torch.dtype | None) -> str | None:
    return None if dtype is None else str(dtype).removeprefix("torch.")


def layer_summaries(family: Family, config: Any, itemsize: int) -> Iterator[LayerSummary]:
    """
    The layers in their order.

    Args:
        itemsize: Bytes of one element of the KV cache, which holds a key and a value per KV head.
    """
    sizes = {name: config.layer_sizes(name) for name in config.per_layer_sizes}
    for layer_idx in range(config.num_hidden_layers):
        layer = {name: values[layer_idx] for name, values in sizes.items()}
        yield LayerSummary(
            mixer=config.mixer_types[layer_idx],
            mlp=config.mlp_types[layer_idx],
            num_parameters=sum(map(prod, family.layer_shapes(config, layer_idx).values())),
            kv_cache_bytes_per_token=2 * (layer["num_key_value_heads"] or 0) * config.head_dim * itemsize,
            **layer,
        )
