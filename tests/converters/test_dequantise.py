"""FP8 and NVFP4 of ModelOpt made floating point: against values that are known, computed here from their bits."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import transformers_heterogeneous
from transformers import AutoModelForCausalLM
from transformers_heterogeneous.converters import CheckpointError, convert, verify
from transformers_heterogeneous.scripts.command.cli import app

from .checkpoints import CHECKPOINTS, logits
from .published import CONFIG, LAYERS, read_tensors, tensors_of, write_checkpoint


Tensors = dict[str, torch.Tensor]
TENSORS = tensors_of(LAYERS)
GENERATOR = torch.Generator().manual_seed(11)
FAMILIES: dict[str, tuple[dict[str, Any], Tensors]] = {
    "Llama": (CONFIG, TENSORS),
    **{
        name: (CHECKPOINTS[name].config, CHECKPOINTS[name].tensors)
        for name in ("gpt-oss", "Granite 4", "Nemotron 3 Nano", "Nemotron 3 Super", "Nemotron Puzzle")
    },
}
every_family = pytest.mark.parametrize("family", FAMILIES)


def minifloat(code: int, exponent_bits: int, mantissa_bits: int) -> float:
    """What the bits of a small float mean: sign, exponent, mantissa; without infinities."""
    bias = 2 ** (exponent_bits - 1) - 1
    sign = -1.0 if code >> (exponent_bits + mantissa_bits) else 1.0
    exponent = code >> mantissa_bits & (2**exponent_bits - 1)
    fraction = (code & (2**mantissa_bits - 1)) / 2**mantissa_bits
    return sign * (fraction * 2.0 ** (1 - bias) if exponent == 0 else (1 + fraction) * 2.0 ** (exponent - bias))


E4M3 = torch.tensor([minifloat(code, 4, 3) for code in range(256)], dtype=torch.float64)
E2M1 = torch.tensor([minifloat(code, 2, 1) for code in range(16)], dtype=torch.float64)


def random_fp8(shape: tuple[int, ...]) -> torch.Tensor:
    """Random bits, none of which mean NaN."""
    codes = torch.randint(0, 127, shape, generator=GENERATOR) + 128 * torch.randint(0, 2, shape, generator=GENERATOR)
    return codes.to(torch.uint8)


def fp8(shape: tuple[int, ...], scale_shape: tuple[int, ...] = ()) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The tensors of a weight by their roles, and what it is: value times scale."""
    codes, scale = random_fp8(shape), torch.rand(scale_shape, generator=GENERATOR) * 1e-3
    values = E4M3[codes.int()] * scale.double().view(*scale_shape, *[1] * (len(shape) - len(scale_shape)))
    return {"": codes.view(torch.float8_e4m3fn), "weight_scale": scale}, values


def nvfp4(shape: tuple[int, ...], scale_shape: tuple[int, ...] = ()) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The same in NVFP4: two values a byte, the first in its lower half, and a scale for each 16 values of a row."""
    codes = torch.randint(0, 16, shape, generator=GENERATOR)
    packed = (codes[..., 0::2] + 16 * codes[..., 1::2]).to(torch.uint8)
    blocks = random_fp8((*shape[:-1], shape[-1] // 16)) % 127
    scale = torch.rand(scale_shape, generator=GENERATOR) * 1e-4
    values = E2M1[codes] * E4M3[blocks.int()].repeat_interleave(16, dim=-1)
    values = values * scale.double().view(*scale_shape, *[1] * (len(shape) - len(scale_shape)))
    roles = {"": packed, "weight_scale": blocks.view(torch.float8_e4m3fn), "weight_scale_2": scale}
    return roles, values


def is_quantised(name: str, tensor: torch.Tensor) -> bool:
    """Whether ModelOpt would take it: a matrix in a layer, or the experts of one."""
    return ".layers." in name and tensor.ndim >= 2 and "gate.weight" not in name and "conv1d" not in name


def beside(weight: str, scale: str) -> str:
    return f"{weight.removesuffix('.weight')}{'.' if weight.endswith('.weight') else '_'}{scale}"


def quantised(tensors: Tensors, quantise: Callable[..., Any]) -> tuple[Tensors, Tensors]:
    """A checkpoint's tensors quantised, with all scales that ModelOpt writes; and what they are in bfloat16."""
    found, true = dict(tensors), dict(tensors)
    for name, tensor in tensors.items():
        if not is_quantised(name, tensor):
            continue
        way = fp8 if tensor.shape[-1] % 16 else quantise  # NVFP4 has groups of 16: mixed, as published checkpoints are
        roles, values = way(tuple(tensor.shape), (tensor.shape[0],) if tensor.ndim == 3 else ())
        found |= {beside(name, role) if role else name: part for role, part in roles.items()}
        found[beside(name, "input_scale")] = torch.tensor(0.5)
        true[name] = values.float().bfloat16()
        if ".k_proj" in name or ".v_proj" in name:
            found[beside(name, f"{name.split('_proj')[0][-1]}_scale")] = torch.tensor(2.0)
    return found, true


