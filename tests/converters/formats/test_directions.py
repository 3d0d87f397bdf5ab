"""Every format that can be written: what is written says the same model, and what cannot be said is refused."""

from dataclasses import fields
from pathlib import Path

import pytest
import torch

from transformers_heterogeneous.converters import CheckpointError, ConversionOptions, convert, verify
from transformers_heterogeneous.converters.formats import recognition
from transformers_heterogeneous.converters.formats.nemotron_nas import ffn_mult_to_intermediate_size
from transformers_heterogeneous.converters.provenance import ORIGIN

from ..checkpoints import logits
from ..published import assert_same_tensors, read_tensors
from .test_there_and_back import DATA, SOURCES, write


FORMATS_OF = {
    "nemotron-nas, A0": {"nemotron-nas", "anymodel"},
    "nemotron-nas, A": {"nemotron-nas", "anymodel"},
    "nemotron-nas, B, absent globals": {"nemotron-nas", "anymodel"},
    "nemotron-nas, no model type": {"nemotron-nas", "anymodel"},
    "nemotron-nas, AnyModel llama": {"nemotron-nas", "anymodel"},
    "deci": {"nemotron-nas", "deci", "anymodel", "anymodel_v2", "per_layer_config"},
    "deci, no model type": {"nemotron-nas", "deci", "anymodel", "anymodel_v2", "per_layer_config"},
    "deci, the trap": {"nemotron-nas", "deci", "anymodel", "anymodel_v2", "per_layer_config"},
    "llama": {"nemotron-nas", "deci", "anymodel", "anymodel_v2", "per_layer_config", "llama"},
    "llama, per_layer_config": {"nemotron-nas", "anymodel", "anymodel_v2", "per_layer_config"},
    **{name: {name.lower(), "anymodel", "anymodel_v2", "per_layer_config"} for name in ("Qwen2", "Qwen3", "Mistral")},
    "Qwen3, windows": {"qwen3", "anymodel", "anymodel_v2", "per_layer_config"},
    **{f"AnyModel {name}": {"anymodel", "anymodel_v2", "per_layer_config"} for name in ("Qwen2", "Qwen3", "Mistral")},
    **{
        f"{name}, per_layer_config": {"anymodel", "anymodel_v2", "per_layer_config"}
        for name in ("Qwen2", "Qwen3", "Mistral")
    },
    "Qwen3-MoE": {"qwen3_moe", "anymodel_v2", "per_layer_config"},
    "Qwen3-MoE, per_layer_config": {"anymodel_v2", "per_layer_config"},
    "OpenELM": {"openelm", "anymodel_v2", "per_layer_config"},
    "Qwen3-MoE, pruned experts": {"pruned_experts", "anymodel_v2", "per_layer_config"},
    "Qwen3-Next": {"qwen3_next", "per_layer_config"},
    "Qwen3-Next, per_layer_config": {"per_layer_config"},
    "Qwen3-Next, pruned experts": {"pruned_experts", "per_layer_config"},
    "Llama-4": {"llama4_text", "per_layer_config"},
    "Llama-4, per_layer_config": {"per_layer_config"},
    "gpt-oss": {"gpt_oss", "gpt_oss_puzzle", "anymodel", "anymodel_v2", "per_layer_config"},
    "gpt-oss, MXFP4": {"gpt_oss", "gpt_oss_puzzle", "anymodel", "anymodel_v2", "per_layer_config"},
    "gpt-oss pruned by ModelOpt, MXFP4": {"gpt_oss", "gpt_oss_puzzle", "anymodel", "anymodel_v2", "per_layer_config"},
    "gpt-oss pruned by ModelOpt, by layer": {"gpt_oss_puzzle", "anymodel_v2", "per_layer_config"},
    "gpt-oss-puzzle": {"gpt_oss_puzzle", "anymodel_v2", "per_layer_config"},
    "gpt-oss-puzzle, MXFP4": {"gpt_oss_puzzle", "anymodel_v2", "per_layer_config"},
    "AnyModel gpt-oss": {"anymodel", "anymodel_v2", "per_layer_config"},
    **{f"AnyModel v2 {name}": {"anymodel_v2", "per_layer_config"} for name in ("Llama", "Qwen3", "Qwen3-MoE")},
    "Llama with typed blocks": {"deci", "llama", "anymodel", "anymodel_v2", "per_layer_config"},
    "AnyModel v2 Mistral": {"anymodel_v2"},
    **{
        f"AnyModel v2 {name}": {"anymodel", "anymodel_v2", "per_layer_config"}
        for name in ("Qwen2", "gpt-oss", "Nemotron-H")
    },
    "Granite 4": {"granitemoehybrid", "per_layer_config"},
    "Granite 4, dense": {"granitemoehybrid", "per_layer_config"},
    "Nemotron-H": {"nemotron_h", "nemotron_h_puzzle", "anymodel", "anymodel_v2", "per_layer_config"},
    "Nemotron-H, first keys": {"nemotron_h", "nemotron_h_puzzle", "anymodel", "anymodel_v2", "per_layer_config"},
    "Nemotron 3 Nano": {"nemotron_h", "nemotron_h_puzzle", "anymodel", "anymodel_v2", "per_layer_config"},
    "Nemotron 3 Nano, model.": {"nemotron_h", "nemotron_h_puzzle", "anymodel", "anymodel_v2", "per_layer_config"},
    "Nemotron 3 Super": {"nemotron_h", "nemotron_h_puzzle", "anymodel", "anymodel_v2", "per_layer_config"},
    "Nemotron 3 Ultra": {"nemotron_h", "nemotron_h_puzzle", "anymodel", "anymodel_v2", "per_layer_config"},
    "Nemotron Puzzle": {"nemotron_h_puzzle", "anymodel", "anymodel_v2", "per_layer_config"},
    "Nemotron Puzzle, backbone.": {"nemotron_h_puzzle", "anymodel", "anymodel_v2", "per_layer_config"},
    "AnyModel Nemotron-H": {"anymodel", "anymodel_v2", "per_layer_config"},
}


