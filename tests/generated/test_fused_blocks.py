"""Fused blocks: the same numbers, and checkpoints that do not know of them."""

import re
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file

from transformers import AutoModelForCausalLM
from transformers_heterogeneous import (
    HeterogeneousGptOssForSequenceClassification,
    HeterogeneousGptOssForTokenClassification,
    HeterogeneousGptOssModel,
    HeterogeneousGraniteMoeHybridModel,
    HeterogeneousLlamaForQuestionAnswering,
    HeterogeneousLlamaForSequenceClassification,
    HeterogeneousLlamaForTokenClassification,
    HeterogeneousLlamaModel,
)

from . import small, small_gpt_oss, small_granite_moe_hybrid, small_nemotron_h


FUSED = ["norm_mlp", "none", "add_norm", "norm_mlp"]
EAGER = {"attn_implementation": "eager"}


@dataclass
class Family:
    """What the tests have to know of a family: its models of four layers, and where the norm goes."""

    small: ModuleType
    others: tuple[type, ...]  # than the one for causal language models
    fields: dict = field(default_factory=dict)
    mlp: str = "mlp"
    projection: str = "mlp.gate_proj"
    experts: dict = field(default_factory=dict)

    def build(self, fused_blocks=None, fields: dict | None = None, **kwargs):
        return self.small.build({**(fields or self.fields), "fused_blocks": fused_blocks}, **kwargs)

    def load(self, folder, model_class=None, **kwargs):
        """A model for which no key was missing or unexpected."""
        model_class = model_class or self.small.CAUSAL
        model, report = model_class.from_pretrained(folder, output_loading_info=True, **EAGER, **kwargs)
        assert not any(report.values()), report
        return model.eval()


FAMILIES = {
    "llama": Family(
        small,
        (
            HeterogeneousLlamaModel,
            HeterogeneousLlamaForQuestionAnswering,
            HeterogeneousLlamaForSequenceClassification,
            HeterogeneousLlamaForTokenClassification,
        ),
        small.UNIFORM,
    ),
    "gpt_oss": Family(
        small_gpt_oss,
        (
            HeterogeneousGptOssModel,
            HeterogeneousGptOssForSequenceClassification,
            HeterogeneousGptOssForTokenClassification,
        ),
        small_gpt_oss.UNIFORM,
        projection="self_attn.q_proj",  # its experts are parameters, not modules
        experts={"_experts_implementation": "batched_mm"},
    ),
    "granite_moe_hybrid": Family(
        small_granite_moe_hybrid,
        (HeterogeneousGraniteMoeHybridModel,),
        # One layer with experts, whose names the checkpoint does not have
        {**small_granite_moe_hybrid.UNIFORM, "mlp_types": ["dense", "moe", "moe", "dense"]},
        mlp="shared_mlp",
        projection="shared_mlp.input_linear",
        experts={"_experts_implementation": "batched_mm"},
    ),
}


@pytest.fixture(params=FAMILIES)
def family(request):
    return FAMILIES[request.param]


@pytest.fixture
def plain(family, tmp_path):
    """An ordinary model and its checkpoint."""
    model = family.build()
    with torch.no_grad():  # norms that are all ones would be the same one
        for name, parameter in model.named_parameters():
            if "layernorm" in name:
                parameter.add_(torch.rand(parameter.shape))
    model.save_pretrained(tmp_path / "plain")
    return model, tmp_path / "plain"


