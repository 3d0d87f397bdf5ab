"""What is particular to heterogeneous_granite_moe_hybrid: its config, experts, mamba layers and published names."""

import copy
import json

import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from safetensors.torch import load_file

from transformers import AutoConfig, AutoModelForCausalLM
from transformers.cache_utils import get_layer_types_and_kwargs
from transformers.models.granitemoehybrid.modeling_granitemoehybrid import load_balancing_loss_func
from transformers_heterogeneous import HeterogeneousGraniteMoeHybridModel

from .release import CACHE, NO_CACHE, NO_CACHE_LAYER
from .small_granite_moe_hybrid import (
    ATTENTION,
    CAUSAL,
    CONFIG,
    DENSE,
    KINDS,
    MIXED,
    PARENT,
    PARENT_CONFIG,
    THINNED,
    UNIFORM,
    WITHOUT_ROPE,
    build,
)
from .stock_granite_moe_hybrid import StockModel


ALL_MAMBA = {name: value for name, value in UNIFORM.items() if name != "layer_types"}  # the parent's default
MAMBA_AND_ATTENTION = ["mamba", "attention", "mamba", "attention"]


@pytest.fixture
def mixed():
    return build(MIXED)


@pytest.fixture
def padding(tokens) -> torch.Tensor:
    mask = torch.ones_like(tokens)
    mask[0, :5] = 0
    return mask


def parent(fields: dict, folder, **kwargs):
    torch.manual_seed(3)
    PARENT(PARENT_CONFIG(**fields)).save_pretrained(folder)
    return PARENT.from_pretrained(folder, **kwargs).eval()


def ours(folder, **kwargs):
    model, report = CAUSAL.from_pretrained(folder, output_loading_info=True, **kwargs)
    assert not any(report.values()), report
    return model.eval()


# --- config ---------------------------------------------------------------------------------------------------------


def test_uniform_config_looks_like_the_parents():
    config, theirs = CONFIG(**UNIFORM), PARENT_CONFIG(**UNIFORM).to_dict()
    assert config.per_layer_attributes is None and not config.is_heterogeneous
    saved = config.to_dict()
    different = {name for name in theirs if saved.get(name, "absent") != theirs[name]}
    assert different == {"model_type"}


LAYER_TYPES = {
    "layer_types": {"layer_types": UNIFORM["layer_types"]},
    "legacy_entries": {"layer_types": MAMBA_AND_ATTENTION},
    "legacy_name": {"layers_block_type": MAMBA_AND_ATTENTION},
    "our_name": {"mixer_types": MAMBA_AND_ATTENTION},
}


@pytest.mark.parametrize("named", LAYER_TYPES.values(), ids=LAYER_TYPES.keys())
def test_every_name_of_the_layers_is_read(named, tmp_path):
    saved = {**ALL_MAMBA, **named, "model_type": "granitemoehybrid"}
    (tmp_path / "config.json").write_text(json.dumps(saved))
    for config in (CONFIG(**ALL_MAMBA, **named), CONFIG.from_pretrained(tmp_path)):
        assert config.mixer_types == MAMBA_AND_ATTENTION
        assert config.layer_types == config.layers_block_type == UNIFORM["layer_types"]
        assert config.mlp_types == ["moe"] * 4


def test_the_layers_are_all_mamba_and_moe_by_default():
    config = CONFIG()
    assert set(config.mixer_types) == {"mamba"} and set(config.mlp_types) == {"moe"}
    assert config.layer_types == PARENT_CONFIG().layer_types


def test_no_experts_is_dense():
    config = CONFIG(**DENSE)
    assert config.mlp_types == ["dense"] * 4 and config.num_local_experts == 0
    config = CONFIG(**UNIFORM | {"num_local_experts": [4, 0, 8, None]})
    assert config.mlp_types == ["moe", "dense", "moe", "dense"] and config.num_local_experts == [4, None, 8, None]


