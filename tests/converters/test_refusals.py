"""Bad checkpoints: one clear error each, which names the culprit, and nothing is left behind."""

import errno
import json
import os
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from transformers_heterogeneous.converters import CheckpointError, conversion, convert, summarise, verify
from transformers_heterogeneous.converters.engine import writing
from transformers_heterogeneous.converters.engine.transfer import Move, carry_moves
from transformers_heterogeneous.converters.formats import recognition

from . import published
from .published import CONFIG, write_checkpoint


FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"
EMBEDDING = "model.embed_tokens.weight"


def weight_map(folder: Path) -> dict[str, str]:
    return json.loads((folder / INDEX).read_text())["weight_map"]


def reindex(folder: Path, changes: dict[str, str | None]) -> None:
    """Change, add or (with `None`) remove entries of the index."""
    entries = {**weight_map(folder), **changes}
    published.write_index(folder, {name: file_name for name, file_name in entries.items() if file_name is not None})


def rewrite(folder: Path, changes: dict[str, torch.Tensor | None]) -> None:
    """Change, add or (with `None`) remove tensors of the first shard, and of the index."""
    kept = {name for name, file_name in weight_map(folder).items() if file_name == FIRST}
    tensors = {name: tensor for name, tensor in published.read_tensors(folder).items() if name in kept}
    tensors = {name: tensor for name, tensor in {**tensors, **changes}.items() if tensor is not None}
    save_file(tensors, folder / FIRST)
    reindex(folder, {name: None if tensor is None else FIRST for name, tensor in changes.items()})


def truncate(path: Path, num_bytes: int) -> None:
    os.truncate(path, path.stat().st_size - num_bytes)


def configure(folder: Path, **changes: object) -> None:
    (folder / "config.json").write_text(json.dumps({**CONFIG, **changes}))


def change_block(folder: Path, layer: int, sub_block: str, **changes: object) -> None:
    blocks = deepcopy(CONFIG["block_configs"])
    blocks[layer][sub_block].update(changes)
    configure(folder, block_configs=blocks)


def only_pickles(folder: Path) -> None:
    for name in (FIRST, SECOND, INDEX):
        (folder / name).unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80")


def nothing_at_all(folder: Path) -> None:
    only_pickles(folder)
    (folder / "pytorch_model.bin").unlink()


def linked_folder(folder: Path) -> None:
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    (folder / FIRST).rename(elsewhere / "x.safetensors")
    (folder / "inside").symlink_to(elsewhere)
    names = [name for name, file_name in weight_map(folder).items() if file_name == FIRST]
    reindex(folder, dict.fromkeys(names, "inside/x.safetensors"))


def three_wrong_tensors(folder: Path) -> None:
    rewrite(folder, {EMBEDDING: torch.zeros(3, 5), "model.layers.1.self_attn.q_proj.weight": torch.zeros(64, 64)})
    names = [name for name, file_name in weight_map(folder).items() if file_name == FIRST and "layers" in name]
    rewrite(folder, {names[0]: None})


def no_attention(folder: Path) -> None:
    blocks = deepcopy(CONFIG["block_configs"])
    for block in blocks:
        block["attention"]["no_op"] = True
    configure(folder, block_configs=blocks)


