"""heterogeneous_nemotron_h: every generation of its configs, its checkpoints' names, experts, what is not there."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from safetensors.torch import load_file, save_file

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, NemotronHConfig, NemotronHForCausalLM
from transformers.cache_utils import get_layer_types_and_kwargs
from transformers.distributed import DistributedConfig
from transformers_heterogeneous import (
    HeterogeneousNemotronHConfig,
    HeterogeneousNemotronHForCausalLM,
    HeterogeneousNemotronHModel,
)
from transformers_heterogeneous.converters import summarise, verify

from .release import CACHE, NO_CACHE
from .small_nemotron_h import BASE, KINDS, MIXED, PUZZLE, UNIFORM, build
from .stock_nemotron_h import StockModel


DATA = Path(__file__).parent.parent / "data"
MAMBA, ATTENTION, MOE, MLP = ("mamba", "none"), ("attention", "none"), ("none", "moe"), ("none", "dense")


def make(**fields) -> HeterogeneousNemotronHConfig:
    return HeterogeneousNemotronHConfig.from_dict(BASE | fields)


def layers(config: HeterogeneousNemotronHConfig) -> list[tuple[str, str]]:
    return list(zip(config.mixer_types, config.mlp_types, strict=True))


# --- configs of every generation --------------------------------------------------------------------------------------

PUBLISHED = {
    "nvidia--Nemotron-H-8B-Base-8K": (8_100_852_736, 0, {"linear_attention": 24, "full_attention": 4, "mlp": 24}),
    "nvidia--NVIDIA-Nemotron-Nano-9B-v2": (8_888_227_328, 0, {"linear_attention": 27, "full_attention": 4, "mlp": 25}),
    "nvidia--NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": (
        31_577_937_344,
        2_944,
        {"linear_attention": 23, "full_attention": 6, "moe": 23},
    ),
}


@pytest.mark.parametrize(
    ("name", "num_parameters", "num_buffers", "kinds"),
    [(name, *expected) for name, expected in PUBLISHED.items()],
    ids=PUBLISHED.keys(),
)
def test_published_parameter_counts(name, num_parameters, num_buffers, kinds):
    config = HeterogeneousNemotronHConfig.from_pretrained(DATA / f"{name}.json")
    with torch.device("meta"):
        model = HeterogeneousNemotronHForCausalLM(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == num_parameters
    assert sum(buffer.numel() for buffer in model.buffers()) == num_buffers
    found = [block.block_type for block in model.model.layers]
    assert {kind: found.count(kind) for kind in set(found)} == kinds
    assert config.head_dim == 128 and not hasattr(config, "auto_map")


GENERATIONS = {
    "pattern": {"hybrid_override_pattern": "ME*-"},
    "older_list": {"layers_block_type": ["mamba", "moe", "attention", "mlp"]},
    "newer_list": {"layers_block_type": ["linear_attention", "moe", "full_attention", "mlp"]},
    "layer_types": {"layer_types": ["mamba", "moe", "full_attention", "mlp"]},
    "number_beside": {"hybrid_override_pattern": "ME*-", "num_hidden_layers": 4},
    "number_is_null": {"layers_block_type": ["mamba", "moe", "attention", "mlp"], "num_hidden_layers": None},
    "both": {"hybrid_override_pattern": "ME*-", "layers_block_type": ["mamba", "moe", "attention", "mlp"]},
    "nothing": {},
}


@pytest.mark.parametrize("fields", GENERATIONS.values(), ids=GENERATIONS.keys())
def test_layers_of_every_generation(fields):
    config = make(**fields)
    assert layers(config) == [MAMBA, MOE, ATTENTION, MLP] and config.num_hidden_layers == 4
    assert config.layers_block_type == ["linear_attention", "moe", "full_attention", "mlp"]
    assert config.saved_layer_types() == ["linear_attention", "linear_attention", "full_attention", "linear_attention"]
    saved = json.loads(config.to_json_string())
    assert saved["mixer_types"] == ["mamba", "none", "attention", "none"] and saved["num_hidden_layers"] == 4
    assert not saved.keys() & {"hybrid_override_pattern", "layers_block_type", "block_configs"}


def test_a_uniform_config_looks_like_nemotron_h():
    ours, theirs = HeterogeneousNemotronHConfig(**UNIFORM).to_dict(), NemotronHConfig(**UNIFORM).to_dict()
    differ = {"model_type", "layers_block_type", "layer_types"}
    assert {name: ours[name] for name in theirs.keys() - differ} == {
        name: theirs[name] for name in theirs.keys() - differ
    }


def test_the_names_that_fields_had():
    config = make(attention_head_dim=8, norm_eps=1e-6, rms_norm_eps=1e-6, mamba_d_conv=3, mamba_n_groups=1)
    assert (config.head_dim, config.layer_norm_epsilon, config.conv_kernel, config.n_groups) == (8, 1e-6, 3, 1)
    without = {name: value for name, value in BASE.items() if name != "head_dim"}
    assert HeterogeneousNemotronHConfig.from_dict({**without, "attention_head_dim": 16}).head_dim == 16
    assert HeterogeneousNemotronHConfig(**without).head_dim == 128
    assert make().layer_norm_epsilon == 1e-5
    assert not config.to_dict().keys() & {"attention_head_dim", "norm_eps", "rms_norm_eps", "mamba_d_conv"}
    assert make(torch_dtype="bfloat16").dtype == torch.bfloat16


def test_overrides_under_names_that_are_not_kept(tmp_path):
    HeterogeneousNemotronHConfig(**UNIFORM).save_pretrained(tmp_path)
    asked = {
        "hybrid_override_pattern": ("M*", "hybrid_override_pattern has 2 layers, mixer_types/mlp_types 6"),
        "layers_block_type": (["mamba", "attention"], "layers_block_type has 2 layers, mixer_types/mlp_types 6"),
        "norm_eps": (1e-2, "names of one field, layer_norm_epsilon, and contradict"),
    }
    for name, (value, said) in asked.items():
        with pytest.raises(ValueError, match=said):
            HeterogeneousNemotronHConfig.from_pretrained(tmp_path, **{name: value})
    assert HeterogeneousNemotronHConfig.from_pretrained(tmp_path, mamba_d_conv=3).conv_kernel == 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hybrid_override_pattern": "M*E-", "n_group": 0}, "n_group is 0, at least 1 is needed"),
        (
            {"hybrid_override_pattern": "M*E-", "n_group": 2, "topk_group": 5},
            "topk_group = 5 is more than n_group = 2",
        ),
        ({"hybrid_override_pattern": 5}, "a pattern is a string"),
        ({"layers_block_type": []}, "layers_block_type has no layers"),
        ({"hybrid_override_pattern": "M*", "mtp_block_configs": [3]}, "mtp_block_configs is a list of objects"),
    ],
    ids=str,
)
def test_what_is_no_description_is_named(fields, message):
    with pytest.raises(Exception, match=message):
        HeterogeneousNemotronHConfig.from_dict(fields)


CONTRADICTIONS = {
    "number": (
        {"mixer_types": ["mamba", "attention"], "mlp_types": ["none"] * 2, "num_hidden_layers": 4},
        "mixer_types has 2 entries, num_hidden_layers is 4",
    ),
    "lengths": (
        {"hybrid_override_pattern": "M*E", "layers_block_type": ["mamba", "attention"]},
        "hybrid_override_pattern has 3 layers, layers_block_type 2",
    ),
    "kinds": (
        {"hybrid_override_pattern": "M*E-", "layers_block_type": ["mamba", "moe", "moe", "moe"]},
        r"hybrid_override_pattern and layers_block_type differ in layers \[1, 3\]",
    ),
    "lists": (
        {"mixer_types": ["attention", "none"], "mlp_types": ["none"]},
        "mlp_types has 1 entries, num_hidden_layers is 2",
    ),
    "own_and_older": (
        {"mixer_types": ["attention", "none"], "mlp_types": ["none", "moe"], "layers_block_type": ["mamba", "moe"]},
        r"layers_block_type and mixer_types/mlp_types differ in layers \[0\]",
    ),
    "epsilons": (
        {"layer_norm_epsilon": 1e-5, "rms_norm_eps": 1e-6},
        "'rms_norm_eps': 1e-06.*names of one field, layer_norm_epsilon",
    ),
    "head_dims": ({"attention_head_dim": 64}, "names of one field, head_dim"),
    "mtp": (
        {"mtp_hybrid_override_pattern": "*E", "mtp_layers_block_type": ["attention", "mlp"]},
        r"mtp_hybrid_override_pattern and mtp_layers_block_type differ in layers \[1\]",
    ),
}


@pytest.mark.parametrize(("fields", "message"), CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_contradictions_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        make(**fields)


def test_characters_and_names_that_are_no_layers():
    with pytest.raises(ValueError, match=r"'\|' at position 2, 'X' at position 4, allowed are \['M'"):
        make(hybrid_override_pattern="M*|EX")
    with pytest.raises(ValueError, match=r"layers_block_type\[1\] is 'conv', allowed are.*\n.*\[3\] is 'rwkv'"):
        make(layers_block_type=["mamba", "conv", "attention", "rwkv"])
    with pytest.raises(StrictDataclassClassValidationError, match=r"mlp_types\[1\] is 'mlp', allowed are \['moe'"):
        make(mixer_types=["attention", "none"], mlp_types=["none", "mlp"])


@pytest.mark.parametrize("limit", [[0.0, float("inf")], [0.0, 1e308]], ids=["Infinity", "1e308"])
def test_an_unlimited_time_step_is_strict_json(limit, tmp_path):
    published = {**BASE, "model_type": "nemotron_h", "time_step_limit": limit, "hybrid_override_pattern": "M*E"}
    (tmp_path / "config.json").write_text(json.dumps(published))  # Infinity, as checkpoints have it
    config = HeterogeneousNemotronHConfig.from_pretrained(tmp_path)
    assert config.time_step_limit == limit
    config.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    again = AutoConfig.from_pretrained(tmp_path)
    assert again.to_diff_dict() == config.to_diff_dict()
    assert HeterogeneousNemotronHConfig.from_dict(written).to_diff_dict() == config.to_diff_dict()


def test_layers_of_multi_token_prediction_are_kept_in_the_config(tmp_path):
    blocks = [{"block_type": "attention"}, {"block_type": "moe", "num_experts_per_tok": 4}]
    config = make(num_nextn_predict_layers=1, mtp_block_configs=blocks, mtp_hybrid_override_pattern="*E")
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert loaded.mtp_block_configs == blocks and loaded.num_nextn_predict_layers == 1
    assert loaded.mtp_layers_block_type == ["full_attention", "moe"]


def test_what_these_layers_do_not_do_is_refused_by_name():
    asked = {"sliding_window": 64, "attention_bias": True, "residual_in_fp32": True}
    with pytest.raises(ValueError) as error:
        make(**asked)
    for name, value in asked.items():
        assert f"{name} = {value!r} is not what these layers do" in str(error.value)
    assert make(sliding_window=None).sliding_window is None
    config = make()
    config.sliding_window = 64
    with pytest.raises(ValueError, match="sliding_window = 64"):
        HeterogeneousNemotronHModel(config)


# --- lists ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", KINDS.values(), ids=KINDS.keys())
def test_round_trips(fields, tmp_path):
    config = HeterogeneousNemotronHConfig(**fields)
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert type(loaded) is HeterogeneousNemotronHConfig and loaded.to_diff_dict() == config.to_diff_dict()
    assert HeterogeneousNemotronHConfig(**config.to_dict()).to_dict() == config.to_dict()


def test_one_sub_block_a_layer():
    with pytest.raises(StrictDataclassClassValidationError) as error:
        make(mixer_types=["mamba", "attention", "none"], mlp_types=["moe", "dense", "none"])
    assert "layer 0 has a mixer, 'mamba', and an MLP, 'moe'" in str(error.value)
    assert "layer 1 has a mixer, 'attention', and an MLP, 'dense'" in str(error.value)
    assert layers(make(mixer_types=["mamba", "attention"])) == [MAMBA, ATTENTION]


RELATIONS = {
    "heads": (
        {"layers_block_type": ["attention", "attention"], "num_key_value_heads": [2, 3]},
        r"layers \[1\]: num_key_value_heads = 3 does not divide num_attention_heads = 4",
    ),
    "top_k": (
        {"layers_block_type": ["attention", "moe", "moe"], "num_experts_per_tok": [None, 2, 5]},
        r"layers \[2\]: num_experts_per_tok = 5 is more than n_routed_experts = 4",
    ),
    "groups": (
        {"layers_block_type": ["attention", "moe", "moe"], "n_routed_experts": [None, 8, 6], "n_group": 4},
        r"layers \[2\]: n_group = 4 does not divide n_routed_experts = 6",
    ),
    "small_groups": (
        {"layers_block_type": ["attention", "moe", "moe"], "n_routed_experts": [None, 8, 4], "n_group": 4},
        r"layers \[2\]: n_routed_experts = 4 in n_group = 4 groups: the router rates a group by its best two",
    ),
    "one_expert": (
        {"layers_block_type": ["attention", "moe"], "n_routed_experts": 1, "num_experts_per_tok": 1},
        r"layers \[1\]: n_routed_experts = 1 in n_group = 1 groups",
    ),
    "top_k_in_groups": (
        {"layers_block_type": ["attention", "moe"], "n_routed_experts": 8, "n_group": 4, "num_experts_per_tok": 3},
        r"layers \[1\]: .*the topk_group = 1 best have less than num_experts_per_tok = 3",
    ),
    "no_experts": (
        {"layers_block_type": ["attention", "moe"], "n_routed_experts": 0},
        "n_routed_experts is 0: there is such a sub-block, and a positive integer is needed",
    ),
}


@pytest.mark.parametrize(("fields", "message"), RELATIONS.values(), ids=RELATIONS.keys())
def test_sizes_that_do_not_fit_together(fields, message):
    with pytest.raises(StrictDataclassClassValidationError, match=message):
        make(**fields)


def test_a_number_of_ranks_that_does_not_divide():
    config = make(hybrid_override_pattern="MEME*", n_routed_experts=[0, 6, 0, 8, 0])
    config.distributed_config = DistributedConfig(tp_size=4, ep_size=4)
    with pytest.raises(ValueError, match=r"ep_size = 4 does not divide n_routed_experts of these layers: \{1: 6\}"):
        HeterogeneousNemotronHModel(config)


def test_view_of_a_layer():
    config = HeterogeneousNemotronHConfig(**MIXED)
    view = config.per_layer_config
    assert [view[layer_idx].n_routed_experts for layer_idx in (0, 5, 7)] == [4, 8, 6]
    assert [view[layer_idx].num_local_experts for layer_idx in (0, 5, 7)] == [4, 8, 6]
    assert [view[layer_idx].moe_latent_size for layer_idx in (0, 1, 5, 7)] == [None, None, 16, 8]
    assert (view[1].ssm_state_size, view[6].ssm_state_size, view[3].num_key_value_heads) == (8, 12, 1)
    assert view[4].skip == ["mixer"] and view[0].skip == view[3].skip == []
    assert view[1].n_routed_experts == 8  # a number, though the layer has no experts
    assert config.num_local_experts == config.n_routed_experts == MIXED["n_routed_experts"]
    types, _ = get_layer_types_and_kwargs(config)
    kinds = {"mamba": "linear_attention", "attention": "full_attention", "none": NO_CACHE}
    assert types == [kinds[mixer] for mixer in config.mixer_types]


def test_upstreams_override_dict():
    overrides = {1: {"skip": ["moe"]}, "2": {"num_key_value_heads": 1}, 3: {"skip": ["mixer"]}}
    overrides[5] = {"num_local_experts": 2, "moe_latent_size": 8, "skip": []}
    config = HeterogeneousNemotronHConfig(**UNIFORM, per_layer_config=overrides)
    assert layers(config) == [MAMBA, ("none", "none"), ATTENTION, ("none", "none"), MAMBA, MOE]
    assert (config.num_key_value_heads, config.n_routed_experts, config.moe_latent_size) == (1, 2, 8)
    config = HeterogeneousNemotronHConfig(**UNIFORM, per_layer_config={0: {"skip": ["mamba"]}})
    assert layers(config)[0] == ("none", "none")
    with pytest.raises(ValueError, match=r"layer 0: skip names 'moe', but the layer's entries are .*'mamba'"):
        HeterogeneousNemotronHConfig(**UNIFORM, per_layer_config={0: {"skip": ["moe"]}})
    with pytest.raises(ValueError, match=r"layer 1: skip = \['router'\], allowed is a list out of \['mixer', "):
        HeterogeneousNemotronHConfig(**UNIFORM, per_layer_config={1: {"skip": ["router"]}})


# --- the blocks of nemotron_h_puzzle ------------------------------------------------------------------------------------

GLOBALS = {
    name: value
    for name, value in BASE.items()
    if name not in ("moe_intermediate_size", "num_experts_per_tok", "n_routed_experts", "moe_latent_size")
}
GLOBALS |= {"model_type": "nemotron_h_puzzle", "num_hidden_layers": None, "n_group": 2, "ssm_state_size": 12}
# The table of PUZZLE as blocks, some with what others leave to the top level
MOES = iter(
    {"moe_intermediate_size": width, "num_experts_per_tok": top_k}
    for width, top_k in ((8, 1), (24, 4), (16, 3), (16, 2))
)
PUZZLE_BLOCKS = [
    {"block_type": "moe"} | next(MOES) if mixer == "none" else {"block_type": mixer} for mixer in PUZZLE["mixer_types"]
]
PUZZLE_BLOCKS[0]["ssm_state_size"] = 12
PUZZLE_BLOCKS[1] |= {"n_routed_experts": 8, "moe_latent_size": 16, "moe_shared_expert_intermediate_size": 24}
PUZZLE_BLOCKS[5] |= {"sliding_window": None, "q_indexer_heads": None, "q_indexer_enabled": False}
PUZZLE_CONFIG = {**GLOBALS, "n_routed_experts": 8, "moe_latent_size": 16, "block_configs": PUZZLE_BLOCKS}


def read(*blocks, **fields) -> HeterogeneousNemotronHConfig:
    return AutoConfig.for_model("nemotron_h_puzzle").from_dict({**GLOBALS, "block_configs": list(blocks), **fields})


def test_blocks_of_nemotron_h_puzzle():
    config = HeterogeneousNemotronHConfig.from_dict(PUZZLE_CONFIG)
    expected = HeterogeneousNemotronHConfig(**PUZZLE).to_dict()
    assert config.to_dict() == expected
    beside = {"layers_block_type": [block["block_type"] for block in PUZZLE_BLOCKS], "blockwise_members": ["x"]}
    assert HeterogeneousNemotronHConfig.from_dict(PUZZLE_CONFIG | beside).to_dict() == expected


def test_blocks_may_be_dataclasses():
    @dataclass
    class Block:
        block_type: str
        num_key_value_heads: int | None = None

    config = read(Block("attention", 4), Block("mamba"))
    assert layers(config) == [ATTENTION, MAMBA] and config.num_key_value_heads == 4


def test_a_block_with_nulls_leaves_it_to_the_others():
    latent = [{"block_type": "moe", "moe_latent_size": size} for size in (8, None)]
    moe = {"n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "moe_latent_size": 16}
    config = read({"block_type": "attention"}, *latent, {"block_type": "moe", "n_routed_experts": None}, **moe)
    assert config.moe_latent_size == [None, 8, None, 16]  # null is a choice here, and absence is not
    assert config.n_routed_experts == 8


REFUSED_BLOCKS = {
    "window": ({"block_type": "attention", "sliding_window": 64}, "sliding_window = 64 cannot be expressed"),
    "indexer": ({"block_type": "attention", "q_indexer_heads": 2}, "q_indexer_heads = 2 cannot be expressed"),
    "other_head_dim": ({"block_type": "attention", "head_dim": 16}, "head_dim = 16 cannot be expressed"),
    "kind": ({"block_type": "rwkv"}, r"block_type = 'rwkv', allowed are \['mamba', 'attention', 'moe', 'mlp'\]"),
    "no_kind": ({"num_key_value_heads": 2}, "block_type = None"),
    "text": ({"block_type": "mamba", "ssm_state_size": "12"}, "ssm_state_size = '12': a positive integer is needed"),
    "missing": (
        {"block_type": "moe", "num_experts_per_tok": 2},
        "moe_intermediate_size is missing, and there is none",
    ),
    "no_block": (7, "= 7: an object is needed"),
}


@pytest.mark.parametrize(("block", "message"), REFUSED_BLOCKS.values(), ids=REFUSED_BLOCKS.keys())
def test_blocks_that_cannot_be_expressed(block, message):
    with pytest.raises(ValueError, match=rf"block_configs\[1\].*{message}"):
        read({"block_type": "attention", "head_dim": 8}, block)


def test_all_that_is_wrong_with_blocks_comes_together():
    with pytest.raises(ValueError) as error:
        read({"block_type": "moe"}, {"block_type": "attention", "sliding_window": 64, "q_indexer_heads": 2})
    for part in (
        "[0]: n_routed_experts is missing",
        "[0]: moe_intermediate_size is",
        "[1]: sliding_window",
        "[1]: q_",
    ):
        assert f"block_configs{part}" in str(error.value)
    with pytest.raises(ValueError, match=r"layers_block_type and block_configs differ in layers \[0\]"):
        read({"block_type": "attention"}, layers_block_type=["mamba"])
    with pytest.raises(ValueError, match="num_hidden_layers is 3, but there are 1 in block_configs"):
        read({"block_type": "attention"}, num_hidden_layers=3)
    with pytest.raises(ValueError, match="block_configs is missing"):
        read(block_configs=None)


# --- Puzzletron's blocks ----------------------------------------------------------------------------------------------


def halves(attention: dict | None = None, ffn: dict | None = None) -> dict:
    """A block as Puzzletron writes them: both halves for every layer."""
    attention_defaults = {"no_op": False, "num_key_value_heads": 2, "mamba": None, "llama4": None}
    ffn_defaults = {"no_op": False, "moe": None, "intermediate_size": 48}
    shared = {"replace_with_linear": False, "sparsify": None, "weights_precision": "bf16"}
    return {
        "attention": shared | attention_defaults | (attention or {}),
        "ffn": shared | ffn_defaults | (ffn or {}),
        "parallel_blocks": None,
    }


NO_OP = {"no_op": True}
PUZZLETRON = {
    **BASE,
    "model_type": "nemotron_h",
    "hybrid_override_pattern": "MM*E-*",
    "block_configs": [
        halves({"mamba": {"state_dim": 16, "num_heads": 4, "head_dim": 8, "num_groups": 2}}),
        halves(),
        halves({"num_key_value_heads": 1}),
        halves(ffn={"moe": {"num_local_experts": 6, "num_experts_per_tok": 3, "expert_intermediate_dim": 8}}),
        halves(ffn={"intermediate_size": 24}),
        halves(NO_OP, NO_OP),
    ],
}


def test_blocks_of_puzzletron():
    config = HeterogeneousNemotronHConfig.from_dict(PUZZLETRON)
    assert layers(config) == [MAMBA, MAMBA, ATTENTION, MOE, MLP, ("none", "none")]
    assert config.ssm_state_size == [16, 8, None, None, None, None]
    assert (config.num_key_value_heads, config.n_routed_experts, config.num_experts_per_tok) == (1, 6, 3)
    assert (config.moe_intermediate_size, config.moe_shared_expert_intermediate_size) == (8, 24)
    assert config.intermediate_size == 24 and config.moe_latent_size is None


def test_blocks_of_puzzletron_without_a_pattern():
    blocks = [halves(ffn=NO_OP), halves({"mamba": {"state_dim": 16}}, NO_OP), halves(NO_OP)]
    config = HeterogeneousNemotronHConfig.from_dict({**BASE, "block_configs": blocks})
    assert layers(config) == [ATTENTION, MAMBA, MLP]
    with pytest.raises(ValueError, match=r"block_configs\[0\]: has attention and ffn, and nothing says which"):
        HeterogeneousNemotronHConfig.from_dict({**BASE, "block_configs": [halves()]})


REFUSED_HALVES = {
    "one_no_op": (halves(NO_OP), "attention.no_op is true in a layer that is attention"),
    "linear": (halves({"replace_with_linear": True}), "replace_with_linear = True cannot be expressed"),
    "llama4": (halves({"llama4": {"use_rope": False}}), "llama4 = .* cannot be expressed"),
    "no_ffn": ({"attention": {}}, "ffn = None: an object is needed"),
    "parallel": (halves() | {"parallel_blocks": [halves()]}, "parallel_blocks = .* cannot be expressed"),
}


@pytest.mark.parametrize(("block", "message"), REFUSED_HALVES.values(), ids=REFUSED_HALVES.keys())
def test_halves_that_cannot_be_expressed(block, message):
    fields = {**BASE, "hybrid_override_pattern": "M*", "block_configs": [halves(), block]}
    with pytest.raises(ValueError, match=rf"block_configs\[1\].*{message}"):
        HeterogeneousNemotronHConfig.from_dict(fields)


def test_mamba_heads_do_not_vary():
    mamba = {"state_dim": 8, "num_heads": 8}
    fields = {**BASE, "hybrid_override_pattern": "M*", "block_configs": [halves({"mamba": mamba}), halves()]}
    with pytest.raises(ValueError, match=r"block_configs\[0\]: mamba_num_heads = 8 cannot be expressed"):
        HeterogeneousNemotronHConfig.from_dict(fields)


def test_layers_block_type_is_set_as_upstreams():
    config = HeterogeneousNemotronHConfig(**UNIFORM)
    config.layers_block_type = ["mamba", "moe", "attention", "mlp", "none", "moe"]
    assert config.layers_block_type == ["linear_attention", "moe", "full_attention", "mlp", "none", "moe"]
    assert HeterogeneousNemotronHForCausalLM(config).model.layers[2].block_type == "full_attention"
    with pytest.raises(ValueError, match="layers_block_type"):
        HeterogeneousNemotronHConfig(layers_block_type=[["mamba"]])


# --- the model --------------------------------------------------------------------------------------------------------


def test_what_is_not_there_is_not_built():
    model = build(MIXED)
    assert list(model.model.layers[4].children()) == []
    names = {name for name in model.state_dict() if name.startswith("model.layers.5.")}
    assert names == {
        f"model.layers.5.{name}"
        for name in (
            "norm.weight",
            "mixer.gate.weight",
            "mixer.gate.e_score_correction_bias",
            "mixer.experts.up_proj",
            "mixer.experts.down_proj",
            "mixer.shared_experts.up_proj.weight",
            "mixer.shared_experts.down_proj.weight",
            "mixer.fc1_latent_proj.weight",
            "mixer.fc2_latent_proj.weight",
        )
    }
    mixers = [getattr(layer, "mixer", None) for layer in model.model.layers]
    assert tuple(mixers[5].experts.up_proj.shape) == (8, 8, 16) and tuple(mixers[0].experts.up_proj.shape) == (
        4,
        16,
        32,
    )
    assert mixers[5].shared_experts.up_proj.out_features == 40 and mixers[2].up_proj.out_features == 24
    assert mixers[6].conv1d.in_channels - mixers[1].conv1d.in_channels == 2 * 2 * 4
    assert mixers[3].k_proj.out_features == 8 and mixers[8].k_proj.out_features == 32


@pytest.mark.parametrize("implementation", ["eager", "batched_mm", "grouped_mm"])
def test_experts_implementations_agree(implementation, tokens):
    model = build(MIXED)
    model.set_experts_implementation("eager")
    with torch.no_grad():
        expected = model(tokens).logits
        model.set_experts_implementation(implementation)
        experts = [layer.mixer.experts for layer in model.model.layers if layer.block_type == "moe"]
        assert {module.config._experts_implementation for module in experts} == {implementation}
        torch.testing.assert_close(model(tokens).logits, expected, atol=1e-6, rtol=1e-5)


def test_recorded_outputs_and_loss(tokens):
    model = build(MIXED)
    outputs = model(
        tokens, labels=tokens, output_router_logits=True, output_hidden_states=True, output_attentions=True
    )
    assert [tuple(logits.shape) for logits in outputs.router_logits] == [(28, 4), (28, 8), (28, 6)]
    assert len(outputs.hidden_states) == 11 and torch.equal(*outputs.hidden_states[4:6])  # nothing in layer 4
    assert len(outputs.attentions) == 2
    expected = torch.nn.functional.cross_entropy(outputs.logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    torch.testing.assert_close(outputs.loss, expected)


def layer_has_state(layer) -> bool:
    return any(state is not None for state in getattr(layer, "recurrent_states", {}).values())


def test_layers_without_a_mixer_take_no_cache_memory(tokens):
    cache = getattr(build(MIXED)(tokens, use_cache=True), CACHE)
    shapes = [tuple(layer.recurrent_states[0].shape) for layer in cache.layers if layer_has_state(layer)]
    assert shapes == [(2, 4, 8, 8), (2, 4, 8, 12)]
    keys = [tuple(layer.keys.shape) for layer in cache.layers if getattr(layer, "keys", None) is not None]
    assert keys == [(2, 1, 14, 8), (2, 4, 14, 8)]


def test_mamba_alone_does_what_its_parent_does(tokens):
    """Which counts the tokens of a cache in a layer that attends."""
    fields = {**BASE, "layers_block_type": ["mamba", "moe", "mamba"]}
    model = build(fields)
    for each in (model, NemotronHForCausalLM(NemotronHConfig(**fields))):
        with pytest.raises(ValueError, match="can only be called on Attention layers"):
            each(tokens, use_cache=True)
    assert torch.isfinite(model(tokens, use_cache=False).logits).all()
    with pytest.raises(ValueError, match="No layer attends"):
        model.generate(tokens, max_new_tokens=4)
    assert model.generate(tokens, max_new_tokens=4, use_cache=False, eos_token_id=None).shape == (2, 18)


def test_what_upstream_cannot_do_is_refused(tokens):
    model = build(MIXED)
    with pytest.raises(
        ValueError, match=r"Continuous batching has no cache for the state of mamba layers, here \[1, 6\]"
    ):
        model.generate_batch(inputs=tokens.tolist())
    with pytest.raises(ValueError, match="assisted generation is not supported with stateful models"):
        model.generate(tokens[:1], prompt_lookup_num_tokens=3, max_new_tokens=4)


# --- checkpoints ------------------------------------------------------------------------------------------------------


def published_tensors(
    model: torch.nn.Module, prefix: str = "model.", stacked: bool = False
) -> dict[str, torch.Tensor]:
    """The tensors under the names of hub checkpoints: one of two prefixes, experts one by one."""
    tensors = {}
    for name, tensor in model.state_dict().items():
        name = prefix + name.removeprefix("model.") if name.startswith("model.") else name
        if ".mixer.experts." in name and not stacked:
            before, after = name.split(".experts.")
            tensors |= {f"{before}.experts.{idx}.{after}.weight": expert.clone() for idx, expert in enumerate(tensor)}
        else:
            tensors[name] = tensor.clone()
    return tensors


def write_published(folder: Path, config: dict, tensors: dict[str, torch.Tensor]):
    """Two shards and a separate `mtp.safetensors`, as NVIDIA lays them out."""
    names = sorted(tensors)
    mtp = ["enorm.weight", "mixer.experts.0.up_proj.weight", "mixer.experts.1.up_proj.weight"]
    files = {
        "model-00001-of-00002.safetensors": {name: tensors[name] for name in names[::2]},
        "model-00002-of-00002.safetensors": {name: tensors[name] for name in names[1::2]},
        "mtp.safetensors": {f"mtp.layers.0.{name}": torch.ones(2, 2) for name in mtp},
    }
    for file, content in files.items():
        save_file(content, folder / file, metadata={"format": "pt"})
    weight_map = {name: file for file, content in files.items() for name in content}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("stacked", [False, True], ids=["one_by_one", "stacked"])
@pytest.mark.parametrize("prefix", ["model.", "backbone."])
def test_published_names_load_and_one_of_them_is_saved(prefix, stacked, tmp_path, tokens, caplog):
    model = build(MIXED)
    write_published(tmp_path, model.config.to_dict(), published_tensors(model, prefix, stacked))
    loaded, report = AutoModelForCausalLM.from_pretrained(
        tmp_path, output_loading_info=True, attn_implementation="eager"
    )
    assert not any(report.values()), report
    assert caplog.text.count("The tensors `mtp.*` of the checkpoint are not loaded") == 1
    assert torch.equal(loaded.eval()(tokens).logits, model(tokens).logits)

    loaded.save_pretrained(tmp_path / "saved")
    saved, expected = load_file(tmp_path / "saved/model.safetensors"), published_tensors(model)
    assert saved.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in saved.items())

    base, report = AutoModel.from_pretrained(tmp_path, output_loading_info=True, attn_implementation="eager")
    assert type(base) is HeterogeneousNemotronHModel and not report["missing_keys"]
    assert report["unexpected_keys"] == {"lm_head.weight"}
    assert torch.equal(base.eval()(tokens).last_hidden_state, model.model(tokens).last_hidden_state)
    base.save_pretrained(tmp_path / "base")
    assert all(not name.startswith(("model.", "backbone.")) for name in load_file(tmp_path / "base/model.safetensors"))
    _, report = HeterogeneousNemotronHForCausalLM.from_pretrained(tmp_path / "base", output_loading_info=True)
    assert report["missing_keys"] == {"lm_head.weight"} and not report["unexpected_keys"]


def test_a_new_model_is_saved_under_the_published_names(tmp_path):
    model = build(PUZZLE)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    saved = {name: tensor for file in tmp_path.glob("*.safetensors") for name, tensor in load_file(file).items()}
    assert len(list(tmp_path.glob("*.safetensors"))) > 2 and saved.keys() == published_tensors(model).keys()


@pytest.mark.parametrize("ties", [False, True])
def test_a_head_is_never_tied(tmp_path, tokens, ties):
    """The parent has the field and does not tie: model, file, inspect and the converters' check say the same."""
    torch.manual_seed(3)
    parent = NemotronHForCausalLM(NemotronHConfig(**UNIFORM, tie_word_embeddings=ties)).eval()
    parent.save_pretrained(tmp_path / "parent")
    ours, report = HeterogeneousNemotronHForCausalLM.from_pretrained(tmp_path / "parent", output_loading_info=True)
    assert not any(report.values()) and ours.lm_head.weight is not ours.model.embeddings.weight
    assert torch.equal(ours.eval()(tokens).logits, parent(tokens).logits)
    ours.save_pretrained(tmp_path / "ours")
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["tie_word_embeddings"] is False
    assert verify(tmp_path / "ours", tmp_path / "parent").same
    for folder in ("parent", "ours"):
        assert summarise(tmp_path / folder).num_parameters == parent.num_parameters()


