"""The toy workplace of the generator's tests."""

import sys
from pathlib import Path

import pytest

from transformers_heterogeneous.scripts.modular_converter.sources import paths, source

from .toybox import Toy


@pytest.fixture(autouse=True)
def no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test expands for itself: what earlier runs remembered is out of sight."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source.read_source.cache_clear()


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    """An empty toy workplace whose package can be found."""
    monkeypatch.syspath_prepend(str(tmp_path))
    paths.installed_folder.cache_clear()
    for name in [each for each in sys.modules if each.partition(".")[0] == "toy"]:
        monkeypatch.delitem(sys.modules, name)
    return Toy(tmp_path)
