"""What a shard replaces of its parents is recorded, and refused when the parent has changed it since."""

import tomllib
from pathlib import Path

import pytest

from transformers_heterogeneous.scripts.command.generate import check_command, generate_command
from transformers_heterogeneous.scripts.modular_converter.releases.lock import NAME, Recorded, read_lock, render_lock
from transformers_heterogeneous.scripts.modular_converter.sources import source

from .toybox import Toy


PARENT = """\
__version__ = "1.0"


LIMIT = 1


def helper(x):
    return x + 1


class ZzModel:
    size: int = 1
    other = 2
    gone = 3

    def __init__(self, config, scale=1):
        super().__init__()
        self.first = config.first
        self.second = config.second
        self.zz_third = config.third

    @property
    def width(self):
        return 1

    @width.setter
    def width(self, value):
        self.w = value

    def forward(self, x):
        # a comment
        return helper(x) * LIMIT

    def untouched(self, x):
        return x

    def dropped(self):
        return 1
"""
SHARD = """\
from toy.modeling_zz import ZzModel


def helper(x):
    return x + 2


class NewModel(ZzModel):
    size: int = 4
    gone = AttributeError()

    def __init__(self, config, scale=2):
        super().__init__(config, scale)
        self.second = 2 * config.second
        del self.new_third

    @width.setter
    def width(self, value):
        self.w = 2 * value

    def forward(self, x):
        return helper(x)

    def dropped(self):
        raise AttributeError()

    def mine(self):
        return 1


__all__ = ["NewModel"]
"""
RECORDED = {
    "NewModel.__init__": "def __init__(self, config, scale=1):\n    self.second = config.second\n"
    "    self.zz_third = config.third\n",
    "NewModel.dropped": "def dropped(self):\n    return 1\n",
    "NewModel.forward": "def forward(self, x):\n    # a comment\n    return helper(x) * LIMIT\n",
    "NewModel.gone": "gone = 3\n",
    "NewModel.size": "size: int = 1\n",
    "NewModel.width.setter": "@width.setter\ndef width(self, value):\n    self.w = value\n",
    "helper": "def helper(x):\n    return x + 1\n",
}


@pytest.fixture
def shard(toy: Toy) -> Path:
    toy.parent("modeling_zz", PARENT)
    path = toy.shard("new", SHARD)
    assert generate_command([path], None) == 0
    return path


def change(shard: Path, old: str, new: str) -> Path:
    """Change the parent of the shard, as a release does."""
    parent = shard.parent.parent / "toy" / "modeling_zz.py"
    text = parent.read_text()
    assert old in text
    parent.write_text(text.replace(old, new))
    source.read_source.cache_clear()
    return parent


def test_what_is_recorded(shard: Path) -> None:
    found = tomllib.loads((shard.parent / NAME).read_text())
    assert {name: each["text"] for name, each in found[shard.name].items()} == RECORDED
    assert found[shard.name]["NewModel.forward"]["parent"] == "toy.modeling_zz:ZzModel.forward"
    assert check_command([shard], None, as_json=False) == 0


@pytest.mark.parametrize(
    ("old", "new", "place", "name"),
    [
        ("return helper(x) * LIMIT", "return helper(x) * LIMIT * 2", "21:5", "NewModel.forward"),
        ("self, x):\n        # a", "self, x, y):\n        # a", "21:5", "NewModel.forward"),
        ("scale=1", "scale=1, more=2", "12:5", "NewModel.__init__"),
        ("self.second = config.second", "self.second = config.other", "12:5", "NewModel.__init__"),
        ("config.third", "config.fourth", "12:5", "NewModel.__init__"),
        ("size: int = 1", "size: int = 2", "9:5", "NewModel.size"),
        ("gone = 3", "gone = 4", "10:5", "NewModel.gone"),
        ("self.w = value", "self.v = value", "17:5", "NewModel.width.setter"),
        ("return x + 1", "return x - 1", "4:1", "helper"),
        (
            "    def dropped(self):\n        return 1",
            "    def dropped(self):\n        return 2",
            "24:5",
            "NewModel.dropped",
        ),
    ],
)
def test_a_stale_override_is_refused(
    shard: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, place: str, name: str
) -> None:
    change(shard, old, new)
    before = {path: path.read_bytes() for path in shard.parent.iterdir() if path.is_file()}
    capsys.readouterr()
    assert generate_command([shard], None) == check_command([shard], None, as_json=False) == 2
    said = capsys.readouterr().err
    assert f"modular_new.py:{place}: {name} replaces " in said
    assert f"`hetero generate --accept {name}`" in said
    assert {path: path.read_bytes() for path in shard.parent.iterdir() if path.is_file()} == before
    assert generate_command([shard], None, accept=[name]) == 0
    assert generate_command([shard], None) == 0


