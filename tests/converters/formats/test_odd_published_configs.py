"""Each field of each published config set to each of many odd values: read, or refused as a checkpoint is."""

import copy
import json
import math

import pytest

from transformers import logging
from transformers_heterogeneous.converters import CheckpointError
from transformers_heterogeneous.converters.formats import recognition

from ..checkpoints import CHECKPOINTS
from ..published import DECI, DIALECTS, TRAP


VALUES = [None, -1, 0, math.nan, "abc", [3], ["x"] * 5, {"a": 1}, True, 10**30]
NAMES = (
    "gpt-oss",
    "gpt-oss pruned by ModelOpt, MXFP4",
    "gpt-oss-puzzle",
    "Granite 4",
    "Nemotron-H",
    "Nemotron Puzzle",
)
CONFIGS = {
    **{name: DIALECTS[name] for name in ("A", "no model type", "AnyModel llama")},
    **{"deci": DECI, "deci that says llama": TRAP},
    **{name: CHECKPOINTS[name].config for name in NAMES},
}


@pytest.fixture(autouse=True)
def quiet():
    """A warning a value would be most of what a run prints."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    yield
    logging.set_verbosity(before)


def read(members: dict) -> None:
    """As the converters read a config, without the guard around them; and the family's own is written, and read again."""
    published = recognition.recognise(members, "config.json")
    config = recognition.family_config(published, members, "config.json")
    published.family.tensor_shapes(config)
    type(config).from_dict(json.loads(config.to_json_string()))


@pytest.mark.parametrize("name", CONFIGS)
def test_fields(name, attempted):
    config = CONFIGS[name]
    for field in config:
        for value in VALUES:
            with attempted("odd published configs", CheckpointError):
                read({**copy.deepcopy(config), field: value})
