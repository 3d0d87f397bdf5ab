"""What several of the converters' tests use."""

from toybox import toy


__all__ = ["toy"]
