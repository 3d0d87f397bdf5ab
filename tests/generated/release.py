"""What differs between the releases of transformers that the suite runs on: the one place that asks for the version."""

import pytest

import transformers
from transformers.integrations import mxfp4


MINOR = tuple(int(part) for part in transformers.__version__.split(".")[:2])
CACHE = "cache" if MINOR >= (5, 24) else "past_key_values"  # of models' arguments, and of their outputs
MAMBA_CACHE = "cache" if MINOR >= (5, 24) else "cache_params"  # of a mamba mixer's arguments

# What the suite asks for that older releases do not have -> the first that has it, and what is so in older ones
FEATURES = {
    "deprecated_cache_name": ((5, 24), "the cache is called past_key_values, and has no older name"),
}


def needs(feature: str) -> pytest.MarkDecorator:
    """Skips a test where the release lacks a feature, saying what is so there."""
    since, reason = FEATURES[feature]
    return pytest.mark.skipif(since > MINOR, reason=f"transformers {transformers.__version__}: {reason}")


def runs_packed(mlp) -> bool:
    """Whether gpt-oss experts in MXFP4 are run by their kernel: in a module around them, before 5.21 by another forward."""
    if MINOR >= (5, 21):
        return type(mlp) is mxfp4.Mxfp4GptOssMLP
    return mlp.forward.__func__ is mxfp4.mlp_forward
