"""Expansions are formatted by the ruff that is imported, and wherever the command is called."""

from pathlib import Path

import pytest
from ruff.__main__ import find_ruff_bin

from transformers_heterogeneous.scripts.modular_converter.output.formatting import format_files, ruff_program


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch):
    """The search for ruff, as it is at the start of a run."""
    ruff_program.cache_clear()
    yield ruff_program
    ruff_program.cache_clear()


def test_the_program_is_that_of_the_imported_ruff_where_others_lie_elsewhere(search, tmp_path, monkeypatch) -> None:
    """As in an isolated build: pip puts what the build asks for where ruff's own search does not look."""
    site = tmp_path / "normal" / "lib" / "site-packages"
    (site / "ruff-9.9.9.dist-info").mkdir(parents=True)
    (site / "ruff-9.9.9.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: ruff\nVersion: 9.9.9\n")
    (site / "ruff-9.9.9.dist-info" / "RECORD").write_text("ruff/__init__.py,,\n../../bin/ruff,,\n")
    program = tmp_path / "normal" / "bin" / "ruff"
    program.parent.mkdir()
    program.touch()
    monkeypatch.syspath_prepend(site)
    assert Path(search()).resolve() == program
    assert Path(find_ruff_bin()).resolve() != program


def test_where_nothing_is_recorded_ruff_searches_itself(search, monkeypatch) -> None:
    monkeypatch.setattr(
        "transformers_heterogeneous.scripts.modular_converter.output.formatting.files", lambda name: None
    )
    assert search() == find_ruff_bin()


def test_the_current_folder_changes_nothing(tmp_path, monkeypatch) -> None:
    text = "import torch\nimport aaa_tool\nimport zzz_tool\n\n\nprint(aaa_tool, torch, zzz_tool)\n"
    monkeypatch.chdir(tmp_path)
    files = {Path("modeling_a.py"): text}
    before, _ = format_files(files)
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").touch()
    (tmp_path / "aaa_tool.py").touch()
    after, _ = format_files(files)
    assert after == before
