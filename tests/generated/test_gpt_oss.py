"""What is particular to heterogeneous_gpt_oss; what holds for every family is in test_every_family.py."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from safetensors.torch import save_file

import transformers.integrations.mxfp4
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    ContinuousBatchingConfig,
    GenerationConfig,
    GptOssConfig,
    GptOssForCausalLM,
    Mxfp4Config,
    PreTrainedModel,
)
from transformers.integrations import hub_kernels
from transformers.integrations.mxfp4 import Mxfp4GptOssExperts
from transformers.models.gpt_oss.modeling_gpt_oss import load_balancing_loss_func
from transformers.quantizers import quantizer_mxfp4
from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING
from transformers_heterogeneous import (
    HeterogeneousGptOssConfig,
    HeterogeneousGptOssForCausalLM,
    HeterogeneousGptOssForSequenceClassification,
    HeterogeneousGptOssForTokenClassification,
    register,
)
from transformers_heterogeneous.integrations.mxfp4 import HeterogeneousMxfp4HfQuantizer

from .release import WITHOUT_MIXER, as_asked, has, runs_packed
from .small_gpt_oss import BASE, CAUSAL, KINDS, MIXED, PARENT, PARENT_CONFIG, PUZZLE, THINNED, UNIFORM, WINDOWED, build
from .stock_gpt_oss import StockModel


DATA = Path(__file__).parent.parent / "data"
PUZZLE_88B = DATA / "nvidia--gpt-oss-puzzle-88B.json"
FULL, SLIDING = "full_attention", "sliding_attention"


def kinds(*names: str):
    return pytest.mark.parametrize("fields", [KINDS[name] for name in names or KINDS], ids=names or KINDS.keys())


def make(**changes) -> HeterogeneousGptOssConfig:
    return HeterogeneousGptOssConfig(**{**UNIFORM, **changes})


@pytest.fixture
def mixed():
    return build(MIXED)


@pytest.fixture
def gpt_oss_folder(tmp_path):
    """A checkpoint of a plain gpt-oss, saved by the parent."""
    torch.manual_seed(0)
    GptOssForCausalLM(GptOssConfig(**UNIFORM)).save_pretrained(tmp_path / "gpt_oss")
    return tmp_path / "gpt_oss"


# --- the config -------------------------------------------------------------------------------------------------------


def test_the_view_by_layer_type():
    config = HeterogeneousGptOssConfig(num_hidden_layers=4, num_key_value_heads=[4, 2, 4, 2])
    assert config.per_layer_config["sliding_attention"].sliding_window == config.sliding_window == 128
    full = config.per_layer_config["full_attention"]
    assert (full.sliding_window, full.num_key_value_heads) == (None, 2)


@pytest.mark.parametrize(
    "layer_types", [[FULL] * 4, [FULL, SLIDING, SLIDING, FULL], [SLIDING] * 4], ids=["full", "some slide", "all slide"]
)
def test_layer_types_that_are_set_mean_what_they_mean_to_the_parent(tmp_path, layer_types):
    def windows(model):
        return [layer.self_attn.sliding_window for layer in model.model.layers]

    configs = PARENT_CONFIG(**UNIFORM), HeterogeneousGptOssConfig(**UNIFORM)
    for config in configs:
        config.layer_types = layer_types
    parent, ours = PARENT(configs[0]), CAUSAL(configs[1])
    assert windows(ours) == windows(parent)
    HeterogeneousGptOssConfig(**UNIFORM).save_pretrained(tmp_path)
    assert windows(CAUSAL(HeterogeneousGptOssConfig.from_pretrained(tmp_path, layer_types=layer_types))) == windows(
        parent
    )
    config = HeterogeneousGptOssConfig(**UNIFORM)
    config.layer_types = ["linear_attention"] * 4
    with pytest.raises(ValueError, match=r"layer_types\[0\] is 'linear_attention', allowed are"):
        config.check()


@pytest.mark.parametrize(
    ("name", "num_parameters"),
    [
        ("nvidia--gpt-oss-puzzle-88B", 88_150_438_080),
        ("openai--gpt-oss-20b", 20_914_757_184),
        ("openai--gpt-oss-120b", 116_829_156_672),
    ],
)
def test_published_parameter_counts(name, num_parameters):
    config = HeterogeneousGptOssConfig.from_pretrained(DATA / f"{name}.json")
    with torch.device("meta"):
        model = HeterogeneousGptOssForCausalLM(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == num_parameters


@pytest.mark.parametrize("name", ["openai--gpt-oss-20b", "openai--gpt-oss-120b"])
def test_plain_gpt_oss_comes_out_as_the_parent(name):
    config = HeterogeneousGptOssConfig.from_pretrained(DATA / f"{name}.json")
    parent = GptOssConfig.from_pretrained(DATA / f"{name}.json")
    assert not config.is_heterogeneous and config.sliding_window == 128
    ours, theirs = config.to_dict(), parent.to_dict()
    assert {field for field in ours | theirs if ours.get(field) != theirs.get(field)} == {
        "mixer_types",
        "mlp_types",
        "model_type",
    }


def test_the_published_puzzle():
    config = AutoConfig.from_pretrained(PUZZLE_88B)
    assert type(config) is HeterogeneousGptOssConfig and config.model_type == "heterogeneous_gpt_oss"
    windows = config.sliding_window
    assert [windows.count(window) for window in (None, 128, 8192)] == [10, 18, 8]
    assert [config.num_local_experts.count(number) for number in (128, 64)] == [18, 18]
    assert config.per_layer_attributes == {"num_local_experts", "sliding_window"}
    assert (config.num_experts_per_tok, config.intermediate_size, config.num_key_value_heads) == (4, 2880, 8)
    assert config.layer_types == json.loads(PUZZLE_88B.read_text())["layer_types"]
    assert not hasattr(config, "block_configs")


def test_windows_alternate_by_default_and_a_list_decides_by_itself():
    assert make().layer_types == [SLIDING, FULL, SLIDING, FULL]
    assert [layer.sliding_window for layer in make().per_layer_config] == [6, None, 6, None]
    assert make(layer_types=[FULL, FULL, FULL, SLIDING]).layer_types == [FULL, FULL, FULL, SLIDING]
    assert make(sliding_window=[None, 6, 6, None]).layer_types == [FULL, SLIDING, SLIDING, FULL]
    assert make(sliding_window=[6, 6, 6, 6]).layer_types == [SLIDING] * 4
    assert make(sliding_window=None).layer_types == [FULL] * 4
    assert make(sliding_window=[None] * 4).sliding_window is None
    with pytest.raises(ValueError, match=r"layer_types\[1\] is 'full_attention', but sliding_window\[1\] is 6"):
        make(sliding_window=[6, 6, 6, 6], layer_types=[SLIDING, FULL, SLIDING, SLIDING])


@pytest.mark.parametrize("sliding_window", [6, None, [6, None, 9, None], [None, 6, 6, None]])
def test_windows_survive_saving(sliding_window, tmp_path):
    config = make(sliding_window=sliding_window)
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert (loaded.sliding_window, loaded.layer_types) == (config.sliding_window, config.layer_types)
    assert [layer.sliding_window for layer in loaded.per_layer_config] == [
        layer.sliding_window for layer in config.per_layer_config
    ]


def test_a_plain_gpt_oss_can_be_shortened(tmp_path):
    GptOssConfig(**UNIFORM).save_pretrained(tmp_path)
    config = HeterogeneousGptOssConfig.from_pretrained(tmp_path, num_hidden_layers=3)
    assert config.layer_types == [SLIDING, FULL, SLIDING] and config.mixer_types == ["attention"] * 3


def test_norms_have_their_own_fsdp_group():
    """FSDP2 has one dtype a group, and upstream puts the last norm and `lm_head` together when both keep their weights."""
    model = build(UNIFORM)
    assert model.fsdp_plan["lm_head"] == "keep_full_weight" != model.fsdp_plan["model.norm"]


def test_the_view_of_a_layer():
    layers = HeterogeneousGptOssConfig(**MIXED).per_layer_config
    assert [layer.num_local_experts for layer in layers] == [4, 6, 3, 8, 8, 8, 5, 4]
    assert [layer.num_experts for layer in layers] == [4, 6, 3, 8, 8, 8, 5, 4]
    assert [layer.sliding_window for layer in layers] == [None, None, 5, 9, None, None, 5, None]
    assert [layer.skip for layer in layers] == [["attention"], [], [], ["mlp"], ["attention", "mlp"], [], [], []]
    assert layers[5].swiglu_limit == 7.0


def test_the_dict_of_overrides():
    overrides = {"0": {"num_local_experts": 2, "sliding_window": None}, 2: {"skip": ["attention", "mlp"]}}
    config = make(per_layer_config=overrides)
    assert config.mixer_types == ["attention", "attention", "none", "attention"]
    assert config.mlp_types == ["moe", "moe", "none", "moe"]
    assert config.num_local_experts == [2, 4, None, 4]
    assert config.sliding_window is None and config.saved_layer_types() == [FULL] * 4


BAD = {
    "too_many_experts_per_token": (
        {"num_experts_per_tok": [2, 5, 2, 9]},
        [
            "layers [1]: num_experts_per_tok = 5 is more than num_local_experts = 4",
            "layers [3]: num_experts_per_tok = 9 is more than num_local_experts = 4",
        ],
    ),
    "heads": ({"num_key_value_heads": [2, 3, 4, 3]}, ["layers [1, 3]: num_key_value_heads = 3 does not divide"]),
    "missing": ({"num_local_experts": [4, None, 4, 0]}, ["num_local_experts[1] is None", "num_local_experts[3] is 0"]),
    "dense": ({"mlp_types": ["moe", "dense", "moe", "moe"]}, ["mlp_types[1] is 'dense', allowed are ['moe', 'none']"]),
    "linear": (
        {"mixer_types": ["attention", "linear", "attention", "attention"]},
        ["mixer_types[1] is 'linear', allowed are ['attention', 'none']"],
    ),
    "short": ({"sliding_window": [6, None]}, ["sliding_window has 2 entries, num_hidden_layers is 4"]),
}


@pytest.mark.parametrize(("changes", "expected"), BAD.values(), ids=BAD.keys())
def test_bad_configs_name_every_bad_layer(changes, expected):
    with pytest.raises((StrictDataclassClassValidationError, ValueError)) as error:
        make(**changes)
    for text in expected:
        assert text in str(error.value)
    assert "layer_types" not in str(error.value)


@pytest.mark.parametrize(("ep_size", "message"), [(2, "{2: 3, 6: 5}"), (4, "{1: 6, 2: 3, 6: 5}")])
def test_experts_that_ranks_cannot_share_are_refused_when_built(ep_size, message):
    config = HeterogeneousGptOssConfig(**MIXED)
    config.distributed_config = SimpleNamespace(tp_size=2, ep_size=ep_size)
    with pytest.raises(ValueError) as error:
        HeterogeneousGptOssForCausalLM(config)
    assert f"ep_size = {ep_size} does not divide num_local_experts of these layers: {message}" in str(error.value)
    config.distributed_config = SimpleNamespace(tp_size=2, ep_size=1)
    HeterogeneousGptOssForCausalLM(config)


# --- block_configs ----------------------------------------------------------------------------------------------------


def read(*blocks, **globals_) -> HeterogeneousGptOssConfig:
    fields = {**UNIFORM, "num_hidden_layers": len(blocks), **globals_}
    return HeterogeneousGptOssConfig.from_dict({**fields, "block_configs": list(blocks)})


def puzzletron(attention: dict | None = None, ffn: dict | None = None, moe: dict | None = None, **other) -> dict:
    """An entry in the dialect of ModelOpt's Puzzletron, changed where told."""
    sub_block = {"no_op": False, "replace_with_linear": False, "sparsify": None, "weights_precision": "bf16"}
    attention = sub_block | {"num_key_value_heads": 2, "llama4": None, "mamba": None} | (attention or {})
    experts = {"num_local_experts": 4, "num_experts_per_tok": 2, "expert_intermediate_dim": 32}
    experts |= {"shared_expert_intermediate_dim": 8192} | (moe or {})
    ffn = sub_block | {"moe": experts, "intermediate_size": None, "gated": None, "hidden_act": None} | (ffn or {})
    return {"attention": attention, "ffn": ffn, "parallel_blocks": None, **other}


