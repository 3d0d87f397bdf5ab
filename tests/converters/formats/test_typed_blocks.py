"""Puzzletron's second generation: what typed blocks say, what no family expresses, and where they and `per_layer_config` disagree."""

from copy import deepcopy
from typing import Any

import pytest
import torch

from transformers import AutoConfig, AutoModelForCausalLM
from transformers_heterogeneous import HeterogeneousGraniteMoeHybridConfig
from transformers_heterogeneous.converters import CheckpointError, convert
from transformers_heterogeneous.converters.formats import recognition

from .. import published_families as published
from .. import published_typed as typed
from ..checkpoints import CHECKPOINTS, logits
from ..published import write_checkpoint
from ..published_typed import attention, ffn, moe, no_op


V2 = {
    name.removeprefix("AnyModel v2 "): each
    for name, each in CHECKPOINTS.items()
    if name.startswith("AnyModel v2") or name == "Llama with typed blocks"
}


def read(config: dict[str, Any]) -> Any:
    return recognition.family_config(recognition.recognise(config, "config.json"), config, "config.json")


def with_blocks(name: str, *blocks: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A config with other blocks, and nothing else that describes its layers."""
    config = {member: value for member, value in V2[name].config.items() if member != "per_layer_config"}
    return {**config, "block_configs": list(blocks) or config["block_configs"], **more}


def changed(name: str, layer_idx: int, at: int, **members: Any) -> dict[str, Any]:
    """A config with members of one sub-block changed, `None` for those that are taken away."""
    blocks = deepcopy(V2[name].config["block_configs"])
    sub_block = blocks[layer_idx]["subblock_configs"][at]
    sub_block |= members
    blocks[layer_idx]["subblock_configs"][at] = {key: each for key, each in sub_block.items() if each != "gone"}
    return with_blocks(name, *blocks)


def problems(config: dict[str, Any]) -> list[str]:
    with pytest.raises(CheckpointError) as error:
        read(config)
    return [line.strip() for line in str(error.value).splitlines()[1:]]


# --- what is read -----------------------------------------------------------------------------------------------------

EXPECTED: dict[str, dict[str, Any]] = {
    "Llama": {
        "mixer_types": ["attention", "none", "attention"],
        "mlp_types": ["dense", "dense", "none"],
        "num_attention_heads": [4, None, 2],
        "num_key_value_heads": [2, None, 1],
        "intermediate_size": [48, 16, None],
        "head_dim": 16,
    },
    "Llama with typed blocks": {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48},
    "Qwen2": {"num_attention_heads": 4, "num_key_value_heads": [2, None, 1], "intermediate_size": [48, 16, None]},
    "Qwen3": {"num_attention_heads": [4, None, 2], "sliding_window": None, "head_dim": 32},
    "Mistral": {
        "mlp_types": ["dense", "dense", "none"],
        "sliding_window": [4, None, 8],
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "num_key_value_heads": [2, 2, 1],
    },
    "Qwen3-MoE": {
        "mlp_types": ["moe", "dense", "moe"],
        "num_experts": [3, None, 2],
        "num_experts_per_tok": [2, None, 1],
        "moe_intermediate_size": 16,
        "intermediate_size": 16,
    },
    "gpt-oss": {
        "mixer_types": ["attention", "none", "attention"],
        "mlp_types": ["moe", "moe", "none"],
        "num_local_experts": [4, 2, None],
        "num_experts_per_tok": [2, 1, None],
        "sliding_window": 4,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
    },
    "Nemotron-H": {
        "mixer_types": ["mamba", "none", "none", "attention", "none"],
        "mlp_types": ["none", "moe", "none", "none", "dense"],
        "ssm_state_size": 12,
        "n_routed_experts": 2,
        "moe_intermediate_size": 16,
        "moe_latent_size": 32,
        "num_key_value_heads": 1,
        "intermediate_size": 24,
    },
}


@pytest.mark.parametrize("name", V2)
def test_what_blocks_say(name):
    config = read(V2[name].config)
    assert {member: getattr(config, member) for member in EXPECTED[name]} == EXPECTED[name]


def test_what_blocks_leave_unsaid_is_that_of_the_config_around_them():
    bare = {"kind": "attention", "name": "attention"}
    config = read(with_blocks("Mistral", *[typed.typed(bare, {"kind": "ffn"})] * 3))
    assert (config.num_attention_heads, config.num_key_value_heads, config.intermediate_size) == (4, 2, 48)
    assert config.layer_sizes("sliding_window") == [8, 8, 8]


def test_sizes_that_all_layers_share():
    """All mamba layers with more heads: one number in the family, whatever the config around the blocks says."""
    blocks = deepcopy(typed.NEMOTRON_H["block_configs"])
    blocks[0]["subblock_configs"][0] |= {"num_heads": 16}
    assert read(with_blocks("Nemotron-H", *blocks)).mamba_num_heads == 16
    heads = [typed.typed(attention(1, heads=2, qk_head_dim=8, v_head_dim=8), ffn(48))] * 3
    config = read(with_blocks("Llama", *heads))
    assert (config.num_attention_heads, config.head_dim) == (2, 8)


def test_the_size_of_heads_stays_where_there_are_fewer():
    config = with_blocks("Mistral", *[typed.typed(attention(1, heads=2), ffn(48))] * 3)
    assert "head_dim" not in config
    assert read(config).head_dim == 16


def test_what_stands_there_in_vain():
    """What asks for nothing, or for what the family does."""
    llama4 = {"attention_chunk_size": None, "use_rope": True, "use_qk_norm": False, "attention_dropout": 0.0}
    config = changed("Llama", 0, 0, k_eq_v=False, kv_source_layer=None, llama4=llama4, sliding_window_size="full")
    assert read(config).num_key_value_heads == [2, None, 1]
    assert read(changed("Nemotron-H", 3, 0, llama4={"use_rope": False})).num_key_value_heads == 1
    assert read(changed("Qwen2", 0, 0, qk_head_dim=16)).num_key_value_heads == [2, None, 1]


@pytest.mark.parametrize("place", ["config", "anymodel_arch_info"])
def test_mark_of_the_schema(place):
    config = deepcopy(V2["Llama"].config)
    marked = config if place == "config" else config["anymodel_arch_info"]
    marked["block_config_schema"] = "typed_subblocks_v1"
    assert read(config).num_key_value_heads == [2, None, 1]
    marked["block_config_schema"] = "typed_subblocks_v2"
    assert any("'typed_subblocks_v2': 'typed_subblocks_v1' is read" in line for line in problems(config))


# --- what is refused --------------------------------------------------------------------------------------------------

LLAMA4 = {"attention_chunk_size": 8192, "use_rope": False, "use_qk_norm": True, "attn_scale": 0.1, "floor_scale": 8192}
REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "k and v of different sizes": (
        changed("Llama", 0, 0, qk_head_dim=16, v_head_dim=8),
        ["block_configs[0].attention: v_head_dim = 8, and 16 in another member: they are one size here"],
    ),
    "shared keys and values": (
        changed("Llama", 2, 0, k_eq_v=True, kv_source_layer=0),
        [
            "block_configs[2].attention: k_eq_v = True cannot be expressed by this family",
            "block_configs[2].attention: kv_source_layer = 0 cannot be expressed by this family",
        ],
    ),
    "llama4": (
        changed("Llama", 0, 0, llama4=LLAMA4),
        [f"block_configs[0].attention: llama4.{name} = {value!r} cannot be" for name, value in LLAMA4.items()],
    ),
    "llama4, no object": (changed("Llama", 0, 0, llama4=7), ["attention: llama4 = 7: an object or null is needed"]),
    "latents": (
        with_blocks(
            "Llama",
            *typed.DENSE_BLOCKS[:2],
            typed.typed({"kind": "mla", "name": "mla", "num_heads": 4, "kv_lora_rank": 8}, ffn(48)),
        ),
        ["block_configs[2].mla: this family has no such sub-block"],
    ),
    "mamba of a Llama": (
        with_blocks("Llama", *typed.DENSE_BLOCKS[:2], typed.typed(typed.mamba(8), ffn(48))),
        ["block_configs[2].mamba: this family has no such sub-block"],
    ),
    "experts of a Llama": (
        with_blocks("Llama", *typed.DENSE_BLOCKS[:2], typed.typed(attention(2), moe(4, 16, 2))),
        ["block_configs[2].moe: this family has no such sub-block"],
    ),
    "a dense gpt-oss": (
        with_blocks("gpt-oss", *typed.GPT_OSS["block_configs"][:2], typed.typed(attention(2), ffn(32))),
        ["block_configs[2].ffn: this family has no such sub-block"],
    ),
    "a shared expert of gpt-oss": (
        changed("gpt-oss", 0, 1, shared_expert_intermediate_size=16, latent_dim=8),
        [
            "block_configs[0].moe: shared_expert_intermediate_size = 16 cannot be expressed by this family",
            "block_configs[0].moe: latent_dim = 8 cannot be expressed by this family",
        ],
    ),
    "heads that all layers share": (
        changed("gpt-oss", 2, 0, num_query_heads=2),
        ["block_configs[2]: num_attention_heads = 2, of other layers 4: this family has one for all"],
    ),
    "heads of Qwen2": (
        with_blocks("Qwen2", *[typed.typed(attention(1, heads=2), ffn(48))] * 3),
        ["num_query_heads = 2: the heads of this family are as wide as hidden_size and their number say"],
    ),
    "sizes of heads that differ": (
        changed("Qwen3", 2, 0, qk_head_dim=16),
        ["block_configs[2]: head_dim = 16, of other layers 32: this family has one for all"],
    ),
    "windows of a Nemotron-H": (
        changed("Nemotron-H", 3, 0, sliding_window_size=8),
        [
            "block_configs[3].attention: sliding_window_size = 8 cannot be expressed by this family, which has no windows"
        ],
    ),
    "windows that are none": (
        changed("Mistral", 0, 0, sliding_window_size="half"),
        ["block_configs[0].attention: sliding_window_size = 'half': a positive integer or \"full\" is needed"],
    ),
    "kinds that are none": (
        with_blocks("Llama", *typed.DENSE_BLOCKS[:2], typed.typed({"kind": "conv"}, {"kind": 3}, ffn(48))),
        [
            "block_configs[2].subblock_configs[0]: kind = 'conv', allowed are",
            "block_configs[2].subblock_configs[1]: kind = 3, allowed are",
            "block_configs[2].subblock_configs: one attention or mla or mamba is needed, no_op where there is none, not 0",
        ],
    ),
    "two of one kind": (
        with_blocks("Llama", *typed.DENSE_BLOCKS[:2], typed.typed(attention(2), no_op("mamba"), ffn(48), ffn(16))),
        ["one attention or mla or mamba is needed", "one ffn or moe is needed, no_op where there is none, not 2"],
    ),
    "another kind than around the blocks": (
        with_blocks(
            "Qwen3-MoE",
            typed.typed(attention(2), ffn(16)),
            *typed.QWEN3_MOE["block_configs"][1:],
        ),
        ["block_configs[0]: has ffn, and the config says moe of the layer"],
    ),
    "two sub-blocks in a layer of Nemotron-H": (
        with_blocks("Nemotron-H", typed.typed(typed.mamba(12), ffn(24)), *typed.NEMOTRON_H["block_configs"][1:]),
        ["block_configs[0]: has ffn, and the config says none of the layer"],
    ),
    "members that nobody knows": (
        changed("Llama", 0, 0, num_kv_head=2, sparsify=["x"]),
        ["attention: num_kv_head = 2 cannot be expressed", "attention: sparsify = ['x'] cannot be expressed"],
    ),
    "sizes that are none": (
        changed("Llama", 0, 1, intermediate_size=0),
        ["block_configs[0].ffn: intermediate_size = 0: a positive integer is needed"],
    ),
    "a no_op that is none": (
        changed("Llama", 0, 1, no_op="false"),
        ["block_configs[0].ffn: no_op = 'false': true, false or null is needed"],
    ),
    "blocks that are none": (
        with_blocks("Llama", typed.typed(attention(2), ffn(48)), {"subblock_configs": 3}, [1]),
        ["block_configs[1] = {'subblock_configs': 3}: an object with a list", "block_configs[2] = [1]: an object"],
    ),
    "more beside the sub-blocks": (
        with_blocks("Llama", *typed.DENSE_BLOCKS[:2], {**typed.DENSE_BLOCKS[2], "parallel_blocks": [1]}),
        ["block_configs[2]: parallel_blocks = [1] cannot be expressed"],
    ),
    "too few": (with_blocks("Llama", typed.DENSE_BLOCKS[0]), ["block_configs has 1 entries, num_hidden_layers is 3"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    config, expected = REFUSED[name]
    found = problems(config)
    for line in expected:
        assert any(line in each for each in found), found


def test_all_that_is_wrong_is_said_at_once():
    blocks = [typed.typed(attention(2, k_eq_v=True), ffn(48))] * 2 + [typed.typed(attention(2), moe(2, 8, 1))]
    assert [line.partition(": ")[0] for line in problems(with_blocks("Llama", *blocks))] == [
        "block_configs[0].attention",
        "block_configs[1].attention",
        "block_configs[2].moe",
    ]


def test_granite_is_read_and_written_by_nothing(tmp_path):
    config = {**published.GRANITE, "block_configs": typed.DENSE_BLOCKS}
    with pytest.raises(CheckpointError, match=r"block_configs = .* may describe the layers, and nothing reads it"):
        read(config)
    with pytest.raises(ValueError, match="block_configs"):
        HeterogeneousGraniteMoeHybridConfig.from_dict(config)
    CHECKPOINTS["Granite 4"].write(tmp_path / "source")
    with pytest.raises(CheckpointError, match="can be written as"):
        convert(tmp_path / "source", tmp_path / "there", to="anymodel_v2")
    assert not (tmp_path / "there").exists()


# --- block_configs beside per_layer_config ------------------------------------------------------------------------------


def overridden(name: str, overrides: Any) -> dict[str, Any]:
    return {**V2[name].config, "per_layer_config": overrides}


@pytest.mark.parametrize(
    "overrides",
    [
        {f"0{layer}": override for layer, override in typed.DENSE_OVERRIDES.items()},
        {int(layer): override for layer, override in typed.DENSE_OVERRIDES.items()},
        {**typed.DENSE_OVERRIDES, "0": {"num_key_value_heads": 2, "intermediate_size": 48, "skip": []}},
        {**typed.DENSE_OVERRIDES, "1": {"skip": ["attention"], "intermediate_size": 16, "rms_norm_eps": 1e-6}},
    ],
    ids=["padded", "numbers", "says what is so anyway", "says what blocks have no words for"],
)
def test_they_agree(overrides):
    assert read(overridden("Llama", overrides)).num_key_value_heads == [2, None, 1]


def test_every_disagreement_is_named():
    overrides = {
        "0": {"num_key_value_heads": 4, "rope_theta": 5.0},
        "1": {"intermediate_size": 16},
        "2": {"skip": ["mlp"], "num_attention_heads": 2, "sliding_window": 7},
    }
    assert problems(overridden("Llama", overrides)) == [
        "layer 0: num_key_value_heads is 2 in block_configs and 4 in per_layer_config",
        "layer 0: rope_theta is 1000000.0 in block_configs and 5.0 in per_layer_config",
        "layer 1: skip is ['attention'] in block_configs and [] in per_layer_config",
        "layer 2: sliding_window is None in block_configs and 7 in per_layer_config",
        "layer 2: num_key_value_heads is 1 in block_configs and 2 in per_layer_config",
    ]


def test_windows_that_disagree():
    overrides = deepcopy(typed.GPT_OSS["per_layer_config"])
    overrides["0"] = {}
    overrides["2"]["layer_types"] = ["sliding_attention"] * 3
    overrides["2"]["sliding_window"] = 6
    assert problems(overridden("gpt-oss", overrides)) == [
        "layer 0: sliding_window is 4 in block_configs and 8 in per_layer_config",
        "layer 2: sliding_window is None in block_configs and 6 in per_layer_config",
    ]


@pytest.mark.parametrize("overrides", [[1], {"0": 1}, {"3": {}}, {"x": {}}, {"1": {}, "01": {}}, {}], ids=str)
def test_overrides_that_are_none(overrides):
    assert all("per_layer_config" in line for line in problems(overridden("Llama", overrides)))


# --- what is written --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", V2)
def test_blocks_are_written_as_puzzletron_does(name):
    """From the family's config alone: Puzzletron's own blocks, but for the size of heads, which it says of one family."""
    found = recognition.recognise(V2[name].config, name)
    written = found.write_config(read(V2[name].config))
    expected = deepcopy(V2[name].config["block_configs"])
    for block in expected:
        for sub_block in block["subblock_configs"]:
            sub_block.pop("qk_head_dim", None), sub_block.pop("v_head_dim", None)
    assert written["block_configs"] == expected
    assert written["architectures"] == ["AnyModel"]
    assert written["model_type"] == V2[name].config["model_type"]
    base = V2[name].config.get("base_architecture", "LlamaForCausalLM")
    assert written["base_architecture"] == written["anymodel_arch_info"]["base_architecture"] == base
    told = V2[name].config.get("anymodel_arch_info", {})
    assert written["anymodel_arch_info"]["block_config_schema"] == "typed_subblocks_v1"
    assert name == "Nemotron-H" or told.items() <= written["anymodel_arch_info"].items()


@pytest.mark.parametrize("name", ["Llama", "Llama with typed blocks", "Qwen2", "Qwen3"])
def test_overrides_are_sparse(name):
    """Around the layers stands what most of them have, the first of them where several are as common: as by hand here."""
    written = recognition.recognise(V2[name].config, name).write_config(read(V2[name].config))
    assert written["per_layer_config"] == V2[name].config.get("per_layer_config", {})


def test_overrides_of_layers_that_are_one_sub_block():
    written = recognition.recognise(typed.NEMOTRON_H, "x").write_config(read(typed.NEMOTRON_H))
    assert written["layers_block_type"] == ["mamba", "moe", "attention", "attention", "mlp"]
    skips = {layer: override["skip"] for layer, override in typed.NEMOTRON_H["per_layer_config"].items()}
    assert {layer: override["skip"] for layer, override in written["per_layer_config"].items()} == skips


@pytest.mark.parametrize(
    ("name", "more", "complaint"),
    [
        ("Llama", {"sliding_window": [4, None, 4]}, "the base model has no windows"),
        ("Llama", {"mixer_types": ["linear", "none", "attention"]}, r"mixer_types\[0\] is 'linear'"),
        (
            "Nemotron-H",
            {
                "layers_block_type": ["mamba", "moe", "moe", "attention", "mlp"],
                "moe_latent_size": [None, 32, None, None, None],
            },
            "there is no word for a layer without one beside others",
        ),
    ],
)
def test_what_cannot_be_written(name, more, complaint):
    found, config = recognition.recognise(V2[name].config, name), read(V2[name].config)
    for member, value in more.items():
        setattr(config, member, value)
    with pytest.raises(CheckpointError, match=complaint):
        found.write_config(config)


# --- loaded -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", V2)
def test_auto_classes_load_it(name, tmp_path):
    """As the family, with the logits that the same tensors have in `per_layer_config`'s or the family's own form."""
    checkpoint = V2[name]
    folder = checkpoint.write(tmp_path / "source")
    found = AutoConfig.from_pretrained(folder)
    assert found.model_type == checkpoint.model_type
    assert found.architectures == [checkpoint.config.get("base_architecture", "LlamaForCausalLM")]  # not AnyModel
    assert type(AutoModelForCausalLM.from_pretrained(folder)).__name__.startswith("Heterogeneous")
    config = read(checkpoint.config).to_dict() | {"architectures": None}
    tensors = {tensor.replace("backbone.", "model."): each for tensor, each in checkpoint.tensors.items()}
    write_checkpoint(tmp_path / "ours", config, tensors, checkpoint.files)
    assert torch.equal(logits(folder), logits(tmp_path / "ours"))
