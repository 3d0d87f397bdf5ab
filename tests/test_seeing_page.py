"""docs/seeing.md shows what the commands really print, on the models that it makes."""

import os
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from transformers_heterogeneous.scripts.command.cli import app


PAGE = (Path(__file__).resolve().parents[1] / "docs" / "seeing.md").read_text()
MODELS = re.findall(r"<!-- models -->\n```py\n(.*?)```", PAGE, flags=re.DOTALL)[0]
BLOCKS = re.findall(r"```\n\$ hetero ([^\n]*)\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("page")
    before = Path.cwd()
    os.chdir(path)
    try:
        exec(compile(MODELS, "seeing.md", "exec"), {})
    finally:
        os.chdir(before)
    return path


@pytest.mark.parametrize(
    ("words", "shown"), BLOCKS, ids=[words.split()[0] + str(at) for at, (words, _) in enumerate(BLOCKS)]
)
def test_blocks_are_what_is_printed(words, shown, folder, monkeypatch):
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(app, words.split())
    printed = "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())
    assert printed.strip() == shown.strip(), done.output


def test_there_are_blocks():
    assert [words.split()[0] for words, _ in BLOCKS] == ["trace", "trace", "masks", "inspect"]