def test_every_size_a_flat_block_may_have():
    config = read(
        {"num_local_experts": 8, "sliding_window": 4, "intermediate_size": 64, "num_key_value_heads": 1},
        {"num_local_experts": 4, "sliding_window": None, "intermediate_size": 32, "num_key_value_heads": 2},
    )
    assert config.num_local_experts == [8, 4] and config.intermediate_size == [64, 32]
    assert config.num_key_value_heads == [1, 2] and config.num_experts_per_tok == 2
    assert config.sliding_window == 4 and config.layer_types == [SLIDING, FULL]
    assert read({"num_experts_per_tok": 1}, {"num_experts_per_tok": 3}).num_experts_per_tok == [1, 3]


def test_puzzletrons_blocks():
    config = read(
        puzzletron({"num_key_value_heads": 4}),
        puzzletron(moe={"num_local_experts": 2, "num_experts_per_tok": 1, "expert_intermediate_dim": 64}),
        puzzletron({"no_op": True, "num_key_value_heads": None}),
        puzzletron(ffn={"no_op": True, "moe": None}),
        layer_types=[SLIDING, FULL, SLIDING, FULL],
    )
    assert config.mixer_types == ["attention", "attention", "none", "attention"]
    assert config.mlp_types == ["moe", "moe", "moe", "none"]
    assert config.num_key_value_heads == [4, 2, None, 2]
    assert config.num_local_experts == [4, 2, 4, None] and config.num_experts_per_tok == [2, 1, 2, None]
    assert config.intermediate_size == [32, 64, 32, None]
    assert (config.sliding_window, config.layer_types[0], config.layer_types[1]) == (6, SLIDING, FULL)


