"""The config: lists as stored attributes, the view per layer, what is refused."""

import copy
import json
import pickle
import re
from pathlib import Path

import pytest
from huggingface_hub.errors import StrictDataclassClassValidationError, StrictDataclassFieldValidationError

from transformers import AutoConfig, LlamaConfig
from transformers.cache_utils import get_layer_types_and_kwargs
from transformers.configuration_utils import get_head_shapes
from transformers_heterogeneous import (
    HeterogeneousConfigError,
    HeterogeneousGptOssConfig,
    HeterogeneousGraniteMoeHybridConfig,
    HeterogeneousLlamaConfig,
    HeterogeneousLlamaModel,
    HeterogeneousNemotronHConfig,
    HeterogeneousPreTrainedConfig,
)

from .release import NO_CACHE
from .small import BASE, MIXED, THINNED


def make(**changes) -> HeterogeneousLlamaConfig:
    return HeterogeneousLlamaConfig(**{**MIXED, **changes})


UNIFORM = {**BASE, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96}


def test_uniform_config_looks_like_llama():
    config, llama = HeterogeneousLlamaConfig(**UNIFORM), LlamaConfig(**UNIFORM)
    assert not config.is_heterogeneous and config.per_layer_attributes is None
    assert config.mixer_types == ["attention"] * 4 and config.mlp_types == ["dense"] * 4
    assert config.layer_types == ["full_attention"] * 4
    assert all(layer.to_dict() == {**config.to_dict(), "skip": []} for layer in config.per_layer_config)
    ours, theirs = config.to_dict(), llama.to_dict()
    assert {name: ours[name] for name in theirs if name != "model_type"} == {
        name: value for name, value in theirs.items() if name != "model_type"
    }


def test_equal_entries_become_the_scalar():
    config = HeterogeneousLlamaConfig(**{**THINNED, "num_key_value_heads": [2, None, 2, None, 2]})
    assert config.num_key_value_heads == 2
    assert config.per_layer_attributes == {"mixer_types", "intermediate_size"}


def test_sizes_of_absent_sub_blocks_become_none():
    config = HeterogeneousLlamaConfig(**{**THINNED, "num_key_value_heads": [2, 7, 1, 7, 2]})
    assert config.num_key_value_heads == [2, None, 1, None, 2]


def test_view_has_scalars_everywhere():
    layers = make().per_layer_config
    assert len(layers) == 8
    assert [layer.num_key_value_heads for layer in layers] == [4, 4, 2, 4, 4, 1, 1, 2]
    assert [layer.num_attention_heads for layer in layers] == [4, 4, 4, 4, 4, 4, 2, 4]
    assert [layer.intermediate_size for layer in layers] == [64, 96, 128, 128, 128, 32, 128, 96]
    assert [layer.sliding_window for layer in layers] == [None, None, 5, None, None, 9, None, None]
    assert [layer.skip for layer in layers] == [["attention"], [], [], [], ["attention", "mlp"], [], ["mlp"], []]
    assert not any(layer.is_heterogeneous for layer in layers)


def test_view_is_indexed_as_upstreams():
    layers = make().per_layer_config
    assert layers[-1].intermediate_size == 96
    assert [layer.intermediate_size for layer in layers[1:3]] == [96, 128]
    with pytest.raises(IndexError):
        layers[8]
    with pytest.raises(ValueError, match="differ in"):
        layers["sliding_attention"]
    with pytest.raises(ValueError, match="not in layer_types"):
        layers["chunked_attention"]
    assert (
        HeterogeneousLlamaConfig(**THINNED | {"intermediate_size": 64}).per_layer_config["full_attention"].hidden_size
        == 64
    )


def test_view_of_a_layer_keeps_the_models_layer_types():
    config = make()
    assert config.per_layer_config[2].layer_types == config.layer_types
    assert "_is_computed" not in config.per_layer_config[2].to_dict()


def test_upstreams_readers_need_not_know_us():
    config = make()
    types, kwargs = get_layer_types_and_kwargs(config)
    full, window = "full_attention", "sliding_attention"
    assert types == [NO_CACHE, full, window, NO_CACHE, NO_CACHE, window, full, full]
    assert kwargs[2] == {"sliding_window": 5} and kwargs[5] == {"sliding_window": 9} and kwargs[6] == {}
    assert get_head_shapes(config) == ([4, 4, 2, 4, 4, 1, 1, 2], 16)


