"""Values that nobody thought of, at the boundary: each ends as a short message about the file, never as a traceback."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from transformers_heterogeneous.converters import CheckpointError, checkpoint, convert, summarise, verify
from transformers_heterogeneous.converters.engine.errors import MAX_LINE, refuse

from .published import CONFIG, write_checkpoint


INDEX, ROPE = "model.safetensors.index.json", CONFIG["rope_scaling"]


def configure(**members: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **members}))

    return spoil


def rename_tensor(name: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        index = json.loads((folder / INDEX).read_text())
        old, file_name = next(iter(index["weight_map"].items()))
        tensors = load_file(folder / file_name)
        tensors[name] = tensors.pop(old)
        index["weight_map"][name] = index["weight_map"].pop(old)
        save_file(tensors, folder / file_name, metadata={"format": "pt"})
        (folder / INDEX).write_text(json.dumps(index))

    return spoil


def rename_shard(name: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        index = json.loads((folder / INDEX).read_text())
        index["weight_map"][next(iter(index["weight_map"]))] = name
        (folder / INDEX).write_text(json.dumps(index))

    return spoil


CONFIGS = {
    "rope type that is a list": configure(rope_scaling={**ROPE, "rope_type": ["llama3"]}),
    "rope type that is an object": configure(rope_scaling={**ROPE, "rope_type": {"a": 1}}),
    "older name of the type": configure(rope_scaling={"type": {"a": 1}, "factor": 2.0}),
    "float that is a list": configure(rope_theta={"__float__": [1]}),
    "float that is an object": configure(rope_theta={"__float__": {}}),
    "float that is none": configure(rope_theta={"__float__": None}),
    "activation of a megabyte": configure(hidden_act="x" * 10**6),
}
WEIGHTS = {
    "layer of 5,000 digits": rename_tensor(f"model.layers.{'9' * 5000}.mlp.up_proj.weight"),
    "tensor name of a megabyte": rename_tensor("x" * 10**6),
    "shard name of 5,000 characters": rename_shard("x" * 5000 + ".safetensors"),
    "shard in folders that are too deep": rename_shard("/".join(["a" * 200] * 30) + ".safetensors"),
    "method of a megabyte": configure(quantization_config={"quant_method": ["x" * 10**6]}),
    "float in ModelOpt's file": lambda folder: (folder / "hf_quant_config.json").write_text(
        '{"a": {"__float__": []}}'
    ),
}


@pytest.mark.parametrize("spoil", [*CONFIGS.values(), *WEIGHTS.values()], ids=[*CONFIGS, *WEIGHTS])
def test_is_refused(spoil, tmp_path, attempted):
    source = tmp_path / "source"
    write_checkpoint(source)
    spoil(source)
    attempts = [lambda: convert(source, tmp_path / "ours"), lambda: verify(source, source)]
    for attempt in [*attempts, *([lambda: summarise(source)] if spoil in CONFIGS.values() else [])]:
        with pytest.raises(CheckpointError) as caught:
            attempt()
        with attempted("damaged checkpoints", CheckpointError):
            raise caught.value
        assert len(str(caught.value)) < 5 * MAX_LINE and "source" in str(caught.value)
    assert os.listdir(tmp_path) == ["source"]


@pytest.mark.parametrize("error", [KeyError("a"), TypeError("b"), ZeroDivisionError("c"), OSError(5, "Input/output")])
def test_whatever_is_raised_while_it_is_read(error, tmp_path, monkeypatch):
    write_checkpoint(tmp_path / "source")

    def broken(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(checkpoint, "check_tensors", broken)
    for attempt in (lambda: convert(tmp_path / "source", tmp_path / "ours"), lambda: verify(tmp_path / "source", "x")):
        with pytest.raises(CheckpointError, match=str(tmp_path / "source")) as caught:
            attempt()
        assert caught.value.__cause__ is error


def test_messages_are_cut():
    with pytest.raises(CheckpointError) as caught:
        refuse("heading", ["first" + "x" * 10**6 + "last", "short"])
    heading, long, short = str(caught.value).split("\n")
    assert (heading, short) == ("heading:", "  short")
    assert long.startswith("  firstxxx") and long.endswith("xxxlast") and len(long) <= MAX_LINE
    assert "characters ..." in long


# Ctrl-C while a module is looked for
STOPPED = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored
import hetero
class Stop:
    def find_spec(name, path, target=None):
        if name == {name!r}:
            os.kill(os.getpid(), signal.SIGINT)
            while True: pass
sys.meta_path.insert(0, Stop)
sys.modules.pop({name!r}, None)
hetero.main()
"""


@pytest.mark.skipif(os.name != "posix", reason="stops with a signal")
@pytest.mark.parametrize("name", ["io", "importlib.util", "transformers_heterogeneous", "typer"])
def test_stopped_while_it_starts(name):
    arguments = [sys.executable, "-c", STOPPED.format(name=name), "inspect", "a"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Stopped before anything was begun.\n")
