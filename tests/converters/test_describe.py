"""`describe`: what a model is made of, off its family's own facts, and torch nowhere in its way."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

import transformers_heterogeneous
from transformers import AutoConfig, AutoModelForCausalLM
from transformers_heterogeneous import HeterogeneousLlamaConfig
from transformers_heterogeneous.converters import CheckpointError, Description, convert, describe, describing
from transformers_heterogeneous.converters.description import description_from
from transformers_heterogeneous.converters.formats import anymodel, recognition
from transformers_heterogeneous.scripts.command.cli import app
from transformers_heterogeneous.scripts.command.judge import fields_of, load_family
from transformers_heterogeneous.scripts.command.new import new_shard
from transformers_heterogeneous.scripts.maintenance.tools import MODELS, SIZES
from transformers_heterogeneous.scripts.modular_converter.run import expand

from .checkpoints import CHECKPOINTS
from .published import DIALECTS


DATA = sorted((Path(__file__).parents[1] / "data").glob("*--*.json"))
every_family = pytest.mark.parametrize("family", MODELS)
every_checkpoint = pytest.mark.parametrize("name", CHECKPOINTS)


def small(family: str, **more):
    config = getattr(transformers_heterogeneous, f"Heterogeneous{family}Config")
    return config(**{**SIZES, **MODELS[family], **more})


def model_of(config):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()


def group_of(name: str, config) -> str:
    """By the name alone: as Puzzletron's files are written, and of Granite and Llama 4, of which it has none, by hand."""
    if not re.search("granite|llama4", config.model_type) or ".layers." not in name:
        return Path(anymodel.file_of(name, config)).stem
    half = "attention" if name.split(".")[3] in ("input_layernorm", "self_attn", "mamba") else "ffn"
    return f"block_{name.split('.')[2]}_{half}"


@every_checkpoint
def test_groups_of_published_checkpoints_are_the_files_that_puzzletron_would_write(name):
    checkpoint = CHECKPOINTS[name]
    found = describe(checkpoint.config)
    published = recognition.recognise(checkpoint.config, "")
    config = recognition.family_config(published, checkpoint.config, "")
    names = [each for each in checkpoint.tensors if not each.startswith("mtp.")]
    expected: dict[str, list[str]] = {}
    for each in names:
        expected.setdefault(group_of(each, config), []).append(each)
    assert found.weight_groups(names) == expected
    assert found.layers[0].sub_blocks == tuple(half for half in ("attention", "ffn") if f"block_0_{half}" in expected)

    # Each name is matched by the pattern of its group, and by that of no other but the half that has the same norm
    patterns = {group: re.compile(pattern) for group, pattern in found.patterns().items()}
    for group, members in expected.items():
        for each in members:
            matching = {other for other, pattern in patterns.items() if pattern.match(each)}
            assert group in matching and {other.rpartition("_")[0] for other in matching} == {group.rpartition("_")[0]}
            assert len(matching) == 1 or each.endswith(".norm.weight")


@every_checkpoint
def test_groups_are_what_a_checkpoint_has(name, tmp_path):
    checkpoint = CHECKPOINTS[name]
    found = describe(checkpoint.write(tmp_path / "saved"))
    report = convert(tmp_path / "saved", tmp_path / "ours")
    groups = describe(tmp_path / "ours").groups
    held = {each for path in (tmp_path / "ours").rglob("*.safetensors") for each in load_file(path)}
    whole = {re.sub(r"_(blocks|scales)$", "", each) for each in held if not each.startswith("mtp.")}
    assert whole - {"model.layers.0.self_attn.k_scale"} - {
        each for each in whole if each.endswith(("k_scale", "v_scale"))
    } == {each for members in groups.values() for each in members}
    assert report.num_parameters > 0 and found.groups.keys() == groups.keys()


