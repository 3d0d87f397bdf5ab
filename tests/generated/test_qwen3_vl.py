"""
Qwen3-VL, dense and with experts: transformers' own model around a text model whose layers differ. An image in, text out: equal to the
stock model where the layers are alike, else to stock layers put together by hand.
"""

import copy
import itertools
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, DynamicCache, StaticCache
from transformers_heterogeneous import HeterogeneousConfigError, keep_layers
from transformers_heterogeneous.converters import CheckpointError, convert, inspect, prune

from .release import CACHE
from .small_qwen3_vl import DENSE, IMAGE, MARKS, OF_EXPERTS, question
from .stock_qwen3_vl import StockModel


FAMILIES = (DENSE, OF_EXPERTS)
CACHES = {
    "dynamic": lambda config: DynamicCache(config=config),
    "dynamic_without_config": lambda config: DynamicCache(),
    "static": lambda config: StaticCache(config=config, max_cache_len=40),
}
both = pytest.mark.parametrize("family", FAMILIES, ids=str)
every_kind = pytest.mark.parametrize(
    ("family", "fields"),
    [pytest.param(each, fields, id=f"{each}-{kind}") for each in FAMILIES for kind, fields in each.kinds.items()],
)


@pytest.fixture
def inputs():
    return question()


@pytest.fixture
def parent_folder(family, tmp_path):
    """A checkpoint that the stock model saved."""
    family.parent().save_pretrained(tmp_path / "parent")
    return tmp_path / "parent"


def greedy(model, inputs, **kwargs):
    ends = {"eos_token_id": None, "pad_token_id": 0, "suppress_tokens": MARKS}
    return model.generate(**inputs, max_new_tokens=8, do_sample=False, **ends, **kwargs)


def padded(inputs):
    """The same with three tokens of padding before the first row, and three more of text in the second."""
    tokens = inputs["input_ids"]
    before = torch.tensor([[0, 0, 0], [17, 18, 19]])
    mask = torch.cat([(before > 0).long(), torch.ones_like(tokens)], dim=1)
    tokens = torch.cat([before, tokens], dim=1)
    return {**inputs, "input_ids": tokens, "mm_token_type_ids": (tokens == IMAGE).int(), "attention_mask": mask}