def test_a_new_model_does_not_tie_either(tokens, caplog):
    with caplog.at_level("WARNING"):
        model = build({**MIXED, "tie_word_embeddings": True})
    assert "tie_word_embeddings is True" in caplog.text and not model.config.tie_word_embeddings
    model.load_state_dict(build(MIXED).state_dict())
    assert torch.equal(model(tokens).logits, build(MIXED)(tokens).logits)
    model.resize_token_embeddings(140)
    assert model.lm_head.weight.shape == model.model.embeddings.weight.shape == (140, 32)


# --- names that outside code reads from a config ---------------------------------------------------------------------


def test_patterns_are_computed_from_the_lists():
    parent, config = NemotronHConfig(**UNIFORM), HeterogeneousNemotronHConfig(**UNIFORM)
    for name in ("hybrid_override_pattern", "mtp_hybrid_override_pattern", "layers_block_type"):
        assert getattr(config, name) == getattr(parent, name)
        assert name == "layers_block_type" or name not in config.to_dict()
    assert config._pattern_to_list("M*E-") == parent._pattern_to_list("M*E-")
    config.mixer_types = ["attention", *config.mixer_types[1:]]
    assert config.hybrid_override_pattern == "*" + parent.hybrid_override_pattern[1:]
    assert make(hybrid_override_pattern="M*E-", mtp_hybrid_override_pattern="*E*").mtp_hybrid_override_pattern == "*E*"
    assert make(hybrid_override_pattern="M*E-").hybrid_override_pattern == "M*E-"
    assert getattr(HeterogeneousNemotronHConfig(**MIXED), "hybrid_override_pattern", None) is None
    with pytest.raises(AttributeError, match="no character for layers with nothing in them"):
        HeterogeneousNemotronHConfig(**MIXED).hybrid_override_pattern  # noqa: B018


