"""The engine on a family of its own: every operation, held against torch and the safetensors library."""

import hashlib
import json
import os
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from typer.testing import CliRunner

from transformers.integrations.mxfp4 import convert_moe_packed_tensors
from transformers_heterogeneous.converters import CheckpointError, convert
from transformers_heterogeneous.converters.arithmetic import compute
from transformers_heterogeneous.converters.engine.headers import BLOCK, read_header
from transformers_heterogeneous.converters.engine.progress import progress_bar
from transformers_heterogeneous.converters.engine.rendering import render
from transformers_heterogeneous.converters.engine.tensor_layout import parse_size
from transformers_heterogeneous.converters.engine.tensor_plan import keep, slice_tensor
from transformers_heterogeneous.scripts.command.cli import app

from .. import published, toy_family
from ..published import assert_same_tensors, read_tensors
from ..toy_family import MXFP4, ours, packed, random_tensors, stacked_experts, write_toy


pytestmark = pytest.mark.usefixtures("toy")
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"


@pytest.fixture
def source(tmp_path) -> Path:
    return tmp_path / "published"


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "converted"


def index_of(folder: Path) -> dict:
    return json.loads((folder / INDEX).read_text())["weight_map"]


def assert_index_is_right(folder: Path) -> None:
    """Every tensor is in the file that the index names, as the engine's own reader and the index have it."""
    found = {}
    for path in folder.rglob("*.safetensors"):
        name = path.relative_to(folder).as_posix()
        found |= dict.fromkeys(read_header(path, name).tensors, name)
    assert index_of(folder) == found


def data_digest(path: Path) -> str:
    header = read_header(path, path.name)
    return hashlib.sha256(path.read_bytes()[header.data_start :]).hexdigest()


class TestNames:
    def test_are_changed_and_nothing_else(self, source, target):
        tensors = random_tensors()
        write_toy(source, tensors)
        report = convert(source, target)
        assert_same_tensors(read_tensors(target), ours(tensors))
        assert_index_is_right(target)
        assert report.operations == {"rename": len(tensors)}
        assert {file.how for file in report.files} == {"new header"}
        for name in (FIRST, SECOND):
            assert data_digest(target / name) == data_digest(source / name)

    def test_data_lies_as_in_the_source(self, source, target):
        """In the same place of a filesystem's block, so that blocks can be shared."""
        write_toy(source, random_tensors())
        convert(source, target)
        for name in (FIRST, SECOND):
            starts = [read_header(folder / name, name).data_start % BLOCK for folder in (source, target)]
            assert starts[0] == starts[1]

    def test_there_and_back(self, source, target, tmp_path):
        tensors = random_tensors()
        write_toy(source, tensors)
        convert(source, target)
        report = convert(target, tmp_path / "back", to="toy_published")
        assert (report.to, report.model_type) == ("toy_published", "toy_published")
        assert_same_tensors(read_tensors(tmp_path / "back"), tensors)
        assert index_of(tmp_path / "back") == index_of(source)
        for name in (FIRST, SECOND):
            assert data_digest(tmp_path / "back" / name) == data_digest(source / name)

    def test_that_a_format_is_written_with(self, source, target):
        """Where it is read with others too."""
        tensors = random_tensors()
        write_toy(source, tensors)
        convert(source, target, to="toy_old_names")
        assert read_tensors(target).keys() == {name.replace("backbone.", "old.") for name in tensors}

    def test_format_that_nobody_can_write(self, source, target):
        write_toy(source, random_tensors())
        with pytest.raises(
            CheckpointError, match=r"to = 'gguf': .* written as toy, toy_published, toy_parts, toy_old_names"
        ):
            convert(source, target, to="gguf")

    def test_config_that_the_format_cannot_express(self, source, target):
        tensors = {name: tensor for name, tensor in random_tensors().items() if "layers" not in name}
        for layer_idx in range(11):
            layer = toy_family.layer_tensors(toy_family.ToyConfig())
            tensors |= {f"backbone.layers.{layer_idx}.{tensor.name}": torch.zeros(tensor.shape) for tensor in layer}
        write_toy(source, tensors, {"num_hidden_layers": 11})
        with pytest.raises(CheckpointError, match="ten layers"):
            convert(source, target, to="toy_old_names")
        assert not target.exists()

    def test_two_tensors_of_one_name(self, source, target):
        tensors = random_tensors()
        write_toy(source, tensors | {"model.bias": tensors["backbone.bias"].clone()})
        with pytest.raises(CheckpointError, match=r"'model.bias' and 'backbone.bias' are both 'model.bias'|two names"):
            convert(source, target)

    def test_files_that_the_format_prescribes(self, source, target):
        tensors = random_tensors()
        write_toy(source, tensors)
        convert(source, target, to="toy_parts")
        assert sorted(path.name for path in (target / "parts").iterdir()) == [
            "layers_0.safetensors",
            "layers_1.safetensors",
            "rest.safetensors",
        ]
        assert_same_tensors(read_tensors(target), ours(tensors))
        assert_index_is_right(target)
        with pytest.raises(CheckpointError, match="toy_parts prescribes"):
            convert(source, target.parent / "again", to="toy_parts", max_shard_size="1MB")


