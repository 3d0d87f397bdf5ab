"""What upstream's common model tests state of every model, for every family, uniform and mixed."""

import copy
from fnmatch import fnmatchcase
from inspect import signature

import pytest
import torch
from safetensors.torch import load_file

from transformers import DynamicCache, QuantizedCache, StaticCache
from transformers.exporters.exporter_dynamo import DynamoConfig, DynamoExporter

from .release import CACHE, needs
from .test_every_family import FAMILIES, every_family, every_kind, greedy


TIES = {"llama": True, "gpt_oss": True, "granite_moe_hybrid": True, "nemotron_h": False}
every_tied_kind = pytest.mark.parametrize(
    ("family", "fields"),
    [
        pytest.param(FAMILIES[name], {**fields, "tie_word_embeddings": True}, id=f"{name}-{kind}")
        for name, ties in TIES.items()
        for kind, fields in FAMILIES[name].small.KINDS.items()
        if ties
    ],
)


def saved_names(model, folder) -> set[str]:
    model.save_pretrained(folder)
    return set(load_file(folder / "model.safetensors"))


# --- tied weights -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TIES)
def test_a_family_ties_where_its_parent_does(name):
    small = FAMILIES[name].small
    fields = {**small.UNIFORM, "tie_word_embeddings": True}
    for model in (small.PARENT(small.PARENT_CONFIG(**fields)), small.build(fields)):
        assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) is TIES[name]


@every_tied_kind
def test_a_tied_head_is_one_parameter_everywhere(family, fields, tmp_path, tokens):
    model = family.build(fields, "eager")
    names = [name for name, _ in model.named_parameters()]
    assert "lm_head.weight" not in names and "lm_head.weight" in model.all_tied_weights_keys
    assert "lm_head.weight" not in saved_names(model, tmp_path)
    loaded, report = family.small.CAUSAL.from_pretrained(
        tmp_path, output_loading_info=True, attn_implementation="eager"
    )
    assert not any(report.values()) and loaded.lm_head.weight is loaded.get_input_embeddings().weight
    assert torch.equal(loaded.eval()(tokens).logits, model(tokens).logits)
    loaded.resize_token_embeddings(150)
    assert loaded.lm_head.weight is loaded.get_input_embeddings().weight


# --- plans --------------------------------------------------------------------------------------------------------------


def planned(model, plan: str) -> set[str]:
    """The parameters that an entry of a plan covers, by its module or itself, with the layers' numbers left out."""
    patterns = getattr(model, plan) or {}
    names = {name.removesuffix(".weight") for name, _ in model.named_parameters(remove_duplicate=False)}
    covered = {name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)}
    return {".".join("*" if part.isdecimal() else part for part in name.split(".")) for name in covered}


@pytest.mark.parametrize("plan", ["_tp_plan", "_ep_plan", "tp_plan", "ep_plan"])
@every_kind
def test_plans_cover_what_the_parents_do(family, fields, plan):
    small = family.small
    parent, ours = small.PARENT(small.PARENT_CONFIG(**small.UNIFORM)), small.build(fields)
    if not hasattr(parent, plan):
        pytest.fail(f"{plan} is no longer an attribute of upstream's models")
    own = {
        ".".join("*" if part.isdecimal() else part for part in name.removesuffix(".weight").split("."))
        for name, _ in ours.named_parameters(remove_duplicate=False)
    }
    assert planned(ours, plan) == planned(parent, plan) & own
    others = (
        getattr(parent, plan).keys() - getattr(ours, plan).keys()
    )  # Llama 4 has each twice, once without its prefix
    assert getattr(ours, plan).items() <= getattr(parent, plan).items()
    assert not any(fnmatchcase(name, pattern) for name in own for pattern in others)


@every_tied_kind
def test_a_tied_head_has_an_entry_in_the_tp_plan(family, fields):
    model = family.build(fields)
    assert any(fnmatchcase("lm_head", pattern) for pattern in model.tp_plan)


@every_family
def test_a_head_is_tied_only_where_the_plan_has_it(family):
    """The embedding is split over ranks: a head that is the same tensor has to be, too."""
    model = family.build({**family.small.UNIFORM, "tie_word_embeddings": True})
    tied = model.lm_head.weight is model.get_input_embeddings().weight
    assert not tied or "lm_head" in model.tp_plan


# --- saving and loading ----------------------------------------------------------------------------------------------


