"""
A plan of what to cut under a budget, by scores: greedy. One cut after another is chosen, the one that costs least for each
parameter, or byte of the KV cache, that it frees; none is taken back, and what cuts do to one another is not known.

What a sub-block is worth is its influence, as leaving it out was measured, times the share that its units that stay have of
the scores of all of them, for each of its sizes. A cut costs what it takes of that.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from .checkpoint import Checkpoint
from .choosing import num_groups
from .engine.errors import CheckpointError, refuse
from .engine.quantised import BLOCKS
from .families.relations import SubBlock, relations_of
from .narrowing import narrowed_config
from .pruning_plan import KV_HEADS, PruningPlan
from .score_file import read_scores, skip_name
from .summary import field_in


Sizes = dict[str, int]


class Units:
    """The units of a size of a layer."""

    def __init__(self, name: str, scores: list[float], groups: int) -> None:
        self.name, self.scores, self.groups = name, scores, groups
        self.size = len(scores)
        best = (sorted(part, reverse=True) for part in parts(scores, groups))
        self.sums = [list(accumulate(part, initial=0.0)) for part in best]
        self.total = math.fsum(sums[-1] for sums in self.sums)

    def share(self, number: int) -> float:
        """The share of all scores that so many of them have, those that `narrowing` keeps."""
        if self.total <= 0:
            return number / self.size
        if self.name == KV_HEADS:  # of those that come together the best stays
            return math.fsum(max(part) for part in parts(self.scores, number)) / self.total
        return math.fsum(sums[number // self.groups] for sums in self.sums) / self.total


def parts(scores: list[float], number: int) -> list[list[float]]:
    """As many parts of one length."""
    length = len(scores) // number
    return [scores[at : at + length] for at in range(0, len(scores), length)]


@dataclass(frozen=True)
class Cut:
    """A next cut in a sub-block: its sizes afterwards, `None` where it is left out, what it costs, and what it frees."""

    sizes: Sizes | None
    cost: float
    freed: int


class Trimmed:
    """
    A sub-block of a layer, as far as it has been cut.

    Attributes:
        sizes: Those that it has; `None` when it is left out.
        skip: The word by which `skip` leaves it out.
        mixes: Whether it mixes tokens, as some layer has to.
    """

    def __init__(self, layer: int, block: SubBlock, skip: str, sizes: Sizes, influence: float) -> None:
        self.layer, self.block, self.skip, self.influence = layer, block, skip, max(0.0, influence)
        self.before: Sizes = dict(sizes)
        self.sizes: Sizes | None = sizes
        self.units: dict[str, Units] = {}
        self.mixes = block.kind in ("attention", "mamba")
        self.buffers: frozenset[str] = frozenset()

    def worth(self, sizes: Sizes | None) -> float:
        """Its influence, when it has these sizes."""
        if sizes is None:
            return 0.0
        return self.influence * math.prod(units.share(sizes[name]) for name, units in self.units.items())

    def parameters(self, sizes: Sizes | None) -> int:
        """How many it has then."""
        if sizes is None:
            return 0
        follows = self.block.follows
        return sum(
            math.prod(
                sizes[follows[name, dim][0]] * follows[name, dim][1].step + follows[name, dim][1].rest
                if (name, dim) in follows
                else size
                for dim, size in enumerate(shape)
            )
            for name, shape in self.block.shapes.items()
            if name not in self.buffers
        )

    def cache(self, sizes: Sizes | None) -> int:
        """What it keeps of a token, in KV heads, which are of one size in all layers."""
        return 0 if sizes is None else sizes.get(KV_HEADS, 0)


Measure = Callable[[Trimmed, Sizes | None], int]
MEASURES: Mapping[str, Measure] = {"target_cache": Trimmed.cache, "target": Trimmed.parameters}


def chosen_plan(source: Checkpoint, plan: PruningPlan) -> PruningPlan:
    """
    The plan that meets the targets of another one.

    Raises:
        CheckpointError: where it says more than targets, the scores do not fit, or a target is below what can be cut.
    """
    if plan.sizes or plan.keep or plan.skips or plan.layers is not None:
        raise CheckpointError(
            "--target chooses what is cut: nothing else of a plan can be said", remedy="Prune twice."
        )
    return Greedy(source, plan).chosen()


class Greedy:
    """
    Lowers a model to its targets.

    Attributes:
        trimmed: The sub-blocks, by layer and then mixer before MLP.
    """

    def __init__(self, source: Checkpoint, plan: PruningPlan) -> None:
        self.source, self.plan = source, plan
        self.config: Any = source.config
        self.scores = read_scores(Path(plan.by))
        self.packed = any(name.endswith(BLOCKS) for name in source.tensors)
        family = source.published.family
        self.experts, self.width = (
            field_in(family, self.config, "moe", name) for name in ("num_experts", "intermediate_size")
        )
        relations, tensors = relations_of(family, self.config), family.tensors(self.config)
        self.num_parameters = tensors.num_parameters
        self.least: dict[tuple[int, int], int] = {}
        self.problems: list[str] = []
        self.trimmed = [
            self.trimmed_of(layer, block, frozenset(each.name for each in tensors.layers[layer] if each.is_buffer))
            for layer in range(self.config.num_hidden_layers)
            for block in relations.blocks_of(self.config, layer)
        ]
        refuse(f"{plan.by}: not the scores of {source.folder}", self.problems, remedy="`hetero score` measures them.")

    def trimmed_of(self, layer: int, block: SubBlock, buffers: frozenset[str]) -> Trimmed:
        """A sub-block as it is."""
        skip = skip_name(self.config, block.types, layer)
        influence = self.scores.get(f"{layer}.skip.{skip}")
        if influence is None:
            self.problems.append(f"layer {layer} has no score for skip.{skip}")
        sizes = {name: int(self.config.layer_sizes(name)[layer]) for name in block.sizes}
        trimmed = Trimmed(layer, block, skip, sizes, influence[0] if influence else 0.0)
        trimmed.buffers = buffers
        for name in (name for name in sizes if self.may_cut(block, name)):
            if (scores := self.scores.get(f"{layer}.{name}")) is not None:
                if len(scores) != sizes[name]:
                    self.problems.append(f"layer {layer}: {len(scores)} scores for {name} = {sizes[name]}")
                    continue
                trimmed.units[name] = Units(name, scores, num_groups(self.config, name))
        return trimmed

    def may_cut(self, block: SubBlock, name: str) -> bool:
        """Widths, KV heads and experts; of packed experts no widths, which go by whole blocks."""
        if block.kind == "moe" and name == self.width and self.packed:
            return False
        return name.endswith("intermediate_size") or name in (KV_HEADS, self.experts)

    def chosen(self) -> PruningPlan:
        """Cut until all targets are met."""
        for name, measure in MEASURES.items():
            if (target := getattr(self.plan, name)) is not None:
                self.lower(name, measure, target)
        sizes: dict[int, Sizes] = {}
        for each in self.trimmed:
            changed = {name: size for name, size in (each.sizes or {}).items() if size != each.before[name]}
            if changed:
                sizes.setdefault(each.layer, {}).update(changed)
        skips = tuple(f"{each.skip}:{each.layer}" for each in self.trimmed if each.sizes is None)
        return replace(self.plan, sizes=sizes, skips=skips)

    def lower(self, name: str, measure: Measure, target: float) -> None:
        """Take the cheapest cuts until a measure is at its target."""
        before = sum(measure(each, each.before) for each in self.trimmed)
        whole = self.num_parameters if name == "target" else before
        now = whole - before + sum(measure(each, each.sizes) for each in self.trimmed)
        best = [self.cheapest(each, measure) for each in self.trimmed]
        while now > target * whole:
            found = [(cut.cost / cut.freed, at) for at, cut in enumerate(best) if cut is not None]
            if not found:
                raise CheckpointError(f"{name} = {target}: {now / whole:.1%} is the least that can be reached")
            at = min(found)[1]
            cut = best[at]
            assert cut is not None
            now -= cut.freed
            self.trimmed[at].sizes = cut.sizes
            if cut.sizes is None:  # it may have been the last but one that mixes tokens
                best = [self.cheapest(each, measure) for each in self.trimmed]
            best[at] = self.cheapest(self.trimmed[at], measure)

    def cheapest(self, trimmed: Trimmed, measure: Measure) -> Cut | None:
        """The next cut in a sub-block that costs least for what it frees, the first of several; `None` where none is left."""
        worth, held = trimmed.worth(trimmed.sizes), measure(trimmed, trimmed.sizes)
        cuts = (
            Cut(sizes, worth - trimmed.worth(sizes), held - measure(trimmed, sizes)) for sizes in self.next_of(trimmed)
        )
        return min((cut for cut in cuts if cut.freed > 0), key=lambda cut: cut.cost / cut.freed, default=None)

    def next_of(self, trimmed: Trimmed) -> Iterator[Sizes | None]:
        """What a sub-block may be next: without it, or one of its sizes a step smaller."""
        if trimmed.sizes is None:
            return
        if not trimmed.mixes or sum(each.mixes and each.sizes is not None for each in self.trimmed) > 1:
            yield None
        for name, units in trimmed.units.items():
            if (smaller := self.smaller(trimmed, name, units)) is not None:
                yield {**trimmed.sizes, name: smaller}

    def smaller(self, trimmed: Trimmed, name: str, units: Units) -> int | None:
        """The next number of units below what there is."""
        assert trimmed.sizes is not None
        size = trimmed.sizes[name]
        if name == KV_HEADS:  # as many come together everywhere
            return next((number for number in range(size - 1, 0, -1) if units.size % number == 0), None)
        if name == self.experts:
            top_k = int(self.config.layer_sizes("num_experts_per_tok")[trimmed.layer])
            least = self.least_experts(trimmed.layer, units.size, units.groups, top_k)
            return size - units.groups if size > least else None
        step = self.plan.width_step
        return (size - 1) // step * step or None

    def least_experts(self, layer: int, size: int, groups: int, top_k: int) -> int:
        """The smallest number of experts that still gives a token its `top_k`, and that the family's config takes."""
        if (size, top_k) not in self.least:
            first = -(-top_k // groups) * groups
            self.least[size, top_k] = next(
                number for number in range(first, size + 1, groups) if self.takes(layer, number)
            )
        return self.least[size, top_k]

    def takes(self, layer: int, number: int) -> bool:
        """Whether the config takes this number of experts in a layer."""
        try:
            narrowed_config(self.source, {layer: {self.experts: number}})
        except CheckpointError:
            return False
        return True