class TestExperts:
    def test_are_stacked(self, source, target):
        """They lie in both files in turn."""
        tensors = random_tensors()
        write_toy(source, tensors)
        report = convert(source, target, experts="stacked")
        assert_same_tensors(read_tensors(target), stacked_experts(ours(tensors)))
        assert_index_is_right(target)
        assert report.operations["stack"] == 2 and "rebuilt" in {file.how for file in report.files}

    def test_are_taken_apart(self, source, target):
        tensors = random_tensors()
        write_toy(source, stacked_experts(tensors))
        report = convert(source, target, experts="separate")
        assert_same_tensors(read_tensors(target), ours(tensors))
        assert report.operations["split"] == 2 * toy_family.EXPERTS

    @pytest.mark.parametrize("stack", [False, True])
    def test_stay_as_they_are(self, source, target, stack):
        tensors = stacked_experts(random_tensors()) if stack else random_tensors()
        write_toy(source, tensors)
        report = convert(source, target)
        assert_same_tensors(read_tensors(target), ours(tensors))
        assert report.operations == {"rename": len(tensors)}

    @pytest.mark.parametrize("experts", ["stacked", "separate"])
    def test_asking_for_what_they_are_changes_nothing(self, source, target, experts):
        tensors = stacked_experts(random_tensors()) if experts == "stacked" else random_tensors()
        write_toy(source, tensors)
        assert convert(source, target, experts=experts).operations == {"rename": len(tensors)}

    def test_of_different_dtypes_are_not_stacked(self, source, target):
        tensors = random_tensors()
        name = "backbone.layers.1.experts.2.up_proj.weight"
        write_toy(source, tensors | {name: tensors[name].float()})
        with pytest.raises(CheckpointError, match=r"model.layers.1.experts.up_proj.* cannot be stacked.*F32"):
            convert(source, target, experts="stacked")

    def test_that_are_none(self, source, target):
        write_toy(source, random_tensors(fused=True), {"fused": True})
        with pytest.raises(CheckpointError, match=r"no experts that can be stacked or split\nLeave out"):
            convert(source, target, experts="stacked")

    def test_stacked_ones_of_a_wrong_number(self, source, target):
        tensors = stacked_experts(random_tensors())
        name = "backbone.layers.0.experts.up_proj"
        write_toy(source, tensors | {name: tensors[name][:2].clone()})
        with pytest.raises(
            CheckpointError, match=r"model.layers.0.experts.up_proj.*\[2, 96, 64\], expected \[3, 96, 64\]"
        ):
            convert(source, target)

    def test_in_both_forms(self, source, target):
        tensors = random_tensors()
        write_toy(source, tensors | stacked_experts(tensors))
        with pytest.raises(CheckpointError, match=r"model.layers.0.experts.0.up_proj.weight.*unexpected"):
            convert(source, target)


