"""What several of the converters' tests use."""

from .toy_family import toy


__all__ = ["toy"]
