"""What holds for every family: equal to its parent, equal to stock layers, the same in every way of running it."""

import copy
import json
import re
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from transformers import AutoModelForCausalLM, Cache, DynamicCache, StaticCache

from . import (
    small,
    small_gpt_oss,
    small_granite_moe_hybrid,
    small_llama4_text,
    small_nemotron_h,
    small_qwen3_next,
    stock,
    stock_gpt_oss,
    stock_granite_moe_hybrid,
    stock_llama4_text,
    stock_nemotron_h,
    stock_qwen3_next,
)
from .llama_shaped import OF_EXPERTS, small_models, stock_model
from .release import CACHE, needs


@dataclass(frozen=True)
class Family:
    """
    A family under test.

    Attributes:
        small: Its small models: `UNIFORM`, `KINDS`, `build`, `CONFIG`, `CAUSAL`, `PARENT`, `PARENT_CONFIG`.
        stock: `StockModel`, the parent's layers put together by hand.
        implementations: Of attention, that the parent has.
        experts: How the experts are run where a forward is compiled.
        assisted: Whether the parent lets itself be assisted; models that carry a state do not.
        counts_rows: Whether the parent counts tokens from the beginning of a row, be it padding or another sequence.
    """

    small: ModuleType | SimpleNamespace
    stock: ModuleType | SimpleNamespace
    implementations: tuple[str, ...] = ("eager", "sdpa", "flex_attention")
    experts: str | None = None
    assisted: bool = True
    counts_rows: bool = False

    def __str__(self) -> str:
        return self.small.CONFIG.model_type

    def build(self, fields: dict, implementation: str | None = None):
        return self.small.build(fields, attn_implementation=implementation or self.fastest)

    @property
    def fastest(self) -> str:
        return "sdpa" if "sdpa" in self.implementations else "eager"


FAMILIES = {
    "llama": Family(small, stock),
    # Its attention sinks have no SDPA, and flex attention only on GPUs
    "gpt_oss": Family(small_gpt_oss, stock_gpt_oss, ("eager",), experts="batched_mm"),
    "granite_moe_hybrid": Family(
        small_granite_moe_hybrid, stock_granite_moe_hybrid, experts="batched_mm", assisted=False
    ),
    "nemotron_h": Family(small_nemotron_h, stock_nemotron_h, experts="batched_mm", assisted=False),
    "qwen2": Family(
        small_models("Qwen2", head_dim=None, num_attention_heads=4), SimpleNamespace(StockModel=stock_model("Qwen2"))
    ),
    "qwen3": Family(small_models("Qwen3"), SimpleNamespace(StockModel=stock_model("Qwen3"))),
    "qwen3_moe": Family(
        small_models("Qwen3Moe", OF_EXPERTS, num_attention_heads=4),
        SimpleNamespace(StockModel=stock_model("Qwen3Moe")),
        experts="batched_mm",
    ),
    "qwen3_next": Family(small_qwen3_next, stock_qwen3_next, ("eager", "sdpa"), experts="batched_mm", assisted=False),
    # What torch compiles of the parent's flex attention, in chunks and with padding, is no C++
    "llama4_text": Family(small_llama4_text, stock_llama4_text, ("eager", "sdpa"), counts_rows=True),
    "mistral": Family(small_models("Mistral"), SimpleNamespace(StockModel=stock_model("Mistral"))),
}
CACHES = {
    "dynamic": lambda config: DynamicCache(config=config),
    "dynamic_without_config": lambda config: DynamicCache(),
    "static": lambda config: StaticCache(config=config, max_cache_len=32),
}

every_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
every_kind = pytest.mark.parametrize(
    ("family", "fields"),
    [
        pytest.param(family, fields, id=f"{name}-{kind}")
        for name, family in FAMILIES.items()
        for kind, fields in family.small.KINDS.items()
    ],
)
every_implementation = pytest.mark.parametrize(
    ("family", "implementation"),
    [
        pytest.param(family, implementation, id=f"{name}-{implementation}")
        for name, family in FAMILIES.items()
        for implementation in family.implementations
    ],
)


def greedy(model, tokens, **kwargs):
    """16 new tokens; no early end, so that all modes are compared over the same length."""
    return model.generate(tokens, max_new_tokens=16, do_sample=False, eos_token_id=None, **kwargs)


