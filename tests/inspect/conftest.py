"""What the tests of `inspect` share with the converters'."""

from ..converters.conftest import no_old_tensors


__all__ = ["no_old_tensors"]
