"""
Which sizes of a config the shapes of a family's tensors follow. A model with a layer of each kind, and one more for each
size that it has, says it: between two layers that differ in one size, the dimensions that follow it differ.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from ..engine.headers import Shape
from .family import Family
from .tensors import Tensor


# Two values to try a size with, where nothing binds it to another one
TRIED = (8, 16)
# What a config says of the file it came from, or of its layers in other words
LEFT_OUT = ("_name_or_path", "architectures", "auto_map", "model_type", "transformers_version", "quantization_config")
DERIVED = ("layer_types", "fused_blocks", "layers_block_type", "per_layer_config")
Place = tuple[str, int]  # tensor of a layer, dimension


@dataclass(frozen=True)
class Follows:
    """A dimension is `step` for each unit of a size, and `rest` beside that."""

    step: int
    rest: int


@dataclass(frozen=True)
class SubBlock:
    """
    A mixer or an MLP as a family has it.

    Attributes:
        types: The list that names it, `mixer_types` or `mlp_types`.
        kind: Its entry there.
        absent: Sizes that are `None` in it.
        shapes: Of its tensors, by their names in a layer, experts as one tensor.
        sizes: Size -> the dimensions that follow it.
        tensors: Those of a small one.
    """

    types: str
    kind: str
    absent: tuple[str, ...]
    shapes: Mapping[str, Shape]
    sizes: Mapping[str, Mapping[Place, Follows]]
    tensors: Sequence[Tensor] = ()

    @property
    def follows(self) -> dict[Place, tuple[str, Follows]]:
        """Dimension -> the size that it follows, and how."""
        return {place: (size, how) for size, places in self.sizes.items() for place, how in places.items()}

    def own(self, config: Any) -> list[str]:
        """The sizes that such sub-blocks have."""
        sizes = config.per_layer_sizes.items()
        return [name for name, (types, having) in sizes if types == self.types and self.kind in having]


@dataclass(frozen=True)
class Parts:
    """Tensors that make a part of another one each, numbered by expert: what they are called, of which tensor, and how many
    of them an expert has; `is_stack` where they are entries of its first dimension."""

    name: re.Pattern[str]
    whole: str
    count: int
    is_stack: bool


@dataclass(frozen=True)
class Relations:
    """
    What a family's models are made of.

    Attributes:
        outside: Tensors of no layer.
        parts: What experts may lie in one by one.
    """

    outside: Sequence[Tensor]
    sub_blocks: Sequence[SubBlock]
    parts: Sequence[Parts]

    def of(self, types: str) -> list[SubBlock | None]:
        """The sub-blocks of one list, and none."""
        return [None, *(block for block in self.sub_blocks if block.types == types)]

    def blocks_of(self, config: Any, layer: int) -> list[SubBlock]:
        """The mixer and the MLP of a layer."""
        optional = set(config.optional_per_layer_sizes) - {"sliding_window"}
        absent = {name for name in optional if config.layer_sizes(name)[layer] is None}
        return [
            block
            for block in self.sub_blocks
            if getattr(config, block.types)[layer] == block.kind
            and set(block.absent) == absent & set(block.own(config))
        ]


def lists_beside(config: Any) -> list[str]:
    """What a config says of each layer beside what it is made of and its sizes: words of one mixer that mean something else,
    and the parent's own lists."""
    mixers = list(config._words().values())
    derived = "sliding_window" in config.per_layer_sizes or len(mixers) == len(set(mixers))
    known = {
        "mixer_types",
        "mlp_types",
        "fused_blocks",
        *config.per_layer_sizes,
        *(["layer_types"] if derived else []),
    }
    return [name for name in config._layer_lists() if name not in known]


def with_layers(
    family: Family,
    config: Any,
    layers: Sequence[Mapping[str, Any]],
    like: Sequence[int] | None = None,
    **fields: Any,
) -> Any:
    """
    A config like another one, of other layers.

    Args:
        layers: What each is made of: its entries of `mixer_types`, `mlp_types` and of the lists of sizes.
        like: The layers of the other one that have their lists beside these; the family's defaults without.
        fields: Others that it has.
    """
    gone = (*LEFT_OUT, *DERIVED, *config._layer_lists())
    members = {name: value for name, value in config.to_dict().items() if name not in gone}
    members |= {name: [getattr(config, name)[old] for old in like] for name in lists_beside(config)} if like else {}
    names = ("mixer_types", "mlp_types", *config.per_layer_sizes)
    members |= {name: [layer.get(name) for layer in layers] for name in names}
    made = family.config_class.from_dict({**members, **fields, "num_hidden_layers": len(layers)})
    made.architectures = config.architectures
    return made


