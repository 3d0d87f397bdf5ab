"""
Checkpoints in the layouts of quantisation methods that the converters do not know: made up, with the tensor names and the
configs of the real ones. They convert where tensors are renamed or left alone, and where they are not, the refusal says so.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import torch

from transformers.quantizers.quantizers_utils import should_convert_module
from transformers_heterogeneous.converters import CheckpointError, convert, verify

from .checkpoints import CHECKPOINTS
from .published import assert_same_tensors, read_tensors, write_checkpoint


Tensors = dict[str, torch.Tensor]
GENERATOR = torch.Generator().manual_seed(5)
SPARED = ["lm_head", "backbone.layers.0.mixer.out_proj"]  # modules that no method touches


def integers(*shape: int, dtype: torch.dtype = torch.int32) -> torch.Tensor:
    return torch.randint(0, 100, shape, dtype=dtype, generator=GENERATOR)


def packed(weight: torch.Tensor) -> Tensors:
    out_features, in_features = weight.shape
    return {
        "weight_packed": integers(out_features, -(-in_features // 8)),
        "weight_scale": torch.rand(out_features, 1, generator=GENERATOR).bfloat16(),
        "weight_shape": torch.tensor([out_features, in_features]),
    }


def fp8(weight: torch.Tensor) -> Tensors:
    return {"weight": weight.to(torch.float8_e4m3fn), "weight_scale": torch.rand(len(weight), 1).bfloat16()}


def fp8_blocks(weight: torch.Tensor) -> Tensors:
    blocks = [-(-size // 128) for size in weight.shape]
    return {"weight": weight.to(torch.float8_e4m3fn), "weight_scale_inv": torch.rand(*blocks)}


def awq(weight: torch.Tensor) -> Tensors:
    out_features, in_features = weight.shape
    columns = -(-out_features // 8)
    scales = torch.rand(1, out_features, generator=GENERATOR).half()
    return {"qweight": integers(in_features, columns), "qzeros": integers(1, columns), "scales": scales}


def gptq(weight: torch.Tensor) -> Tensors:
    out_features, in_features = weight.shape
    zeros = {"qzeros": integers(1, -(-out_features // 8)), "g_idx": integers(in_features)}
    scales = torch.rand(1, out_features, generator=GENERATOR).half()
    return {"qweight": integers(-(-in_features // 8), out_features), "scales": scales, **zeros}


def nf4(weight: torch.Tensor) -> Tensors:
    number = weight.numel()
    return {
        "weight": integers(-(-number // 2), 1, dtype=torch.uint8),
        "weight.absmax": integers(-(-number // 64), dtype=torch.uint8),
        "weight.quant_map": torch.rand(16, generator=GENERATOR),
        "weight.nested_absmax": torch.rand(1, generator=GENERATOR),
        "weight.nested_quant_map": torch.rand(256, generator=GENERATOR),
        "weight.quant_state.bitsandbytes__nf4": integers(80, dtype=torch.uint8),
    }


def int8(weight: torch.Tensor) -> Tensors:
    return {
        "weight": integers(*weight.shape, dtype=torch.int8),
        "SCB": torch.rand(len(weight), generator=GENERATOR),
        "weight_format": torch.tensor(0, dtype=torch.uint8),
    }


def modelopt(weight: torch.Tensor) -> Tensors:
    return {
        "weight": weight.to(torch.float8_e4m3fn),
        "weight_scale": torch.rand((), generator=GENERATOR),
        "input_scale": torch.rand((), generator=GENERATOR),
    }


def transformers_spares(name: str, pattern: str) -> bool:
    return not should_convert_module(name, [pattern])


def compressed_tensors_matches(name: str, pattern: str) -> bool:
    return bool(re.match(pattern[3:], name)) if pattern.startswith("re:") else name == pattern


def modelopt_excludes(name: str, pattern: str) -> bool:
    parts = name.split(".")
    outer = [".".join(parts[: end + 1]) for end in range(len(parts))]
    if pattern.startswith("re:"):
        return any(re.fullmatch(pattern[3:], each) for each in outer)
    return any(fnmatchcase(each, pattern) for each in outer)


def gptq_rules(name: str, pattern: str) -> bool:
    return bool(re.match(re.sub("^[+-]:", "", pattern), name))


@dataclass(frozen=True)
class Method:
    """
    How a method writes a checkpoint.

    Attributes:
        quantise: What becomes of a weight, by the ends of names.
        config: The `quantization_config`.
        patterns: The field of it that names modules.
        matches: Whether a pattern there means a module: the method's own reader.
        keeps_dtype: Whether there is nothing that `--dtype` would cast.
    """

    quantise: Callable[[torch.Tensor], Tensors]
    config: dict[str, Any]
    patterns: str
    matches: Callable[[str, str], bool]
    keeps_dtype: bool = False


GROUPS = {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "int", "strategy": "channel"}}}
NAMED = {"modules_to_not_convert": [*SPARED, "backbone.layers.4", r"layers\.\d\.norm", "mixer.conv1d", "back.*_proj$"]}
METHODS = {
    "compressed-tensors, packed": Method(
        packed,
        {
            "quant_method": "compressed-tensors",
            "format": "pack-quantized",
            "config_groups": GROUPS,
            "ignore": [
                *SPARED,
                "re:.*conv1d$",
                r"re:backbone\.layers\.[24]\..*",
                "re:^back.*norm",
                "backbone.rotary_emb",
            ],
        },
        "ignore",
        compressed_tensors_matches,
        keeps_dtype=True,
    ),
    "compressed-tensors, FP8": Method(
        fp8,
        {
            "quant_method": "compressed-tensors",
            "format": "float-quantized",
            "config_groups": {"group_0": {"targets": [r"re:.*mixer\..*_proj", "backbone.layers.3.mixer.q_proj"]}},
            "ignore": [*SPARED, r"re:(?!lm_head).*embeddings"],
        },
        "ignore",
        compressed_tensors_matches,
        keeps_dtype=True,
    ),
    "fine-grained FP8": Method(
        fp8_blocks,
        {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128], **NAMED},
        "modules_to_not_convert",
        transformers_spares,
        keeps_dtype=True,
    ),
    "AWQ": Method(
        awq,
        {"quant_method": "awq", "bits": 4, "group_size": -1, "version": "gemm", "zero_point": True, **NAMED},
        "modules_to_not_convert",
        transformers_spares,
    ),
    "GPTQ": Method(
        gptq,
        {
            "quant_method": "gptq",
            "bits": 4,
            "modules_in_block_to_quantize": [["mixer.q_proj"], ["mixer.up_proj"]],
            "dynamic": {r"-:^backbone\.layers\.[03]\.": {}, "+:.*up_proj": {"bits": 8}, r"-:back.*\.norm": {}},
        },
        "dynamic",
        gptq_rules,
    ),
    "bitsandbytes, NF4": Method(
        nf4,
        {
            "quant_method": "bitsandbytes",
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "llm_int8_skip_modules": [*SPARED, "backbone.layers.2"],
        },
        "llm_int8_skip_modules",
        transformers_spares,
    ),
    "bitsandbytes, INT8": Method(
        int8,
        {"quant_method": "bitsandbytes", "load_in_8bit": True, "llm_int8_skip_modules": [*SPARED, "norm"]},
        "llm_int8_skip_modules",
        transformers_spares,
    ),
    "ModelOpt, FP8": Method(
        modelopt,
        {
            "quant_method": "modelopt",
            "quant_algo": "FP8",
            "ignore": [*SPARED, "backbone.layers.2", "*.conv1d", "back*.norm_f", "backbone.layers.3*", r"re:.*\.norm"],
        },
        "ignore",
        modelopt_excludes,
        keeps_dtype=True,
    ),
}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())


def quantised(tensors: Tensors, method: Method) -> Tensors:
    """The projections as the method has them, but for those that are spared."""
    found: Tensors = {}
    for name, tensor in tensors.items():
        module = name.removesuffix(".weight")
        if name.endswith("_proj.weight") and module not in SPARED:
            found |= {f"{module}.{end}": changed for end, changed in method.quantise(tensor).items()}
        else:
            found[name] = tensor
    return found


def write(folder: Path, method: Method, name: str = "Nemotron 3 Nano") -> Tensors:
    checkpoint = CHECKPOINTS[name]
    tensors = quantised(checkpoint.tensors, method)
    write_checkpoint(folder, {**checkpoint.config, "quantization_config": method.config}, tensors)
    return tensors


def meant(folder: Path, method: Method) -> dict[str, list[str]]:
    """What the patterns of a config mean, by the family's names and the method's own reader: all together, and what is
    said of each where they are keys."""
    patterns = json.loads((folder / "config.json").read_text())["quantization_config"][method.patterns]
    said = patterns if isinstance(patterns, dict) else dict.fromkeys(patterns)
    names = {re.sub(r"(\.weight)?\.[^.]+(\.bitsandbytes__nf4)?$", "", name) for name in read_tensors(folder)}
    result: dict[str, list[str]] = {}
    for pattern, value in said.items():
        result.setdefault(repr(value), []).extend(name for name in names if method.matches(name, pattern))
    return {value: sorted({name.replace("backbone", "model") for name in found}) for value, found in result.items()}


@every_method
def test_converts_there_and_back(method, tmp_path):
    tensors = write(tmp_path / "source", method)
    report = convert(tmp_path / "source", tmp_path / "ours")
    assert set(report.operations) <= {"keep", "rename"} and not report.dropped
    renamed = {name.replace("backbone.", "model."): tensor for name, tensor in tensors.items()}
    assert_same_tensors(read_tensors(tmp_path / "ours"), renamed)
    wanted = meant(tmp_path / "source", method)
    assert all(wanted.values())
    assert meant(tmp_path / "ours", method) == wanted
    assert verify(tmp_path / "source", tmp_path / "ours").same
    assert convert(tmp_path / "ours", tmp_path / "back", to="nemotron_h").restored
    assert (tmp_path / "back/config.json").read_bytes() == (tmp_path / "source/config.json").read_bytes()
    (tmp_path / "ours/hetero_origin.json").unlink()
    assert not convert(tmp_path / "ours", tmp_path / "computed", to="nemotron_h").restored
    assert meant(tmp_path / "computed", method) == wanted
    for folder in ("back", "computed"):
        assert_same_tensors(read_tensors(tmp_path / folder), tensors)


def test_most_patterns_stay_patterns(tmp_path):
    write(tmp_path / "source", METHODS["fine-grained FP8"])
    convert(tmp_path / "source", tmp_path / "ours")
    found = json.loads((tmp_path / "ours/config.json").read_text())["quantization_config"]["modules_to_not_convert"]
    kept = ["lm_head", "model.layers.0.mixer.out_proj", "model.layers.4", r"layers\.\d\.norm", "mixer.conv1d"]
    assert found[: len(kept)] == kept
    written_out = found[len(kept) :]  # in the place of `back.*_proj$`, of which the family's names have no beginning
    assert len(written_out) > 10 and all(name.endswith("_proj") for name in written_out)


@pytest.mark.parametrize("name", ["AnyModel gpt-oss", "Granite 4", "Nemotron Puzzle, backbone."])
@pytest.mark.parametrize("method", ["compressed-tensors, packed", "bitsandbytes, NF4"])
def test_other_families(name, method, tmp_path):
    tensors = write(tmp_path / "source", METHODS[method], name)
    assert convert(tmp_path / "source", tmp_path / "ours").num_tensors == len(tensors)
    assert verify(tmp_path / "source", tmp_path / "ours").same


UNTOUCHED = {name: method for name, method in METHODS.items() if not name.startswith("ModelOpt")}


@pytest.mark.parametrize("method", UNTOUCHED.values(), ids=UNTOUCHED.keys())
def test_what_would_be_computed_or_cut_up_is_refused_by_name(method, tmp_path):
    tensors = write(tmp_path / "source", method)
    method_name = method.config["quant_method"]
    experts = sorted(name.replace("backbone", "model") for name in tensors if ".experts." in name)
    with pytest.raises(CheckpointError, match=rf"quantised by '{method_name}'.*\n.*cannot be stacked") as caught:
        convert(tmp_path / "source", tmp_path / "ours", experts="stacked")
    lines = str(caught.value).splitlines()[1:-1]
    assert [line.split("'")[1] for line in lines[:90]] == experts[:90]
    with pytest.raises(CheckpointError, match=rf"quantised by '{method_name}'.*cannot be dequantised"):
        convert(tmp_path / "source", tmp_path / "ours", dequantise=True)
    if method.keeps_dtype:
        assert "cast" in convert(tmp_path / "source", tmp_path / "ours", dtype="bfloat16").operations
        return
    with pytest.raises(CheckpointError, match=rf"quantised by '{method_name}'.*\n  'model\..*' cannot be cast"):
        convert(tmp_path / "source", tmp_path / "ours", dtype="bfloat16")


def test_a_method_that_nobody_knows_converts_too(tmp_path):
    method = Method(
        gptq,
        {"quant_method": "newest", "exclude": [*SPARED, "*.norm"], "kind": ["backbone"]},
        "exclude",
        modelopt_excludes,
    )
    write(tmp_path / "source", method)
    convert(tmp_path / "source", tmp_path / "ours")
    assert meant(tmp_path / "ours", method) == meant(tmp_path / "source", method)


SPOILT = {
    "a weight that is gone": (
        lambda tensors: tensors.pop("backbone.layers.3.mixer.q_proj.qweight"),
        "q_proj.weight' is missing",
    ),
    "a norm of another size": (
        lambda tensors: tensors.update({"backbone.norm_f.weight": torch.ones(3)}),
        "norm_f.weight' in .* has shape",
    ),
    "a tensor beside no weight": (
        lambda tensors: tensors.update({"backbone.layers.0.other.qweight": torch.ones(3)}),
        "other.qweight' in .* is unexpected",
    ),
    "a tensor beside a norm": (
        lambda tensors: tensors.update({"backbone.norm_f.qweight": torch.ones(3)}),
        "norm_f.qweight' in .* is unexpected",
    ),
}


@pytest.mark.parametrize(("spoil", "words"), SPOILT.values(), ids=SPOILT.keys())
def test_what_the_model_does_not_have_is_refused(spoil, words, tmp_path):
    checkpoint = CHECKPOINTS["Nemotron 3 Nano"]
    tensors = quantised(checkpoint.tensors, METHODS["GPTQ"])
    spoil(tensors)
    write_checkpoint(
        tmp_path / "source", {**checkpoint.config, "quantization_config": METHODS["GPTQ"].config}, tensors
    )
    with pytest.raises(CheckpointError, match=words):
        convert(tmp_path / "source", tmp_path / "ours")
