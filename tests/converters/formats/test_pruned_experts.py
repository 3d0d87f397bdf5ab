"""Expert prunings that say in a list how many experts a layer has kept: the same model as put together of stock layers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from transformers import AutoModelForCausalLM
from transformers_heterogeneous import (
    HeterogeneousConfigError,
    HeterogeneousQwen3MoeForCausalLM,
    HeterogeneousQwen3NextForCausalLM,
)
from transformers_heterogeneous.converters import CheckpointError, convert, summarise, verify

from ...generated.llama_shaped import stock_model
from ...generated.stock_qwen3_next import StockModel
from .. import published_families as published
from ..checkpoints import CHECKPOINTS, TOKENS
from ..published import read_tensors, write_checkpoint


TENSORS = published.random_tensors(published.llama_like(published.QWEN3_MOE_PRUNED_LAYERS))
BOTH = {"per_layer_num_experts": [3, 4, 2], "num_experts_per_layer": [3, 4, 2]}


def write(folder: Path, **lists: Any) -> Path:
    write_checkpoint(folder, {**published.QWEN3_MOE, **lists}, TENSORS)
    return folder


def stacked(tensors: dict[str, torch.Tensor], counts: dict[int, int]) -> dict[str, torch.Tensor]:
    """Experts as the models have them."""
    found = {name: tensor for name, tensor in tensors.items() if ".experts." not in name}
    for layer, num in counts.items():
        prefix = f"model.layers.{layer}.mlp.experts"
        parts = {
            part: torch.stack([tensors[f"{prefix}.{expert}.{part}_proj.weight"] for expert in range(num)])
            for part in ("gate", "up", "down")
        }
        found[f"{prefix}.gate_up_proj"] = torch.cat([parts["gate"], parts["up"]], dim=1)
        found[f"{prefix}.down_proj"] = parts["down"]
    return found


@torch.no_grad()
def by_hand() -> torch.Tensor:
    names = ("vocab_size", "hidden_size", "head_dim", "num_hidden_layers", "rope_theta", "rms_norm_eps")
    fields = {name: published.QWEN3_MOE[name] for name in (*names, "norm_topk_prob", "num_experts_per_tok")}
    fields |= {"mlp_types": ["moe", "dense", "moe"], "num_experts": [3, None, 2], "intermediate_size": 48}
    fields |= {"num_attention_heads": 4, "num_key_value_heads": [2, 2, 2], "moe_intermediate_size": 16}
    model = stock_model("Qwen3Moe")(fields)
    model.load_state_dict(stacked(TENSORS, {0: 3, 2: 2}))
    return model(TOKENS)


@pytest.mark.parametrize("lists", [{name: BOTH[name]} for name in BOTH] + [BOTH], ids=lambda lists: "+".join(lists))
@torch.no_grad()
def test_it_is_the_parent_with_fewer_experts(lists, tmp_path):
    source = write(tmp_path / "source", **lists)
    summary = summarise(source)
    assert (summary.format, summary.unread) == ("pruned_experts", ())
    assert [layer.num_experts for layer in summary.layers] == [3, None, 2]
    convert(source, tmp_path / "ours")
    assert verify(source, tmp_path / "ours").same and len(read_tensors(tmp_path / "ours"))
    for folder in (source, tmp_path / "ours"):
        model = HeterogeneousQwen3MoeForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
        assert model.config.num_experts == [3, None, 2]
        assert torch.equal(model(TOKENS).logits, by_hand())


@torch.no_grad()
def test_qwen3_next_with_fewer_experts(tmp_path):
    """As the tool that prunes it writes it: the number of experts that there were, twice, and the list."""
    checkpoint = CHECKPOINTS["Qwen3-Next, pruned experts"]
    counts, source = published.QWEN3_NEXT_EXPERTS, checkpoint.write(tmp_path / "source")
    assert summarise(source).format == "pruned_experts"
    ours = ("mlp_only_layers", "architectures", "model_type", "full_attention_interval", "torch_dtype")
    fields = {name: value for name, value in published.QWEN3_NEXT.items() if name not in ours}
    fields |= {"layer_types": ["linear_attention", "full_attention"] * 2, "num_experts": counts, "pad_token_id": None}
    model = StockModel(fields)
    model.load_state_dict(stacked(checkpoint.tensors, dict(enumerate(counts))))
    expected = model(TOKENS)
    convert(source, tmp_path / "ours")
    for folder in (source, tmp_path / "ours"):
        for make in (AutoModelForCausalLM, HeterogeneousQwen3NextForCausalLM):
            loaded = make.from_pretrained(folder, attn_implementation="eager").eval()
            assert type(loaded) is HeterogeneousQwen3NextForCausalLM and loaded.config.num_experts == counts
            assert torch.equal(loaded(TOKENS).logits, expected)


def test_what_is_written_has_the_list_and_the_most(tmp_path):
    source = write(tmp_path / "source", num_experts_per_layer=[3, 4, 2])
    convert(source, tmp_path / "ours")
    (tmp_path / "ours/hetero_origin.json").unlink()
    convert(tmp_path / "ours", tmp_path / "back", to="pruned_experts")
    config = json.loads((tmp_path / "back/config.json").read_text())
    assert (config["num_experts"], config["per_layer_num_experts"]) == (3, [3, 3, 2])
    assert config["model_type"] == "qwen3_moe" and verify(source, tmp_path / "back").same


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        (
            {"num_experts_per_layer": 64},
            "num_experts_per_layer = 64: a list with one number of experts a layer is needed",
        ),
        ({"per_layer_num_experts": [3, None, 2]}, "per_layer_num_experts = [3, None, 2]: a list with one number"),
        ({"per_layer_num_experts": [3, 2]}, "num_experts has 2 entries, num_hidden_layers is 3"),
        ({"per_layer_num_experts": [3, 4, 1]}, "num_experts_per_tok = 2 is more than num_experts = 1"),
        ({**BOTH, "num_experts_per_layer": [3, 4, 3]}, "per_layer_num_experts and num_experts_per_layer contradict"),
        ({"per_layer_num_experts": [3, 4, 3]}, "model.layers.2.mlp.experts.2.down_proj.weight"),
    ],
    ids=str,
)
def test_lists_that_do_not_fit(lists, said, tmp_path):
    with pytest.raises(CheckpointError) as error:
        convert(write(tmp_path / "source", **lists), tmp_path / "ours")
    assert said in str(error.value) and not (tmp_path / "ours").exists()


def test_a_class_reads_the_list_too():
    config = {**published.QWEN3_MOE, "per_layer_num_experts": "many"}
    with pytest.raises(HeterogeneousConfigError, match="per_layer_num_experts = many"):
        HeterogeneousQwen3MoeForCausalLM.config_class.from_dict(config)