def left_padding(tokens):
    padding = torch.ones_like(tokens)
    padding[0, :5] = 0
    return padding


@pytest.fixture
def parent_folder(family, tmp_path):
    """A checkpoint that the parent saved."""
    torch.manual_seed(3)
    family.small.PARENT(family.small.PARENT_CONFIG(**family.small.UNIFORM)).save_pretrained(tmp_path / "parent")
    return tmp_path / "parent"


# --- equal to the parent, equal to stock layers ---------------------------------------------------------------------


@every_implementation
def test_uniform_logits_are_the_parents(family, parent_folder, tokens, implementation):
    parent = family.small.PARENT.from_pretrained(parent_folder, attn_implementation=implementation).eval()
    ours, report = family.small.CAUSAL.from_pretrained(
        parent_folder, attn_implementation=implementation, output_loading_info=True
    )
    assert not any(report.values()), report
    with torch.no_grad():
        for mask in (None, left_padding(tokens)):
            expected = parent(tokens, attention_mask=mask).logits
            assert torch.equal(ours.eval()(tokens, attention_mask=mask).logits, expected)


@every_family
def test_new_models_begin_with_the_parents_weights(family):
    def made(model_class, config):
        torch.manual_seed(0)
        return model_class(config).state_dict()

    small = family.small
    own, theirs = (
        made(small.CAUSAL, small.CONFIG(**small.UNIFORM)),
        made(small.PARENT, small.PARENT_CONFIG(**small.UNIFORM)),
    )
    assert own.keys() == theirs.keys()
    assert not [name for name, tensor in theirs.items() if not torch.equal(own[name], tensor)]


@every_family
def test_uniform_models_save_what_the_parent_saves(family, parent_folder, tmp_path):
    family.small.CAUSAL.from_pretrained(parent_folder).save_pretrained(tmp_path / "ours")
    saved, expected = (load_file(path / "model.safetensors") for path in (tmp_path / "ours", parent_folder))
    expected = {name.replace("backbone.", "model."): tensor for name, tensor in expected.items()}
    assert saved.keys() == expected.keys()
    assert all(torch.equal(saved[name], tensor) for name, tensor in expected.items())


@every_family
def test_what_is_saved_has_a_card_whose_code_loads_it(family, tmp_path):
    model = family.build(family.small.UNIFORM)
    model.save_pretrained(tmp_path, is_main_process=False)
    assert not (tmp_path / "README.md").exists()
    model.save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "library_name: transformers\n" in card.split("---\n")[1]
    names = {}
    exec(re.search(r"```python\n(.*?)```", card, re.DOTALL)[1].replace("path/to/this/folder", str(tmp_path)), names)
    assert type(names["model"]) is type(model) and names["model"].state_dict().keys() == model.state_dict().keys()
    (tmp_path / "README.md").write_text("somebody's")
    model.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "somebody's"


@every_kind
def test_logits_and_gradients_are_those_of_stock_layers(family, fields, tokens):
    for implementation in {"eager", family.fastest}:
        ours, stock_model = family.build(fields, implementation), family.stock.StockModel(fields, implementation)
        stock_model.load_state_dict(ours.state_dict(), strict=True)
        for mask in (None, left_padding(tokens)):
            logits = ours(tokens, attention_mask=mask).logits
            expected = stock_model(tokens, attention_mask=mask)
            assert torch.equal(logits, expected)
        logits.logsumexp(-1).sum().backward()
        expected.logsumexp(-1).sum().backward()
        gradients = {name: parameter.grad for name, parameter in stock_model.named_parameters()}
        for name, parameter in ours.named_parameters():
            if parameter.grad is not None or gradients[name] is not None:
                assert torch.equal(parameter.grad, gradients[name]), name


@pytest.mark.parametrize(
    "family", [family for family in FAMILIES.values() if "flex_attention" in family.implementations], ids=str
)
def test_flex_attention_agrees(family, tokens):
    mixed = family.small.KINDS["mixed"]
    with torch.no_grad():
        eager, flex = (family.build(mixed, implementation)(tokens) for implementation in ("eager", "flex_attention"))
    torch.testing.assert_close(flex.logits, eager.logits, atol=2e-6, rtol=1e-5)