class TestNumbers:
    @pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
    def test_are_cast_and_buffers_are_not(self, source, target, dtype):
        tensors = random_tensors()
        write_toy(source, tensors)
        report = convert(source, target, dtype=dtype)
        wanted = {name: tensor.to(getattr(torch, dtype)) for name, tensor in ours(tensors).items()}
        assert_same_tensors(read_tensors(target), {**wanted, "model.bias": tensors["backbone.bias"]})
        assert json.loads((target / "config.json").read_text())["dtype"] == dtype
        assert report.operations == {"cast": len(tensors) - 1, "rename": 1}

    def test_are_rounded_as_torch_does(self, source, target, monkeypatch):
        """In chunks that are smaller than the tensors."""
        monkeypatch.setattr("transformers_heterogeneous.converters.engine.rendering.CHUNK", 1000)
        generator = torch.Generator().manual_seed(5)
        tensors = {name: torch.randn(tensor.shape, generator=generator) for name, tensor in random_tensors().items()}
        tensors["backbone.embeddings.weight"][0, :3] = torch.tensor([float("nan"), float("inf"), 1e-42])
        write_toy(source, tensors)
        convert(source, target, dtype="bfloat16")
        for name, tensor in read_tensors(target).items():
            expected = tensors[name.replace("model.", "backbone.")]
            expected = expected if name == "model.bias" else expected.bfloat16()
            assert torch.equal(tensor.view(torch.uint8), expected.view(torch.uint8)), name

    @pytest.mark.parametrize(
        ("number", "dtype", "enough"),
        [(7e4, "float16", "bfloat16 or float32 or float64"), (3.4e38, "bfloat16", "float32 or float64")],
    )
    def test_that_would_become_infinite_are_refused(self, source, target, number, dtype, enough):
        tensors = {name: tensor.float() for name, tensor in random_tensors().items()}
        tensors["backbone.embeddings.weight"][1, :2] = torch.tensor([float("inf"), -number])
        write_toy(source, tensors)
        with pytest.raises(CheckpointError) as caught:
            convert(source, target, dtype=dtype)
        assert f"'backbone.embeddings.weight' holds {number:g}" in str(caught.value)
        assert str(caught.value).endswith(f"Use --dtype {enough}.") and os.listdir(source.parent) == ["published"]
        convert(source, target, dtype="float64")

    def test_are_cast_and_stacked(self, source, target):
        tensors = random_tensors()
        write_toy(source, tensors)
        convert(source, target, experts="stacked", dtype="float32")
        assert_same_tensors(read_tensors(target), {n: t.float() for n, t in stacked_experts(ours(tensors)).items()})

    def test_of_an_unknown_dtype(self, source, target):
        write_toy(source, random_tensors())
        with pytest.raises(CheckpointError, match="dtype = 'int8'"):
            convert(source, target, dtype="int8")


