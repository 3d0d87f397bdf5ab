"""
Values of wrong types and sizes wherever a config has one: the refusal is ours or a validation error of transformers', also
from the classes, without the converters' guard around them.
"""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from huggingface_hub.errors import StrictDataclassError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import transformers_heterogeneous as families
from transformers import logging
from transformers_heterogeneous.converters.formats import recognition

from ..checkpoints import CHECKPOINTS
from ..published import DECI, DIALECTS, TRAP


VALUES = [None, -1, 0, 1, 1.5, "abc", "", [3], [], ["x"] * 5, {"a": 1}, {}, True, False, 10**30, [[]], [None], [0]]
CLASSES = [
    families.HeterogeneousLlamaConfig,
    families.HeterogeneousGptOssConfig,
    families.HeterogeneousGraniteMoeHybridConfig,
    families.HeterogeneousNemotronHConfig,
]
# Read by all, and declared by none of the classes
OTHER_FIELDS = ["quantization_config", "rope_scaling", "block_configs", "hybrid_override_pattern", "layer_types"]
PUBLISHED = {**DIALECTS, "deci": DECI, "trap": TRAP, **{name: each.config for name, each in CHECKPOINTS.items()}}


@pytest.fixture(autouse=True, scope="module")
def quiet():
    before = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    yield
    logging.set_verbosity(before)


def read(config_class: Any, members: dict[str, Any], attempted) -> None:
    with attempted("values of wrong types", StrictDataclassError):
        config = config_class.from_dict(copy.deepcopy(members))
        type(config).from_dict(json.loads(config.to_json_string()))


def places(value: Any, before: tuple = ()) -> Iterator[tuple]:
    """Where something stands in a config."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield (*before, key)
        yield from places(each, (*before, key))


def put(members: dict[str, Any], place: tuple, value: Any) -> dict[str, Any]:
    changed = inner = copy.deepcopy(members)
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = copy.deepcopy(value)
    return changed


@pytest.mark.parametrize("config_class", CLASSES)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_fields(config_class, attempted, data):
    """One or two of the fields, beside the defaults."""
    names = sorted({*config_class.__dataclass_fields__, *OTHER_FIELDS})
    fields = st.dictionaries(st.sampled_from(names), st.sampled_from(VALUES), min_size=1, max_size=2)
    read(config_class, data.draw(fields), attempted)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_published_forms(attempted, data):
    """Any place, the members of blocks among them."""
    members = PUBLISHED[data.draw(st.sampled_from(sorted(PUBLISHED)))]
    published = recognition.recognise(members, "config.json")
    place = data.draw(st.sampled_from(list(places(members))))
    changed = put(members, place, data.draw(st.sampled_from(VALUES)))
    read(published.config_class or published.family.config_class, changed, attempted)


@pytest.mark.parametrize("config_class", CLASSES)
@pytest.mark.parametrize("heads", [0, -1])
def test_heads(config_class, heads):
    with pytest.raises(families.HeterogeneousConfigError, match=f"num_attention_heads is {heads}"):
        config_class(num_attention_heads=heads)


@pytest.mark.parametrize("block_type", [[], {}, 3, None])
def test_block_types(block_type):
    blocks = [{"block_type": block_type}]
    with pytest.raises(families.HeterogeneousConfigError, match=r"block_configs\[0\]: block_type = "):
        families.HeterogeneousNemotronHConfig.from_dict({"block_configs": blocks})


@pytest.mark.parametrize("config_class", CLASSES)
@pytest.mark.parametrize("value", ["fp8", 8, ["fp8"]])
def test_quantisation(config_class, value):
    with pytest.raises(families.HeterogeneousConfigError, match=r"quantization_config is .*: a dict is needed"):
        config_class(quantization_config=value)