def test_a_parents_config_is_overridden_on_the_way_in(tmp_path):
    PARENT_CONFIG(**UNIFORM).save_pretrained(tmp_path)
    config = CONFIG.from_pretrained(tmp_path, mixer_types=["none", "attention", "mamba", "none"])
    assert config.saved_layer_types() == ["full_attention", "full_attention", "linear_attention", "full_attention"]
    assert CONFIG.from_pretrained(tmp_path, num_hidden_layers=2, layer_types=["mamba", "attention"]).mixer_types == [
        "mamba",
        "attention",
    ]
    for name in ("layer_types", "layers_block_type"):
        config = CONFIG.from_pretrained(tmp_path, **{name: ["full_attention"] * 4})
        assert (
            config.layer_types == PARENT_CONFIG.from_pretrained(tmp_path, **{name: ["full_attention"] * 4}).layer_types
        )
        assert config.mixer_types == ["attention"] * 4


def test_layer_types_that_are_set_mean_what_they_mean_to_the_parent():
    layer_types = ["full_attention", "linear_attention", "linear_attention", "full_attention"]
    for name in ("layer_types", "layers_block_type"):
        config = CONFIG(**UNIFORM)
        setattr(config, name, layer_types)
        assert CAUSAL(config).config.layer_types == layer_types
        assert config.mixer_types == ["attention", "mamba", "mamba", "attention"]


@pytest.mark.parametrize("sliding_window", [4, 4096])
def test_a_window_is_no_field_of_this_family(tmp_path, tokens, sliding_window):
    model, other = build(UNIFORM), build({**UNIFORM, "sliding_window": sliding_window})
    assert other.config.layer_types == model.config.layer_types
    assert torch.equal(other(tokens).logits, model(tokens).logits)
    other.save_pretrained(tmp_path)
    assert CONFIG.from_pretrained(tmp_path).mixer_types == model.config.mixer_types


def test_windows_layer_by_layer_are_refused():
    with pytest.raises(ValueError, match=r"sliding_window = .* nothing reads it"):
        CONFIG(**UNIFORM, sliding_window=[4] * 4)


def test_view_has_scalars_everywhere():
    layers = CONFIG(**MIXED).per_layer_config
    assert [layer.num_key_value_heads for layer in layers] == [4, 4, 4, 4, 4, 1, 2, 4]
    assert [layer.num_local_experts for layer in layers] == [4, 6, 6, 6, 6, 6, 6, 3]
    assert [layer.intermediate_size for layer in layers] == [24, 40, 16, 40, 40, 40, 40, 40]
    assert [layer.shared_intermediate_size for layer in layers] == [40, 56, 24, 56, 56, 24, 56, 32]
    with pytest.raises(ValueError, match="differ in intermediate_size"):
        layers["linear_attention"]
    assert CONFIG(**UNIFORM).per_layer_config["linear_attention"].num_local_experts == 6
    skips = [["attention"], [], [], ["attention", "mlp"], ["mlp"], [], ["mlp"], []]
    assert [layer.skip for layer in layers] == skips


def test_skip_knows_the_sub_blocks_by_all_their_names():
    overrides = {0: {"skip": ["mamba"]}, 1: {"skip": ["attention", "moe"]}, 2: {"skip": ["mlp"]}}
    config = CONFIG(**UNIFORM, per_layer_config=overrides)
    assert config.mixer_types == ["none", "none", "mamba", "attention"]
    assert config.mlp_types == ["moe", "none", "none", "moe"]


def test_upstreams_cache_sees_what_each_layer_keeps():
    types, _ = get_layer_types_and_kwargs(CONFIG(**MIXED))
    mamba, attention = "linear_attention", "full_attention"
    assert types == [NO_CACHE, mamba, attention, NO_CACHE, mamba, attention, attention, mamba]