@pytest.mark.parametrize(
    "description",
    [{"layers_block_type": ["mamba", "moe"]}, {"hybrid_override_pattern": "ME"}, {"layer_types": ["mamba", "moe"]}],
    ids=str,
)
def test_a_number_of_layers_that_the_parent_ignores(description, caplog):
    with caplog.at_level("WARNING"):
        config = make(num_hidden_layers=5, **description)
    assert config.num_hidden_layers == 2 and "num_hidden_layers is 5, but there are 2 in" in caplog.text
    with pytest.raises((ValueError, StrictDataclassClassValidationError), match="n_routed_experts has 5 entries"):
        make(num_hidden_layers=5, n_routed_experts=[None, 4, None, 4, None], **description)


def stock_with_weights(fields: dict) -> StockModel:
    torch.manual_seed(5)
    stock = StockModel(fields, "sdpa").eval()
    for name, tensor in stock.state_dict().items():
        tensor.copy_(torch.randn_like(tensor) * (0.5 if "norm" in name else 0.1))
    return stock


@pytest.fixture
def puzzle_folder(tmp_path):
    """An unconverted `nemotron_h_puzzle`, its remote code unusable, and the stock model whose weights it holds."""
    stock = stock_with_weights(PUZZLE)
    config = PUZZLE_CONFIG | {
        "architectures": ["NemotronHPuzzleForCausalLM"],
        "auto_map": {
            "AutoConfig": "configuration_nemotron_h_puzzle.NemotronHPuzzleConfig",
            "AutoModelForCausalLM": "modeling_nemotron_h_puzzle.NemotronHPuzzleForCausalLM",
        },
        "torch_dtype": "float32",
        "num_nextn_predict_layers": 1,
        "mtp_block_configs": [{"block_type": "attention"}, {"block_type": "moe", "n_routed_experts": 8}],
        "time_step_limit": [0.0, float("inf")],
    }
    folder = tmp_path / "puzzle"
    folder.mkdir()
    write_published(folder, config, published_tensors(stock))
    for name in ("configuration_nemotron_h_puzzle.py", "modeling_nemotron_h_puzzle.py"):
        (folder / name).write_text("raise RuntimeError('remote code was executed')\n")
    return folder, stock