# --- caches and generation -----------------------------------------------------------------------------------------


@every_kind
def test_cached_steps_and_generation_are_one_forward_by_values(family, fields, tokens):
    """With no argument of ours but `use_cache`, so that whatever a release of transformers calls the cache, this runs."""
    model = family.build(fields)
    with torch.no_grad():
        begun = model(tokens[:, :9], use_cache=True)
        name, cache = next((name, value) for name, value in begun.items() if isinstance(value, Cache))
        steps = [model(tokens[:, start : start + 1], **{name: cache}).logits for start in (9, 10)]
        expected = model(tokens[:, :11], use_cache=False).logits
    torch.testing.assert_close(torch.cat([begun.logits, *steps], dim=1), expected, atol=5e-6, rtol=1e-5)
    generated = greedy(model, tokens, output_logits=True, return_dict_in_generate=True)
    with torch.no_grad():
        expected = model(generated.sequences[:, :-1], use_cache=False).logits[:, tokens.shape[1] - 1 :]
    torch.testing.assert_close(torch.stack(generated.logits, dim=1), expected, atol=5e-6, rtol=1e-5)
    assert torch.equal(generated.sequences, greedy(model, tokens, use_cache=False))


@needs("deprecated_cache_name")
@every_family
def test_deprecated_names_of_the_cache_are_taken_with_a_warning(family, tokens):
    model = family.build(family.small.KINDS["mixed"])
    cache = DynamicCache(config=model.config)
    with torch.no_grad():
        expected = model(tokens).logits[:, 9:]
        model(tokens[:, :9], **{CACHE: cache})
        with pytest.warns(FutureWarning, match="past_key_values"):
            logits = model(tokens[:, 9:], past_key_values=cache).logits
    torch.testing.assert_close(logits, expected, atol=5e-6, rtol=1e-5)


@pytest.mark.parametrize("make_cache", CACHES.values(), ids=CACHES.keys())
@every_kind
def test_decoding_step_by_step_is_one_forward(family, fields, make_cache, tokens):
    model = family.build(fields)
    cache = make_cache(model.config)
    with torch.no_grad():
        expected = model(tokens).logits
        steps = [tokens[:, :6], *tokens[:, 6:].split(1, dim=1)]
        logits = torch.cat([model(step, **{CACHE: cache}, use_cache=True).logits for step in steps], dim=1)
    torch.testing.assert_close(logits, expected, atol=5e-6, rtol=1e-5)


@pytest.mark.parametrize("make_cache", CACHES.values(), ids=CACHES.keys())
@every_kind
def test_generation_goes_on_from_a_cache(family, fields, make_cache, tokens):
    model = family.build(fields)
    expected = greedy(model, tokens, use_cache=False)
    prefix = make_cache(model.config)
    with torch.no_grad():
        model(tokens[:, :6], **{CACHE: prefix}, use_cache=True)
    assert torch.equal(greedy(model, tokens, **{CACHE: prefix}), expected)
    fresh = make_cache(model.config)
    begun = model.generate(tokens, **{CACHE: fresh}, max_new_tokens=5, do_sample=False, eos_token_id=None)
    on = model.generate(begun, **{CACHE: fresh}, max_new_tokens=11, do_sample=False, eos_token_id=None)
    assert torch.equal(on, expected)


@every_kind
def test_every_mode_of_generation_gives_the_greedy_tokens(family, fields, tokens):
    model = family.build(fields)
    expected = greedy(model, tokens, use_cache=False)
    assert torch.equal(greedy(model, tokens), expected)
    assert torch.equal(greedy(model, tokens, cache_implementation="static", disable_compile=True), expected)
    assert torch.equal(greedy(model, tokens, prefill_chunk_size=4), expected)
    beams = {"num_beams": 3, "num_return_sequences": 3}
    assert torch.equal(greedy(model, tokens, **beams), greedy(model, tokens, use_cache=False, **beams))


@every_family
def test_assisted_generation(family, tokens):
    model = family.build(family.small.KINDS["mixed"])
    one, expected = tokens[:1], greedy(model, tokens[:1])
    if not family.assisted:
        with pytest.raises(ValueError, match="stateful"):
            greedy(model, one, assistant_model=copy.deepcopy(model))
        return
    assert torch.equal(greedy(model, one, assistant_model=copy.deepcopy(model)), expected)
    assert torch.equal(greedy(model, one, prompt_lookup_num_tokens=3), expected)


