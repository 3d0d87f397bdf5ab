"""The toy workplace of the generator's tests."""

from pathlib import Path

import pytest
from toybox import Toy

from transformers_heterogeneous.scripts.modular_converter import resolve


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    """An empty toy workplace whose package can be found."""
    monkeypatch.syspath_prepend(str(tmp_path))
    resolve.installed_folder.cache_clear()
    return Toy(tmp_path)
