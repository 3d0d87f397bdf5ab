"""`hetero new`: the shard it writes expands to a family that computes what its parent computes."""

import importlib
import sys

import pytest
import torch
from typer.testing import CliRunner

from transformers_heterogeneous.scripts.command.cli import app


SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 48,
    "vocab_size": 64,
    "pad_token_id": 0,
}
PARENTS = {
    "qwen3": ("Qwen3", {}),
    "gpt_oss": ("GptOss", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "granitemoehybrid": (
        "GraniteMoeHybrid",
        {
            "layer_types": ["attention", "attention"],
            "num_local_experts": 4,
            "shared_intermediate_size": 16,
            "mamba_n_heads": 4,
        },
    ),
}


def hetero(*arguments) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("parent", PARENTS)
def test_the_new_family_is_its_parent(parent, tmp_path, monkeypatch):
    cased, changes = PARENTS[parent]
    mine = f"Mine{cased}"
    package = tmp_path / f"own_{parent}"
    hetero("new", f"mine_{parent}", "--parent", parent, "--out", package)
    hetero("generate", package / f"modular_mine_{parent}.py")
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    ours = importlib.import_module(f"own_{parent}.modeling_mine_{parent}")
    theirs = importlib.import_module(f"transformers.models.{parent}.modeling_{parent}")
    our_config = getattr(sys.modules[f"own_{parent}.configuration_mine_{parent}"], f"{mine}Config")
    assert our_config.model_type == f"mine_{parent}"

    torch.manual_seed(0)
    their_config = getattr(theirs, f"{cased}Config")(**SMALL, **changes)
    their_model = getattr(theirs, f"{cased}ForCausalLM")(their_config).eval()
    our_model = getattr(ours, f"{mine}ForCausalLM")(our_config(**SMALL, **changes)).eval()
    our_model.load_state_dict(their_model.state_dict(), strict=True)
    tokens = torch.randint(1, 64, (2, 9))
    assert torch.equal(our_model(tokens).logits, their_model(tokens).logits)


BAD = {
    "unknown parent": (["mine", "--parent", "qwenn3"], "transformers has no model 'qwenn3'; did you mean qwen3?"),
    "not a model name": (["Mine-1", "--parent", "qwen3"], "'Mine-1' is not a model name"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_started_says_why(arguments, message, tmp_path, capfd):
    result = CliRunner().invoke(app, ["new", *arguments, "--out", str(tmp_path)])
    assert result.exit_code == 2 and message in result.stderr
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path):
    hetero("new", "mine", "--parent", "qwen3", "--out", tmp_path)
    before = (tmp_path / "modular_mine.py").read_text()
    result = CliRunner().invoke(app, ["new", "mine", "--parent", "llama", "--out", str(tmp_path)])
    assert result.exit_code == 2 and "exists" in result.stderr
    assert (tmp_path / "modular_mine.py").read_text() == before
