"""What `inspect` has built once, no process builds again, as long as config and code are the same."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from transformers_heterogeneous import HeterogeneousLlamaConfig
from transformers_heterogeneous.converters import summarise
from transformers_heterogeneous.converters.families import family_of, meta_models, tensor_cache
from transformers_heterogeneous.converters.families.tensors import Tensor, Tensors


SMALL = {"hidden_size": 32, "head_dim": 8, "vocab_size": 96, "num_hidden_layers": 2}
TENSORS = Tensors(
    [Tensor("lm_head.weight", (4, 2), is_tied=True)],
    [[Tensor("norm.weight", (2,))], [Tensor("experts.0.weight", (2, 3), "experts", is_routed=True)]],
    "body.blocks",
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "transformers-heterogeneous/tensors"


@pytest.fixture
def built(monkeypatch) -> list[str]:
    """The models that are built from now on, as in a new process."""
    found: list[str] = []
    build = meta_models.built

    def count(model_class, config):
        found.append(model_class.__name__)
        return build(model_class, config)

    monkeypatch.setattr(meta_models, "built", count)
    monkeypatch.setattr(meta_models, "remembered", {})
    return found


def test_the_second_time_no_model_is_imported(folder, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "heterogeneous_llama", **SMALL, "intermediate_size": [48, 16]}))
    code = (
        "import sys, hetero\n"
        "try: hetero.main()\n"
        "finally: print([name for name in sys.modules if 'modeling_heterogeneous' in name or name == 'torch._dynamo'])"
    )
    command = [sys.executable, "-c", code, "inspect", str(path)]
    first, second = (
        subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines() for _ in range(2)
    )
    assert "transformers_heterogeneous.modeling_heterogeneous_llama" in first.pop()
    assert second.pop() == "[]" and second == first
    assert len(list(folder.iterdir())) == 1


def test_what_is_remembered_is_what_was_built(tmp_path):
    record = tmp_path / "folder/record.json"
    assert tensor_cache.recall(record) is None
    tensor_cache.remember(record, TENSORS)
    assert tensor_cache.recall(record) == TENSORS
    assert tensor_cache.recall(None) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"parts": 3}', '{"parts": [[{"nam": ""}]], "place": ""}'])
def test_a_record_that_cannot_be_read_is_built_again(text, folder, built, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "heterogeneous_llama", **SMALL}))
    expected = summarise(path)
    (record,) = folder.iterdir()
    record.write_text(text)
    meta_models.remembered.clear()
    assert summarise(path) == expected and len(built) == 2
    meta_models.remembered.clear()
    assert summarise(path) == expected and len(built) == 2


def test_a_folder_that_cannot_be_written_to(folder, built, tmp_path):
    folder.parent.write_text("a file")
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "heterogeneous_llama", **SMALL}))
    expected = summarise(path)
    meta_models.remembered.clear()
    assert summarise(path) == expected and len(built) == 2


def test_another_config_or_other_code_is_another_record(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "configuration.py").write_text("class Config: pass")
    from one.configuration import Config  # type: ignore[import-not-found]
    from two.configuration import Config as Other  # type: ignore[import-not-found]

    record = tensor_cache.record_of(Config, "{}")
    assert record == tensor_cache.record_of(Config, "{}")
    found = {record, tensor_cache.record_of(Config, "{ }"), tensor_cache.record_of(Other, "{}")}
    (tmp_path / "one/modeling.py").write_text("width = 2")
    found.add(tensor_cache.record_of(Config, "{}"))
    monkeypatch.setattr(tensor_cache, "version", lambda package: f"another {package}")
    found.add(tensor_cache.record_of(Config, "{}"))
    assert len(found) == 5
    monkeypatch.setattr(sys.modules["one.configuration"], "__file__", None)
    assert tensor_cache.record_of(Config, "{}") is None


def test_the_newest_are_kept(folder, monkeypatch):
    monkeypatch.setattr(tensor_cache, "MOST_FILES", 3)
    for number in range(5):
        tensor_cache.remember(folder / f"{number}.json", replace(TENSORS, place=str(number)))
        for path in folder.iterdir():  # as if each was written later than the others
            tensor_cache.os.utime(path, (int(path.stem), int(path.stem)))
    assert sorted(path.stem for path in folder.iterdir()) == ["2", "3", "4"]


def test_conversions_ask_the_model_itself(folder, built):
    """What is written is checked against what is installed, not against a file, also behind an `inspect` that read one."""
    family, config = family_of(HeterogeneousLlamaConfig), HeterogeneousLlamaConfig(**SMALL)
    family.tensor_shapes(config)
    assert len(built) == 1 and not folder.exists()
    meta_models.remembered.clear()
    family.tensors(config, cached=True)
    meta_models.remembered.clear()
    family.tensors(config, cached=True)
    assert len(built) == 2
    family.tensor_shapes(config)
    assert len(built) == 3
