"""`hetero verify`: the same model is found to be the same in every form, and the first difference is named."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from transformers import AutoModelForCausalLM
from transformers_heterogeneous.converters import CheckpointError, convert, verify
from transformers_heterogeneous.scripts.command.cli import app

from .checkpoints import CHECKPOINTS
from .published import write_checkpoint
from .toy_family import MXFP4, packed, random_tensors, stacked_experts, write_toy


pytestmark = pytest.mark.usefixtures("toy")
EMBEDDING = "backbone.embeddings.weight"


@pytest.fixture
def source(tmp_path) -> Path:
    write_toy(tmp_path / "published", random_tensors())
    return tmp_path / "published"


WISHES = [{}, {"experts": "stacked"}, {"max_shard_size": "30KB"}, {"to": "toy_parts"}, {"to": "toy_published"}]


@pytest.mark.parametrize("wishes", WISHES, ids=str)
def test_every_form_is_the_same_model(source, tmp_path, wishes):
    convert(source, tmp_path / "converted", **wishes)
    comparison = verify(source, tmp_path / "converted")
    assert comparison.same and comparison.num_tensors == len(random_tensors())
    assert comparison.digest == verify(tmp_path / "converted", source).digest


def test_digest_is_that_of_the_tensors(source):
    lines = ""
    for name, tensor in sorted(random_tensors().items()):
        digest = hashlib.sha256(tensor.view(torch.uint8).numpy().tobytes()).hexdigest()
        dtype = {torch.bfloat16: "BF16", torch.float32: "F32"}[tensor.dtype]
        lines += f"{name.replace('backbone.', 'model.')} {dtype} {list(tensor.shape)} {digest}\n"
    assert verify(source, source).digest == hashlib.sha256(lines.encode()).hexdigest()


def test_first_differing_element_is_named(source, tmp_path, monkeypatch):
    """In a later chunk than the first, with the files on both sides."""
    monkeypatch.setattr("transformers_heterogeneous.converters.engine.rendering.CHUNK", 1024)
    tensors = random_tensors()
    tensors[EMBEDDING][70, 5] += 1
    tensors[EMBEDDING][90, 5] += 1
    write_toy(tmp_path / "other", tensors, num_files=1)
    (difference,) = verify(source, tmp_path / "other").differences
    assert difference.name == "model.embeddings.weight"
    assert difference.first == f"'{EMBEDDING}' in model-00001-of-00002.safetensors"
    assert difference.second == f"'{EMBEDDING}' in model-00001-of-00001.safetensors"
    byte, element = difference.problem.removeprefix("differs from byte ").split(" on, element ")
    assert int(byte.replace(",", "").rstrip()) // 2 == 70 * 64 + 5 and element == "[70, 5]"


def test_one_expert_of_a_stack(source, tmp_path):
    tensors = stacked_experts(random_tensors())
    tensors["backbone.layers.1.experts.up_proj"][2, 0, 0] += 1
    write_toy(tmp_path / "other", tensors)
    (difference,) = verify(source, tmp_path / "other").differences
    assert difference.name == "model.layers.1.experts.2.up_proj.weight"
    assert "'backbone.layers.1.experts.up_proj' in " in str(difference.second)


def test_other_dtypes_extra_tensors_and_configs(source, tmp_path):
    tensors = random_tensors()
    tensors[EMBEDDING] = tensors[EMBEDDING].float()
    write_toy(tmp_path / "other", tensors | {"mtp.w": torch.ones(2)}, {"dtype": "float16"})
    found = {difference.name: difference for difference in verify(source, tmp_path / "other").differences}
    assert found.keys() == {"config.dtype", "mtp.w", "model.embeddings.weight"}
    assert found["mtp.w"].first is None and "one of them only" in found["mtp.w"].problem
    assert found["model.embeddings.weight"].problem == "BF16 [128, 64] against F32 [128, 64]"
    assert (found["config.dtype"].first, found["config.dtype"].second) == ("'bfloat16'", "'float16'")


def test_real_formats(tmp_path):
    write_checkpoint(tmp_path / "published")
    convert(tmp_path / "published", tmp_path / "converted")
    assert verify(tmp_path / "published", tmp_path / "converted").same


def test_dequantised_experts_are_the_same_model(tmp_path):
    published, converted = tmp_path / "published", tmp_path / "converted"
    tensors = packed(random_tensors(fused=True))
    write_toy(published, tensors, MXFP4)
    convert(published, converted, dequantise=True)
    for pair in ((published, converted), (converted, published)):
        comparison = verify(*pair)
        assert comparison.same and comparison.dequantised == str(published)
    assert "MXFP4" in CliRunner().invoke(app, ["verify", str(published), str(converted)]).stdout
    tensors["backbone.layers.1.experts.fused_blocks"][0, 0, 0, 0] ^= 1
    write_toy(tmp_path / "other", tensors, MXFP4)
    (difference,) = verify(converted, tmp_path / "other").differences
    assert difference.name == "model.layers.1.experts.fused" and difference.problem.endswith("element [0, 0, 0]")


def test_file_of_modelopt(tmp_path):
    """Modules may have the names of either format, in any order; who wrote it does not matter."""
    nano, other = CHECKPOINTS["Nemotron 3 Nano"].write(tmp_path / "nano"), tmp_path / "other"
    said = {"producer": {"version": "0.1"}, "quantization": {"exclude_modules": ["lm_head", "backbone.layers.3*"]}}
    (nano / "hf_quant_config.json").write_text(json.dumps(said))
    convert(nano, other)
    said = {"producer": {"version": "0.2"}, "quantization": {"exclude_modules": ["model.layers.3*", "lm_head"]}}
    (other / "hf_quant_config.json").write_text(json.dumps(said))
    assert verify(nano, other).same
    said["quantization"]["exclude_modules"].pop()
    (other / "hf_quant_config.json").write_text(json.dumps(said))
    (difference,) = verify(nano, other).differences
    assert difference.name == "hf_quant_config.quantization.exclude_modules"
    layer = [f"model.layers.3.{name}" for name in (*(f"mixer.{part}_proj" for part in "koqv"), "norm")]
    assert (difference.first, difference.second) == (repr(["lm_head", *layer]), repr(layer))
    (other / "hf_quant_config.json").unlink()
    (difference,) = verify(nano, other).differences
    assert difference.name == "hf_quant_config" and difference.second is None


def test_head_that_is_tied(tmp_path):
    """A copy on disk does not count, be it in one of them or in both; another head is compared with the embedding."""
    tied, config = CHECKPOINTS["Granite 4"].tensors, CHECKPOINTS["Granite 4"].config
    embedding = tied["model.embed_tokens.weight"]
    write_checkpoint(tmp_path / "tied", config, tied)
    write_checkpoint(tmp_path / "copy", config, tied | {"lm_head.weight": embedding.clone()})
    for pair in (("tied", "copy"), ("copy", "tied"), ("copy", "copy"), ("tied", "tied")):
        comparison = verify(*(tmp_path / name for name in pair))
        assert comparison.same and comparison.num_tensors == len(tied)
        assert comparison.digest == verify(tmp_path / "tied", tmp_path / "tied").digest
    write_checkpoint(tmp_path / "other", config, tied | {"lm_head.weight": embedding + 1})
    for name in ("tied", "copy"):
        (difference,) = verify(tmp_path / name, tmp_path / "other").differences
        assert difference.name == "lm_head.weight" and difference.problem.endswith("element [0, 0]")
        assert str(difference.first).startswith("'model.embed_tokens.weight' in ")


def test_dtype_that_no_config_names(tmp_path):
    source = CHECKPOINTS["gpt-oss"].write(tmp_path / "source")
    assert "dtype" not in json.loads((source / "config.json").read_text())
    convert(source, tmp_path / "ours")
    AutoModelForCausalLM.from_pretrained(tmp_path / "ours").save_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved/config.json").read_text())["dtype"] == "float32"
    assert verify(tmp_path / "ours", tmp_path / "saved").same
    convert(source, tmp_path / "half", dtype="bfloat16")
    assert "config.dtype" in {difference.name for difference in verify(source, tmp_path / "half").differences}


def test_another_family(source, tmp_path):
    write_checkpoint(tmp_path / "llama")
    names = [difference.name for difference in verify(source, tmp_path / "llama").differences]
    assert names[0] == "config.architectures" and "model.norm.weight" in names


def test_checkpoint_that_cannot_be_read(source, tmp_path):
    with pytest.raises(CheckpointError, match="nowhere"):
        verify(source, tmp_path / "nowhere")


class TestCommand:
    def run(self, *arguments: object):
        return CliRunner().invoke(app, ["verify", *map(str, arguments)])

    def test_the_same(self, source):
        result = self.run(source, source)
        assert result.exit_code == 0 and "are the same model" in result.stdout and not result.stderr

    def test_a_difference(self, source, tmp_path):
        tensors = random_tensors()
        tensors["backbone.bias"][3] = 7
        write_toy(tmp_path / "other", tensors)
        result = self.run(source, tmp_path / "other")
        assert result.exit_code == 1
        for words in ("model.bias: differs from byte", "element [3]", "'backbone.bias' in model-0000"):
            assert words in result.stdout

    def test_a_name_that_is_the_familys_is_said_once(self, tmp_path):
        tensors = {name.replace("backbone.", "model."): tensor for name, tensor in random_tensors().items()}
        write_toy(tmp_path / "ours", tensors)
        changed = {**tensors, "model.bias": tensors["model.bias"] + 1}
        write_toy(tmp_path / "other", changed)
        said = self.run(tmp_path / "ours", tmp_path / "other").stdout
        assert "A: in model-0000" in said and said.count("model.bias") == 1

    def test_how_many_are_not_shown(self, source, tmp_path):
        tensors = {name: tensor + 1 for name, tensor in random_tensors().items()}
        write_toy(tmp_path / "other", tensors)
        result = self.run(source, tmp_path / "other")
        number = len(verify(source, tmp_path / "other").differences)
        assert number > 10 and result.stdout.endswith(f"  and {number - 10:,} more; --json names all\n")
        assert result.stdout.count("    A: ") == 10

    def test_json(self, source, tmp_path):
        tensors = random_tensors()
        tensors["backbone.bias"][3] = 7
        write_toy(tmp_path / "other", tensors)
        result = self.run(source, tmp_path / "other", "--json")
        found = json.loads(result.stdout)
        assert result.exit_code == 1 and not found["same"] and found["differences"][0]["name"] == "model.bias"

    def test_could_not(self, source, tmp_path):
        save_file({"x": torch.ones(1)}, tmp_path / "model.safetensors")
        result = self.run(source, tmp_path)
        assert result.exit_code == 2 and not result.stdout and "config.json" in result.stderr