def config_of(folder: Path):
    published, config_dict = recognition.read_config(folder)
    config = recognition.family_config(published, config_dict, str(folder))
    return published.name, config.model_type, recognition.model_fields(config)


@pytest.mark.parametrize("name", SOURCES)
def test_every_format_says_the_same_model(name, tmp_path):
    source = tmp_path / "source"
    write(source, name)
    convert(source, tmp_path / "ours")
    (tmp_path / "ours" / ORIGIN).unlink()  # what is written is computed
    family = recognition.read_config(source)[0].family
    name_of_ours, model_type, expected = config_of(tmp_path / "ours")
    written = set()
    for each in recognition.FORMATS:
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
        convert(source, tmp_path / f"{each.name}, directly", to=each.name)
        assert verify(tmp_path / f"{each.name}, directly", there).same
        assert config_of(there) == (each.name, model_type, expected)
        convert(there, back)
        assert config_of(back) == (name_of_ours, model_type, expected)
        # What was written is a published checkpoint as any other: from the family it comes back byte for byte
        assert convert(back, tmp_path / f"{each.name}, again", to=each.name).restored
        assert (tmp_path / f"{each.name}, again/config.json").read_bytes() == (there / "config.json").read_bytes()
        assert_same_tensors(read_tensors(tmp_path / f"{each.name}, again"), read_tensors(there))
        found, ours = read_tensors(back), read_tensors(tmp_path / "ours")
        assert found.keys() == ours.keys()
        assert all(found[tensor].equal(ours[tensor]) for tensor in ours)
    assert written == FORMATS_OF[name]


LOADABLE = [
    *(("llama", to) for to in ("llama", "deci", "nemotron-nas")),
    ("nemotron-nas, A", "nemotron-nas"),
    ("deci, the trap", "deci"),
    *(("gpt-oss", to) for to in ("gpt_oss", "gpt_oss_puzzle")),
    ("gpt-oss, MXFP4", "gpt_oss"),
    ("gpt-oss-puzzle", "gpt_oss_puzzle"),
    ("Granite 4", "granitemoehybrid"),
    ("Granite 4, dense", "granitemoehybrid"),
    *((name, "nemotron_h") for name in ("Nemotron-H", "Nemotron 3 Nano", "Nemotron 3 Super", "Nemotron 3 Ultra")),
    *((name, "nemotron_h_puzzle") for name in ("Nemotron 3 Nano", "Nemotron Puzzle", "Nemotron Puzzle, backbone.")),
]


@pytest.mark.parametrize(("name", "to"), LOADABLE)
def test_what_is_written_loads(name, to, tmp_path):
    """By transformers' own class where it is the parent's format, else by ours: the same logits."""
    write(tmp_path / "source", name)
    convert(tmp_path / "source", tmp_path / "ours")
    (tmp_path / "ours" / ORIGIN).unlink()
    convert(tmp_path / "ours", tmp_path / "there", to=to)
    assert torch.equal(logits(tmp_path / "there"), logits(tmp_path / "ours"))


def test_blocks_have_the_members_that_servers_read():
    """Those of the published Super 49B, and its values: heads in a group, and multipliers that give the same widths."""
    found, config_dict = recognition.read_config(DATA / "nvidia--Llama-3_3-Nemotron-Super-49B-v1.json")
    config = recognition.family_config(found, config_dict, "published")
    written = found.write_config(config)
    for ours, theirs in zip(written["block_configs"], config_dict["block_configs"], strict=True):
        assert ours["attention"] == theirs["attention"]
        assert ours["ffn"].keys() == theirs["ffn"].keys()
        mults = (ours["ffn"]["ffn_mult"], theirs["ffn"]["ffn_mult"])
        widths = [mult and ffn_mult_to_intermediate_size(mult, config.hidden_size) for mult in mults]
        assert widths[0] == widths[1]


def test_help_names_all_formats():
    own = {family.config_class.model_type for family in (each.family for each in recognition.FORMATS)}
    told = next(each.metadata["help"] for each in fields(ConversionOptions) if each.name == "to")
    written = [each.name for each in recognition.FORMATS if each.write_config is not None]
    assert len(written) > 8 and all(name in told for name in written if name not in own)
