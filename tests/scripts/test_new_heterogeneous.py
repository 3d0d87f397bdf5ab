"""`hetero new --heterogeneous`: the families it writes are the parents' layers, as the harness finds; and the harness finds
what is wrong with one."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from transformers_heterogeneous import keep_layers
from transformers_heterogeneous.scripts.command.cli import app
from transformers_heterogeneous.scripts.command.judge import Family, judged, load_family
from transformers_heterogeneous.scripts.command.new import new_shard
from transformers_heterogeneous.scripts.modular_converter.run import expand


CHECKS = [
    f"{what} {check}"
    for what in ("uniform", "mixed")
    for check in ("forward", "padded", "cached steps", "generation", "gradients", "saved and loaded")
]
CHECKS.insert(6, "uniform parent's checkpoint")
# One of each form of a parent -> what varies beside the MLP's width
PARENTS = {
    "qwen3": {"num_attention_heads", "num_key_value_heads", "sliding_window"},  # masks by type of layer
    "mixtral": {"sliding_window", "num_local_experts", "num_experts_per_tok"},  # one mask for all layers
    "cohere2": {"sliding_window"},  # one residual for two sub-blocks
    "deepseek_v3": {"kv_lora_rank", "moe_intermediate_size", "n_routed_experts"},  # MLPs of two kinds
    "exaone4": {"sliding_window"},  # asks whether the model has windows
    "jamba": {"mamba_d_state", "num_experts_per_tok"},  # two classes of layers
    "lfm3": {"conv_L_cache", "sliding_window"},  # layers that are called "conv", beside two that attend
    "axk2": {"index_head_dim", "kv_lora_rank"},  # layers that are called "indexed_attention", norms that have matrices
    "modernbert_decoder": set(),  # one window for all layers that slide
    "beam": {"sliding_window", "num_experts"},  # a residual that is scaled
}
# Parents of which no size varies, or whose forward has two forms -> the fields that choose between them
OTHER_FORMS = {
    "layers in self.h": ("gptj", {}),
    "a decoder with the model's name": ("gpt_neox", {}),
    "the other form of its forward": ("gpt_neox", {"use_parallel_residual": False}),
    "a flag that is off": ("stablelm", {}),
    "a flag that is on": ("stablelm", {"use_parallel_residual": True}),
    "attention to chosen blocks": ("minimax_m3_vl", {}),
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


@pytest.mark.parametrize(("parent", "fields"), OTHER_FORMS.values(), ids=OTHER_FORMS.keys())
def test_other_forms_of_layers_are_the_parents_own(parent, fields, tmp_path):
    verdict = judged(shard_of(parent, tmp_path), fields)
    assert (verdict.differences, verdict.failures) == ([], [])
    assert verdict.equal == CHECKS


def family_of(parent: str, folder: Path) -> Family:
    """The family of a parent, expanded and imported."""
    shard = shard_of(parent, folder)
    for path, text in expand([shard], lambda path: folder).files.items():
        path.write_text(text)
    return load_family(shard, folder)


SMALL = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "pad_token_id": 0}


def test_upstreams_words_for_layers_are_the_familys(tmp_path):
    config_class = family_of("lfm3", tmp_path).config
    small = {**SMALL, "num_key_value_heads": 2, "num_hidden_layers": 4}
    config = config_class(**small, mixer_types=["mamba", "attention", "none", "mamba"])
    assert config.layer_types == ["conv", "full_attention", "conv", "conv"]
    config.layer_types = ["full_attention", "conv", "conv", "sliding_attention"]
    assert config.mixer_types == ["attention", "mamba", "none", "attention"]
    config.sliding_window = [None, None, None, 4]
    assert config.layer_types == ["full_attention", "conv", "full_attention", "sliding_attention"]
    with pytest.raises(ValueError, match=r"'linear_attention', allowed are .*'conv'"):
        config_class(**small, layer_types=["linear_attention"] * 4)


def test_words_of_one_mixer_are_told_apart_by_layer_types(tmp_path):
    config_class = family_of("minimax_m3_vl", tmp_path).config
    kinds = ["full_attention", "minimax_m3_sparse", "minimax_m3_sparse"]
    small = {**SMALL, "num_key_value_heads": 2, "head_dim": 8, "num_hidden_layers": 3}
    config = config_class(**small, layer_types=kinds, mixer_types=["attention", "attention", "none"])
    assert config.layer_types == ["full_attention", "minimax_m3_sparse", "full_attention"]
    config.mixer_types = ["attention", "attention", "attention"]
    assert config.layer_types == ["full_attention", "minimax_m3_sparse", "full_attention"]


def test_a_decoder_with_the_models_name_keeps_the_parents_names_on_disk(tmp_path):
    family = family_of("gpt_neox", tmp_path)
    small = {**SMALL, "num_hidden_layers": 3}
    theirs = family.parent_model(family.parent_config(**small)).eval()
    theirs.save_pretrained(tmp_path / "plain")
    ours = family.model.from_pretrained(tmp_path / "plain").eval()
    tokens = torch.arange(5)[None]
    assert torch.equal(ours(tokens).logits, theirs(tokens).logits)
    base = type(ours.base_model).from_pretrained(tmp_path / "plain").eval()
    assert torch.equal(base(tokens)[0], theirs.base_model(tokens)[0])
    ours.save_pretrained(tmp_path / "ours")
    names = [set(load_file(tmp_path / folder / "model.safetensors")) for folder in ("plain", "ours")]
    assert names[0] == names[1]


def test_layers_that_lie_in_h_are_taken_out(tmp_path):
    family = family_of("gptj", tmp_path)
    config = family.config(**{**SMALL, "rotary_dim": 4}, n_layer=4, mlp_types=["dense", "none", "dense", "dense"])
    assert config.num_hidden_layers == config.n_layer == 4
    model = family.model(config).eval()
    names = [name for name, _ in model.named_parameters() if ".h.2." in name]
    keep_layers(model, [1, 3])
    assert len(model.base_model.h) == 2 and config.mlp_types == ["none", "dense"]
    assert names and not [name for name, _ in model.named_parameters() if name in names]
    logits = model(torch.arange(5)[None]).logits
    model.save_pretrained(tmp_path / "thin")
    again = family.model.from_pretrained(tmp_path / "thin").eval()
    assert torch.equal(again(torch.arange(5)[None]).logits, logits)


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
    "recurrent_gemma": r"modeling_recurrent_gemma.py:\d+: RecurrentGemmaDecoderLayer does not build temporal_block in its constr",
    "dory": r"modeling_dory.py:\d+: DoryDecoderLayer.forward: `attn_output, _ = self.self_attn\(` is part of no block of the form",
    "inkling": "modeling_inkling.py: layers of type 'hybrid' attend and keep a state in one; in a family a mixer does one or",
    "minimax": r"modeling_minimax.py:\d+: MiniMaxModel has a cache of its own, MiniMaxCache, and a family's is DynamicCache",
    "gemma4_unified": "configuration_gemma4_unified.py: Gemma4UnifiedTextConfig makes a per_layer_config of its own",
    "gpt_neo": "modeling_gpt_neo.py: layers are told apart by attention_layers, which GPTNeoConfig computes and has no field",
    "mpt": r"modeling_mpt.py:\d+: MptForCausalLM builds no decoder with a list of layers, `self.layers` or `self.h`",
    "bart": "modeling_bart.py: encoder-decoder models, and decoders with cross-attention, are out of scope",
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
import json
from pathlib import Path
import torch
from transformers import AutoModelForCausalLM, ArceeConfig, ArceeForCausalLM
from transformers_heterogeneous.converters import CheckpointError, convert, verify

small = dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=3)
config = ArceeConfig(**small, num_attention_heads=4, num_key_value_heads=2, head_dim=8, pad_token_id=0)
ArceeForCausalLM(config).save_pretrained("plain")
convert("plain", "same")
convert("plain", "thin", skip=["attention:1", "mlp:2"])
model = AutoModelForCausalLM.from_pretrained("thin")  # `mine` is registered: converting has imported it
parts = [sorted(name for name, _ in layer.named_children()) for layer in model.model.layers]
print(json.dumps([type(model).__name__, parts, verify("plain", "same").same, verify("plain", "thin").same]))

# Back: byte for byte what it was converted from, of a model of the family's own what the parent reads, or a refusal
files = {path.name: path.read_bytes() for path in Path("plain").iterdir()}
convert("same", "back", to="arcee")
restored = all((Path("back") / name).read_bytes() == content for name, content in files.items())
AutoModelForCausalLM.from_pretrained("same").save_pretrained("own")
convert("own", "theirs", to="arcee")
tokens = torch.arange(5)[None]
theirs, own = (AutoModelForCausalLM.from_pretrained(name).eval() for name in ("theirs", "own"))
equal = torch.equal(theirs(tokens).logits, own(tokens).logits)
try:
    convert("thin", "back of thin", to="arcee")
except CheckpointError as error:
    refusal = str(error)
print(json.dumps([restored, type(theirs).__name__, equal, refusal]))

# transformers' own form: the parent's config.json, and what is different in which layer
for file in Path("thin").glob("*.safetensors"):
    Path("per layer").mkdir(exist_ok=True)
    (Path("per layer") / file.name).write_bytes(file.read_bytes())
described = json.loads(files["config.json"]) | {"per_layer_config": {"1": {"skip": ["attention"]}, "2": {"skip": ["mlp"]}}}
(Path("per layer") / "config.json").write_text(json.dumps(described))
convert("per layer", "read")
print(json.dumps([verify("thin", "read").same, list(AutoModelForCausalLM.from_pretrained("read").config.mixer_types)]))
"""
SEVERAL = """
from transformers_heterogeneous.converters import CheckpointError, convert
from transformers import AutoConfig

for number, options in enumerate([{}, {"to": "other"}, {"to": "mine"}]):
    try:
        convert("plain", f"chosen {number}", **options)
        print(AutoConfig.from_pretrained(f"chosen {number}").model_type)
    except CheckpointError as error:
        print(" ".join(str(error).split()))
"""