@every_family
def test_modules_are_the_models(family, tmp_path):
    config = small(family)
    model, found = model_of(config), describe(config)
    assert model.get_submodule(found.input_embedding) is model.get_input_embeddings()
    assert model.get_submodule(found.output_embedding) is model.get_output_embeddings()
    layers = [model.get_submodule(found.layer_name(layer)) for layer in range(found.num_hidden_layers)]
    assert layers == list(model.base_model.layers)
    # What comes out of the last norm is what the head takes
    seen = {}
    model.get_submodule(found.final_norm).register_forward_hook(lambda module, args, out: seen.update(norm=out))
    model.get_submodule(found.output_embedding).register_forward_pre_hook(
        lambda module, args: seen.update(head=args[0])
    )
    with torch.no_grad():
        model(torch.arange(5)[None])
    assert torch.equal(seen["norm"], seen["head"])

    # Names in the model, where experts lie together, are of the same groups as those on disk
    model.save_pretrained(tmp_path)
    for names in (model.state_dict(), load_file(tmp_path / "model.safetensors")):
        grouped = found.weight_groups(names)
        assert grouped.keys() == found.groups.keys()
        for group, members in grouped.items():
            if group.startswith("block_"):
                assert all(each.startswith(found.layer_name(int(group.split("_")[1])) + ".") for each in members)


@every_family
def test_a_sub_block_is_its_group(family):
    """Zeros in the weights of a group are zeros out of that sub-block, and of no other: what no sub-block is, is zero."""
    config = small(family)
    model, found = model_of(config), describe(config)
    state = model.state_dict()
    groups = found.weight_groups(state)
    tokens = torch.arange(5)[None]
    for layer, described in enumerate(found.layers):
        with torch.no_grad():
            for half in described.sub_blocks:
                for name in groups[f"block_{layer}_{half}"]:
                    state[name].zero_()
    seen = {}
    model.get_submodule(found.final_norm).register_forward_pre_hook(lambda module, args: seen.update(norm=args[0]))
    with torch.no_grad():
        model(tokens)
        embedded = model.get_input_embeddings()(tokens) * getattr(config, "embedding_multiplier", 1)
    assert torch.equal(seen["norm"], embedded)


@every_family
def test_dimensions_follow_the_sizes(family):
    config = small(family)
    found, shapes = describe(config), {name: tensor.shape for name, tensor in model_of(config).state_dict().items()}
    checked = set()
    for size, told in found.sizes.items():
        for layer, described in enumerate(found.layers):
            kind = described.mixer if told.sub_block == "attention" else described.mlp
            for name, places in told.dimensions.get(kind, {}).items():
                shape = shapes.get(f"{found.layer_name(layer)}.{name}")
                if shape is not None and described.sizes[size] is not None:  # else it lies otherwise in the model
                    assert [shape[dim] for dim, *_ in places] == [
                        step * described.sizes[size] + rest for _, step, rest in places
                    ]
                    checked.add(size)
    assert {"num_key_value_heads", "intermediate_size", "shared_intermediate_size"} & checked
    assert found.relations == tuple(config.related_sizes)


def are_typed(name):
    return name in CHECKPOINTS and any(
        "subblock_configs" in each for each in CHECKPOINTS[name].config["block_configs"]
    )


ANY_MODELS = [*(name for name in CHECKPOINTS if name.startswith("AnyModel")), "AnyModel llama"]


@pytest.mark.parametrize("name", [name for name in ANY_MODELS if are_typed(name)])
def test_typed_blocks_are_another_readers(name):
    config = CHECKPOINTS[name].config
    with pytest.raises(CheckpointError, match="typed blocks, of Puzzletron's second generation"):
        describe(config).layer_overrides(config["block_configs"][0])


