"""What is changed on a built model or on a config: it holds, or it is refused at once. Never half of it."""

import copy
import pickle

import pytest
import torch

from transformers import AutoModelForCausalLM
from transformers.cache_utils import get_layer_types_and_kwargs
from transformers_heterogeneous import keep_layers

from .release import CACHE
from .test_every_family import CACHES, FAMILIES, every_family, greedy, made_of


def equal_to(model, expected, tokens):
    """One forward, a forward with a cache, and generation."""
    assert torch.equal(model(tokens, use_cache=False).logits, expected(tokens, use_cache=False).logits)
    for make_cache in CACHES.values():
        cache = make_cache(model.config)
        steps = [
            model(part, **{CACHE: cache}, use_cache=True).logits
            for part in (tokens[:, :9], *tokens[:, 9:].split(1, 1))
        ]
        torch.testing.assert_close(torch.cat(steps, 1), expected(tokens).logits, atol=5e-6, rtol=1e-5)
    assert torch.equal(greedy(model, tokens), greedy(expected, tokens, use_cache=False))


# --- a config whose model is built ---------------------------------------------------------------------------------------


def settable(config):
    """Values that the fields which describe layers could be set to."""
    num = config.num_hidden_layers
    fields = {
        "mixer_types": ["attention"] * num,
        "mlp_types": config.mlp_types[::-1],
        "layer_types": ["full_attention"] * num,
        "fused_blocks": None,
        "per_layer_config": {0: {"skip": ["mlp"]}},
    }
    return fields | dict.fromkeys(config.per_layer_sizes, 1)


@pytest.mark.parametrize("kind", ["uniform", "mixed"])
@every_family
def test_what_describes_layers_is_fixed_when_a_model_is_built(family, kind, tokens):
    model = family.build(family.small.KINDS[kind], "eager")
    before, expected = model.config.to_dict(), model(tokens).logits
    for name, value in settable(model.config).items():
        with pytest.raises(
            AttributeError, match=rf"{name} cannot be set: a model is built .*`copy.deepcopy\(config\)`"
        ):
            setattr(model.config, name, value)
    for name, entries in vars(model.config).items():
        if isinstance(entries, list) and name in ("mixer_types", "layer_types", *model.config.per_layer_sizes):
            for method, arguments in (("__setitem__", (1, None)), ("clear", ()), ("append", (1,)), ("sort", ())):
                with pytest.raises(TypeError, match="a model is built of this config"):
                    getattr(entries, method)(*arguments)
    assert model.config.to_dict() == before and torch.equal(model(tokens).logits, expected)


COPIES = {
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "pickle": lambda config: pickle.loads(pickle.dumps(config)),
}


@pytest.mark.parametrize("make", COPIES.values(), ids=COPIES)
@every_family
def test_a_copy_of_the_config_is_free(family, make):
    model = family.build(family.small.KINDS["mixed"])
    config = make(model.config)
    assert config == model.config and config.to_dict() == model.config.to_dict()
    config.mlp_types[0] = "none"
    for name, value in settable(config).items():
        if name in ("mixer_types", "fused_blocks"):
            setattr(config, name, value)
    assert config.mixer_types != model.config.mixer_types and config.mlp_types[0] != model.config.mlp_types[0]


@pytest.mark.parametrize(
    "make", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["deepcopy", "pickle"]
)
@every_family
def test_a_copy_of_a_model_is_a_model(family, make, tokens, tmp_path):
    model = family.build(family.small.KINDS["mixed"], "eager")
    again = make(model)
    with pytest.raises(AttributeError, match="a model is built of this config"):
        again.config.mixer_types = ["attention"] * 8
    again.set_attn_implementation("eager")
    assert torch.equal(again(tokens).logits, model(tokens).logits)
    again.save_pretrained(tmp_path)
    assert torch.equal(
        AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager")(tokens).logits,
        model(tokens).logits,
    )


@every_family
def test_an_implementation_is_switched_in_every_layer(family, tokens):
    model = family.build(family.small.KINDS["mixed"], "eager")
    layers = [module for module in model.modules() if "_layer_idx" in vars(getattr(module, "config", model))]
    assert len(layers) > 2
    for implementation in ("sdpa", "eager") if model._supports_sdpa else ("flex_attention", "eager"):
        for each in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            each.set_attn_implementation(implementation)
            configs = [vars(module)["config"] for module in each.modules() if "config" in vars(module)]
            assert {config._attn_implementation for config in configs} == {implementation}