def files(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


@pytest.mark.parametrize("fused_blocks", [FUSED, "norm_mlp", "add_norm"], ids=str)
def test_logits_and_gradients_are_those_of_the_plain_layers(family, plain, tokens, fused_blocks):
    model, folder = plain
    fused = family.load(folder, fused_blocks=fused_blocks)
    assert fused.config.fused_blocks is not None
    for side in (model, fused):
        side(tokens, labels=tokens).loss.backward()
    assert torch.equal(fused(tokens).logits, model(tokens).logits)
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    for name, parameter in fused.named_parameters():
        assert torch.equal(parameter.grad, gradients[name.replace(f"{family.mlp}.norm", "post_attention_layernorm")])


def test_layers_of_every_kind(family, tokens):
    """Each fused as it can be."""
    fields = family.small.MIXED
    model = family.build(fields=fields)
    for fused_block in ("norm_mlp", "add_norm"):
        fused = family.build(fused_block, fields)
        state_dict = model.state_dict()
        for name in fused.state_dict().keys() - state_dict.keys():
            state_dict[name] = state_dict.pop(name.replace(f"{family.mlp}.norm", "post_attention_layernorm"))
        fused.load_state_dict(state_dict)
        assert torch.equal(fused(tokens).logits, model(tokens).logits)
        padded = torch.ones_like(tokens)
        padded[0, :5] = 0
        options = {"max_new_tokens": 6, "do_sample": False, "attention_mask": padded}
        assert torch.equal(fused.generate(tokens, **options), model.generate(tokens, **options))


def test_a_fused_model_saves_an_ordinary_checkpoint(family, plain, tmp_path):
    _, folder = plain
    family.load(folder, fused_blocks=FUSED).save_pretrained(tmp_path / "fused")
    assert files(tmp_path / "fused") == files(folder)
    config = family.small.CONFIG.from_pretrained(tmp_path / "fused")
    assert config.fused_blocks == FUSED
    assert "fused_blocks" not in family.small.CONFIG.from_pretrained(folder).to_dict()
    assert "fused_blocks" not in (folder / "config.json").read_text()


def test_from_scratch(family, tmp_path, tokens):
    """Built, not loaded, after and before ones that are fused otherwise."""
    family.build("norm_mlp")
    fused = family.build(FUSED)
    family.build()
    fused.save_pretrained(tmp_path / "fused")
    assert torch.equal(family.load(tmp_path / "fused")(tokens).logits, fused(tokens).logits)
    unfused = family.load(tmp_path / "fused", AutoModelForCausalLM, fused_blocks="none")
    assert unfused.config.fused_blocks is None
    assert torch.equal(unfused(tokens).logits, fused(tokens).logits)


@pytest.mark.parametrize("max_shard_size", ["5GB", "20KB"])
def test_the_fused_layout_on_disk(family, plain, tmp_path, tokens, max_shard_size):
    model, folder = plain
    fused = family.load(folder, fused_blocks=FUSED)
    fused.save_pretrained(tmp_path / "fused", save_original_format=False, max_shard_size=max_shard_size)
    names = {name for shard in (tmp_path / "fused").glob("*.safetensors") for name in load_file(shard)}
    moved = {f"model.layers.{layer_idx}.{family.mlp}.norm.weight" for layer_idx in (0, 3)}
    assert {name for name in names if f"{family.mlp}.norm" in name} == moved
    assert not {name.replace(f"{family.mlp}.norm", "post_attention_layernorm") for name in moved} & names
    for number, fused_blocks in enumerate((FUSED, "none", "add_norm", "norm_mlp")):
        loaded = family.load(tmp_path / "fused", fused_blocks=fused_blocks)
        assert torch.equal(loaded(tokens).logits, model(tokens).logits)
        loaded.save_pretrained(tmp_path / str(number))
        back = load_file(tmp_path / str(number) / "model.safetensors")
        # Granite's experts keep the names that the file had, the norms have their own again
        assert {name for name in back if "norm" in name} == {name for name in model.state_dict() if "norm" in name}


@pytest.mark.parametrize("layout", [True, False], ids=["ordinary", "fused"])
def test_other_heads_find_the_norms(family, plain, tmp_path, layout, tokens):
    _, folder = plain
    fused = family.load(folder, fused_blocks=FUSED)
    fused.save_pretrained(tmp_path / "fused", save_original_format=layout, max_shard_size="20KB")
    expected = fused.model(tokens).last_hidden_state
    for model_class in family.others:
        for fused_blocks in (FUSED, "none", "norm_mlp"):
            loaded, report = model_class.from_pretrained(
                tmp_path / "fused", output_loading_info=True, fused_blocks=fused_blocks, **EAGER
            )
            assert not [key for key in report["missing_keys"] if "layers" in key]
            assert set(report["unexpected_keys"]) <= {"lm_head.weight"}
            assert not report["mismatched_keys"]
            assert torch.equal(loaded.eval().base_model(tokens).last_hidden_state, expected)


def test_a_base_models_file(family, plain, tmp_path, tokens):
    """The other way round, and saved from within a larger model."""
    _, folder = plain
    fused = family.load(folder, fused_blocks=FUSED)
    fused.model.save_pretrained(tmp_path / "base")
    for fused_blocks in (FUSED, "none"):
        loaded, report = family.small.CAUSAL.from_pretrained(
            tmp_path / "base", output_loading_info=True, fused_blocks=fused_blocks, **EAGER
        )
        assert set(report["missing_keys"]) <= {"lm_head.weight"} and not report["unexpected_keys"]
        hidden_states = fused.model(tokens).last_hidden_state
        assert torch.equal(loaded.eval().model(tokens).last_hidden_state, hidden_states)


@pytest.mark.parametrize("fused_blocks", ["norm_mlp", "add_norm"])
def test_a_parents_folder(family, tmp_path, tokens, fused_blocks):
    torch.manual_seed(3)
    fields = family.small.UNIFORM
    if fused_blocks == "norm_mlp":
        fields = getattr(family.small, "DENSE", fields)
    parent = family.small.PARENT(family.small.PARENT_CONFIG(**fields)).eval()
    parent.save_pretrained(tmp_path / "parent")
    fused = family.load(tmp_path / "parent", fused_blocks=fused_blocks)
    assert fused.config.fused_blocks == [fused_blocks] * 4
    assert torch.equal(
        fused(tokens).logits, family.small.PARENT.from_pretrained(tmp_path / "parent", **EAGER).eval()(tokens).logits
    )
    fused.save_pretrained(tmp_path / "fused")
    assert files(tmp_path / "fused") == files(tmp_path / "parent")


def test_differently_fused_models_alive(family, plain, tmp_path, tokens):
    model, folder = plain
    others = [family.load(folder, fused_blocks=fused_blocks) for fused_blocks in (FUSED, "none", "norm_mlp")]
    for number, other in enumerate(others):
        assert torch.equal(other(tokens).logits, model(tokens).logits)
        other.save_pretrained(tmp_path / str(number))
        assert files(tmp_path / str(number)) == files(folder)


def test_another_depth(family, plain, tokens):
    _, folder = plain
    family.load(folder, fused_blocks=FUSED).save_pretrained(folder)
    lists = {
        name: values[:2]
        for name in ("mixer_types", "mlp_types")
        if len(set(values := getattr(family.small.CONFIG.from_pretrained(folder), name))) > 1
    }
    config = family.small.CONFIG.from_pretrained(folder, num_hidden_layers=2, **lists)
    assert config.fused_blocks == ["norm_mlp", "none"]
    config = family.small.CONFIG.from_pretrained(folder, num_hidden_layers=2, fused_blocks="none", **lists)
    assert config.fused_blocks is None
    if not lists and config.sliding_window is None:  # else it is said what the new layers are
        config = family.small.CONFIG.from_pretrained(folder, num_hidden_layers=6)
        assert config.fused_blocks == [*FUSED, "none", "none"]


def test_overrides_of_layers_are_as_before(family, plain, tokens):
    _, folder = plain
    overrides = {1: {"skip": ["attention"]}}
    load = partial(family.small.CAUSAL.from_pretrained, folder, output_loading_info=True, **EAGER)
    fused, report = load(fused_blocks=FUSED, per_layer_config=overrides)
    plain, plain_report = load(per_layer_config=overrides)
    assert report == plain_report and not report["missing_keys"]
    assert fused.config.mixer_types == plain.config.mixer_types and fused.config.mixer_types[1] == "none"
    assert torch.equal(fused.eval()(tokens).logits, plain.eval()(tokens).logits)
    with pytest.raises(Exception, match=r"fused_blocks\[0\] is 'norm_mlp'"):
        load(fused_blocks=FUSED, per_layer_config={0: {"skip": ["mlp"]}})


def test_compiles_without_a_break(family, tokens):
    model = family.build(FUSED, attn_implementation="eager")
    for name, value in family.experts.items():
        setattr(model.config, name, value)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(tokens).logits, model(tokens).logits, atol=1e-6, rtol=1e-5)


