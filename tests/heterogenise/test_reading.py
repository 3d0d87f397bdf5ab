"""What is read off a parent: residual blocks, sizes, kinds of MLP; and which part is named where it is something else."""

import textwrap
from pathlib import Path

import pytest

import transformers
from transformers_heterogeneous.scripts.heterogenise.parent import DoesNotFit, OutsideScope, read_parent
from transformers_heterogeneous.scripts.heterogenise.planning import plan_family
from transformers_heterogeneous.scripts.modular_converter.syntax.tree import code


CONFIG = """
from transformers import PreTrainedConfig


class ToyConfig(PreTrainedConfig):
    model_type = "toy"
    attribute_map = {"num_local_experts": "num_experts"}

    hidden_size: int = 32
    intermediate_size: int = 64
    num_attention_heads: int = 4
    num_key_value_heads: int | None = None
    head_dim: int = 8
    num_experts: int = 4
    top_k: int = 2
    dropout: float = 0.0
    first_dense: int = 1
    num_hidden_layers: int = 2
{more}

__all__ = ["ToyConfig"]
"""
MODELING = """
import torch
from torch import nn

from .configuration_toy import ToyConfig


class ToyNorm(nn.Module):
    def __init__(self, size):
        self.weight = nn.Parameter(torch.ones(size))


class ToyMLP(nn.Module):
    def __init__(self, config, intermediate_size=None):
        width = config.intermediate_size if intermediate_size is None else intermediate_size
        self.up = nn.Linear(config.hidden_size, width)
        self.down = nn.Linear(width, config.hidden_size)


class ToyMoE(nn.Module):
    def __init__(self, config):
        self.top_k = config.top_k
        self.gate = nn.Linear(config.hidden_size, config.num_local_experts)
        self.experts = nn.ModuleList([ToyMLP(config, intermediate_size=8) for _ in range(config.num_experts)])

    def forward(self, x):
        return torch.topk(self.gate(x), self.top_k)


class ToyAttention(nn.Module):
    def __init__(self, config, layer_idx):
        self.groups = config.num_attention_heads // config.num_key_value_heads
        self.q = nn.Linear(config.hidden_size, config.num_attention_heads * config.head_dim)
        self.k = nn.Linear(config.hidden_size, config.num_key_value_heads * config.head_dim)
        self.o = nn.Linear(config.num_attention_heads * config.head_dim, config.hidden_size)


class ToyLayer(GradientCheckpointingLayer):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.attn = ToyAttention(config, layer_idx)
        {mlp}
        self.norm1 = ToyNorm(config.hidden_size)
        self.norm2 = ToyNorm(config.hidden_size)
        self.scale = 0.5

    def forward(self, x, attention_mask=None, cache=None):
{forward}


def add(x, residual, scale):
    return x / scale + residual


class ToyPreTrainedModel(PreTrainedModel):
    pass


class ToyModel(ToyPreTrainedModel):
    def __init__(self, config: ToyConfig):
        self.layers = nn.ModuleList([ToyLayer(config, idx) for idx in range(config.num_hidden_layers)])

    def forward(self, input_ids, attention_mask=None, cache=None, inputs_embeds=None, use_cache=None):
        mask = create_causal_mask(self.config, inputs_embeds, attention_mask, cache)
        return self.layers(mask)


class ToyForCausalLM(ToyPreTrainedModel):
    def __init__(self, config):
        self.model = ToyModel(config)


__all__ = ["ToyForCausalLM", "ToyModel", "ToyPreTrainedModel"]
"""
MLP = "self.mlp = ToyMLP(config)"
PLAIN = """
residual = x
x = self.norm1(x)
x, _ = self.attn(x, attention_mask=attention_mask, cache=cache)
x = residual + x
residual = x
x = self.mlp(self.norm2(x))
x = residual + self.scale * x
return x
"""
PARALLEL = """
residual = x
x = self.norm1(x)
attended, _ = self.attn(x, attention_mask=attention_mask, cache=cache)
x = residual + attended + self.mlp(self.norm2(x))
return x
"""
INLINE = """
x = x + self.attn(self.norm1(x), attention_mask=attention_mask, cache=cache)
x = x + self.mlp(self.norm2(x))
return x
"""