BAD: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    # Files
    "missing shard": (lambda folder: (folder / SECOND).unlink(), [SECOND, "missing"]),
    "truncated shard": (lambda folder: truncate(folder / SECOND, 10), [SECOND, "outside", "truncated"]),
    "shard cut in its header": (lambda folder: os.truncate(folder / FIRST, 100), [FIRST, "truncated"]),
    "shard that does not parse": (lambda folder: (folder / FIRST).write_text("<html>not found</html>"), [FIRST]),
    "two truncated shards": (
        lambda folder: (truncate(folder / FIRST, 1), truncate(folder / SECOND, 1)),
        [FIRST, SECOND],
    ),
    "pickles alone": (only_pickles, ["pytorch_model.bin", "convert", "safetensors"]),
    "no weights": (nothing_at_all, ["model.safetensors", INDEX]),
    "shards without index": (lambda folder: (folder / INDEX).unlink(), [FIRST, SECOND, INDEX]),
    "two sets of weights": (
        lambda folder: save_file({"w": torch.zeros(1)}, folder / "model.safetensors"),
        ["'model.safetensors'", "two sets"],
    ),
    # Index
    "index that is not JSON": (lambda folder: (folder / INDEX).write_text("{"), [INDEX, "not JSON"]),
    "index without map": (lambda folder: (folder / INDEX).write_text("{}"), [INDEX, "weight_map", "None"]),
    "absolute path": (lambda folder: reindex(folder, {EMBEDDING: "/etc/x.safetensors"}), ["/etc/x", EMBEDDING]),
    "path of a drive": (lambda folder: reindex(folder, {EMBEDDING: "C:\\x.safetensors"}), ["C:", EMBEDDING]),
    "path upwards": (lambda folder: reindex(folder, {EMBEDDING: "../x.safetensors"}), ["../x", EMBEDDING]),
    "path upwards, the other way": (lambda folder: reindex(folder, {EMBEDDING: "a\\..\\..\\x.safetensors"}), ["x.s"]),
    "path with a zero byte": (lambda folder: reindex(folder, {EMBEDDING: "x\0.safetensors"}), [EMBEDDING, "inside"]),
    "file that is no safetensors": (lambda folder: reindex(folder, {EMBEDDING: "config.json"}), ["'config.json'"]),
    "linked folder that leads outside": (linked_folder, ["inside/x.safetensors", "outside", "elsewhere"]),
    "tensor in no shard": (
        lambda folder: reindex(folder, {"model.ghost": FIRST}),
        ["'model.ghost'", FIRST, "no file"],
    ),
    "tensor that the index lacks": (lambda folder: reindex(folder, {EMBEDDING: None}), [EMBEDDING, "not listed"]),
    "tensor in the other shard": (lambda folder: reindex(folder, {EMBEDDING: SECOND}), [EMBEDDING, FIRST, SECOND]),
    "tensor in two shards": (
        lambda folder: save_file(published.read_tensors(folder), folder / FIRST),
        ["model.norm.weight", f"in the headers of {FIRST}, {SECOND}"],
    ),
    # Tensors and config
    "tensors that contradict the config": (
        three_wrong_tensors,
        [EMBEDDING, "[3, 5]", "[96, 64]", "model.layers.1.self_attn.q_proj.weight", "unexpected", "missing"],
    ),
    "no config": (lambda folder: (folder / "config.json").unlink(), ["config.json"]),
    "config that is not JSON": (lambda folder: (folder / "config.json").write_text("{'a': 1}"), ["config.json"]),
    "config that is a list": (lambda folder: (folder / "config.json").write_text("[]"), ["config.json", "list"]),
    "unknown format": (
        lambda folder: configure(folder, model_type="phi3"),
        ["phi3", "nemotron-nas", "deci", "llama"],
    ),
    "wrong number of blocks": (lambda folder: configure(folder, num_hidden_layers=6), ["block_configs", "5", "6"]),
    "blocks that are no list": (lambda folder: configure(folder, block_configs=3), ["config.json", "nemotron-nas"]),
    "heads that do not divide": (
        lambda folder: change_block(folder, 3, "attention", n_heads_in_group=3),
        ["block_configs[3]", "3", "4"],
    ),
    "a billion layers": (
        lambda folder: configure(folder, num_hidden_layers=10**9, num_local_experts=[10**9]),
        ["num_hidden_layers = 1,000,000,000", "num_local_experts = 1,000,000,000", "4,096"],
    ),
    "sparsify": (
        lambda folder: change_block(folder, 1, "ffn", sparsify=["2:4"]),
        ["block_configs[1].ffn", "sparsify"],
    ),
    "sinks": (
        lambda folder: change_block(folder, 0, "attention", num_sink_tokens=4),
        ["block_configs[0].attention", "num_sink_tokens"],
    ),
    "activation that does not exist": (
        lambda folder: [change_block(folder, 0, "ffn", hidden_act=None), configure(folder, hidden_act="silly")],
        ["config.json", "hidden_act is 'silly'", "did you mean 'silu'?"],
    ),
    "rope that does not exist": (
        lambda folder: configure(folder, rope_scaling={"type": "foo", "factor": 2.0}),
        ["config.json", "rope_scaling", "'foo'", "llama3"],
    ),
    "dtype that does not exist": (
        lambda folder: configure(folder, torch_dtype="foo"),
        ["torch_dtype = 'foo'", "bfloat16"],
    ),
    "quantised tensor": (
        lambda folder: rewrite(folder, {EMBEDDING: torch.zeros(96, 64, dtype=torch.float8_e4m3fn)}),
        [EMBEDDING, "F8_E4M3", "BF16"],
    ),
    "no heads": (
        lambda folder: configure(folder, num_attention_heads=0, vocab_size=-1),
        ["config.json", "num_attention_heads = 0: a positive integer", "vocab_size = -1"],
    ),
    "rope that is no object": (
        lambda folder: configure(folder, rope_scaling="linear"),
        ["config.json:\n  rope_scaling = 'linear': an object is needed"],
    ),
    "classifier": (
        lambda folder: configure(folder, architectures=["LlamaForSequenceClassification"]),
        ["config.json", "LlamaForSequenceClassification", "only causal LMs"],
    ),
    "no attention": (no_attention, ["attention", "at least one layer"]),
    "quantised in an unknown way": (
        lambda folder: configure(folder, quantization_config={"quant_method": 4}),
        ["quantization_config", "quant_method = 4", "a name such as 'modelopt' is needed"],
    ),
}


