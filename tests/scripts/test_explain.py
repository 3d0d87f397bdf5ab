"""`hetero explain` on a shard and a parent small enough to count the lines."""

import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from transformers_heterogeneous.integrations.installing import how_to_install
from transformers_heterogeneous.scripts.command import cli
from transformers_heterogeneous.scripts.command.cli import app


PARENT = """\
class ZzHelper:
    def run(self):
        return 1


class ZzLayer:
    def __init__(self, size):
        self.size = size
        self.helper = ZzHelper()

    def forward(self, x):
        return x
"""
SHARD = """\
from zz_package.modeling_zz import ZzLayer


class NewLayer(ZzLayer):
    def __init__(self, size):
        super().__init__(size)
        self.size = 2 * size
        self.extra = 3


__all__ = ["NewLayer"]
"""


@pytest.fixture
def shard(tmp_path, monkeypatch):
    package = tmp_path / "zz_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "modeling_zz.py").write_text(PARENT)
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "modular_new.py"
    path.write_text(SHARD)
    return path


def explain(name: str, shard) -> tuple[int, list[list[str]]]:
    """The exit code, and the columns of each line below the heading."""
    result = CliRunner().invoke(app, ["explain", name, str(shard)])
    lines = result.output.splitlines()[1:]
    return result.exit_code, [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]


def test_pieces_of_a_merged_method(shard):
    assert explain("NewLayer.__init__", shard) == (
        0,
        [
            ["modular_new.py:5", "shard", "def __init__(self, size)"],
            ["modular_new.py:7", "shard", "self.size = 2 * size"],
            ["modeling_zz.py:9", "parent, pasted for super()", "self.helper = NewHelper()"],
            ["modular_new.py:8", "shard", "self.extra = 3"],
        ],
    )


def test_an_inherited_method(shard):
    assert explain("NewLayer.forward", shard)[1] == [
        ["modeling_zz.py:11", "parent, inherited", "def forward(self, x)"],
        ["modeling_zz.py:12", "parent, inherited", "return x"],
    ]


def test_a_method_of_a_class_that_was_copied_along(shard):
    assert explain("NewHelper.run", shard)[1][1] == ["modeling_zz.py:3", "parent, class copied", "return 1"]


def test_an_unknown_method_gets_the_nearest_name(shard):
    result = CliRunner().invoke(app, ["explain", "NewLayer.forwards", str(shard)])
    assert result.exit_code == 2 and "did you mean NewLayer.forward?" in result.stderr


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        (("ruff",), "ruff is missing"),
        (("libcst",), "libcst is missing"),
        (("libcst", "ruff"), "libcst and ruff are missing"),
    ],
)
def test_without_the_extra_the_command_says_what_to_install(shard, monkeypatch, missing, said):
    monkeypatch.setattr(cli, "find_spec", lambda name: None if name in missing else name)
    explain = ["explain", "NewLayer.forward", str(shard)]
    for command in (["generate", str(shard)], ["check"], explain, ["drift"], ["new", "mine", "--parent", "qwen3"]):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 2
        assert result.stderr == f"hetero: {said}: {how_to_install('generator')}\n"


def test_other_commands_do_not_need_libcst():
    code = (
        "import sys, hetero\nsys.argv = ['hetero', 'convert', '--help']\ntry: hetero.main()\nexcept SystemExit: pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{code}assert 'libcst' not in sys.modules"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_ruff_without_its_program(monkeypatch, capsys):
    def ruff_program():
        raise FileNotFoundError

    monkeypatch.setattr(
        "transformers_heterogeneous.scripts.modular_converter.output.formatting.ruff_program", ruff_program
    )
    with pytest.raises(typer.Exit):
        cli.need_generator()
    assert "ruff is installed without its program: pip install --force-reinstall ruff" in capsys.readouterr().err


@pytest.mark.release
def test_the_families_of_this_house_as_the_documents_show():
    result = CliRunner().invoke(app, ["explain", "HeterogeneousLlamaDecoderLayer.__init__"])
    places = [line.split()[0].partition(":")[0] for line in result.output.splitlines()[1:]]
    assert result.exit_code == 0 and set(places) == {"modular_heterogeneous_llama.py", "modeling_llama.py"}
