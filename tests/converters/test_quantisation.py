"""The names of modules in quantisation configs: those that follow the tensors, and those that cannot."""

import json
from pathlib import Path
from typing import Any

import pytest

from transformers_heterogeneous.converters import CheckpointError, convert, verify

from .checkpoints import CHECKPOINTS
from .published import write_checkpoint


UP = "backbone.layers.1.mixer.experts.{}.up_proj"
NUM_EXPERTS = 4


def write(folder: Path, **members: Any) -> Path:
    checkpoint = CHECKPOINTS["Nemotron 3 Nano"]
    config = {**checkpoint.config, "quantization_config": {"quant_method": "modelopt", **members}}
    write_checkpoint(folder, config, checkpoint.tensors)
    return folder


def quantisation_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())["quantization_config"]


FOLLOWING = {
    "backbone": "model",
    "backbone*": "model*",
    "*backbone.layers.1.mixer*": "*model.layers.1.mixer*",
    r"re:^backbone\.layers\.0\..*": r"re:^model\.layers\.0\..*",
    r"re:.*backbone\.layers": r"re:.*model\.layers",
    "re:backbone.layers.[0-3]": "re:model.layers.[0-3]",
    "*": "*",
    "*.mixer.*": "*.mixer.*",
    "re:.*mixer.*": "re:.*mixer.*",
    "lm_head": "lm_head",
    "mtp*": "mtp*",
}


def test_patterns_follow(tmp_path):
    source = write(tmp_path / "source", ignore=list(FOLLOWING))
    convert(source, tmp_path / "ours")
    assert quantisation_of(tmp_path / "ours")["ignore"] == list(FOLLOWING.values())
    assert verify(source, tmp_path / "ours").same
    assert convert(tmp_path / "ours", tmp_path / "back", to="nemotron_h").restored
    (tmp_path / "ours/hetero_origin.json").unlink()
    convert(tmp_path / "ours", tmp_path / "computed", to="nemotron_h")
    assert quantisation_of(tmp_path / "computed")["ignore"] == list(FOLLOWING)


def test_names_among_others_and_alone(tmp_path):
    mixed = ["backbone.layers.0.mixer.in_proj", None, 3, None, {"targets": "backbone.norm_f"}]
    convert(write(tmp_path / "source", ignore="backbone.layers.3", more=mixed, note="backbone.x"), tmp_path / "ours")
    found = quantisation_of(tmp_path / "ours")
    assert found["ignore"] == "model.layers.3" and found["note"] == "backbone.x"
    assert found["more"] == ["model.layers.0.mixer.in_proj", None, 3, None, {"targets": "model.norm_f"}]