@every_kind
def test_new_and_loaded_models_save_the_same_names(family, fields, tmp_path):
    model = family.build(fields, "eager")
    fresh = saved_names(model, tmp_path / "fresh")
    loaded = family.small.CAUSAL.from_pretrained(tmp_path / "fresh")
    assert saved_names(loaded, tmp_path / "loaded") == fresh
    assert {tensor.shape for tensor in load_file(tmp_path / "loaded" / "model.safetensors").values()} == {
        tensor.shape for tensor in load_file(tmp_path / "fresh" / "model.safetensors").values()
    }
    base = type(model.model).from_pretrained(tmp_path / "fresh")
    assert {name.removeprefix("model.") for name in saved_names(base, tmp_path / "base")} == {
        name.removeprefix("model.") for name in fresh - {"lm_head.weight"}
    }


@every_kind
def test_every_weight_is_initialised(family, fields):
    """No parameter of a new model is left as the memory was."""
    with torch.device("meta"):
        model = family.small.CAUSAL(family.small.CONFIG(**fields))
    model = model.to_empty(device="cpu")
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data.fill_(float("nan") if tensor.is_floating_point() else -1)
    for module in model.modules():
        module._is_hf_initialized = False
    model.init_weights()
    assert [name for name, parameter in model.named_parameters() if not torch.isfinite(parameter).all()] == []


# --- embeddings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_tokens", [140, 100])
@every_kind
def test_resized_embeddings(family, fields, num_tokens, tmp_path):
    model = family.build(fields, "eager")
    tokens = torch.randint(2, 90, (2, 8), generator=torch.Generator().manual_seed(4))
    before = model(tokens).logits[..., :100]
    model.resize_token_embeddings(num_tokens)
    assert model.config.vocab_size == num_tokens == model.get_input_embeddings().num_embeddings
    logits = model(tokens).logits
    assert logits.shape[-1] == num_tokens
    torch.testing.assert_close(logits[..., :100], before, atol=1e-5, rtol=1e-5)
    model.config.eos_token_id = None
    model.save_pretrained(tmp_path)
    loaded, report = family.small.CAUSAL.from_pretrained(
        tmp_path, output_loading_info=True, attn_implementation="eager"
    )
    assert not any(report.values())
    torch.testing.assert_close(loaded.eval()(tokens).logits, logits, atol=1e-5, rtol=1e-5)


@every_kind
def test_embeddings_in_the_place_of_tokens(family, fields, tokens):
    model = family.build(fields)
    embeds = model.get_input_embeddings()(tokens)
    assert torch.equal(model(inputs_embeds=embeds).logits, model(tokens).logits)
    if "inputs_embeds" not in signature(family.small.PARENT.prepare_inputs_for_generation).parameters:
        return  # `generate` takes none of the parent, Nemotron-H, either
    generated = model.generate(inputs_embeds=embeds, max_new_tokens=4, do_sample=False, eos_token_id=None)
    assert torch.equal(generated, greedy(model, tokens)[:, tokens.shape[1] :][:, :4])


# --- caches ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [None, "dynamic", "static", "offloaded", "offloaded_static"])
@every_kind
def test_every_class_of_cache_generates_the_same(family, fields, name, tokens):
    model = family.build(fields)
    expected = greedy(model, tokens, use_cache=False)
    if name in ("offloaded", "offloaded_static") and not torch.cuda.is_available():
        cache_class = DynamicCache if name == "offloaded" else StaticCache
        lengths = {} if name == "offloaded" else {"max_cache_len": 32}
        assert torch.equal(greedy(model, tokens, **{CACHE: cache_class(config=model.config, **lengths)}), expected)
        return
    assert torch.equal(greedy(model, tokens, cache_implementation=name, disable_compile=True), expected)


# Each family where all layers attend, with one number of KV heads, and with several
FULL = {name: {**FAMILIES[name].small.UNIFORM, "layer_types": ["full_attention"] * 4} for name in ("llama", "gpt_oss")}
FULL |= {"granite_moe_hybrid": {**FAMILIES["granite_moe_hybrid"].small.ATTENTION, "num_key_value_heads": 2}}
FULL |= {"nemotron_h": {**FAMILIES["nemotron_h"].small.BASE, "layers_block_type": ["attention"] * 4}}
KV_HEADS = [4, 1, 2, 4]
BACKENDS = {"fp8": {}, "quanto": {"q_group_size": 16}, "hqq": {"q_group_size": 16, "nbits": 8}}


def step_by_step(model, cache, tokens) -> torch.Tensor:
    with torch.no_grad():
        logits = [model(tokens[:, :10], **{CACHE: cache}, use_cache=True).logits]
        logits += [model(token[:, None], **{CACHE: cache}, use_cache=True).logits for token in tokens[:, 10:].T]
    return torch.cat(logits, dim=1)