@pytest.mark.parametrize("name", [name for name in ANY_MODELS if not are_typed(name)])
def test_overrides_of_a_block_and_back(name):
    """The blocks of a published config say the layers that its reader finds; and those that are written are the writer's."""
    config = CHECKPOINTS[name].config if name in CHECKPOINTS else DIALECTS[name]
    found = describe(config)
    for layer, block in zip(found.layers, config["block_configs"], strict=True):
        told = {types: value for types, value in layer.overrides.items() if types.endswith("_types")}
        if layer.mixer != "mamba":  # which these blocks leave to the pattern
            assert found.layer_overrides(block).items() >= told.items()
            assert found.layer_overrides(block).items() <= layer.overrides.items()
    blocks = [found.block_config(layer) for layer in range(found.num_hidden_layers)]
    overrides = [found.layer_overrides(block) for block in blocks]
    assert [found.block_config(override) for override in overrides] == blocks
    for layer, override in zip(found.layers, overrides, strict=True):
        assert override == {name: layer.overrides[name] for name in override}
        assert {name for name, size in layer.sizes.items() if size} - override.keys() <= {
            *("num_attention_heads", "sliding_window", "moe_latent_size")
        }
    published = recognition.recognise(config, "")
    family_config = recognition.family_config(published, config, "")
    for layer, written in enumerate(published.write_config(family_config)["block_configs"]):
        if found.layers[layer].mixer != "mamba":  # of which the writer says nothing
            assert blocks[layer] == written

    again = type(family_config).from_dict(family_config.to_dict())
    again.per_layer_config = dict(enumerate(overrides))
    assert describe(again).layers == found.layers


def test_overrides_are_what_per_layer_config_takes():
    fields = {**SIZES, "num_hidden_layers": 3, "num_key_value_heads": 4, "intermediate_size": 96}
    config, found = HeterogeneousLlamaConfig(**fields), describe(HeterogeneousLlamaConfig(**fields))
    no_op = {"no_op": True, "num_key_value_heads": None}
    blocks = [
        {"attention": {"num_key_value_heads": 2}, "ffn": {"intermediate_size": 32}},
        {"attention": no_op, "ffn": {"intermediate_size": 64}},
        {"attention": {"num_key_value_heads": 1}, "ffn": {"no_op": False, "replace_with_linear": True}},
    ]
    config.per_layer_config = {layer: found.layer_overrides(block) for layer, block in enumerate(blocks)}
    assert config.num_key_value_heads == [2, None, 1] and config.intermediate_size == [32, 64, None]
    assert config.mixer_types == ["attention", "none", "attention"] and config.mlp_types == [
        "dense",
        "dense",
        "linear",
    ]
    layer = found.block_config({"mixer_types": "none", "mlp_types": "dense", "intermediate_size": 64})
    assert layer["attention"]["no_op"] and layer["ffn"]["intermediate_size"] == 64


def test_a_block_that_a_family_cannot_be_is_refused_with_all_that_is_wrong():
    found = describe(small("Llama"))
    block = {
        "attention": {"num_key_value_heads": "two", "llama4": {"chunk": 8}, "mamba": None, "sparsify": ["2:4"]},
        "ffn": {"moe": {"num_local_experts": 4}, "intermediate_size": -1, "weights_precision": "fp8"},
        "parallel_blocks": [{}],
    }
    with pytest.raises(CheckpointError) as caught:
        found.layer_overrides(block)
    for said in (
        "attention.num_key_value_heads = 'two': a positive integer",
        "attention.llama4 = {'chunk': 8}",
        "attention.sparsify = ['2:4']",
        "ffn is 'moe', allowed are ['dense', 'linear', 'none']",
        "ffn.moe.num_local_experts = 4",
        "ffn.intermediate_size = -1, but ffn is 'moe'",
        "ffn.weights_precision = 'fp8'",
        "parallel_blocks = [{}]",
    ):
        assert said in str(caught.value)
    kept = {"attention": {"num_key_value_heads": 2}, "ffn": {"intermediate_size": 8}}
    for half, member, value, said in (
        ("attention", "no_op", "false", "attention.no_op = 'false': true, false or null"),
        ("attention", "no_op", True, "attention.num_key_value_heads = 2, but attention is 'none'"),
        ("ffn", "moe", 3, "ffn.moe = 3: an object is needed"),
    ):
        with pytest.raises(CheckpointError, match=re.escape(said)):
            found.layer_overrides({**kept, half: {**kept[half], member: value}})
    for wrong in (None, {"attention": {"num_key_value_heads": 2}}, {"attention": 3, "ffn": {}}):
        with pytest.raises(CheckpointError, match="an object"):
            found.layer_overrides(wrong)
    state = describe(small("NemotronH"))
    with pytest.raises(CheckpointError, match=r"mamba\.num_heads = 3: mamba_num_heads is 8 in all layers"):
        state.layer_overrides({"attention": {"mamba": {"state_dim": 16, "num_heads": 3}}, "ffn": {"no_op": True}})


