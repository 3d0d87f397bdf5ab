"""What `block_configs` may say of a layer, in every dialect: yes or no, sizes that agree; never one instead of the other."""

from copy import deepcopy
from typing import Any

import pytest
from published import CONFIG, DIALECTS, write_checkpoint
from test_families import CHECKPOINTS

import transformers_heterogeneous as families
from transformers_heterogeneous.converters import CheckpointError, convert


CONFIGS: dict[str, tuple[dict[str, Any], Any]] = {
    **{name: (config, families.HeterogeneousLlamaConfig) for name, config in DIALECTS.items()},
    "AnyModel gpt-oss": (CHECKPOINTS["AnyModel gpt-oss"].config, families.HeterogeneousGptOssConfig),
    "AnyModel Nemotron-H": (CHECKPOINTS["AnyModel Nemotron-H"].config, families.HeterogeneousNemotronHConfig),
}
every_config = pytest.mark.parametrize("name", CONFIGS)
NEITHER = ["false", "true", "abc", "", 1.5, 0.0, -1, 0, 1, [], {}, [False]]


def changed(name: str, half: str, **members: Any) -> tuple[dict[str, Any], Any]:
    """A published config of which one half of the first block says something else."""
    config, config_class = CONFIGS[name]
    config = deepcopy(config)
    config["block_configs"][0][half].update(members)
    return config, config_class


@every_config
@pytest.mark.parametrize("value", NEITHER, ids=repr)
@pytest.mark.parametrize("half", ["attention", "ffn"])
@pytest.mark.parametrize("field", ["no_op", "replace_with_linear"])
def test_neither_yes_nor_no(name, value, half, field):
    config, config_class = changed(name, half, **{field: value})
    with pytest.raises(ValueError, match=rf"block_configs\[0\]\.{half}: {field} = .*true, false or null") as caught:
        config_class.from_dict(config)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize(("half", "field"), [("ffn", "gated"), ("attention", "unshifted_sink")])
def test_other_choices(name, half, field):
    config, config_class = changed(name, half, **{field: "false"})
    with pytest.raises(ValueError, match=rf"block_configs\[0\]\.{half}: {field} = 'false'"):
        config_class.from_dict(config)


@every_config
@pytest.mark.parametrize("value", [None, False])
def test_null_is_no(name, value):
    published, config_class = CONFIGS[name]
    config = deepcopy(published)
    for half in (block[half] for block in config["block_configs"] for half in ("attention", "ffn")):
        half["no_op"] = half["no_op"] or value
    expected, found = config_class.from_dict(deepcopy(published)), config_class.from_dict(config)
    assert (found.mixer_types, found.mlp_types) == (expected.mixer_types, expected.mlp_types)


@pytest.mark.parametrize(("half", "part"), [("attention", "mamba"), ("ffn", "moe")])
@pytest.mark.parametrize("value", ["false", True, 1, []])
def test_parts_of_puzzletron_are_objects(half, part, value):
    config, config_class = changed("AnyModel Nemotron-H", half, **{part: value})
    with pytest.raises(ValueError, match=rf"block_configs\[0\]\.{half}\.{part} = .*an object or null"):
        config_class.from_dict(config)


def test_converting_names_the_file(tmp_path):
    config = deepcopy(CONFIG)
    config["block_configs"][3]["ffn"]["no_op"] = "false"
    write_checkpoint(tmp_path / "source", config)
    with pytest.raises(CheckpointError, match=r"config.json: (?s:.*)block_configs\[3\]\.ffn: no_op = 'false'"):
        convert(tmp_path / "source", tmp_path / "ours")
    assert not (tmp_path / "ours").exists()