BAD = {
    "too_many_experts_per_token": (
        {"num_experts_per_tok": [5, None, 3, None, None, None, None, 4]},
        [
            "layers [0]: num_experts_per_tok = 5 is more than num_local_experts = 4",
            "layers [7]: num_experts_per_tok = 4 is more than num_local_experts = 3",
        ],
    ),
    "moe_without_experts": ({"num_local_experts": 0}, ["num_local_experts is 0: there is such a sub-block"]),
    "moe_without_shared_mlp": (
        {"shared_intermediate_size": [None, 56, 24, None, None, 0, None, 32]},
        ["shared_intermediate_size[0] is None: there is such", "shared_intermediate_size[5] is 0: there is such"],
    ),
    "indivisible_heads": (
        {"num_key_value_heads": [None, None, 3, None, None, 3, 2, None]},
        ["layers [2, 5]: num_key_value_heads = 3 does not divide num_attention_heads = 4"],
    ),
    "unknown_types": (
        {"mixer_types": ["linear", *MIXED["mixer_types"][1:]], "mlp_types": ["mlp", *MIXED["mlp_types"][1:]]},
        ["mixer_types[0] is 'linear', allowed are ['mamba', 'attention', 'none']", "mlp_types[0] is 'mlp', allowed"],
    ),
    "unknown_layer_types": (
        {"mixer_types": None, "layer_types": ["conv"] + ["mamba"] * 6 + ["moe"]},
        ["layer_types[0] is 'conv', allowed are ['full_attention', 'linear_attention']", "layer_types[7] is 'moe'"],
    ),
    "contradiction": (
        {"mixer_types": ["mamba"] * 8, "layer_types": ["mamba", "attention"] * 4},
        ["layer_types[1] is 'full_attention', but mixer_types[1] is 'mamba'", "layer_types[7]"],
    ),
    "all_at_once": (
        {"num_experts_per_tok": [99] * 8, "shared_intermediate_size": -1},
        ["shared_intermediate_size is -1", "num_experts_per_tok = 99 is more than num_local_experts"],
    ),
    "nothing_mixes": (
        {"mixer_types": ["none"] * 8, "num_key_value_heads": 2},
        ["Keep the mamba or attention of one layer"],
    ),
    "mamba_heads": ({"mamba_n_heads": 7}, ["mamba_n_heads must divide mamba_expand * hidden_size"]),
    "mamba_head_dim": ({"mamba_d_head": 7}, ["mamba_d_head is 7, and mamba_expand * hidden_size / mamba_n_heads is"]),
}


@pytest.mark.parametrize(("changes", "expected"), BAD.values(), ids=BAD.keys())
def test_bad_configs_name_every_bad_layer(changes, expected):
    with pytest.raises((StrictDataclassClassValidationError, ValueError)) as error:
        CONFIG(**{**MIXED, **changes})
    for text in expected:
        assert text in str(error.value)


def test_ranks_that_do_not_divide_the_experts_of_a_layer_are_refused():
    config = CONFIG(**MIXED)
    config.distributed_config = type("Distributed", (), {"ep_size": 2, "tp_size": 16})()
    with pytest.raises(ValueError, match=r"ep_size = 2 does not divide num_local_experts of these layers: \{7: 3\}"):
        CAUSAL(config)


# --- modules --------------------------------------------------------------------------------------------------------


def test_what_is_not_there_is_not_built(mixed):
    children = [{name for name, _ in layer.named_children()} for layer in mixed.model.layers]
    mamba, attention = {"input_layernorm", "mamba"}, {"input_layernorm", "self_attn"}
    dense = {"post_attention_layernorm", "shared_mlp"}
    moe = dense | {"block_sparse_moe"}
    assert children == [moe, mamba | dense, attention | moe, set(), mamba, attention | dense, attention, mamba | moe]
    assert mixed.config.saved_layer_types()[:4] == [
        "linear_attention",
        "linear_attention",
        "full_attention",
        "linear_attention",
    ]
    masks = mixed.create_masks_for_generate(mixed.config, torch.zeros(1, 12, 64), None)
    assert masks.keys() >= {"linear_attention", "full_attention"}


def test_no_rotary_embedding_where_nothing_asks_for_positions():
    assert build(WITHOUT_ROPE).model.rotary_emb is None
    assert build(THINNED).model.rotary_emb is not None


def test_mamba_layers_keep_the_parents_kernel_hooks(mixed):
    theirs = PARENT(PARENT_CONFIG(**UNIFORM)).model.layers[0].mamba
    hooks = {name for name in vars(theirs) if "kernel" in name or "mamba2" in name or "causal_conv" in name}
    hooks |= {name for name, _ in theirs.named_children()}
    ours = mixed.model.layers[1].mamba
    assert hooks <= {*vars(ours), *(name for name, _ in ours.named_children())}
    assert vars(ours).keys() == vars(theirs).keys()


