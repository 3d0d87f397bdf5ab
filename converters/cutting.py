"""The tensors of layers without the units that go: which rows and columns these are, in the form that a checkpoint has them in."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

import torch

from .checkpoint import Checkpoint
from .engine.quantised import BLOCKS, MXFP4_GROUP, SCALE_NAMES, SCALES, module_in, scale_name
from .engine.tensor_plan import FLOATS, PACKED, TensorPlan, average, take
from .families.layers import place_in
from .families.relations import Follows, Place, Relations


class Cutter:
    """
    Cuts units out of the tensors of a checkpoint.

    Attributes:
        names: Layer -> the names of its tensors.
        tensors: Those of the checkpoint, cut as far as it has come.
        moved: Name of a tensor -> the name that it has now, `None` where it is cut out whole.
        problems: What cannot be cut.
    """

    def __init__(self, source: Checkpoint, relations: Relations) -> None:
        self.source, self.relations = source, relations
        self.tensors = dict(source.tensors)
        self.moved: dict[str, str | None] = {}
        self.names: dict[int, list[str]] = {}
        for name in source.tensors:
            if (place := place_in(name)) is not None:
                self.names.setdefault(place[0], []).append(name)
        self.problems: list[str] = []

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

    def average(self, layer: int, places: Mapping[Place, Follows], before: int, after: int) -> None:
        """Let units that come together be their mean."""
        number = before // after
        for (tensor, dim), follows in places.items():
            name = f"model.layers.{layer}.{tensor}"
            found = self.tensors[name]
            if dim or found.dtype not in FLOATS or len(found.pieces) > 1:
                self.problems.append(f"{name!r} ({found.dtype}) cannot be averaged: only plain numbers can")
                continue
            step = follows.step
            groups = [
                [(unit * step, (unit + 1) * step) for unit in range(at, at + number)]
                for at in range(0, before, number)
            ]
            self.tensors[name] = average(found, groups)

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