RENAMED = """
attended, _ = self.attn(self.norm1(x), attention_mask=attention_mask, cache=cache)
attended = x + attended
fed = self.mlp(self.norm2(attended))
y = fed + attended
return y
"""
SCALED = PLAIN.replace("x = residual + x", "x = self.scale * residual + x")
BEHIND_A_NORM = PLAIN.replace("residual = x\nx = self.norm1(x)\n", "x = self.norm1(x)\nresidual = x\n")


def plan_of(folder, forward=PLAIN, mlp=MLP, more=""):
    toy = folder / "toy"
    toy.mkdir()
    mixtral = folder / "mixtral"
    mixtral.mkdir()
    (mixtral / "modeling_mixtral.py").write_text("def load_balancing_loss_func(x):\n    return x\n")
    (toy / "configuration_toy.py").write_text(CONFIG.replace("{more}", more))
    text = MODELING.replace("{mlp}", textwrap.indent(mlp, " " * 8).strip())
    (toy / "modeling_toy.py").write_text(text.replace("{forward}", textwrap.indent(forward.strip("\n"), " " * 8)))
    return plan_family(read_parent("toy", folder))


BLOCKS = {
    "one behind the other": (
        PLAIN,
        ["mixer", "mlp"],
        {"attn": "mixer", "mlp": "mlp", "norm1": "mixer", "norm2": "mlp"},
    ),
    "beside one another": (PARALLEL, ["both"], {"attn": "mixer", "mlp": "mlp", "norm1": "either", "norm2": "mlp"}),
    "in one line each": (INLINE, ["mixer", "mlp"], {"attn": "mixer", "mlp": "mlp", "norm1": "mixer", "norm2": "mlp"}),
    "under names of their own": (
        RENAMED,
        ["mixer", "mlp"],
        {"attn": "mixer", "mlp": "mlp", "norm1": "mixer", "norm2": "mlp"},
    ),
    "scaled": (SCALED, ["mixer", "mlp"], {"attn": "mixer", "mlp": "mlp", "norm1": "mixer", "norm2": "mlp"}),
    "behind a norm": (BEHIND_A_NORM, ["mixer", "mlp"], {"attn": "mixer", "mlp": "mlp", "norm2": "mlp"}),
}


# What the stream is where the blocks are absent
WITHOUT = {
    "as it was": (PLAIN, [None, None]),
    "under another name": (RENAMED, ["x", "attended"]),
    "scaled": (SCALED, ["self.scale * x", None]),
    "what a function makes of nothing": (
        PLAIN.replace("x = residual + x", "x = add(x, residual, 2)"),
        ["add(torch.zeros_like(x), x, 2)", None],
    ),
}


@pytest.mark.parametrize(("forward", "kinds", "sides"), BLOCKS.values(), ids=BLOCKS.keys())
def test_blocks_and_what_they_use(forward, kinds, sides, tmp_path):
    plan = plan_of(tmp_path, forward)
    assert [block.kind for block in plan.layer.blocks] == kinds
    assert plan.sides == sides


@pytest.mark.parametrize(("forward", "without"), WITHOUT.values(), ids=WITHOUT.keys())
def test_what_is_left_where_blocks_are_absent(forward, without, tmp_path):
    blocks = plan_of(tmp_path, forward).layer.blocks
    assert [block.without and code(block.without) for block in blocks] == without


def test_a_flag_gives_the_forward_two_forms(tmp_path):
    forms = [form.split("return")[0].rstrip() for form in (PARALLEL, RENAMED.replace("y = ", "x = "))]
    one, other = (textwrap.indent(form, "    ") for form in forms)
    layer = plan_of(tmp_path, f"if self.scale:{one}\nelse:{other}\nreturn x").layer
    assert layer.flag == "self.scale"
    assert [block.kind for block in layer.blocks] == ["both", "mixer", "mlp"]


def test_sizes_are_those_of_one_sub_block(tmp_path):
    plan = plan_of(tmp_path)
    assert plan.sizes == {
        "intermediate_size": ("mlp_types", ("dense",)),
        "num_attention_heads": ("mixer_types", ("attention",)),
        "num_key_value_heads": ("mixer_types", ("attention",)),
        "head_dim": ("mixer_types", ("attention",)),
    }
    assert plan.related == [("num_key_value_heads", "divides", "num_attention_heads")]