def write(folder: Path, family: str, quantise: Callable[..., Any]) -> Tensors:
    """Write a quantised checkpoint; its true tensors."""
    config, tensors = FAMILIES[family]
    found, true = quantised({name: tensor.bfloat16() for name, tensor in tensors.items()}, quantise)
    modelopt = {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "ignore": ["lm_head"]}
    config = {**config, "torch_dtype": "bfloat16", "quantization_config": modelopt}
    write_checkpoint(folder, config, found)
    (folder / "hf_quant_config.json").write_text(json.dumps({"quantization": {"quant_algo": "FP8"}}))
    return true


def with_our_names(tensors: Tensors) -> Tensors:
    return {name.replace("backbone.", "model."): tensor for name, tensor in tensors.items()}


def assert_same(found: Tensors, expected: Tensors) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


@every_family
@pytest.mark.parametrize("quantise", [fp8, nvfp4])
def test_values_are_the_true_ones(family, quantise, tmp_path):
    true = write(tmp_path / "source", family, quantise)
    report = convert(tmp_path / "source", tmp_path / "ours", dequantise=True)
    assert_same(read_tensors(tmp_path / "ours"), with_our_names(true))
    assert "quantization_config" not in json.loads((tmp_path / "ours/config.json").read_text())
    assert not (tmp_path / "ours/hf_quant_config.json").exists()
    published = json.loads((tmp_path / "source/model.safetensors.index.json").read_text())["weight_map"]
    scales = {name for name in published if name.endswith(("input_scale", ".k_scale", ".v_scale"))}
    assert scales and scales == {tensor.name for tensor in report.dropped}
    assert all("not quantised any more" in tensor.reason for tensor in report.dropped)
    assert not scales & {tensor.name for tensor in report.unused}


@pytest.mark.parametrize("quantise", [fp8, nvfp4])
def test_result_loads_and_computes_what_the_true_tensors_do(quantise, tmp_path):
    true = write(tmp_path / "source", "Nemotron 3 Nano", quantise)
    convert(tmp_path / "source", tmp_path / "ours", dequantise=True)
    config = {**CHECKPOINTS["Nemotron 3 Nano"].config, "torch_dtype": "bfloat16"}
    write_checkpoint(tmp_path / "true", config, true)
    assert torch.equal(logits(tmp_path / "ours"), logits(tmp_path / "true"))


@pytest.mark.parametrize("quantise", [fp8, nvfp4])
@pytest.mark.parametrize("again", ["separate", "keep"])
def test_stacked_experts(quantise, again, tmp_path):
    """Stacked while they are quantised, each scale with its weight; dequantised in one stack, or singly."""
    true = write(tmp_path / "source", "Nemotron 3 Nano", quantise)
    stacked = tmp_path / "stacked"
    convert(tmp_path / "source", stacked, experts="stacked")
    convert(stacked, tmp_path / "ours", dequantise=True, experts=again)
    convert(tmp_path / "source", tmp_path / "at once", dequantise=True, experts="stacked")
    if again == "keep":
        assert_same(read_tensors(tmp_path / "ours"), read_tensors(tmp_path / "at once"))
        convert(tmp_path / "ours", tmp_path / "single", experts="separate")
    single = tmp_path / ("ours" if again == "separate" else "single")
    assert_same(read_tensors(single), with_our_names(true))
    for first, second in itertools.combinations([tmp_path / "source", stacked, tmp_path / "at once", single], 2):
        assert verify(first, second).same