def test_windows_of_puzzletrons_blocks_decide():
    config = read(puzzletron({"window_length": 4}), puzzletron(), puzzletron({"window_length": 9}))
    assert config.sliding_window == [4, None, 9] and config.layer_types == [SLIDING, FULL, SLIDING]


REFUSED = {
    "unknown": ({"num_local_experts": 4, "router": "sigmoid"}, r"block_configs\[1\]: router = 'sigmoid' cannot be"),
    "text": ({"num_local_experts": "4"}, r"block_configs\[1\]: num_local_experts = '4': a positive integer"),
    "window": ({"num_local_experts": 4, "sliding_window": 0}, r"block_configs\[1\]: sliding_window = 0: a positive"),
    "absent": ({}, r"block_configs\[1\]: num_local_experts is missing, other blocks have it"),
    "no_block": (None, r"block_configs\[1\] = None: an object is needed"),
    "no_ffn": ({"attention": {"no_op": True}}, r"block_configs\[1\].ffn = None: an object is needed"),
    "linear": (puzzletron({"replace_with_linear": True}), r"\[1\].attention: replace_with_linear = True cannot"),
    "sinks": (puzzletron({"num_sink_tokens": 4}), r"\[1\].attention: num_sink_tokens = 4 cannot"),
    "linear_ffn": (puzzletron(ffn={"replace_with_linear": True}), r"\[1\].ffn: replace_with_linear = True cannot"),
    "dense": (puzzletron(ffn={"moe": None, "intermediate_size": 32}), r"\[1\].ffn: moe = None: an object is needed"),
    "width": (puzzletron(ffn={"intermediate_size": 32}), r"\[1\].ffn: intermediate_size = 32 cannot"),
    "not_gated": (puzzletron(ffn={"gated": False}), r"\[1\].ffn: gated = False cannot be expressed"),
    "activation": (puzzletron(ffn={"hidden_act": "gelu"}), r"\[1\].ffn: hidden_act = 'gelu' cannot be expressed"),
    "shared_expert": (
        puzzletron(moe={"shared_expert_intermediate_dim": 64}),
        r"\[1\].ffn: moe: shared_expert_intermediate_dim = 64, but this family has no shared expert",
    ),
    "experts": (puzzletron(moe={"num_local_experts": -1}), r"\[1\].ffn: moe: num_local_experts = -1: a positive"),
    "latent": (puzzletron(moe={"moe_latent_size": 8}), r"\[1\].ffn: moe: moe_latent_size = 8 cannot"),
    "parallel_blocks": (puzzletron(parallel_blocks=[puzzletron()]), r"block_configs\[1\]: parallel_blocks"),
}