def test_parameter_counts_are_the_parents():
    with torch.device("meta"):
        for fields in ({"num_hidden_layers": 4}, UNIFORM, WITHOUT_ROPE, DENSE):
            assert CAUSAL(CONFIG(**fields)).num_parameters() == PARENT(PARENT_CONFIG(**fields)).num_parameters()


# --- experts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("implementation", ["eager", "batched_mm", "grouped_mm"])
def test_experts_are_the_parents_in_every_implementation(implementation, tmp_path, tokens, padding):
    theirs = parent(UNIFORM, tmp_path, experts_implementation=implementation)
    model = ours(tmp_path, experts_implementation=implementation)
    with torch.no_grad():
        for mask in (None, padding):
            assert torch.equal(model(tokens, attention_mask=mask).logits, theirs(tokens, attention_mask=mask).logits)


def test_experts_implementation_can_be_changed(mixed, tokens):
    with torch.no_grad():
        before = mixed(tokens).logits
        for implementation in ("eager", "batched_mm", "grouped_mm"):
            mixed.set_experts_implementation(implementation)
            experts = [mixed.model.layers[layer_idx].block_sparse_moe.experts for layer_idx in (0, 2, 7)]
            assert {module.config._experts_implementation for module in experts} == {implementation}
            torch.testing.assert_close(mixed(tokens).logits, before, atol=1e-6, rtol=1e-5)


def test_loss_of_equal_layers_is_the_parents(tmp_path, tokens, padding):
    theirs, model = parent(UNIFORM, tmp_path), ours(tmp_path)
    for mask in (None, padding):
        options = {"labels": tokens, "output_router_logits": True, "attention_mask": mask}
        expected, outputs = theirs(tokens, **options), model(tokens, **options)
        assert torch.equal(outputs.loss, expected.loss) and torch.equal(outputs.aux_loss, expected.aux_loss)


def test_loss_of_unequal_layers_is_the_mean_of_their_own(mixed, tokens, padding):
    for mask in (None, padding):
        outputs = mixed(tokens, labels=tokens, output_router_logits=True, attention_mask=mask)
        assert [tuple(logits.shape) for logits in outputs.router_logits] == [(28, 4), (28, 6), (28, 3)]
        sizes = [(4, 2), (6, 3), (3, 1)]
        losses = [
            load_balancing_loss_func((logits,), num_experts, top_k, mask)
            for logits, (num_experts, top_k) in zip(outputs.router_logits, sizes, strict=True)
        ]
        torch.testing.assert_close(outputs.aux_loss, sum(losses) / 3)
        plain = mixed(tokens, labels=tokens, attention_mask=mask).loss
        torch.testing.assert_close(outputs.loss, plain + mixed.config.router_aux_loss_coef * outputs.aux_loss)


def test_without_experts_there_is_no_balancing_loss(tokens):
    model = build(DENSE)
    outputs = model(tokens, labels=tokens, output_router_logits=True)
    assert outputs.aux_loss == 0 and torch.equal(outputs.loss, model(tokens, labels=tokens).loss)


def test_recorded_outputs(mixed, tokens):
    outputs = mixed(tokens, output_attentions=True, output_hidden_states=True)
    assert len(outputs.hidden_states) == 9 and len(outputs.attentions) == 3
    assert torch.equal(outputs.hidden_states[4], outputs.hidden_states[3])  # the layer with nothing in it


# --- names, dtypes, formats -----------------------------------------------------------------------------------------

PUBLISHED = {"input_linear.weight", "output_linear.weight", "router.layer.weight"}
RENAMED = {"experts.gate_up_proj", "experts.down_proj", "router.weight"}


def expert_names(folder) -> set[str]:
    names = {name for file in folder.glob("*.safetensors") for name in load_file(file)}
    return {name.split("block_sparse_moe.")[1] for name in names if "block_sparse_moe" in name}