def relations_of(family: Family, config: Any, **fields: Any) -> Relations:
    """
    What the shapes of a family's tensors follow, the sizes that all layers share being those of a config.

    Args:
        fields: Those of the config that are to be others.
    """
    kinds = list(kinds_of(config, fields))
    layers = [layer for _, _, _, tried in kinds for layer in tried.values()]
    model = with_layers(family, config, layers, **fields)
    tensors = family.tensors(model)
    each = iter(tensors.layers)
    blocks = []
    for types, kind, absent, tried in kinds:
        layers_of = {size: next(each) for size in tried}
        found = {size: folded(layer) for size, layer in layers_of.items()}
        base = found.pop("")
        sizes = {size: followed(base, other, tried[""][size], tried[size][size]) for size, other in found.items()}
        sizes = {size: places for size, places in sizes.items() if places}
        blocks.append(SubBlock(types, kind, absent, base, sizes, layers_of[""]))
    return Relations(tensors.outside, blocks, list(parts_of(family, model, tensors.layers)))


def kinds_of(
    config: Any, fields: Mapping[str, Any]
) -> Iterator[tuple[str, str, tuple[str, ...], dict[str, dict[str, Any]]]]:
    """Each sub-block as (list, entry, sizes that are `None`, size -> a layer in which it is another one; "" as it is)."""
    lists = {"mixer_types": config.supported_mixer_types, "mlp_types": config.supported_mlp_types}
    for types, kind in ((types, kind) for types, kinds in lists.items() for kind in kinds if kind != "none"):
        own = [name for name, (of, having) in config.per_layer_sizes.items() if of == types and kind in having]
        own = [name for name in own if name != "sliding_window"]
        optional = [name for name in own if name in config.optional_per_layer_sizes]
        for present in product((False, True), repeat=len(optional)):
            absent = tuple(name for name, there in zip(optional, present, strict=True) if not there)
            names = [name for name in own if name not in absent]
            base = {"mixer_types": "none", "mlp_types": "none", types: kind}
            base |= {name: tried_values(config, fields, name)[0] for name in names}
            others = {name: {**base, name: tried_values(config, fields, name)[1]} for name in names}
            yield types, kind, absent, {"": base, **{n: layer for n, layer in others.items() if layer != base}}


def tried_values(config: Any, fields: Mapping[str, Any], name: str) -> tuple[int, int]:
    """Two values of a size that a layer may have, the other sizes having their first."""
    for smaller, relation, larger in config.related_sizes:
        if name == smaller and relation == "is at most":
            return 1, 1  # a choice among what is there, which no shape follows
        if name == smaller:
            return 1, TRIED[0] if larger in config.per_layer_sizes else fields.get(larger, getattr(config, larger))
        if name == larger and relation == "divides" and smaller not in config.per_layer_sizes:
            groups = fields.get(smaller, getattr(config, smaller))
            return 2 * groups, 3 * groups
    return TRIED


def folded(layer: Sequence[Tensor]) -> dict[str, Shape]:
    """The shapes of a layer's tensors, experts as one."""
    shapes: dict[str, Shape] = {}
    for tensor in layer:
        if tensor.together:
            count = shapes.get(tensor.together, (0,))[0]
            shapes[tensor.together] = (count + 1, *tensor.shape)
        else:
            shapes[tensor.name] = tensor.shape
    return shapes


def followed(base: Mapping[str, Shape], other: Mapping[str, Shape], first: int, second: int) -> dict[Place, Follows]:
    """The dimensions that differ between two layers, of which a size is the `first` and the `second`."""
    found: dict[Place, Follows] = {}
    for name, shape in base.items():
        for dim, (size, more) in enumerate(zip(shape, other[name], strict=True)):
            if more != size:
                step = (more - size) // (second - first)
                found[name, dim] = Follows(step, size - step * first)
    return found


def parts_of(family: Family, config: Any, layers: Sequence[Sequence[Tensor]]) -> Iterator[Parts]:
    """The forms in which experts lie one by one: as the model is saved, and as the family joins them."""
    stacks = {tensor.name: tensor.together for layer in layers for tensor in layer if tensor.together}
    known = set()
    for name, stack in stacks.items():
        if (pattern := numbered(name)) not in known:
            known.add(pattern)
            yield Parts(re.compile(pattern), stack, 1, True)
    for whole, parts in family.joined(config).items():
        place, _, inner = whole.removeprefix("model.layers.").partition(".")
        names = [part.removeprefix(f"model.layers.{place}.") for part in parts]
        patterns = list(dict.fromkeys(map(numbered, names)))
        for pattern in (each for each in patterns if each not in known):
            known.add(pattern)
            yield Parts(re.compile(pattern), inner, len(patterns), False)


def numbered(name: str) -> str:
    """A pattern for names that differ in their number."""
    return re.sub(r"\\\.\d+\\\.", r"\\.(\\d+)\\.", re.escape(name), count=1)
