"""`hetero generate --against` on shards and a parent small enough to read: what merges, what a partial shard decides, and
what is said where neither does."""

import re
import sys
import zipfile
from pathlib import Path

import libcst as cst
import pytest

from tests.modular_converter.toybox import Toy
from transformers_heterogeneous.scripts.command import drift, expand_against
from transformers_heterogeneous.scripts.command.generate import generate_command
from transformers_heterogeneous.scripts.modular_converter.releases.lock import read_lock
from transformers_heterogeneous.scripts.modular_converter.releases.overlay import overlay
from transformers_heterogeneous.scripts.modular_converter.sources import paths, source
from transformers_heterogeneous.scripts.modular_converter.sources.diagnostics import ShardError
from transformers_heterogeneous.scripts.packaging.build_backend import asked_release, project_for


PARENT = """\
from toy.helpers import new_tool


class ZzModel:
    limit = 3

    def forward(self, x, cache=None):
        x = new_tool(x)
        return x, cache
"""
OLDER = PARENT.replace("cache", "past").replace("new_tool", "old_tool")
SHARD = """\
from toy.helpers import new_tool
from toy.modeling_zz import ZzModel


class NewModel(ZzModel):
    limit = 2

    def forward(self, x, cache=None):
        if cache is None:
            return x, cache
        x = new_tool(x)
        return x, cache

    def own(self, x):
        return new_tool(x)


__all__ = ["NewModel"]
"""
PARTIAL = '''\
"""For 5.3 and older."""

from toy.helpers import old_tool


class NewModel:
    def own(self, x):
        return old_tool(x)
'''


class House:
    """A package of shards beside a toy parent, whose release is what `transformers` says it is."""

    def __init__(self, folder: Path) -> None:
        self.toy = Toy(folder)
        self.modular, self.out = folder / "house" / "modular", folder / "out"
        self.modular.mkdir(parents=True)
        (self.modular / "modular_new.py").write_text(SHARD)
        self.toy.write(folder / "toy" / "helpers.py", "def old_tool(x): return x\n\n\ndef new_tool(x): return x\n")
        self.release("5.4.0", PARENT)
        assert generate_command([self.modular / "modular_new.py"], folder / "newest") == 0

    def release(self, version: str, parent: str, helpers: str | None = None) -> None:
        root = self.modular.parents[1]
        self.toy.parent("modeling_zz", parent)
        self.toy.write(root / "transformers" / "__init__.py", f'__version__ = "{version}"\n')
        self.toy.write(root / "transformers" / "models" / "auto" / "modeling_auto.py", "class AutoModel: ...\n")
        if helpers is not None:
            self.toy.write(root / "toy" / "helpers.py", helpers)
        forget()

    def partial(self, minor: str, text: str) -> Path:
        path = self.modular / "releases" / minor / "modular_new.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        forget()
        return path

    def generate(self, *accept: str) -> int:
        return expand_against.expand_for_installed(self.modular, self.out, accept)

    @property
    def expanded(self) -> str:
        return (self.out / "modeling_new.py").read_text()


def forget() -> None:
    source.read_source.cache_clear()
    paths.installed_folder.cache_clear()


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [each for each in sys.modules if each.partition(".")[0] in ("toy", "transformers")]:
        monkeypatch.delitem(sys.modules, name)
    yield House(tmp_path)
    forget()


def test_overrides_merge_onto_the_older_parent_and_partial_shards_say_the_rest(house):
    house.partial("5.3", PARTIAL)
    house.release("5.3.1", OLDER, "def old_tool(x): return x\n")
    assert house.generate() == 0
    assert "def forward(self, x, past=None):\n        if past is None:" in house.expanded
    assert "x = old_tool(x)\n        return x, past" in house.expanded
    assert "return old_tool(x)" in house.expanded and "new_tool" not in house.expanded
    assert "toy unknown" in house.expanded and (house.out / "__init__.py").read_text().count('"5.3.1"') == 1
    assert (house.modular / "modular_new.py").read_text() == SHARD  # in the tree stands the newest alone
    assert "past" in read_lock(house.out / "modular")["modular_new.py"]["NewModel.forward"].text


def test_a_partial_shard_holds_for_older_releases_too_until_one_of_their_own(house):
    house.partial("5.3", PARTIAL)
    house.release("5.3.1", OLDER)
    assert house.generate() == 0
    house.partial("5.1", "class NewModel:\n    def own(self, x):\n        return x\n")
    house.release("5.2.0", OLDER)
    assert house.generate() == 0 and "return old_tool(x)" in house.expanded
    house.release("5.1.0", OLDER)
    assert house.generate() == 0 and "def own(self, x):\n        return x" in house.expanded


def test_a_partial_shard_of_a_newer_release_has_to_be_recorded_first(house, capsys):
    house.partial("5.3", PARTIAL)
    house.release("5.2.0", OLDER)
    assert house.generate() == 2
    assert re.search(r"modular_new\.py:7:5: what NewModel\.own replaced is not recorded", capsys.readouterr().err)


def test_shards_that_inherit_from_one_another(house):
    heir = 'from .modular_{} import {}Model\n\n\nclass {}Model({}Model):\n    pass\n\n\n__all__ = ["{}Model"]\n'
    for new, old in (("Second", "New"), ("Third", "Second")):
        text = heir.format(old.lower(), old, new, old, new)
        house.toy.write(house.modular / f"modular_{new.lower()}.py", text)
    house.partial("5.3", PARTIAL)
    house.release("5.3.0", OLDER, "def old_tool(x): return x\n")
    assert house.generate() == 0
    assert "def forward(self, x, past=None):" in (house.out / "modeling_third.py").read_text()