@pytest.mark.parametrize("original", [True, False], ids=["published_names", "new_names"])
def test_both_names_of_the_experts_load(original, mixed, tmp_path, tokens):
    mixed.save_pretrained(tmp_path, save_original_format=original)
    assert expert_names(tmp_path) == (PUBLISHED if original else RENAMED)
    loaded, report = AutoModelForCausalLM.from_pretrained(
        tmp_path, output_loading_info=True, attn_implementation="eager"
    )
    assert type(loaded) is CAUSAL and not any(report.values())
    assert torch.equal(loaded.eval()(tokens).logits, mixed(tokens).logits)
    base, report = HeterogeneousGraniteMoeHybridModel.from_pretrained(
        tmp_path, output_loading_info=True, attn_implementation="eager"
    )
    assert not report["missing_keys"] and report["unexpected_keys"] == {"lm_head.weight"}
    assert torch.equal(base.eval()(tokens).last_hidden_state, mixed.model(tokens).last_hidden_state)


def test_a_saved_file_is_the_parents(tmp_path, tokens):
    theirs = parent(UNIFORM, tmp_path / "theirs")
    ours(tmp_path / "theirs").save_pretrained(tmp_path / "ours")
    saved, expected = (load_file(tmp_path / name / "model.safetensors") for name in ("ours", "theirs"))
    assert saved.keys() == expected.keys() and all(torch.equal(saved[name], expected[name]) for name in saved)
    # and the parent reads it, given its own config
    theirs.config.save_pretrained(tmp_path / "ours")
    assert torch.equal(PARENT.from_pretrained(tmp_path / "ours").eval()(tokens).logits, theirs(tokens).logits)


def test_a_users_own_conversion_is_kept(monkeypatch):
    """Under the class's name, as transformers has it."""
    from transformers import conversion_mapping
    from transformers.core_model_loading import WeightRenaming

    own = [WeightRenaming("lm_head", "lm_head")]
    monkeypatch.setitem(conversion_mapping._checkpoint_conversion_mapping_cache, CAUSAL.__name__, own)
    with_own = conversion_mapping.get_model_conversion_mapping(build(UNIFORM), add_legacy=False)
    assert with_own[0].source_patterns == own[0].source_patterns


def test_a_parents_folder_loads_without_a_warning(tmp_path, caplog):
    parent(UNIFORM, tmp_path)
    caplog.clear()
    ours(tmp_path)
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


def test_layers_of_a_plain_granite_are_overridden_on_the_fly(tmp_path, tokens):
    parent(UNIFORM, tmp_path / "plain")
    overrides = {0: {"skip": ["mamba"]}, 1: {"skip": ["attention"]}, 2: {"skip": ["moe"]}, 3: {"mlp_types": "dense"}}
    loaded, report = CAUSAL.from_pretrained(
        tmp_path / "plain", per_layer_config=overrides, output_loading_info=True, attn_implementation="eager"
    )
    unused = {name.split(".")[2] + "." + name.split(".")[3] for name in report["unexpected_keys"]}
    assert unused == {
        *("0.input_layernorm", "0.mamba", "1.input_layernorm", "1.self_attn"),
        *("2.post_attention_layernorm", "2.shared_mlp", "2.block_sparse_moe", "3.block_sparse_moe"),
    }
    assert not report["missing_keys"]
    stock = StockModel(
        {
            **ALL_MAMBA,
            "mixer_types": ["none", "none", "mamba", "attention"],
            "mlp_types": ["moe", "moe", "none", "dense"],
        }
    )
    stock.load_state_dict(loaded.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(loaded.eval()(tokens).logits, stock(tokens))
        loaded.save_pretrained(tmp_path / "saved")
        again = ours(tmp_path / "saved", attn_implementation="eager")
        assert torch.equal(again(tokens).logits, loaded(tokens).logits)


def test_fewer_experts_than_the_file_has_are_not_made_up(tmp_path):
    parent(UNIFORM, tmp_path)
    with pytest.raises(RuntimeError, match="Sizes are not sliced while loading"):
        CAUSAL.from_pretrained(tmp_path, per_layer_config={0: {"num_local_experts": 3}})


def test_a_bfloat16_load_keeps_the_recurrence_in_float32(tmp_path, tokens, padding):
    """The parent rounds its parameters; from a file in bfloat16 they are the same numbers, and so are the logits."""
    parent(UNIFORM, tmp_path).to(torch.bfloat16).save_pretrained(tmp_path)
    theirs = PARENT.from_pretrained(tmp_path, dtype=torch.bfloat16).eval()
    model = ours(tmp_path, dtype=torch.bfloat16)
    for name, parameter in model.named_parameters():
        in_float32 = name.endswith((".A_log", ".D"))
        assert parameter.dtype == (torch.float32 if in_float32 else torch.bfloat16), name
    with torch.no_grad():
        for mask in (None, padding):
            assert torch.equal(model(tokens, attention_mask=mask).logits, theirs(tokens, attention_mask=mask).logits)


def test_a_mixed_config_round_trips(tmp_path):
    CONFIG(**MIXED).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert (
        saved["num_local_experts"] == MIXED["num_local_experts"]
        and saved["layer_types"] == CONFIG(**MIXED).saved_layer_types()
    )
    assert AutoConfig.from_pretrained(tmp_path).to_diff_dict() == CONFIG(**MIXED).to_diff_dict()
    assert copy.deepcopy(CONFIG(**MIXED)) == CONFIG(**MIXED)


# --- caches and generation ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mixed", "mixed_without_rope", "thinned"])
def test_left_padding_does_not_reach_the_mamba_states(name, tokens, padding):
    model = build(KINDS[name], attn_implementation="sdpa")
    options = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None}
    padded = model.generate(tokens, attention_mask=padding, **options)[0, 14:]
    assert torch.equal(padded, model.generate(tokens[:1, 5:], **options)[0, 9:])