def rewritten(folder, **changes):
    """config.json with other members."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return config


# --- equal to the stock model, equal to stock layers ----------------------------------------------------------------


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@both
def test_uniform_is_the_stock_model(family, parent_folder, inputs, implementation, tmp_path):
    stock = family.PARENT.from_pretrained(parent_folder, attn_implementation=implementation).eval()
    config = family.CONFIG.from_pretrained(parent_folder)
    assert type(config.text_config) is family.TEXT and config.model_type == family.CONFIG.model_type
    ours, report = AutoModelForImageTextToText.from_pretrained(
        parent_folder, config=config, attn_implementation=implementation, output_loading_info=True
    )
    assert not any(report.values()), report
    assert type(ours) is family.PARENT and type(ours.model.language_model.config) is family.TEXT
    for each in (inputs, padded(inputs), {"input_ids": inputs["input_ids"]}):
        with torch.no_grad():
            assert torch.equal(ours(**each).logits, stock(**each).logits)
        assert torch.equal(greedy(ours, each), greedy(stock, each))
    ours.save_pretrained(tmp_path / "ours")
    saved, expected = (load_file(path / "model.safetensors") for path in (tmp_path / "ours", parent_folder))
    assert saved.keys() == expected.keys() and all(torch.equal(saved[name], expected[name]) for name in saved)


@every_kind
def test_logits_and_gradients_are_those_of_stock_layers(family, fields, inputs):
    for implementation in family.implementations:
        ours, stock_model = family.build(fields, implementation), StockModel(family, fields, implementation)
        stock_model.load_state_dict(ours.state_dict(), strict=True)
        for each in (inputs, padded(inputs), {"input_ids": inputs["input_ids"][:, :2]}):
            kept = each.get("attention_mask", torch.ones_like(each["input_ids"])).bool()
            logits, expected = ours(**each).logits, stock_model(**each)
            assert torch.equal(logits[kept], expected[kept])
        logits, expected = ours(**inputs).logits, stock_model(**inputs)
        logits.logsumexp(-1).sum().backward()
        expected.logsumexp(-1).sum().backward()
        gradients = {name: parameter.grad for name, parameter in stock_model.named_parameters()}
        for name, parameter in ours.named_parameters():
            assert parameter.grad is gradients[name] is None or torch.equal(parameter.grad, gradients[name]), name


@every_kind
def test_what_it_says_of_a_picture_is_what_stock_layers_say(family, fields, inputs):
    ours, stock_model = family.build(fields), StockModel(family, fields)
    stock_model.load_state_dict(ours.state_dict(), strict=True)
    for each in (inputs, padded(inputs)):
        said = stock_model.greedy(each, 8)
        assert torch.equal(greedy(ours, each, use_cache=False), said)
        assert torch.equal(greedy(ours, each), said)
    dark = {**inputs, "pixel_values": -torch.ones_like(inputs["pixel_values"])}
    with torch.no_grad():
        assert not torch.equal(ours(**dark).logits[:, -1], ours(**inputs).logits[:, -1])


# --- what is seen is added behind the first layers ------------------------------------------------------------------


@both
def test_features_are_added_behind_layers_by_their_place(family, inputs):
    """As upstream counts: a layer without sub-blocks still has its place, one that is taken out does not."""
    fields = family.kinds["mixed"]
    whole, kept = family.build(fields), [1, 3, 3, 5]
    state = {name: tensor.clone() for name, tensor in whole.state_dict().items()}
    keep_layers(whole, kept)
    lists = {name: [value[layer] for layer in kept] for name, value in fields.items() if isinstance(value, list)}
    stock_model = StockModel(family, {**fields, **lists, "num_hidden_layers": 4})
    for name, tensor in stock_model.state_dict().items():
        before, found, behind = name.partition("language_model.layers.")
        number, _, inner = behind.partition(".")
        with torch.no_grad():
            tensor.copy_(state[f"{before}{found}{kept[int(number)]}.{inner}" if found else name])
    assert whole.config.text_config.mixer_types == lists["mixer_types"]
    assert torch.equal(whole(**inputs).logits, stock_model(**inputs))
    assert torch.equal(greedy(whole, inputs), stock_model.greedy(inputs, 8))


@both
def test_layers_that_are_kept_are_saved(family, inputs, tmp_path):
    model = family.build(family.kinds["mixed"])
    keep_layers(model.model.language_model, [0, 4, 5])
    model.save_pretrained(tmp_path)
    again = AutoModelForImageTextToText.from_pretrained(tmp_path).eval()
    assert again.config.text_config.num_hidden_layers == 3
    assert torch.equal(again(**inputs).logits, model(**inputs).logits)
    other = copy.deepcopy(model)
    keep_layers(other, [2, 1])
    assert len(model.model.language_model.layers) == model.config.text_config.num_hidden_layers == 3
    assert other.config.text_config.num_hidden_layers == 2 and other(**inputs).logits.isfinite().all()
    del model.model.language_model.layers[1]
    with pytest.raises(ValueError, match="keep_layers"):
        model(**inputs)


# --- caches, compile, training --------------------------------------------------------------------------------------


@pytest.mark.parametrize("make_cache", CACHES.values(), ids=CACHES.keys())
@every_kind
def test_decoding_step_by_step_is_one_forward(family, fields, make_cache, inputs):
    model = family.build(fields)
    tokens = torch.cat([inputs["input_ids"], torch.randint(2, 100, (2, 4))], dim=1)
    cache = make_cache(model.config.text_config)
    with torch.no_grad():
        begun = model(**inputs, **{CACHE: cache}, use_cache=True).logits
        steps = [
            model(step, **{CACHE: cache}, use_cache=True).logits
            for step in tokens[:, inputs["input_ids"].shape[1] :].split(1, dim=1)
        ]
        whole = {**inputs, "input_ids": tokens, "mm_token_type_ids": (tokens == IMAGE).int()}
        expected = model(**whole, use_cache=False).logits
    torch.testing.assert_close(torch.cat([begun, *steps], dim=1), expected, atol=5e-6, rtol=1e-5)


@every_kind
def test_every_mode_of_generation_gives_the_greedy_tokens(family, fields, inputs):
    model = family.build(fields)
    expected = greedy(model, inputs, use_cache=False)
    assert torch.equal(greedy(model, inputs, cache_implementation="static", disable_compile=True), expected)
    for cache in (make_cache(model.config.text_config) for make_cache in CACHES.values()):
        assert torch.equal(greedy(model, inputs, **{CACHE: cache}), expected)
    beams = {"num_beams": 3, "num_return_sequences": 3}
    assert torch.equal(greedy(model, inputs, **beams), greedy(model, inputs, use_cache=False, **beams))


@both
def test_the_text_model_compiles_without_a_break(family, inputs):
    model = family.build(family.kinds["mixed"])
    if family is OF_EXPERTS:
        model.set_experts_implementation("batched_mm")
    words, expected = inputs["input_ids"], greedy(model, inputs)
    torch._dynamo.reset()
    text = model.model.language_model
    compiled = torch.compile(text, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(words)[0], text(words)[0], atol=1e-6, rtol=1e-5)
    assert torch.equal(greedy(model, inputs, cache_implementation="static"), expected)


@both
def test_gradient_checkpointing_gives_the_same_gradients(family, inputs):
    plain, checkpointed = (family.build(family.kinds["mixed"]).train() for _ in range(2))
    checkpointed.gradient_checkpointing_enable()
    for model in (plain, checkpointed):
        model(**inputs, labels=inputs["input_ids"]).loss.backward()
    for (name, ours), other in zip(checkpointed.named_parameters(), plain.parameters(), strict=True):
        assert ours.grad is other.grad is None or torch.equal(ours.grad, other.grad), name


@both
def test_recorded_outputs(family, inputs):
    model = family.build(family.kinds["mixed"], "eager")
    outputs = model(**inputs, output_attentions=True, output_hidden_states=True)
    assert len(outputs.hidden_states) == 7 and len(outputs.attentions) == 3
    assert [attention.shape[1] for attention in outputs.attentions] == ([4, 2, 8] if family is DENSE else [4, 4, 4])


def test_experts_implementations_agree(inputs):
    model = OF_EXPERTS.build(OF_EXPERTS.kinds["mixed"])
    model.set_experts_implementation("eager")
    expected = model(**inputs).logits
    for implementation in ("batched_mm", "grouped_mm"):
        model.set_experts_implementation(implementation)
        torch.testing.assert_close(model(**inputs).logits, expected, atol=2e-6, rtol=1e-5)


def test_the_load_balancing_loss_is_the_mean_of_the_layers_own(inputs):
    """Transformers' own function takes one number of experts for all."""
    mixed, stock = OF_EXPERTS.build(OF_EXPERTS.kinds["mixed"]), OF_EXPERTS.parent()
    outputs = mixed(**inputs, labels=inputs["input_ids"], output_router_logits=True)
    config = mixed.config.text_config
    assert [logits.shape[1] for logits in outputs.router_logits] == [4, 6, 3]
    losses = []
    for layer, logits in zip(config.layers_made_of("moe"), outputs.router_logits, strict=True):
        chosen = logits.softmax(-1).topk(config.num_experts_per_tok[layer], -1).indices
        shares = torch.nn.functional.one_hot(chosen, logits.shape[1]).float().mean(0)
        losses.append((shares * logits.softmax(-1).mean(0)).sum() * logits.shape[1])
    torch.testing.assert_close(outputs.aux_loss, torch.stack(losses).mean())
    plain = mixed(**inputs, labels=inputs["input_ids"]).loss
    torch.testing.assert_close(outputs.loss, plain + config.router_aux_loss_coef * outputs.aux_loss)
    uniform = OF_EXPERTS.build(OF_EXPERTS.kinds["uniform"])
    uniform.load_state_dict(stock.state_dict())
    expected, found = (each(**inputs, output_router_logits=True).aux_loss for each in (stock, uniform))
    assert torch.equal(found, expected)


