"""Any config of a family, written in any of its formats and read again, says the same model, or is refused by name."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transformers_heterogeneous import HeterogeneousLlamaConfig
from transformers_heterogeneous.converters import CheckpointError
from transformers_heterogeneous.converters.engine.json_objects import parse_object
from transformers_heterogeneous.converters.families import family_of
from transformers_heterogeneous.converters.families import heterogeneous_gpt_oss as gpt_oss
from transformers_heterogeneous.converters.families import heterogeneous_granite_moe_hybrid as granite
from transformers_heterogeneous.converters.families import heterogeneous_nemotron_h as nemotron_h
from transformers_heterogeneous.converters.families.family import Family
from transformers_heterogeneous.converters.formats import recognition
from transformers_heterogeneous.converters.formats.published_format import PublishedFormat

from .. import published_families as families
from ..published import GLOBALS


HEADS = [1, 2, 4]
# What a layer may be made of, and the sizes that it may have; the relations that a config checks hold for them all
LLAMA = {"num_key_value_heads": HEADS, "intermediate_size": [96, 128, 256, 512], "sliding_window": [None, 8, 16]}
LLAMA |= {"num_attention_heads": [4, 8]}
GPT_OSS = {"num_key_value_heads": HEADS, "num_local_experts": [2, 4], "num_experts_per_tok": [1, 2]}
GPT_OSS |= {"intermediate_size": [32, 64], "sliding_window": [None, 8, 16]}
GRANITE = {"num_key_value_heads": HEADS, "num_local_experts": [2, 4], "num_experts_per_tok": [1, 2]}
GRANITE |= {"intermediate_size": [32, 64], "shared_intermediate_size": [48, 96]}
NEMOTRON = {"num_key_value_heads": HEADS, "ssm_state_size": [8, 16], "intermediate_size": [32, 64]}
NEMOTRON |= {"n_routed_experts": [2, 4], "num_experts_per_tok": [1, 2], "moe_intermediate_size": [16, 24]}
NEMOTRON |= {"moe_latent_size": [None, 32], "moe_shared_expert_intermediate_size": [40, 48]}


def pairs(mixers: str, mlps: str) -> list[tuple[str, str]]:
    return [(mixer, mlp) for mixer in mixers.split() for mlp in mlps.split()]


def outside(config: dict[str, Any], *names: str) -> dict[str, Any]:
    """The fields of a published config that say nothing of single layers."""
    kept = recognition.PROVENANCE
    return {name: value for name, value in config.items() if name not in (*kept, "num_hidden_layers", *names)}


ONE_EACH = [("mamba", "none"), ("attention", "none"), ("none", "dense"), ("none", "moe"), ("none", "none")]
FAMILIES = {
    "llama": (
        family_of(HeterogeneousLlamaConfig),
        {**outside(GLOBALS), "head_dim": 16},
        pairs("attention linear none", "dense linear none"),
        LLAMA,
    ),
    "gpt_oss": (
        gpt_oss.FAMILY,
        outside(families.GPT_OSS, "layer_types"),
        pairs("attention none", "moe none"),
        GPT_OSS,
    ),
    "granite": (
        granite.FAMILY,
        outside(families.GRANITE, "layer_types"),
        pairs("attention mamba none", "dense moe none"),
        GRANITE,
    ),
    "nemotron_h": (
        nemotron_h.FAMILY,
        outside(families.SUPER_3, "hybrid_override_pattern", "mtp_hybrid_override_pattern"),
        ONE_EACH,
        NEMOTRON,
    ),
}


@st.composite
def configs(draw: st.DrawFn, name: str) -> tuple[Family, Any]:
    """A valid config; a size is one for all layers as often as one for each."""
    family, fields, kinds, sizes = FAMILIES[name]
    num_layers = draw(st.integers(1, 12))
    layers = draw(st.lists(st.sampled_from(kinds), min_size=num_layers, max_size=num_layers))
    if not any(mixer in ("attention", "mamba") for mixer, _ in layers):
        layers[0] = next(kind for kind in kinds if kind[0] == "attention")
    members: dict[str, Any] = {**fields, "num_hidden_layers": num_layers}
    members |= {"mixer_types": [mixer for mixer, _ in layers], "mlp_types": [mlp for _, mlp in layers]}
    for size, choices in sizes.items():
        value = st.sampled_from(choices)
        members[size] = draw(st.one_of(value, st.lists(value, min_size=num_layers, max_size=num_layers)))
    return family, family.config_class.from_dict(members)


def written(published: PublishedFormat, config: Any) -> dict[str, Any]:
    try:
        return published.write_config(config)
    except CheckpointError as error:
        assert str(error).startswith(f"cannot be written as {published.name}:\n  ")
        raise


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_what_is_written_is_read_again(name, attempted, data):
    family, config = data.draw(configs(name))
    for each in recognition.FORMATS:
        if each.family is not family or each.write_config is None:
            continue
        with attempted("random configs, written in each format", CheckpointError):
            members = written(each, config)
            found = parse_object(json.dumps(members).encode(), each.name)
            assert recognition.recognise(found, each.name) is each
            again = recognition.family_config(each, found, each.name)
            assert recognition.model_fields(again) == recognition.model_fields(config), each.name
    own = parse_object(config.to_json_string().encode(), name)
    assert recognition.model_fields(family.config_class.from_dict(own)) == recognition.model_fields(config)
