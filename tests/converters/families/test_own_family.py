"""A family that nobody has written a word about in `converters/families`: what a generator wrote, in a package of its own."""

import importlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import transformers_heterogeneous
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers_heterogeneous.converters import CheckpointError, convert, summarise
from transformers_heterogeneous.converters.families import family_of, found_families

from ..published import read_tensors


GENERATED = Path(transformers_heterogeneous.__file__).parent
FIELDS = {
    "vocab_size": 96,
    "hidden_size": 32,
    "head_dim": 8,
    "num_hidden_layers": 4,
    "num_attention_heads": [4, None, 2, 4],
    "num_key_value_heads": [2, None, 1, 2],
    "intermediate_size": [48, 24, None, 48],
    "mixer_types": ["attention", "linear", "attention", "attention"],
    "mlp_types": ["dense", "dense", "none", "dense"],
    "attention_bias": True,
    "dtype": "float32",
}


@pytest.fixture
def family(tmp_path, monkeypatch):
    """Llama's generated files under another name, registered with the Auto classes."""
    package = tmp_path / "own_toys"
    package.mkdir()
    (package / "__init__.py").touch()
    for kind in ("configuration", "modeling"):
        text = (GENERATED / f"{kind}_heterogeneous_llama.py").read_text()
        text = text.replace("HeterogeneousLlama", "HeterogeneousToy").replace(
            "heterogeneous_llama", "heterogeneous_toy"
        )
        for shared in ("configuration", "modeling"):
            text = text.replace(
                f"from .{shared}_heterogeneous ", f"from transformers_heterogeneous.{shared}_heterogeneous "
            )
        (package / f"{kind}_heterogeneous_toy.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    modeling = importlib.import_module("own_toys.modeling_heterogeneous_toy")
    config_class = importlib.import_module("own_toys.configuration_heterogeneous_toy").HeterogeneousToyConfig
    AutoConfig.register("heterogeneous_toy", config_class)
    AutoModelForCausalLM.register(config_class, modeling.HeterogeneousToyForCausalLM)
    yield config_class, modeling.HeterogeneousToyForCausalLM
    CONFIG_MAPPING._extra_content.pop("heterogeneous_toy")
    AutoModelForCausalLM._model_mapping._extra_content.pop(config_class)


def test_it_converts_and_inspects_all_the_same(family, tmp_path):
    config_class, model_class = family
    torch.manual_seed(0)
    model = model_class(config_class(**FIELDS)).eval()
    model.save_pretrained(tmp_path / "saved")
    summary = summarise(tmp_path / "saved")
    assert summary.format == summary.model_type == "heterogeneous_toy"
    assert summary.num_parameters == model.num_parameters()
    layers = [sum(each.numel() for each in layer.parameters()) for layer in model.model.layers]
    assert [layer.num_parameters for layer in summary.layers] == layers
    assert [layer.num_attention_heads for layer in summary.layers] == FIELDS["num_attention_heads"]
    assert [layer.kv_cache_bytes_per_token for layer in summary.layers] == [128, 0, 64, 128]

    report = convert(tmp_path / "saved", tmp_path / "cast", dtype="float64")
    assert report.num_parameters == model.num_parameters()
    found = read_tensors(tmp_path / "cast")
    assert found.keys() == load_file(tmp_path / "saved/model.safetensors").keys()
    assert all(torch.equal(tensor, model.state_dict()[name].double()) for name, tensor in found.items())
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "cast", dtype=torch.float32).eval()
    tokens = torch.arange(7)[None]
    assert torch.equal(again(tokens).logits, model(tokens).logits)


def test_what_its_models_do_not_have_is_refused_by_name(family, tmp_path):
    config_class, model_class = family
    model_class(config_class(**FIELDS)).save_pretrained(tmp_path / "saved")
    path = tmp_path / "saved/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "intermediate_size": [48, 32, None, 48]}))
    with pytest.raises(
        CheckpointError, match=r"layers\.1\.mlp\.up_proj\.weight.*shape \[24, 32\], expected \[32, 32\]"
    ):
        convert(tmp_path / "saved", tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_every_config_of_the_package_is_a_family():
    names = {family.config_class.model_type for family in found_families()}
    written = {path.stem.removeprefix("configuration_") for path in GENERATED.glob("configuration_*_*.py")}
    assert names == written - {
        "heterogeneous_qwen3_vl",
        "heterogeneous_qwen3_vl_moe",
    }  # whose text models are one of several
    assert [family_of(family.config_class) for family in found_families()] == list(found_families())
