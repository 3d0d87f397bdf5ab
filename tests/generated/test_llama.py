"""What is particular to heterogeneous_llama; what holds for every family is in test_every_family.py."""

import pytest
import torch

from transformers import (
    AutoModelForCausalLM,
    ContinuousBatchingConfig,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    QuantizedCache,
)
from transformers.distributed import DistributedConfig
from transformers_heterogeneous import (
    HeterogeneousLlamaConfig,
    HeterogeneousLlamaForCausalLM,
    HeterogeneousLlamaForQuestionAnswering,
    HeterogeneousLlamaForSequenceClassification,
    HeterogeneousLlamaForTokenClassification,
)

from .release import CACHE, NO_CACHE, WITHOUT_MIXER, has, needs
from .small import KINDS, MIXED, THINNED, UNIFORM, build
from .stock import StockModel


def kinds(*names: str):
    return pytest.mark.parametrize("fields", [KINDS[name] for name in names or KINDS], ids=names or KINDS.keys())


def greedy(model, tokens, **kwargs):
    """16 new tokens; no early end, so that all modes are compared over the same length."""
    return model.generate(tokens, max_new_tokens=16, do_sample=False, eos_token_id=None, **kwargs)


@pytest.fixture
def llama_folder(tmp_path):
    torch.manual_seed(3)
    LlamaForCausalLM(LlamaConfig(**UNIFORM)).save_pretrained(tmp_path / "llama")
    return tmp_path / "llama"


# --- what is built --------------------------------------------------------------------------------------------------


def test_what_is_not_there_is_not_built(mixed):
    assert list(mixed.model.layers[4].parameters()) == []
    assert not hasattr(mixed.model.layers[0], "self_attn") and not hasattr(mixed.model.layers[0], "input_layernorm")
    assert not hasattr(mixed.model.layers[6], "mlp") and not hasattr(mixed.model.layers[6], "post_attention_layernorm")
    names = set(mixed.state_dict())
    assert {name for name in names if ".layers.3." in name} == {
        "model.layers.3.input_layernorm.weight",
        "model.layers.3.self_attn.linear_attn.weight",
        "model.layers.3.post_attention_layernorm.weight",
        "model.layers.3.mlp.linear_mlp.weight",
    }


def test_one_mask_a_kind_and_window(mixed):
    full, sliding = "full_attention", "sliding_attention"
    assert mixed.config.per_layer_config.distinct_mixers == {(full, None): 1, (sliding, 5): 2, (sliding, 9): 5}
    masks = mixed.create_masks_for_generate(mixed.config, torch.zeros(1, 12, 64), None)
    assert masks.keys() == {full, sliding} | WITHOUT_MIXER and masks[sliding].keys() == {5, 9}
    thinned = build({**THINNED, "sliding_window": [None, None, 4, None, 4]})
    assert thinned.create_masks_for_generate(thinned.config, torch.zeros(1, 12, 64), None)[sliding].shape == (
        1,
        1,
        12,
        12,
    )


def test_attention_implementation_can_be_changed(mixed, tokens):
    before = mixed(tokens).logits
    mixed.set_attn_implementation("sdpa")
    assert {layer.self_attn.config._attn_implementation for layer in mixed.model.layers[5:8]} == {"sdpa"}
    torch.testing.assert_close(mixed(tokens).logits, before, atol=1e-6, rtol=1e-5)


def test_ranks_that_do_not_divide_the_heads_are_refused():
    config = HeterogeneousLlamaConfig(**{**UNIFORM, "num_key_value_heads": [2, 1, 4, 1]})
    config.distributed_config = DistributedConfig(tp_size=2)
    with pytest.raises(
        ValueError, match=r"tp_size = 2 does not divide num_key_value_heads of these layers: \{1: 1, 3: 1\}"
    ):
        HeterogeneousLlamaForCausalLM(config)
    config.distributed_config = DistributedConfig(tp_size=1)
    HeterogeneousLlamaForCausalLM(config)


# --- caches ---------------------------------------------------------------------------------------------------------


def test_layers_without_attention_take_no_cache_memory(mixed, tokens):
    cache = getattr(mixed(tokens, use_cache=True), CACHE)
    shapes = [None if (keys := getattr(layer, "keys", None)) is None else tuple(keys.shape) for layer in cache.layers]
    # a window of w needs the w - 1 positions before the next token
    assert shapes == [None, (2, 4, 14, 16), (2, 2, 4, 16), None, None, (2, 1, 8, 16), (2, 1, 14, 16), (2, 2, 14, 16)]


