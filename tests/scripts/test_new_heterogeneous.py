"""`hetero new --heterogeneous`: the families it writes are the parents' layers, as the harness finds; and the harness finds
what is wrong with one."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from transformers_heterogeneous.scripts.command.cli import app
from transformers_heterogeneous.scripts.command.judge import judged
from transformers_heterogeneous.scripts.command.new import new_shard


CHECKS = [
    f"{what} {check}"
    for what in ("uniform", "mixed")
    for check in ("forward", "padded", "cached steps", "generation", "gradients", "saved and loaded")
]
# One of each form of a parent -> what varies beside the MLP's width
PARENTS = {
    "qwen3": {"num_attention_heads", "num_key_value_heads", "sliding_window"},  # masks by type of layer
    "mixtral": {"sliding_window", "num_local_experts", "num_experts_per_tok"},  # one mask for all layers
    "cohere2": {"sliding_window"},  # one residual for two sub-blocks
    "deepseek_v3": {"kv_lora_rank", "moe_intermediate_size", "n_routed_experts"},  # MLPs of two kinds
    "exaone4": {"sliding_window"},  # asks whether the model has windows
    "jamba": {"mamba_d_state", "num_experts_per_tok"},  # two classes of layers
}


@pytest.fixture(autouse=True)
def no_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def shard_of(parent: str, folder: Path) -> Path:
    return new_shard(f"mine_{parent}", parent, folder, 2026, heterogeneous=True)[0]


@pytest.mark.parametrize("parent", PARENTS)
def test_layers_that_differ_are_the_parents_own(parent, tmp_path):
    verdict = judged(shard_of(parent, tmp_path), {})
    assert (verdict.differences, verdict.failures) == ([], [])
    assert verdict.equal == CHECKS
    assert {"intermediate_size", *PARENTS[parent]} <= set(verdict.varied)


WRONG = {
    "the sizes of one layer for all": (
        "config = config.per_layer_config[layer_idx]",
        "config = config.per_layer_config[2]",
        "size mismatch",
    ),
    "a sub-block that is built where it is lacking": (
        "if self.has_mlp:\n            self.mlp",
        "if True:\n            self.mlp",
        "layer 2 has mlp, which it is to lack",
    ),
    "a sub-block that is left out where it is there": (
        "if self.has_mixer:\n            if",
        "if False:\n            if",
        "uniform",
    ),
    "the mask of another window": (
        "attention_mask[self.sliding_window]",
        "attention_mask[max(attention_mask)]",
        "mixed padded",
    ),
    "a residual too many": (
        "        return hidden_states",
        "        return hidden_states + residual",
        "uniform forward",
    ),
}


@pytest.mark.parametrize(("line", "instead", "said"), WRONG.values(), ids=WRONG.keys())
def test_the_harness_finds_what_is_wrong(line, instead, said, tmp_path):
    shard = shard_of("qwen3", tmp_path)
    text = shard.read_text()
    assert line in text
    shard.write_text(text.replace(line, instead, 1))
    verdict = judged(shard, {})
    assert said in " ".join([*verdict.differences, *verdict.failures])


REFUSED = {
    "stablelm": r"modeling_stablelm.py:\d+: StableLmDecoderLayer.forward: `residual = hidden_states` begins a block that does not",
    "lfm2": "modeling_lfm2.py: layers of type 'conv' have no counterpart among a family's mixers",
    "bart": "modeling_bart.py: encoder-decoder models, and decoders with cross-attention, are out of scope",
    "biogpt": r"modeling_biogpt.py:\d+: BioGptForCausalLM calls its decoder self.biogpt",
}


@pytest.mark.parametrize(("parent", "message"), REFUSED.items(), ids=REFUSED.keys())
def test_a_parent_that_is_not_understood_is_refused_and_nothing_is_written(parent, message, tmp_path):
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["new", "mine", "--parent", parent, "--heterogeneous", "--out", str(out)])
    assert result.exit_code == 2
    assert re.search(message, result.stderr) and not out.exists()


def test_sizes_that_stay_one_are_told_in_the_shard_and_on_the_terminal(tmp_path):
    result = CliRunner().invoke(app, ["new", "mine", "--parent", "olmo2", "--heterogeneous", "--out", str(tmp_path)])
    note = "TODO: num_attention_heads is one for all layers: Olmo2Config has no head_dim of its own"
    assert note in result.stdout and f"# {note}" in (tmp_path / "modular_mine.py").read_text()


CONVERTED = """
import json, sys
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM
from transformers_heterogeneous.converters import convert, verify
from transformers_heterogeneous.converters.summary import summarise

small = dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=3)
config = Qwen3Config(**small, num_attention_heads=4, num_key_value_heads=2, head_dim=8, pad_token_id=0)
Qwen3ForCausalLM(config).save_pretrained("plain")
convert("plain", "same")
convert("plain", "thin", skip=["attention:1", "mlp:2"])
model = AutoModelForCausalLM.from_pretrained("thin")  # `mine` is registered: converting has imported it
parts = [sorted(name for name, _ in layer.named_children()) for layer in model.model.layers]
print(json.dumps([type(model).__name__, parts, verify("plain", "same").same, verify("plain", "thin").same]))
"""


def test_a_package_is_installed_and_its_test_runs_and_checkpoints_are_converted(tmp_path):
    package, site = tmp_path / "package", tmp_path / "site"
    arguments = ["new", "mine", "--parent", "qwen3", "--heterogeneous", "--package", str(package)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        site,
        package,
    ]
    subprocess.run(pip, check=True)
    assert (site / "mine" / "modeling_mine.py").is_file()

    def run(*command):
        place = {"PYTHONPATH": str(site), "PATH": "", "XDG_CACHE_HOME": str(tmp_path / "cache")}
        return subprocess.run([sys.executable, *command], cwd=tmp_path, env=place, capture_output=True, text=True)

    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", package / "tests")
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    done = run("-c", CONVERTED)
    assert done.returncode == 0, done.stderr
    attention, mlp = ["input_layernorm", "self_attn"], ["mlp", "post_attention_layernorm"]
    layers = [sorted(attention + mlp), mlp, attention]
    assert json.loads(done.stdout.splitlines()[-1]) == ["MineForCausalLM", layers, True, False]


def test_a_plain_family_is_packaged_too(tmp_path):
    package = tmp_path / "package"
    assert CliRunner().invoke(app, ["new", "mine", "--parent", "clip", "--package", str(package)]).exit_code == 0
    assert "AutoConfig.register(MineTextConfig.model_type" in (package / "mine" / "__init__.py").read_text()
    again = CliRunner().invoke(app, ["new", "mine", "--parent", "clip", "--package", str(package)])
    assert again.exit_code == 2 and "nothing is overwritten" in again.stderr