@pytest.mark.parametrize(("bad", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_expressed_is_refused_by_name(bad, message):
    with pytest.raises(ValueError, match=message):
        read({"num_local_experts": 4}, bad)


def test_all_errors_come_together():
    with pytest.raises(ValueError) as error:
        read({"num_local_experts": 4, "a": 1, "b": 2}, {"num_local_experts": 0, "c": 3}, num_hidden_layers=3)
    for text in ("[0]: a = 1", "[0]: b = 2", "[1]: num_local_experts = 0", "[1]: c = 3", "2 entries"):
        assert text in str(error.value)


def test_layer_types_that_contradict_the_blocks_are_named():
    blocks = [{"sliding_window": 4}, {"sliding_window": None}, {"sliding_window": 9}]
    with pytest.raises(ValueError) as error:
        read(*blocks, layer_types=[SLIDING, SLIDING, FULL])
    assert "layer_types[1] is 'sliding_attention', but sliding_window[1] is None" in str(error.value)
    assert "layer_types[2] is 'full_attention', but sliding_window[2] is 9" in str(error.value)


def test_a_puzzle_without_blocks_says_so(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({**UNIFORM, "model_type": "gpt_oss_puzzle"}))
    with pytest.raises(ValueError, match="block_configs is missing"):
        AutoConfig.from_pretrained(tmp_path)


# --- what is built ----------------------------------------------------------------------------------------------------


def test_what_is_not_there_is_not_built(mixed):
    children = [sorted(name for name, _ in layer.named_children()) for layer in mixed.model.layers]
    attention, experts = ["input_layernorm", "self_attn"], ["mlp", "post_attention_layernorm"]
    both = sorted([*attention, *experts])
    assert children == [experts, both, both, attention, [], both, both, both]


def test_layers_have_their_own_sizes_and_one_config(mixed):
    layer = mixed.model.layers[2]
    assert tuple(layer.mlp.experts.gate_up_proj.shape) == (3, 64, 64) and layer.mlp.router.top_k == 1
    assert tuple(layer.self_attn.k_proj.weight.shape) == (64, 64) and layer.self_attn.sliding_window == 5
    assert layer.self_attn.config.num_local_experts == layer.mlp.experts.config.num_local_experts == 3


# --- experts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("experts_implementation", ["eager", "batched_mm", "grouped_mm"])
@kinds("uniform", "mixed")
def test_experts_implementations_are_those_of_stock_layers(fields, experts_implementation, tokens):
    ours, stock = build(fields), StockModel(fields, experts_implementation=experts_implementation)
    stock.load_state_dict(ours.state_dict())
    before = ours(tokens).logits
    ours.set_experts_implementation(experts_implementation)
    logits = ours(tokens).logits
    assert torch.equal(logits, stock(tokens))
    torch.testing.assert_close(logits, before, atol=2e-6, rtol=1e-5)


# --- router logits and the loss ---------------------------------------------------------------------------------------


def test_router_logits_are_those_of_the_layers_with_experts(mixed, tokens):
    outputs = mixed(tokens, output_router_logits=True)
    assert [tuple(logits.shape) for logits in outputs.router_logits] == [(28, n) for n in (4, 6, 3, 8, 5, 4)]


def test_uniform_loss_is_the_parents(gpt_oss_folder, tokens):
    parent = GptOssForCausalLM.from_pretrained(gpt_oss_folder)
    ours = HeterogeneousGptOssForCausalLM.from_pretrained(gpt_oss_folder)
    padding = torch.ones_like(tokens)
    padding[0, :5] = 0
    for mask in (None, padding):
        outputs = [model(tokens, mask, labels=tokens, output_router_logits=True) for model in (ours, parent)]
        assert torch.equal(outputs[0].aux_loss, outputs[1].aux_loss)
        assert torch.equal(outputs[0].loss, outputs[1].loss)


@pytest.mark.parametrize("scalar", [{}, {"num_local_experts": 8}, {"num_experts_per_tok": 2}], ids=str)
def test_loss_of_unequal_layers_is_the_mean_of_theirs(scalar, tokens):
    model = build({**MIXED, **scalar, "router_aux_loss_coef": 0.5})
    padding = torch.ones_like(tokens)
    padding[0, :5] = 0
    outputs = model(tokens, padding, labels=tokens, output_router_logits=True)
    layers = [layer.mlp.router for layer in model.model.layers if layer.has_mlp]
    losses = [
        load_balancing_loss_func((logits,), router.num_experts, router.top_k, padding)
        for logits, router in zip(outputs.router_logits, layers, strict=True)
    ]
    torch.testing.assert_close(outputs.aux_loss, torch.stack(losses).mean())
    plain = model(tokens, padding, labels=tokens).loss
    torch.testing.assert_close(outputs.loss, plain + 0.5 * outputs.aux_loss)
    outputs.loss.backward()
    assert all(router.weight.grad.abs().sum() > 0 for router in layers)


def test_without_experts_there_is_no_such_loss(tokens):
    outputs = build({**UNIFORM, "mlp_types": ["none"] * 4})(tokens, labels=tokens, output_router_logits=True)
    assert outputs.aux_loss == 0 and not outputs.router_logits


# --- attention and generation -----------------------------------------------------------------------------------------


def test_sinks_take_part_in_the_softmax(mixed, tokens):
    before = mixed(tokens, output_attentions=True)
    with torch.no_grad():
        mixed.model.layers[2].self_attn.sinks += 3.0
    after = mixed(tokens, output_attentions=True)
    assert len(before.attentions) == 6  # of the layers that attend
    assert torch.equal(before.attentions[0], after.attentions[0])
    assert (after.attentions[1].sum(-1) < before.attentions[1].sum(-1)).all()


def test_one_mask_for_each_window(mixed):
    def masks(model):
        return model.create_masks_for_generate(model.config, torch.zeros(1, 12, 64), None)

    assert masks(mixed).keys() == {FULL, SLIDING} | WITHOUT_MIXER and masks(mixed)[SLIDING].keys() == {5, 9}
    for window, mask in masks(mixed)[SLIDING].items():
        assert ((mask[0, 0] == 0).sum(-1) == torch.arange(1, 13).clamp(max=window)).all()
    assert masks(build(WINDOWED)).keys() == {SLIDING} | WITHOUT_MIXER and masks(build(UNIFORM)).keys() == {
        SLIDING,
        FULL,
    }


def test_attention_that_the_parent_lacks_is_refused_as_there():
    for model_class, config in (
        (GptOssForCausalLM, GptOssConfig),
        (HeterogeneousGptOssForCausalLM, HeterogeneousGptOssConfig),
    ):
        with pytest.raises(ValueError, match="scaled_dot_product_attention"):
            model_class(config(**UNIFORM, attn_implementation="sdpa"))


@kinds("uniform", "thinned", "windowed", "half_windowed")
def test_continuous_batching_gives_the_greedy_tokens(fields, tokens):
    model = build(fields)
    if "none" in model.config.mixer_types and not has("paged_layers_without_attention"):
        with pytest.raises(ValueError, match=r"no place for layers without attention.*before transformers"):
            model.generate_batch(inputs=tokens.tolist())
        return
    expected = model.generate(tokens, max_new_tokens=8, do_sample=False, eos_token_id=None)
    options = GenerationConfig(max_new_tokens=8, do_sample=False, eos_token_id=-1, pad_token_id=0)
    outputs = model.generate_batch(
        inputs=tokens.tolist(),
        generation_config=options,
        continuous_batching_config=ContinuousBatchingConfig(num_blocks=16, max_batch_tokens=64),
    )
    generated = sorted(tuple(output.generated_tokens) for output in outputs.values())
    assert generated == sorted(tuple(row) for row in expected[:, 14:].tolist())


def test_continuous_batching_refuses_what_upstream_cannot_hold(tokens):
    with pytest.raises(ValueError, match=r"here they differ: sliding_window = \[4, None, 4, 9\]"):
        build(PUZZLE).generate_batch(inputs=tokens.tolist())
    with pytest.raises(ValueError, match=r"here they differ: num_key_value_heads = \[2, None, 1"):
        build({**THINNED, "num_key_value_heads": [2, None, 1, None, 2]}).generate_batch(inputs=tokens.tolist())


# --- loading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_norms_stay_float32(dtype, mixed, tmp_path, tokens):
    mixed.to(dtype).save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=dtype).eval()
    dtypes = {name: parameter.dtype for name, parameter in loaded.named_parameters()}
    assert {dtypes[name] for name in dtypes if "norm" in name} == {torch.float32}
    assert {dtypes[name] for name in dtypes if "norm" not in name} == {dtype}
    logits = loaded(tokens).logits
    for parameter in loaded.parameters():
        parameter.data = parameter.data.to(dtype)  # as the file has them
    assert torch.equal(loaded(tokens).logits, logits)


def test_uniform_bfloat16_logits_are_the_parents(gpt_oss_folder, tmp_path, tokens):
    parent = GptOssForCausalLM.from_pretrained(gpt_oss_folder, dtype=torch.bfloat16).eval()
    with torch.no_grad():
        for name, parameter in parent.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.5, 1.5)
    parent.save_pretrained(tmp_path / "bfloat16")
    ours = HeterogeneousGptOssForCausalLM.from_pretrained(tmp_path / "bfloat16", dtype=torch.bfloat16).eval()
    assert torch.equal(ours(tokens).logits, parent(tokens).logits)


