"""`hetero inspect`: its numbers are the published ones, and those of models built on the meta device."""

import json
import math
import struct
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache
from transformers_heterogeneous import HeterogeneousLlamaForCausalLM
from transformers_heterogeneous.converters import summarise
from transformers_heterogeneous.converters.formats import recognition
from transformers_heterogeneous.integrations.installing import how_to_install
from transformers_heterogeneous.scripts.command import plot
from transformers_heterogeneous.scripts.command.cli import app


DATA = Path(__file__).parent.parent / "data"
SUPER = DATA / "nvidia--Llama-3_3-Nemotron-Super-49B-v1.json"
DECI = DATA / "Deci--DeciLM-7B.json"
# Layers of all kinds; the heads of layer 3 are its own
MIXED = {
    "model_type": "heterogeneous_llama",
    "vocab_size": 96,
    "hidden_size": 64,
    "head_dim": 16,
    "num_hidden_layers": 6,
    "mixer_types": ["attention", "none", "linear", "attention", "none", "attention"],
    "mlp_types": ["dense", "dense", "none", "linear", "none", "dense"],
    "num_attention_heads": [4, None, None, 2, None, 4],
    "num_key_value_heads": [2, None, None, 1, None, 2],
    "intermediate_size": [32, 48, None, None, None, 32],
    "sliding_window": [None, None, None, 8, None, None],
    "attention_bias": True,
    "mlp_bias": True,
    "dtype": "float32",
}


def run(*arguments: object):
    return CliRunner().invoke(app, ["inspect", *map(str, arguments)])


def write(folder: Path, config: dict, name: str = "config.json") -> Path:
    (folder / name).write_text(json.dumps(config))
    return folder / name


@pytest.mark.parametrize(
    ("path", "num_parameters", "num_attention", "cache"),
    [(SUPER, 49_867_145_216, 49, 49 * 2 * 8 * 128 * 2), (DECI, 7_043_551_232, 32, 67 * 2 * 128 * 2)],
    ids=["Super-49B-v1", "DeciLM-7B"],
)
def test_published_numbers(path, num_parameters, num_attention, cache):
    summary = summarise(path)
    assert summary.num_parameters == num_parameters
    assert sum(layer.mixer == "attention" for layer in summary.layers) == num_attention
    assert summary.kv_cache_bytes_per_token == cache
    assert summary.dtype == "bfloat16"


PUBLISHED = {
    "nvidia--gpt-oss-puzzle-88B": (88_150_438_080, 5_708_664_000),
    "openai--gpt-oss-20b": (20_914_757_184, 4_187_440_704),
    "openai--gpt-oss-120b": (116_829_156_672, 5_711_982_912),
    "nvidia--Nemotron-H-8B-Base-8K": (8_100_852_736, 8_100_852_736),
    "nvidia--NVIDIA-Nemotron-Nano-9B-v2": (8_888_227_328, 8_888_227_328),
    "nvidia--NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": (31_577_937_344, 3_580_073_408),
}


@pytest.mark.parametrize(("name", "counts"), PUBLISHED.items(), ids=PUBLISHED.keys())
def test_published_numbers_of_other_families(name, counts):
    """As published: 88B with 5.71B active, 31.6B with 3.58B active; and as models on the meta device have them."""
    summary = summarise(DATA / f"{name}.json")
    assert (summary.num_parameters, summary.num_active_parameters) == counts
    config = AutoConfig.from_pretrained(DATA / f"{name}.json")
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == counts[0]


GRANITE = {
    "model_type": "heterogeneous_granite_moe_hybrid",
    "vocab_size": 96,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 4,
    "mixer_types": ["mamba", "attention", "none", "mamba"],
    "mlp_types": ["moe", "dense", "moe", "none"],
    "num_key_value_heads": 2,
    "num_local_experts": [4, None, 8, None],
    "intermediate_size": 32,
    "shared_intermediate_size": [48, 40, 48, None],
    "mamba_n_heads": 8,
    "mamba_d_state": 16,
    "dtype": "float32",
}
NEMOTRON = {
    "model_type": "heterogeneous_nemotron_h",
    "vocab_size": 96,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "head_dim": 16,
    "mixer_types": ["mamba", "none", "attention", "none", "none"],
    "mlp_types": ["none", "moe", "none", "dense", "none"],
    "ssm_state_size": 12,
    "mamba_num_heads": 8,
    "mamba_head_dim": 16,
    "n_groups": 2,
    "n_routed_experts": 4,
    "moe_intermediate_size": 24,
    "moe_latent_size": 32,
    "moe_shared_expert_intermediate_size": 40,
    "intermediate_size": 48,
    "num_key_value_heads": 1,
    "dtype": "float32",
}
GPT_OSS = {
    "model_type": "heterogeneous_gpt_oss",
    "vocab_size": 96,
    "hidden_size": 64,
    "head_dim": 16,
    "num_attention_heads": 4,
    "num_key_value_heads": [2, None, 1],
    "num_hidden_layers": 3,
    "mixer_types": ["attention", "none", "attention"],
    "mlp_types": ["moe", "moe", "none"],
    "num_local_experts": [4, 2, None],
    "num_experts_per_tok": 2,
    "intermediate_size": [32, 16, None],
    "sliding_window": [8, None, 16],
    "dtype": "float32",
}


