"""Experts as other programs lay them out: Granite's one by one, which are read, and lists of linear maps, which are named."""

import pytest
import torch

from transformers_heterogeneous.converters import CheckpointError, convert, summarise, verify

from .checkpoints import CHECKPOINTS, logits
from .published import read_tensors, write_checkpoint


def one_by_one(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        moe, linear, _ = name.rpartition(".block_sparse_moe.")[0], name.split(".")[-2], None
        if ".block_sparse_moe." not in name or linear not in ("input_linear", "output_linear"):
            found[name] = tensor
            continue
        for expert, weight in enumerate(tensor):
            module = f"{moe}.block_sparse_moe.experts.{expert}"
            if linear == "output_linear":
                found[f"{module}.down_proj.weight"] = weight.clone()
            else:
                gate, up = weight.chunk(2)
                found |= {f"{module}.gate_proj.weight": gate.clone(), f"{module}.up_proj.weight": up.clone()}
    return found


def test_granites_experts_one_by_one(tmp_path):
    CHECKPOINTS["Granite 4"].write(tmp_path / "stacked")
    tensors = read_tensors(tmp_path / "stacked")
    single = one_by_one(tensors)
    assert len(single) > len(tensors)
    write_checkpoint(tmp_path / "single", CHECKPOINTS["Granite 4"].config, single)
    said = summarise(tmp_path / "single")
    assert said.loads_with is None and "experts lie one by one" in said.loading_note
    assert summarise(CHECKPOINTS["Granite 4"].write(tmp_path / "stock")).loads_with == "AutoModelForCausalLM"
    convert(tmp_path / "single", tmp_path / "ours")
    found = read_tensors(tmp_path / "ours")
    assert found.keys() == tensors.keys() and all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert verify(tmp_path / "single", tmp_path / "stacked").same
    convert(tmp_path / "stacked", tmp_path / "expected")
    assert torch.equal(logits(tmp_path / "ours"), logits(tmp_path / "expected"))
    single.popitem()
    write_checkpoint(tmp_path / "less", CHECKPOINTS["Granite 4"].config, single)
    with pytest.raises(CheckpointError):
        convert(tmp_path / "less", tmp_path / "no")


def test_lists_of_linear_maps_are_named_in_one_line(tmp_path):
    CHECKPOINTS["gpt-oss"].write(tmp_path / "source")
    tensors = {
        name.replace("gate_up_proj", "gate_up_projs.0"): tensor
        for name, tensor in read_tensors(tmp_path / "source").items()
    }
    write_checkpoint(tmp_path / "lists", CHECKPOINTS["gpt-oss"].config, tensors)
    with pytest.raises(CheckpointError, match="experts as lists of linear maps") as error:
        convert(tmp_path / "lists", tmp_path / "ours")
    said = summarise(tmp_path / "lists")
    assert said.loads_with is None and "experts as lists of linear maps" in said.loading_note
    assert len(str(error.value).splitlines()) == 2 and not (tmp_path / "ours").exists()