# --- checkpoints ----------------------------------------------------------------------------------------------------


@every_kind
def test_what_is_saved_loads_as_it_was(family, fields, inputs, tmp_path):
    model = family.build(fields)
    model.save_pretrained(tmp_path / "saved")
    again, report = AutoModelForImageTextToText.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not any(report.values()), report
    assert again.config.text_config.to_dict() == {**model.config.text_config.to_dict(), "dtype": "float32"}
    state = again.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(greedy(again.eval(), inputs), greedy(model, inputs))
    again.save_pretrained(tmp_path / "again")
    first, second = ((tmp_path / each / "model.safetensors").read_bytes() for each in ("saved", "again"))
    assert first == second
    base = AutoModel.from_pretrained(tmp_path / "saved")
    assert type(base).__name__ == f"{family.name}Model"
    assert type(base.language_model) is type(model.model.language_model)


def test_experts_are_the_other_way_round_on_disk(tmp_path, inputs):
    """As published: (experts, hidden size, 2 * width)."""
    model = OF_EXPERTS.build(OF_EXPERTS.kinds["mixed"])
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    for name in [name for name in tensors if name.endswith(("experts.gate_up_proj", "experts.down_proj"))]:
        held = model.get_parameter(name)
        tensors[name] = held.detach().transpose(1, 2).contiguous()
        assert tensors[name].shape != held.shape
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    again, report = AutoModelForImageTextToText.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    assert torch.equal(again.eval()(**inputs).logits, model(**inputs).logits)