def test_names_of_no_group_are_all_named():
    found = describe(small("Llama"))
    with pytest.raises(CheckpointError, match="of no group") as caught:
        found.weight_groups(
            ["model.layers.0.self_attn.q_proj.weight", "model.layers.5.mlp.up_proj.weight", "visual.w"]
        )
    assert "model.layers.5.mlp.up_proj.weight" in str(caught.value) and "visual.w" in str(caught.value)
    assert "q_proj" not in str(caught.value)
    assert found.weight_groups(["model.layers.5.mlp.up_proj.weight"], 6) == {
        "block_5_ffn": ["model.layers.5.mlp.up_proj.weight"]
    }


@pytest.mark.parametrize("path", DATA, ids=lambda path: path.stem)
def test_there_and_back_through_json(path):
    found = describe(path)
    assert description_from(json.loads(json.dumps(found.to_dict()))) == found
    if path.stem.startswith("nvidia--NVIDIA-Nemotron-Nano"):
        assert found.groups["embeddings"] == ("backbone.embeddings.weight",)
        assert found.input_embedding == "model.embeddings"  # as the model has it


def test_a_config_a_dict_and_a_file_are_described_alike(tmp_path):
    config = CHECKPOINTS["AnyModel Qwen3"].config
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = describe(tmp_path)
    assert describe(tmp_path / "config.json") == describe(config) == found
    plain = CHECKPOINTS["Qwen3"].config
    assert describe(AutoConfig.for_model(**plain)).groups == describe(plain).groups
    with pytest.raises(CheckpointError, match="config: of no known format"):
        describe({"model_type": "bert"})
    with pytest.raises(CheckpointError, match="int: a folder"):
        describe(3)


@every_family
def test_under_autocast(family):
    """What `uses_autocast` promises."""
    config = small(family)
    assert describe(config).uses_autocast and not describe(config).requires_trust_remote_code
    model, tokens = model_of(config), torch.arange(9)[None]
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(tokens).logits
    with torch.no_grad():
        expected = model(tokens).logits
    assert not torch.equal(logits.float(), expected) and torch.allclose(logits.float(), expected, atol=0.1, rtol=0.1)


@pytest.mark.parametrize(
    ("parent", "members"),
    {
        "mixtral": {"ffn.moe.expert_intermediate_dim": "intermediate_size"},
        "cohere2": {"ffn.intermediate_size": "intermediate_size"},  # one norm for two sub-blocks
        "deepseek_v3": {"ffn.moe.expert_intermediate_dim": "moe_intermediate_size"},  # MLPs of two kinds
        "jamba": {"attention.mamba.state_dim": "mamba_d_state"},
    }.items(),
)
def test_a_family_that_a_command_wrote_has_it_too(parent, members, tmp_path):
    """Nobody has said a word of it: what is known is the parent's class and the shapes of the model."""
    shard = new_shard(f"mine_{parent}", parent, tmp_path, 2026, heterogeneous=True)[0]
    for path, text in expand([shard], lambda path: tmp_path).files.items():
        path.write_text(text)
    family = load_family(shard, tmp_path)
    config = family.config(**fields_of(family, {}))
    model, found = family.model(config), describe(config)
    groups = found.weight_groups(model.state_dict())
    assert found.members.items() >= members.items()
    assert groups["embeddings"] == [f"{found.input_embedding}.weight"]
    assert groups["lm_head"] == [f"{found.final_norm}.weight", f"{found.output_embedding}.weight"]
    for layer in range(found.num_hidden_layers):
        names = [name for name, _ in model.get_submodule(found.layer_name(layer)).named_children()]
        halves = [
            {
                name.removeprefix(f"{found.layer_name(layer)}.").split(".")[0]
                for name in groups[f"block_{layer}_{half}"]
            }
            for half in ("attention", "ffn")
        ]
        assert not halves[0] & halves[1] and halves[0] | halves[1] == set(names)
        assert {"self_attn", "mamba"} & halves[0] and {"mlp", "feed_forward"} & halves[1]
        assert found.layer_overrides(found.block_config(layer)).items() <= found.layers[layer].overrides.items()


