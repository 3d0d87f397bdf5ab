"""
Configs of transformers' own types with fields that describe layers and that nobody reads: refused, by name, and told of.

`data/published/configs.json` has what `config.json` of published checkpoints says, where each was found, and which of its fields
say that the model is another one than its type's.
"""

import json
from pathlib import Path
from typing import Any

import pytest

import transformers_heterogeneous as families
from transformers import logging
from transformers_heterogeneous.converters import CheckpointError, convert, summarise
from transformers_heterogeneous.converters.formats import recognition

from ..checkpoints import CHECKPOINTS
from ..published import CONFIG, write_checkpoint


PUBLISHED = json.loads((Path(__file__).parents[2] / "data/published/configs.json").read_text())
NAMES = [f"{number} {each['name']}" for number, each in enumerate(PUBLISHED)]
LLAMA = {name: value for name, value in CONFIG.items() if name not in ("block_configs", "auto_map")}
LLAMA |= {"model_type": "llama", "num_key_value_heads": 2, "intermediate_size": 256}
# A small config of each type that transformers has and a family reads, and the class that reads it
STOCK_NAMES = {"Qwen2": "Qwen2", "Qwen3": "Qwen3", "Mistral": "Mistral"}
STOCK_NAMES |= {"gpt-oss": "GptOss", "Granite 4": "GraniteMoeHybrid", "Nemotron 3 Nano": "NemotronH"}
STOCK = {"llama": LLAMA, **{name: CHECKPOINTS[name].config for name in STOCK_NAMES}}
# What tools that prune and search write -> as they write it
DESCRIPTIONS: dict[str, Any] = {
    "skip_attn_list": [1, 2],
    "begin_pruned_layer": 1,
    "end_pruned_layer": 3,
    "layer_head_num": [4, 2, 0, 4],
    "num_experts_per_layer": 64,
    "skip_layer": 0,
    "last_kept": -1,
    "layer_names": {"a": "b"},
    "removed": "1, 3",
    "pruned_heads": {"1": [0]},
}