@every_family
def test_what_is_set_on_a_built_model_holds_in_its_layers(family):
    model = family.build(family.small.KINDS["mixed"], "eager")
    copied = copy.deepcopy(model)
    kept = keep_layers(copy.deepcopy(model), [1, 0, 2, 1])
    for each in (copied, kept):
        each.config.initializer_range = 0.5
        configs = [vars(module)["config"] for module in each.modules() if "config" in vars(module)]
        assert {config.initializer_range for config in configs} == {0.5}
    assert model.config.per_layer_config[1].initializer_range == model.config.initializer_range != 0.5


def test_a_number_of_layers_is_free():
    """Upstream lowers it for a while."""
    model = FAMILIES["llama"].build(FAMILIES["llama"].small.MIXED)
    model.config.num_hidden_layers = 4
    assert len(model.config.mixer_types) == 8


# --- a config of no model -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [3, None, [4, None, 6, None, 4]], ids=str)
@pytest.mark.parametrize("name", ["llama", "gpt_oss"])
def test_a_window_that_is_set_is_the_constructors(name, window, tokens):
    family = FAMILIES[name]
    fields = family.small.KINDS["thinned"]
    config = family.small.CONFIG(**fields)
    config.sliding_window = window
    made = {**fields, "sliding_window": window, "layer_types": config.layer_types}
    assert config.layer_types == family.small.CONFIG(**made).layer_types
    equal_to(family.build(config.to_dict(), "eager"), family.build(made, "eager"), tokens)


def test_layer_types_that_are_set_move_the_window():
    family = FAMILIES["gpt_oss"]
    config, turned = family.small.CONFIG(**family.small.UNIFORM), ["full_attention", "sliding_attention"] * 2
    config.layer_types = turned
    config.check()
    assert config.layer_sizes("sliding_window") == [None, 6, None, 6]


@pytest.mark.parametrize("window", [None, [5, None, None, None, 9]], ids=str)
def test_layer_types_that_nothing_follows_are_refused(tmp_path, window):
    family = FAMILIES["llama"]
    config = family.small.CONFIG(**{**family.small.THINNED, "sliding_window": window})
    config.layer_types = ["full_attention"] * 4 + ["sliding_attention"] if window is None else ["full_attention"] * 5
    for call in (lambda: config.save_pretrained(tmp_path), lambda: family.small.CAUSAL(config)):
        with pytest.raises(
            ValueError, match=r"layer_types\[4\] is .*, but sliding_window\[4\] is .*: leave layer_types"
        ):
            call()


# --- the config of a layer ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["uniform", "mixed"])
@every_family
def test_the_config_of_a_layer_is_for_reading(family, kind):
    config = family.small.CONFIG(**family.small.KINDS[kind])
    before = config.to_dict()
    layer = config.per_layer_config[1]
    values = {"num_key_value_heads": 1, "mixer_types": ["none"], "hidden_size": 8, "layer_types": None}
    for name, value in values.items():
        with pytest.raises(AttributeError, match=f"{name} cannot be set on the config of a layer"):
            setattr(layer, name, value)
    assert config.to_dict() == before


def test_the_config_of_a_type_of_layers_is_for_reading():
    small = FAMILIES["llama"].small
    config = small.CONFIG(**small.UNIFORM)
    with pytest.raises(AttributeError, match="intermediate_size cannot be set on the config of a layer"):
        config.per_layer_config["full_attention"].intermediate_size = 8
    assert "_layer_idx" not in config.per_layer_config[0].to_dict()
    assert copy.deepcopy(config.per_layer_config[1]).num_key_value_heads == 2


# --- layers that are taken out ----------------------------------------------------------------------------------------------


CUTS = {"last": (-1,), "two_last": (-1, -2), "first": (0,), "middle": (1,), "ends": (0, -1)}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("kind", ["uniform", "mixed"])
@every_family
def test_layers_that_are_kept(family, kind, cut, tmp_path, tokens):
    model = family.build(family.small.KINDS[kind], "eager")
    num_layers = model.config.num_hidden_layers
    kept = [at for at in range(num_layers) if at not in [idx % num_layers for idx in CUTS[cut]]]
    expected = made_of(family, model, kept)
    model(tokens)
    assert keep_layers(model, kept) is model
    equal_to(model, expected, tokens)
    assert get_layer_types_and_kwargs(model.config) == get_layer_types_and_kwargs(expected.config)
    assert model.config.to_dict() == {**expected.config.to_dict(), "_name_or_path": model.config._name_or_path}
    model.save_pretrained(tmp_path)
    loaded, report = AutoModelForCausalLM.from_pretrained(
        tmp_path, output_loading_info=True, attn_implementation="eager"
    )
    assert not any(report.values()), report
    assert torch.equal(loaded.eval()(tokens).logits, expected(tokens).logits)