@pytest.mark.parametrize("trust_remote_code", [None, True, False])
def test_an_unconverted_puzzle_loads(puzzle_folder, trust_remote_code, tokens):
    folder, stock = puzzle_folder
    options = {} if trust_remote_code is None else {"trust_remote_code": trust_remote_code}
    model, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, **options)
    assert type(model) is HeterogeneousNemotronHForCausalLM and not any(report.values()), report
    assert torch.equal(model.eval()(tokens).logits, stock(tokens))


def test_a_puzzle_is_saved_in_the_familys_format(puzzle_folder, tmp_path, tokens):
    folder, stock = puzzle_folder
    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved/config.json").read_text())
    assert saved["model_type"] == "heterogeneous_nemotron_h" and saved["num_hidden_layers"] == 9
    assert saved["architectures"] == ["HeterogeneousNemotronHForCausalLM"]
    assert not saved.keys() & {"auto_map", "block_configs", "layers_block_type", "hybrid_override_pattern"}
    assert saved["mtp_block_configs"][1]["n_routed_experts"] == 8 and saved["num_nextn_predict_layers"] == 1
    assert saved["moe_intermediate_size"] == PUZZLE["moe_intermediate_size"] and saved["ssm_state_size"] == 12
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved").eval()
    assert torch.equal(again(tokens).logits, stock(tokens))