@pytest.fixture(autouse=True)
def quiet():
    """Some of the published types are none of a family's."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    yield
    logging.set_verbosity(before)


def reader_of(config: dict[str, Any]) -> Any:
    return recognition.recognise(config, "config.json").family.config_class


def test_there_are_enough():
    whole = [each for each in PUBLISHED if not each["unread"]]
    assert len(whole) > 50 and len(PUBLISHED) > len(whole)
    assert {each["config"]["model_type"] for each in whole} >= {"llama", "mistral", "gpt_oss", "granitemoehybrid"}


@pytest.mark.parametrize("published", PUBLISHED, ids=NAMES)
def test_published_configs(published, tmp_path):
    """From a folder and from a dict, by the class and by the converters: none of the whole ones is refused."""
    config, unread = published["config"], published["unread"]
    config_class = reader_of(config)
    (tmp_path / "config.json").write_text(json.dumps(config))
    for read in (lambda: config_class.from_dict(config), lambda: config_class.from_pretrained(tmp_path)):
        if not unread:
            assert read().num_hidden_layers == config.get(
                "num_hidden_layers", len(config.get("layers_block_type", ()))
            )
            continue
        with pytest.raises(families.HeterogeneousConfigError) as error:
            read()
        assert sorted(error.value.fields) == sorted(unread) and all(name in str(error.value) for name in unread)
    if "drop_mlp_list" in config:
        summary = summarise(tmp_path)
        assert summary.unread == () and summary.loads_with == "AutoModelForCausalLM"


@pytest.mark.parametrize("name", DESCRIPTIONS)
@pytest.mark.parametrize("stock", STOCK)
def test_every_kind(stock, name, tmp_path):
    config = {**STOCK[stock], name: DESCRIPTIONS[name]}
    config_class = reader_of(config)
    (tmp_path / "config.json").write_text(json.dumps(config))
    for read in (lambda: config_class.from_dict(config), lambda: config_class.from_pretrained(tmp_path)):
        with pytest.raises(families.HeterogeneousConfigError, match=f"{name} = "):
            read()
    assert summarise(tmp_path).unread == (name,)


@pytest.mark.parametrize("stock", STOCK)
def test_what_says_nothing_of_layers(stock):
    """Flags, words, sizes of other things, and what tools and older releases are known to write."""
    said = {"unsloth_version": "2025.3", "unsloth_fixed": True, "max_seq_len": 2048, "seed": 3, "scale": 0.5}
    said |= {"quantization": {"bits": 4}, "drop_attn_list": [], "drop_mlp_list": None, "image_token_id": 2, "top_k": 3}
    said |= {"transformers.js_config": {"dtype": "q4"}, "pruned_heads": {}, "commit": "0123456789abcdef"}
    config = {**STOCK[stock], **said}
    reader_of(config).from_dict(config)


def test_a_letter_for_each_layer():
    config = {**LLAMA, "num_hidden_layers": 12}
    families.HeterogeneousLlamaConfig.from_dict({**config, "md5": "0123456789ab"})
    with pytest.raises(families.HeterogeneousConfigError, match="layout = AAAFAAAFAAAF"):
        families.HeterogeneousLlamaConfig.from_dict({**config, "layout": "AAAFAAAFAAAF"})


@pytest.mark.parametrize("stock", STOCK)
def test_code_of_its_own(stock, tmp_path):
    config = STOCK[stock]
    config_class = reader_of(config)
    stock_name = STOCK_NAMES.get(stock, "Llama")
    own = {"AutoConfig": f"a.{stock_name}Config", "AutoModelForCausalLM": f"org/name--b.{stock_name}ForCausalLM"}
    config_class.from_dict({**config, "auto_map": {**own, "AutoTokenizer": ["c.AnyTokenizer", None]}})
    for foreign in ("b.DroppedForCausalLM", f"b.{stock_name}SkippingForCausalLM"):
        members = {**config, "auto_map": {**own, "AutoModelForCausalLM": foreign}}
        (tmp_path / "config.json").write_text(json.dumps(members))
        for read in (lambda: config_class.from_dict(members), lambda: config_class.from_pretrained(tmp_path)):  # noqa: B023
            with pytest.raises(families.HeterogeneousConfigError, match=f"auto_map names {foreign}"):
                read()
        assert summarise(tmp_path).unread == ("auto_map",)


def test_blocks_of_another_type():
    """The readers of blocks are asked where a family knows the type; a Qwen has norms that Llama does not."""
    members = {name: value for name, value in CONFIG.items() if name != "auto_map"}
    with pytest.raises(families.HeterogeneousConfigError, match="block_configs describes layers of a qwen3"):
        families.HeterogeneousLlamaConfig.from_dict({**members, "model_type": "qwen3"})


def test_what_a_user_notes_is_read_again(tmp_path):
    """In a family's own config: all but what describes layers beyond doubt."""
    config = families.HeterogeneousLlamaConfig.from_dict(LLAMA)
    config.notes, config.stage, config.files = {"who": "me"}, 2, ["a", "b"]
    config.save_pretrained(tmp_path)
    assert families.HeterogeneousLlamaConfig.from_pretrained(tmp_path).notes == {"who": "me"}
    assert summarise(tmp_path).unread == ()
    config.widths = [1] * config.num_hidden_layers
    config.save_pretrained(tmp_path)
    with pytest.raises(families.HeterogeneousConfigError, match="widths = "):
        families.HeterogeneousLlamaConfig.from_pretrained(tmp_path)


def test_convert_writes_nothing(tmp_path):
    write_checkpoint(tmp_path / "source", {**LLAMA, "skip_attn_list": [1]})
    with pytest.raises(CheckpointError, match=r"config\.json: (?s:.*)skip_attn_list = \[1\] may describe the layers"):
        convert(tmp_path / "source", tmp_path / "ours")
    assert not (tmp_path / "ours").exists()
