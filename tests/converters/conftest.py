"""What several of the converters' tests use."""

from collections.abc import Iterator

import pytest

from .toy_family import toy


__all__ = ["toy"]


@pytest.fixture(autouse=True, scope="session")
def no_old_tensors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What `inspect` remembers of other runs is out of sight, and theirs is left alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
