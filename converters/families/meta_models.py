"""The tensors of a model, read off one that is built on the meta device with a layer of each kind."""

import re
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import cache
from typing import Any

from ..engine.errors import CheckpointError
from ..engine.headers import Shape
from .layers import place_in
from .tensor_cache import recall, record_of, remember
from .tensors import Ends, Tensor, Tensors


MOST_REMEMBERED = 16  # models, whose layers may be thousands
remembered: dict[tuple[type, str], Tensors] = {}


def tensors_of(config: Any, model_class: Callable[[], Any], on_disk: bool = False) -> Tensors:
    """
    The tensors of the model that a config describes.

    Args:
        model_class: Imports the class of the model, where one has to be built.
        on_disk: Whether models that an earlier process has built are remembered.

    Raises:
        CheckpointError: where no model can be built of it, in the words of what could not.
    """
    kinds = zip(config.mixer_types, config.mlp_types, *map(config.layer_sizes, config.per_layer_sizes), strict=True)
    first: dict[Any, int] = {}
    firsts = [first.setdefault(kind, layer_idx) for layer_idx, kind in enumerate(kinds)]
    try:
        described = small_config(config, list(first.values()))
        key = type(config), described.to_json_string(use_diff=False)
        record = record_of(*key) if on_disk else None
        known = remembered.get(key) or recall(record)
        if known is None:
            if len(remembered) == MOST_REMEMBERED:
                del remembered[next(iter(remembered))]
            known = remembered[key] = built(model_class(), described)
            remember(record, known)
    except CheckpointError:
        raise
    except Exception as error:  # whatever a module of any family says of its sizes
        reason = str(error) or type(error).__name__
        raise CheckpointError(
            f"{config.model_type}: no model can be built of this config:", reason.splitlines()
        ) from error
    places = {layer_idx: place for place, layer_idx in enumerate(first.values())}
    return replace(known, layers=[known.layers[places[layer_idx]] for layer_idx in firsts])


def small_config(config: Any, layers: Sequence[int]) -> Any:
    """The config of a model that has these layers alone, unfused, its experts and scales in plain numbers."""
    small = deepcopy(config)
    vars(small).pop("quantization_config", None)
    small.fused_blocks = None
    small.select_layers(layers)
    small._attn_implementation = "eager"  # others may not be installed
    return small


def built(model_class: Any, config: Any) -> Tensors:
    """The tensors of a model as `save_pretrained` names them. Nothing of it takes memory, or is filled with numbers."""
    import torch

    from transformers.initialization import no_init_weights

    with torch.device("meta"), no_init_weights():
        model = model_class(config)
    held, buffers, tied = model.state_dict(), dict(model.named_buffers()), model.all_tied_weights_keys
    place = next(name for name, module in model.named_modules() if module is model.base_model.layers)
    if place_in(f"{place}.0") is None:
        raise CheckpointError(
            f"{config.model_type}: its layers are called {place}, and only those called model.layers are converted, inspected "
            "and verified",
            remedy=f"{model_class.__name__}.from_pretrained reads checkpoints of its parent.",
        )
    saved = saved_otherwise(model, held, place)

    @cache
    def on_disk(inner: str, shape: Shape, is_buffer: bool, is_tied: bool) -> list[Tensor]:
        parts = saved.get((inner, shape), {inner: shape})
        is_stack = inner not in parts and all(shape == (len(parts), *part) for part in parts.values())
        stack, is_routed = inner if is_stack else "", "experts" in inner.split(".")
        is_other = inner not in parts
        return [
            Tensor(
                name,
                part,
                stack,
                is_buffer,
                is_tied,
                is_routed,
                together=stack or without_number(name) * is_other,
                inside=inner * is_other,
            )
            for name, part in parts.items()
        ]

    outside: list[Tensor] = []
    layers: list[list[Tensor]] = [[] for _ in range(config.num_hidden_layers)]
    num_before = 0
    for name, tensor in held.items():
        layer_idx, inner = in_layer(name, place)
        found = on_disk(inner, tuple(tensor.shape), name in buffers, name in tied)
        (outside if layer_idx is None else layers[layer_idx]).extend(found)
        num_before += len(found) * (layer_idx is None and not any(layers))
    return Tensors(outside, layers, place, replace(ends_of(model), num_before=num_before))


def ends_of(model: Any) -> Ends:
    """The modules before and behind the layers of a model: of its norms outside them, the last one."""
    names = {id(module): name for name, module in model.named_modules()}
    norms = [module for module in model.base_model.children() if "Norm" in type(module).__name__]
    ends = (model.get_input_embeddings(), norms[-1] if norms else None, model.get_output_embeddings())
    embedding, norm, head = ("" if module is None else names[id(module)] for module in ends)
    return Ends(embedding, norm, head)


def without_number(name: str) -> str:
    """What the tensors of all experts are called together; "" for one of no expert."""
    without, num = re.subn(r"\.\d+\.", ".", name, count=1)
    return without.removesuffix(".weight") * num


def in_layer(name: str, place: str) -> tuple[int | None, str]:
    """The layer that a tensor lies in, and what it is called there; outside the layers its whole name."""
    number, _, inner = name.removeprefix(f"{place}.").partition(".")
    return (int(number), inner) if name.startswith(f"{place}.") else (None, name)


def saved_otherwise(model: Any, held: Mapping[str, Any], place: str) -> dict[tuple[str, Shape], dict[str, Shape]]:
    """
    Name in its layer and shape of a tensor that is saved under other names -> these, and their shapes. Layers are saved
    alike, so that one tensor of each name and shape is asked about, and where it keeps its name, one of each name:
    transformers compiles patterns for all that it is asked about.
    """
    from transformers.core_model_loading import revert_weight_conversion

    shapes: dict[str, dict[Shape, str]] = {}
    for name, tensor in held.items():
        shapes.setdefault(in_layer(name, place)[1], {}).setdefault(tuple(tensor.shape), name)
    examples = {inner: next(iter(names.values())) for inner, names in shapes.items()}
    kept = revert_weight_conversion(model, {name: held[name] for name in examples.values()}).keys()
    saved: dict[tuple[str, Shape], dict[str, Shape]] = {}
    for inner in (inner for inner, name in examples.items() if name not in kept):
        shape_in = {in_layer(name, place)[0]: shape for shape, name in shapes[inner].items()}
        parts = revert_weight_conversion(model, {name: held[name] for name in shapes[inner].values()})
        for name, part in parts.items():
            layer_idx, part_name = in_layer(name, place)
            saved.setdefault((inner, shape_in[layer_idx]), {})[part_name] = tuple(part.shape)
    return saved