def run(code: str, *arguments: Path | str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_torch_is_not_imported(tmp_path, monkeypatch):
    """The first time, when another process looks, and when it is remembered; and the package is whole all the same."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "config.json").write_text(json.dumps(CHECKPOINTS["AnyModel gpt-oss"].config))
    code = """
import json, sys
import hetero
found = hetero.describe(sys.argv[1])
try:
    hetero.describe({"model_type": "llama", "hidden_size": -3})
except ValueError as error:
    said = str(error)
found.layer_overrides(found.block_config(0))
loaded = [name for name in ("torch", "transformers", "transformers_heterogeneous") if name in sys.modules]
import transformers_heterogeneous
same = transformers_heterogeneous.describe(sys.argv[1]) == found
classes = isinstance(found, transformers_heterogeneous.converters.Description)
registered = transformers_heterogeneous.HeterogeneousLlamaConfig.model_type in __import__("transformers").CONFIG_MAPPING
print(json.dumps([loaded, said, same, classes, registered, found.to_dict()]))
"""
    results = [json.loads(run(code, tmp_path)) for _ in range(2)]
    for loaded, said, same, classes, registered, _ in results:
        assert loaded == [] and same and classes and registered
        assert said == "config:\n  hidden_size = -3: a positive integer is needed"
    assert results[0] == results[1]
    assert description_from(results[0][-1]) == describe(CHECKPOINTS["AnyModel gpt-oss"].config)
    assert len(list((tmp_path / "cache/transformers-heterogeneous/descriptions").iterdir())) == 1


def test_what_is_remembered_is_not_looked_for_again(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "config.json"
    file.write_text(json.dumps(CHECKPOINTS["Qwen2"].config))
    expected = describing.described_and_kept(file)
    calls: list[Path] = []
    monkeypatch.setattr(describing, "described", lambda path: calls.append(path) or expected)
    assert describe(file) == expected and not calls
    (record,) = (tmp_path / "cache/transformers-heterogeneous/descriptions").iterdir()
    record.write_text("{")
    assert describe(file) == expected and len(calls) == 1
    file.write_text(json.dumps({**CHECKPOINTS["Qwen2"].config, "vocab_size": 97}))
    describe(file)
    assert len(calls) == 2


def test_the_command(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CHECKPOINTS["AnyModel Nemotron-H"].config))
    done = CliRunner().invoke(app, ["inspect", str(tmp_path), "--groups", "--json"])
    found = description_from(json.loads(done.stdout))
    assert done.exit_code == 0 and isinstance(found, Description)
    assert found == describe(tmp_path)
    done = CliRunner().invoke(app, ["inspect", str(tmp_path), "--groups"], env={"COLUMNS": "200"})
    assert done.exit_code == 0 and "block_N_attention" in done.stdout and "backbone.embeddings.weight" in done.stdout
    done = CliRunner().invoke(app, ["inspect", str(tmp_path / "nothing"), "--groups"])
    assert done.exit_code == 2 and "no such file or folder" in done.output
    done = CliRunner().invoke(app, ["inspect", str(tmp_path), "--groups", "--plot", "layers.png"])
    assert done.exit_code == 2 and "leave out --groups" in done.output