def test_a_folder_of_puzzletron_loads(tmp_path, tokens):
    """The model type is left in place, the tensors lie in one file a sub-block."""
    sizes = {"ssm_state_size": 16, "num_key_value_heads": 1, "n_routed_experts": 6, "intermediate_size": 24}
    sizes |= {"num_experts_per_tok": 3, "moe_intermediate_size": 8}
    mixers, mlps = ["mamba", "none", "attention", "none", "none"], ["none", "none", "none", "moe", "dense"]
    stock = stock_with_weights({**BASE, **sizes, "mixer_types": mixers, "mlp_types": mlps})
    blocks = [
        halves({"mamba": {"state_dim": 16, "num_heads": 4}}),
        halves(NO_OP, NO_OP),
        halves({"num_key_value_heads": 1}),
        halves(ffn={"moe": {"num_local_experts": 6, "num_experts_per_tok": 3, "expert_intermediate_dim": 8}}),
        halves(ffn={"intermediate_size": 24}),
    ]
    config = {**PUZZLETRON, "hybrid_override_pattern": "M-*E-", "block_configs": blocks}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "subblocks_safetensors").mkdir()
    files = {}
    for name, tensor in published_tensors(stock, "backbone.").items():
        part = name.split(".")[2] if ".layers." in name else "embeddings" if "embeddings" in name else "lm_head"
        files.setdefault(f"subblocks_safetensors/block_{part}.safetensors", {})[name] = tensor
    for file, tensors in files.items():
        save_file(tensors, tmp_path / file, metadata={"format": "pt"})
    weight_map = {name: file for file, tensors in files.items() for name in tensors}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    model, report = HeterogeneousNemotronHForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    assert torch.equal(model.eval()(tokens).logits, stock(tokens))