class TestMxfp4:
    def test_stays_packed(self, source, target):
        tensors = packed(random_tensors(fused=True))
        write_toy(source, tensors, MXFP4)
        convert(source, target)
        assert_same_tensors(read_tensors(target), ours(tensors))
        found = json.loads((target / "config.json").read_text())["quantization_config"]
        assert found == {"quant_method": "mxfp4", "modules_to_not_convert": ["model.bias"]}

    @pytest.mark.parametrize("dtype", [None, "float32"])
    def test_is_dequantised_as_transformers_does(self, source, target, dtype):
        tensors = packed(random_tensors(fused=True))
        write_toy(source, tensors, MXFP4)
        report = convert(source, target, dequantise=True, dtype=dtype)
        found = read_tensors(target)
        assert report.operations["dequantise"] == 2
        for layer in (0, 1):
            name = f"backbone.layers.{layer}.experts.fused"
            wanted = getattr(torch, dtype or "bfloat16")
            expected = convert_moe_packed_tensors(tensors[f"{name}_blocks"], tensors[f"{name}_scales"], dtype=wanted)
            tensor = found[f"model.layers.{layer}.experts.fused"]
            assert tensor.dtype == wanted and torch.equal(tensor, expected)
        assert "quantization_config" not in json.loads((target / "config.json").read_text())

    def test_that_would_become_infinite_is_refused(self, source, target):
        tensors = packed(random_tensors(fused=True))
        name = "backbone.layers.1.experts.fused"
        tensors[f"{name}_blocks"][1, 2, 1, 0] = 7  # its lower four bits are 6.0
        tensors[f"{name}_scales"][1, 2, 1] = 127 + 14
        write_toy(source, tensors, MXFP4)
        with pytest.raises(CheckpointError, match=rf"'{name}_blocks' holds 98304, .*\n.*--dtype bfloat16"):
            convert(source, target, dequantise=True, dtype="float16")
        convert(source, target, dequantise=True)

    def test_says_nothing_of_the_quantisation_once_dequantised(self, source, target):
        write_toy(source, packed(random_tensors(fused=True)), MXFP4)
        (source / "hf_quant_config.json").write_text("{}")
        report = convert(source, target, dequantise=True)
        assert not (target / "hf_quant_config.json").exists()
        assert [left.name for left in report.not_carried] == ["hf_quant_config.json"]

    def test_scales_of_another_shape(self, source, target):
        tensors = packed(random_tensors(fused=True))
        name = "backbone.layers.1.experts.fused_scales"
        write_toy(source, tensors | {name: tensors[name][:, 1:].clone()}, MXFP4)
        with pytest.raises(CheckpointError, match=r"fused_scales'.*\[3, 95, 2\], expected \[3, 96, 2\]"):
            convert(source, target)

    def test_blocks_without_scales(self, source, target):
        tensors = packed(random_tensors(fused=True))
        del tensors["backbone.layers.1.experts.fused_scales"]
        write_toy(source, tensors, MXFP4)
        with pytest.raises(CheckpointError, match="fused_scales' is missing"):
            convert(source, target)

    def test_nothing_to_dequantise(self, source, target):
        write_toy(source, random_tensors())
        with pytest.raises(CheckpointError, match="this checkpoint is not quantised"):
            convert(source, target, dequantise=True)