@pytest.mark.parametrize("fields", [GPT_OSS, GRANITE, NEMOTRON], ids=lambda fields: fields["model_type"])
def test_counts_and_caches_are_those_of_a_model(tmp_path, fields):
    """Tensors are what `save_pretrained` writes; keys, values and states are what a cache holds after 6 tokens."""
    path = write(tmp_path, fields)
    summary = summarise(path)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tmp_path)).eval()
    model.save_pretrained(tmp_path / "saved")
    saved = load_file(tmp_path / "saved" / "model.safetensors")
    published, config_dict = recognition.read_config(path)
    shapes = published.family.tensor_shapes(recognition.family_config(published, config_dict, str(path)))
    assert shapes == {name: tuple(tensor.shape) for name, tensor in saved.items()}
    assert summary.num_parameters == sum(parameter.numel() for parameter in model.parameters())
    cache = DynamicCache(config=model.config)
    with torch.no_grad():
        model(torch.arange(6)[None], cache=cache, use_cache=True)
    for layer, cached in zip(summary.layers, cache.layers, strict=True):
        states = [
            state for name in ("conv_states", "recurrent_states") for state in getattr(cached, name, {}).values()
        ]
        assert layer.state_bytes == sum(state.numel() * state.element_size() for state in states)
        keys = getattr(cached, "keys", None)
        assert layer.kv_cache_bytes_per_token * 6 == (0 if keys is None else 2 * keys.numel() * keys.element_size())


def test_the_table_shows_what_the_layers_have(tmp_path):
    result = run(write(tmp_path, NEMOTRON))
    for title in ("state", "experts", "top-k", "shared", "latent", "with mamba", "with experts", "active for a token"):
        assert title in result.stdout
    assert "latent" not in run(write(tmp_path, GRANITE)).stdout


@pytest.mark.parametrize("path", [SUPER, DECI, MIXED, {**MIXED, "tie_word_embeddings": True}], ids=str)
def test_counts_are_those_of_the_model(tmp_path, path):
    """Names and shapes, too: the table that converters check checkpoints against."""
    path = path if isinstance(path, Path) else write(tmp_path, path)
    published, config_dict = recognition.read_config(path)
    config = recognition.family_config(published, config_dict, str(path))
    with torch.device("meta"):
        model = HeterogeneousLlamaForCausalLM(config)
    parameters = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    assert published.family.tensor_shapes(config) == parameters
    summary = summarise(path)
    assert summary.num_parameters == sum(map(math.prod, parameters.values()))
    for layer_idx, layer in enumerate(summary.layers):
        assert layer.num_parameters == sum(
            parameter.numel() for parameter in model.model.layers[layer_idx].parameters()
        )


def test_layers_of_all_kinds(tmp_path):
    layers = summarise(write(tmp_path, MIXED)).layers
    assert [layer.kv_cache_bytes_per_token for layer in layers] == [
        2 * 2 * 16 * 4,
        0,
        0,
        2 * 1 * 16 * 4,
        0,
        2 * 2 * 16 * 4,
    ]
    assert [layer.sliding_window for layer in layers] == [None, None, None, 8, None, None]
    assert (layers[3].num_attention_heads, layers[3].num_key_value_heads) == (2, 1)
    assert (layers[2].mixer, layers[2].num_attention_heads, layers[2].intermediate_size) == ("linear", None, None)
    assert layers[4].num_parameters == 0


def test_windows_bound_the_cache(tmp_path):
    summary = summarise(write(tmp_path, MIXED))
    assert summary.kv_cache_bytes_per_token - summary.kv_cache_bytes_per_token_past_windows == 2 * 1 * 16 * 4


def test_config_without_dtype(tmp_path):
    config = {name: value for name, value in MIXED.items() if name != "dtype"}
    summary = summarise(write(tmp_path, config))
    assert (summary.dtype, summary.cache_dtype) == (None, "bfloat16")
    assert summary.kv_cache_bytes_per_token == (2 + 1 + 2) * 2 * 16 * 2