def test_layers_of_a_plain_gpt_oss_are_overridden_on_the_fly(gpt_oss_folder, tokens):
    loaded, report = HeterogeneousGptOssForCausalLM.from_pretrained(
        gpt_oss_folder,
        per_layer_config={0: {"sliding_window": 3}, 1: {"skip": ["attention"]}, 3: {"skip": ["mlp"]}},
        output_loading_info=True,
    )
    prefixes = ("model.layers.1.self_attn.", "model.layers.1.input_layernorm.")
    prefixes += ("model.layers.3.mlp.", "model.layers.3.post_attention_layernorm.")
    assert len(report["unexpected_keys"]) == 17 and not report["missing_keys"]
    assert all(key.startswith(prefixes) for key in report["unexpected_keys"])
    fields = {**UNIFORM, "mixer_types": ["attention", "none", "attention", "attention"]}
    fields |= {"mlp_types": ["moe", "moe", "moe", "none"], "sliding_window": [3, None, 6, None]}
    stock = StockModel(fields)
    stock.load_state_dict(loaded.state_dict(), strict=True)
    assert torch.equal(loaded.eval()(tokens).logits, stock(tokens))


def test_experts_that_the_file_does_not_have_are_not_made_up(gpt_oss_folder):
    with pytest.raises(RuntimeError, match="mismatch"):
        HeterogeneousGptOssForCausalLM.from_pretrained(gpt_oss_folder, per_layer_config={1: {"num_local_experts": 2}})