@every_family
def test_left_padding_changes_nothing(family, tokens):
    model = family.build(family.small.KINDS["mixed"])
    padded = torch.cat([torch.zeros(1, 5, dtype=torch.long), tokens[:1, :9]], dim=1)
    batch, mask = torch.cat([padded, tokens[1:]]), left_padding(tokens)
    for options in ({}, {"cache_implementation": "static", "disable_compile": True}):
        generated = greedy(model, batch, attention_mask=mask, **options)
        assert torch.equal(generated[0, 5:], greedy(model, tokens[:1, :9])[0])
        assert torch.equal(generated[1], greedy(model, tokens[1:])[0])


# --- compile, training ----------------------------------------------------------------------------------------------


@every_family
def test_compiles_without_a_break(family, tokens):
    model = family.build(family.small.KINDS["mixed"])
    if family.experts is not None:
        model.set_experts_implementation(family.experts)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(tokens).logits, model(tokens).logits, atol=1e-6, rtol=1e-5)
    cached = greedy(model, tokens, cache_implementation="static", disable_compile=True)
    model.forward = torch.compile(model.forward, fullgraph=True, backend="eager")
    assert torch.equal(greedy(model, tokens, cache_implementation="static"), cached)


@pytest.mark.parametrize("use_reentrant", [True, False])
@every_family
def test_gradient_checkpointing_gives_the_same_gradients(family, tokens, use_reentrant):
    mixed = family.small.KINDS["mixed"]
    plain, checkpointed = family.build(mixed).train(), family.build(mixed).train()
    checkpointed.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
    checkpointed.enable_input_require_grads()
    for model in (plain, checkpointed):
        model(tokens, labels=tokens).loss.backward()
    for (name, ours), other in zip(checkpointed.named_parameters(), plain.parameters(), strict=True):
        assert ours.grad is other.grad is None or torch.equal(ours.grad, other.grad), name


@pytest.mark.parametrize("implementation", ["eager", "batched_mm", "grouped_mm"])
@pytest.mark.parametrize("family", [family for family in FAMILIES.values() if family.experts], ids=str)
def test_experts_implementations_agree(family, tokens, implementation):
    model = family.build(family.small.KINDS["mixed"], "eager")
    model.set_experts_implementation("eager")
    expected = model(tokens).logits
    model.set_experts_implementation(implementation)
    experts = [module for module in model.modules() if type(module).__name__.endswith("Experts")]
    assert len(experts) > 1 and {module.config._experts_implementation for module in experts} == {implementation}
    assert model.config._experts_implementation == implementation
    torch.testing.assert_close(model(tokens).logits, expected, atol=2e-6, rtol=1e-5)


@every_family
def test_recorded_outputs(family, tokens):
    model = family.build(family.small.KINDS["mixed"], "eager")
    config = model.config
    outputs = model(tokens, output_attentions=True, output_hidden_states=True)
    assert len(outputs.hidden_states) == config.num_hidden_layers + 1
    attending = config.layers_made_of("attention")
    assert attending == [idx for idx, mixer in enumerate(config.mixer_types) if mixer == "attention"]
    assert len(outputs.attentions) == len(attending)
    for layer_idx, attention in zip(attending, outputs.attentions, strict=True):
        heads = config.per_layer_config[layer_idx].num_attention_heads
        assert attention.shape[1] == heads and (attention[0].triu(1) == 0).all()
    if "output_router_logits" in config.to_dict() and config.model_type != "heterogeneous_nemotron_h":
        routed = model(tokens, output_router_logits=True).router_logits
        experts = [config.per_layer_config[idx].num_local_experts for idx in config.layers_made_of("moe")]
        assert [logits.shape[-1] for logits in routed] == experts
    empty = [
        idx
        for idx, kinds in enumerate(zip(config.mixer_types, config.mlp_types, strict=True))
        if set(kinds) == {"none"}
    ]
    assert empty, "the mixed model has a layer with nothing in it"
    for layer_idx in empty:
        assert torch.equal(outputs.hidden_states[layer_idx + 1], outputs.hidden_states[layer_idx])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@every_kind
