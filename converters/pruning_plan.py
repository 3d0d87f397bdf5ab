"""What is to be cut out of a checkpoint's layers, and by what it is chosen. Plain data, before a checkpoint is looked at."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from .engine.errors import CheckpointError, refuse
from .engine.json_objects import read_object


FIRST, NORM, RANDOM = "first", "norm", "random"
HEADS, KV_HEADS = "num_attention_heads", "num_key_value_heads"
# Members of a layer's part of a plan that are no sizes
KEEP, SKIP = "keep", "skip"
# Option of the command -> the size that it is of, as `LayerSummary` calls it
WORDS = {
    "width": "intermediate_size",
    "kv_heads": "num_key_value_heads",
    "heads": "num_attention_heads",
    "experts": "num_experts",
    "top_k": "num_experts_per_tok",
    "shared_width": "shared_intermediate_size",
    "latent": "latent_size",
    "state": "ssm_state_size",
}


@dataclass(frozen=True, kw_only=True)
class PruningPlan:
    """
    What stays of the layers of a checkpoint.

    Attributes:
        sizes: Layer -> size -> what it is to be, sizes by the names of the family's config or as `LayerSummary` calls them.
        keep: Layer -> size -> the units that stay, by their numbers, where it is said.
        skips: Sub-blocks to leave out, as in `attention:19`.
        layers: The layers that stay, by their numbers; `None` for all.
        by: What chooses the units that stay, where it is not said: `first`, `norm` (the sum of squares of the rows and
            columns that belong to a unit), `random`, or a file of scores, the highest of which stay: JSON, layer -> size
            -> a number for each unit, or safetensors with tensors called `<layer>.<size>`.
        seed: Of `random`.
        zeros: Whether units of widths go that have no number but zero in any tensor, as masks leave them.
        kv_heads_by: What becomes of KV heads that come together: one of them stays (`keep`), or their `mean`. Query heads
            stay where they are.
        target: Share of the parameters that is to be left: what is cut is chosen by a file of scores, greedily, as `budget`
            describes it. The plan says nothing else then.
        target_cache: The same of the bytes of the KV cache.
        width_step: Widths that are chosen are multiples of it.

    Raises:
        CheckpointError: names every member that is none.
    """

    sizes: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    keep: Mapping[int, Mapping[str, Sequence[int]]] = field(default_factory=dict)
    skips: Sequence[str] = ()
    layers: Sequence[int] | None = None
    by: str = FIRST
    seed: int = 0
    kv_heads_by: Literal["keep", "mean"] = "keep"
    zeros: bool = False
    target: float | None = None
    target_cache: float | None = None
    width_step: int = 64

    def __post_init__(self) -> None:
        if self.by not in (FIRST, NORM, RANDOM) and not Path(self.by).is_file():
            raise CheckpointError(f"by = {self.by!r}: {FIRST}, {NORM}, {RANDOM} or a file of scores is needed")
        if self.kv_heads_by not in ("keep", "mean"):
            raise CheckpointError(f"kv_heads_by = {self.kv_heads_by!r}: keep or mean is needed")
        for name, target in (("target", self.target), ("target_cache", self.target_cache)):
            if target is not None and not 0 < target < 1:
                raise CheckpointError(f"{name} = {target!r}: a share between 0 and 1 is needed, such as 0.75")
        if self.has_target and self.by in (FIRST, NORM, RANDOM):
            raise CheckpointError(
                f"by = {self.by!r}: a target is met by a file of scores", remedy="`hetero score` measures them."
            )
        if self.width_step < 1:
            raise CheckpointError(f"width_step = {self.width_step!r}: a positive number is needed")

    @property
    def has_target(self) -> bool:
        """Whether what is cut has yet to be chosen."""
        return self.target is not None or self.target_cache is not None

    @property
    def per_layer_config(self) -> dict[str, dict[str, Any]]:
        """What each layer is to be, in the form that `read_plan` reads."""
        layers: dict[int, dict[str, Any]] = {layer: dict(members) for layer, members in self.sizes.items()}
        for name, _, layer in (words.partition(":") for words in self.skips):
            layers.setdefault(int(layer), {}).setdefault(SKIP, []).append(name)
        return {str(layer): members for layer, members in sorted(layers.items()) if members}

    def by_shapes_alone(self) -> "PruningPlan":
        """The same where no numbers of the checkpoint are there yet: what it would be refused for is the same."""
        return replace(self, by=FIRST if self.by == NORM else self.by, zeros=False)

    def to_dict(self) -> dict[str, Any]:
        """What is remembered of it."""
        told: dict[str, Any] = {
            "by": self.by,
            "seed": self.seed if self.by == RANDOM else None,
            "kv_heads_by": self.kv_heads_by,
            "zeros": self.zeros,
            "target": self.target,
            "target_cache": self.target_cache,
        }
        if self.has_target:
            told["plan"] = self.per_layer_config
        layers = None if self.layers is None else list(self.layers)
        return {name: value for name, value in {**told, "layers": layers, "skip": list(self.skips)}.items() if value}


def read_plan(plan: Mapping[Any, Any] | str | Path, **more: Any) -> PruningPlan:
    """
    A plan of `per_layer_config`'s form: layer -> size -> what it is to be, `skip`, and `keep`: size -> units that stay.

    Args:
        plan: That, or a JSON file with it, as it is or under `per_layer_config`.
        more: Other members of the plan.

    Raises:
        CheckpointError: names every entry that is none.
    """
    place = "plan" if isinstance(plan, Mapping) else str(plan)
    members = dict(plan) if isinstance(plan, Mapping) else read_object(Path(plan))
    members = members.get("per_layer_config", members)
    sizes: dict[int, dict[str, int]] = {}
    keep: dict[int, dict[str, Sequence[int]]] = {}
    skips = list(more.pop("skips", ()))
    wrong = []
    for layer, entry in members.items():
        if not str(layer).isdecimal() or not isinstance(entry, Mapping):
            wrong.append(f"{layer!r}: {str(entry)[:80]}: the number of a layer, and an object, are needed")
            continue
        number = int(layer)
        wrong += [f"layer {layer}: {problem}" for problem in entry_problems(entry)]
        skips += [f"{name}:{layer}" for name in entry.get(SKIP, ())]
        kept = dict(entry.get(KEEP, {})) if isinstance(entry.get(KEEP, {}), Mapping) else {}
        named = {name: value for name, value in entry.items() if name not in (KEEP, SKIP)}
        sizes[number] = {**{name: len(units) for name, units in kept.items() if isinstance(units, list)}, **named}
        keep[number] = kept
    refuse(place, wrong, remedy='It is said as in {"3": {"intermediate_size": 8192, "skip": ["attention"]}}.')
    return PruningPlan(sizes=sizes, keep=keep, skips=tuple(skips), **more)


def entry_problems(entry: Mapping[str, Any]) -> Iterable[str]:
    """What is wrong with a layer's part of a plan, looked at alone."""
    for name, value in entry.items():
        if name == SKIP and not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
            yield f"skip = {value!r}: a list of names is needed"
        elif name == KEEP and not isinstance(value, Mapping):
            yield f"keep = {str(value)[:80]}: an object is needed, size -> numbers of the units that stay"
        elif name == KEEP:
            for size, units in value.items():
                if not isinstance(units, list) or not all(type(unit) is int and unit >= 0 for unit in units):
                    yield f"keep of {size} = {str(units)[:80]}: a list of numbers from 0 on is needed"
                elif units != sorted(set(units)):
                    yield f"keep of {size}: each number once, in ascending order"
                elif entry.get(size, len(units)) != len(units):
                    yield f"{size} = {entry[size]}, and {len(units)} units of it are to stay"
        elif name != SKIP and (type(value) is not int or value < 1):
            yield f"{name} = {value!r}: a positive integer is needed"
