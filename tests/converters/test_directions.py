"""Every format that can be written: what is written says the same model, and what cannot be said is refused."""

from pathlib import Path

import pytest
from published import read_tensors
from test_families import CHECKPOINTS

from transformers_heterogeneous.converters import CheckpointError, convert, formats


FORMATS_OF = {
    "gpt-oss": {"gpt_oss", "gpt_oss_puzzle", "anymodel", "per_layer_config"},
    "gpt-oss, MXFP4": {"gpt_oss", "gpt_oss_puzzle", "anymodel", "per_layer_config"},
    "gpt-oss-puzzle": {"gpt_oss_puzzle", "per_layer_config"},
    "gpt-oss-puzzle, MXFP4": {"gpt_oss_puzzle", "per_layer_config"},
    "AnyModel gpt-oss": {"anymodel", "per_layer_config"},
    "Granite 4": {"granitemoehybrid", "per_layer_config"},
    "Granite 4, dense": {"granitemoehybrid", "per_layer_config"},
    "Nemotron-H": {"nemotron_h", "nemotron_h_puzzle", "anymodel", "per_layer_config"},
    "Nemotron-H, first keys": {"nemotron_h", "nemotron_h_puzzle", "anymodel", "per_layer_config"},
    "Nemotron 3 Nano": {"nemotron_h", "nemotron_h_puzzle", "anymodel", "per_layer_config"},
    "Nemotron 3 Nano, model.": {"nemotron_h", "nemotron_h_puzzle", "anymodel", "per_layer_config"},
    "Nemotron 3 Super": {"nemotron_h", "nemotron_h_puzzle", "anymodel", "per_layer_config"},
    "Nemotron 3 Ultra": {"nemotron_h", "nemotron_h_puzzle", "anymodel", "per_layer_config"},
    "Nemotron Puzzle": {"nemotron_h_puzzle", "anymodel", "per_layer_config"},
    "Nemotron Puzzle, backbone.": {"nemotron_h_puzzle", "anymodel", "per_layer_config"},
    "AnyModel Nemotron-H": {"anymodel", "per_layer_config"},
}


def config_of(folder: Path):
    published, config_dict = formats.read_config(folder)
    config = formats.family_config(published, config_dict, str(folder))
    return published.name, config.to_dict() | {"transformers_version": None, "_name_or_path": None}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_every_format_says_the_same_model(name, tmp_path):
    source = CHECKPOINTS[name].write(tmp_path / "source")
    convert(source, tmp_path / "ours")
    family = formats.read_config(source)[0].family
    _, expected = config_of(tmp_path / "ours")
    written = set()
    for each in formats.FORMATS:
        if each.family is not family or each.write_config is None:
            continue
        there, back = tmp_path / each.name, tmp_path / f"{each.name}, back"
        try:
            convert(tmp_path / "ours", there, to=each.name)
        except CheckpointError as error:
            assert f"cannot be written as {each.name}" in str(error)
            assert not there.exists()
            continue
        written.add(each.name)
        assert config_of(there) == (each.name, expected)
        convert(there, back)
        assert config_of(back) == (expected["model_type"], expected)
        found, ours = read_tensors(back), read_tensors(tmp_path / "ours")
        assert found.keys() == ours.keys()
        assert all(found[tensor].equal(ours[tensor]) for tensor in ours)
    assert written == FORMATS_OF[name]
