"""What is remembered of an expansion: used when nothing that matters changed, and never else."""

import shutil
from pathlib import Path

import pytest

from transformers_heterogeneous.scripts.modular_converter import run
from transformers_heterogeneous.scripts.modular_converter.cache import storage
from transformers_heterogeneous.scripts.modular_converter.shards import reading
from transformers_heterogeneous.scripts.modular_converter.sources import paths, source

from .toybox import Toy


PARENT = """\
class ZzPart:
    size = 1


class ZzUnused:
    size = 2


class ZzModel:
    part = ZzPart()
"""
SHARD = """\
from toy.modeling_zz import ZzModel


class NewModel(ZzModel):
    pass


__all__ = ["NewModel"]
"""


@pytest.fixture
def shard(toy: Toy) -> Path:
    toy.parent("modeling_zz", PARENT)
    return toy.shard("new", SHARD)


def expand(shard: Path) -> tuple[str, bool]:
    """The output of a shard, as a new process would make it, and whether it was expanded anew."""
    source.read_source.cache_clear()
    reads: list[Path] = []
    with pytest.MonkeyPatch.context() as patch:
        read_shard = reading.read_shard
        patch.setattr(
            reading, "read_shard", lambda path, siblings: (reads.append(path), read_shard(path, siblings))[1]
        )
        done = run.expand([shard], lambda path: path.parent)
    assert not done.failed, done.messages()
    return "".join(done.files.values()), bool(reads)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_an_unchanged_shard_is_not_expanded_again(shard):
    first, expanded = expand(shard)
    assert expanded
    assert expand(shard) == (first, False)


def test_a_change_in_what_is_used_is_seen(shard, toy):
    expand(shard)
    edit(toy.root / "toy/modeling_zz.py", "size = 1", "size = 10")
    text, expanded = expand(shard)
    assert expanded and "size = 10" in text


def test_a_change_in_what_is_not_used_is_none(shard, toy):
    first, _ = expand(shard)
    edit(toy.root / "toy/modeling_zz.py", "size = 2", "size = 20")
    assert expand(shard) == (first, False)


def test_a_new_import_of_the_parent_is_seen(shard, toy):
    expand(shard)
    edit(toy.root / "toy/modeling_zz.py", "class ZzPart:", "import os\n\n\nclass ZzPart:")
    assert expand(shard)[1]


def test_a_change_in_the_shard_is_seen(shard):
    expand(shard)
    edit(shard, "    pass", "    extra = 3")
    text, expanded = expand(shard)
    assert expanded and "extra = 3" in text


def test_a_parent_from_another_place_is_seen(shard, toy, tmp_path, monkeypatch):
    expand(shard)
    shutil.copytree(toy.root / "toy", tmp_path / "first" / "toy")
    edit(tmp_path / "first/toy/modeling_zz.py", "size = 1", "size = 100")
    monkeypatch.syspath_prepend(str(tmp_path / "first"))
    paths.installed_folder.cache_clear()
    text, expanded = expand(shard)
    assert expanded and "size = 100" in text


def test_a_parent_that_no_longer_parses_is_an_error_not_a_crash(shard, toy):
    expand(shard)
    edit(toy.root / "toy/modeling_zz.py", "class ZzPart:", "class ZzPart(:")
    source.read_source.cache_clear()
    done = run.expand([shard], lambda path: path.parent)
    assert done.failed and not done.crashes and "modeling_zz.py:1" in done.messages()[0]


def test_another_generator_does_not_trust_it(shard, monkeypatch):
    expand(shard)
    monkeypatch.setattr(storage, "generator_digest", lambda: "another")
    assert expand(shard)[1]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"generator": 1}'])
def test_a_damaged_record_counts_as_none(shard, content):
    first, _ = expand(shard)
    record = storage.record_path(shard)
    record.write_text(content)
    assert expand(shard) == (first, True)
    assert expand(shard) == (first, False)


def test_a_folder_that_cannot_be_made_is_no_reason_to_fail(shard, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert expand(shard)[1] and expand(shard)[1]


def test_a_shard_with_an_error_is_not_remembered(shard):
    edit(shard, "    pass", "    def forward(self):\n        return undefined_name")
    for _ in range(2):
        done = run.expand([shard], lambda path: path.parent)
        assert done.failed and "undefined_name" in done.messages()[0]


def test_a_memory_edited_by_hand_is_noticed(shard: Path) -> None:
    before = expand(shard)[0]
    record = storage.record_path(shard)
    record.write_text(record.read_text().replace("NewModel", "OldModel"))
    assert expand(shard) == (before, True)
    assert expand(shard) == (before, False)


def test_a_file_written_by_hand_beside_the_shard_is_noticed(toy: Toy) -> None:
    toy.parent("modeling_zz", "from .configuration_zz import ZzConfig\n\n\nclass ZzModel:\n    config: ZzConfig\n")
    toy.parent("configuration_zz", "class ZzConfig:\n    pass\n")
    text = 'from toy.modeling_zz import ZzModel\n\n\nclass NewModel(ZzModel):\n    pass\n\n\n__all__ = ["NewModel"]\n'
    shard = toy.shard("new", text)
    assert "from toy.configuration_zz import ZzConfig\n" in toy.texts(shard)["modeling_new.py"]
    toy.write(toy.shards / "configuration_new.py", "class NewConfig:\n    pass\n")
    assert "from .configuration_new import NewConfig\n" in toy.texts(shard)["modeling_new.py"]
