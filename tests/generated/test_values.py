"""Values that no model runs with are refused: all at once, by field and value. What is odd and works is taken."""

import json
import math

import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError, StrictDataclassFieldValidationError

from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from .test_every_family import FAMILIES, every_kind


REFUSALS = (ValueError, StrictDataclassClassValidationError, StrictDataclassFieldValidationError)
EPS = {"llama": "rms_norm_eps", "gpt_oss": "rms_norm_eps", "granite_moe_hybrid": "rms_norm_eps"}
EPS |= {"nemotron_h": "layer_norm_epsilon"}
MULTIPLIERS = ("embedding_multiplier", "attention_multiplier", "residual_multiplier", "logits_scaling")
CHUNKS = {"granite_moe_hybrid": "mamba_chunk_size", "nemotron_h": "chunk_size"}
BAD = [
    *((name, "rope_theta", value) for name in ("llama", "gpt_oss", "granite_moe_hybrid") for value in ("abc", -1, 0)),
    *((name, "rope_theta", value) for name in ("llama", "granite_moe_hybrid") for value in (None, math.nan, math.inf)),
    *((name, eps, value) for name, eps in EPS.items() for value in (math.nan, math.inf, -1e-5)),
    *(("granite_moe_hybrid", name, value) for name in MULTIPLIERS for value in (None, math.nan, math.inf)),
    ("granite_moe_hybrid", "logits_scaling", 0),
    *((name, field, value) for name, field in CHUNKS.items() for value in (0, -4)),
    *(("granite_moe_hybrid", name, None) for name in ("mamba_chunk_size", "mamba_n_heads", "mamba_expand")),
    *(("granite_moe_hybrid", name, 0) for name in ("mamba_n_heads", "mamba_d_conv", "mamba_d_state")),
    *(("nemotron_h", name, 0) for name in ("mamba_num_heads", "mamba_head_dim", "conv_kernel", "n_groups")),
    ("nemotron_h", "routed_scaling_factor", math.nan),
    ("gpt_oss", "swiglu_limit", 0.0),
    *((name, field, 0) for name in FAMILIES for field in ("hidden_size", "vocab_size", "max_position_embeddings")),
    *((name, "num_attention_heads", 0) for name in FAMILIES),
    *((name, "head_dim", 0) for name in ("llama", "gpt_oss", "nemotron_h")),
]


@pytest.mark.parametrize(("name", "field", "value"), BAD, ids=lambda part: str(part))
def test_what_no_model_runs_with_is_refused(name, field, value):
    family = FAMILIES[name].small
    fields = {**family.UNIFORM, field: value}
    if name == "gpt_oss" and field == "rope_theta":
        fields["rope_parameters"] = {**family.UNIFORM["rope_parameters"], "rope_theta": value}
    for make in (lambda: family.CONFIG(**fields), lambda: family.CONFIG.from_dict(fields)):
        with pytest.raises(REFUSALS) as error:
            make()
        assert field in str(error.value) and str(value) in str(error.value)


def test_all_of_them_at_once():
    small = FAMILIES["granite_moe_hybrid"].small
    bad = {"rms_norm_eps": math.nan, "mamba_chunk_size": 0, "residual_multiplier": None, "logits_scaling": 0}
    with pytest.raises(REFUSALS) as error:
        small.CONFIG(**{**small.UNIFORM, **bad})
    assert all(f"{field} is {value!r}: " in str(error.value) for field, value in bad.items())
    small = FAMILIES["llama"].small
    with pytest.raises(REFUSALS) as error:
        small.CONFIG(**{**small.UNIFORM, "rope_theta": -1, "rms_norm_eps": math.nan, "num_key_value_heads": 3})
    assert all(name in str(error.value) for name in ("rope_theta is -1", "rms_norm_eps is nan", "= 3 does not divide"))


@pytest.mark.parametrize("factor", [None, "abc", 0, math.nan])
@pytest.mark.parametrize("rope_type", ["linear", "dynamic", "yarn", "llama3"])
def test_factors_of_rope(rope_type, factor):
    small = FAMILIES["llama"].small
    rope = {**ROPES[rope_type], "factor": factor}
    with pytest.raises(REFUSALS, match=f"factor is {factor!r}"):
        small.CONFIG(**small.UNIFORM, rope_parameters=rope)


def test_rope_by_layer_type_is_refused():
    small = FAMILIES["llama"].small
    with pytest.raises(REFUSALS, match="one RoPE for all layers"):
        small.CONFIG(**small.UNIFORM, rope_parameters={"full_attention": ROPES["linear"]})


def test_a_model_without_rope_may_say_anything_of_it():
    small = FAMILIES["granite_moe_hybrid"].small
    assert small.CONFIG(**small.WITHOUT_ROPE, rope_theta=None).position_embedding_type is None


@every_kind
def test_a_config_as_json_is_read_as_a_dict(family, fields):
    """Infinity, which JSON does not have, among it."""
    config = family.small.CONFIG(**fields)
    again = family.small.CONFIG.from_dict(json.loads(config.to_json_string()))
    assert again.to_dict() == config.to_dict()


ROPES = {
    "default": {"rope_type": "default", "rope_theta": 10000.0},
    "linear": {"rope_type": "linear", "factor": 2.0},
    "dynamic": {"rope_type": "dynamic", "factor": 2.0},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
    "longrope": {
        "rope_type": "longrope",
        "short_factor": [1.0] * 8,
        "long_factor": [2.0] * 8,
        "original_max_position_embeddings": 64,
        "factor": 4.0,
    },
    "llama3": {
        "rope_type": "llama3",
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
        "rope_theta": 10000.0,
    },
    "proportional": {"rope_type": "proportional", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
}


def test_no_kind_of_rope_is_left_out():
    assert ROPES.keys() == {"default", *ROPE_INIT_FUNCTIONS} - {"axial", "mrope"}


@pytest.mark.parametrize("rope_type", ROPES)
@pytest.mark.parametrize("name", ["llama", "gpt_oss", "granite_moe_hybrid"])
def test_every_kind_of_rope(name, rope_type, tmp_path):
    """As the parent's for layers that are all alike; built, saved and loaded where query heads are a list."""
    small = FAMILIES[name].small
    rope = {"rope_parameters": dict(ROPES[rope_type]), "max_position_embeddings": 32}
    tokens = torch.randint(2, 126, (1, 80), generator=torch.Generator().manual_seed(2))  # past the pretrained length
    torch.manual_seed(3)
    parent = small.PARENT(small.PARENT_CONFIG(**{**small.UNIFORM, **rope})).eval()
    parent.save_pretrained(tmp_path / "parent")
    ours = small.CAUSAL.from_pretrained(tmp_path / "parent").eval()
    for part in (tokens[:, :20], tokens):
        assert torch.equal(ours(part).logits, parent(part).logits)

    mixed = small.build({**small.KINDS["mixed"], **rope})
    mixed.save_pretrained(tmp_path / "mixed")
    loaded = small.CAUSAL.from_pretrained(tmp_path / "mixed", attn_implementation="eager").eval()
    for part in (tokens[:, :20], tokens):
        torch.testing.assert_close(loaded(part).logits, mixed(part).logits, atol=1e-5, rtol=1e-5)
    assert torch.equal(mixed.model.rotary_emb.inv_freq, parent.model.rotary_emb.inv_freq)
