"""IBM's `granitemoehybrid`: Granite 4 hybrids, whose layers are alike but for attention and Mamba."""

from collections.abc import Iterator
from typing import Any

from ..families.heterogeneous_granite_moe_hybrid import FAMILY
from .expression import other_types, refuse_inexpressible, shared_fields, varying_sizes
from .published_format import PublishedFormat


def parent_fields(config: Any) -> dict[str, Any]:
    """The fields that are Granite's too. Without experts it says so by their number."""
    fields = shared_fields(config, "granitemoehybrid", "GraniteMoeHybridForCausalLM")
    fields |= {"layer_types": config.layer_types}
    return fields if "moe" in config.mlp_types else {**fields, "num_local_experts": 0, "num_experts_per_tok": 0}


def problems(config: Any) -> Iterator[str]:
    yield from other_types(config, "mixer_types", ("mamba", "attention"))
    yield from other_types(config, "mlp_types", ("moe",) if "moe" in config.mlp_types else ("dense",))
    yield from varying_sizes(config)


def write_config(config: Any) -> dict[str, Any]:
    """The config.json of a Granite 4 hybrid."""
    refuse_inexpressible("granitemoehybrid", problems(config))
    return parent_fields(config)


FORMAT = PublishedFormat(
    name="granitemoehybrid",
    looks_like='model_type "granitemoehybrid"',
    recognises=lambda config: config.get("model_type") == "granitemoehybrid",
    family=FAMILY,
    write_config=write_config,
)
