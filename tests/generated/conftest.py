"""Small models, and tokens for them."""

import pytest
import torch

from .small import MIXED, THINNED, build


torch.set_num_threads(1)  # small models; two processes with two threads each would wait for one another


@pytest.fixture
def mixed():
    return build(MIXED)


@pytest.fixture
def thinned():
    return build(THINNED)


@pytest.fixture
def tokens() -> torch.Tensor:
    """(2, 14) token ids without padding and without the end of a sequence."""
    return torch.randint(2, 126, (2, 14), generator=torch.Generator().manual_seed(1))