@pytest.fixture
def nemotron_folder(tmp_path):
    torch.manual_seed(3)
    model = NemotronHForCausalLM(NemotronHConfig(**UNIFORM))
    for name, parameter in model.named_parameters():
        if name.endswith(".A_log"):
            parameter.data = (
                parameter.data.bfloat16().float()
            )  # as in published files: the parent rounds it, we do not
    model.save_pretrained(tmp_path / "nemotron_h")
    return tmp_path / "nemotron_h"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_parents_folder_is_the_parents_model(nemotron_folder, dtype, tokens, tmp_path, caplog):
    parent = NemotronHForCausalLM.from_pretrained(nemotron_folder, dtype=dtype).eval()
    caplog.clear()
    ours = HeterogeneousNemotronHForCausalLM.from_pretrained(nemotron_folder, dtype=dtype).eval()
    assert caplog.text == ""
    islands = (".e_score_correction_bias", ".A_log", ".D")
    for name, tensor in ours.state_dict().items():
        assert tensor.dtype == (torch.float32 if name.endswith(islands) else parent.state_dict()[name].dtype), name
    assert torch.equal(ours(tokens).logits, parent(tokens).logits)
    ours.save_pretrained(tmp_path / "saved")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved").eval()
    assert again.dtype == dtype and torch.equal(again(tokens).logits, parent(tokens).logits)


