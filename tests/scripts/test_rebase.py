"""`hetero rebase` on a shard and a parent small enough to read."""

import sys
from pathlib import Path

import pytest

from transformers_heterogeneous.scripts.command.generate import generate_command
from transformers_heterogeneous.scripts.command.rebase import rebase_command
from transformers_heterogeneous.scripts.modular_converter.releases.lock import NAME, read_lock
from transformers_heterogeneous.scripts.modular_converter.sources import paths, source

from ..modular_converter.toybox import Toy


PARENT = """\
from toy.helpers import old_tool


class ZzModel:
    limit = 1

    def forward(self, x, past=None):
        x = old_tool(x)
        return x, past

    def backward(self, x):
        return x
"""
SHARD = '''\
"""A shard."""

from toy.helpers import old_tool
from toy.modeling_zz import ZzModel


class NewModel(ZzModel):
    limit = 2  # ours

    # what is said above stays
    def forward(self, x, past=None):
        # ours
        if past is None:
            return x, past
        x = old_tool(x)
        return x, past


__all__ = ["NewModel"]
'''


@pytest.fixture
def shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [each for each in sys.modules if each.partition(".")[0] == "toy"]:
        monkeypatch.delitem(sys.modules, name)
    toy = Toy(tmp_path)
    toy.write(tmp_path / "toy" / "helpers.py", "def old_tool(x): return x\n\n\ndef new_tool(x): return x\n")
    toy.parent("modeling_zz", PARENT)
    path = toy.shard("new", SHARD)
    forget()
    assert generate_command([path], None) == 0
    return path


def forget() -> None:
    source.read_source.cache_clear()
    paths.installed_folder.cache_clear()


def release(shard: Path, *edits: tuple[str, str], folder: str = "") -> Path:
    """The parent's next release, installed, or in a folder of its own."""
    text = PARENT
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    root = shard.parent.parent / folder
    Toy(root).parent("modeling_zz", text)
    forget()
    return root


RENAMED = [
    ("past", "cache"),
    ("old_tool", "new_tool"),
    ("        return x, cache", "        x = x + 1\n        return x, cache"),
]