def test_what_is_named_strict_is_float32_however_a_model_is_made(family, fields, dtype, tokens, tmp_path):
    """As transformers' tests ask of its own models: `_keep_in_fp32_modules_strict` holds where nothing is loaded, too."""
    made = AutoModelForCausalLM.from_config(family.small.CONFIG(**fields), dtype=dtype)
    family.build(fields).save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=dtype)
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(family.small.CONFIG(**fields), dtype=dtype)
    strict = made._keep_in_fp32_modules_strict
    dtypes = {name: tensor.dtype for name, tensor in made.state_dict().items()}
    assert {name: tensor.dtype for name, tensor in loaded.state_dict().items()} == dtypes
    assert {name: tensor.dtype for name, tensor in empty.state_dict().items()} == dtypes
    for name in dtypes:
        assert dtypes[name] == (torch.float32 if any(part in name for part in strict) else dtype), name
    with torch.no_grad():
        assert torch.isfinite(made.eval()(tokens).logits).all()


# --- surgery: what upstream's models allow, since their layers are a list ---------------------------------------------


def made_of(family, model, layers):
    """A model that is made from a config with these layers of another one's, and their weights."""
    fields = model.config.to_dict()
    lists = [name for name in model.config._layer_lists() if isinstance(fields.get(name), list)]
    fields |= {name: [fields[name][at] for at in layers] for name in lists}
    made = family.build({**fields, "num_hidden_layers": len(layers)}, "eager")
    state = model.state_dict()
    for name in made.state_dict():
        head, found, tail = name.partition(".layers.")
        layer_idx, _, parameter = tail.partition(".")
        made.get_parameter_or_buffer(name).data.copy_(
            state[f"{head}{found}{layers[int(layer_idx)]}.{parameter}" if found else name]
        )
    return made


@every_family
def test_the_first_layers_alone(family, tmp_path, tokens):
    model = family.build(family.small.MIXED, "eager")
    model.save_pretrained(tmp_path)
    first = 4  # one of them attends
    expected = made_of(family, model, range(first))(tokens).logits
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, num_hidden_layers=first, attn_implementation="eager")
    assert torch.equal(loaded.eval()(tokens).logits, expected)
    config = family.small.CONFIG(**family.small.MIXED)
    config.num_hidden_layers = first
    assert config.mixer_types == loaded.config.mixer_types
    assert len(family.small.CAUSAL(copy.deepcopy(config)).model.layers) == first
    config.mixer_types = [*config.mixer_types, "attention"]
    with pytest.raises(ValueError, match="mixer_types has 5 entries, num_hidden_layers is 4"):
        family.small.CAUSAL(config)


@pytest.mark.parametrize("name", ["llama", "gpt_oss"])  # the states of mamba layers are no keys and values
def test_a_cache_made_from_tensors(name, tokens):
    """Layers that keep nothing are told from those that have seen nothing."""
    family = FAMILIES[name]
    model = family.build(family.small.MIXED, "eager")
    cache = getattr(model(tokens[:, :-1], use_cache=True), CACHE)
    again = DynamicCache([(getattr(layer, "keys", None), getattr(layer, "values", None)) for layer in cache.layers])
    expected = model(tokens[:, -1:], **{CACHE: cache}).logits
    assert torch.equal(model(tokens[:, -1:], **{CACHE: again}).logits, expected)


@every_family
def test_configs_of_the_parent_are_not_taken(family):
    with pytest.raises(TypeError, match=rf"takes a {family.small.CONFIG.__name__}, not a .*from_dict"):
        family.small.CAUSAL(family.small.PARENT_CONFIG(**family.small.UNIFORM))


@every_family
def test_a_config_of_the_parents_fields_leaves_the_parent_alone(family, parent_folder, tmp_path):
    parent = family.small.PARENT.from_pretrained(parent_folder)
    config = family.small.CONFIG(**parent.config.to_dict())
    assert config.model_type == family.small.CONFIG.model_type
    family.small.CAUSAL(config)
    parent.save_pretrained(tmp_path / "again")
    again, before = (load_file(folder / "model.safetensors").keys() for folder in (tmp_path / "again", parent_folder))
    assert again == before