def test_what_changed_is_told_of_two_releases_and_of_files_edited_by_hand(
    shard: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(shard, "size: int = 1", "size: int = 2")
    generate_command([shard], None)
    said = capsys.readouterr().err
    assert (
        "NewModel.size replaces ZzModel.size as toy unknown had it when that was recorded, and now it is another there: the "
        "installed toy is edited, or another build:\n"
        "    --- toy unknown, as recorded\n    +++ toy unknown, as it is now\n"
    ) in said
    assert "has changed that" not in said
    lock = shard.parent / NAME
    lock.write_text(lock.read_text().replace('release = "toy unknown"', 'release = "toy 1.0"'))
    generate_command([shard], None)
    said = capsys.readouterr().err
    assert (
        "ZzModel.size as toy 1.0 had it, and toy unknown has changed that:\n    --- toy 1.0\n    +++ toy unknown\n"
        in said
    )


def test_the_name_of_no_override_cannot_be_accepted(shard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate_command([shard], None, accept=["NewModel.forwards", "all"]) == 2
    said = capsys.readouterr().err
    assert f"{NAME}:1:1: --accept NewModel.forwards: there is no such override; did you mean NewModel.forward?" in said


def test_with_super_kwargs_the_parameters_and_decorators_are_the_parents(shard: Path) -> None:
    """They are inherited, and no override that could be stale."""
    method = "    def forward(self, **super_kwargs):\n        return super().forward(**super_kwargs)\n"
    shard.write_text(shard.read_text().replace("    def forward(self, x):\n        return helper(x)\n", method))
    source.read_source.cache_clear()
    assert generate_command([shard], None) == 0
    assert read_lock(shard.parent)[shard.name]["NewModel.forward"].text == "def forward():\n    ...\n"
    change(shard, "    def forward(self, x):", "    @staticmethod\n    def forward(self, x, more=1):")
    assert generate_command([shard], None) == 0
    assert "def forward(self, x, more=1):" in (shard.parent / "modeling_new.py").read_text()


@pytest.mark.parametrize(
    ("old", "place", "name"),
    [
        (
            "    def forward(self, x):\n        # a comment\n        return helper(x) * LIMIT\n",
            "21:5",
            "NewModel.forward",
        ),
        ("    size: int = 1\n", "9:5", "NewModel.size"),
        ("def helper(x):\n    return x + 1\n", "4:1", "helper"),
    ],
)
def test_an_override_of_what_is_gone_is_refused(
    shard: Path, capsys: pytest.CaptureFixture[str], old: str, place: str, name: str
) -> None:
    change(shard, old, "")
    recorded = (shard.parent / NAME).read_text()
    assert generate_command([shard], None) == check_command([shard], None, as_json=False) == 2
    said = capsys.readouterr().err
    assert f"modular_new.py:{place}: {name} replaces " in said and "and that is gone from it" in said
    assert (shard.parent / NAME).read_text() == recorded
    assert generate_command([shard], None, accept=[name]) == 0
    assert generate_command([shard], None) == 0


def test_an_override_that_the_shard_drops_is_forgotten(shard: Path) -> None:
    shard.write_text(shard.read_text().replace("    size: int = 4\n", ""))
    source.read_source.cache_clear()
    assert generate_command([shard], None) == 0
    assert "NewModel.size" not in (shard.parent / NAME).read_text()


@pytest.mark.parametrize(
    "text", ["x = 'a'\n", 'x = """\'\'\' \f \U0001f600"""\n', "x = 1  # \u00e9 \\n\n", "x = '\x0c'\n"]
)
def test_a_lock_reads_what_it_wrote(tmp_path: Path, text: str) -> None:
    recorded = {"modular_a.py": {"A.b": Recorded("m:B.b", "toy 1", "1", "2", text)}}
    (tmp_path / NAME).write_text(render_lock(recorded), encoding="utf-8")
    assert read_lock(tmp_path) == recorded


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# a comment", "# another"),
        ("return helper(x) * LIMIT", "return helper(x)  *  LIMIT"),
        ("    def untouched(self, x):\n        return x", "    def untouched(self, x):\n        return -x"),
        ("self.first = config.first", "self.first = config.one"),
        ("other = 2", "other = 3"),
        ("LIMIT = 1", "LIMIT = 2"),
    ],
)
def test_what_is_inherited_or_only_said_is_no_bother(shard: Path, old: str, new: str) -> None:
    recorded = (shard.parent / NAME).read_text()
    change(shard, old, new)
    assert generate_command([shard], None) == 0
    assert (shard.parent / NAME).read_text() == recorded


def test_a_shard_that_replaces_more_of_the_same_piece_is_not_stale(shard: Path) -> None:
    edit = shard.read_text().replace("        self.second = 2", "        self.first = 2\n        self.second = 2")
    shard.write_text(edit)
    source.read_source.cache_clear()
    assert generate_command([shard], None) == 0
    assert "self.first" in (shard.parent / NAME).read_text()


def test_a_lock_serves_all_shards_of_its_folder(shard: Path, toy: Toy) -> None:
    other = toy.shard("other", SHARD.replace("New", "Other").replace("new_", "other_"))
    assert generate_command([other], None) == 0
    assert list(tomllib.loads((shard.parent / NAME).read_text())) == [
        "formatter",
        "modular_new.py",
        "modular_other.py",
    ]
    other.unlink()
    assert generate_command([shard], None) == 0
    assert list(tomllib.loads((shard.parent / NAME).read_text())) == ["formatter", "modular_new.py"]


def test_a_lock_that_is_missing_or_old_is_a_difference(shard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (shard.parent / NAME).read_text()
    (shard.parent / NAME).unlink()
    assert check_command([shard], None, as_json=False) == 1
    (shard.parent / NAME).write_text(text.replace("return x + 1", "return x + 1 "))
    assert check_command([shard], None, as_json=False) == 0
    (shard.parent / NAME).write_text(text.replace("[", "(", 1))
    assert check_command([shard], None, as_json=False) == 2
    assert "overrides.lock:1:1: this cannot be read: " in capsys.readouterr().err


def test_nothing_is_recorded_where_nothing_is_replaced(toy: Toy) -> None:
    toy.parent("modeling_zz", PARENT)
    shard = toy.shard(
        "new",
        SHARD[: SHARD.index("\n\ndef helper")]
        + '\n\n\nclass NewModel(ZzModel):\n    pass\n\n\n__all__ = ["NewModel"]\n',
    )
    assert generate_command([shard], None) == 0
    assert not (shard.parent / NAME).exists()
