"""`--fuse`: the fused layout on disk, loaded, verified, and back again."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import transformers_heterogeneous  # noqa: F401  (registers the families)
from transformers import AutoModelForCausalLM
from transformers_heterogeneous.converters import CheckpointError, convert, verify
from transformers_heterogeneous.scripts.command.cli import app

from .checkpoints import CHECKPOINTS
from .published import LAYERS, read_tensors, tensors_of, write_checkpoint


TOKENS = torch.randint(0, 90, (1, 9), generator=torch.Generator().manual_seed(4))
# Checkpoint -> where a fused norm lies on disk, in its first layer
MODULES = {"llama": "mlp", "gpt-oss-puzzle": "mlp", "Granite 4, dense": "shared_mlp"}


def write(name: str, folder: Path) -> Path:
    if name != "llama":
        return CHECKPOINTS[name].write(folder)
    write_checkpoint(folder, tensors={key: tensor.float() for key, tensor in tensors_of(LAYERS).items()})
    return folder


def logits(folder: Path, **kwargs) -> torch.Tensor:
    model, report = AutoModelForCausalLM.from_pretrained(
        folder, output_loading_info=True, attn_implementation="eager", dtype=torch.float32, **kwargs
    )
    assert not any(report.values()), report
    with torch.no_grad():
        return model.eval()(TOKENS).logits


@pytest.mark.parametrize(("name", "module"), MODULES.items(), ids=MODULES.keys())
def test_the_fused_layout_and_back(name, module, tmp_path):
    source = write(name, tmp_path / "source")
    plain, fused, again = (tmp_path / folder for folder in ("plain", "fused", "again"))
    convert(source, plain)
    convert(source, fused, fuse="norm_mlp:all")
    ordinary, moved = "model.layers.0.post_attention_layernorm.weight", f"model.layers.0.{module}.norm.weight"
    tensors = read_tensors(fused)
    assert moved in tensors and ordinary not in tensors
    assert torch.equal(tensors[moved], read_tensors(plain)[ordinary])
    expected = logits(plain)
    assert torch.equal(logits(fused), expected)
    assert torch.equal(logits(fused, fused_blocks="none"), expected)
    assert not verify(fused, source).differences
    convert(fused, again)
    assert read_tensors(again).keys() == read_tensors(plain).keys()
    assert torch.equal(logits(again), expected)
    published = convert(fused, tmp_path / "published", to=convert(source, tmp_path / "x", dry_run=True).format)
    assert published.restored
    assert (tmp_path / "published" / "config.json").read_bytes() == (source / "config.json").read_bytes()
    assert read_tensors(tmp_path / "published").keys() == read_tensors(source).keys()


def test_add_norm_moves_nothing(tmp_path):
    source = write("llama", tmp_path / "source")
    convert(source, tmp_path / "plain")
    convert(source, tmp_path / "fused", fuse=["add_norm:0"])
    assert read_tensors(tmp_path / "fused").keys() == read_tensors(tmp_path / "plain").keys()
    assert torch.equal(logits(tmp_path / "fused"), logits(tmp_path / "plain"))


SKIPPED = [
    ("llama", "norm_mlp:all", "mlp:1", [0]),
    ("llama", "norm_mlp:all", "attention:0", [0, 1]),
    ("llama", "add_norm:0,3", "attention:0", [3]),
    ("gpt-oss-puzzle", "norm_mlp:all", "mlp:1", [0, 2]),
    ("Granite 4", "add_norm:all", "mamba:0", [1, 2]),
    ("Granite 4, dense", "norm_mlp:all", "mlp:1", [0, 2]),
]


@pytest.mark.parametrize(("name", "fuse", "skip", "left"), SKIPPED)
def test_what_is_skipped_is_fused_no_more(name, fuse, skip, left, tmp_path):
    source = write(name, tmp_path / "source")
    convert(source, tmp_path / "fused", fuse=fuse)
    convert(tmp_path / "fused", tmp_path / "thin", skip=skip)
    fused_blocks = json.loads((tmp_path / "thin" / "config.json").read_text())["fused_blocks"]
    assert [layer for layer, fused_block in enumerate(fused_blocks) if fused_block != "none"] == left
    convert(source, tmp_path / "plain", skip=skip)
    assert verify(tmp_path / "thin", tmp_path / "plain").same
    assert torch.equal(logits(tmp_path / "thin"), logits(tmp_path / "plain"))
    convert(
        tmp_path / "fused", tmp_path / "published", skip=skip, to="per_layer_config" if name != "llama" else "anymodel"
    )
    assert verify(tmp_path / "published", tmp_path / "plain").same


def test_the_last_fused_layer_may_be_skipped(tmp_path):
    convert(write("llama", tmp_path / "source"), tmp_path / "fused", fuse="norm_mlp:1")
    convert(tmp_path / "fused", tmp_path / "thin", skip="mlp:1")
    assert "fused_blocks" not in json.loads((tmp_path / "thin" / "config.json").read_text())


def test_every_mistake_is_named(tmp_path):
    source, target = write("llama", tmp_path / "source"), tmp_path / "target"
    with pytest.raises(CheckpointError) as error:
        convert(source, target, fuse=["norm_mlp:0,2", "both:all", "add_norm:7-9"])
    for words in ("layer 2 has no such blocks", "there is no 'both'", "'7-9': layers are 0-4"):
        assert words in str(error.value)
    result = CliRunner().invoke(app, ["convert", str(source), str(target), "--fuse", "norm_mlp:x"])
    assert result.exit_code == 2
    with pytest.raises(CheckpointError, match="nemotron-nas has no words for fused blocks"):
        convert(source, target, to="nemotron-nas", fuse="norm_mlp:all")
    nemotron = CHECKPOINTS["Nemotron 3 Nano"].write(tmp_path / "nemotron")
    with pytest.raises(CheckpointError, match="there is no 'norm_mlp' in heterogeneous_nemotron_h"):
        convert(nemotron, target, fuse="norm_mlp:all")
    assert not target.exists()