@pytest.mark.parametrize("layers", [[3, 1, 2, 0], [0, 1, 2, 3, 3, 2]], ids=["moved", "repeated"])
@every_family
def test_layers_that_are_moved_or_repeated(family, layers, tokens):
    model = copy.deepcopy(family.build(family.small.UNIFORM, "eager"))
    expected = made_of(family, model, layers)
    equal_to(keep_layers(model, layers), expected, tokens)
    assert len({id(parameter) for parameter in model.parameters()}) == len(list(expected.parameters()))


@pytest.mark.parametrize("name", ["gpt_oss", "granite_moe_hybrid"])
def test_the_loss_is_that_of_the_layers_that_are_kept(name, tokens):
    family = FAMILIES[name]
    model = family.build(family.small.MIXED, "eager")
    kept = [idx for idx in range(8) if idx not in (2, 5)]
    expected = made_of(family, model, kept)
    losses = [each(tokens, labels=tokens, output_router_logits=True) for each in (keep_layers(model, kept), expected)]
    assert torch.equal(losses[0].loss, losses[1].loss) and torch.equal(losses[0].aux_loss, losses[1].aux_loss)


@pytest.mark.parametrize("layers", [[0, 9], [-1], []], ids=str)
def test_layers_that_are_not_there(layers, tokens):
    family = FAMILIES["llama"]
    model = family.build(family.small.MIXED)
    before, expected = model.config.to_dict(), model(tokens).logits
    with pytest.raises(ValueError, match=r"indices in 0\.\.7 are needed"):
        keep_layers(model, layers)
    with pytest.raises(ValueError, match="mixer_types has nothing that mixes tokens"):
        keep_layers(model, [0, 3, 4])
    assert model.config.to_dict() == before and torch.equal(model(tokens).logits, expected)


CHANGES = {
    "removed": lambda layers: layers[1:],
    "moved": lambda layers: layers[::-1],
    "repeated": lambda layers: [*layers, layers[-1]],
    "copied": lambda layers: [*layers, copy.deepcopy(layers[-1])],
}


@pytest.mark.parametrize("change", CHANGES)
@every_family
def test_layers_that_are_changed_by_hand_are_refused(family, change, tokens, tmp_path):
    model = family.build(family.small.UNIFORM, "eager")
    model.model.layers = torch.nn.ModuleList(CHANGES[change](list(model.model.layers)))
    model.config.num_hidden_layers = len(model.model.layers)
    for call in (lambda: model(tokens), lambda: greedy(model, tokens), lambda: model.save_pretrained(tmp_path)):
        with pytest.raises(
            ValueError, match=r"model.layers has layers \[.*with `transformers_heterogeneous.keep_layers"
        ):
            call()
    assert not list(tmp_path.iterdir())


def test_layers_with_fused_blocks_are_taken_out(tmp_path, tokens):
    family = FAMILIES["llama"]
    fields = {**family.small.UNIFORM, "fused_blocks": ["none", "norm_mlp", "none", "norm_mlp"]}
    model = family.build(fields, "eager")
    expected = made_of(family, model, [0, 2, 3])(tokens).logits
    keep_layers(model, [0, 2, 3]).save_pretrained(tmp_path)
    loaded, report = AutoModelForCausalLM.from_pretrained(
        tmp_path, output_loading_info=True, attn_implementation="eager"
    )
    assert not any(report.values()) and torch.equal(loaded.eval()(tokens).logits, expected)


@every_family
def test_a_number_of_layers_alone_is_saved(family, tmp_path, tokens):
    """As stock Llama does: the first layers, and the config of the model as it was."""
    model = family.build(family.small.MIXED, "eager")
    mixer_types = list(model.config.mixer_types)
    model.config.num_hidden_layers = 4
    model.config.save_pretrained(tmp_path)
    assert model.config.mixer_types == mixer_types
    assert family.small.CONFIG.from_pretrained(tmp_path).mixer_types == mixer_types[:4]