OVERRIDES = {1: {"skip": ["attention"]}, 2: {"skip": ["attention", "mlp"]}, 3: {"skip": ["mlp"]}}


@both
def test_per_layer_config_of_the_parents_type_is_read(family, parent_folder, inputs):
    fields = family.kinds["uniform"]
    text_config = {**json.loads((parent_folder / "config.json").read_text())["text_config"]}
    rewritten(parent_folder, text_config={**text_config, "per_layer_config": OVERRIDES})
    config = AutoConfig.from_pretrained(parent_folder)
    assert type(config) is family.CONFIG and config.text_config.mixer_types == [
        "attention",
        "none",
        "none",
        "attention",
    ]
    model = AutoModelForImageTextToText.from_pretrained(parent_folder).eval()
    mlps = ["moe", "dense", "none", "none"] if family is OF_EXPERTS else ["dense", "dense", "none", "none"]
    types = {"mixer_types": ["attention", "none", "none", "attention"], "mlp_types": mlps}
    stock_model = StockModel(family, {**fields, **types})
    stock_model.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(greedy(model, inputs), stock_model.greedy(inputs, 8))
    again = family.PARENT.from_pretrained(parent_folder).eval()
    assert type(again.config) is family.CONFIG and torch.equal(again(**inputs).logits, model(**inputs).logits)


@pytest.mark.parametrize("place", ["config", "text_config"])
@both
def test_lists_that_nobody_reads_are_refused(family, parent_folder, place):
    """As pruning tools write them: the stock model would pass over them."""
    blocks = {"block_configs": [{"attention": {"no_op": True}}] * 4}
    text_config = json.loads((parent_folder / "config.json").read_text())["text_config"]
    rewritten(parent_folder, **(blocks if place == "config" else {"text_config": {**text_config, **blocks}}))
    for load in (AutoModelForImageTextToText.from_pretrained, family.PARENT.from_pretrained):
        with pytest.raises(ValueError, match=f"block_configs of a {family}: the layers differ, and nothing reads how"):
            load(parent_folder)