def test_what_the_shard_has_changed_since_is_refused_until_it_is_accepted(house, capsys):
    path = house.partial("5.3", PARTIAL)
    house.release("5.3.0", OLDER)
    assert house.generate() == 0
    shard = house.modular / "modular_new.py"
    shard.write_text(SHARD.replace("return new_tool(x)\n", "return new_tool(x) + 1\n"))
    forget()
    assert house.generate() == 2
    said = capsys.readouterr().err
    assert f"{path}:7:5: modular_new.py has changed what NewModel.own takes the place of" in said
    assert "-    return new_tool(x)" in said and "+    return new_tool(x) + 1" in said
    assert house.generate("NewModel.own") == 0 and house.generate() == 0
    shard.write_text(SHARD[: SHARD.index("    def own")] + '\n\n__all__ = ["NewModel"]\n')
    forget()
    assert house.generate() == 2 and "which is there no longer" in capsys.readouterr().err


def test_a_conflict_is_told_at_its_place_and_decided_in_a_partial_shard(house, capsys):
    house.partial("5.3", PARTIAL)
    house.release("5.3.0", OLDER.replace("limit = 3", "limit = 4"))
    assert house.generate() == 2
    assert f"{house.out}/modular/modular_new.py:6:1: conflict in NewModel.limit" in capsys.readouterr().err
    assert not (house.out / "modeling_new.py").exists()
    house.partial("5.3", PARTIAL.replace("class NewModel:\n", "class NewModel:\n    limit = 1\n"))
    assert house.generate() == 0 and "limit = 1" in house.expanded
    # and what was decided merges on, with the release that it was decided for as its base
    house.release("5.2.0", OLDER.replace("limit = 3", "limit = 4"))
    assert house.generate() == 0 and "limit = 1" in house.expanded


def test_names_that_the_older_release_lacks_are_errors(house, capsys):
    house.partial("5.3", "class NewModel:\n    pass\n")
    house.release("5.3.0", OLDER, "def old_tool(x): return x\n")
    assert house.generate() == 2
    assert "toy.helpers defines no new_tool" in capsys.readouterr().err


def test_shards_without_releases_are_for_one_release(house, capsys):
    house.release("5.3.0", OLDER)
    assert house.generate() == 2 and "take a checkout of the repository" in capsys.readouterr().err


BASE = "from a import b, c\n\n\ndef f(x):\n    return b(x)\n\n\nclass A(B):\n    n = 1\n\n    def g(self):\n        return c\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("class A:\n    n = 2\n", BASE.replace("n = 1", "n = 2")),
        ("def f(x):\n    return x\n", BASE.replace("b, c", "c").replace("b(x)", "x")),
        ("from d import b\n", BASE.replace("import b, c", "import c\nfrom d import b")),
        ("class A:\n    del n\n", BASE.replace("    n = 1\n\n", "\n")),
        ("del f\n", BASE.replace("b, c", "c").replace("def f(x):\n    return b(x)\n\n\n", "")),
        ("class A:\n    def h(self):\n        return 1\n", BASE + "    def h(self):\n        return 1\n"),
        ("K = 1\n", BASE + "K = 1\n"),
    ],
)
def test_pieces_in_their_places(text, expected):
    done = overlay(cst.parse_module(BASE), source.parse_source(Path("modular_x.py"), text))
    assert [line for line in done.module.code.splitlines() if line] == [line for line in expected.splitlines() if line]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("class A(B):\n    n = 2\n", "1:1: bases and decorators of A are those of the shard"),
        ("class A:\n    del m\n", "2:5: the shard has no A.m to take out"),
        ("del g\n", "1:1: the shard has no g to take out"),
        ("if f:\n    n = 2\n", "1:1: a partial shard holds"),
        ("class A:\n    n += 2\n", "2:5: a partial shard holds"),
    ],
)
def test_what_is_no_piece_is_refused_at_its_place(text, said):
    with pytest.raises(ShardError) as error:
        overlay(cst.parse_module(BASE), source.parse_source(Path("modular_x.py"), text))
    assert f"modular_x.py:{said}" in str(error.value)


def test_a_wheel_in_a_folder_is_a_release(tmp_path):
    def wheel(version: str) -> None:
        with zipfile.ZipFile(tmp_path / f"transformers-{version}-py3-none-any.whl", "w") as archive:
            archive.writestr("transformers/__init__.py", f'__version__ = "{version}"\n')

    with pytest.raises(drift.NoRelease, match="holds no package transformers"):
        drift.release_root(str(tmp_path), tmp_path / "unpacked")
    wheel("5.1.0")
    assert drift.release_name(drift.release_root(str(tmp_path), tmp_path / "unpacked")) == "transformers 5.1.0"
    wheel("5.2.0")
    with pytest.raises(drift.NoRelease, match=r"several wheels of transformers, transformers-5\.1\.0.*: give one"):
        drift.release_root(str(tmp_path), tmp_path / "unpacked")


def test_the_build_option():
    assert asked_release(None) is None and asked_release({"transformers": "5.19"}) == "5.19"
    with pytest.raises(SystemExit, match=r"a minor release such as 5\.19 is needed"):
        asked_release({"transformers": "5.19.0"})
    text = '[project]\nname = "x"\nversion = "5.24.3"\ndependencies = [\n    "torch",\n    "transformers>=5.24.0,<5.25",\n]\n'
    assert project_for(text, "5.19") == text.replace("5.24.3", "5.19.3").replace(">=5.24.0,<5.25", ">=5.19,<5.20")