def test_plain_llama_is_uniform(tmp_path):
    config = {"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128}
    summary = summarise(write(tmp_path, {**config, "num_hidden_layers": 3, "vocab_size": 96}).parent)
    assert len(set(summary.layers)) == 1 and summary.format == "llama"


def test_table_folds_equal_layers(tmp_path):
    result = run(SUPER)
    assert result.exit_code == 0
    rows = [line.split() for line in result.stdout.splitlines() if line[:1].isdigit()]
    assert ["12-41", "attention", "64", "8", "full", "dense", "28,672", "855,654,400", "4,096"] in rows
    assert ["42", "-", "-", "-", "-", "dense", "7,168", "176,168,960", "-"] in rows
    assert len(rows) == 25 and max(map(len, result.stdout.splitlines()[1:])) <= 80
    assert "49,867,145,216" in result.stdout and "200,704 bytes" in result.stdout


def test_blocks_that_are_one_module_are_shown(tmp_path):
    plain = run(write(tmp_path, MIXED)).stdout
    assert "fused" not in plain
    result = run(write(tmp_path, {**MIXED, "fused_blocks": ["add_norm", "norm_mlp", "none", "none", "none", "none"]}))
    rows = {line.split()[0]: line for line in result.stdout.splitlines() if line[:1].isdigit()}
    assert "fused" in result.stdout and "add_norm" in rows["0"] and "norm_mlp" in rows["1"]
    assert "norm" not in rows["2"]
    layers = summarise(tmp_path / "config.json").layers
    assert [layer.fused_block for layer in layers] == ["add_norm", "norm_mlp", None, None, None, None]


def test_json_has_every_layer():
    result = run(SUPER, "--json")
    summary = json.loads(result.stdout)
    assert result.exit_code == 0 and len(summary["layers"]) == 80
    assert summary["num_parameters"] == 49_867_145_216
    assert [layer["intermediate_size"] for layer in summary["layers"][:2]] == [14336, 28672]
    assert summary["layers"][6]["num_key_value_heads"] is None


def bar_colours(path: Path) -> set[str]:
    text = path.read_text()
    ElementTree.fromstring(text)
    return {colour for colour in ("#0072b2", "#56b4e9", "#e69f00", "#009e73", "#e3e3e3") if colour in text}


def test_picture_shows_what_is_there(tmp_path):
    assert run(DECI, "--plot", tmp_path / "uniform.svg").exit_code == 0
    assert bar_colours(tmp_path / "uniform.svg") == {"#0072b2", "#009e73"}
    assert run(write(tmp_path, MIXED), "--plot", tmp_path / "mixed.svg").exit_code == 0
    assert bar_colours(tmp_path / "mixed.svg") == {"#0072b2", "#56b4e9", "#e69f00", "#009e73", "#e3e3e3"}


@pytest.mark.parametrize(
    ("number", "words"),
    [(49_867_145_216, "49.87 billion"), (1_234_567, "1.23 million"), (999, "999"), (2_500, "2.50 thousand")],
)
def test_picture_counts_in_a_fitting_unit(number, words):
    assert plot.in_words(number) == words


def test_picture_as_png(tmp_path):
    assert run(SUPER, "--json", "--plot", tmp_path / "layers.png").exit_code == 0
    content = (tmp_path / "layers.png").read_bytes()
    width, height = struct.unpack(">II", content[16:24])
    assert content.startswith(b"\x89PNG") and width > height > 500


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere",), ["nowhere"]),
        ((".",), ["config.json"]),
        ((SUPER, "--plot", "layers.jpg"), ["layers.jpg", ".png", ".svg", ".pdf"]),
        ((SUPER, "--plot", "layers"), ["layers", ".png"]),
        ((SUPER, "--plot", "no/such/folder/layers.png"), ["no/such/folder/layers.png"]),
    ],
    ids=["no such path", "folder without config", "jpg", "no extension", "folder that is not there"],
)
def test_refusals(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2 and not result.stdout
    assert all(word in result.stderr for word in words)
    assert not list(tmp_path.iterdir())


def test_unknown_model_type(tmp_path):
    result = run(write(tmp_path, {"model_type": "phi3"}))
    assert result.exit_code == 2 and "phi3" in result.stderr and "nemotron-nas" in result.stderr


def test_wrong_layers_are_named(tmp_path):
    result = run(write(tmp_path, {**MIXED, "mixer_types": ["attention"] * 5 + ["magic"]}))
    assert result.exit_code == 2 and "mixer_types[5]" in result.stderr and "magic" in result.stderr


def test_picture_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = run(SUPER, "--plot", tmp_path / "layers.png")
    assert result.exit_code == 2 and result.stdout == run(SUPER).stdout
    assert result.stderr == f"--plot needs matplotlib: {how_to_install('plot')}\n"
    assert run(SUPER, "--plot", tmp_path / "layers.jpg").stdout == ""
    assert not list(tmp_path.iterdir())
