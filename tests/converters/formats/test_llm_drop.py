"""LLM-Drop's layout: a Llama whose config names the blocks that its own code drops, the weights of all of them in the files."""

import json
import re
from pathlib import Path

import pytest
import torch

from transformers import LlamaConfig, LlamaForCausalLM
from transformers_heterogeneous import HeterogeneousLlamaConfig, HeterogeneousLlamaForCausalLM
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
# Layers by their numbers, as people write them, and one flag for each, as LLM-Drop's own config class saves them
LISTS = {
    "numbers": {"drop_attn_list": [2, 1], "drop_mlp_list": [3, 2]},
    "flags": {"drop_attn_list": [False, True, True, False], "drop_mlp_list": [False, False, True, True]},
    "one": {"drop_attn_list": [0], "drop_mlp_list": None},
}
DROPPED = {"numbers": ([1, 2], [2, 3]), "flags": ([1, 2], [2, 3]), "one": ([0], [])}
PUBLISHED = json.loads((Path(__file__).parents[2] / "data/published/configs.json").read_text())
LLAMAS = [each for each in PUBLISHED if each["name"].startswith("llama2-13b_drop")]
MISTRALS = [each for each in PUBLISHED if each["name"].startswith("mistral_drop")]


class Nothing(torch.nn.Module):
    """Adds nothing to the residual stream."""

    def forward(self, hidden_states, **kwargs):
        return torch.zeros_like(hidden_states), None


class NoMLP(torch.nn.Module):
    def forward(self, hidden_states):
        return torch.zeros_like(hidden_states)


@torch.no_grad()
def by_hand(attention: list[int], mlp: list[int]) -> torch.Tensor:
    """A stock Llama some of whose blocks add nothing."""
    fields = {name: value for name, value in CONFIG.items() if name not in ("auto_map", "model_type")}
    model = LlamaForCausalLM(LlamaConfig(**fields)).eval()
    model.load_state_dict({name: tensor.float() for name, tensor in TENSORS.items()})
    for layer_idx in attention:
        model.model.layers[layer_idx].self_attn = Nothing()
    for layer_idx in mlp:
        model.model.layers[layer_idx].mlp = NoMLP()
    return model(torch.arange(9)[None], use_cache=False).logits


@pytest.mark.parametrize("kind", LISTS)
@torch.no_grad()
def test_it_is_the_llama_without_these_blocks(kind, tmp_path):
    write_checkpoint(tmp_path / "source", {**CONFIG, **LISTS[kind]}, TENSORS)
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
    expected = by_hand(attention, mlp)
    for folder in ("ours", "source"):  # converted, and as it was published
        model = HeterogeneousLlamaForCausalLM.from_pretrained(tmp_path / folder, dtype=torch.float32)
        assert torch.equal(model(torch.arange(9)[None], use_cache=False).logits, expected)


@pytest.mark.parametrize("each", LLAMAS, ids=lambda each: each["name"])
def test_published_configs(each, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(each["config"]))
    config = HeterogeneousLlamaConfig.from_pretrained(tmp_path)
    for name, types in (("drop_attn_list", config.mixer_types), ("drop_mlp_list", config.mlp_types)):
        found = [layer_idx for layer_idx, kind in enumerate(types) if kind == "none"]
        assert found == sorted(each["config"][name] or [])
    summary = summarise(tmp_path)
    assert summary.format == "llm_drop" and summary.unread == ()


@pytest.mark.parametrize("each", MISTRALS, ids=lambda each: each["name"])
def test_a_mistral_is_refused_by_field(each):
    with pytest.raises(ValueError, match=r"(drop_attn_list|drop_mlp_list) describes layers of a mistral"):
        HeterogeneousLlamaConfig.from_dict(each["config"])


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