def test_two_kinds_of_mlp_have_sizes_of_their_own(tmp_path):
    mlp = "if layer_idx < config.first_dense:\n    self.mlp = ToyMLP(config)\nelse:\n    self.mlp = ToyMoE(config)"
    plan = plan_of(tmp_path, mlp=mlp)
    assert plan.mlp_types == ["dense", "moe"]
    assert plan.sizes["intermediate_size"] == ("mlp_types", ("dense",))  # experts are given theirs
    assert plan.sizes["num_experts"] == plan.sizes["top_k"] == ("mlp_types", ("moe",))


def test_a_class_that_a_variable_chooses_stands_where_it_is_called(tmp_path):
    mlp = "kind = ToyMoE if layer_idx > config.first_dense else ToyMLP\nself.mlp = kind(config)"
    assert plan_of(tmp_path, mlp=mlp).mlp_types == ["moe", "dense"]


def test_a_size_that_the_config_computes_with_stays_one(tmp_path):
    more = "\n    def __post_init__(self, **kwargs):\n        self.width = 2 * self.intermediate_size\n"
    plan = plan_of(tmp_path, more=more)
    assert "intermediate_size" not in plan.sizes
    line = [note for note in plan.notes if "intermediate_size" in note]
    assert line == [
        "TODO: intermediate_size is one for all layers: it is computed with in ToyConfig (configuration_toy.py:21)"
    ]


REFUSED = {
    "a residual that is mixed in": (
        PLAIN.replace("x = residual + x", "x = residual + self.scale * (x - residual)"),
        "modeling_toy.py:48: ToyLayer.forward: `residual = x` begins a block that does not end in `x = residual + ...`",
    ),
    "a part outside the blocks": (
        PLAIN.replace("residual = x\nx = self.norm1(x)\n", "x = self.mlp(x)\nresidual = x\n"),
        "modeling_toy.py:48: ToyLayer.forward: `x = self.mlp(x)` is part of no block",
    ),
    "a residual of two sub-blocks that is scaled": (
        PARALLEL.replace("residual + attended", "self.scale * residual + attended"),
        "modeling_toy.py:51: ToyLayer.forward: the residual of a mixer beside an MLP is scaled",
    ),
    "two mixers": (
        PLAIN.replace("x = self.mlp(self.norm2(x))", "x = self.attn(self.norm2(x), cache=cache)"),
        "modeling_toy.py:47: the residual blocks of ToyLayer.forward are a mixer, a mixer",
    ),
    "what a block leaves behind": (
        PLAIN.replace("x, _ = self", "x, kept = self").replace(
            "self.mlp(self.norm2(x))", "self.mlp(self.norm2(x), kept)"
        ),
        "modeling_toy.py:53: ToyLayer.forward reads kept of a block that may be absent",
    ),
    "another ending": (PLAIN.replace("return x", "return self.scale"), "`return x` is expected"),
}


@pytest.mark.parametrize(("forward", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_understood_is_named(forward, message, tmp_path):
    with pytest.raises(DoesNotFit) as error:
        plan_of(tmp_path, forward)
    assert message in str(error.value)


def test_cross_attention_is_out_of_scope(tmp_path):
    with pytest.raises(OutsideScope, match="cross-attention"):
        plan_of(tmp_path, PLAIN.replace("x = self.norm1(x)", "encoder_hidden_states = self.norm1(x)"))


def test_a_model_of_another_kind_in_the_same_file_is_refused_in_words():
    """Llama 4's vision model, which its shard would have to carry along."""
    models = Path(transformers.__file__).parent / "models"
    with pytest.raises(
        DoesNotFit, match="initialises Llama4VisionModel too, which takes a Llama4VisionConfig"
    ) as error:
        read_parent("llama4", models)
    assert "that take a Llama4TextConfig alone" in str(error.value) and "modeling_llama4.py:" in str(error.value)
    assert read_parent("qwen3_5", models).config == "Qwen3_5TextConfig"
