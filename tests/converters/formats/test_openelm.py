"""OpenELM, which transformers 5 does not have: converted to a Qwen3 that computes what plain torch makes of the published files."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from transformers import AutoConfig, AutoModelForCausalLM
from transformers_heterogeneous import HeterogeneousQwen3ForCausalLM, UnreadFieldsError
from transformers_heterogeneous.converters import CheckpointError, convert, infer, prune, summarise, verify
from transformers_heterogeneous.converters.formats.openelm import width_of

from ..published import assert_same_tensors, read_tensors, write_checkpoint


CONFIG: dict[str, Any] = {
    "activation_fn_name": "swish",
    "architectures": ["OpenELMForCausalLM"],
    "auto_map": {
        "AutoConfig": "configuration_openelm.OpenELMConfig",
        "AutoModelForCausalLM": "modeling_openelm.OpenELMForCausalLM",
    },
    "bos_token_id": 1,
    "eos_token_id": 2,
    "ffn_dim_divisor": 16,
    "ffn_multipliers": [0.5, 0.95, 1.4],
    "ffn_with_glu": True,
    "head_dim": 16,
    "initializer_range": 0.02,
    "max_context_length": 64,
    "model_dim": 32,
    "model_type": "openelm",
    "normalization_layer_name": "rms_norm",
    "normalize_qk_projections": True,
    "num_gqa_groups": 2,
    "num_kv_heads": [1, 1, 2],
    "num_query_heads": [2, 3, 4],
    "num_transformer_layers": 3,
    "qkv_multipliers": [0.5, 1.0],
    "rope_freq_constant": 10000,
    "rope_max_length": 128,
    "share_input_output_layers": True,
    "torch_dtype": "float32",
    "transformers_version": "4.39.3",
    "use_cache": True,
    "vocab_size": 96,
}
WIDTHS = [16, 32, 48]  # of 16, 30.4 and 44.8
TOKENS = torch.randint(0, 96, (2, 13), generator=torch.Generator().manual_seed(3))


def tensors() -> dict[str, torch.Tensor]:
    size, dim = CONFIG["model_dim"], CONFIG["head_dim"]
    shapes = {"transformer.token_embeddings.weight": (96, size), "transformer.norm.weight": (size,)}
    for layer, (heads, kv_heads, width) in enumerate(
        zip(CONFIG["num_query_heads"], CONFIG["num_kv_heads"], WIDTHS, strict=True)
    ):
        inner = {
            "attn.qkv_proj": ((heads + 2 * kv_heads) * dim, size),
            "attn.q_norm": (dim,),
            "attn.k_norm": (dim,),
            "attn.out_proj": (size, heads * dim),
            "attn_norm": (size,),
            "ffn_norm": (size,),
            "ffn.proj_1": (2 * width, size),
            "ffn.proj_2": (size, width),
        }
        shapes |= {f"transformer.layers.{layer}.{name}.weight": shape for name, shape in inner.items()}
    generator = torch.Generator().manual_seed(4)
    return {name: torch.randn(shape, generator=generator) * 0.3 for name, shape in shapes.items()}


TENSORS = tensors()


def norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * weight


def turned(x: torch.Tensor) -> torch.Tensor:
    """RoPE of [batch, heads, tokens, dim]."""
    dim, length = x.shape[-1], x.shape[-2]
    frequencies = 1.0 / (10000 ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim))
    angles = torch.arange(length, dtype=torch.float32)[:, None] * frequencies[None]
    angles = torch.cat([angles, angles], dim=-1)
    first, second = x.chunk(2, dim=-1)
    return x * angles.cos() + torch.cat([-second, first], dim=-1) * angles.sin()


def openelm(state: dict[str, torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
    """What the published model computes, after its description, in plain torch."""
    x = state["transformer.token_embeddings.weight"][tokens]
    batch, length, dim = *tokens.shape, CONFIG["head_dim"]
    mask = torch.full((length, length), -math.inf).triu(1)
    for layer in range(CONFIG["num_transformer_layers"]):
        own = {name.partition(f".{layer}.")[2]: each for name, each in state.items() if f"layers.{layer}." in name}
        heads, kv_heads = CONFIG["num_query_heads"][layer], CONFIG["num_kv_heads"][layer]
        qkv = functional.linear(norm(x, own["attn_norm.weight"]), own["attn.qkv_proj.weight"])
        query, key, value = qkv.view(batch, length, -1, dim).split([heads, kv_heads, kv_heads], dim=2)
        query, key = norm(query, own["attn.q_norm.weight"]), norm(key, own["attn.k_norm.weight"])
        query, key, value = (each.transpose(1, 2) for each in (query, key, value))
        query, key = turned(query), turned(key)
        key, value = (each.repeat_interleave(heads // kv_heads, dim=1) for each in (key, value))
        weights = (query @ key.transpose(-1, -2) / math.sqrt(dim) + mask).softmax(-1)
        mixed = (weights @ value).transpose(1, 2).reshape(batch, length, -1)
        x = x + functional.linear(mixed, own["attn.out_proj.weight"])
        gate, up = functional.linear(norm(x, own["ffn_norm.weight"]), own["ffn.proj_1.weight"]).chunk(2, dim=-1)
        gate = functional.silu(gate.contiguous())  # of numbers that lie apart torch rounds it otherwise
        x = x + functional.linear(gate * up, own["ffn.proj_2.weight"])
    x = norm(x, state["transformer.norm.weight"])
    return functional.linear(x, state.get("lm_head.weight", state["transformer.token_embeddings.weight"]))


@pytest.fixture
def source(tmp_path) -> Path:
    write_checkpoint(tmp_path / "source", CONFIG, TENSORS)
    return tmp_path / "source"


@torch.no_grad()
def test_it_computes_what_is_published(source, tmp_path):
    report = convert(source, tmp_path / "ours")
    assert report.model_type == "heterogeneous_qwen3" and not report.dropped_fields
    model, loaded = AutoModelForCausalLM.from_pretrained(
        tmp_path / "ours", attn_implementation="eager", output_loading_info=True
    )
    assert not any(loaded.values()) and type(model) is HeterogeneousQwen3ForCausalLM
    assert model.config.intermediate_size == WIDTHS and model.config.num_attention_heads == [2, 3, 4]
    logits, expected = model.eval()(TOKENS).logits, openelm(TENSORS, TOKENS)
    assert torch.equal(logits, expected)
    assert logits.std() > 0.3
    assert verify(source, tmp_path / "ours").same


@torch.no_grad()
def test_a_head_of_its_own(tmp_path):
    head = {"lm_head.weight": torch.randn(96, 32, generator=torch.Generator().manual_seed(9))}
    write_checkpoint(tmp_path / "source", {**CONFIG, "share_input_output_layers": False}, TENSORS | head)
    convert(tmp_path / "source", tmp_path / "ours")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "ours", attn_implementation="eager").eval()
    assert torch.equal(model(TOKENS).logits, openelm(TENSORS | head, TOKENS))


def test_tensors_are_rows_of_the_published_ones(source, tmp_path):
    convert(source, tmp_path / "ours")
    found = read_tensors(tmp_path / "ours")
    attention = [found[f"model.layers.1.self_attn.{name}_proj.weight"] for name in "qkv"]
    assert torch.equal(torch.cat(attention), TENSORS["transformer.layers.1.attn.qkv_proj.weight"])
    mlp = [found[f"model.layers.2.mlp.{name}_proj.weight"] for name in ("gate", "up")]
    assert torch.equal(torch.cat(mlp), TENSORS["transformer.layers.2.ffn.proj_1.weight"])


def test_what_is_written_is_computed_where_nothing_is_remembered(source, tmp_path):
    convert(source, tmp_path / "ours", dtype="bfloat16")
    (tmp_path / "ours/hetero_origin.json").unlink(missing_ok=True)
    convert(tmp_path / "ours", tmp_path / "back", to="openelm")
    found = json.loads((tmp_path / "back/config.json").read_text())
    lists = ("num_query_heads", "num_kv_heads", "num_transformer_layers", "model_dim", "head_dim", "ffn_with_glu")
    assert {name: found[name] for name in lists} == {name: CONFIG[name] for name in lists}
    widths = [width_of(multiplier, 32, found["ffn_dim_divisor"]) for multiplier in found["ffn_multipliers"]]
    assert widths == WIDTHS
    assert_same_tensors(read_tensors(tmp_path / "back"), {name: each.bfloat16() for name, each in TENSORS.items()})
    convert(source, tmp_path / "cast", to="openelm", dtype="bfloat16")
    assert_same_tensors(read_tensors(tmp_path / "cast"), read_tensors(tmp_path / "back"))


def test_it_is_pruned_and_read_off_its_shapes(source, tmp_path):
    prune(source, tmp_path / "thinner", {2: {"intermediate_size": 16}})
    pruned = AutoConfig.from_pretrained(tmp_path / "thinner")
    assert pruned.intermediate_size == [16, 32, 16]
    rows = TENSORS["transformer.layers.2.ffn.proj_1.weight"]
    found = read_tensors(tmp_path / "thinner")
    gate, up = (found[f"model.layers.2.mlp.{name}_proj.weight"] for name in ("gate", "up"))
    assert torch.equal(torch.cat([gate, up]), torch.cat([rows[:16], rows[48:64]]))
    infer(source, tmp_path / "found")
    assert AutoConfig.from_pretrained(tmp_path / "found").intermediate_size == WIDTHS


BAD = {
    "norm": (
        {"normalization_layer_name": "layer_norm"},
        "normalization_layer_name = 'layer_norm': heterogeneous_qwen3",
    ),
    "no norms of queries": ({"normalize_qk_projections": False}, "normalize_qk_projections = False"),
    "plain MLP": ({"ffn_with_glu": False}, "ffn_with_glu = False"),
    "short": ({"num_kv_heads": [1, 1]}, "num_kv_heads = [1, 1]: a list with one entry for each of 3 layers"),
    "number": ({"ffn_multipliers": 4.0}, "ffn_multipliers = 4.0: a list with one entry"),
    "negative": ({"ffn_multipliers": [0.5, -1, 1]}, "ffn_multipliers = [0.5, -1, 1]: positive numbers are needed"),
    "divisor": ({"ffn_dim_divisor": 0}, "ffn_dim_divisor = 0: a positive integer is needed"),
    "deep": ({"num_transformer_layers": 10**9}, "num_transformer_layers = 1000000000"),
    "heads": (
        {"num_kv_heads": [2, 2, 2]},
        "layers [1]: num_key_value_heads = 2 does not divide num_attention_heads = 3",
    ),
    "rows": ({"num_query_heads": [2, 3, 6]}, "transformer.layers.2.attn.qkv_proj.weight"),
    "unread": ({"skip_layers": [1]}, "skip_layers = [1] may describe the layers, and nothing reads it"),
}


@pytest.mark.parametrize(("changes", "said"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_read(changes, said, tmp_path):
    write_checkpoint(tmp_path / "source", {**CONFIG, **changes}, TENSORS)
    with pytest.raises(CheckpointError) as error:
        convert(tmp_path / "source", tmp_path / "ours")
    assert said in str(error.value) and not (tmp_path / "ours").exists()


def test_no_class_loads_it_as_it_is(source):
    """The family's would find none of its tensors."""
    summary = summarise(source)
    assert summary.format == "openelm" and summary.loads_with is None and "hetero convert" in summary.loading_note
    with pytest.raises(UnreadFieldsError, match="num_query_heads"):
        HeterogeneousQwen3ForCausalLM.from_pretrained(source)
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        AutoModelForCausalLM.from_pretrained(source, trust_remote_code=False)


