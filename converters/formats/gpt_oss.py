"""
Checkpoints that say `gpt_oss`: OpenAI's own, whose layers are all alike, and those from which ModelOpt pruned experts,
which name another architecture. Experts may be packed in MXFP4.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ..families.heterogeneous_gpt_oss import FAMILY
from .expression import other_types, refuse_inexpressible, shared_fields, varying_sizes
from .published_format import PublishedFormat


def recognises(config: Mapping[str, Any]) -> bool:
    """By its model type, or by the architecture that ModelOpt's export of pruned experts names."""
    return config.get("model_type") == "gpt_oss" or config.get("architectures") == ["DeciGptOssForCausalLM"]


def parent_fields(config: Any) -> dict[str, Any]:
    """The fields that are gpt-oss's too: which layers have the window is in `layer_types`."""
    return {**shared_fields(config, "gpt_oss", "GptOssForCausalLM"), "layer_types": config.layer_types}


def problems(config: Any) -> Iterator[str]:
    yield from other_types(config, "mixer_types", ("attention",))
    yield from other_types(config, "mlp_types", ("moe",))
    yield from varying_sizes(config)


def write_config(config: Any) -> dict[str, Any]:
    """The config.json of gpt-oss, of a model whose layers are all alike but for the one window."""
    refuse_inexpressible("gpt_oss", problems(config))
    return parent_fields(config)


FORMAT = PublishedFormat(
    name="gpt_oss",
    looks_like='model_type "gpt_oss", or the architecture DeciGptOssForCausalLM',
    recognises=recognises,
    family=FAMILY,
    write_config=write_config,
)
