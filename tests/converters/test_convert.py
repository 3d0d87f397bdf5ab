"""`hetero convert`: every dialect comes out right, byte for byte, and nothing is lost unsaid."""

import errno
import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from typer.main import get_command
from typer.testing import CliRunner

from transformers_heterogeneous import HeterogeneousLlamaConfig, HeterogeneousLlamaForCausalLM
from transformers_heterogeneous.converters import CheckpointError, ConversionOptions, convert
from transformers_heterogeneous.converters.engine import transfer
from transformers_heterogeneous.scripts.command.cli import app

from . import published
from .published import CONFIG, DECI, DECI_LAYERS, LAYERS, TRAP, write_checkpoint


SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture
def source(tmp_path) -> Path:
    return tmp_path / "published"


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "converted"


def config_of(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize("config", published.DIALECTS.values(), ids=published.DIALECTS.keys())
def test_every_dialect_of_block_configs(source, target, config):
    tensors = write_checkpoint(source, config)
    report = convert(source, target)
    published.assert_same_tensors(published.read_tensors(target), tensors)
    assert report.num_parameters == sum(tensor.numel() for tensor in tensors.values())
    assert report.num_tensors == len(tensors) and not report.dropped
    found = config_of(target)
    assert found["mixer_types"] == ["attention", "none", "linear", "attention", "none"]
    assert found["mlp_types"] == ["dense", "dense", "none", "linear", "none"]
    assert found["num_key_value_heads"] == [2, None, None, 1, None]
    assert found["intermediate_size"] == [256, 512, None, None, None]
    assert found["head_dim"] == published.HEAD_DIM
    assert found["rope_parameters"] == {**CONFIG["rope_scaling"], "rope_theta": 500000.0}
    assert (found["model_type"], found["dtype"]) == ("heterogeneous_llama", "bfloat16")
    assert found["architectures"] == ["HeterogeneousLlamaForCausalLM"]
    assert not {"auto_map", "block_configs", "_name_or_path", "torch_dtype"} & found.keys()


@pytest.mark.parametrize(
    "config",
    [DECI, {**DECI, "model_type": None}, TRAP],
    ids=["deci", "no model type", "the trap: it says llama and one number of KV heads"],
)
def test_every_dialect_of_deci(source, target, config):
    tensors = write_checkpoint(source, config, published.tensors_of(DECI_LAYERS))
    report = convert(source, target)
    assert report.format == "deci"
    published.assert_same_tensors(published.read_tensors(target), tensors)
    found = config_of(target)
    assert found["model_type"] == "heterogeneous_llama"
    assert found["num_key_value_heads"] == published.DECI_HEADS
    assert found["intermediate_size"] == 256
    assert found["rope_parameters"]["rope_type"] == "dynamic" and found["rope_parameters"]["factor"] == 2.0
    assert not [name for name in found if name.startswith("naive_attention") or name == "auto_map"]


def test_plain_llama_and_our_own(source, target, tmp_path):
    uniform = {**published.LLAMA_GLOBALS, "model_type": "llama", "num_hidden_layers": 2}
    uniform |= {"num_key_value_heads": 2, "intermediate_size": 256, "tie_word_embeddings": True}
    tensors = write_checkpoint(source, uniform, published.tensors_of([published.LAYER_0] * 2, tied=True))
    assert convert(source, target).format == "llama"
    report = convert(target, tmp_path / "again")
    assert report.format == "heterogeneous_llama"
    assert report.num_parameters == sum(tensor.numel() for tensor in tensors.values())
    published.assert_same_tensors(published.read_tensors(tmp_path / "again"), tensors)
    assert config_of(tmp_path / "again") == config_of(target)


def test_per_layer_config_of_transformers(source, target):
    config = {**published.LLAMA_GLOBALS, "model_type": "llama", "num_hidden_layers": 2, "num_key_value_heads": 2}
    config |= {"intermediate_size": 256, "per_layer_config": {"1": {"skip": ["attention"], "intermediate_size": 512}}}
    write_checkpoint(source, config, published.tensors_of([LAYERS[0], LAYERS[1]]))
    convert(source, target)
    assert config_of(target)["mixer_types"] == ["attention", "none"]
    assert config_of(target)["intermediate_size"] == [256, 512]


def test_biases(source, target):
    layer = {**published.LAYER_0, "self_attn.q_proj.bias": (64,), "self_attn.o_proj.bias": (64,)}
    layer |= {"self_attn.k_proj.bias": (32,), "self_attn.v_proj.bias": (32,), "mlp.down_proj.bias": (64,)}
    layer |= {"mlp.gate_proj.bias": (256,), "mlp.up_proj.bias": (256,)}
    config = {**published.LLAMA_GLOBALS, "model_type": "llama", "num_hidden_layers": 1, "num_key_value_heads": 2}
    config |= {"intermediate_size": 256, "attention_bias": True, "mlp_bias": True}
    tensors = write_checkpoint(source, config, published.tensors_of([layer]))
    convert(source, target)
    published.assert_same_tensors(published.read_tensors(target), tensors)


def test_head_that_is_tied_and_on_disk_stays(source, target):
    tensors = published.tensors_of(LAYERS)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    write_checkpoint(source, {**CONFIG, "tie_word_embeddings": True}, tensors)
    report = convert(source, target)
    published.assert_same_tensors(published.read_tensors(target), tensors)
    assert report.num_parameters == sum(tensor.numel() for name, tensor in tensors.items() if name != "lm_head.weight")


def test_converted_model_loads_with_every_tensor(source, target):
    tensors = write_checkpoint(source)
    convert(source, target)
    model, info = HeterogeneousLlamaForCausalLM.from_pretrained(target, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    published.assert_same_tensors(model.state_dict(), tensors)
    assert HeterogeneousLlamaConfig.from_pretrained(target).num_key_value_heads == [2, None, None, 1, None]


@pytest.mark.parametrize(
    "file_names",
    [("model.safetensors",), SHARDS, ("subblocks_safetensors/block_0.safetensors", "head.safetensors")],
    ids=["single", "shards", "sub-folder"],
)
def test_unchanged_files_are_identical(source, target, file_names):
    write_checkpoint(source, file_names=file_names)
    report = convert(source, target)
    assert {file.name for file in report.files} == set(file_names)
    for file_name in file_names:
        assert (target / file_name).read_bytes() == (source / file_name).read_bytes()
    assert (target / "model.safetensors.index.json").exists() == (len(file_names) > 1)


def test_index_is_written_anew(source, target):
    tensors = write_checkpoint(source)
    convert(source, target)
    index = json.loads((target / "model.safetensors.index.json").read_text())
    assert index["weight_map"] == json.loads((source / "model.safetensors.index.json").read_text())["weight_map"]
    assert index["metadata"]["total_size"] == sum(tensor.numel() * 2 for tensor in tensors.values())
    assert index["metadata"]["total_parameters"] == sum(tensor.numel() for tensor in tensors.values())


def test_rotary_buffers_are_dropped_and_named(source, target):
    """They lie between tensors that stay, in one shard alone; a third shard holds nothing else."""
    tensors = write_checkpoint(source, DECI, published.tensors_of(DECI_LAYERS))
    buffers = {f"model.layers.{layer}.self_attn.rotary_emb.inv_freq": torch.arange(8.0) for layer in range(4)}
    index = json.loads((source / "model.safetensors.index.json").read_text())["weight_map"]
    first = {name: tensors[name] for name, file_name in index.items() if file_name == SHARDS[0]}
    save_file({**first, **dict(list(buffers.items())[:3])}, source / SHARDS[0], metadata={"format": "pt"})
    save_file(dict(list(buffers.items())[3:]), source / "buffers.safetensors")
    in_first = dict.fromkeys(list(buffers)[:3], SHARDS[0])
    published.write_index(source, {**index, **in_first, list(buffers)[3]: "buffers.safetensors"})

    report = convert(source, target)
    assert {tensor.name for tensor in report.dropped} == buffers.keys()
    assert all("rotary" in tensor.reason for tensor in report.dropped)
    assert {file.name: file.how for file in report.files}[SHARDS[0]] == "new header"
    published.assert_same_tensors(published.read_tensors(target), tensors)
    assert (target / SHARDS[1]).read_bytes() == (source / SHARDS[1]).read_bytes()
    assert not (target / "buffers.safetensors").exists()
    written = json.loads((target / "model.safetensors.index.json").read_text())
    assert written["weight_map"] == index
    assert written["metadata"]["total_size"] == sum(tensor.numel() * 2 for tensor in tensors.values())
    content = (target / SHARDS[0]).read_bytes()
    assert int.from_bytes(content[:8], "little") % 8 == 0
    with safe_open(target / SHARDS[0], framework="pt") as file:
        assert file.metadata() == {"format": "pt"}


def in_hub_cache(folder: Path) -> Path:
    """Move the files into a folder of blobs, as the hub's cache has them; the snapshot that links to them."""
    repository = folder.parent / "models--a--b"
    snapshot, blobs = repository / "snapshots/abc", repository / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, path in enumerate(sorted(folder.iterdir())):
        path.rename(blobs / str(number))
        (snapshot / path.name).symlink_to(Path("../../blobs") / str(number))
    return snapshot


@pytest.mark.parametrize("link", ["auto", "copy", "hardlink"])
def test_links_of_a_hub_cache_are_resolved(source, target, link):
    tensors = write_checkpoint(source)
    source = in_hub_cache(source)
    convert(source, target, link=link)
    assert not [path for path in target.iterdir() if path.is_symlink()]
    published.assert_same_tensors(published.read_tensors(target), tensors)
    for file_name in SHARDS:
        assert (target / file_name).samefile(source / file_name) == (link == "hardlink")


def test_hardlink_shares_the_weights_and_nothing_else(source, target):
    write_checkpoint(source)
    (source / "README.md").write_text("card")
    report = convert(source, target, link="hardlink")
    assert {file.how for file in report.files} == {"hardlink"}
    assert all((target / name).stat().st_ino == (source / name).stat().st_ino for name in SHARDS)
    assert (target / "README.md").stat().st_ino != (source / "README.md").stat().st_ino


def unable(*arguments, **keywords):
    raise OSError(errno.EOPNOTSUPP, "Operation not supported")


@pytest.mark.skipif(not hasattr(os, "copy_file_range"), reason="the kernel cannot copy here")
def test_copies_through_memory_where_the_kernel_cannot(source, target, monkeypatch):
    monkeypatch.setattr(os, "copy_file_range", unable)
    monkeypatch.setattr(transfer, "BUFFER", 1000)
    tensors = write_checkpoint(source)
    convert(source, target)
    published.assert_same_tensors(published.read_tensors(target), tensors)


def test_fields_that_are_lost_are_named(source, target):
    """Those of remote code, and generation parameters, which transformers 5 does not read from a config.json."""
    write_checkpoint(source, {**TRAP, "temperature": 0.5}, published.tensors_of(DECI_LAYERS))
    report = convert(source, target)
    assert report.dropped_fields == ("auto_map", "naive_attention_prefill", "temperature")
    assert not set(report.dropped_fields) & config_of(target).keys()
    assert convert(target, target.parent / "again").dropped_fields == ()


def test_other_files_are_carried_or_named(source, target):
    write_checkpoint(source)
    (source / "README.md").write_text("card")
    (source / "assets").mkdir()
    (source / "assets/chart.svg").write_text("<svg/>")
    for name in (
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "generation_config.json",
        "LICENSE",
    ):
        (source / name).write_text(name)
    left = {
        "modeling_decilm.py": "remote code",
        "pytorch_model.bin": "pickle",
        "pytorch_model.bin.index.json": "index of pickles",
        "mtp.safetensors": "index does not name",
        "broken.txt": "broken link",
        ".git": "version control",
    }
    for name in list(left)[:4]:
        (source / name).write_text(name)
    (source / "broken.txt").symlink_to("nowhere")
    (source / ".git").mkdir()
    (source / ".git/HEAD").write_text("ref")
    with (source / "video.mp4").open("wb") as file:
        file.truncate(101 * 2**20)

    report = convert(source, target)
    carried = ["LICENSE", "README.md", "assets/chart.svg", "chat_template.jinja", "generation_config.json"]
    assert sorted(report.carried) == [*carried, "tokenizer.json", "tokenizer_config.json"]
    for name in report.carried:
        assert (target / name).read_bytes().endswith((source / name).read_bytes())
    reasons = {file.name: file.reason for file in report.not_carried}
    assert reasons.keys() == left.keys() | {"video.mp4"}
    assert all(words in reasons[name] for name, words in left.items())
    written = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    assert written == {*report.carried, *SHARDS, *report.written}
    assert set(report.written) == {"README.md", "config.json", "hetero_origin.json", "model.safetensors.index.json"}


def test_dry_run_says_the_same_and_writes_nothing(source, target):
    write_checkpoint(source)
    (source / "README.md").write_text("Grüße")
    planned = convert(source, target, dry_run=True, link="copy")
    assert os.listdir(source.parent) == ["published"]
    done = convert(source, target, link="copy")
    assert planned.cost.num_bytes_written == sum(path.stat().st_size for path in target.iterdir())
    assert (planned.num_tensors, planned.num_bytes, planned.carried) == (
        done.num_tensors,
        done.num_bytes,
        done.carried,
    )
    assert {file.how for file in planned.files} == {"unchanged"}


def test_empty_target_and_missing_parents(source, target, tmp_path):
    write_checkpoint(source)
    target.mkdir()
    convert(source, target)
    assert (target / "config.json").exists()
    convert(source, tmp_path / "new/er/folder")
    assert sorted(os.listdir(tmp_path)) == ["converted", "new", "published"]


def test_output_has_the_usual_permissions(source, target):
    write_checkpoint(source)
    convert(source, target)
    usual = source.parent / "usual"
    usual.mkdir()
    assert target.stat().st_mode == usual.stat().st_mode


class TestCommand:
    def run(self, *arguments: object):
        return CliRunner().invoke(app, ["convert", *map(str, arguments)])

    def test_says_what_it_did(self, source, target):
        write_checkpoint(source)
        (source / "modeling_decilm.py").write_text("raise SystemExit")
        (source / "tokenizer.json").write_text("{}")
        result = self.run(source, target)
        assert result.exit_code == 0 and not result.stderr
        for words in ("nemotron-nas", "heterogeneous_llama", "tokenizer.json", "modeling_decilm.py: remote code"):
            assert words in result.stdout

    def test_paths_are_said_as_they_are(self, source, target):
        write_checkpoint(source)
        assert "/m:100:" in self.run(source, target.parent / "m:100:").stdout

    def test_json(self, source, target):
        write_checkpoint(source)
        result = self.run(source, target, "--json", "--link", "hardlink")
        report = json.loads(result.stdout)
        assert result.exit_code == 0 and report["format"] == "nemotron-nas" and not report["dry_run"]
        assert [file["how"] for file in report["files"]] == ["hardlink", "hardlink"]

    def test_dry_run(self, source, target):
        write_checkpoint(source)
        result = self.run(source, target, "--dry-run")
        assert result.exit_code == 0 and "would become" in result.stdout and not target.exists()

    def test_failure_goes_to_stderr(self, source, target):
        write_checkpoint(source, {**CONFIG, "model_type": "phi3"})
        result = self.run(source, target, "--json")
        assert result.exit_code == 2 and not result.stdout
        assert all(name in result.stderr for name in ("phi3", "nemotron-nas", "deci", "heterogeneous_llama"))


def test_every_option_is_declared_once_and_the_command_has_it():
    declared = {each.name: each.metadata for each in fields(ConversionOptions) if each.metadata}
    assert {each.name for each in fields(ConversionOptions) if each.init} - declared.keys() == {
        "prune"
    }  # its own command
    command = {each.name: each for each in get_command(app).commands["convert"].params}
    assert command.keys() - declared.keys() == {"src", "dst", "code_for", "as_json"}
    assert {name: command[name].help for name in declared} == {name: told["help"] for name, told in declared.items()}
    plain = [str(each.default) for each in fields(ConversionOptions) if each.init and each.default not in ((), None)]
    assert plain == [str(command[name].default) for name in declared if command[name].default is not None]
    described = ConversionOptions.__doc__.partition("Attributes:")[2]
    assert all(f"        {name}: " in described for name in declared)


def test_options_are_given_together_or_one_by_one(source, target, tmp_path):
    write_checkpoint(source, CONFIG)
    together = ConversionOptions(link="copy", max_shard_size="1MB", skip="attention:0", dry_run=True)
    reports = [
        convert(source, target, together),
        convert(source, target, link="copy", max_shard_size=10**6, skip=["attention:0"], dry_run=True),
        convert(
            source,
            target,
            ConversionOptions(link="copy", max_shard_size=1, skip="attention:0"),
            max_shard_size="1MB",
            dry_run=True,
        ),
    ]
    plans = [report.to_dict()["plan"] for report in reports]
    assert plans[0] == plans[1] == plans[2] and not target.exists()
    assert convert(source, target, ConversionOptions(skip="attention:0", dry_run=True)).to_dict()["plan"] != plans[0]
    with pytest.raises(TypeError, match="max_size"):
        convert(source, target, max_size="1MB")
    with pytest.raises(CheckpointError, match="max_shard_size = '1 byte'"):
        ConversionOptions(max_shard_size="1 byte")
    with pytest.raises(CheckpointError, match="--for word: known are"):
        ConversionOptions(reader="word")


def test_stdout_that_lacks_letters(source, tmp_path):
    write_checkpoint(source)
    code = [sys.executable, "-c", "import hetero; hetero.main()", "convert", str(source), str(tmp_path / "größer")]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(code, capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and not done.stderr and r"gr\xf6\xdfer" in done.stdout
    again = subprocess.run(code, capture_output=True, text=True, env=environment)
    assert again.returncode == 2 and not again.stdout and r"gr\xf6\xdfer: exists" in again.stderr


def test_no_other_models_are_imported(source, target):
    """The command puts the package in place without running its `__init__`; of the models, the family's own say its shapes."""
    write_checkpoint(source)
    code = (
        "import sys, hetero\n"
        "try: hetero.main()\n"
        "finally: print(sorted(name for name in sys.modules if 'modeling_heterogeneous' in name or '.modeling_llama' in name))"
    )
    arguments = [sys.executable, "-c", code, "convert", str(source), str(target), "--json"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    modeling = [f"transformers_heterogeneous.modeling_heterogeneous{family}" for family in ("", "_llama")]
    assert done.stdout.splitlines()[-1] == str(modeling)
    assert not done.stderr
    assert (target / "config.json").exists()


def test_a_link_that_leads_outside_is_not_followed(source, target, tmp_path):
    write_checkpoint(source)
    (tmp_path / "secret.txt").write_text("mine")
    (source / "notes.txt").symlink_to(tmp_path / "secret.txt")
    (source / "LICENSE").write_text("text")
    (source / "LICENSE.txt").symlink_to("LICENSE")
    report = convert(source, target)
    assert not (target / "notes.txt").exists() and (target / "LICENSE.txt").read_text() == "text"
    assert [(left.name, left.reason.split(":")[0]) for left in report.not_carried if left.name == "notes.txt"] == [
        ("notes.txt", "a link to a file outside the checkpoint")
    ]


def test_links_are_carried_or_named(source, target, tmp_path):
    """Those from a folder of the checkpoint into another are its own; links to folders are not followed."""
    write_checkpoint(source)
    for name in ("assets", "assets/__pycache__", "outside"):
        (source.parent / name if name == "outside" else source / name).mkdir()
    (source / "LICENSE").write_text("text")
    (source / "assets/.git").write_text("gitdir: elsewhere")
    (source / "assets/LICENSE").symlink_to("../LICENSE")
    (source / "pictures").symlink_to("assets")
    (source / "assets/more").symlink_to(tmp_path / "outside")
    report = convert(source, target)
    assert report.carried == ("LICENSE", "assets/LICENSE") and (target / "assets/LICENSE").read_text() == "text"
    assert {left.name: left.reason.split(",")[0] for left in report.not_carried} == {
        "pictures": "a link to a folder",
        "assets/__pycache__": "compiled code",
        "assets/.git": "version control",
        "assets/more": "a link to a folder",
    }


def test_index_that_names_files_in_a_roundabout_way(source, target):
    tensors = write_checkpoint(source)
    weight_map = json.loads((source / "model.safetensors.index.json").read_text())["weight_map"]
    published.write_index(source, {name: f"./{file_name}" for name, file_name in weight_map.items()})
    report = convert(source, target)
    assert not report.not_carried and {file.name for file in report.files} == set(SHARDS)
    published.assert_same_tensors(published.read_tensors(target), tensors)
    assert json.loads((target / "model.safetensors.index.json").read_text())["weight_map"] == weight_map


@pytest.mark.parametrize("name", ["caf\udce9", "one `two`", "one\ntwo"])
def test_source_of_any_name_is_in_the_card(tmp_path, target, name):
    source = tmp_path / name
    write_checkpoint(source)
    (source / "README.md").write_text("card")
    convert(source, target)
    card = (target / "README.md").read_text()
    assert f"from `{name.translate(dict.fromkeys(map(ord, chr(0xDCE9) + chr(10) + '`'), '?'))}`, format" in card
    convert(target, tmp_path / "back", to="nemotron-nas")
    assert (tmp_path / "back/README.md").read_text() == "card"


def test_other_files_of_a_hub_cache_are_followed(tmp_path, target):
    snapshot, blobs = tmp_path / "models--x/snapshots/abc", tmp_path / "models--x/blobs"
    write_checkpoint(snapshot)
    blobs.mkdir()
    (blobs / "123").write_text("hello")
    (snapshot / "chat_template.jinja").symlink_to("../../blobs/123")
    convert(snapshot, target)
    assert (target / "chat_template.jinja").read_text() == "hello"
