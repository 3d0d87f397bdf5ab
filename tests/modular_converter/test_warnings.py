"""What is lost in a way that transformers' own shards rely on: a warning with its place, an error with `--strict`."""

import json
from pathlib import Path

import pytest

from transformers_heterogeneous.scripts.command.generate import check_command, generate_command

from .toybox import Toy


PARENT = """\
class ZzPart:
    def run(self, x, y=1):
        self.x = x


class ZzLayer:
    pass


class ZzModel:
    pass
"""
SHARD = """\
# Licence
from ..zz.modeling_zz import ZzLayer, ZzModel, ZzPart


class NewPart(ZzPart):
    pass


__all__ = ["NewPart"]
"""
DOCSTRING = "this docstring reaches no output: write it as a comment above the first statement, or into a class"


def warnings(toy: Toy, shard: Path) -> list[str]:
    """The warnings of a run as `line:column: message`; there must be no error."""
    run = toy.run(shard)
    assert not run.failed, run.messages()
    return [str(problem).removeprefix(f"{shard}:") for problem in sorted(set(run.problems))]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param("# Licence\n", '# Licence\n"""About."""\n', [f"2:1: warning: {DOCSTRING}"], id="docstring"),
        pytest.param(
            "class NewPart",
            "# Why\n# it is so\nclass NewPart",
            [
                "5:1: warning: this comment is lost: the comment above a class that inherits comes from the parent; "
                "move it into the class"
            ],
            id="comment above a class",
        ),
        pytest.param(
            "    pass",
            "    def run(self, x, y=1):\n        super().run(x, y=2)",
            [
                "7:26: warning: the argument `2` is ignored: the parent's body is pasted with its own name `y`; "
                "write `y = 2` before the call"
            ],
            id="argument",
        ),
        pytest.param(
            "    pass", "    def run(self, x, y=1):\n        super().run(x, y=y)", [], id="arguments of the same name"
        ),
        pytest.param(
            "__all__",
            "class NewTextModel(ZzModel):\n    pass\n\n\nclass NewLayer(ZzLayer):\n    pass\n\n\n__all__",
            [
                "9:1: warning: NewTextModel asks for the prefix NewText, but what comes from modeling_zz.py is called "
                "New: one parent file has one prefix; name the class after it, or define what it needs"
            ],
            id="prefixes",
        ),
        pytest.param(
            "\n\nclass",
            "\ntry:\n    import fast\nexcept ImportError:\n    fast = None\n\n\nclass",
            [
                "4:1: warning: this top-level statement is left out: only imports, classes, functions and `NAME = value` "
                "are carried over; move it into a function or a class"
            ],
            id="top-level statement",
        ),
    ],
)
def test_warning_inside_transformers(toy: Toy, old: str, new: str, expected: list[str]) -> None:
    toy.inside_parent("zz", PARENT)
    shard = toy.inside_shard("new", SHARD.replace(old, new, 1))
    assert warnings(toy, shard) == expected
    assert warnings(toy, shard) == expected  # as remembered


@pytest.fixture
def documented(toy: Toy) -> Path:
    """A shard outside transformers with one warning."""
    toy.parent("modeling_zz", PARENT)
    text = SHARD.replace("..zz.modeling_zz", "toy.modeling_zz").replace("# Licence\n", '"""About."""\n')
    return toy.shard("new", text)


def test_a_warning_is_said_and_stops_nothing(documented: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate_command([documented], None) == 0
    assert f"modular_new.py:1:1: warning: {DOCSTRING}\n" in capsys.readouterr().err


def test_strict_makes_it_an_error(documented: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate_command([documented], None, strict=True) == 2
    assert [path.name for path in documented.parent.iterdir()] == ["modular_new.py"]
    assert f"modular_new.py:1:1: {DOCSTRING}\n" in capsys.readouterr().err
    assert check_command([documented], None, as_json=False, strict=True) == 2


def test_warnings_of_transformers_are_said_on_demand(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    toy.inside_parent("zz", PARENT)
    shard = toy.inside_shard("new", SHARD.replace("# Licence\n", '"""About."""\n'))
    assert generate_command([shard], None) == 0
    assert capsys.readouterr().err == ""
    assert generate_command([shard], None, strict=True) == 2
    assert DOCSTRING in capsys.readouterr().err
    assert generate_command([shard], None, format="github") == 0
    assert DOCSTRING in capsys.readouterr().out


def test_github(
    documented: Path, toy: Toy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(toy.root)
    assert check_command([documented], None, as_json=False, format="github") == 1
    lines = capsys.readouterr().out.splitlines()
    assert f"::warning file=shards/modular_new.py,line=1,col=1::{DOCSTRING}" in lines
    stale = "this is not what its shard expands to: generate again"
    assert f"::error file=shards/modeling_new.py,line=1,col=1::{stale}" in lines


def test_github_escapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shard = tmp_path / "100%,a:b" / "modular_none.py"
    assert generate_command([shard], None, format="github") == 2
    place = f"{tmp_path}/100%25%2Ca%3Ab/modular_none.py"
    assert capsys.readouterr().out == f"::error file={place},line=1,col=1::there is no such shard\n"


def test_json(documented: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate_command([documented], None, as_json=True, format="github") == 0
    output = str(documented.parent / "modeling_new.py")
    warning = {"file": str(documented), "line": 1, "column": 1, "message": DOCSTRING, "severity": "warning"}
    expected = {"shards": 1, "files": 1, "written": [output], "errors": [warning]}
    assert json.loads(capsys.readouterr().out) == expected
    assert check_command([documented], None, as_json=True, strict=True) == 2
    assert json.loads(capsys.readouterr().out)["errors"] == [{**warning, "severity": "error"}]


def test_an_attribute_that_the_parent_has_read_before_it_is_set(toy: Toy) -> None:
    """Both lines stay, in Python's order, and what the parent read is told."""
    toy.parent(
        "modeling_zz",
        """
        class ZzPooler:
            width = 3


        class ZzModel:
            def __init__(self):
                self.pooler = ZzPooler()
                self.size = self.pooler.width
        """,
    )
    shard = toy.shard(
        "new",
        """
        from toy.modeling_zz import ZzModel


        class OtherPooler:
            width = 5


        class NewModel(ZzModel):
            def __init__(self):
                super().__init__()
                self.pooler = OtherPooler()


        __all__ = ["NewModel"]
        """,
    )
    run = toy.run(shard)
    assert not run.failed and "11:9: warning: the parent's method reads `self.pooler`" in run.messages()[0]
    names: dict[str, type] = {}
    exec(run.files[shard.parent / "modeling_new.py"], names)
    made = names["NewModel"]()
    assert (made.size, made.pooler.width) == (3, 5)