# --- saving and loading ---------------------------------------------------------------------------------------------


@every_kind
def test_sharded_checkpoints_round_trip(family, fields, tmp_path, tokens):
    model = family.build(fields, "eager")
    model.save_pretrained(tmp_path, max_shard_size="40KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    loaded, report = AutoModelForCausalLM.from_pretrained(
        tmp_path, output_loading_info=True, attn_implementation="eager"
    )
    assert type(loaded) is family.small.CAUSAL
    assert not any(report.values()), report
    saved = json.loads(model.config.to_json_string())
    assert json.loads(loaded.config.to_json_string()) | {"dtype": saved["dtype"]} == saved
    assert torch.equal(loaded.eval()(tokens).logits, model(tokens).logits)


@every_family
def test_device_map_with_disk_offload(family, tmp_path, tokens):
    model = family.build(family.small.KINDS["mixed"], "eager")
    model.save_pretrained(tmp_path / "model")
    loaded = AutoModelForCausalLM.from_pretrained(
        tmp_path / "model",
        device_map="auto",
        max_memory={"cpu": 150_000},
        offload_folder=tmp_path / "offload",
        attn_implementation="eager",
    ).eval()
    assert "disk" in loaded.hf_device_map.values()
    assert torch.equal(loaded(tokens).logits, model(tokens).logits)


@every_family
def test_layers_of_the_parent_are_overridden_on_the_fly(family, parent_folder, tmp_path, tokens):
    config = family.small.CONFIG(**family.small.UNIFORM)
    types = {"mixer_types": config.mixer_types[1], "mlp_types": config.mlp_types[1]}
    name = next(
        name
        for name, lists in config.skippable.items()
        if any(types[each] in skipped for each, skipped in lists.items())
    )
    override = {1: {"skip": [name]}}
    loaded, report = family.small.CAUSAL.from_pretrained(
        parent_folder, per_layer_config=override, output_loading_info=True, attn_implementation="eager"
    )
    assert not report["missing_keys"] and not report["mismatched_keys"]
    assert {key.split(".")[2] for key in report["unexpected_keys"]} <= {"1"}
    loaded.save_pretrained(tmp_path / "saved")
    again, report = AutoModelForCausalLM.from_pretrained(
        tmp_path / "saved", output_loading_info=True, attn_implementation="eager"
    )
    assert not any(report.values()), report
    assert "none" in (again.config.mixer_types[1], again.config.mlp_types[1])
    assert torch.equal(again.eval()(tokens).logits, loaded.eval()(tokens).logits)


@every_family
def test_base_model_loads_from_the_causal_checkpoint(family, tmp_path, tokens):
    model = family.build(family.small.KINDS["mixed"], "eager")
    model.save_pretrained(tmp_path)
    base, report = type(model.model).from_pretrained(tmp_path, output_loading_info=True, attn_implementation="eager")
    assert not report["missing_keys"] and set(report["unexpected_keys"]) <= {"lm_head.weight"}
    assert torch.equal(base.eval()(tokens).last_hidden_state, model.model(tokens).last_hidden_state)


@every_family
def test_sizes_are_not_sliced_on_the_fly(family, parent_folder, tokens, caplog):
    """Ours comes ahead of transformers' advice to take random numbers; who asks for these is told which."""
    config = family.small.CONFIG.from_pretrained(parent_folder)
    name = next(each for each in ("intermediate_size", "moe_intermediate_size") if any(config.layers_with(each)))
    layer = config.layers_with(name).index(True)
    narrower = {layer: {name: config.layer_sizes(name)[layer] // 2}}
    with pytest.raises(RuntimeError, match="Sizes are not sliced while loading") as error:
        family.small.CAUSAL.from_pretrained(parent_folder, per_layer_config=narrower)
    assert f"model.layers.{layer}." in str(error.value) and str(parent_folder) in str(error.value)
    model = family.small.CAUSAL.from_pretrained(
        parent_folder, per_layer_config=narrower, ignore_mismatched_sizes=True, attn_implementation="eager"
    )
    assert "start at random, since ignore_mismatched_sizes is set" in caplog.text
    assert model.config.layer_sizes(name)[layer] == narrower[layer][name] and model(tokens).logits.isfinite().all()
