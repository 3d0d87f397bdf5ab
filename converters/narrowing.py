"""
Layers made narrower: which rows and columns of which tensors belong to a neuron, a head or an expert, and the plan of the
tensors without those that go. Which dimension follows which size is read off the model (`families/relations.py`).
"""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch

from .arithmetic import norms
from .checkpoint import Checkpoint
from .engine.errors import CheckpointError, refuse
from .engine.open_files import held
from .engine.plan import NamedTensor
from .engine.quantised import BLOCKS, COMPUTABLE, MXFP4_GROUP, SCALE_NAMES, SCALES, module_in, scale_name
from .engine.tensor_plan import FLOATS, PACKED, TensorPlan, average, runs, take
from .families.layers import place_in, renumbered
from .families.relations import Follows, SubBlock, relations_of
from .formats.recognition import UNREADABLE
from .loading import Loading
from .pruning import shortened, with_numbers
from .pruning_plan import FIRST, HEADS, KV_HEADS, NORM, RANDOM, PruningPlan
from .score_file import read_scores
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
    with held(source.folder, source.weights.fingerprints) as files:
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
        for name, now in chooser.moved.items()
        if now is None
    )
    cut = replace(source, config=config, tensors=chooser.result(), dropped=(*source.dropped, *dropped))
    family = source.published.family
    check_tensors(str(source.folder), cut.tensors, cut.unused, family, config, source.method, remedy="")
    return (cut if plan.layers is None else with_layers_alone(cut, plan.layers)), record


def zeros_of(source: Checkpoint) -> dict[int, dict[str, int]]:
    """Layer -> width -> how many of its units are zero in every tensor."""
    with held(source.folder, source.weights.fingerprints) as files:
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