def test_merged(shard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release(shard, *RENAMED)
    assert generate_command([shard], None) == 2
    assert rebase_command([shard]) == 0
    assert "modular_new.py: merged NewModel.forward" in capsys.readouterr().out
    assert shard.read_text() == (
        SHARD.replace("past", "cache")
        .replace("old_tool", "new_tool")
        .replace("(x)\n        return", "(x)\n        x = x + 1\n        return")
    )
    forget()
    assert generate_command([shard], None) == 0
    assert "cache" in (shard.parent / "modeling_new.py").read_text()
    assert rebase_command([shard]) == 0
    assert "no override is stale" in capsys.readouterr().out


def test_what_was_formatted_stays_so(shard: Path) -> None:
    """By the settings of the project that the shard is in; what was not formatted is only merged."""
    (shard.parent / "ruff.toml").write_text("line-length = 52\n")
    long = ("past=None", "past=None, another_argument=None")
    for text in (SHARD, SHARD.replace("limit = 2", "limit=2")):
        release(shard)
        shard.write_text(text)
        (shard.parent / NAME).unlink()
        assert generate_command([shard], None) == 0
        release(shard, long)
        assert rebase_command([shard]) == 0
        one_line = "    def forward(self, x, past=None, another_argument=None):\n" in shard.read_text()
        lines = "    def forward(\n        self, x, past=None, another_argument=None\n    ):\n" in shard.read_text()
        assert (lines, one_line) == (text == SHARD, text != SHARD)


def test_conflict(shard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release(shard, ("limit = 1", "limit = 3"), *RENAMED)
    assert rebase_command([shard]) == 1
    said = capsys.readouterr().out
    assert f"{shard}:8:1: conflict in NewModel.limit: keep what is right of both" in said
    assert "merged NewModel.forward" in said
    text = shard.read_text()
    assert "cache=None" in text
    assert (
        "class NewModel(ZzModel):\n<<<<<<< NewModel.limit\n    limit = 2  # ours\n||||||| toy unknown\n    limit = 1\n"
        "=======\n    limit = 3\n>>>>>>> toy unknown\n\n    # what is said above stays\n"
    ) in text
    forget()
    assert generate_command([shard], None) == 2  # until somebody decides
    assert "modular_new.py:8:1: a conflict that a merge left, in NewModel.limit" in capsys.readouterr().err
    lines = text.splitlines(keepends=True)
    shard.write_text("".join([*lines[:7], "    limit = 2\n", *lines[14:]]))
    forget()
    assert generate_command([shard], None) == 0


def test_dry_run(shard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release(shard, *RENAMED)
    lock = (shard.parent / NAME).read_text()
    assert rebase_command([shard], dry_run=True) == 0
    out = capsys.readouterr().out
    assert "-    def forward(self, x, past=None):\n+    def forward(self, x, cache=None):\n" in out
    assert (shard.read_text(), (shard.parent / NAME).read_text()) == (SHARD, lock)


def test_onto_a_folder(shard: Path, tmp_path: Path) -> None:
    """What is rebased onto is read from there, and recorded."""
    root = release(shard, *RENAMED, folder="next")
    (root / "transformers" / "models").mkdir(parents=True)
    (root / "transformers" / "__init__.py").write_text('__version__ = "9.0"\n')
    assert rebase_command([shard], onto=str(root)) == 0
    assert "cache=None" in shard.read_text()
    assert "cache=None" in read_lock(shard.parent)[shard.name]["NewModel.forward"].text


def test_what_the_parent_no_longer_has(shard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release(shard, ("    limit = 1\n", ""), *RENAMED)
    assert rebase_command([shard]) == 1
    said = capsys.readouterr().out
    assert "modular_new.py:8:5: NewModel.limit replaces ZzModel.limit as toy unknown had it" in said
    assert "merged NewModel.forward" in said and "NewModel.limit" in read_lock(shard.parent)[shard.name]
    forget()
    assert generate_command([shard], None) == 2
    assert generate_command([shard], None, accept=["NewModel.limit"]) == 0


def test_what_was_never_recorded(shard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It would be taken for written beside the release that happens to be installed."""
    (shard.parent / NAME).unlink()
    release(shard, *RENAMED)
    assert rebase_command([shard]) == 0
    assert (
        "what these replaced is not recorded: NewModel.forward, NewModel.limit; `hetero generate`"
        in capsys.readouterr().out
    )
    assert not (shard.parent / NAME).exists() and shard.read_text() == SHARD


def test_what_cannot_be_rebased(shard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release(shard, ("class ZzModel", "class ZzOther"))
    assert rebase_command([shard]) == 2
    assert "toy.modeling_zz defines no ZzModel" in capsys.readouterr().err
    assert rebase_command([shard], onto="nonsense") == 2
    assert "'nonsense' is no folder, no wheel and no version" in capsys.readouterr().err
    assert rebase_command([shard.with_name("modular_none.py")]) == 2
    assert shard.read_text() == SHARD


DEPRECATES = '@deprecate_kwarg("{}", "6.0", new_name="cache")'


def release_of(shard: Path, before: str, mine: str, after: str) -> None:
    """A shard with one override, and the parent's next release."""
    toy = Toy(shard.parent.parent)
    toy.write(shard.parent.parent / "toy" / "helpers.py", "def deprecate_kwarg(*a, **k): return lambda f: f\n")
    head = "from toy.helpers import deprecate_kwarg\n\n\n"
    toy.parent("modeling_zz", head + before)
    shard.write_text(mine)
    (shard.parent / NAME).unlink(missing_ok=True)
    forget()
    assert generate_command([shard], None) == 0
    toy.parent("modeling_zz", head + after)
    forget()


PIECES = """\
class ZzPart:
{decorator}    def forward(self, {name}=None):
        return {name}


class ZzModel:
    def forward(self, x):
        y = x
        return y{more}
"""
OVERRIDE = """\
from toy.modeling_zz import ZzModel, ZzPart
{own}

class NewPart(ZzPart):
    pass


class NewModel(ZzModel):
    def forward(self, x):
        self.part(params=x)
        y = x
        return y


__all__ = ["NewModel", "NewPart"]
"""


def test_a_keyword_that_another_class_of_the_parents_gave_up_is_followed(shard: Path) -> None:
    """The override passes it on, and its own piece of the parent never said it."""
    after = PIECES.format(decorator=f"    {DEPRECATES.format('params')}\n", name="cache", more=" + 1")
    release_of(shard, PIECES.format(decorator="", name="params", more=""), OVERRIDE.format(own=""), after)
    assert rebase_command([shard]) == 0
    assert "self.part(cache=x)\n        y = x\n        return y + 1\n" in shard.read_text()


@pytest.mark.parametrize("own", ["", "\n\nclass NewOutput:\n    params: int = 0\n"])
def test_a_parameter_that_a_decorator_takes_for_another(shard: Path, own: str) -> None:
    """The override inherits the decorator: under its old name it would be given nothing. Where the shard has a field of this
    name, too, people decide."""
    before = "class ZzModel:\n    def forward(self, x, **kwargs):\n        return x\n"
    after = before.replace("    def", f"    {DEPRECATES.format('params')}\n    def")
    mine = (
        f"from toy.modeling_zz import ZzModel\n{own}\n\nclass NewModel(ZzModel):\n    def forward(self, x, params=None, **kwargs):\n"
        '        return x, params\n\n\n__all__ = ["NewModel"]\n'
    )
    release_of(shard, before, mine, after)
    assert rebase_command([shard]) == int(bool(own))
    if own:
        assert "<<<<<<< NewModel.forward" in shard.read_text()
    else:
        assert "forward(self, x, cache=None, **kwargs):\n        return x, cache\n" in shard.read_text()


def test_a_field_of_the_shards_own_keeps_the_name_that_the_parent_gave_up(shard: Path) -> None:
    """It is no field of the parent's: following would read what is not there."""
    before = "class ZzModel:\n    def forward(self, x):\n        y = 1\n        return x.states\n"
    after = before.replace("states", "outputs").replace("y = 1", "y = 2")
    mine = (
        "from toy.modeling_zz import ZzModel\n\n\nclass NewOutput:\n    states: int = 0\n\n\nclass NewModel(ZzModel):\n"
        "    output = NewOutput\n\n    def forward(self, x):\n        y = 1\n        x = self.output(x)\n        return x.states\n\n\n"
        '__all__ = ["NewModel"]\n'
    )
    release_of(shard, before, mine, after)
    assert rebase_command([shard]) == 1
    text = shard.read_text()
    assert "<<<<<<< NewModel" in text and "return x.states" in text