@needs("fp8_cache")
def test_quantized_cache(tokens):
    """It holds layers of different geometry; layers without a cache are what upstream refuses."""
    varied = build({**UNIFORM, "num_key_value_heads": [2, 1, 4, 2]}, attn_implementation="sdpa")
    cache = QuantizedCache(backend="fp8", config=varied.config)
    with torch.no_grad():
        steps = [varied(part, **{CACHE: cache}, use_cache=True).logits for part in tokens.split(7, dim=1)]
        torch.testing.assert_close(torch.cat(steps, dim=1), varied(tokens).logits, atol=2e-2, rtol=0)
    with pytest.raises(ValueError, match=rf"only full attention layers.*'{NO_CACHE}'"):
        QuantizedCache(backend="fp8", config=build(THINNED).config)


# --- generation -----------------------------------------------------------------------------------------------------


@kinds()
def test_early_exit_gives_the_greedy_tokens(fields, tokens):
    model = build(fields, attn_implementation="sdpa")
    expected = greedy(model, tokens[:1])
    assert torch.equal(greedy(model, tokens[:1], assistant_early_exit=3), expected)


def test_early_exit_before_any_attention_is_refused(mixed, tokens):
    with pytest.raises(ValueError, match="assistant_early_exit = 1: no layer before it attends, 2 is the least"):
        greedy(mixed, tokens[:1], assistant_early_exit=1)
    assert mixed.config.num_hidden_layers == 8


def test_a_dict_of_masks_must_have_them_all(mixed, tokens):
    with pytest.raises(KeyError, match=r"sliding_attention|conv"):
        mixed(tokens, attention_mask={"full_attention": None})


def test_packed_sequences_do_not_see_each_other(mixed, tokens):
    lengths = (9, 5)
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    packed = mixed(tokens[:1], position_ids=positions, use_cache=False).logits[0]
    alone = [mixed(part).logits[0] for part in tokens[:1].split(lengths, dim=1)]
    torch.testing.assert_close(packed, torch.cat(alone), atol=2e-6, rtol=1e-5)


@kinds("uniform", "thinned", "windowed", "half_windowed")
def test_continuous_batching_gives_the_greedy_tokens(fields, tokens):
    model = build(fields, attn_implementation="sdpa")
    if "none" in model.config.mixer_types and not has("paged_layers_without_attention"):
        with pytest.raises(ValueError, match=r"no place for layers without attention.*before transformers"):
            model.generate_batch(inputs=tokens.tolist())
        return
    expected = greedy(model, tokens)
    options = GenerationConfig(max_new_tokens=16, do_sample=False, eos_token_id=-1, pad_token_id=0)
    outputs = model.generate_batch(
        inputs=tokens.tolist(),
        generation_config=options,
        continuous_batching_config=ContinuousBatchingConfig(num_blocks=16, max_batch_tokens=64),
    )
    generated = sorted(tuple(output.generated_tokens) for output in outputs.values())
    assert generated == sorted(tuple(row) for row in expected[:, 14:].tolist())


def test_continuous_batching_refuses_what_upstream_cannot_hold(mixed, tokens):
    query_heads = build({**UNIFORM, "num_attention_heads": [4, 2, 4, 2]})
    with pytest.raises(ValueError, match=r"num_attention_heads = \[4, 2, 4, 2\]"):
        query_heads.generate_batch(inputs=tokens.tolist())
    with pytest.raises(ValueError, match=r"num_key_value_heads = \[None, 4, 2.*sliding_window = .*Use `generate`"):
        mixed.generate_batch(inputs=tokens.tolist())


# --- compile, training ----------------------------------------------------------------------------------------------


def test_recorded_outputs(mixed, tokens):
    outputs = mixed(tokens, output_attentions=True, output_hidden_states=True)
    assert len(outputs.hidden_states) == 9
    assert [tuple(attention.shape) for attention in outputs.attentions] == [
        (2, heads, 14, 14) for heads in (4, 4, 4, 2, 4)
    ]
    assert torch.equal(outputs.hidden_states[5], outputs.hidden_states[4])  # the layer with nothing in it


# --- saving and loading ---------------------------------------------------------------------------------------------


def test_tied_embeddings(tmp_path, tokens):
    model = build({**MIXED, "tie_word_embeddings": True})
    assert model.lm_head.weight is model.model.embed_tokens.weight
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager").eval()
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight
    assert torch.equal(loaded(tokens).logits, model(tokens).logits)


def test_an_empty_layer_on_disk(tmp_path, tokens):
    model = build(MIXED)
    model.save_pretrained(tmp_path / "model")
    places = dict.fromkeys(("model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head"), "cpu")
    places |= {f"model.layers.{layer_idx}": "disk" if layer_idx in (4, 5) else "cpu" for layer_idx in range(8)}
    loaded = AutoModelForCausalLM.from_pretrained(
        tmp_path / "model", device_map=places, offload_folder=tmp_path / "offload", attn_implementation="eager"
    ).eval()
    assert torch.equal(loaded(tokens).logits, model(tokens).logits)


