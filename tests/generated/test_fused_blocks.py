"""Fused blocks: the same numbers, and checkpoints that do not know of them."""

import pytest
import torch
from safetensors.torch import load_file
from small import KINDS, UNIFORM, build

from transformers import AutoModelForCausalLM
from transformers_heterogeneous import (
    HeterogeneousLlamaConfig,
    HeterogeneousLlamaForCausalLM,
    HeterogeneousLlamaForSequenceClassification,
    HeterogeneousLlamaModel,
)


FUSED = ["norm_mlp", "none", "add_norm", "norm_mlp"]
EAGER = {"attn_implementation": "eager"}


def files(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


@pytest.fixture
def plain(tmp_path):
    """An ordinary model and its checkpoint."""
    model = build(UNIFORM)
    model.save_pretrained(tmp_path / "plain")
    return model, tmp_path / "plain"


@pytest.mark.parametrize("fused_blocks", [FUSED, "norm_mlp", "add_norm"], ids=str)
def test_logits_and_gradients_are_those_of_the_plain_layers(plain, tokens, fused_blocks):
    model, folder = plain
    fused, report = HeterogeneousLlamaForCausalLM.from_pretrained(
        folder, fused_blocks=fused_blocks, output_loading_info=True, **EAGER
    )
    assert not any(report.values()), report
    for side in (model, fused.eval()):
        side(tokens, labels=tokens).loss.backward()
    assert torch.equal(fused(tokens).logits, model(tokens).logits)
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    for name, parameter in fused.named_parameters():
        assert torch.equal(parameter.grad, gradients[name.replace("mlp.norm", "post_attention_layernorm")]), name


def test_a_fused_model_saves_an_ordinary_checkpoint(plain, tmp_path):
    _, folder = plain
    fused = HeterogeneousLlamaForCausalLM.from_pretrained(folder, fused_blocks=FUSED)
    fused.save_pretrained(tmp_path / "fused")
    assert files(tmp_path / "fused") == files(folder)
    config = HeterogeneousLlamaConfig.from_pretrained(tmp_path / "fused")
    assert config.fused_blocks == FUSED
    assert "fused_blocks" not in HeterogeneousLlamaConfig.from_pretrained(folder).to_dict()


def test_from_scratch(plain, tmp_path, tokens):
    """Built, not loaded, after one that is fused otherwise."""
    build({**UNIFORM, "fused_blocks": "norm_mlp"})
    fused = build({**UNIFORM, "fused_blocks": FUSED})
    build(UNIFORM)
    fused.save_pretrained(tmp_path / "fused")
    again, report = AutoModelForCausalLM.from_pretrained(tmp_path / "fused", output_loading_info=True, **EAGER)
    assert not any(report.values())
    assert torch.equal(again.eval()(tokens).logits, fused(tokens).logits)
    unfused = AutoModelForCausalLM.from_pretrained(tmp_path / "fused", fused_blocks="none", **EAGER).eval()
    assert unfused.config.fused_blocks is None
    assert torch.equal(unfused(tokens).logits, fused(tokens).logits)


def test_the_fused_layout_on_disk(plain, tmp_path, tokens):
    model, folder = plain
    fused = HeterogeneousLlamaForCausalLM.from_pretrained(folder, fused_blocks=FUSED, **EAGER)
    fused.save_pretrained(tmp_path / "fused", save_original_format=False)
    names = set(load_file(tmp_path / "fused" / "model.safetensors"))
    assert {name for name in names if "mlp.norm" in name} == {
        "model.layers.0.mlp.norm.weight",
        "model.layers.3.mlp.norm.weight",
    }
    for fused_blocks in (FUSED, "none", "add_norm", "norm_mlp"):
        loaded, report = AutoModelForCausalLM.from_pretrained(
            tmp_path / "fused", fused_blocks=fused_blocks, output_loading_info=True, **EAGER
        )
        assert not any(report.values()), (fused_blocks, report)
        assert torch.equal(loaded.eval()(tokens).logits, model(tokens).logits)


@pytest.mark.parametrize("layout", [True, False], ids=["ordinary", "fused"])
@pytest.mark.parametrize("model_class", [HeterogeneousLlamaModel, HeterogeneousLlamaForSequenceClassification])
def test_other_heads_find_the_norms(plain, tmp_path, model_class, layout, tokens):
    _, folder = plain
    fused = HeterogeneousLlamaForCausalLM.from_pretrained(folder, fused_blocks=FUSED, **EAGER).eval()
    fused.save_pretrained(tmp_path / "fused", save_original_format=layout)
    loaded, report = model_class.from_pretrained(tmp_path / "fused", output_loading_info=True, **EAGER)
    assert not [key for key in report["missing_keys"] if "layers" in key]
    assert set(report["unexpected_keys"]) <= {"lm_head.weight"}
    expected = fused.model(tokens).last_hidden_state
    assert torch.equal(loaded.eval().base_model(tokens).last_hidden_state, expected)


def test_two_differently_fused_models_alive(plain, tmp_path, tokens):
    model, folder = plain
    others = [
        HeterogeneousLlamaForCausalLM.from_pretrained(folder, fused_blocks=fused_blocks, **EAGER).eval()
        for fused_blocks in (FUSED, "none", "norm_mlp")
    ]
    for number, other in enumerate(others):
        assert torch.equal(other(tokens).logits, model(tokens).logits)
        other.save_pretrained(tmp_path / str(number))
        assert files(tmp_path / str(number)) == files(folder)


def test_compiles_without_a_break(tokens):
    model = build({**KINDS["mixed"], "fused_blocks": "norm_mlp"}, attn_implementation="sdpa")
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(tokens).logits, model(tokens).logits, atol=1e-6, rtol=1e-5)


def test_every_mistake_is_named():
    mixed = KINDS["mixed"]
    with pytest.raises(Exception, match=r"fused_blocks\[3\] is 'norm_mlp'.*'linear' and 'linear'") as error:
        build({**mixed, "fused_blocks": ["add_norm", "none", "both", "norm_mlp", "none", "none", "add_norm", "none"]})
    for layer in ("fused_blocks[0] is 'add_norm'", "fused_blocks[2] is 'both'", "fused_blocks[6] is 'add_norm'"):
        assert layer in str(error.value)
    with pytest.raises(Exception, match="fused_blocks has 1 entries, num_hidden_layers is 8"):
        build({**mixed, "fused_blocks": ["none"]})
    with pytest.raises(Exception, match="fused_blocks is 'normmlp', allowed are"):
        build({**mixed, "fused_blocks": "normmlp"})


def test_one_name_is_for_the_layers_that_have_the_sub_blocks():
    config = HeterogeneousLlamaConfig(**KINDS["mixed"], fused_blocks="norm_mlp")
    assert config.fused_blocks == ["norm_mlp", "norm_mlp", "norm_mlp", "none", "none", "norm_mlp", "none", "norm_mlp"]
