"""A kernel package as the `kernels` library reads it, in plain torch: it shows that kernels are bound, not speed."""

from . import layers


__all__ = ["layers"]