def quantised_cache(model, backend: str) -> QuantizedCache | str:
    """The cache, or what is said of it: layers that it does not hold, a backend that is not installed."""
    try:
        return QuantizedCache(backend, model.config, **BACKENDS[backend])
    except (ValueError, ImportError) as error:
        return str(error)


def without_list(message: str) -> str:
    """A refusal of a cache, up to the types of layers that it lists: a layer without a mixer has no word of its own."""
    return message.partition("invalid layer types")[0]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", FULL)
def test_a_quantised_cache_is_what_it_is_to_the_parent(name, backend, tokens):
    small = FAMILIES[name].small
    for fields in (FULL[name], small.UNIFORM):
        parent = small.PARENT(small.PARENT_CONFIG(**fields, attn_implementation="eager")).eval()
        ours = small.build(fields)
        ours.load_state_dict(parent.state_dict())
        caches = [quantised_cache(model, backend) for model in (parent, ours)]
        if isinstance(caches[0], str) or isinstance(caches[1], str):
            assert without_list(caches[0]) == without_list(caches[1])
        else:
            assert torch.equal(step_by_step(parent, caches[0], tokens), step_by_step(ours, caches[1], tokens))


@needs("fp8_cache")
@pytest.mark.parametrize("name", FULL)
def test_a_quantised_cache_of_several_numbers_of_kv_heads(name, tokens):
    model = FAMILIES[name].build({**FULL[name], "num_key_value_heads": KV_HEADS}, "eager")
    cache = QuantizedCache("fp8", model.config)
    found, expected = step_by_step(model, cache, tokens), model(tokens).logits
    assert [layer._quantized_keys[0].shape[1] for layer in cache.layers] == KV_HEADS
    assert torch.equal(found[:, :10].argmax(-1), expected[:, :10].argmax(-1))
    error = (found - expected)[:, 10:].abs().mean()  # the greatest is of a token that goes to another expert
    assert 0 < error < 0.1 * expected.std()
    options = {"cache_implementation": "quantized", "cache_config": {"backend": "fp8"}}
    assert greedy(model, tokens, **options).shape == greedy(model, tokens).shape


@needs("fp8_cache")
@every_kind
def test_a_quantised_cache_holds_full_attention_alone(family, fields, tokens):
    """As of every model of transformers: a layer without attention is refused as one with a window or a state is."""
    model = family.build(fields)
    layers = zip(model.config.mixer_types, model.config.layer_types, strict=True)
    if all(layer == ("attention", "full_attention") for layer in layers):
        assert isinstance(quantised_cache(model, "fp8"), QuantizedCache)
        return
    assert "only supported for models with only full attention layers" in quantised_cache(model, "fp8")
    with pytest.raises(ValueError, match="only supported for models with only full attention layers"):
        greedy(model, tokens, cache_implementation="quantized", cache_config={"backend": "fp8"})


@every_kind
def test_a_cache_is_reordered_and_copied(family, fields, tokens):
    model = family.build(fields)
    with torch.no_grad():
        cache = getattr(model(tokens[:, :-1], use_cache=True), CACHE)
        again = copy.deepcopy(cache)
        again.reorder_cache(torch.tensor([1, 0]))
        expected = model(tokens[:, -1:], **{CACHE: cache}, use_cache=True).logits
        turned = model(tokens[:, -1:].flip(0), **{CACHE: again}, use_cache=True).logits
    torch.testing.assert_close(turned.flip(0), expected, atol=1e-6, rtol=1e-5)


# --- export -----------------------------------------------------------------------------------------------------------


@needs("callable_exports")
@pytest.mark.parametrize("window", [None, 6, [6, None, 4, None]], ids=str)
def test_exported_decoding(tokens, window):
    """Positions have to be given where the first layer has a window: upstream's exporter traces the caches of windows as
    whole ones, which know as many tokens as they keep. Mistral's are off by as much without."""
    small = FAMILIES["llama"].small
    model = small.build({**small.UNIFORM, "sliding_window": window}, attn_implementation="sdpa")
    cache = DynamicCache(config=model.config)
    with torch.no_grad():
        model(tokens[:, :10], **{CACHE: cache}, use_cache=True)
        inputs = {"input_ids": tokens[:, 10:11], "position_ids": torch.full((2, 1), 10), "use_cache": True}
        exported = DynamoExporter().export(model, {**inputs, CACHE: copy.deepcopy(cache)}, config=DynamoConfig())
        logits = exported(**inputs, **{CACHE: copy.deepcopy(cache)}).logits
        expected = model(**inputs, **{CACHE: cache}).logits
    torch.testing.assert_close(logits, expected, atol=1e-6, rtol=1e-5)
