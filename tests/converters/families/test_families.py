"""Checkpoints of gpt-oss, Granite 4 and Nemotron-H in their published layouts: converted, and loaded as they are."""

import pytest
import torch

from transformers_heterogeneous.converters import convert

from ..checkpoints import CHECKPOINTS, logits
from ..published import read_tensors


every_checkpoint = pytest.mark.parametrize("checkpoint", CHECKPOINTS.values(), ids=CHECKPOINTS.keys())


@every_checkpoint
def test_converted_and_unconverted_give_the_same_logits(checkpoint, tmp_path):
    source = checkpoint.write(tmp_path / "source")
    report = convert(source, tmp_path / "converted")
    assert report.model_type == checkpoint.model_type
    converted = logits(tmp_path / "converted")
    assert converted.isfinite().all() and converted.std() > 0
    if checkpoint.unconverted:
        assert torch.equal(converted, logits(source))


@every_checkpoint
def test_no_tensor_is_lost(checkpoint, tmp_path):
    source = checkpoint.write(tmp_path / "source")
    report = convert(source, tmp_path / "converted")
    expected = {name.replace("backbone.", "model."): tensor for name, tensor in checkpoint.tensors.items()}
    found = read_tensors(tmp_path / "converted")
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name
    named = {tensor.name for tensor in report.unused}
    assert set(checkpoint.unused) <= named
    assert named <= {name for name in expected if name.startswith("mtp.") or name.endswith("_scale")}