class Chooser:
    """
    Chooses the units of layers that stay, and cuts the others out of the tensors.

    Attributes:
        names: Layer -> the names of its tensors.
        tensors: Those of the checkpoint, cut as far as it has come.
        moved: Name of a tensor -> the name that it has now, `None` where it is cut out whole.
        kept: Layer -> size -> the units that stay, in words.
        problems: What cannot be cut.
    """

    def __init__(
        self,
        source: Checkpoint,
        plan: PruningPlan,
        keep: Mapping[int, Mapping[str, Sequence[int]]],
        files: Mapping[str, int],
    ) -> None:
        self.source, self.plan, self.keep, self.files = source, plan, keep, files
        self.relations = relations_of(source.published.family, source.config)
        self.scores = {} if plan.by in (FIRST, NORM, RANDOM) else read_scores(Path(plan.by))
        self.tensors = dict(source.tensors)
        self.kept: dict[int, dict[str, str]] = {}
        self.moved: dict[str, str | None] = {}
        self.names: dict[int, list[str]] = {}
        for name in source.tensors:
            if (place := place_in(name)) is not None:
                self.names.setdefault(place[0], []).append(name)
        self.problems: list[str] = []

    def before(self, layer: int, name: str) -> int:
        """A size that a layer has."""
        config: Any = self.source.config
        return int(config.layer_sizes(name)[layer] if name in config.per_layer_sizes else getattr(config, name))

    def cut_layer(self, layer: int, sizes: Mapping[str, int]) -> None:
        """Cut one layer; what it is made of stays."""
        blocks = self.relations.blocks_of(self.source.config, layer)
        cuts: dict[str, dict[int, list[int]]] = {}
        for block in blocks:
            changed = {
                name: sizes[name] for name in block.sizes if name in sizes and sizes[name] != self.before(layer, name)
            }
            units = self.attention_units(layer, block, changed) if KV_HEADS in block.sizes else {}
            units |= {n: self.chosen(layer, block, n, m) for n, m in changed.items() if n not in (HEADS, KV_HEADS)}
            for name, kept in units.items():
                self.kept.setdefault(layer, {})[name] = in_ranges(kept)
                for (tensor, dim), follows in block.sizes[name].items():
                    rows = self.rows_of(tensor, follows, self.before(layer, name), kept)
                    cuts.setdefault(tensor, {})[dim] = rows
        for tensor, dims in cuts.items():
            self.cut_tensor(layer, tensor, dims)

    def offset_in(self, tensor: str) -> int | None:
        """The rows before the parts of a tensor that is put together of parts of a size; `None` where the rows of a unit are
        together."""
        for pattern, offset_of in self.source.published.family.concatenated.items():
            if fnmatchcase(f".{tensor}", pattern):
                return offset_of(self.source.config)
        return None

    def rows_of(self, tensor: str, follows: Follows, size: int, kept: Sequence[int]) -> list[int]:
        """The rows of units in a dimension that follows their number, and those that follow nothing."""
        if (offset := self.offset_in(tensor)) is not None:
            end = offset + follows.step * size
            units = [offset + part * size + unit for part in range(follows.step) for unit in kept]
            return [*range(offset), *units, *range(end, end + follows.rest - offset)]
        if follows.rest:
            self.problems.append(f"{tensor}: where the rows of a unit lie in it is not known")
        return [unit * follows.step + row for unit in kept for row in range(follows.step)]

    def of_units(self, tensor: str, follows: Follows, size: int, rows: torch.Tensor) -> torch.Tensor:
        """Numbers of rows added up for each unit."""
        if (offset := self.offset_in(tensor)) is not None:
            return rows[offset : offset + follows.step * size].view(follows.step, size).sum(0)
        return rows[: follows.step * size].view(size, follows.step).sum(1)

    def units_with_numbers(self) -> dict[int, dict[str, list[int]]]:
        """Layer -> width -> its units, where some have no number but zero in any tensor; one is left of those that have none
        at all."""
        found: dict[int, dict[str, list[int]]] = {}
        for layer in range(self.source.config.num_hidden_layers):
            for block in self.relations.blocks_of(self.source.config, layer):
                for name in (name for name in block.sizes if name.endswith("intermediate_size")):
                    size = self.before(layer, name)
                    kept = self.squares(layer, block, name, size).nonzero().flatten().tolist() or [0]
                    if len(kept) < size:
                        found.setdefault(layer, {})[name] = kept
        refuse(f"{self.source.folder}: zeros cannot be counted", self.problems)
        return found

    def attention_units(self, layer: int, block: SubBlock, changed: Mapping[str, int]) -> dict[str, list[int]]:
        """Query and KV heads that stay: whole groups of them, as many of each group, or KV heads that come together."""
        if not changed:
            return {}
        heads, kv_heads = self.before(layer, HEADS), self.before(layer, KV_HEADS)
        new_heads, new_kv = changed.get(HEADS, heads), changed.get(KV_HEADS, kv_heads)
        group = heads // kv_heads
        said = self.keep.get(layer, {})
        if new_heads == heads:
            if kv_heads % new_kv:
                self.problems.append(
                    f"layer {layer}: {KV_HEADS} = {new_kv} does not divide {kv_heads}: query heads stay with their groups, "
                    f"so as many come together everywhere, or go with them ({HEADS} = {new_kv * group})"
                )
                return {}
            if self.plan.kv_heads_by == "mean":
                self.average(layer, block, kv_heads, new_kv)
                return {}
            merged = [list(range(at, at + kv_heads // new_kv)) for at in range(0, kv_heads, kv_heads // new_kv)]
            return {KV_HEADS: self.of_each(layer, block, KV_HEADS, merged, 1)}
        if new_heads * kv_heads == heads * new_kv:
            kept = self.chosen(layer, block, KV_HEADS, new_kv, with_heads=group)
            whole = [head * group + each for head in kept for each in range(group)]
            if HEADS in said and list(said[HEADS]) != whole:
                self.problems.append(
                    f"layer {layer}: keep of {HEADS} is not the groups of the KV heads that stay, {whole}"
                )
            return {KV_HEADS: kept, HEADS: whole}
        if new_kv == kv_heads and new_heads % kv_heads == 0:
            groups = [list(range(at, at + group)) for at in range(0, heads, group)]
            return {HEADS: self.of_each(layer, block, HEADS, groups, new_heads // kv_heads)}
        self.problems.append(
            f"layer {layer}: {heads} query heads in {kv_heads} groups cannot become {new_heads} in {new_kv}: cut whole groups, "
            "or as many query heads of each, or let KV heads come together"
        )
        return {}

    def average(self, layer: int, block: SubBlock, kv_heads: int, new_kv: int) -> None:
        """Let the KV heads that come together be their mean."""
        number = kv_heads // new_kv
        for (tensor, dim), follows in block.sizes[KV_HEADS].items():
            name = f"model.layers.{layer}.{tensor}"
            found = self.tensors[name]
            if dim or found.dtype not in FLOATS or len(found.pieces) > 1:
                self.problems.append(f"{name!r} ({found.dtype}) cannot be averaged: only plain numbers can")
                continue
            step = follows.step
            groups = [
                [(head * step, (head + 1) * step) for head in range(at, at + number)]
                for at in range(0, kv_heads, number)
            ]
            self.tensors[name] = average(found, groups)
        self.kept.setdefault(layer, {})[KV_HEADS] = f"means of {number}"

    def chosen(self, layer: int, block: SubBlock, name: str, number: int, with_heads: int = 0) -> list[int]:
        """The units of a size that stay; of experts in groups as many of each group."""
        size, groups = self.before(layer, name), num_groups(self.source.config, name)
        parts = [list(range(at, at + size // groups)) for at in range(0, size, size // groups)]
        return self.of_each(layer, block, name, parts, number // groups, with_heads)

    def of_each(
        self, layer: int, block: SubBlock, name: str, groups: Sequence[list[int]], number: int, with_heads: int = 0
    ) -> list[int]:
        """So many units of each group."""
        if (said := self.keep.get(layer, {}).get(name)) is not None:
            counts = [len([unit for unit in said if unit in set(group)]) for group in groups]
            if set(counts) != {number} or len(said) != number * len(groups):
                self.problems.append(
                    f"layer {layer}: keep of {name} has {counts} of {in_words(groups)}: {number} of each are needed"
                )
            return list(said)
        scores = self.rated(layer, block, name, sum(map(len, groups)), with_heads)
        found = [sorted(sorted(group, key=lambda unit: (-scores[unit], unit))[:number]) for group in groups]
        return sorted(unit for group in found for unit in group)

    def rated(self, layer: int, block: SubBlock, name: str, size: int, with_heads: int) -> Sequence[float]:
        """What the units of a size are chosen by, the highest first."""
        if self.plan.by == FIRST:
            return [0.0] * size
        if self.plan.by == RANDOM:
            chance = random.Random(f"{self.plan.seed} {layer} {name}")
            return [chance.random() for _ in range(size)]
        if self.plan.by == NORM:
            return self.magnitudes(layer, block, name, size, with_heads)
        scores = self.scores.get(f"{layer}.{name}")
        if scores is None or len(scores) != size:
            found = "none" if scores is None else str(len(scores))
            self.problems.append(f"{self.plan.by}: layer {layer} needs {size} scores for {name}, found are {found}")
            return [0.0] * size
        return scores

    def magnitudes(self, layer: int, block: SubBlock, name: str, size: int, with_heads: int) -> list[float]:
        """The sum of squares of all numbers that belong to each unit; of groups of query heads, those of the group."""
        total = self.squares(layer, block, name, size)
        if with_heads:
            total += self.squares(layer, block, HEADS, size * with_heads).view(size, with_heads).sum(1)
        found: list[float] = total.tolist()
        return found

    def squares(self, layer: int, block: SubBlock, name: str, size: int) -> torch.Tensor:
        total = torch.zeros(size, dtype=torch.float64)
        for (inner, dim), follows in block.sizes[name].items():
            for tensor, of_dim, unit in self.holding(layer, inner, dim):
                if tensor.dtype not in FLOATS:
                    self.problems.append(
                        f"{tensor.name!r} is {tensor.dtype}, which has no norm: say what stays, or --by first"
                    )
                    return total
                if of_dim is None:
                    total[unit] += norms(self.files, tensor, 0).sum()
                    continue
                total += self.of_units(inner, follows, size, norms(self.files, tensor, of_dim))
        return total

    def holding(self, layer: int, inner: str, dim: int) -> Iterator[tuple[TensorPlan, int | None, int]]:
        """The tensors of the source that hold one of the model's: that, or experts one by one, as (tensor, the dimension
        there, `None` where the tensor is the unit, which unit)."""
        place = f"model.layers.{layer}."
        if f"{place}{inner}{BLOCKS}" in self.source.tensors:
            yield self.source.tensors[f"{place}{inner}{BLOCKS}"], dim, 0
            return
        if f"{place}{inner}" in self.source.tensors:
            yield self.source.tensors[f"{place}{inner}"], dim, 0
            return
        for number, name in self.singles(layer, inner):
            yield self.source.tensors[name], None if dim == 0 else dim - 1, number

    def singles(self, layer: int, inner: str) -> Iterator[tuple[int, str]]:
        """The experts of a stacked tensor where they are one by one, as (number, name)."""
        place = f"model.layers.{layer}."
        for parts in self.relations.parts:
            if parts.whole == inner and parts.is_stack:
                for name in self.names[layer]:
                    if match := parts.name.fullmatch(name.removeprefix(place)):
                        yield int(match[1]), name

    def cut_tensor(self, layer: int, inner: str, dims: Mapping[int, list[int]]) -> None:
        """Cut one of the model's tensors, in the form that the checkpoint has it in."""
        name = f"model.layers.{layer}.{inner}"
        if f"{name}{BLOCKS}" in self.tensors:
            self.cut_mxfp4(name, dims)
        elif name in self.tensors:
            self.cut_plain(name, dims)
        else:
            self.cut_singles(layer, inner, dims)

    def cut_plain(self, name: str, dims: Mapping[int, list[int]]) -> None:
        """Cut a tensor of plain numbers, or one in FP8 with one scale."""
        if dims.keys() != {0} or len(self.source.tensors[name].shape) < 3:
            self.check_scales(name)
        elif scales := self.scales_beside(name):  # a scale for each expert
            for scale in scales:
                self.tensors[scale] = take(
                    self.tensors[scale],
                    dims if self.tensors[scale].shape[:1] == self.source.tensors[name].shape[:1] else {},
                )
        self.tensors[name] = take(self.tensors[name], dims)

    def scales_beside(self, name: str) -> list[str]:
        return [scale for each in SCALE_NAMES if (scale := scale_name(name, each)) in self.source.tensors]

    def check_scales(self, name: str) -> None:
        """Note where the scales of a quantised tensor have to be cut with it, which is not known how."""
        tensor = self.source.tensors[name]
        several = [scale for scale in self.scales_beside(name) if self.source.tensors[scale].num_elements > 1]
        if tensor.dtype == PACKED or several:
            beside = f", and {several[0]!r} has scales for parts of it" if several else ""
            self.problems.append(f"{name!r} is quantised ({tensor.dtype}{beside}): prune what it was made from")

    def cut_mxfp4(self, name: str, dims: Mapping[int, list[int]]) -> None:
        """Cut experts in MXFP4, `[experts, in, out]` as `[experts, out, in / 32, 16]`: of what goes in, whole blocks."""
        there = {{0: 0, 2: 1}.get(dim, 2): rows for dim, rows in dims.items()}
        if 2 in there:
            rows = there[2]
            blocks = [row // MXFP4_GROUP for row in rows[::MXFP4_GROUP]]
            if rows != [block * MXFP4_GROUP + row for block in blocks for row in range(MXFP4_GROUP)]:
                self.problems.append(
                    f"{name + BLOCKS!r} is MXFP4, in blocks of {MXFP4_GROUP}: units of a whole block stay or go together"
                )
                return
            there[2] = blocks
        for suffix in (BLOCKS, SCALES):
            self.tensors[name + suffix] = take(self.tensors[name + suffix], there)

    def cut_singles(self, layer: int, inner: str, dims: Mapping[int, list[int]]) -> None:
        """Cut experts that lie one by one, and give those that stay new numbers, with what is beside them."""
        names = dict(self.singles(layer, inner))
        inside = {dim - 1: rows for dim, rows in dims.items() if dim}
        for name in names.values():
            if inside:
                self.check_scales(name)
                self.tensors[name] = take(self.tensors[name], inside)
        if 0 not in dims:
            return
        numbers = {old: new for new, old in enumerate(dims[0])}
        modules = {module_in(name, 2): number for number, name in names.items()}
        for name in self.names[layer]:
            if (number := modules.get(module_in(name, 2))) is not None:
                there = rf"\g<1>.{numbers[number]}." if number in numbers else None
                self.moved[name] = None if there is None else re.sub(rf"(\.experts)\.{number}\.", there, name, count=1)

    def result(self) -> dict[str, TensorPlan]:
        """The tensors in their order, under the names that they have now."""
        moved = ((self.moved.get(name, name), tensor) for name, tensor in self.tensors.items())
        return {name: replace(tensor, name=name) for name, tensor in moved if name is not None}


def num_groups(config: Any, name: str) -> int:
    """In how many groups the units of a size are, of each of which as many stay."""
    for smaller, relation, larger in config.related_sizes:
        if relation == "divides" and larger == name and smaller not in config.per_layer_sizes:
            return int(getattr(config, smaller))
    return 1


def in_ranges(units: Sequence[int]) -> str:
    """Units as in `0,2,5-8`."""
    return ",".join(str(first) if end == first + 1 else f"{first}-{end - 1}" for first, end in runs(units))


def in_words(groups: Sequence[Sequence[int]]) -> str:
    return " and ".join(in_ranges(group) for group in groups[:4]) + (" ..." if len(groups) > 4 else "")