def test_norms_have_their_dtype(family, plain):
    """Those of gpt-oss are float32 in a bfloat16 model, wherever they are."""
    _, folder = plain
    fused, unfused = (family.load(folder, fused_blocks=blocks, dtype=torch.bfloat16) for blocks in (FUSED, "none"))
    dtypes = {name: parameter.dtype for name, parameter in unfused.named_parameters()}
    for name, parameter in fused.named_parameters():
        assert parameter.dtype == dtypes[name.replace(f"{family.mlp}.norm", "post_attention_layernorm")], name


def planned(model) -> dict[str, str]:
    """What the plans of tensor and expert parallelism say of each module and parameter."""
    plan = model.tp_plan | model.ep_plan
    names = [name for name, _ in (*model.named_modules(), *model.named_parameters())]
    return {
        name: style
        for pattern, style in plan.items()
        for name in names
        if re.fullmatch(re.escape(pattern).replace(r"\*", r"\d+"), name)
    }


def test_plans_find_their_weights(family, plain):
    model, folder = plain
    fused = family.load(folder, fused_blocks=FUSED)
    assert planned(model) and planned(fused) == planned(model)


def test_adapters_are_for_both(family, plain, tmp_path, tokens):
    model, folder = plain
    lora = LoraConfig(target_modules=[family.projection.split(".")[-1]], init_lora_weights=False)
    torch.manual_seed(0)
    adapted = get_peft_model(family.load(folder, fused_blocks=FUSED), lora)
    adapted.save_pretrained(tmp_path / "adapter")
    other = PeftModel.from_pretrained(family.load(folder), tmp_path / "adapter")
    expected = adapted.eval()(tokens).logits
    assert torch.equal(other.eval()(tokens).logits, expected)
    assert not torch.equal(model(tokens).logits, expected)
    merged = adapted.merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    again = family.load(tmp_path / "merged", fused_blocks="none")
    assert torch.equal(again(tokens).logits, merged(tokens).logits)