def test_layers_without_attention_add_no_kind_of_mask():
    config = HeterogeneousLlamaConfig(**{**THINNED, "sliding_window": 6})
    assert config.saved_layer_types() == ["sliding_attention"] * 5


@pytest.mark.parametrize("fields", [UNIFORM, MIXED, THINNED], ids=["uniform", "mixed", "thinned"])
def test_round_trips(fields, tmp_path):
    config = HeterogeneousLlamaConfig(**fields)
    config.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["model_type"] == "heterogeneous_llama" and "per_layer_config" not in saved
    assert saved["mixer_types"] == config.mixer_types
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert type(loaded) is HeterogeneousLlamaConfig
    assert loaded.to_diff_dict() == config.to_diff_dict()
    assert copy.deepcopy(config) == config
    assert pickle.loads(pickle.dumps(config)) == config


def test_keyword_overrides_are_checked_together(tmp_path):
    make().save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path, num_key_value_heads=1)
    assert config.num_key_value_heads == 1
    config = AutoConfig.from_pretrained(tmp_path, intermediate_size=[48] * 8)
    assert config.intermediate_size == 48
    with pytest.raises(
        StrictDataclassClassValidationError, match="intermediate_size has 2 entries, num_hidden_layers is 8"
    ):
        AutoConfig.from_pretrained(tmp_path, intermediate_size=[48, 64])


def test_a_plain_llama_config_can_be_shortened(tmp_path):
    LlamaConfig(**UNIFORM).save_pretrained(tmp_path)
    assert HeterogeneousLlamaConfig.from_pretrained(tmp_path, num_hidden_layers=2).mixer_types == ["attention"] * 2


def test_upstreams_override_dict():
    overrides = {1: {"skip": ["attention"]}, "03": {"intermediate_size": 48, "num_key_value_heads": 1}}
    config = HeterogeneousLlamaConfig(**UNIFORM, per_layer_config=overrides)
    assert config.mixer_types == ["attention", "none", "attention", "attention"]
    assert config.intermediate_size == [96, 96, 96, 48]
    assert config.num_key_value_heads == [2, None, 2, 1]
    config.per_layer_config = {0: {"skip": ["mlp"]}}
    assert config.mlp_types == ["none", "dense", "dense", "dense"]
    assert config.intermediate_size == [None, 96, 96, 48]


def test_skip_is_a_list_of_names():
    with pytest.raises(ValueError, match=r"layer 1: skip = \[\['attention'\]\], allowed is a list out of"):
        HeterogeneousLlamaConfig(**UNIFORM, per_layer_config={1: {"skip": [["attention"]]}})


def test_override_dict_names_every_mistake():
    overrides = {9: {"skip": []}, 1: {"skip": ["norm"], "rms_norm_eps": 1e-6}, -1: {}, 2: None, 3: {"skip": "mlp"}}
    with pytest.raises(ValueError) as error:
        HeterogeneousLlamaConfig(**UNIFORM, per_layer_config=overrides)
    message = str(error.value)
    assert "layer 9: not an index in 0..3" in message and "layer -1: not an index" in message
    assert "layer 1: skip = ['norm'], allowed is a list out of ['attention', 'mlp']" in message
    assert "layer 3: skip = 'mlp', allowed is a list" in message
    assert "layer 2: a dict of attributes is needed, not None" in message
    assert "rms_norm_eps = 1e-06 cannot vary by layer" in message


def test_overrides_of_a_finished_config_are_validated():
    config = HeterogeneousLlamaConfig(**UNIFORM)
    with pytest.raises(StrictDataclassClassValidationError, match="at least one layer must"):
        config.per_layer_config = {layer_idx: {"skip": ["attention"]} for layer_idx in range(4)}
    with pytest.raises(StrictDataclassClassValidationError, match=r"layers \[1\]: num_key_value_heads = 3 does not"):
        HeterogeneousLlamaConfig(**UNIFORM).per_layer_config = {1: {"num_key_value_heads": 3}}


def test_a_refused_override_changes_nothing():
    config = HeterogeneousLlamaConfig(**THINNED)
    before = config.to_dict()
    for overrides in ({0: {"num_key_value_heads": 3}}, {0: {"intermediate_size": "wide"}}, {9: {}}):
        with pytest.raises((StrictDataclassClassValidationError, StrictDataclassFieldValidationError, ValueError)):
            config.per_layer_config = overrides
        assert config.to_dict() == before


