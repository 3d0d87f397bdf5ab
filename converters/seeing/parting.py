"""Where two traces part: the first module that gives something else though it took the same."""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ..engine.errors import CheckpointError
from .recorder import LAYER, Activation, Numbers
from .tracing import Trace, layer_of


@dataclass(frozen=True)
class Apart:
    """
    How far two tensors are apart.

    Attributes:
        relative: Root of the mean square of what is between them, in that of the second; of statistics where values are not
            kept, the largest difference of mean, deviation and extremes. `None` where shapes differ.
        largest: The largest difference of two numbers; `None` where values are not kept.
        at: Where it is.
    """

    relative: float | None
    largest: float | None = None
    at: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Parting:
    """
    What two traces have in common.

    Attributes:
        first, second: What was traced.
        module: Where they part: took the same, gave something else, and nothing in it did. `None` where they do not.
        class_name: Its class.
        arguments: What else it took that is not the same, as a mask.
        seen_in: The module at which the difference is first seen: itself, or the first one that takes what `module` computes
            between its own.
        apart: How far they are apart there.
        layers: Layer of the first -> how far apart they are behind it.
        numbers: Layer of the first -> layer of the second, where these are not the same.
        num_compared: Tensors that both gave.
        num_equal: Those of which are the same, byte for byte.
        alone: Modules that only the first, and only the second has.
    """

    first: str
    second: str
    module: str | None
    class_name: str | None
    arguments: tuple[str, ...]
    seen_in: str | None
    apart: Apart | None
    layers: Mapping[str, float | None]
    numbers: Mapping[int, int]
    num_compared: int
    num_equal: int
    alone: tuple[tuple[str, ...], tuple[str, ...]]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        return asdict(self)


def parting_of(first: Trace, second: Trace, layers: Sequence[int] | None = None, tolerance: float = 0.0) -> Parting:
    """
    Compare two traces of the same tokens, module by module under one name, in the order in which they ran.

    Args:
        layers: Of each layer of the first, its number in the second. By default as `hetero_origin.json` says where layers
            were cut out, else by what the layers are built of where these are not as many.
        tolerance: How far apart, relatively, is still the same.

    Raises:
        CheckpointError: where other tokens were traced, or layers cannot be told apart.
    """
    if first.tokens is not None and second.tokens is not None and first.tokens != second.tokens:
        raise CheckpointError(
            f"{first.source} and {second.source}: other tokens were traced, and there is nothing to compare"
        )
    numbers = aligned(first, second, layers)
    theirs = {each.module: each for each in second.activations}
    pairs = [
        (each, other)
        for each in first.activations
        if (other := theirs.get(name_in_second(each.module, numbers))) is not None
    ]
    if not pairs:
        raise CheckpointError(f"{first.source} and {second.source}: have no module in common")
    apart = {one.module: apart_of(one, other) for one, other in pairs if not is_same(one, other, tolerance)}
    found = next(((one, other) for one, other in pairs if one.module in apart), None)
    module, took = (
        culprit(*found, {one.module: (one, other) for one, other in pairs}, tolerance) if found else (None, ())
    )
    classes = {each.module: each.class_name for each in first.activations}
    same = [one for one, other in pairs if one.gave.digest == other.gave.digest]
    return Parting(
        first=first.source,
        second=second.source,
        module=module,
        class_name=classes.get(module) if module is not None else None,
        arguments=took,
        seen_in=found[0].module if found else None,
        apart=apart[found[0].module] if found else None,
        layers={
            one.module: (apart[one.module].relative if one.module in apart else 0.0)
            for one, _ in pairs
            if one.module in first.layers
        },
        numbers={layer: other for layer, other in numbers.items() if layer != other},
        num_compared=len(pairs),
        num_equal=len(same),
        alone=(
            outermost((each.module for each in first.activations), {one.module for one, _ in pairs}),
            outermost((each.module for each in second.activations), {other.module for _, other in pairs}),
        ),
    )


def outermost(modules: Iterable[str], compared: Set[str]) -> tuple[str, ...]:
    """The modules that the other has not, without those in them, and without what others lie in, which may not run on its own."""
    enclosing = {name for module in compared for name in ancestors(module)}
    alone = [each for each in modules if each not in compared and each not in enclosing and "[" not in each]
    return tuple(each for each in dict.fromkeys(alone) if not set(ancestors(each)) & set(alone))


def name_in_second(module: str, numbers: Mapping[int, int]) -> str:
    """What a module is called in a model whose layers have other numbers."""
    match = LAYER.fullmatch(module)
    if match is None or not numbers:
        return module
    number = numbers.get(int(match["number"]))
    return "" if number is None else f"{match['layers']}.{number}{match['inner']}"


def culprit(
    first: Activation, second: Activation, pairs: Mapping[str, tuple[Activation, Activation]], tolerance: float
) -> tuple[str, tuple[str, ...]]:
    """
    The module that computes a difference: the first one that gives it, or where that took something else already, what it
    lies in.

    Returns:
        Its name, and the names of what it took beside hidden states that is not the same.
    """
    name, one, other = first.module.partition("[")[0], first, second
    while True:
        took = [key for key in one.took if key in other.took]
        differing = [key for key in took if not is_close(one.took[key], other.took[key], tolerance)]
        more = [key for key in {**one.took, **other.took} if key not in took]
        if not took or took[0] not in differing:
            return name, (*differing, *more)
        inside = next((each for each in ancestors(name) if each in pairs), None)
        if inside is None:  # what it lies in was not run as a module of its own
            return owner(name), ()
        name = inside
        one, other = pairs[name]