def test_the_published_1_1b(tmp_path):
    """Its config, field for field, and how many parameters it is said to have."""
    heads = [*[16] * 3, *[20] * 7, *[24] * 8, *[28] * 6, *[32] * 4]
    multipliers = [0.5, 0.63, 0.76, 0.89, 1.02, 1.15, 1.28, 1.41, 1.54, 1.67, 1.8, 1.93, 2.06, 2.19]
    multipliers += [2.31, 2.44, 2.57, 2.7, 2.83, 2.96, 3.09, 3.22, 3.35, 3.48, 3.61, 3.74, 3.87, 4.0]
    config = {**CONFIG, "model_dim": 2048, "head_dim": 64, "ffn_dim_divisor": 256, "vocab_size": 32000}
    config |= {"num_transformer_layers": 28, "num_query_heads": heads, "num_kv_heads": [n // 4 for n in heads]}
    config |= {"ffn_multipliers": multipliers, "num_gqa_groups": 4}
    (tmp_path / "config.json").write_text(json.dumps(config))
    summary = summarise(tmp_path / "config.json")
    assert summary.num_parameters == 1_079_891_456
    widths = [layer.intermediate_size for layer in summary.layers]
    assert widths[:2] == [1024, 1280] and (widths[13], widths[27]) == (4608, 8192)
    assert [width_of(asked, 1, divisor) for asked, divisor in ((600, 256), (100, 256), (13, 8))] == [768, 256, 16]