@pytest.mark.parametrize(("spoil", "words"), BAD.values(), ids=BAD.keys())
def test_bad_checkpoint_is_refused(tmp_path, spoil, words):
    source, target = tmp_path / "published", tmp_path / "converted"
    write_checkpoint(source)
    spoil(source)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(CheckpointError) as caught:
        convert(source, target)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert sorted(os.listdir(tmp_path)) == before


WISHES = {
    "--dequantise": ({"dequantise": True}, "this checkpoint is not quantised"),
    "--max-shard-size": ({"to": "anymodel", "max_shard_size": "1GB"}, "anymodel prescribes the files"),
}


@pytest.mark.parametrize(("wishes", "words"), WISHES.values(), ids=WISHES.keys())
def test_wish_that_cannot_be_carried_out(wishes, words, request, tmp_path):
    write_checkpoint(tmp_path / "published")
    with pytest.raises(CheckpointError, match=words) as caught:
        convert(tmp_path / "published", tmp_path / "converted", **wishes)
    assert str(caught.value).endswith(f"\nLeave out {request.node.callspec.id}.")


def test_summary_names_the_file(tmp_path):
    write_checkpoint(tmp_path)
    configure(tmp_path, torch_dtype="foo")
    with pytest.raises(CheckpointError) as caught:
        summarise(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'config.json'}:")


@pytest.mark.parametrize("name", ["rope_scaling", "rope_parameters", "quantization_config"])
def test_value_that_is_no_object(name):
    changed = {**published.DIALECTS["A"], name: "linear"}
    with pytest.raises(CheckpointError, match=rf"file:\n  {name} = 'linear': an object is needed$"):
        recognition.family_config(recognition.recognise(changed, "file"), changed, "file")


def test_field_of_older_releases_is_read_over(tmp_path):
    write_checkpoint(tmp_path / "published", {**CONFIG, "use_return_dict": True})
    convert(tmp_path / "published", tmp_path / "ours")
    assert "use_return_dict" not in json.loads((tmp_path / "ours/config.json").read_text())
    assert convert(tmp_path / "ours", tmp_path / "back", to="nemotron-nas").restored


def test_all_wrong_layers_at_once(tmp_path):
    blocks = deepcopy(CONFIG["block_configs"])
    blocks[0]["attention"]["num_sink_tokens"] = 4
    blocks[1]["ffn"]["sparsify"] = ["2:4"]
    write_checkpoint(tmp_path / "published", {**CONFIG, "block_configs": blocks})
    with pytest.raises(CheckpointError) as caught:
        convert(tmp_path / "published", tmp_path / "converted")
    assert "block_configs[0]" in str(caught.value) and "block_configs[1]" in str(caught.value)


def not_empty(folder: Path) -> Path:
    folder.mkdir()
    (folder / "precious.txt").write_text("mine")
    return folder


TARGETS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "folder with something in it": (lambda folder: not_empty(folder / "converted"), "exists"),
    "file": (lambda folder: (folder / "published/config.json"), "lies inside"),
    "the source": (lambda folder: folder / "published", "lies inside"),
    "the source by another name": (lambda folder: folder / "published/../published", "lies inside"),
    "inside the source": (lambda folder: folder / "published/converted", "lies inside"),
    "around the source": (lambda folder: folder, "exists"),
}


@pytest.mark.parametrize(("choose", "words"), TARGETS.values(), ids=TARGETS.keys())
@pytest.mark.parametrize("dry_run", [False, True])
def test_bad_target_is_refused(tmp_path, choose, words, dry_run):
    write_checkpoint(tmp_path / "published")
    target = choose(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CheckpointError, match=words):
        convert(tmp_path / "published", target, dry_run=dry_run)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["nowhere", "published/config.json"])