def installed(package: Path, site: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target"]
    subprocess.run([*pip, site, package], check=True)


def test_a_package_is_installed_and_its_test_runs_and_checkpoints_are_converted(tmp_path):
    site = tmp_path / "site"
    for model in ("mine", "other"):
        package = ["--package", str(tmp_path / model)]
        arguments = ["new", model, "--parent", "arcee", "--heterogeneous", *package]
        assert CliRunner().invoke(app, arguments).exit_code == 0
    installed(tmp_path / "mine", site)
    assert (site / "mine" / "modeling_mine.py").is_file()

    def run(*command):
        place = {"PYTHONPATH": str(site), "PATH": "", "XDG_CACHE_HOME": str(tmp_path / "cache")}
        done = subprocess.run([sys.executable, *command], cwd=tmp_path, env=place, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()

    assert "1 passed" in run("-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path / "mine" / "tests")[-1]
    made, back, per_layer = map(json.loads, run("-c", CONVERTED)[-3:])
    attention, mlp = ["input_layernorm", "self_attn"], ["mlp", "post_attention_layernorm"]
    layers = [sorted(attention + mlp), mlp, attention]
    assert made == ["MineForCausalLM", layers, True, False]
    assert back[:3] == [True, "ArceeForCausalLM", True]
    assert "mixer_types[1] is 'none'" in back[3] and "mlp_types[2] is 'none'" in back[3]
    assert per_layer == [True, ["attention", "none", "attention"]]

    installed(tmp_path / "other", site)
    refused, *chosen = run("-c", SEVERAL)[-3:]
    assert refused == "checkpoints of arcee are read by several families: mine, other Name one of them with --to."
    assert chosen == ["other", "mine"]


def test_a_plain_family_is_packaged_too(tmp_path):
    package = tmp_path / "package"
    assert CliRunner().invoke(app, ["new", "mine", "--parent", "clip", "--package", str(package)]).exit_code == 0
    assert "AutoConfig.register(MineTextConfig.model_type" in (package / "mine" / "__init__.py").read_text()
    again = CliRunner().invoke(app, ["new", "mine", "--parent", "clip", "--package", str(package)])
    assert again.exit_code == 2 and "nothing is overwritten" in again.stderr