def in_fp8(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Experts as ModelOpt writes them in FP8, and scales of the KV cache."""
    found = dict(tensors)
    for number, name in enumerate(name for name in tensors if "experts" in name):
        found[name] = tensors[name].to(torch.float8_e4m3fn)
        for scale in ("weight_scale", "input_scale"):
            found[name.replace("weight", scale)] = torch.tensor(1.5 + number)
    return found | {"backbone.layers.0.mixer.k_proj.k_scale": torch.tensor([2.0])}


def in_nvfp4(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Experts as ModelOpt writes them in NVFP4."""
    found = dict(tensors)
    for number, name in enumerate(name for name in tensors if "experts" in name):
        found[name] = torch.full((toy_family.WIDTH, toy_family.H // 2), number, dtype=torch.uint8)
        found[name.replace("weight", "weight_scale")] = torch.ones(toy_family.WIDTH, toy_family.H // 16).to(
            torch.float8_e4m3fn
        )
        found[name.replace("weight", "weight_scale_2")] = torch.tensor(0.25)
    return found


MODELOPT = {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["backbone.embeddings", "lm_head*"]}
QUANTISED = {"quantization_config": MODELOPT}


class TestModelOpt:
    @pytest.mark.parametrize("quantise", [in_fp8, in_nvfp4])
    def test_scales_follow_their_weights(self, source, target, quantise):
        tensors = quantise(random_tensors())
        write_toy(source, tensors, QUANTISED)
        convert(source, target)
        assert_same_tensors(read_tensors(target), ours(tensors))

    def test_config_names_the_modules_of_the_output(self, source, target, tmp_path):
        write_toy(source, in_fp8(random_tensors()), QUANTISED)
        layers = {"backbone.layers.0.experts.0.up_proj": {"quant_algo": "FP8"}}
        details = {"quantization": {"quantized_layers": layers, "exclude_modules": ["backbone.embeddings"]}}
        (source / "hf_quant_config.json").write_text(json.dumps(details))
        convert(source, target)
        found = json.loads((target / "config.json").read_text())["quantization_config"]
        assert found == {**MODELOPT, "ignore": ["model.embeddings", "lm_head*"]}
        found = json.loads((target / "hf_quant_config.json").read_text())["quantization"]
        assert found["quantized_layers"] == {"model.layers.0.experts.0.up_proj": {"quant_algo": "FP8"}}
        assert found["exclude_modules"] == ["model.embeddings"]
        convert(target, tmp_path / "back", to="toy_published")
        assert json.loads((tmp_path / "back/hf_quant_config.json").read_text()) == details

    @pytest.mark.parametrize("quantise", [in_fp8, in_nvfp4])
    def test_scales_are_stacked_and_split_with_their_weights(self, source, target, tmp_path, quantise):
        tensors = quantise(random_tensors())
        write_toy(source, tensors, QUANTISED)
        convert(source, target, experts="stacked")
        expected = stacked_experts(ours(tensors))
        for scale in ("weight_scale", "weight_scale_2", "input_scale"):
            expected = stacked_experts(expected, f"up_proj.{scale}", f"up_proj_{scale}")
        assert_same_tensors(read_tensors(target), expected)
        convert(target, tmp_path / "back", to="toy_published", experts="separate")
        assert_same_tensors(read_tensors(tmp_path / "back"), tensors)

    def test_modules_are_stacked_and_split_in_the_config(self, source, target, tmp_path):
        singles = [f"backbone.layers.0.experts.{at}.up_proj" for at in range(toy_family.EXPERTS)]
        write_toy(source, in_fp8(random_tensors()), {"quantization_config": {**MODELOPT, "ignore": singles}})
        convert(source, target, experts="stacked")
        found = json.loads((target / "config.json").read_text())["quantization_config"]["ignore"]
        assert found == ["model.layers.0.experts.up_proj"]
        convert(target, tmp_path / "back", to="toy_published", experts="separate")
        found = json.loads((tmp_path / "back/config.json").read_text())["quantization_config"]["ignore"]
        assert found == singles

    def test_scale_that_is_missing_for_one_expert(self, source, target):
        tensors = in_fp8(random_tensors())
        del tensors["backbone.layers.1.experts.1.up_proj.input_scale"]
        write_toy(source, tensors, QUANTISED)
        with pytest.raises(
            CheckpointError, match=r"cannot be stacked: 'model.layers.1.experts.1.up_proj.input_scale'"
        ):
            convert(source, target, experts="stacked")

    def test_weight_without_scale(self, source, target):
        tensors = in_fp8(random_tensors())
        del tensors["backbone.layers.1.experts.1.up_proj.weight_scale"]
        write_toy(source, tensors, QUANTISED)
        with pytest.raises(
            CheckpointError, match=r"1.up_proj.weight' is quantised \(F8_E4M3\).*weight_scale' is missing"
        ):
            convert(source, target)

    def test_scale_without_weight(self, source, target):
        write_toy(source, random_tensors() | {"backbone.layers.0.gate.weight_scale": torch.ones(1)}, QUANTISED)
        with pytest.raises(CheckpointError, match=r"layers.0.gate.weight_scale'.* unexpected"):
            convert(source, target)

    def test_scales_of_another_shape(self, source, target):
        tensors = in_nvfp4(random_tensors())
        tensors["backbone.layers.0.experts.0.up_proj.weight_scale"] = torch.ones(96, 3).to(torch.float8_e4m3fn)
        write_toy(source, tensors, QUANTISED)
        with pytest.raises(CheckpointError, match=r"weight_scale'.*\[96, 3\], expected \[96, 4\]"):
            convert(source, target)

    def test_config_beside_the_config(self, source, target):
        """Older exports say it in hf_quant_config.json alone."""
        tensors = in_fp8(random_tensors())
        write_toy(source, tensors)
        with pytest.raises(CheckpointError, match="has dtype F8_E4M3, allowed are"):
            convert(source, target)
        (source / "hf_quant_config.json").write_text('{"quantization": {"quant_algo": "FP8"}}')
        convert(source, target)
        assert_same_tensors(read_tensors(target), ours(tensors))

    def test_scales_are_not_cast(self, source, target):
        tensors = in_fp8(random_tensors())
        write_toy(source, tensors, QUANTISED)
        convert(source, target, dtype="float16")
        found = read_tensors(target)
        assert found["model.layers.0.experts.0.up_proj.weight_scale"].dtype == torch.float32
        assert found["model.layers.0.experts.0.up_proj.weight"].dtype == torch.float8_e4m3fn
        assert found["model.embeddings.weight"].dtype == torch.float16


def test_a_terminal_gets_a_bar_in_bytes(monkeypatch, capsys):
    for is_terminal in (False, True):
        monkeypatch.setattr(sys.stderr, "isatty", lambda is_terminal=is_terminal: is_terminal)
        with progress_bar(3 * 2**20) as advance:
            advance(3 * 2**20)
        shown = capsys.readouterr().err
        assert ("3.00M/3.00M" in shown) is is_terminal and (shown != "") is is_terminal


class TestFiles:
    @pytest.mark.parametrize(("size", "num_files"), [("40KB", 4), (10**9, 1), ("1", 12)])
    def test_are_no_larger_than_asked(self, source, target, size, num_files):
        tensors = random_tensors()
        write_toy(source, tensors)
        report = convert(source, target, max_shard_size=size)
        assert_same_tensors(read_tensors(target), ours(tensors))
        assert len(report.files) == num_files
        if num_files == 1:
            assert [file.name for file in report.files] == ["model.safetensors"] and not (target / INDEX).exists()
            return
        assert_index_is_right(target)
        assert report.files[0].name == f"model-00001-of-{num_files:05}.safetensors"
        for file in report.files:
            sizes = [tensor.num_bytes for tensor in read_header(target / file.name, file.name).tensors.values()]
            assert sum(sizes) <= parse_size(size) or len(sizes) == 1

    def test_elements_are_aligned(self, source, target):
        """Odd bytes between wider numbers, from several files."""
        tensors = random_tensors() | {"mtp.odd": torch.ones(3, dtype=torch.uint8), "mtp.wide": torch.ones(3).double()}
        write_toy(source, tensors, num_files=5)
        convert(source, target, max_shard_size="1GB")
        for entry in read_header(target / "model.safetensors", "").tensors.values():
            assert entry.start % (entry.num_bytes // max(1, entry.num_elements)) == 0, entry.name

    def test_dropped_and_unused_tensors_are_named(self, source, target):
        tensors = random_tensors() | {"mtp.w": torch.ones(3), "backbone.inv_freq": torch.ones(4)}
        write_toy(source, tensors)
        report = convert(source, target)
        assert [(tensor.name, tensor.reason) for tensor in report.unused] == [("mtp.w", "not built")]
        assert [(tensor.name, tensor.reason) for tensor in report.dropped] == [("backbone.inv_freq", "computed")]
        assert read_tensors(target).keys() == ours(tensors).keys() - {"model.inv_freq"}

    def test_are_written_in_parallel(self, source, target):
        tensors = random_tensors()
        write_toy(source, tensors, num_files=7)
        convert(source, target, jobs=5)
        assert_same_tensors(read_tensors(target), ours(tensors))

    def test_plan_is_plain_data(self, source, target):
        tensors = random_tensors()
        write_toy(source, tensors)
        report = convert(source, target, experts="stacked", dry_run=True)
        plan = json.loads(json.dumps(report.to_dict()))["plan"]
        stacks = [tensor for file in plan["files"] for tensor in file["tensors"] if tensor["operation"] == "stack"]
        assert [tensor["name"] for tensor in stacks] == [f"model.layers.{at}.experts.up_proj" for at in (0, 1)]
        for tensor in stacks:
            parts = [
                (source / part["file"]).read_bytes()[part["start"] :][: part["size"]] for part in tensor["pieces"]
            ]
            expected = stacked_experts(ours(tensors))[tensor["name"]]
            assert b"".join(parts) == expected.view(torch.uint8).numpy().tobytes()

    def test_cost_is_that_of_the_files(self, source, target):
        """Of those beside the weights too."""
        write_toy(source, random_tensors())
        (source / "tokenizer.json").write_bytes(bytes(10**5))
        planned = convert(source, target, dry_run=True, link="copy").cost
        convert(source, target, link="copy")
        assert planned.num_bytes_written == sum(path.stat().st_size for path in target.iterdir())
        assert planned.num_bytes_shared == 0 and planned.num_bytes_free > planned.num_bytes_written


class TestCommand:
    def run(self, *arguments: object):
        return CliRunner().invoke(app, ["convert", *map(str, arguments)])

    def test_takes_every_wish(self, source, target):
        tensors = random_tensors()
        write_toy(source, tensors)
        wishes = ["--to", "toy_published", "--experts", "stacked", "--dtype", "float32", "--link", "copy"]
        result = self.run(source, target, *wishes, "--max-shard-size", "60KB", "--jobs", "1", "--json")
        assert result.exit_code == 0, result.stderr
        report = json.loads(result.stdout)
        assert report["to"] == "toy_published" and len(report["files"]) == len(report["plan"]["files"]) > 2
        assert_same_tensors(read_tensors(target), {name: t.float() for name, t in stacked_experts(tensors).items()})

    def test_says_what_it_costs(self, source, target):
        write_toy(source, random_tensors() | {"mtp.w": torch.ones(3)})
        result = self.run(source, target, "--dry-run", "--experts", "stacked")
        assert result.exit_code == 0 and not target.exists()
        for words in ("2 stack", "rebuilt: ", "bytes read and written", "no temporary space", "are free"):
            assert words in result.stdout
        assert "kept, not used: mtp.w in model-0000" in result.stdout

    def test_dequantises(self, source, target):
        write_toy(source, packed(random_tensors(fused=True)), MXFP4)
        assert self.run(source, target, "--dequantise").exit_code == 0
        assert read_tensors(target)["model.layers.0.experts.fused"].dtype == torch.bfloat16

    def test_bad_wish_goes_to_stderr(self, source, target):
        write_toy(source, random_tensors())
        result = self.run(source, target, "--max-shard-size", "five")
        assert result.exit_code == 2 and "max_shard_size = 'five'" in result.stderr and not result.stdout


SIZES = {"5GB": 5 * 10**9, "500MB": 5 * 10**8, "4GiB": 4 * 2**30, "10kb": 10**4, " 7 ": 7, 12: 12, "2 TB": 2 * 10**12}


@pytest.mark.parametrize(("text", "size"), SIZES.items())
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "five", "-1", "0", "1.5GB", "5XB"])
def test_sizes_that_are_none(text):
    with pytest.raises(CheckpointError, match="max_shard_size"):
        parse_size(text)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), shape=st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_slices_are_those_of_torch(tmp_path_factory, data, shape):
    dim = data.draw(st.integers(0, len(shape) - 1))
    first = data.draw(st.integers(0, shape[dim] - 1))
    last = data.draw(st.integers(first + 1, shape[dim]))
    folder = tmp_path_factory.getbasetemp()
    tensor = torch.arange(torch.Size(shape).numel(), dtype=torch.int32).view(shape)
    save_file({"other": torch.ones(5), "w": tensor}, folder / "slices.safetensors")
    header = read_header(folder / "slices.safetensors", "slices.safetensors")
    plan = keep("w", "slices.safetensors", header.tensors["w"], header.data_start)
    with (folder / "slices.safetensors").open("rb") as file:
        found = b"".join(render(slice_tensor(plan, dim, first, last), {"slices.safetensors": file.fileno()}, compute))
    assert found == tensor.narrow(dim, first, last - first).contiguous().numpy().tobytes()


def test_offsets_of_a_plan_leave_no_gap(tmp_path):
    """What the library wants of a file, of one put together from many pieces."""
    write_toy(tmp_path / "published", random_tensors(), num_files=3)
    convert(tmp_path / "published", tmp_path / "converted", experts="stacked", max_shard_size="100KB")
    for path in (tmp_path / "converted").glob("*.safetensors"):
        entries = list(read_header(path, path.name).tensors.values())
        assert all(one.end == other.start for one, other in pairwise(entries))


def test_llama_is_untouched_by_all_this(tmp_path, monkeypatch):
    """Files whose tensors stay under their names are the source's, byte for byte."""
    monkeypatch.undo()
    published.write_checkpoint(tmp_path / "published")
    report = convert(tmp_path / "published", tmp_path / "converted")
    assert set(report.operations) == {"keep"} and {file.how for file in report.files} <= {"copy", "reflink"}