@every_family
@pytest.mark.parametrize("quantise", [fp8, nvfp4])
def test_verify_takes_both_for_the_same_model(family, quantise, tmp_path):
    write(tmp_path / "source", family, quantise)
    convert(tmp_path / "source", tmp_path / "ours", dequantise=True)
    for pair in itertools.permutations([tmp_path / "source", tmp_path / "ours"]):
        comparison = verify(*pair)
        assert comparison.same and comparison.dequantised == str(tmp_path / "source")
    result = CliRunner().invoke(app, ["verify", str(tmp_path / "source"), str(tmp_path / "ours")])
    assert result.exit_code == 0 and "NVFP4" in result.stdout


def test_verify_finds_another_value(tmp_path):
    write(tmp_path / "source", "Llama", fp8)
    convert(tmp_path / "source", tmp_path / "ours", dequantise=True)
    tensors = read_tensors(tmp_path / "source")
    tensors["model.layers.0.mlp.up_proj.weight_scale"] *= 2
    write_checkpoint(tmp_path / "other", json.loads((tmp_path / "source/config.json").read_text()), tensors)
    (difference,) = verify(tmp_path / "other", tmp_path / "ours").differences
    assert difference.name == "model.layers.0.mlp.up_proj.weight"


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_other_dtypes(dtype, tmp_path):
    write(tmp_path / "source", "Llama", nvfp4)
    convert(tmp_path / "source", tmp_path / "ours", dequantise=True, dtype=dtype)
    assert {tensor.dtype for tensor in read_tensors(tmp_path / "ours").values()} == {getattr(torch, dtype)}


NAME = "model.layers.0.mlp.up_proj"


def with_weight(folder: Path, parts: dict[str, torch.Tensor], **members: Any) -> Path:
    """A plain Llama but for one weight."""
    tensors = {name: tensor.bfloat16() for name, tensor in TENSORS.items() if not name.startswith(NAME)}
    named = {f"{NAME}.{role or 'weight'}": part for role, part in parts.items()}
    config = {**CONFIG, "quantization_config": {"quant_method": "modelopt"}, **members}
    write_checkpoint(folder, {name: value for name, value in config.items() if value is not None}, tensors | named)
    return folder


SHAPE = (256, 64)