def test_a_size_of_what_a_layer_does_not_have_is_refused():
    with pytest.raises(ValueError, match="layer 1: num_key_value_heads = 2, but its entry of mixer_types is 'none'"):
        HeterogeneousLlamaConfig(**THINNED, per_layer_config={1: {"num_key_value_heads": 2}})


def test_a_scalar_holds_for_a_layer_that_attends_again():
    config = HeterogeneousLlamaConfig(**THINNED, per_layer_config={1: {"mixer_types": "attention"}})
    assert config.mixer_types[1] == "attention" and config.num_key_value_heads == 2


def test_a_config_edited_in_place_is_checked_when_a_model_is_built():
    config = HeterogeneousLlamaConfig(**UNIFORM)
    config.mixer_types[1] = "bogus"
    with pytest.raises(ValueError, match=r"mixer_types\[1\] is 'bogus'"):
        HeterogeneousLlamaModel(config)


def test_depth_is_overridden_with_the_lists_or_without(tmp_path):
    HeterogeneousLlamaConfig(**UNIFORM).save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path, num_hidden_layers=2).mixer_types == ["attention"] * 2
    lists = {"mixer_types": ["attention", "none"], "intermediate_size": [96, 32]}
    config = AutoConfig.from_pretrained(tmp_path, num_hidden_layers=2, **lists)
    assert config.mixer_types == lists["mixer_types"] and config.intermediate_size == lists["intermediate_size"]


def test_one_wrong_scalar_is_one_error():
    with pytest.raises(StrictDataclassClassValidationError) as error:
        HeterogeneousLlamaConfig(**UNIFORM | {"intermediate_size": 0})
    assert str(error.value).count("intermediate_size") == 1


BAD = {
    "short_list": ({"num_key_value_heads": [1, 2]}, ["num_key_value_heads has 2 entries, num_hidden_layers is 8"]),
    "several_lists": (
        {"mlp_types": ["dense"], "sliding_window": [4] * 9},
        ["mlp_types has 1 entries", "sliding_window has 9 entries"],
    ),
    "indivisible_heads": (
        {"num_key_value_heads": [None, 4, 3, None, None, 1, 1, 3]},
        ["layers [2, 7]: num_key_value_heads = 3 does not divide num_attention_heads = 4"],
    ),
    "no_attention": (
        {"mixer_types": ["none"] * 8},
        ["at least one layer must", "Keep the attention of one layer"],
    ),
    "unknown_mixer": (
        {"mixer_types": ["mamba", *MIXED["mixer_types"][1:]]},
        ["mixer_types[0] is 'mamba', allowed are ['attention', 'linear', 'none']"],
    ),
    "unknown_mlp": (
        {"mlp_types": ["moe", *MIXED["mlp_types"][1:]]},
        ["mlp_types[0] is 'moe', allowed are ['dense', 'linear', 'none']"],
    ),
    "missing_size": (
        {"intermediate_size": [64, None, 128, None, None, 32, None, None]},
        ["intermediate_size[1] is None", "intermediate_size[7] is None"],
    ),
    "not_positive": (
        {"sliding_window": [None, 0, 5, None, None, -2, None, None]},
        ["sliding_window[1] is 0", "sliding_window[5] is -2"],
    ),
    "no_head_dim": ({"head_dim": None}, ["head_dim must be given"]),
}


@pytest.mark.parametrize(("changes", "expected"), BAD.values(), ids=BAD.keys())
def test_bad_configs_name_every_bad_layer(changes, expected):
    with pytest.raises(HeterogeneousConfigError) as error:
        make(**changes)
    for text in expected:
        assert text in str(error.value)
    assert str(error.value).startswith("heterogeneous_llama:\n")


CONFIGS = (
    HeterogeneousGptOssConfig,
    HeterogeneousGraniteMoeHybridConfig,
    HeterogeneousLlamaConfig,
    HeterogeneousNemotronHConfig,
)


