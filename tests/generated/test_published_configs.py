"""Unconverted `nemotron-nas` and `deci` checkpoints: what their configs become, and that plain Auto classes load them."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedTokenizerFast,
)
from transformers_heterogeneous import HeterogeneousLlamaConfig, HeterogeneousLlamaForCausalLM

from .stock import StockModel


DATA = Path(__file__).parent.parent / "data"
SUPER_49B = DATA / "nvidia--Llama-3_3-Nemotron-Super-49B-v1.json"
DECILM_7B = DATA / "Deci--DeciLM-7B.json"
SMALL = {
    "hidden_size": 64,
    "num_attention_heads": 8,
    "num_hidden_layers": 2,
    "vocab_size": 64,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def block(attention: dict | None = None, ffn: dict | None = None, **other) -> dict:
    """An entry of `block_configs` in the published schema, changed where told."""
    attention_defaults = {
        "n_heads_in_group": 4,
        "no_op": False,
        "num_sink_tokens": None,
        "replace_with_linear": False,
        "sparsify": None,
        "unshifted_sink": False,
        "use_prefill_window_in_sink_attention": False,
        "window_length": None,
    }
    ffn_defaults = {"ffn_mult": 1.3125, "no_op": False, "replace_with_linear": False, "sparsify": None}
    return {"attention": attention_defaults | (attention or {}), "ffn": ffn_defaults | (ffn or {}), **other}


def read(*blocks: dict, **globals_) -> HeterogeneousLlamaConfig:
    fields = {**SMALL, "intermediate_size": None, "num_key_value_heads": None, **globals_}
    return HeterogeneousLlamaConfig.from_dict(
        {**fields, "num_hidden_layers": len(blocks), "block_configs": list(blocks)}
    )


# --- the two configs that are known verbatim --------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "num_parameters"), [(SUPER_49B, 49_867_145_216), (DECILM_7B, 7_043_551_232)])
def test_published_parameter_counts(path, num_parameters):
    config = AutoConfig.from_pretrained(path)
    assert type(config) is HeterogeneousLlamaConfig
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == num_parameters


def test_super_49b():
    config = AutoConfig.from_pretrained(SUPER_49B)
    assert config.mixer_types.count("attention") == 49 and config.mlp_types == ["dense"] * 80
    assert set(config.intermediate_size) == {2816, 5632, 7168, 14336, 17920, 28672}
    assert (config.num_key_value_heads, config.head_dim) == (8, 128)
    assert config.rope_parameters["rope_type"] == "llama3" and config.rope_parameters["rope_theta"] == 500000.0
    assert not hasattr(config, "auto_map") and not hasattr(config, "block_configs")
    assert config.model_type == "heterogeneous_llama"


def test_decilm_7b():
    published = json.loads(DECILM_7B.read_text())
    config = AutoConfig.from_pretrained(DECILM_7B)
    assert config.num_key_value_heads == published["num_key_value_heads_per_layer"]
    expected = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    assert {name: config.rope_parameters[name] for name in expected} == expected
    assert config.intermediate_size == 14336 and not config.per_layer_attributes - {"num_key_value_heads"}


# --- the dialects -----------------------------------------------------------------------------------------------------


def test_first_schema():
    config = read(
        block(),
        block({"n_heads_in_group": 2, "window_length": 8}, {"ffn_mult": 5.25}),
        block({"no_op": True, "n_heads_in_group": None}, {"no_op": True, "ffn_mult": None}),
        block(
            {"replace_with_linear": True, "n_heads_in_group": None}, {"replace_with_linear": True, "ffn_mult": None}
        ),
    )
    assert config.mixer_types == ["attention", "attention", "none", "linear"]
    assert config.mlp_types == ["dense", "dense", "none", "linear"]
    assert config.num_key_value_heads == [2, 4, None, None]
    assert config.sliding_window == 8 and [layer.sliding_window for layer in config.per_layer_config][:2] == [None, 8]
    assert config.head_dim == 8


@pytest.mark.parametrize(
    ("ffn_mult", "hidden_size", "width"),
    [
        (5.25, 8192, 28672),
        (2.625, 8192, 14336),
        (3.28125, 8192, 17920),
        (1.0, 8192, 5632),
        (0.5, 8192, 2816),
        (4.875, 16384, 53248),
    ],
)
def test_widths_of_published_models(ffn_mult, hidden_size, width):
    assert read(block(ffn={"ffn_mult": ffn_mult}), hidden_size=hidden_size).intermediate_size == width


def test_oldest_schema_has_three_fields():
    oldest = {"attention": {"n_heads_in_group": 8, "no_op": False, "replace_with_linear": False}}
    config = read({**oldest, "ffn": {"ffn_mult": 2.0, "no_op": False, "replace_with_linear": False}})
    assert (config.num_key_value_heads, config.intermediate_size) == (1, 256)


def test_second_schema_gives_widths_and_its_own_head_dim():
    ffn = {
        "intermediate_size": 512,
        "gated": True,
        "hidden_act": "silu",
        "moe": None,
        "weights_precision": "bf16",
        "no_op": False,
    }
    attention = {"n_heads_in_group": 2, "mamba": None, "llama4": None, "weights_precision": "bf16", "no_op": False}
    second = {"attention": attention, "ffn": ffn, "parallel_blocks": None}
    absent = {**SMALL, "block_configs": [second, second], "position_embedding_type": "rope", "o_proj_bias": False}
    config = HeterogeneousLlamaConfig.from_dict(absent)
    assert (config.num_key_value_heads, config.intermediate_size, config.head_dim) == (4, 512, 128)
    assert HeterogeneousLlamaConfig.from_dict({**absent, "head_dim": 8}).head_dim == 8


def test_puzzletrons_schema():
    blocks = [
        {"attention": {"num_key_value_heads": kv}, "ffn": {"intermediate_size": width}}
        for kv, width in ((2, 96), (8, 64))
    ]
    config = read(*blocks)
    assert (config.num_key_value_heads, config.intermediate_size, config.head_dim) == ([2, 8], [96, 64], 8)


def test_fine_tunes_that_say_llama():
    """Re-saved DeciLM-6b: the model type and the number of KV heads are false."""
    trap = {**SMALL, "model_type": "llama", "num_key_value_heads": 8, "num_key_value_heads_per_layer": [8, 2]}
    trap |= {
        "auto_map": {"AutoConfig": "Deci/DeciLM-6b-instruct--configuration_decilm.DeciLMConfig"},
        "naive_attention_prefill": True,
    }
    config = HeterogeneousLlamaConfig.from_dict(trap)
    assert config.num_key_value_heads == [8, 2]
    assert not hasattr(config, "auto_map") and not hasattr(config, "naive_attention_prefill")


# --- what cannot be expressed -----------------------------------------------------------------------------------------

REFUSED = {
    "sparsify": (block({"sparsify": ["2:4"]}), r"block_configs\[1\].attention: sparsify"),
    "ffn_sparsify": (block(ffn={"sparsify": ["2:4"]}), r"block_configs\[1\].ffn: sparsify"),
    "sinks": (block({"num_sink_tokens": 4, "window_length": 8}), r"block_configs\[1\].attention: num_sink_tokens = 4"),
    "unshifted_sink": (block({"unshifted_sink": True}), r"block_configs\[1\].attention: unshifted_sink"),
    "llama4": (block({"llama4": {"use_rope": False}}), r"block_configs\[1\].attention: llama4"),
    "mamba": (block({"mamba": {"state_dim": 128}}), r"block_configs\[1\].attention: mamba"),
    "moe": (block(ffn={"moe": {"num_local_experts": 8}}), r"block_configs\[1\].ffn: moe"),
    "parallel_blocks": (block(parallel_blocks=[block()]), r"block_configs\[1\]: parallel_blocks"),
    "not_gated": (block(ffn={"gated": False}), r"block_configs\[1\].ffn: gated = False"),
    "other_activation": (
        block(ffn={"hidden_act": "gelu"}),
        r"block_configs\[1\].ffn: hidden_act = 'gelu', of other layers 'silu'",
    ),
    "precision": (block({"weights_precision": "fp8"}), r"block_configs\[1\].attention: weights_precision = 'fp8'"),
    "future_field": (block({"rotary_base": 7}), r"block_configs\[1\].attention: rotary_base = 7"),
    "group_size": (
        block({"n_heads_in_group": 3}),
        r"block_configs\[1\].attention: n_heads_in_group = 3 does not divide",
    ),
    "no_group": (block({"n_heads_in_group": None}), r"block_configs\[1\].attention: needs n_heads_in_group"),
    "no_width": (block(ffn={"ffn_mult": None}), r"block_configs\[1\].ffn: needs ffn_mult"),
    "no_block": (None, r"block_configs\[1\] = None: an object with attention and ffn"),
    "text_for_a_number": (block(ffn={"ffn_mult": "2"}), r"block_configs\[1\].ffn: ffn_mult = '2': a positive number"),
    "infinite_width": (block(ffn={"ffn_mult": float("inf")}), r"block_configs\[1\].ffn: ffn_mult = inf: a positive"),
    "negative_group": (block({"n_heads_in_group": -2}), r"attention: n_heads_in_group = -2: a positive integer"),
    "no_window": (block({"window_length": 0}), r"attention: window_length = 0: a positive integer"),
    "no_ffn": ({"attention": {"no_op": True}}, r"block_configs\[1\].ffn = None: an object is needed"),
}


@pytest.mark.parametrize(("bad", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_expressed_is_refused_by_name(bad, message):
    with pytest.raises(ValueError, match=message):
        read(block(), bad)


def test_a_nemotron_config_without_blocks_says_so(tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps({**SMALL, "model_type": "nemotron-nas", "intermediate_size": None})
    )
    with pytest.raises(ValueError, match="block_configs is missing"):
        AutoConfig.from_pretrained(tmp_path)


def test_all_errors_come_together():
    with pytest.raises(ValueError) as error:
        read(block({"sparsify": ["2:4"]}), block(ffn={"gated": False}), num_hidden_layers=3)
    assert "block_configs[0].attention" in str(error.value) and "block_configs[1].ffn" in str(error.value)
    with pytest.raises(ValueError, match="block_configs has 1 entries, num_hidden_layers is 2"):
        HeterogeneousLlamaConfig.from_dict({**SMALL, "block_configs": [block()]})


@pytest.mark.parametrize("field", [{"position_embedding_type": "rope_llama4"}, {"o_proj_bias": True}])
def test_inexpressible_globals_are_refused(field):
    with pytest.raises(ValueError, match=f"{next(iter(field))} = .* cannot be expressed"):
        read(block(), **field)


# --- loading the unconverted folder -----------------------------------------------------------------------------------

TABLE = {
    "hidden_size": 64,
    "head_dim": 8,
    "vocab_size": 64,
    "max_position_embeddings": 128,
    "num_hidden_layers": 5,
    "num_attention_heads": 8,
    "num_key_value_heads": [2, None, 4, None, None],
    "mixer_types": ["attention", "none", "attention", "linear", "none"],
    "mlp_types": ["dense", "dense", "linear", "dense", "none"],
    "intermediate_size": [256, 512, None, 256, None],
}
BLOCKS = [
    block(),
    block({"no_op": True}, {"ffn_mult": 10.0}),
    block({"n_heads_in_group": 2}, {"replace_with_linear": True}),
    block({"replace_with_linear": True}),
    block({"no_op": True}, {"no_op": True}),
]


@pytest.fixture
def published(tmp_path):
    """A folder as NVIDIA publishes them, its remote code unusable, and the stock model whose weights it holds."""
    torch.manual_seed(5)
    stock = StockModel(TABLE, "sdpa").eval()
    tensors = {name: tensor.clone() for name, tensor in stock.state_dict().items()}
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    config = {
        **SMALL,
        "architectures": ["DeciLMForCausalLM"],
        "auto_map": {
            "AutoConfig": "configuration_decilm.DeciLMConfig",
            "AutoModelForCausalLM": "modeling_decilm.DeciLMForCausalLM",
        },
        "block_configs": BLOCKS,
        "intermediate_size": None,
        "max_position_embeddings": 128,
        "model_type": "nemotron-nas",
        "num_hidden_layers": 5,
        "num_key_value_heads": None,
        "rms_norm_eps": 1e-6,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "torch_dtype": "float32",
        "transformers_version": "4.48.3",
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    for name in ("configuration_decilm.py", "modeling_decilm.py"):
        (tmp_path / name).write_text("raise RuntimeError('remote code was executed')\n")
    vocabulary = {character: number for number, character in enumerate("abcdefghijklmnopqrstuvwxyz ")}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(tmp_path)
    return tmp_path, stock


@pytest.mark.parametrize("trust_remote_code", [None, True, False])
def test_auto_classes_load_the_unconverted_folder(published, trust_remote_code):
    folder, stock = published
    options = {} if trust_remote_code is None else {"trust_remote_code": trust_remote_code}
    tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    model, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, **options)
    assert type(model) is HeterogeneousLlamaForCausalLM and not any(report.values())
    tokens = tokenizer("hello puzzle", return_tensors="pt").input_ids
    assert torch.equal(model.eval()(tokens).logits, stock(tokens))


def test_saving_writes_the_familys_format(published, tmp_path):
    folder, _ = published
    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved/config.json").read_text())
    assert (saved["model_type"], saved["architectures"]) == ("heterogeneous_llama", ["HeterogeneousLlamaForCausalLM"])
    assert "auto_map" not in saved and "block_configs" not in saved
    assert saved["mixer_types"] == TABLE["mixer_types"] and saved["intermediate_size"] == TABLE["intermediate_size"]
    assert AutoModel.from_pretrained(tmp_path / "saved").config.to_diff_dict() == AutoConfig.from_pretrained(
        folder
    ).to_diff_dict() | {"architectures": ["HeterogeneousLlamaForCausalLM"]}


def test_old_deci_folder_with_dynamic_rope(tmp_path):
    table = {**TABLE, "num_hidden_layers": 2, "mixer_types": None, "mlp_types": None, "intermediate_size": 96}
    stock = StockModel({**table, "num_key_value_heads": [2, 4]}, "sdpa").eval()
    tensors = {name: tensor.clone() for name, tensor in stock.state_dict().items()}
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    config = {**SMALL, "rms_norm_eps": 1e-6, "max_position_embeddings": 128, "intermediate_size": 96}
    config |= {"model_type": "deci", "num_key_value_heads_per_layer": [2, 4]}
    config["rope_scaling"] = {"type": "dynamic", "factor": 2.0}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model, report = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()) and model.config.rope_parameters["rope_type"] == "dynamic"
    tokens = torch.arange(2, 22)[None]  # within the trained length, where dynamic scaling does nothing yet
    torch.testing.assert_close(model.eval()(tokens).logits, stock(tokens), atol=1e-6, rtol=1e-5)