@pytest.mark.parametrize("scale_shape", [(), (1,), (256,), (256, 1), (2, 1)])
@pytest.mark.parametrize("name", ["weight_scale", "weight_scale_inv"])
def test_scales_of_tensors_rows_and_squares(scale_shape, name, tmp_path):
    codes, scale = random_fp8(SHAPE), torch.rand(scale_shape, generator=GENERATOR)
    factors = scale.view(-1, 1).repeat_interleave(SHAPE[0] // scale.numel(), dim=0)
    with_weight(tmp_path / "source", {"": codes.view(torch.float8_e4m3fn), name: scale})
    convert(tmp_path / "source", tmp_path / "ours", dequantise=True)
    found = read_tensors(tmp_path / "ours")[f"{NAME}.weight"]
    assert torch.equal(found, (E4M3[codes.int()] * factors.double()).float().bfloat16())


def test_in_many_chunks(monkeypatch, tmp_path):
    true = write(tmp_path / "source", "Nemotron 3 Nano", nvfp4)
    monkeypatch.setattr("transformers_heterogeneous.converters.engine.rendering.CHUNK", 100)
    convert(tmp_path / "source", tmp_path / "ours", dequantise=True, experts="stacked")
    convert(tmp_path / "ours", tmp_path / "single", experts="separate")
    assert_same(read_tensors(tmp_path / "single"), with_our_names(true))


def test_known_by_the_scales_alone(tmp_path):
    """A config that says nothing of the quantisation: refused with the remedy, and the remedy works."""
    parts, values = fp8(SHAPE)
    with_weight(tmp_path / "source", parts, quantization_config=None)
    with pytest.raises(CheckpointError, match="--dequantise"):
        convert(tmp_path / "source", tmp_path / "ours")
    convert(tmp_path / "source", tmp_path / "ours", dequantise=True)
    assert torch.equal(read_tensors(tmp_path / "ours")[f"{NAME}.weight"], values.float().bfloat16())
    assert verify(tmp_path / "source", tmp_path / "ours").same


def without(parts: dict[str, torch.Tensor], role: str) -> dict[str, torch.Tensor]:
    return {name: part for name, part in parts.items() if name != role}


REFUSED: dict[str, tuple[Callable[[], dict[str, torch.Tensor]], str]] = {
    "no global scale": (lambda: without(nvfp4(SHAPE)[0], "weight_scale_2"), r"needs .*weight_scale_2'"),
    "two scales": (lambda: fp8(SHAPE)[0] | {"weight_scale_inv": torch.ones(2, 1)}, "found are"),
    "global scale of FP8": (lambda: fp8(SHAPE)[0] | {"weight_scale_2": torch.ones(())}, "found are"),
    "scaled inputs": (lambda: nvfp4(SHAPE)[0] | {"pre_quant_scale": torch.ones(64)}, "pre_quant_scale' scales"),
    "scale of a plain weight": (
        lambda: {"": torch.ones(SHAPE).bfloat16(), "weight_scale": torch.ones(())},
        "weight_scale' is the scale of no weight",
    ),
}


@pytest.mark.parametrize(("parts", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_weights_whose_numbers_are_not_known(parts, message, tmp_path):
    with_weight(tmp_path / "source", parts())
    with pytest.raises(CheckpointError, match=message) as caught:
        convert(tmp_path / "source", tmp_path / "ours", dequantise=True)
    assert NAME in str(caught.value) and str(caught.value).endswith("Leave out --dequantise.")
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize("quantise", [fp8, nvfp4])
def test_what_would_become_infinite_is_refused(quantise, tmp_path):
    parts, _ = quantise(SHAPE)
    last = "weight_scale_2" if "weight_scale_2" in parts else "weight_scale"
    with_weight(tmp_path / "source", parts | {last: torch.tensor(1e4)})
    with pytest.raises(CheckpointError, match=rf"{NAME}.weight' holds .*, which would be infinite: float16"):
        convert(tmp_path / "source", tmp_path / "ours", dequantise=True, dtype="float16")
    convert(tmp_path / "source", tmp_path / "ours", dequantise=True)


CLASSES = {
    "Llama": "HeterogeneousLlamaForCausalLM",
    "gpt-oss": "HeterogeneousGptOssForCausalLM",
    "Granite 4": "HeterogeneousGraniteMoeHybridForCausalLM",
    "Nemotron 3 Nano": "HeterogeneousNemotronHForCausalLM",
    "Nemotron Puzzle": "HeterogeneousNemotronHForCausalLM",
}


@pytest.mark.parametrize("family", CLASSES)
@pytest.mark.parametrize("quantise", [fp8, nvfp4])
@pytest.mark.parametrize("said", [True, False], ids=["said", "not said"])
def test_loading_is_refused_and_the_remedy_works(family, quantise, said, tmp_path):
    """As published and as converted, whether config.json says it or only the scales do."""
    published, converted = tmp_path / "published", tmp_path / "converted"
    write(published, family, quantise)
    convert(published, converted)
    model_class = getattr(transformers_heterogeneous, CLASSES[family])
    for folder, loaded_by in ((published, model_class), (converted, model_class), (converted, AutoModelForCausalLM)):
        if not said:
            config = json.loads((folder / "config.json").read_text())
            config.pop("quantization_config", None)
            (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(ValueError, match="weights are quantised, in ModelOpt's FP8 or NVFP4") as caught:
            loaded_by.from_pretrained(folder)
        assert f"hetero convert --dequantise {folder} DST" in str(caught.value)
    arguments = ["convert", "--dequantise", str(converted), str(tmp_path / "ours")]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert logits(tmp_path / "ours").isfinite().all()


def test_scales_of_the_cache_alone_load(tmp_path):
    """The weights are what they are: nothing is refused that is not misread."""
    tensors = TENSORS | {"model.layers.0.self_attn.k_proj.k_scale": torch.tensor(2.0)}
    quantisation = {"quant_method": "modelopt", "quant_algo": None, "kv_cache_quant_algo": "FP8"}
    write_checkpoint(tmp_path / "source", {**CONFIG, "quantization_config": quantisation}, tensors)
    assert transformers_heterogeneous.HeterogeneousLlamaForCausalLM.from_pretrained(tmp_path / "source")
