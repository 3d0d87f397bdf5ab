"""Expert prunings that say in a list how many experts a layer has kept: the same model as put together of stock layers."""

from pathlib import Path
from typing import Any

import pytest
import torch

from transformers_heterogeneous import HeterogeneousConfigError, HeterogeneousQwen3MoeForCausalLM
from transformers_heterogeneous.converters import CheckpointError, convert, summarise, verify

from ...generated.llama_shaped import stock_model
from .. import published_families as published
from ..checkpoints import TOKENS
from ..published import read_tensors, write_checkpoint


TENSORS = published.random_tensors(published.llama_like(published.QWEN3_MOE_PRUNED_LAYERS))
BOTH = {"per_layer_num_experts": [3, 4, 2], "num_experts_per_layer": [3, 4, 2]}


def write(folder: Path, **lists: Any) -> Path:
    write_checkpoint(folder, {**published.QWEN3_MOE, **lists}, TENSORS)
    return folder


def stacked(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Experts as the models have them."""
    found = {name: tensor for name, tensor in tensors.items() if ".experts." not in name}
    for layer, num in ((0, 3), (2, 2)):
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
    model.load_state_dict(stacked(TENSORS))
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
