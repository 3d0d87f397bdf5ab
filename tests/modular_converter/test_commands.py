"""`hetero generate` and `hetero check`: exit codes, what is written and what is said."""

import errno
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from transformers_heterogeneous.scripts.command import generate, project
from transformers_heterogeneous.scripts.command.generate import check_command, generate_command
from transformers_heterogeneous.scripts.modular_converter.releases.lock import NAME
from transformers_heterogeneous.scripts.modular_converter.sources.source import read_source

from .toybox import Toy


SHARD = 'from toy.modeling_zz import ZzModel\n\n\nclass NewModel(ZzModel):\n    pass\n\n\n__all__ = ["NewModel"]\n'


@pytest.fixture
def shard(toy: Toy) -> Path:
    toy.parent("modeling_zz", "class ZzPart:\n    pass\n\n\nclass ZzModel:\n    part = ZzPart()\n")
    return toy.shard("new", SHARD)


def test_generate_then_check(shard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_command([shard], None, as_json=False) == 1  # nothing there yet
    assert generate_command([shard], None) == 0
    assert check_command([shard], None, as_json=False) == 0
    assert "1 shards, 1 files, 1 identical" in capsys.readouterr().out


def test_one_character_differs(shard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate_command([shard], None)
    output = shard.parent / "modeling_new.py"
    output.write_text(output.read_text().replace("NewPart()", "NewPart( )"))
    capsys.readouterr()
    assert check_command([shard], None, as_json=False) == 1
    assert "-    part = NewPart( )\n+    part = NewPart()\n" in capsys.readouterr().out
    assert check_command([shard], None, as_json=True) == 1
    summary = json.loads(capsys.readouterr().out)
    assert (summary["shards"], summary["files"], summary["identical"]) == (1, 1, 0)
    assert summary["differing"] == [str(output)]


def test_output_folder(shard: Path, tmp_path: Path) -> None:
    assert generate_command([shard], tmp_path / "elsewhere") == 0
    assert (tmp_path / "elsewhere" / "modeling_new.py").exists()
    assert not (shard.parent / "modeling_new.py").exists()


def test_nothing_is_written_when_one_shard_fails(shard: Path, toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    broken = toy.shard("broken", SHARD.replace("ZzModel", "ZzModle"))
    assert generate_command([shard, broken], None) == 2
    assert sorted(path.name for path in shard.parent.iterdir()) == ["modular_broken.py", "modular_new.py"]
    assert "modular_broken.py:1:1: toy.modeling_zz defines no ZzModle" in capsys.readouterr().err


def test_missing_shard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate_command([tmp_path / "modular_none.py"], None) == 2
    assert "there is no such shard" in capsys.readouterr().err


def test_a_crash_is_reported_and_fails(
    shard: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers_heterogeneous.scripts.modular_converter.shards import reading

    def crash(path: Path, siblings: object) -> None:
        raise KeyError("inside")

    monkeypatch.setattr(reading, "read_shard", crash)
    assert check_command([shard], None, as_json=False) == 2
    assert "modular_new.py:1:1: the generator crashed here" in capsys.readouterr().err


def test_what_is_in_the_way_of_a_file(
    shard: Path, toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = toy.shard("other", SHARD.replace("New", "Other"))
    (shard.parent / "modeling_new.py").mkdir()
    assert generate_command([shard, other], None) == 2
    assert "modeling_new.py:1:1: cannot be written: there is a folder of this name" in capsys.readouterr().err
    assert sorted(path.name for path in shard.parent.iterdir()) == [
        "modeling_new.py",
        "modular_new.py",
        "modular_other.py",
    ]
    (tmp_path / "file").write_text("")
    assert generate_command([other], tmp_path / "file") == 2
    assert f"cannot be written: File exists: {tmp_path / 'file'}" in capsys.readouterr().err.replace("'", "")
    assert check_command([shard], None, as_json=False) == 1


def test_a_place_that_nobody_writes_to(
    shard: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(**options: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(shard.parent))

    monkeypatch.setattr(generate.tempfile, "mkstemp", refuse)
    assert generate_command([shard], None) == 2
    assert "modeling_new.py:1:1: cannot be written: Permission denied" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "# nothing but this\n", "import torch\n"])
def test_a_shard_that_exports_nothing(toy: Toy, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate_command([toy.shard("new", text)], None) == 0
    assert "modular_new.py:1:1: warning: no file comes from this shard: it has no `__all__`" in capsys.readouterr().err


def test_a_byte_order_mark_and_other_line_ends(shard: Path) -> None:
    generate_command([shard], None)
    output = shard.parent / "modeling_new.py"
    expected = output.read_bytes()
    shard.write_bytes(b"\xef\xbb\xbf" + shard.read_bytes().replace(b"\n", b"\r\n"))
    assert generate_command([shard], None) == 0
    assert output.read_bytes() == expected


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("\n", "\r\n", "this differs in its line ends: they are CRLF, and LF is written"),
        ("class NewModel:", "class  NewModel :", "this differs in its format alone: it is not as ruff "),
    ],
)
def test_a_file_that_another_formatter_or_system_wrote(
    shard: Path, old: str, new: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    generate_command([shard], None)
    output = shard.parent / "modeling_new.py"
    output.write_bytes(output.read_bytes().replace(old.encode(), new.encode()))
    assert check_command([shard], None, as_json=False) == 1
    assert f"modeling_new.py:1:1: warning: {said}" in capsys.readouterr().err


def test_the_lock_says_what_formatted_the_files(shard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shard.write_text(SHARD.replace("    pass", "    part = None"))
    generate_command([shard], None)
    lock = shard.parent / NAME
    assert f'formatter = "ruff {version("ruff")}"' in lock.read_text()
    lock.write_text(lock.read_text().replace(f"ruff {version('ruff')}", "ruff 0.0.1"))
    output = shard.parent / "modeling_new.py"
    formatted = output.read_text()
    output.write_text(formatted.replace("class NewModel", "class  NewModel"))
    assert check_command([shard], None, as_json=False) == 1
    assert f"formatted by ruff 0.0.1, as {NAME} says, not as ruff {version('ruff')}" in capsys.readouterr().err
    output.write_text(formatted)
    assert check_command([shard], None, as_json=False) == 0  # other releases that format alike are no difference
    output.unlink()
    generate_command([shard], None)
    assert f"ruff {version('ruff')}" in lock.read_text()


def test_files_come_beside_a_link(shard: Path, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / shard.name
    link.symlink_to(shard)
    assert generate_command([link], None) == 0
    assert (link.parent / "modeling_new.py").exists()
    assert not (shard.parent / "modeling_new.py").exists()


def test_our_own_families_are_current() -> None:
    assert check_command(None, None, as_json=False) == 0


@pytest.mark.slow
def test_same_bytes_under_any_hash_seed(tmp_path: Path) -> None:
    texts = set()
    for seed in ("0", "1", "2"):
        out = tmp_path / seed
        command = [sys.executable, "-m", "hetero", "generate", "--out", str(out)]
        memory = str(tmp_path / f"cache-{seed}")
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": seed, "XDG_CACHE_HOME": memory})
        texts.add("".join(path.read_text() for path in sorted(out.iterdir())))
    assert len(texts) == 1


def test_a_shard_that_fails_is_not_missed_in_the_package(
    shard: Path, toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing proposes to take a family out of `__init__.py` while its shard has an error."""
    house = tmp_path / "house"
    other = toy.write(house / "modular" / "modular_other.py", SHARD.replace("NewModel", "OtherModel"))
    toy.write(house / "modular" / "modular_new.py", SHARD)
    (house / "generated").mkdir()
    monkeypatch.setattr(project, "HOUSE", house)
    assert generate_command(None, None) == 0 and check_command(None, None, as_json=False) == 0
    toy.write(other, SHARD.replace("NewModel", "OtherModel").replace("ZzModel", "ZzModle"))
    read_source.cache_clear()  # as a new process
    capsys.readouterr()
    assert check_command(None, None, as_json=False) == 2
    assert "__init__.py" not in capsys.readouterr().out