def test_every_mistake_is_named():
    mixed = small.MIXED
    fused_blocks = ["add_norm", "none", "both", "norm_mlp", "none", "none", "add_norm", "none"]
    with pytest.raises(Exception, match=r"fused_blocks\[3\] is 'norm_mlp'.*'linear' and 'linear'") as error:
        small.build({**mixed, "fused_blocks": fused_blocks})
    for layer in ("fused_blocks[0] is 'add_norm'", "fused_blocks[2] is 'both'", "fused_blocks[6] is 'add_norm'"):
        assert layer in str(error.value)
    with pytest.raises(Exception, match="fused_blocks has 1 entries, num_hidden_layers is 8"):
        small.build({**mixed, "fused_blocks": ["none"]})
    with pytest.raises(Exception, match="fused_blocks is 'normmlp', allowed are"):
        small.build({**mixed, "fused_blocks": "normmlp"})


def test_a_norm_that_feeds_two_sub_blocks_is_not_fused():
    granite = small_granite_moe_hybrid
    with pytest.raises(Exception, match=r"fused_blocks\[1\] is 'norm_mlp'.*'attention' and 'moe', needed.*'dense'"):
        granite.build({**granite.UNIFORM, "fused_blocks": ["none", "norm_mlp", "none", "none"]})
    with pytest.raises(Exception, match=r"fused_blocks is 'norm_mlp': but no layer's mixer and MLP are.*'dense'"):
        granite.build({**granite.UNIFORM, "fused_blocks": "norm_mlp"})


@pytest.mark.parametrize("fused_blocks", ["norm_mlp", ["none", "add_norm", *["none"] * 4]], ids=str)
def test_layers_of_one_sub_block_have_nothing_to_fuse(fused_blocks):
    with pytest.raises(Exception, match=r"fused_blocks is .*: the layers of this family have no blocks that fuse"):
        small_nemotron_h.build({**small_nemotron_h.UNIFORM, "fused_blocks": fused_blocks})
    assert small_nemotron_h.build({**small_nemotron_h.UNIFORM, "fused_blocks": "none"}).config.fused_blocks is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("llama", ["norm_mlp", "norm_mlp", "norm_mlp", "none", "none", "norm_mlp", "none", "norm_mlp"]),
        ("gpt_oss", ["norm_mlp", "norm_mlp", "norm_mlp", "none", "none", "norm_mlp", "norm_mlp", "norm_mlp"]),
        ("granite_moe_hybrid", ["none", "norm_mlp", "none", "none", "none", "norm_mlp", "none", "none"]),
    ],
)
def test_one_name_is_for_the_layers_that_have_the_sub_blocks(name, expected):
    family = FAMILIES[name]
    assert family.small.CONFIG(**family.small.MIXED, fused_blocks="norm_mlp").fused_blocks == expected


def test_one_name_is_set_on_a_finished_config(tmp_path):
    config = small.CONFIG(**small.UNIFORM)
    config.fused_blocks = "norm_mlp"
    config.save_pretrained(tmp_path)
    assert small.CONFIG.from_pretrained(tmp_path).fused_blocks == ["norm_mlp"] * config.num_hidden_layers
    config.fused_blocks = "none"
    config.save_pretrained(tmp_path)
    assert small.CONFIG.from_pretrained(tmp_path).fused_blocks is None