@pytest.mark.parametrize(
    ("model_class", "shape"),
    [(HeterogeneousGptOssForSequenceClassification, (2, 2)), (HeterogeneousGptOssForTokenClassification, (2, 14, 2))],
)
def test_heads_load_from_the_causal_checkpoint(model_class, shape, mixed, tmp_path, tokens):
    mixed.save_pretrained(tmp_path)
    model, report = model_class.from_pretrained(tmp_path, output_loading_info=True)
    assert tuple(model.eval()(tokens).logits.shape) == shape
    assert {key.split(".")[0] for key in report["missing_keys"]} == {"score"}


# --- MXFP4 ------------------------------------------------------------------------------------------------------------

FP4 = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0], np.float32)


def pack(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """
    Weights of shape (experts, inputs, outputs) as MXFP4, after the OCP specification: for each output, 32 inputs share a
    power of two, biased by 127, and two neighbours a byte, the first in its low half.

    Returns:
        blocks (experts, outputs, inputs / 32, 16) and scales (experts, outputs, inputs / 32), both uint8, and the
        weights that they stand for.
    """
    groups = weight.detach().float().numpy().transpose(0, 2, 1)
    groups = groups.reshape(*groups.shape[:2], -1, 32)  # (experts, outputs, groups, 32)
    exponents = np.floor(np.log2(np.abs(groups).max(-1, keepdims=True))) - 2  # the largest code is 6 = 1.5 * 2 ** 2
    codes = np.abs(groups[..., None] / 2.0 ** exponents[..., None] - FP4).argmin(-1).astype(np.uint8)
    values = FP4[codes] * 2.0**exponents
    blocks = codes[..., 0::2] | codes[..., 1::2] << 4
    scales = (exponents[..., 0] + 127).astype(np.uint8)
    values = values.reshape(*values.shape[:2], -1).transpose(0, 2, 1)
    return torch.tensor(blocks), torch.tensor(scales), torch.tensor(values.astype(np.float32))


def packed(state_dict: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """A checkpoint with its experts packed, and the same one with the weights that they stand for."""
    checkpoint, dequantised = dict(state_dict), dict(state_dict)
    for name in state_dict:
        if name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            weight = checkpoint.pop(name)
            checkpoint[f"{name}_blocks"], checkpoint[f"{name}_scales"], dequantised[name] = pack(weight)
    return checkpoint, dequantised


def write(folder: Path, config: dict, tensors: dict[str, torch.Tensor]) -> Path:
    """A checkpoint in two shards, as they are published."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    names = sorted(tensors)
    shards = {"model-00000-of-00002.safetensors": names[::2], "model-00001-of-00002.safetensors": names[1::2]}
    for shard, part in shards.items():
        save_file({name: tensors[name].contiguous() for name in part}, folder / shard, metadata={"format": "pt"})
    weight_map = {name: shard for shard, part in shards.items() for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


@pytest.mark.parametrize("dequantize", [True, False], ids=["asked_for", "for_lack_of_kernels"])
def test_packed_experts_of_every_size_load_dequantised(dequantize, mixed, tmp_path, tokens):
    checkpoint, dequantised = packed(mixed.state_dict())
    config = mixed.config.to_dict() | {"quantization_config": {"quant_method": "mxfp4"}, "dtype": "float32"}
    folder = write(tmp_path / "packed", config, checkpoint)
    options = {"quantization_config": Mxfp4Config(dequantize=True)} if dequantize else {}
    loaded, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, **options)
    assert not any(report.values()), report
    mixed.load_state_dict(dequantised)
    assert torch.equal(as_asked(loaded).eval()(tokens).logits, mixed(tokens).logits)
    loaded.save_pretrained(tmp_path / "saved")
    again, report = AutoModelForCausalLM.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not any(report.values()) and not hasattr(again.config, "quantization_config")
    assert torch.equal(as_asked(again).eval()(tokens).logits, mixed(tokens).logits)


@pytest.mark.parametrize("mxfp4", [False, True], ids=["plain", "mxfp4"])
@pytest.mark.parametrize("trust_remote_code", [None, True, False])
def test_auto_classes_load_the_unconverted_puzzle(trust_remote_code, mxfp4, tmp_path, tokens, caplog):
    stock = StockModel(PUZZLE).eval()
    with torch.no_grad():
        for parameter in stock.parameters():
            parameter.normal_(std=0.06)
    checkpoint, dequantised = packed(stock.state_dict()) if mxfp4 else (stock.state_dict(), stock.state_dict())
    stock.load_state_dict(dequantised)
    for layer_idx in range(4):
        checkpoint |= {f"model.layers.{layer_idx}.self_attn.{name}_scale": torch.ones(1) for name in "kv"}
    blocks = [
        {"num_local_experts": number, "sliding_window": window}
        for number, window in zip(PUZZLE["num_local_experts"], PUZZLE["sliding_window"], strict=True)
    ]
    config = {name: value for name, value in UNIFORM.items() if name not in ("sliding_window", "num_local_experts")}
    config |= {
        "architectures": ["GptOssPuzzleForCausalLM"],
        "auto_map": {
            "AutoConfig": "configuration_gpt_oss_puzzle.GptOssPuzzleConfig",
            "AutoModelForCausalLM": "modeling_gpt_oss_puzzle.GptOssPuzzleForCausalLM",
        },
        "block_configs": blocks,
        "layer_types": [SLIDING, FULL, SLIDING, SLIDING],
        "model_type": "gpt_oss_puzzle",
        "torch_dtype": "float32",
    }
    if mxfp4:
        config["quantization_config"] = {"quant_method": "mxfp4"}
    folder = write(tmp_path / "puzzle", config, checkpoint)
    for name in ("configuration_gpt_oss_puzzle.py", "modeling_gpt_oss_puzzle.py"):
        (folder / name).write_text("raise RuntimeError('remote code was executed')\n")
    options = {} if trust_remote_code is None else {"trust_remote_code": trust_remote_code}
    model, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, **options)
    assert type(model) is HeterogeneousGptOssForCausalLM and not any(report.values()), report
    assert caplog.text.count("The tensors `*.self_attn.[qkv]_scale` of the checkpoint are not loaded") == 1
    assert torch.equal(as_asked(model).eval()(tokens).logits, stock(tokens))
    model.save_pretrained(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved/config.json").read_text())
    assert saved["model_type"] == "heterogeneous_gpt_oss" and saved["sliding_window"] == [4, None, 4, 9]
    assert not {"auto_map", "block_configs", "quantization_config"} & set(saved)


def test_anymodel_folders_load_through_the_family(mixed, tmp_path, tokens):
    """The base model's `model_type` stays in place, so that it is the class that says what it is."""
    stock = StockModel({**MIXED, "sliding_window": [None] * 8})
    stock.load_state_dict(mixed.state_dict())
    config = {**BASE, "model_type": "gpt_oss", "architectures": ["GptOssForCausalLM"], "num_hidden_layers": 8}
    config |= {"layer_types": [FULL] * 8, "sliding_window": 128, "block_configs": []}
    layer = {
        name: MIXED[name]
        for name in ("num_key_value_heads", "num_local_experts", "num_experts_per_tok", "intermediate_size")
    }
    for kv_heads, num_experts, top_k, width in zip(*layer.values(), strict=True):
        attention = {"no_op": kv_heads is None, "num_key_value_heads": kv_heads}
        moe = {"num_local_experts": num_experts, "num_experts_per_tok": top_k, "expert_intermediate_dim": width}
        config["block_configs"].append(puzzletron(attention, {"no_op": num_experts is None}, moe))
    folder = write(tmp_path / "anymodel", config, stock.state_dict())
    model, report = HeterogeneousGptOssForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    assert torch.equal(as_asked(model).eval()(tokens).logits, stock(tokens))


# --- MXFP4 without dequantising: what is put in the place of the experts; it runs on a GPU only -------------------------


@pytest.fixture
def kernels(monkeypatch):
    """As where the Triton kernels can be had: they are loaded, and the swizzled weights are what they are made from."""
    swizzled = {}

    def swizzle(blocks, scales, module, proj, device, kernels):
        swizzled[id(module), proj] = (tuple(blocks.shape), tuple(scales.shape))
        module._parameters.pop(proj)
        setattr(module, proj, (blocks, scales))

    monkeypatch.setattr(PreTrainedModel, "set_use_kernels", lambda *args: None)
    monkeypatch.setattr(quantizer_mxfp4, "is_triton_available", lambda *args: True)
    monkeypatch.setattr(quantizer_mxfp4, "is_kernels_available", lambda *args: True)
    monkeypatch.setattr(hub_kernels, "get_kernel", lambda *args, **kwargs: SimpleNamespace())
    monkeypatch.setattr(transformers.integrations.mxfp4, "swizzle_mxfp4_convertops", swizzle)
    monkeypatch.setattr(transformers.integrations.mxfp4, "triton_kernels_hub", None, raising=False)
    return swizzled


def test_experts_are_replaced_by_packed_ones_with_the_sizes_of_their_layer(kernels, mixed, tmp_path, caplog):
    checkpoint, _ = packed(mixed.state_dict())
    config = mixed.config.to_dict() | {"quantization_config": {"quant_method": "mxfp4"}, "dtype": "float32"}
    folder = write(tmp_path / "packed", config, checkpoint)
    loaded, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, use_kernels=True)
    assert type(loaded.hf_quantizer) is HeterogeneousMxfp4HfQuantizer
    assert not any(report.values()) and "no linear modules were found" not in caplog.text
    for layer_idx, layer in enumerate(loaded.model.layers):
        if not layer.has_mlp:
            continue
        assert runs_packed(layer.mlp) and type(layer.mlp.experts) is Mxfp4GptOssExperts
        num_experts, width = MIXED["num_local_experts"][layer_idx], MIXED["intermediate_size"][layer_idx]
        experts = layer.mlp.experts
        assert (experts.num_experts, experts.intermediate_size, experts.limit) == (num_experts, width, 7.0)
        assert layer.mlp.router.top_k == MIXED["num_experts_per_tok"][layer_idx]
        assert tuple(experts.gate_up_proj_bias.shape) == (num_experts, 2 * width)
        assert kernels[id(experts), "gate_up_proj"] == ((num_experts, 2 * width, 2, 16), (num_experts, 2 * width, 2))
        shape = (num_experts, 64, width // 32)
        assert kernels[id(experts), "down_proj"] == ((*shape, 16), shape)
        stored = checkpoint[f"model.layers.{layer_idx}.mlp.experts.down_proj_blocks"]
        assert torch.equal(experts.down_proj[0], stored)


def test_modules_to_not_convert_stay(kernels, mixed):
    quantizer = HeterogeneousMxfp4HfQuantizer(Mxfp4Config(modules_to_not_convert=["model.layers.2.mlp.experts"]))
    quantizer._process_model_before_weight_loading(mixed, use_kernels=True)
    replaced = [runs_packed(layer.mlp) for layer in mixed.model.layers if layer.has_mlp]
    assert replaced == [True, True, False, True, True, True]


def test_fused_experts_are_loaded_dequantised(mixed, tmp_path, tokens):
    checkpoint, dequantised = packed(mixed.state_dict())
    config = mixed.config.to_dict() | {"quantization_config": {"quant_method": "mxfp4"}, "dtype": "float32"}
    folder = write(tmp_path / "packed", config, checkpoint)
    loaded, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, fused_blocks="norm_mlp")
    assert not any(report.values()) and "norm_mlp" in loaded.config.fused_blocks
    mixed.load_state_dict(dequantised)
    assert torch.equal(as_asked(loaded).eval()(tokens).logits, mixed(tokens).logits)
    loaded.save_pretrained(tmp_path / "saved")
    again, report = AutoModelForCausalLM.from_pretrained(
        tmp_path / "saved", output_loading_info=True, fused_blocks="none"
    )
    assert not any(report.values())
    assert torch.equal(as_asked(again).eval()(tokens).logits, mixed(tokens).logits)


def test_packed_experts_have_a_kernel_of_their_own(kernels):
    fused = build({**UNIFORM, "fused_blocks": "norm_mlp"})
    quantizer = HeterogeneousMxfp4HfQuantizer(Mxfp4Config(modules_to_not_convert=["model.layers.2.mlp.experts"]))
    with pytest.raises(ValueError, match=r"fused_blocks is 'norm_mlp' in \['model.layers.0.mlp', .*dequantize=True"):
        quantizer._process_model_before_weight_loading(fused, use_kernels=True)
    fused = build({**UNIFORM, "fused_blocks": ["add_norm", "none", "norm_mlp", "none"]})
    quantizer._process_model_before_weight_loading(fused, use_kernels=True)
    assert [runs_packed(layer.mlp) for layer in fused.model.layers] == [True, True, False, True]


def test_the_parent_is_quantised_as_before(kernels, tmp_path):
    torch.manual_seed(0)
    parent = GptOssForCausalLM(GptOssConfig(**UNIFORM))
    checkpoint, _ = packed(parent.state_dict())
    config = parent.config.to_dict() | {"quantization_config": {"quant_method": "mxfp4"}, "dtype": "float32"}
    folder = write(tmp_path / "packed", config, checkpoint)
    loaded, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, use_kernels=True)
    assert type(loaded) is GptOssForCausalLM and not any(report.values())
    assert all(runs_packed(layer.mlp) for layer in loaded.model.layers)


def test_registering_again_changes_nothing():
    assert AUTO_QUANTIZER_MAPPING["mxfp4"] is HeterogeneousMxfp4HfQuantizer
    before = dict(AUTO_QUANTIZER_MAPPING)
    register()
    assert before == AUTO_QUANTIZER_MAPPING


def test_no_module_is_in_both_lists_of_what_stays_in_float32():
    model = build(UNIFORM)
    assert not set(model._keep_in_fp32_modules or ()) & set(model._keep_in_fp32_modules_strict)
