"""What differs between the releases of transformers that the suite runs on: the one place that asks for the version."""

import pytest

import transformers
from transformers.integrations import mxfp4


MINOR = tuple(int(part) for part in transformers.__version__.split(".")[:2])
CACHE = "cache" if MINOR >= (5, 24) else "past_key_values"  # of models' arguments, and of their outputs
WITHOUT_MIXER = set() if MINOR >= (5, 23) else {"conv"}  # what `layer_types` and masks call layers without one
NO_CACHE = "dummy" if MINOR >= (5, 23) else "conv"  # what caches take a layer for that keeps nothing
NO_CACHE_LAYER = "Dummy" if MINOR >= (5, 23) else "LinearAttention"  # and of which class it is

# What the suite asks for that older releases do not have -> the first that has it, and what is so in older ones
FEATURES = {
    "mamba_reads_seq_idx": ((5, 20), "mamba layers without kernels take seq_idx and do not read it"),
    "fp8_cache": ((5, 21), "no cache is quantised to FP8"),
    "dequantised_as_asked": ((5, 23), "experts in MXFP4 are dequantised to bfloat16, whatever dtype is asked for"),
    "models_are_pickled": ((5, 23), "no model with functions from the hub can be pickled"),
    "callable_exports": ((5, 23), "what the exporter returns cannot be called"),
    "paged_layers_without_attention": ((5, 23), "continuous batching has no place for layers without attention"),
    "deprecated_cache_name": ((5, 24), "the cache is called past_key_values, and has no older name"),
}


def has(feature: str) -> bool:
    return FEATURES[feature][0] <= MINOR


def needs(feature: str) -> pytest.MarkDecorator:
    """Skips a test where the release lacks a feature, saying what is so there."""
    reason = f"transformers {transformers.__version__}: {FEATURES[feature][1]}"
    return pytest.mark.skipif(not has(feature), reason=reason)


def runs_packed(mlp) -> bool:
    """Whether gpt-oss experts in MXFP4 are run by their kernel: in a module around them, before 5.21 by another forward."""
    if MINOR >= (5, 21):
        return type(mlp) is mxfp4.Mxfp4GptOssMLP
    return mlp.forward.__func__ is mxfp4.mlp_forward


def as_asked(model):
    """A model whose experts were in MXFP4, in the dtype that was asked for, float32."""
    return model if has("dequantised_as_asked") else model.float()