def test_layers_of_a_plain_llama_are_overridden_on_the_fly(llama_folder, tmp_path, tokens, caplog):
    loaded, report = HeterogeneousLlamaForCausalLM.from_pretrained(
        llama_folder,
        per_layer_config={1: {"skip": ["attention"]}, 3: {"skip": ["mlp"]}},
        output_loading_info=True,
        attn_implementation="eager",
    )
    unused = {f"model.layers.1.self_attn.{name}_proj.weight" for name in "qkvo"} | {
        "model.layers.1.input_layernorm.weight"
    }
    unused |= {f"model.layers.3.mlp.{name}_proj.weight" for name in ("gate", "up", "down")}
    unused |= {"model.layers.3.post_attention_layernorm.weight"}
    assert set(report["unexpected_keys"]) == unused and not report["missing_keys"]
    loaded.save_pretrained(tmp_path / "saved")
    again, report = AutoModelForCausalLM.from_pretrained(
        tmp_path / "saved", output_loading_info=True, attn_implementation="eager"
    )
    assert again.config.model_type == "heterogeneous_llama" and not any(report.values())
    assert torch.equal(again.eval()(tokens).logits, loaded.eval()(tokens).logits)
    stock = StockModel(
        {
            **UNIFORM,
            "mixer_types": ["attention", "none", "attention", "attention"],
            "mlp_types": ["dense", "dense", "dense", "none"],
        }
    )
    stock.load_state_dict(loaded.state_dict(), strict=True)
    assert torch.equal(loaded(tokens).logits, stock(tokens))


def test_a_width_that_the_file_does_not_have_is_not_made_up(llama_folder):
    override = {3: {"intermediate_size": 48}}
    with pytest.raises(RuntimeError, match="mismatch"):
        HeterogeneousLlamaForCausalLM.from_pretrained(llama_folder, per_layer_config=override)


def test_a_mismatch_is_loaded_and_reported_when_asked_for(llama_folder, tmp_path):
    loaded, report = HeterogeneousLlamaForCausalLM.from_pretrained(
        llama_folder,
        per_layer_config={1: {"skip": ["attention"]}, 3: {"intermediate_size": 48, "num_key_value_heads": 2}},
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    names = {f"model.layers.3.mlp.{name}_proj.weight" for name in ("gate", "up", "down")}
    assert {key[0] for key in report["mismatched_keys"]} == names
    assert len(report["unexpected_keys"]) == 5 and not report["missing_keys"]
    loaded.save_pretrained(tmp_path / "saved")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert again.config.intermediate_size == [96, 96, 96, 48]
    assert again.config.mixer_types == ["attention", "none", "attention", "attention"]


def test_narrower_layers_of_a_file_load_through_the_override(llama_folder, tmp_path, tokens):
    override = {3: {"intermediate_size": 48}, 2: {"num_key_value_heads": 1}}
    config = HeterogeneousLlamaConfig(**UNIFORM, per_layer_config=override)
    config._attn_implementation = "eager"
    narrow = HeterogeneousLlamaForCausalLM(config).eval()
    narrow.save_pretrained(tmp_path / "narrow")
    LlamaConfig(**UNIFORM).save_pretrained(tmp_path / "narrow")  # as Puzzletron leaves it: the base model's config
    loaded = HeterogeneousLlamaForCausalLM.from_pretrained(
        tmp_path / "narrow", per_layer_config=override, attn_implementation="eager"
    ).eval()
    assert torch.equal(loaded(tokens).logits, narrow(tokens).logits)


HEADS = {
    HeterogeneousLlamaForSequenceClassification: (2, 2),
    HeterogeneousLlamaForTokenClassification: (2, 14, 2),
    HeterogeneousLlamaForQuestionAnswering: (2, 14),
}


@pytest.mark.parametrize(("model_class", "shape"), HEADS.items(), ids=lambda value: getattr(value, "__name__", None))
def test_heads_load_from_the_causal_checkpoint(model_class, shape, mixed, tmp_path, tokens):
    mixed.save_pretrained(tmp_path)
    model, report = model_class.from_pretrained(tmp_path, output_loading_info=True, attn_implementation="eager")
    outputs = model.eval()(tokens)
    logits = outputs.start_logits if "start_logits" in outputs else outputs.logits
    assert tuple(logits.shape) == shape
    assert not [key for key in report["missing_keys"] if "layers" in key]