def test_layers_of_a_nemotron_h_are_overridden_on_the_fly(nemotron_folder, tokens):
    overrides = {1: {"skip": ["moe"]}, 2: {"skip": []}, 3: {"skip": ["mixer"]}, 4: {"skip": ["mamba"]}}
    loaded, report = HeterogeneousNemotronHForCausalLM.from_pretrained(
        nemotron_folder, per_layer_config=overrides, output_loading_info=True, attn_implementation="eager"
    )
    assert {name.split(".")[2] for name in report["unexpected_keys"]} == {"1", "3", "4"}
    assert not report["missing_keys"] and not report["mismatched_keys"]
    nothing = ["none"] * 6
    mixers, mlps = ["mamba", *nothing[:1], "attention", *nothing[:3]], [*nothing[:5], "moe"]
    stock = StockModel({**BASE, "mixer_types": mixers, "mlp_types": mlps}).eval()
    stock.load_state_dict(loaded.state_dict(), strict=True)
    assert torch.equal(loaded.eval()(tokens).logits, stock(tokens))


def test_upstreams_form_in_a_config_file(nemotron_folder):
    path = nemotron_folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"per_layer_config": {"03": {"skip": ["mlp"]}}}))
    assert layers(HeterogeneousNemotronHConfig.from_pretrained(nemotron_folder))[3] == ("none", "none")
