"""
A checkpoint with a config that is worked out from the shapes of its tensors, where config.json still says what they were before
somebody cut them. What is found is built, and compared with every header.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from .checkpoint import Checkpoint, check_head, check_layout, in_family_layout, with_dtype
from .engine.errors import CheckpointError, refuse
from .engine.headers import Shape
from .engine.plan import NamedTensor, read_tensors, unused_tensors
from .engine.quantised import BLOCKS, COMPUTABLE, SCALES, is_scale, unpacked_shape
from .engine.tensor_plan import TensorPlan, join
from .engine.weights import read_weights
from .families.layers import place_in, renumbered
from .families.relations import lists_beside, with_layers
from .findings import Found, Layers, Reading, reading_config
from .formats.published_format import PublishedFormat
from .formats.recognition import config_file, family_config, read_config
from .quantisation import quantisation_method
from .reading_shapes import read_shapes
from .tensor_checks import check_tensors


def inferred_checkpoint(
    folder: Path, given: Mapping[str, Any], dtype: str | None = None
) -> tuple[Checkpoint, dict[str, str]]:
    """
    A checkpoint with the config that the shapes of its tensors say, and field -> where its numbers came from.

    Args:
        given: Fields of the config that are known otherwise.
        dtype: What the config is to say instead of its own, as torch calls it.

    Raises:
        CheckpointError: names what contradicts itself, and each field that is open, with its readings.
    """
    published, config_dict = read_config(folder)
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: a checkpoint folder is needed, this is a file: shapes are in the weights")
    check_head(config_dict, str(config_file(folder)))
    method = quantisation_method(folder, config_dict)
    if method not in (None, *COMPUTABLE):
        raise CheckpointError(
            f"{folder}: quantised by {method!r}, whose tensors do not have the shapes of the model's",
            remedy="Infer from the checkpoint that this one was made from.",
        )
    config = stated_config(published, with_dtype(config_dict, dtype), given, str(config_file(folder)))
    weights = read_weights(folder)
    names = {**published.names, **published.family.fused_names(config)}
    tensors, dropped = read_tensors(weights, names, published.dropped)
    tensors = in_family_layout(tensors, published, config)
    layouts = published.family.other_layouts
    check_layout(folder, tensors, {} if published.family.joined(config) else layouts)
    unused = unused_tensors(tensors, published.family.unused)
    layers, outside = shapes_of({name: tensor for name, tensor in tensors.items() if name not in unused})
    if not layers:
        raise CheckpointError(f"{folder}: holds no tensor of a layer, such as model.layers.0.: {sorted(outside)[:5]}")
    found = Found(folder, published, config_dict, config, given, layers, outside)
    reading = read_shapes(found)
    refuse(f"{folder}: the shapes are those of no {published.family.config_class.model_type}", reading.problems)
    refuse(
        f"{folder}: the shapes leave open",
        (f"{name}: {readings}" for name, readings in reading.asked.items()),
        remedy=f"Say it: {' '.join(f'--set {name}=...' for name in reading.asked)}",
    )
    refuse(
        f"{folder}: config.json says of other layers", unknown_lists(found), remedy="Write there what holds for these."
    )
    final = config_of(found, reading)
    numbers = {old: new for new, old in enumerate(sorted(layers))}
    gone = tuple(
        NamedTensor(tensors[name].pieces[0].tensor, tensors[name].file, reason)
        for name, reason in reading.left_over.items()
    )
    kept = {renumbered(name, numbers): tensor for name, tensor in tensors.items() if name not in reading.left_over}
    kept = {name: replace(tensor, name=name) for name, tensor in kept.items() if name}
    if groups := published.family.joined(final):
        kept = join(kept, groups, published.family.tensor_shapes(final))
    check_layout(folder, kept, layouts)
    unused = {renumbered(name, numbers): named for name, named in unused.items()}
    check_tensors(str(folder), kept, unused, published.family, final, method, remedy="")
    same = all(old == new for old, new in numbers.items())
    checkpoint = Checkpoint(
        folder,
        published,
        config_dict,
        final,
        method,
        weights,
        kept,
        (*dropped, *gone),
        unused,
        {} if same else numbers,
    )
    return checkpoint, reading.sources


def stated_config(
    published: PublishedFormat, config_dict: Mapping[str, Any], given: Mapping[str, Any], file: str
) -> Any:
    """What config.json says, with scalars that the caller has set in the place of its own."""
    config = family_config(published, config_dict, file)
    known = type(config).__dataclass_fields__
    refuse(
        "--set",
        (f"{name} is no field of {config.model_type}" for name in given if name not in known),
        remedy=f"It has {', '.join(known)}.",
    )
    shared = {name: value for name, value in given.items() if name not in (*config.per_layer_sizes, "layer_types")}
    if not shared:
        return config
    rows = [layer_of(config, layer) for layer in range(config.num_hidden_layers)]
    with reading_config():
        return with_layers(published.family, config, rows, range(len(rows)), **shared)


def layer_of(config: Any, layer: int) -> dict[str, Any]:
    """What the lists of a config say of one layer."""
    types = {"mixer_types": config.mixer_types[layer], "mlp_types": config.mlp_types[layer]}
    return types | {name: config.layer_sizes(name)[layer] for name in config.per_layer_sizes}


def shapes_of(tensors: Mapping[str, TensorPlan]) -> tuple[Layers, dict[str, Shape]]:
    """The shapes that tensors have in the model, by layer, and outside the layers; packed ones unpacked."""
    layers: Layers = {}
    outside: dict[str, Shape] = {}
    for name, tensor in tensors.items():
        shape = unpacked_shape(tensor)
        if is_scale(name) or (name.endswith(SCALES) and name.removesuffix(SCALES) + BLOCKS in tensors):
            continue
        if name.endswith(BLOCKS) and len(tensor.shape) == 4:
            name = name.removesuffix(BLOCKS)
            experts, num_out, groups, size = tensor.shape
            shape = (experts, groups * size * 2, num_out)
        if (place := place_in(name)) is None:
            outside[name] = shape
        else:
            layers.setdefault(place[0], {})[name.removeprefix(f"model.layers.{place[0]}.")] = shape
    return layers, outside


def unknown_lists(found: Found) -> Iterator[str]:
    """Lists by layer that no shape tells, where the layers may have new numbers."""
    whole, last = found.config.num_hidden_layers, max(found.layers)
    for name in lists_beside(found.config) if last + 1 != whole else ():
        if len(set(entries := getattr(found.config, name))) > 1:
            yield f"{name} = {entries}, and there are {len(found.layers)} layers, the last number {last}"


def layers_in_config(found: Found) -> list[int]:
    """The layers of config.json that those which were found are like, in its lists that no shape tells."""
    renumbered = max(found.layers) + 1 != found.config.num_hidden_layers
    return [0 if renumbered else layer for layer in sorted(found.layers)]


def config_of(found: Found, reading: Reading) -> Any:
    """The config of what was found."""
    fields = {name: value for name, value in found.given.items() if name not in found.config.per_layer_sizes}
    fields.pop("layer_types", None)
    with reading_config():
        final = with_layers(
            found.family, found.config, reading.layers, layers_in_config(found), **fields, **reading.shared
        )
    final.architectures = [found.family.architecture]
    if quantisation := getattr(found.config, "quantization_config", None):
        final.quantization_config = quantisation
    return final
