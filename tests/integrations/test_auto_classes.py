"""Checkpoints of transformers' own types whose layers differ: AutoConfig gets the family's config, stock ones stay as they are."""

import json
import subprocess
import sys

import pytest

import transformers
import transformers_heterogeneous
from transformers import AutoConfig, AutoModelForCausalLM
from transformers_heterogeneous.converters import summarise
from transformers_heterogeneous.integrations.auto_classes import form_of, note_auto

from ..converters.checkpoints import CHECKPOINTS
from ..converters.formats.test_llm_drop import CONFIGS, LISTS


OTHERS = {f"LLM-Drop {name}": {**config, **LISTS["numbers"]} for name, config in CONFIGS.items()}
OTHERS |= {
    name: checkpoint.config
    for name, checkpoint in CHECKPOINTS.items()
    if name.startswith("AnyModel") or "per_layer_config" in name or "pruned experts" in name
}
STOCK = {
    name: CHECKPOINTS[name].config
    for name in ("Qwen2", "Qwen3", "Qwen3-MoE", "Qwen3-Next", "Llama-4", "Mistral", "gpt-oss", "Nemotron 3 Nano")
}
STOCK |= {"Llama": {name: value for name, value in CONFIGS["Llama"].items() if name != "auto_map"}}


@pytest.fixture
def folder(config, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


@pytest.mark.parametrize("config", OTHERS.values(), ids=OTHERS)
def test_the_family_reads_what_its_parent_does_not(config, folder):
    found = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    assert found.model_type.startswith("heterogeneous_") and found.is_heterogeneous
    expected = type(found).from_pretrained(folder)
    assert found.to_dict() == {**expected.to_dict(), "_name_or_path": found.name_or_path}
    assert type(AutoModelForCausalLM.from_config(found)).__module__.startswith("transformers_heterogeneous.")
    parent = transformers.CONFIG_MAPPING[config["model_type"]]
    for read in (parent.from_pretrained, transformers.MODEL_FOR_CAUSAL_LM_MAPPING[parent].from_pretrained):
        with pytest.raises(
            ValueError, match=rf"a {config['model_type']} whose layers differ .*{type(found).__name__}"
        ):
            read(folder)


@pytest.mark.parametrize("config", STOCK.values(), ids=STOCK)
def test_a_stock_config_is_what_it_is_without_the_package(config, folder):
    code = f"from transformers import AutoConfig; print(AutoConfig.from_pretrained({str(folder)!r}).to_json_string(use_diff=False))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = AutoConfig.from_pretrained(folder)
    assert type(found).__module__.startswith("transformers.models.") and form_of(config) == ""
    assert found.to_json_string(use_diff=False) == done.stdout[:-1]


@pytest.mark.parametrize("name", ["Qwen2", "Qwen3", "Mistral", "Llama", "Nemotron 3 Nano"])
def test_lists_that_nobody_reads_are_no_stock_model(name, tmp_path):
    for field in ("layer_head_num", "layer_inter_size", "per_layer_num_experts"):
        (tmp_path / "config.json").write_text(json.dumps({**STOCK[name], field: [1, 2, 3]}))
        for read in (AutoConfig.from_pretrained, AutoModelForCausalLM.from_pretrained):
            with pytest.raises(ValueError, match=f"{field} of a .*: the layers differ, and nothing reads how"):
                read(tmp_path)
        summary = summarise(tmp_path)
        assert field in summary.unread and "and AutoModelForCausalLM refuses it" in summary.loading_note


def test_following_again_changes_nothing():
    before = AutoConfig.from_pretrained, transformers.Qwen3Config.from_dict
    note_auto()
    transformers_heterogeneous.register()
    assert (AutoConfig.from_pretrained, transformers.Qwen3Config.from_dict) == before
