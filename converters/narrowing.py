"""
Layers made narrower: the config, and the plan of the tensors, without the units that go. Which dimension follows which size
is read off the model (`families/relations.py`).
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from .checkpoint import Checkpoint
from .choosing import Chooser
from .engine.errors import CheckpointError, refuse
from .engine.open_files import held
from .engine.plan import NamedTensor
from .engine.quantised import COMPUTABLE
from .families.layers import renumbered
from .formats.recognition import UNREADABLE
from .loading import Loading
from .pruning import shortened, with_numbers
from .pruning_plan import PruningPlan
from .summary import FIELDS, field_in, summary_of
from .tensor_checks import check_tensors


@dataclass(frozen=True)
class Size:
    """How large a model is: parameters, those that a token passes through, bytes of its tensors, and what it keeps of a token
    and of a sequence."""

    num_parameters: int
    num_active_parameters: int
    num_bytes: int
    kv_cache_bytes_per_token: int
    state_bytes: int


@dataclass(frozen=True)
class Cut:
    """What was cut out of a checkpoint, and how large it was and is. `record` has the plan, and the units that stay."""

    before: Size
    after: Size
    record: dict[str, Any]


def size_of(source: Checkpoint) -> Size:
    """How large a checkpoint is."""
    summary = summary_of("", source.published, source.config, Loading(None, None))
    return Size(
        summary.num_parameters,
        summary.num_active_parameters,
        sum(tensor.num_bytes for tensor in source.tensors.values()),
        summary.kv_cache_bytes_per_token,
        summary.state_bytes,
    )


def narrowed(source: Checkpoint, plan: PruningPlan) -> tuple[Checkpoint, dict[str, Any]]:
    """
    A checkpoint without what a plan leaves out, and what there is to remember of it.

    Raises:
        CheckpointError: names every layer and size that cannot be what it is to be, and every tensor that cannot be cut.
    """
    if source.method not in (None, *COMPUTABLE):
        raise CheckpointError(
            f"{source.folder}: quantised by {source.method!r}, whose tensors cannot be cut",
            remedy="Prune the checkpoint that this one was made from.",
        )
    sizes, keep = in_fields(source, plan.sizes), in_fields(source, plan.keep)
    with held(source.weights) as files:
        if plan.zeros:
            for layer, units in Chooser(source, plan, keep, files.readings).units_with_numbers().items():
                said = sizes.setdefault(layer, {})
                units = {name: kept for name, kept in units.items() if name not in said}
                said |= {name: len(kept) for name, kept in units.items()}
                keep[layer] = {**keep.get(layer, {}), **units}
        config = narrowed_config(source, sizes)
        chooser = Chooser(source, plan, keep, files.readings)
        for layer in sorted(sizes):
            chooser.cut_layer(layer, sizes[layer])
    refuse(f"{source.folder}: cannot be cut", chooser.problems)
    record = {**plan.to_dict(), "kept": {str(layer): told for layer, told in sorted(chooser.kept.items())}}
    dropped = tuple(
        NamedTensor(source.tensors[name].pieces[0].tensor, source.tensors[name].file, "expert that is cut out")
        for name, now in chooser.cutter.moved.items()
        if now is None
    )
    cut = replace(source, config=config, tensors=chooser.cutter.result(), dropped=(*source.dropped, *dropped))
    family = source.published.family
    check_tensors(str(source.folder), cut.tensors, cut.unused, family, config, source.method, remedy="")
    return (cut if plan.layers is None else with_layers_alone(cut, plan.layers)), record


def zeros_of(source: Checkpoint) -> dict[int, dict[str, int]]:
    """Layer -> width -> how many of its units are zero in every tensor."""
    with held(source.weights) as files:
        chooser = Chooser(source, PruningPlan(), {}, files.readings)
        found = chooser.units_with_numbers()
        return {
            layer: {name: chooser.before(layer, name) - len(kept) for name, kept in units.items()}
            for layer, units in found.items()
        }


def in_fields(source: Checkpoint, said: Mapping[int, Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
    """A plan with sizes by the names of the family's config."""
    config: Any = source.config
    found: dict[int, dict[str, Any]] = {}
    problems = []
    for layer, members in said.items():
        if layer >= config.num_hidden_layers:
            problems.append(f"layer {layer}: layers are 0-{config.num_hidden_layers - 1}")
            continue
        found[layer] = {}
        for name, value in members.items():
            if (own := field_of(source, layer, name)) is None:
                kinds = f"its mixer is {config.mixer_types[layer]!r}, its MLP {config.mlp_types[layer]!r}"
                problems.append(f"layer {layer} has no {name}: {kinds}")
            else:
                found[layer][own] = value
    refuse(f"{source.folder}: cannot be cut", problems)
    return found


def field_of(source: Checkpoint, layer: int, name: str) -> str | None:
    """The field of the config for a size of a layer, by that name or in the words that all families share."""
    config: Any = source.config
    family = source.published.family
    if name in config.per_layer_sizes and config.layers_with(name)[layer]:
        return name
    for kind in (config.mixer_types[layer], config.mlp_types[layer]):
        if name in FIELDS.get(kind, ()):
            return field_in(family, config, kind, name)
    return None


def narrowed_config(source: Checkpoint, sizes: Mapping[int, Mapping[str, int]]) -> Any:
    """The config with these sizes; experts a token goes to are lowered where there are fewer left."""
    config: Any = deepcopy(source.config)
    overrides: dict[int, dict[str, int]] = {layer: dict(members) for layer, members in sizes.items()}
    problems = []
    for layer, members in overrides.items():
        for name, value in members.items():
            before = config.layer_sizes(name)[layer] if name in config.per_layer_sizes else getattr(config, name, None)
            if name in config.per_layer_sizes and before is not None and value > before:
                problems.append(f"layer {layer}: {name} = {value} is more than there is, {before}")
        for smaller, relation, larger in config.related_sizes:
            if relation == "is at most" and larger in members and smaller in config.per_layer_sizes:
                stated = config.layer_sizes(smaller)[layer]
                members.setdefault(smaller, min(stated, members[larger]))
    refuse(f"{source.folder}: cannot be cut", problems)
    try:
        config.per_layer_config = overrides
    except UNREADABLE as error:
        raise CheckpointError(
            f"{source.folder}: cannot be cut:", str(error.__cause__ or error).splitlines()
        ) from error
    return config


def with_layers_alone(source: Checkpoint, layers: Sequence[int]) -> Checkpoint:
    """A checkpoint with these of its layers, renumbered."""
    number = source.config.num_hidden_layers
    refuse("layers", (f"{layer}: layers are 0-{number - 1}" for layer in layers if layer >= number))
    numbers = {old: new for new, old in enumerate(sorted(set(layers)))}
    gone = [name for name in source.tensors if not renumbered(name, numbers)]
    tensors = {name: tensor for name, tensor in source.tensors.items() if name not in gone}
    named = [source.tensors[name] for name in gone]
    dropped = tuple(NamedTensor(each.pieces[0].tensor, each.file, "in a layer that is left out") for each in named)
    unused = {name: tensor for name, tensor in source.unused.items() if name in tensors}
    try:
        config = shortened(source.config, numbers, source.published.family)
    except UNREADABLE as error:
        raise CheckpointError("These layers are no model:", str(error.__cause__ or error).splitlines()) from error
    kept = replace(source, tensors=tensors, unused=unused, dropped=(*source.dropped, *dropped))
    return kept if len(numbers) == number else with_numbers(kept, numbers, config)