@both
def test_the_text_models_type_inside_the_parents_is_read(family, tmp_path):
    model = family.build(family.kinds["mixed"])
    model.save_pretrained(tmp_path)
    rewritten(tmp_path, model_type=family.PARENT_CONFIG.model_type)
    again = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert again.config.model_type == family.CONFIG.model_type
    assert again.config.text_config.to_dict() == {**model.config.text_config.to_dict(), "dtype": "float32"}
    again = family.PARENT.from_pretrained(tmp_path)
    assert type(again.config) is family.CONFIG
    assert type(again.model.language_model) is type(model.model.language_model)


@both
def test_stock_checkpoints_stay_the_parents(family, parent_folder):
    assert type(AutoConfig.from_pretrained(parent_folder)) is family.PARENT_CONFIG
    model = AutoModelForImageTextToText.from_pretrained(parent_folder)
    assert type(model.model.language_model).__module__.startswith("transformers.models.")


@both
def test_sub_blocks_are_left_out_while_the_parents_checkpoint_loads(family, parent_folder, inputs):
    config = family.CONFIG.from_pretrained(parent_folder)
    config.text_config.per_layer_config = {2: {"skip": ["mlp"]}}
    model, report = AutoModelForImageTextToText.from_pretrained(parent_folder, config=config, output_loading_info=True)
    assert not report["missing_keys"] and report["unexpected_keys"]
    assert all(".layers.2." in name for name in report["unexpected_keys"])
    assert not hasattr(model.model.language_model.layers[2], "mlp")


@both
def test_what_converts_text_models_alone_says_so(family, parent_folder, tmp_path):
    family.build(family.kinds["mixed"]).save_pretrained(tmp_path / "mixed")
    out = tmp_path / "out"
    calls = [
        inspect,
        lambda each: convert(each, out, skip={1: ["mlp"]}),
        lambda each: prune(each, out, {1: {"skip": ["mlp"]}}),
    ]
    for folder, call in itertools.product((parent_folder, tmp_path / "mixed"), calls):
        with pytest.raises(CheckpointError, match="whose text model is one of several") as error:
            call(folder)
        assert "AutoModelForImageTextToText" in str(error.value)
    assert not out.exists()


@both
def test_configs(family):
    old = {**family.config(family.kinds["mixed"]).to_dict()}
    old["vision_config"] = {**old["vision_config"], "model_type": "qwen3_vl"}
    made = family.CONFIG.from_dict(copy.deepcopy(old))
    assert made.vision_config.model_type == f"{family.PARENT_CONFIG.model_type}_vision"
    assert family.CONFIG.from_dict(made.to_dict()).to_dict() == made.to_dict()
    assert type(family.CONFIG().text_config) is family.TEXT
    with pytest.raises(HeterogeneousConfigError) as error:
        family.config({**family.kinds["mixed"], "num_key_value_heads": 3, "mixer_types": ["some", *["attention"] * 5]})
    assert "mixer_types[0] is 'some'" in str(error.value) and "num_key_value_heads = 3" in str(error.value)
    with pytest.raises(HeterogeneousConfigError, match="mlp_types has 1 entries, num_hidden_layers is 6"):
        family.config({**family.kinds["mixed"], "mlp_types": ["none"]})


def test_experts_by_steps_are_the_parents():
    fields = {**OF_EXPERTS.kinds["uniform"], "mlp_only_layers": [3], "decoder_sparse_step": 2}
    assert OF_EXPERTS.TEXT(**fields).mlp_types == ["dense", "moe", "dense", "dense"]
    with pytest.raises(HeterogeneousConfigError, match="decoder_sparse_step is 0"):
        OF_EXPERTS.TEXT(**{**fields, "decoder_sparse_step": 0})
