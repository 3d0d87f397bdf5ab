"""LLM-Drop's layout: a Llama or Mistral whose config names the blocks that its own code drops, the weights of all of them in the files."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import transformers
import transformers_heterogeneous
from transformers_heterogeneous.converters import CheckpointError, convert, summarise

from ..published import LAYER_0, LLAMA_GLOBALS, read_tensors, tensors_of, write_checkpoint


CONFIG = {
    **LLAMA_GLOBALS,
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "auto_map": {
        "AutoConfig": "configuration_dropped_llama.LlamaConfig",
        "AutoModelForCausalLM": "modeling_dropped_llama.LlamaForCausalLM",
    },
    "num_hidden_layers": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 256,
}
TENSORS = tensors_of([LAYER_0] * 4)
# The same of each parent, by the prefix of its classes
CONFIGS: dict[str, dict[str, Any]] = {
    "Llama": CONFIG,
    "Mistral": {
        **{name: value for name, value in CONFIG.items() if name not in ("attention_bias", "mlp_bias")},
        **{"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": 5},
        "auto_map": {
            "AutoConfig": "configuration_dropped_mistral.MistralConfig",
            "AutoModelForCausalLM": "modeling_dropped_mistral.MistralForCausalLM",
        },
    },
}
# Layers by their numbers, as people write them, and one flag for each, as LLM-Drop's own config class saves them
LISTS = {
    "numbers": {"drop_attn_list": [2, 1], "drop_mlp_list": [3, 2]},
    "flags": {"drop_attn_list": [False, True, True, False], "drop_mlp_list": [False, False, True, True]},
    "one": {"drop_attn_list": [0], "drop_mlp_list": None},
}
DROPPED = {"numbers": ([1, 2], [2, 3]), "flags": ([1, 2], [2, 3]), "one": ([0], [])}
PUBLISHED = json.loads((Path(__file__).parents[2] / "data/published/configs.json").read_text())
DROPS = [each for each in PUBLISHED if each["name"].startswith(("llama2-13b_drop", "mistral_drop"))]


class Nothing(torch.nn.Module):
    """Adds nothing to the residual stream."""

    def forward(self, hidden_states, **kwargs):
        return torch.zeros_like(hidden_states), None


class NoMLP(torch.nn.Module):
    def forward(self, hidden_states):
        return torch.zeros_like(hidden_states)


@torch.no_grad()
def by_hand(parent: str, attention: list[int], mlp: list[int]) -> torch.Tensor:
    """A stock model some of whose blocks add nothing."""
    fields = {name: value for name, value in CONFIGS[parent].items() if name not in ("auto_map", "model_type")}
    config = getattr(transformers, f"{parent}Config")(**fields)
    model = getattr(transformers, f"{parent}ForCausalLM")(config).eval()
    model.load_state_dict({name: tensor.float() for name, tensor in TENSORS.items()})
    for layer_idx in attention:
        model.model.layers[layer_idx].self_attn = Nothing()
    for layer_idx in mlp:
        model.model.layers[layer_idx].mlp = NoMLP()
    return model(torch.arange(9)[None], use_cache=False).logits


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("parent", CONFIGS)
@torch.no_grad()
def test_it_is_the_parent_without_these_blocks(parent, kind, tmp_path):
    write_checkpoint(tmp_path / "source", {**CONFIGS[parent], **LISTS[kind]}, TENSORS)
    report = convert(tmp_path / "source", tmp_path / "ours")
    attention, mlp = DROPPED[kind]
    modules = [(layer, name) for layer in attention for name in ("self_attn", "input_layernorm")]
    modules += [(layer, name) for layer in mlp for name in ("mlp", "post_attention_layernorm")]
    beginnings = tuple(f"model.layers.{layer}.{name}." for layer, name in modules)
    kept = {name: tensor for name, tensor in TENSORS.items() if not name.startswith(beginnings)}
    written = read_tensors(tmp_path / "ours")
    assert written.keys() == kept.keys() and all(torch.equal(written[name], kept[name]) for name in kept)
    assert {tensor.name for tensor in report.dropped} == TENSORS.keys() - kept.keys()
    said = {"numbers": "drop_attn_list and drop_mlp_list", "flags": "drop_attn_list and drop_mlp_list"}
    reason = f"skipped by {said.get(kind, 'drop_attn_list')} in config.json"
    assert {tensor.reason for tensor in report.dropped} == {reason}
    expected = by_hand(parent, attention, mlp)
    model_class = getattr(transformers_heterogeneous, f"Heterogeneous{parent}ForCausalLM")
    for folder in ("ours", "source"):  # converted, and as it was published
        model = model_class.from_pretrained(tmp_path / folder, dtype=torch.float32)
        assert torch.equal(model(torch.arange(9)[None], use_cache=False).logits, expected)


@pytest.mark.parametrize("each", DROPS, ids=lambda each: each["name"])
def test_published_configs(each, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(each["config"]))
    name = "Llama" if each["config"]["model_type"] == "llama" else "Mistral"
    config = getattr(transformers_heterogeneous, f"Heterogeneous{name}Config").from_pretrained(tmp_path)
    for name, types in (("drop_attn_list", config.mixer_types), ("drop_mlp_list", config.mlp_types)):
        found = [layer_idx for layer_idx, kind in enumerate(types) if kind == "none"]
        assert found == sorted(each["config"][name] or [])
    summary = summarise(tmp_path)
    assert summary.format == "llm_drop" and summary.unread == ()


@pytest.mark.parametrize("name", ["mistral_drop4_attn", "mistral_drop8_mlp"])
def test_another_family_refuses_it_by_field(name):
    config = next(each["config"] for each in DROPS if each["name"] == name)
    with pytest.raises(ValueError, match=r"(drop_attn_list|drop_mlp_list) describes layers of a mistral"):
        transformers_heterogeneous.HeterogeneousLlamaConfig.from_dict(config)


@pytest.mark.parametrize("layers", [[4], [-1], ["1"], "1, 2", [True], [True, 1, 2, 3], 3, [1.0], {"1": True}], ids=str)
def test_lists_that_say_nothing_sensible(layers, tmp_path):
    write_checkpoint(tmp_path / "source", {**CONFIG, "drop_attn_list": layers, "drop_mlp_list": [9]}, TENSORS)
    needed = "a list of layers, 0 to 3, or of 4 times true or false is needed"
    with pytest.raises(CheckpointError) as error:
        convert(tmp_path / "source", tmp_path / "ours")
    assert f"drop_attn_list = {layers}: {needed}" in str(error.value)
    assert re.search(rf"drop_mlp_list = \[9\]: {needed}", str(error.value))
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize("nothing", [None, []], ids=str)
def test_without_lists_it_is_a_llama(nothing, tmp_path):
    write_checkpoint(tmp_path / "source", {**CONFIG, "drop_attn_list": nothing, "drop_mlp_list": None}, TENSORS)
    assert summarise(tmp_path / "source").format == "llama"
