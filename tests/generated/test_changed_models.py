"""What is changed on a built model or on a config: it holds, or it is refused on the first call. Never half of it."""

import copy
import re

import pytest
import torch

from transformers import AutoModelForCausalLM, DynamicCache
from transformers.cache_utils import get_layer_types_and_kwargs

from .release import CACHE
from .test_every_family import CACHES, FAMILIES, every_family, greedy, made_of


WINDOWED = ("llama", "gpt_oss")
every_windowed_family = pytest.mark.parametrize("family", [FAMILIES[name] for name in WINDOWED], ids=WINDOWED)


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


# --- windows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["uniform", "thinned", "windowed", "half_windowed", "mixed"])
@pytest.mark.parametrize("ask_first", ["forward", "generate"])
@every_windowed_family
def test_a_window_that_is_set_on_a_built_model(family, kind, ask_first, tokens):
    fields = family.small.KINDS[kind]
    layer_types = None
    if family.small.UNIFORM.get("sliding_window") is not None and kind == "uniform":
        layer_types = ["sliding_attention", "full_attention"] * 2
    for window in (3, None, [4 if idx % 2 else None for idx in range(fields["num_hidden_layers"])]):
        model = family.build(fields, "eager")
        model(tokens)
        model.config.sliding_window = window
        other = {**fields, "sliding_window": window}
        if layer_types is not None and window == 3:
            other["layer_types"] = layer_types
        elif window == 3:
            other["layer_types"] = model.config.layer_types
        expected = family.build(other, "eager")
        if ask_first == "generate":
            assert torch.equal(greedy(model, tokens), greedy(expected, tokens, use_cache=False))
        equal_to(model, expected, tokens)
        windows = [getattr(layer.self_attn, "sliding_window", None) for layer in model.model.layers if layer.mask_name]
        assert windows == [layer.self_attn.sliding_window for layer in expected.model.layers if layer.mask_name]


def entry_set_back(config):
    windows = config.sliding_window
    windows[2] = 2
    config.sliding_window = windows


CHANGES = {
    "entry": lambda config: config.sliding_window.__setitem__(2, 2),
    "entry_set_back": entry_set_back,
    "slice": lambda config: config.sliding_window.__setitem__(slice(2, 3), [2]),
}