@pytest.mark.parametrize("config_class", CONFIGS)
def test_one_class_of_configs_and_of_their_errors(config_class, tmp_path):
    """Upstream's own tests expect its class, and everybody else a `ValueError`."""
    config = config_class()
    assert isinstance(config, HeterogeneousPreTrainedConfig)
    num_layers = config.num_hidden_layers
    config.save_pretrained(tmp_path)
    edited = config_class()
    edited.mixer_types = ["bogus"] * num_layers
    calls = (
        lambda: config_class(mixer_types=["bogus"] * num_layers, mlp_types=config.mlp_types),  # an entry
        lambda: config_class(num_key_value_heads=[1] * (num_layers + 1)),  # a length
        lambda: config_class(num_hidden_layers=-1),
        lambda: config_class(num_key_value_heads_of_layers=[1]),
        lambda: config_class(hidden_act="bogus", mlp_hidden_act="bogus"),
        lambda: config_class(rope_parameters={"rope_type": "bogus"}),
        lambda: config_class(block_configs=5, per_layer_config={-1: {}}),
        lambda: config_class.from_pretrained(tmp_path, num_key_value_heads=[1] * (num_layers + 1)),
        lambda: setattr(config, "per_layer_config", {0: {"mixer_types": "bogus"}}),
        lambda: setattr(config, "mixer_types", None),
        lambda: edited.save_pretrained(tmp_path),
        edited.freeze,
    )
    for number, call in enumerate(calls):
        with pytest.raises(HeterogeneousConfigError) as error:
            call()
        assert isinstance(error.value, ValueError) and isinstance(error.value, StrictDataclassClassValidationError)
        assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value), number


@pytest.mark.parametrize("config_class", CONFIGS)
def test_validate_refuses_what_was_set(config_class):
    config = config_class()
    config.validate()
    config.mixer_types = ["bogus"] * config.num_hidden_layers
    with pytest.raises(StrictDataclassClassValidationError, match=r"mixer_types\[1\] is 'bogus'"):
        config.validate()


def test_a_wrong_type_is_refused():
    with pytest.raises(StrictDataclassFieldValidationError, match="intermediate_size"):
        make(intermediate_size="wide")


def test_head_dim_of_uniform_heads_is_derived():
    config = HeterogeneousLlamaConfig(**{**UNIFORM, "head_dim": None})
    assert config.head_dim == 16


def test_a_window_that_is_set_is_kept(tmp_path):
    config = HeterogeneousLlamaConfig(**UNIFORM)
    config.sliding_window = 5
    assert [layer.sliding_window for layer in config.per_layer_config] == [5] * config.num_hidden_layers
    config.save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).layer_types == config.layer_types
    assert (
        set(config.layer_types) == {"sliding_attention"} and AutoConfig.from_pretrained(tmp_path).sliding_window == 5
    )
    config.sliding_window = None
    assert set(config.layer_types) == {"full_attention"}


def test_what_a_llama_does_not_read_is_not_read(tmp_path):
    """Of Mistrals and Qwens that were made over to Llama."""
    fields = {**UNIFORM, "model_type": "llama", "sliding_window": 4, "layer_types": ["sliding_attention"] * 4}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    for config in (HeterogeneousLlamaConfig.from_pretrained(tmp_path), HeterogeneousLlamaConfig.from_dict(fields)):
        assert config.sliding_window is None and set(config.layer_types) == {"full_attention"}


def test_the_lists_cannot_be_taken_away():
    for name in ("mixer_types", "mlp_types"):
        with pytest.raises(ValueError, match=f"{name} cannot be None"):
            setattr(HeterogeneousLlamaConfig(**UNIFORM), name, None)


def test_heads_that_do_not_divide_the_hidden_size():
    fields = {**UNIFORM, "num_attention_heads": 5, "num_key_value_heads": 5}
    with pytest.raises(ValueError, match="num_attention_heads = 5 does not divide hidden_size = 64: head_dim"):
        HeterogeneousLlamaConfig(**{**fields, "head_dim": None})
    assert HeterogeneousLlamaConfig(**{**fields, "head_dim": 16}).head_dim == 16


def test_the_example_of_the_documentation(capsys):
    text = (Path(__file__).parents[2] / "docs" / "config.md").read_text(encoding="utf-8")
    code, said = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", text, re.DOTALL).groups()
    exec(code, {})
    assert capsys.readouterr().out == said


def test_lists_are_the_configs_own():
    fields = {**MIXED, "fused_blocks": ["none"] * 7 + ["norm_mlp"]}
    given = copy.deepcopy(fields)
    config = HeterogeneousLlamaConfig(**fields)
    for name in ("mixer_types", "mlp_types", "fused_blocks", "num_key_value_heads", "sliding_window"):
        getattr(config, name)[7] = "edited"
    assert fields == given
