"""What `hetero inspect` says of loading a checkpoint as it is, held against loading it."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import transformers
import transformers_heterogeneous
from transformers import AutoModelForCausalLM
from transformers_heterogeneous.converters import convert, summarise
from transformers_heterogeneous.scripts.command.cli import app

from .checkpoints import CHECKPOINTS, TOKENS
from .published import DECI, DECI_LAYERS, DIALECTS, LAYERS, TRAP, tensors_of, write_checkpoint
from .test_dequantise import CLASSES, fp8, nvfp4, write


# DeciLM-6b as it was published
NO_MODEL_TYPE = {name: value for name, value in DECI.items() if name != "model_type"}
REMOTE_CODE = {"AutoModelForCausalLM": "modeling_decilm.DeciLMForCausalLM", **DECI["auto_map"]}
PUBLISHED = {
    **{name: (config, tensors_of(LAYERS)) for name, config in DIALECTS.items()},
    **{
        name: (config, tensors_of(DECI_LAYERS))
        for name, config in {
            "deci": DECI,
            "deci that says llama": TRAP,
            "DeciLM-6b": {**NO_MODEL_TYPE, "auto_map": REMOTE_CODE},
            "DeciLM-6b, null": {**NO_MODEL_TYPE, "model_type": None},
        }.items()
    },
    **{name: (checkpoint.config, checkpoint.tensors) for name, checkpoint in CHECKPOINTS.items()},
}


def written(folder: Path, name: str) -> Path:
    write_checkpoint(folder, *PUBLISHED[name])
    return folder


def logits(model_class, folder: Path) -> torch.Tensor:
    model, report = model_class.from_pretrained(
        folder, output_loading_info=True, attn_implementation="eager", trust_remote_code=False
    )
    assert not any(report.values()), report
    with torch.no_grad():
        return model.eval()(TOKENS.clamp(max=95)).logits


def class_of(name: str):
    return getattr(transformers_heterogeneous, name, None) or getattr(transformers, name)


def reads_right(model_class, folder: Path, expected: torch.Tensor) -> bool:
    try:
        return torch.equal(logits(model_class, folder), expected)
    except (AssertionError, ValueError, OSError, RuntimeError):
        return False


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_class_that_is_named_loads_the_checkpoint(name, tmp_path):
    """And where it is not the Auto class, that one does not: it refuses, or builds another model."""
    source = written(tmp_path / "source", name)
    convert(source, tmp_path / "ours")
    expected = logits(AutoModelForCausalLM, tmp_path / "ours")
    summary = summarise(source)
    assert reads_right(class_of(summary.loads_with), source, expected)
    by_auto = summary.loads_with == "AutoModelForCausalLM"
    assert reads_right(AutoModelForCausalLM, source, expected) is by_auto
    assert (summary.loading_note is None) is by_auto
    assert summarise(tmp_path / "ours").loads_with == "AutoModelForCausalLM"


@pytest.mark.parametrize("name", ["DeciLM-6b", "DeciLM-6b, null"])
def test_without_a_model_type(name, tmp_path):
    source = written(tmp_path / "source", name)
    result = CliRunner().invoke(app, ["inspect", str(source)])
    assert "loads with              HeterogeneousLlamaForCausalLM; without a model_type" in result.stdout
    found = json.loads(CliRunner().invoke(app, ["inspect", str(source), "--json"]).stdout)
    assert found["loads_with"] == "HeterogeneousLlamaForCausalLM" and "remote code" in found["loading_note"]


@pytest.mark.parametrize(
    ("quantise", "algorithm", "said_in"), [(fp8, "FP8", "config.json"), (nvfp4, "NVFP4", "hf_quant_config.json")]
)
@pytest.mark.parametrize("family", CLASSES)
def test_weights_of_modelopt(family, quantise, algorithm, said_in, tmp_path):
    """Our class refuses, transformers' own, where there is one, misreads; the command that is named makes what loads."""
    source = tmp_path / "source"
    write(source, family, quantise)
    config = json.loads((source / "config.json").read_text())
    config["quantization_config"]["quant_algo"] = algorithm
    if said_in == "hf_quant_config.json":
        del config["quantization_config"]
        (source / said_in).write_text(json.dumps({"quantization": {"quant_algo": algorithm}}))
    (source / "config.json").write_text(json.dumps(config))
    for path in (source, source / "config.json"):
        summary = summarise(path)
        assert summary.loads_with is None and algorithm in summary.loading_note
        assert f"{CLASSES[family]} refuses" in summary.loading_note
        assert "hetero convert --dequantise" in summary.loading_note
    if f"transformers' own {config['model_type']}" not in summary.loading_note:
        with pytest.raises(ValueError, match="--dequantise"):
            AutoModelForCausalLM.from_pretrained(source)
    elif quantise is fp8:
        assert type(AutoModelForCausalLM.from_pretrained(source)).__module__.startswith("transformers.models")
    else:
        with pytest.raises(RuntimeError, match="mismatch"):
            AutoModelForCausalLM.from_pretrained(source)
    convert(source, tmp_path / "ours", dequantise=True)
    assert summarise(tmp_path / "ours").loads_with == "AutoModelForCausalLM"
    assert logits(AutoModelForCausalLM, tmp_path / "ours").isfinite().all()


def test_a_quantised_cache_alone_is_loaded(tmp_path):
    quantisation = {"quant_method": "modelopt", "quant_algo": None, "kv_cache_quant_algo": "FP8"}
    write_checkpoint(tmp_path, {**DECI, "quantization_config": quantisation}, tensors_of(DECI_LAYERS))
    (tmp_path / "hf_quant_config.json").write_text(json.dumps({"quantization": {"quant_algo": None}}))
    assert summarise(tmp_path).loads_with == "AutoModelForCausalLM"