def test_cache_holds_only_what_a_layer_needs(mixed, tokens):
    layers = getattr(mixed(tokens, use_cache=True), CACHE).layers
    kinds = [
        NO_CACHE_LAYER,
        "LinearAttention",
        "Dynamic",
        NO_CACHE_LAYER,
        "LinearAttention",
        "Dynamic",
        "Dynamic",
        "LinearAttention",
    ]
    assert [type(layer).__name__ for layer in layers] == [f"{kind}Layer" for kind in kinds]
    assert [tuple(layers[idx].keys.shape) for idx in (2, 5, 6)] == [(2, heads, 14, 16) for heads in (4, 1, 2)]


def test_only_mamba_is_the_parent(tmp_path, tokens, padding):
    theirs, model = parent(ALL_MAMBA, tmp_path), ours(tmp_path)
    with torch.no_grad():
        expected = theirs(tokens, use_cache=False).logits
        assert torch.equal(model(tokens, use_cache=False).logits, expected)
        assert torch.equal(
            model(tokens, attention_mask=padding, use_cache=False).logits,
            theirs(tokens, attention_mask=padding, use_cache=False).logits,
        )
        for each in (model, theirs):  # which count the tokens of a cache in a layer that attends
            with pytest.raises(ValueError, match="can only be called on Attention layers"):
                each(tokens, use_cache=True)


def test_only_mamba_generates_without_a_cache(tmp_path, tokens):
    theirs, model = parent(ALL_MAMBA, tmp_path), ours(tmp_path)
    options = {"max_new_tokens": 4, "do_sample": False}
    assert torch.equal(
        model.generate(tokens, use_cache=False, **options), theirs.generate(tokens, use_cache=False, **options)
    )
    with pytest.raises(ValueError, match=r"No layer attends.*`use_cache=False`"):
        model.generate(tokens, **options)


def test_what_a_recurrent_state_cannot_do_is_refused(mixed, tokens):
    with pytest.raises(ValueError, match=r"no cache for the state of mamba layers, here \[1, 4, 7\]"):
        mixed.generate_batch(inputs=tokens.tolist())
    with pytest.raises(ValueError, match=r"num_key_value_heads = \[2, 1, 4, 2\]"):
        build(ATTENTION).generate_batch(inputs=tokens.tolist())
    for options in ({"prompt_lookup_num_tokens": 3}, {"assistant_model": mixed}, {"assistant_early_exit": 3}):
        with pytest.raises(ValueError, match="assisted generation is not supported with stateful models"):
            mixed.generate(tokens[:1], max_new_tokens=4, **options)