def test_source_that_is_no_folder(tmp_path, name):
    write_checkpoint(tmp_path / "published")
    with pytest.raises(CheckpointError, match=name):
        convert(tmp_path / name, tmp_path / "converted")


def interrupt(monkeypatch: pytest.MonkeyPatch, interruption: BaseException) -> None:
    """Let the second file that is written end with this."""
    calls, put_together = [], writing.put_together

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise interruption
        return put_together(*arguments)

    monkeypatch.setattr(writing, "put_together", interrupted)


FAILURES = [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("a bug")]


@pytest.mark.parametrize("failure", FAILURES, ids=["full disk", "bug"])
def test_run_that_fails_leaves_nothing(tmp_path, monkeypatch, failure):
    source, target = tmp_path / "published", tmp_path / "new/converted"
    write_checkpoint(source)
    interrupt(monkeypatch, failure)
    expected = CheckpointError if isinstance(failure, OSError) else type(failure)
    with pytest.raises(expected) as caught:
        convert(source, target, jobs=1)
    assert os.listdir(tmp_path) == ["published"]
    if isinstance(failure, OSError):
        assert "No space left" in str(caught.value)
    monkeypatch.undo()
    convert(source, target)


def test_config_comes_last(tmp_path, monkeypatch):
    """What a kill leaves in the hidden folder does not load: config.json is not there until all else is."""
    source, seen = tmp_path / "published", []
    write_checkpoint(source)
    write_text = conversion.write_text

    def spy(path: Path, text: str) -> None:
        seen.append((path.name, sorted(os.listdir(path.parent))))
        write_text(path, text)

    monkeypatch.setattr(conversion, "write_text", spy)
    convert(source, tmp_path / "converted")
    assert seen[-1] == ("config.json", ["README.md", "hetero_origin.json", FIRST, SECOND, INDEX])


@pytest.mark.parametrize("position", [2, 3])
def test_source_that_shrinks_while_it_is_copied(tmp_path, position):
    (tmp_path / "source").write_bytes(b"12345")
    with (
        (tmp_path / "source").open("rb") as source,
        (tmp_path / "target").open("wb") as target,
        pytest.raises(CheckpointError, match="source ended at byte 5 of 8"),
    ):
        moves = [Move("source", 2, 6, position)]
        carry_moves({"source": source.fileno()}, target.fileno(), moves, False, lambda num_bytes: None)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)
CONFIGS = st.sampled_from([*published.DIALECTS.values(), published.DECI, published.TRAP])


@settings(max_examples=150, deadline=None)
@given(config=CONFIGS, number=st.integers(0, 100), value=VALUES)
def test_config_with_any_value_is_read_or_refused(config, number, value):
    name = sorted(config)[number % len(config)]
    changed = {**config, name: value}
    try:
        published_format = recognition.recognise(changed, "config.json")
        read = recognition.family_config(published_format, changed, "config.json")
        published_format.family.tensor_shapes(read)
    except CheckpointError as error:
        assert "config.json" in str(error)


@settings(max_examples=150, deadline=None)
@given(
    layer=st.integers(0, 4), sub_block=st.sampled_from(["attention", "ffn"]), number=st.integers(0, 10), value=VALUES
)
def test_block_with_any_value_is_read_or_refused(layer, sub_block, number, value):
    blocks = deepcopy(CONFIG["block_configs"])
    name = sorted(blocks[layer][sub_block])[number % len(blocks[layer][sub_block])]
    blocks[layer][sub_block][name] = value
    changed = {**CONFIG, "block_configs": blocks}
    try:
        published_format = recognition.recognise(changed, "config.json")
        read = recognition.family_config(published_format, changed, "config.json")
        published_format.family.tensor_shapes(read)
    except CheckpointError as error:
        assert "config.json" in str(error)


@pytest.mark.parametrize("call", ["source", "target", "under it", "inspect", "verify"])
def test_a_link_that_leads_to_itself(call, tmp_path):
    write_checkpoint(tmp_path / "source", CONFIG)
    loop = tmp_path / "loop"
    loop.symlink_to(tmp_path / "other")
    (tmp_path / "other").symlink_to(loop)
    calls = {
        "source": lambda: convert(loop, tmp_path / "ours"),
        "target": lambda: convert(tmp_path / "source", loop),
        "under it": lambda: convert(tmp_path / "source", loop / "ours"),
        "inspect": lambda: summarise(loop),
        "verify": lambda: verify(tmp_path / "source", loop),
    }
    with pytest.raises(CheckpointError, match=r"loop(/ours)?: is a link that leads to itself"):
        calls[call]()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loop", "other", "source"]
