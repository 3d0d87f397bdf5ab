"""Each field of each family set to each of many odd values: a model that builds, or a refusal that names the field."""

import copy
import dataclasses
import json
import math

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from transformers import logging

from .test_every_family import FAMILIES


# `LIST` stands for a list as long as the model has layers
LIST = object()
VALUES = [None, -1, 0, math.nan, 1.5, "abc", [3], LIST, {"a": 1}, True, 10**30]
ROPES = {
    "default": {},
    "linear": {"factor": 2.0},
    "dynamic": {"factor": 2.0},
    "yarn": {"factor": 2.0, "original_max_position_embeddings": 64},
    "llama3": {"factor": 2.0, "original_max_position_embeddings": 64, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    "longrope": {"short_factor": [1.0] * 8, "long_factor": [2.0] * 8, "original_max_position_embeddings": 64},
    "proportional": {},
}
ROPE_FIELDS = [
    "rope_type",
    "rope_theta",
    "partial_rotary_factor",
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "truncate",
]
ROPE_FIELDS += sorted({name for rope in ROPES.values() for name in rope})
REFUSALS = (ValueError, StrictDataclassError)
# Read by no model, and judged by transformers in words of its own
OTHER_WORDS = {"per_layer_config": "dict of layer", "problem_type": "problem_type"}


@pytest.fixture(autouse=True)
def quiet():
    """A warning a value would be most of what a run prints."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    yield
    logging.set_verbosity(before)


def build(small, fields: dict) -> None:
    """A model without memory; and its config is saved, and read again."""
    config = small.CONFIG(**copy.deepcopy(fields))
    with torch.device("meta"):
        small.CAUSAL(config)
    small.CONFIG.from_dict(json.loads(config.to_json_string()))


def check(small, fields: dict, name: str) -> None:
    try:
        build(small, fields)
    except REFUSALS as error:
        said = str(error)  # of the field, or in our own words of another one that it contradicts
        assert name in said or f"{small.CONFIG.model_type}:\n" in said, f"{name} = {fields.get(name)!r}: {said}"
        raise


def odd_values(num_layers: int) -> list:
    return [["x"] * num_layers if value is LIST else value for value in VALUES]


@pytest.mark.parametrize("family", FAMILIES)
def test_fields(family, attempted):
    small = FAMILIES[family].small
    check_fields(small, small.UNIFORM, {field.name for field in dataclasses.fields(small.CONFIG)}, attempted)


@pytest.mark.parametrize("family", FAMILIES)
def test_lists(family, attempted):
    small = FAMILIES[family].small
    check_fields(small, small.MIXED, {name for name in small.MIXED if isinstance(small.MIXED[name], list)}, attempted)


def check_fields(small, fields: dict, names: set[str], attempted) -> None:
    num_layers = small.CONFIG(**fields).num_hidden_layers
    for name in sorted(names):
        for value in odd_values(num_layers):
            with attempted("odd configs", *REFUSALS):
                check(small, {**fields, name: value}, name)


@pytest.mark.parametrize(
    ("family", "rope_type"),
    [*(("llama", rope_type) for rope_type in ROPES), ("gpt_oss", "yarn"), ("granite_moe_hybrid", "longrope")],
)
def test_rope(family, rope_type, attempted):
    small = FAMILIES[family].small
    rope = {"rope_type": rope_type, "rope_theta": 10000.0, **ROPES[rope_type]}
    num_factors = len(ROPES["longrope"]["short_factor"])
    for name in ROPE_FIELDS:
        for value in odd_values(num_factors):
            with attempted("odd configs", *REFUSALS):
                check(small, {**small.UNIFORM, "rope_parameters": {**rope, name: value}}, name)
