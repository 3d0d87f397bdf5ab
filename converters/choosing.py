"""Which units of layers stay, of neurons, heads and experts, and the tensors that are cut by that."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from .arithmetic import norms
from .checkpoint import Checkpoint
from .cutting import Cutter
from .engine.errors import refuse
from .engine.tensor_plan import FLOATS, runs
from .families.relations import SubBlock, relations_of
from .pruning_plan import FIRST, HEADS, KV_HEADS, NORM, RANDOM, PruningPlan
from .score_file import read_scores


class Chooser:
    """
    Chooses the units of layers that stay.

    Attributes:
        cutter: Cuts the others out.
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
        self.cutter = Cutter(source, self.relations)
        self.problems = self.cutter.problems
        self.kept: dict[int, dict[str, str]] = {}

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
                    rows = self.cutter.rows_of(tensor, follows, self.before(layer, name), kept)
                    cuts.setdefault(tensor, {})[dim] = rows
        for tensor, dims in cuts.items():
            self.cutter.cut_tensor(layer, tensor, dims)

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
                self.cutter.average(layer, block.sizes[KV_HEADS], kv_heads, new_kv)
                self.kept.setdefault(layer, {})[KV_HEADS] = f"means of {kv_heads // new_kv}"
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
            for tensor, of_dim, unit in self.cutter.holding(layer, inner, dim):
                if tensor.dtype not in FLOATS:
                    self.problems.append(
                        f"{tensor.name!r} is {tensor.dtype}, which has no norm: say what stays, or --by first"
                    )
                    return total
                if of_dim is None:
                    total[unit] += norms(self.files, tensor, 0).sum()
                    continue
                total += self.cutter.of_units(inner, follows, size, norms(self.files, tensor, of_dim))
        return total


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