def ancestors(module: str) -> Iterator[str]:
    """What a module lies in, the nearest first; the model itself is ""."""
    while module:
        module = module.rpartition(".")[0]
        yield module


def owner(module: str) -> str:
    """What computes a module's inputs: what it lies in, but for a list of modules."""
    inside, _, last = module.rpartition(".")
    return inside.rpartition(".")[0] if last.isdigit() else inside


def is_same(first: Activation, second: Activation, tolerance: float) -> bool:
    """Whether two modules gave the same."""
    if first.gave.digest == second.gave.digest and first.gave.shape == second.gave.shape:
        return True
    relative = apart_of(first, second).relative if tolerance else None
    return relative is not None and relative <= tolerance


def is_close(first: Numbers, second: Numbers, tolerance: float) -> bool:
    """Whether two modules took the same."""
    if first.digest == second.digest:
        return True
    relative = between(first, second) if tolerance else None
    return relative is not None and relative <= tolerance


def apart_of(first: Activation, second: Activation) -> Apart:
    """How far apart what two modules gave is."""
    if first.gave.shape != second.gave.shape:
        return Apart(None)
    if first.values is None or second.values is None:
        return Apart(between(first.gave, second.gave))
    one, other = first.values.double(), second.values.double()
    difference = (one - other).abs()
    scale = float(other.square().mean().sqrt()) or 1.0
    index = int(difference.flatten().argmax())
    at = tuple(int(each) for each in torch.unravel_index(torch.tensor(index), difference.shape))
    return Apart(float(difference.square().mean().sqrt()) / scale, float(difference.flatten()[index]), at)


def between(first: Numbers, second: Numbers) -> float | None:
    """How far apart two tensors are whose values were not kept, by their statistics."""
    pairs = list(zip(statistics(first), statistics(second), strict=True))
    if first.shape != second.shape or any(None in pair for pair in pairs):
        return None
    scale = ((second.mean or 0.0) ** 2 + (second.std or 0.0) ** 2) ** 0.5 or 1.0
    return max(abs((one or 0.0) - (other or 0.0)) for one, other in pairs) / scale


def statistics(numbers: Numbers) -> tuple[float | None, ...]:
    return numbers.mean, numbers.std, numbers.least, numbers.most


def aligned(first: Trace, second: Trace, layers: Sequence[int] | None) -> dict[int, int]:
    """Layer of the first -> layer of the second."""
    number, other = (len(main_layers(each)) for each in (first, second))
    if layers is not None:
        if len(layers) != number or not all(0 <= layer < other for layer in layers):
            raise CheckpointError(
                f"--layers: {number} numbers from 0 to {other - 1} are needed, one for each layer of {first.source}, and "
                f"these are {len(layers)}: {list(layers)}"
            )
        return dict(enumerate(layers))
    if number == other:
        return dict(zip(range(number), range(number), strict=True))
    if len(first.numbers) == number and all(layer < other for layer in first.numbers.values()):
        return dict(first.numbers)
    if len(second.numbers) == other and all(layer < number for layer in second.numbers.values()):
        return {old: new for new, old in second.numbers.items()}
    if number > other:
        return {layer: at for at, layer in by_kind(second, first).items()}
    return by_kind(first, second)


def main_layers(trace: Trace) -> list[str]:
    """The layers of the model's longest stack."""
    stacks: dict[str, list[str]] = {}
    for name in trace.layers:
        stacks.setdefault(name.rpartition(".")[0], []).append(name)
    return max(stacks.values(), key=len, default=[])


def by_kind(shorter: Trace, longer: Trace) -> dict[int, int]:
    """The only way in which the layers of a model are, in their order, some of another's: by the shapes in them."""
    kinds = [list(shapes_of(trace).values()) for trace in (shorter, longer)]
    ways = list(ways_in(*kinds))
    if len(ways) != 1:
        said = "are not those of the other without some" if not ways else "may be several ones of the other"
        raise CheckpointError(
            f"{shorter.source} has {len(kinds[0])} layers and {longer.source} {len(kinds[1])}, and by what they are built of they "
            f"{said}",
            remedy="Name, for each layer of the first, its number in the second: --layers 0-3,6-9.",
        )
    return dict(enumerate(ways[0]))


def shapes_of(trace: Trace) -> dict[str, Any]:
    """Layer -> the modules that ran in it, and the shapes of what they gave."""
    found: dict[str, list[Any]] = {name: [] for name in main_layers(trace)}
    for each in trace.activations:
        layer = layer_of(each.module)
        if layer in found:
            found[layer].append((each.module.removeprefix(layer), each.gave.shape))
    return found


def ways_in(shorter: list[Any], longer: list[Any]) -> Iterator[list[int]]:
    """At most two ways in which a list is, in its order, a part of another."""
    found: list[list[int]] = [[]]
    for at, kind in enumerate(shorter):
        after = [
            [*way, place]
            for way in found
            for place in range(way[-1] + 1 if way else 0, len(longer) - len(shorter) + at + 1)
            if longer[place] == kind
        ]
        first_by_end: dict[int, list[list[int]]] = {}
        for way in after:
            first_by_end.setdefault(way[-1], []).append(way)
        found = [way for ways in first_by_end.values() for way in ways[:2]]
    yield from found[:2]