EVERYTHING_IN_0 = [f"model.layers.0.{name}" for name in ("mixer", "mixer.conv1d", "mixer.in_proj", "mixer.norm")]
EVERYTHING_IN_0 += ["model.layers.0.mixer.out_proj", "model.layers.0.norm"]
# A pattern -> what it becomes
OTHERWISE = {
    r"re:^(backbone|other)\.layers\.0": [r"re:^(model|other)\.layers\.0"],
    "?ackbone.layers.0.norm": ["model.layers.0.norm"],
    "back*.layers.0.*": EVERYTHING_IN_0,
    "re:^back.*layers.0": EVERYTHING_IN_0,
    "re:(?!model).*layers.0": EVERYTHING_IN_0,
    "?backbone.layers.0": ["?model.layers.0"],  # means nothing, before and after
    "re:(": ["re:("],
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_patterns_that_cannot_follow_are_written_out(name, tmp_path):
    source = write(tmp_path / "source", config_groups={"group_0": {"targets": ["lm_head", name]}})
    convert(source, tmp_path / "ours")
    first, *found = quantisation_of(tmp_path / "ours")["config_groups"]["group_0"]["targets"]
    assert first == "lm_head" and sorted(found) == sorted(OTHERWISE[name])
    assert verify(source, tmp_path / "ours").same
    (tmp_path / "ours/hetero_origin.json").unlink()
    convert(tmp_path / "ours", tmp_path / "computed", to="nemotron_h")
    assert verify(source, tmp_path / "computed").same


def experts(*numbers: int) -> list[str]:
    return [UP.format(number) for number in numbers]


def test_experts_that_are_all_named_are_stacked(tmp_path):
    names = [name for at in range(NUM_EXPERTS) for name in (UP.format(at), UP.format(at).replace("up", "down"))]
    layers = {name: {"a": 1} for name in experts(*range(NUM_EXPERTS))}
    source = write(tmp_path / "source", ignore=names, quantized_layers=layers)
    convert(source, tmp_path / "stacked", experts="stacked")
    found = quantisation_of(tmp_path / "stacked")
    stacks = [f"model.layers.1.mixer.experts.{name}_proj" for name in ("up", "down")]
    assert found["ignore"] == stacks and found["quantized_layers"] == {stacks[0]: {"a": 1}}
    assert verify(source, tmp_path / "stacked").same
    assert convert(tmp_path / "stacked", tmp_path / "back", to="nemotron_h").restored


UNEQUAL: dict[str, dict[str, Any]] = {
    "some of a list": {"ignore": experts(0, 2)},
    "some of the keys": {"quantized_layers": {name: {"a": 1} for name in experts(0, 1)}},
    "not the same of all": {"quantized_layers": {name: {"a": at} for at, name in enumerate(experts(0, 1, 2, 3))}},
    "whole expert": {"ignore": ["backbone.layers.1.mixer.experts.0"]},
    "pattern of some numbers": {"ignore": ["*.experts.[0-2].up_proj"]},
    "regular expression of some numbers": {"ignore": [r"re:.*experts\.[13]\.up_proj", UP.format(0)]},
}


@pytest.mark.parametrize("members", UNEQUAL.values(), ids=UNEQUAL.keys())
def test_experts_of_which_not_the_same_is_said_are_not_stacked(members, tmp_path):
    source = write(tmp_path / "source", **members)
    with pytest.raises(
        CheckpointError, match=rf"quantization_config.{next(iter(members))}: .*cannot follow when experts"
    ):
        convert(source, tmp_path / "stacked", experts="stacked")
    convert(source, tmp_path / "ours")


def test_experts_that_predict_further_tokens_stay_single(tmp_path):
    write(tmp_path / "source", ignore=["mtp.layers.1.mixer.experts.0.up_proj", "mtp.layers.0*"])
    convert(tmp_path / "source", tmp_path / "stacked", experts="stacked")


@pytest.mark.parametrize(
    "name", ["*.1.*.experts.*.up_proj", r"re:.*s\.1\..*experts\.\d+\.up_proj", "*.1.mixer.experts.?.u*"]
)
def test_patterns_of_all_experts_become_the_stack(name, tmp_path):
    source = write(tmp_path / "source", ignore=[name])
    convert(source, tmp_path / "stacked", experts="stacked")
    assert quantisation_of(tmp_path / "stacked")["ignore"] == ["model.layers.1.mixer.experts.up_proj"]
    assert verify(source, tmp_path / "stacked").same
    assert convert(tmp_path / "stacked", tmp_path / "back", to="nemotron_h").restored


@pytest.mark.parametrize("name", ["*.1.mixer.experts.up_proj", r"re:.*s\.1\..*\.experts\.up.*"])
def test_patterns_of_stacks_are_written_out_when_they_are_split(name, tmp_path):
    names = ["model.layers.1.mixer.experts.down_proj", name]
    convert(write(tmp_path / "source"), tmp_path / "stacked", experts="stacked")
    config = json.loads((tmp_path / "stacked/config.json").read_text())
    config["quantization_config"]["ignore"] = names
    (tmp_path / "stacked/config.json").write_text(json.dumps(config))
    (tmp_path / "stacked/hetero_origin.json").unlink()
    convert(tmp_path / "stacked", tmp_path / "split", experts="separate")
    assert sorted(quantisation_of(tmp_path / "split")["ignore"]) == sorted(
        f"model.layers.1.mixer.experts.{at}.{part}_proj" for at in range(NUM_EXPERTS) for part in ("up", "down")
    )
    assert verify(tmp_path / "stacked", tmp_path / "split").same


def test_two_names_of_one_module(tmp_path):
    layers = {"backbone.layers.0.mixer.in_proj": {"a": 1}, "model.layers.0.mixer.in_proj": {"a": 2}}
    with pytest.raises(CheckpointError, match=r"'model.layers.0.mixer.in_proj', of which something else is said"):
        convert(write(tmp_path / "source", quantized_layers=layers), tmp_path / "ours")


def test_file_of_modelopt_is_named(tmp_path):
    source = write(tmp_path / "source")
    (source / "hf_quant_config.json").write_text(json.dumps({"quantization": {"exclude_modules": experts(1)}}))
    with pytest.raises(
        CheckpointError, match=r"hf_quant_config.json: .*\n  quantization.exclude_modules: .*leave out"
    ):
        convert(source, tmp_path / "stacked", experts="stacked")
