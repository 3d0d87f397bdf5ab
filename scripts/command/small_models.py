"""Small configs of any model, and inputs for it: what a shard and its expansion are run with."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from transformers import PreTrainedConfig, PreTrainedModel

from ..modular_converter.sources.diagnostics import nearest
from .small import LAYERS, small_decoder, small_value


SEED = 1
BATCH, LENGTH = 2, 7
# What a decoder has, whatever else it is
OF_DECODERS = {"vocab_size", "hidden_size", "num_attention_heads"}


def small_configs(config_class: type[PreTrainedConfig], changes: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The fields of small configs, each another try, with what a user gives in all of them: sizes by their names alone, and
    with those of decoders that have to fit one another."""
    config = config_class()
    yield _merged(_small(config), changes)
    yield _merged(_small(config, decoders=True), changes)


def small_fields(config_class: type[PreTrainedConfig], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a config that make a model small: known sizes by their names, and what the user gives."""
    return next(small_configs(config_class, changes))


def _small(config: PreTrainedConfig, decoders: bool = False) -> dict[str, Any]:
    declared = vars(config)
    fields: dict[str, Any] = {}
    layers = {value for name, value in declared.items() if "layers" in name and isinstance(value, int)}
    sizes = small_decoder(declared) if decoders and declared.keys() >= OF_DECODERS else {}
    num_layers = LAYERS if sizes else 2
    for name, value in declared.items():
        if isinstance(value, PreTrainedConfig):
            fields[name] = _small(value, decoders)
            if type(value).__module__.startswith("transformers."):
                fields[name]["model_type"] = value.model_type
        elif isinstance(value, list) and len(value) in layers and "layer" in name:
            fields[name] = value[:num_layers]
        elif type(value) is int and not name.startswith("_") and (small := small_value(name, value)) != value:
            fields[name] = small
        elif name == "pad_token_id" and value is None:  # which heads over batches ask for
            fields[name] = 0
    fields |= sizes
    rope = declared.get("rope_parameters")
    if isinstance(rope, dict) and len(rope.get("mrope_section", ())) == 3:
        pairs = fields.get("head_dim", declared.get("head_dim") or 8) // 2
        fields["rope_parameters"] = {**rope, "mrope_section": [pairs - 2 * (pairs // 4), pairs // 4, pairs // 4]}
    return fields


def _merged(fields: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in changes.items():
        nested = isinstance(value, Mapping) and isinstance(fields.get(name), dict)
        fields[name] = _merged(fields[name], value) if nested else value
    return fields


def unknown_fields(configs: list[PreTrainedConfig], changes: Mapping[str, Any]) -> list[str]:
    """What is said of the fields given that none of the configs has."""
    errors = []
    known = {name for config in configs for name in (*vars(config), *config.attribute_map) if not name.startswith("_")}
    for name, value in changes.items():
        nested = [each for config in configs if isinstance(each := getattr(config, name, None), PreTrainedConfig)]
        if name not in known:
            kinds = ", ".join(type(config).__name__ for config in configs)
            errors.append(f"{name} is no field of {kinds}{nearest(name, known)}")
        elif nested and isinstance(value, Mapping):
            errors += [f"{name}: {error}" for error in unknown_fields(nested, value)]
    return errors


def small_inputs(model: PreTrainedModel) -> Iterator[dict[str, torch.Tensor]]:
    """Inputs for the parameters of a model's forward that are known by name, each another try: all of them, text alone, and
    several texts to choose from."""
    generator = torch.Generator().manual_seed(SEED)
    wanted = inspect.signature(type(model).forward).parameters
    text = model.config.get_text_config()
    tokens = torch.randint(3, max(4, getattr(text, "vocab_size", 100)), (BATCH, LENGTH), generator=generator)
    found = {"input_ids": tokens} if "input_ids" in wanted else {}
    if "decoder_input_ids" in wanted:
        found["decoder_input_ids"] = tokens[:, :5]
    others = {
        name: torch.randn(BATCH, *shape, generator=generator)
        for name, shape in _shapes(model).items()
        if name in wanted and shape
    }
    if "spatial_shapes" in wanted and "pixel_values" in others:  # images of any form, as rows of patches
        num_patches = others["pixel_values"].shape[1]
        others["pixel_attention_mask"] = torch.ones(BATCH, num_patches, dtype=torch.int)
        others["spatial_shapes"] = torch.tensor([[1, num_patches]] * BATCH)
    if "input_features_mask" in wanted and "input_features" in others:
        others["input_features_mask"] = torch.ones(BATCH, others["input_features"].shape[-1], dtype=torch.int)
    yield found | others
    if found and others:
        yield found
    if found:
        yield {name: each[:, None].repeat(1, 3, 1) for name, each in found.items()}


def _shapes(model: PreTrainedModel) -> dict[str, tuple[int, ...]]:
    """What one row of a batch is, of images and of sound."""
    config = model.config
    image = next(
        (each for each in (config, getattr(config, "vision_config", None)) if hasattr(each, "patch_size")), None
    )
    image = image or next(
        (each for each in (config, getattr(config, "vision_config", None)) if _has_images(each)), None
    )
    mels = getattr(config, "num_mel_bins", 80)
    spectrum = hasattr(config, "num_mel_bins") and hasattr(config, "max_length")
    return {
        "pixel_values": _image_shape(image) if image else (),
        "input_values": (config.max_length, mels) if spectrum else (1600,),
        "input_features": (mels, 2 * getattr(config, "max_source_positions", 32)),
    }


def _has_images(config: PreTrainedConfig | None) -> bool:
    return hasattr(config, "num_channels") or hasattr(config, "image_size")


def _image_shape(config: PreTrainedConfig) -> tuple[int, ...]:
    channels, size = getattr(config, "num_channels", 3), getattr(config, "image_size", 32)
    if hasattr(config, "num_patches"):
        return config.num_patches, channels * config.patch_size**2
    return (channels, *(size if isinstance(size, list | tuple) else (size, size)))
