"""What `block_configs` may say of a layer, in every dialect: yes or no, sizes that agree; never one instead of the other."""

import json
from copy import deepcopy
from typing import Any

import pytest

import transformers_heterogeneous as families
from transformers_heterogeneous.converters import CheckpointError, convert, summarise
from transformers_heterogeneous.converters.formats import recognition

from ..checkpoints import CHECKPOINTS
from ..published import CONFIG, DIALECTS, write_checkpoint


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


AGREEING = {"attention": {"n_heads_in_group": 2, "num_key_value_heads": 2}, "ffn": {"ffn_mult": 6.0}}
AGREEING["ffn"]["intermediate_size"] = 256


@pytest.mark.parametrize("half", AGREEING)
def test_two_names_of_one_size(half):
    """They may say the same, and nothing else: the first won without a word."""
    (first, _), (second, right) = AGREEING[half].items()
    config, config_class = changed("A", half, **AGREEING[half])
    assert config_class.from_dict(config) == config_class.from_dict(CONFIGS["A"][0])
    config, config_class = changed("A", half, **{**AGREEING[half], second: 2 * right})
    with pytest.raises(ValueError, match=rf"block_configs\[0\]\.{half}: {first} = .* but {second} = {2 * right}"):
        config_class.from_dict(config)


UNREAD: dict[str, Any] = {
    "yarn_rope_scaling": {"factor": 4.0, "rope_type": "yarn"},
    "intermediate_sizes": [256, 512, 256, 256, 256],
    "intermediate_size_per_layer": [256, 512, 256, 256, 256],
    "num_attention_heads_per_layer": [4, 2, 4, 4, 4],
    "per_layer_intermediate_size": {"0": 256},
    "ffn_multipliers": [1.0, 2.0],
    "num_query_heads": [4, 2, 4, 4, 4],
    "no_rope_layers": [1, 0, 1, 1, 1],
    "head_dims": [16, 32],
    "sliding_windows": [None, 8],
    "layer_windows_per_layer": 8,
}
LLAMA = {name: value for name, value in CONFIG.items() if name not in ("block_configs", "auto_map")}
LLAMA |= {"model_type": "llama", "num_key_value_heads": 2, "intermediate_size": 256}
OTHERS = {
    "nemotron-nas": CONFIG,
    "llama": LLAMA,
    "null beside it": {**LLAMA, "rope_scaling": None},
    **{name: CHECKPOINTS[name].config for name in ("gpt-oss", "Granite 4", "Nemotron 3 Nano", "Nemotron Puzzle")},
}


@pytest.mark.parametrize("config", OTHERS.values(), ids=OTHERS.keys())
@pytest.mark.parametrize("name", UNREAD)
def test_description_that_nobody_reads(config, name, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({**config, name: UNREAD[name]}))
    published = recognition.recognise(config, "config.json")
    with pytest.raises(CheckpointError, match=f"{name} = .* may describe the layers, and nothing reads it"):
        recognition.family_config(published, {**config, name: UNREAD[name]}, "config.json")
    summary = summarise(tmp_path)
    assert summary.unread == (name,) and summary.loads_with is None and f"{name} = " in summary.loading_note


@pytest.mark.parametrize("config", OTHERS.values(), ids=OTHERS.keys())
@pytest.mark.parametrize("value", [None, [], {}])
def test_description_that_says_nothing(config, value, tmp_path):
    more = {name: value for name in UNREAD if "per_layer" not in name or value is None}
    (tmp_path / "config.json").write_text(json.dumps({**config, **more, "pruned_heads": {}, "note": "[1, x]"}))
    summarise(tmp_path)


def test_converting_names_the_file(tmp_path):
    config = deepcopy(CONFIG)
    config["block_configs"][3]["ffn"]["no_op"] = "false"
    write_checkpoint(tmp_path / "source", config)
    with pytest.raises(CheckpointError, match=r"config.json: (?s:.*)block_configs\[3\]\.ffn: no_op = 'false'"):
        convert(tmp_path / "source", tmp_path / "ours")
    assert not (tmp_path / "ours").exists()