@pytest.mark.parametrize("ask_first", ["forward", "cache", "generate", "save"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("kind", ["thinned", "mixed"])
@every_windowed_family
def test_an_entry_of_the_windows_that_is_set(family, kind, change, ask_first, tokens, tmp_path):
    fields = dict(family.small.KINDS[kind])
    fields["sliding_window"] = fields.get("sliding_window") or [6, None, 9, None, None]
    windows = list(fields["sliding_window"])
    windows[2] = 2
    expected = family.build({**fields, "sliding_window": windows}, "eager")
    model = family.build(fields, "eager")
    before = model(tokens, use_cache=False).logits
    change(model.config)
    if ask_first == "cache":
        model(tokens, **{CACHE: DynamicCache(config=model.config)})
    if ask_first == "generate":
        assert torch.equal(greedy(model, tokens), greedy(expected, tokens, use_cache=False))
    if ask_first == "save":
        model.save_pretrained(tmp_path)
    equal_to(model, expected, tokens)
    assert not torch.equal(model(tokens, use_cache=False).logits, before)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager").eval()
    assert loaded.config.sliding_window == windows
    equal_to(loaded, expected, tokens)


@every_windowed_family
def test_an_entry_of_the_windows_that_cannot_be(family, tokens, tmp_path):
    model = family.build(family.small.KINDS["mixed"], "eager")
    model.config.sliding_window[2] = -3
    for call in (lambda: model(tokens), lambda: greedy(model, tokens), lambda: model.save_pretrained(tmp_path)):
        with pytest.raises(ValueError, match=r"sliding_window\[2\] is -3"):
            call()
    assert not list(tmp_path.iterdir())


@every_family
def test_a_list_that_was_given_to_a_config_is_not_its_own(family):
    fields = copy.deepcopy(family.small.KINDS["mixed"])
    config = family.small.CONFIG(**fields)
    expected = config.to_dict()
    lists = {name: value for name, value in fields.items() if isinstance(value, list)}
    assert {"mixer_types", "mlp_types"} < lists.keys()
    for name, entries in lists.items():
        setattr(config, name, entries)
        assert getattr(config, name) is not entries
        entries[-1] = "mine"
    assert config.to_dict() == expected


@every_windowed_family
def test_layer_types_that_were_given_are_not_the_configs_own(family, tokens):
    fields = {**family.small.UNIFORM, "sliding_window": 3, "layer_types": ["full_attention", "sliding_attention"] * 2}
    model, layer_types = family.build(fields, "eager"), ["sliding_attention", "full_attention"] * 2
    expected = family.build({**fields, "layer_types": list(layer_types)}, "eager")
    model.config.layer_types = layer_types
    layer_types[0] = "mine"
    equal_to(model, expected, tokens)
    layer_types[0] = "full_attention"
    equal_to(model, expected, tokens)


def test_a_cache_that_was_filled_before_a_window_was_set(tokens):
    model = FAMILIES["llama"].build(FAMILIES["llama"].small.UNIFORM)
    cache = DynamicCache(config=model.config)
    model(tokens, **{CACHE: cache})
    model.config.sliding_window = 3
    for call in (lambda: model(tokens[:, :1], **{CACHE: cache}), lambda: greedy(model, tokens, **{CACHE: cache})):
        with pytest.raises(ValueError, match="since this cache was filled: begin with a new one"):
            call()
    assert torch.isfinite(model(tokens, **{CACHE: DynamicCache(config=model.config)}).logits).all()


def test_a_window_set_on_a_compiled_model(tokens):
    family = FAMILIES["llama"]
    model = family.build(family.small.UNIFORM)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager")
    compiled(tokens)
    model.config.sliding_window = 3
    expected = family.build({**family.small.UNIFORM, "sliding_window": 3})(tokens).logits
    torch.testing.assert_close(compiled(tokens).logits, expected, atol=1e-6, rtol=1e-5)


def test_layer_types_that_are_set_move_the_window(tokens):
    family = FAMILIES["gpt_oss"]
    model = family.build(family.small.UNIFORM)
    turned = ["full_attention", "sliding_attention"] * 2
    model.config.layer_types = turned
    equal_to(model, family.build({**family.small.UNIFORM, "layer_types": turned}), tokens)


@every_family
def test_an_entry_that_is_set_in_computed_layer_types_is_refused(family):
    config = family.small.CONFIG(**family.small.UNIFORM)
    before = list(config.layer_types)
    for change in (lambda: config.layer_types.__setitem__(0, "full_attention"), lambda: config.layer_types.pop()):
        with pytest.raises(TypeError, match="layer_types is computed when it is read: set it as a whole"):
            change()
    assert config.layer_types == before == copy.deepcopy(config.layer_types) == copy.deepcopy(config).layer_types
    assert type(copy.deepcopy(config.layer_types)) is list


@pytest.mark.parametrize("window", [None, [5, None, None, None, 9]], ids=str)
def test_layer_types_that_nothing_follows_are_refused(tokens, tmp_path, window):
    family = FAMILIES["llama"]
    fields = {**family.small.THINNED, "sliding_window": window}
    model, config = family.build(fields), family.small.CONFIG(**fields)
    asked = ["full_attention"] * 4 + ["sliding_attention"] if window is None else ["full_attention"] * 5
    for each in (model.config, config):
        each.layer_types = asked
    calls = (
        lambda: model(tokens),
        lambda: greedy(model, tokens),
        lambda: model.save_pretrained(tmp_path),
        lambda: config.save_pretrained(tmp_path),
        lambda: family.small.CAUSAL(config),
    )
    for call in calls:
        with pytest.raises(
            ValueError, match=r"layer_types cannot be .* they follow from mixer_types and sliding_window"
        ):
            call()


@every_family
def test_sub_blocks_cannot_be_taken_from_a_built_model_by_its_config(family, tokens, tmp_path):
    model = family.build(family.small.KINDS["mixed"], "eager")
    taken = next(idx for idx, mixer in enumerate(model.config.mixer_types) if mixer == "attention")
    model.config.mixer_types[taken] = "none"
    for call in (lambda: model(tokens), lambda: greedy(model, tokens), lambda: model.save_pretrained(tmp_path)):
        with pytest.raises(
            ValueError, match=rf"on the config of a built model, whose layers are \{{{taken}: \('attention'"
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
        said = re.escape(f"{name} cannot be set to {value!r} on the config of a layer")
        with pytest.raises(AttributeError, match=said) as error:
            setattr(layer, name, value)
        assert ("{layer: {'num_key_value_heads': 1}}" in str(error.value)) == (name == "num_key_value_heads")
    assert config.to_dict() == before


def test_the_config_of_a_type_of_layers_is_for_reading():
    small = FAMILIES["llama"].small
    config = small.CONFIG(**small.UNIFORM)
    with pytest.raises(AttributeError, match="intermediate_size cannot be set to 8 on the config of a layer"):
        config.per_layer_config["full_attention"].intermediate_size = 8
    assert "_layer_idx" not in config.per_layer_config[0].to_dict()
    assert copy.deepcopy(config.per_layer_config[1]).num_key_value_heads == 2


# --- layers taken out by hand -----------------------------------------------------------------------------------------


def taken_out(model, removed):
    layers = [layer for at, layer in enumerate(model.model.layers) if at not in removed]
    model.model.layers = torch.nn.ModuleList(layers)
    model.config.num_hidden_layers -= len(removed)


CUTS = {"last": (-1,), "two_last": (-1, -2), "first": (0,), "middle": (1,), "ends": (0, -1)}


@pytest.mark.parametrize("first_call", ["save", "forward", "generate"])
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("kind", ["uniform", "mixed"])
@every_family
def test_layers_taken_out_by_hand(family, kind, cut, first_call, tmp_path, tokens):
    model = family.build(family.small.KINDS[kind], "eager")
    num_layers = model.config.num_hidden_layers
    removed = [idx % num_layers for idx in CUTS[cut]]
    kept = [at for at in range(num_layers) if at not in removed]
    expected = made_of(family, model, kept)
    taken_out(model, removed)
    if first_call == "generate":
        assert torch.equal(greedy(model, tokens), greedy(expected, tokens, use_cache=False))
    if first_call == "forward":
        equal_to(model, expected, tokens)
    model.save_pretrained(tmp_path)
    loaded, report = AutoModelForCausalLM.from_pretrained(
        tmp_path, output_loading_info=True, attn_implementation="eager"
    )
    assert not any(report.values()), report
    assert torch.equal(loaded.eval()(tokens).logits, expected(tokens).logits)
    equal_to(model, expected, tokens)
    assert get_layer_types_and_kwargs(model.config) == get_layer_types_and_kwargs(expected.config)


@every_family
def test_layers_taken_out_and_lists_that_were_set(family, tokens):
    """By someone who knew that the lists describe the layers."""
    model = family.build(family.small.MIXED, "eager")
    kept = [at for at in range(model.config.num_hidden_layers) if at != 1]
    expected = made_of(family, model, kept)
    lists = model.config.layer_lists()
    taken_out(model, [1])
    for name, entries in lists.items():
        setattr(model.config, name, [entries[at] for at in kept])
    equal_to(model, expected, tokens)


@every_family
def test_a_layer_in_two_places(family, tokens):
    model = family.build(family.small.UNIFORM, "eager")
    layers = list(model.model.layers)
    model.model.layers = torch.nn.ModuleList([*layers, layers[-1]])
    model.config.num_hidden_layers += 1
    assert torch.isfinite(model(tokens, use_cache=False).logits).all()
    for call in (lambda: model(tokens, use_cache=True), lambda: greedy(model, tokens)):
        with pytest.raises(ValueError, match=r"has one place in a cache: put a `copy.deepcopy`"):
            call()
    assert torch.isfinite(greedy(model, tokens, use_cache=False).double()).all()
    model.model.layers[-1] = copy.deepcopy(layers[-1])
    expected = made_of(family, family.build(family.small.UNIFORM, "eager"), [*range(len(layers)), len(layers) - 1])
    equal_to(model, expected, tokens)


def test_layers_with_fused_blocks_are_taken_out(tmp_path, tokens):
    family = FAMILIES["llama"]
    fields = {**family.small.UNIFORM, "fused_blocks": ["none", "norm_mlp", "none", "norm_mlp"]}
    model = family.build(fields, "eager")
    expected = made_of(family, model, [0, 2, 3])(tokens).logits
    taken_out(model, [1])
    model.save_pretrained(tmp_path)
    loaded, report = AutoModelForCausalLM.from_pretrained(
        tmp_path, output_loading_info=True, attn_implementation="eager"
    )
    assert not any(report.values()) and torch.equal(loaded.eval()(tokens).logits, expected)


def test_a_layer_that_was_not_built_with_the_model(tokens):
    family = FAMILIES["llama"]
    model = family.build(family.small.UNIFORM)
    model.model.layers.append(type(model.model.layers[0])(model.config, 0))
    with pytest.raises(ValueError, match="Layer 4 was not built with the model"):
        model(tokens)


@every_family
def test_a_number_of_layers_alone_is_saved(family, tmp_path, tokens):
    """As stock Llama does: the first layers, and the config of the model as it was."""
    model = family.build(family.small.MIXED, "eager")
    lists = model.config.layer_lists()
    model.config.num_hidden_layers = 4
    model.config.save_pretrained(tmp_path)
    assert model.config.layer_lists() == lists
    assert family.small.CONFIG.from_pretrained(tmp_path).mixer_types == lists["mixer_types"][:4]
