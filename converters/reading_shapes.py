"""What the shapes of a checkpoint's tensors say of its layers, whatever its config does."""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from .engine.errors import CheckpointError
from .engine.headers import Shape
from .families.relations import Follows, Relations, SubBlock, relations_of
from .findings import CONFIG, SET, Found, Layers, Reading, reading_config
from .formats.recognition import UNREADABLE
from .open_sizes import ask_for_widths, read_what_has_no_shape


# Widths of heads, which a config says and no shape
HEAD_WIDTHS = ("head_dim", "mamba_head_dim", "mamba_d_head")
EMBEDDING = ("vocab_size", "hidden_size")


def read_shapes(found: Found) -> Reading:
    """All that the shapes say; what is wrong or open is in it."""
    reading = Reading()
    relations = relations_of(found.family, found.config)
    read_outside(found, relations, reading)
    if reading.problems or reading.asked:
        return reading
    with reading_config():
        relations = with_flags(found, relations_of(found.family, found.config, **reading.shared), reading)
    layers = {layer: put_together(layer, shapes, relations, reading) for layer, shapes in found.layers.items()}
    blocks = {layer: made_of(layer, shapes, relations, reading) for layer, shapes in layers.items()}
    if reading.problems:
        return reading
    if shared := shared_sizes(found, relations, layers, blocks, reading):
        reading.shared |= shared
        relations = relations_of(found.family, found.config, **reading.shared)
        blocks = {layer: made_of(layer, shapes, relations, reading) for layer, shapes in layers.items()}
    reading.sources["num_hidden_layers"] = "layers that hold tensors"
    for name in ("mixer_types", "mlp_types"):
        reading.sources[name] = "names of the tensors"
    for layer in sorted(layers):
        reading.layers.append(sizes_of(layer, layers[layer], blocks[layer], reading))
    if not reading.problems:
        read_what_has_no_shape(found, reading)
        ask_for_widths(found, layers, reading)
    return reading


def read_outside(found: Found, relations: Relations, reading: Reading) -> None:
    """Vocabulary, hidden size, and whether there is a head."""
    config, outside = found.config, found.outside
    tables = [each.name for each in relations.outside if each.shape == (config.vocab_size, config.hidden_size)]
    embedding, *heads = tables
    shape = outside.get(embedding)
    if shape is None or len(shape) != 2:
        reading.problems.append(
            f"{embedding!r} is {'missing' if shape is None else list(shape)}: [vocabulary, hidden]"
        )
        return
    for name, size in zip(EMBEDDING, shape, strict=True):
        reading.sources[name] = f"shape of {embedding}"
        if size != getattr(config, name):
            reading.shared[name] = size
    for head in heads:
        if head not in outside:
            if not config.tie_word_embeddings:
                reading.asked["tie_word_embeddings"] = (
                    f"{head!r} is missing, and config.json says that the head is one of its own: true where it is the "
                    f"embedding; where it was lost, put it back"
                )
        elif outside[head] != shape:
            reading.problems.append(
                f"{head!r} has shape {list(outside[head])}, {embedding!r} {list(shape)}: a head for another vocabulary "
                "than the embedding's is no model of this family: cut both alike"
            )
    reading.sources["tie_word_embeddings"] = SET if "tie_word_embeddings" in found.given else CONFIG


def with_flags(found: Found, relations: Relations, reading: Reading) -> Relations:
    """The relations with the biases that the tensors have, where they are not those that the config says."""
    fields = type(found.config).__dataclass_fields__
    flags = [name for name in fields if "bias" in name and name not in found.given]
    flags = [name for name in flags if isinstance(getattr(found.config, name), bool)]
    for name in flags:
        if not (misfits := num_misfits(found, relations)):
            break
        flipped = {**reading.shared, name: not getattr(found.config, name)}
        try:
            other = relations_of(found.family, found.config, **flipped)
        except (CheckpointError, *UNREADABLE):
            continue
        if num_misfits(found, other) < misfits:
            relations, reading.shared = other, flipped
            reading.sources[name] = "names of the tensors"
    return relations


def num_misfits(found: Found, relations: Relations) -> int:
    """How many names of tensors the layers have too many or too few."""
    trial = Reading()
    total = 0
    for layer, shapes in found.layers.items():
        names = put_together(layer, shapes, relations, trial).keys()
        total += min(len(names ^ joined_names(pair)) for pair in pairs_of(relations))
    return total


def pairs_of(relations: Relations) -> Iterator[tuple[SubBlock | None, SubBlock | None]]:
    yield from product(relations.of("mixer_types"), relations.of("mlp_types"))


def joined_names(pair: tuple[SubBlock | None, SubBlock | None]) -> set[str]:
    return {name for block in pair if block is not None for name in block.shapes}


def put_together(layer: int, shapes: Mapping[str, Shape], relations: Relations, reading: Reading) -> dict[str, Shape]:
    """The shapes of a layer, experts that lie one by one as one tensor."""
    whole: dict[str, Shape] = {}
    singles: dict[str, dict[int, list[tuple[str, Shape]]]] = {}
    counts = {}
    for name, shape in shapes.items():
        for parts in relations.parts:
            if match := parts.name.fullmatch(name):
                singles.setdefault(parts.whole, {}).setdefault(int(match[1]), []).append((name, shape))
                counts[parts.whole] = parts
                break
        else:
            whole[name] = shape
    for stack, experts in singles.items():
        parts, place = counts[stack], f"layer {layer}: {stack}"
        alike = {shape for each in experts.values() for _, shape in each}
        missing = sorted(set(range(len(experts))) - experts.keys())
        if missing:
            reading.problems.append(
                f"{place}: experts are {sorted(experts)}, numbers from 0 on are needed: which row of the router is whose "
                "cannot be seen"
            )
        elif len(alike) > 1:
            reading.problems.append(
                f"{place}: its experts have {len(alike)} shapes, {sorted(alike)[:3]}: one is needed"
            )
        elif uneven := [number for number, each in experts.items() if len(each) != parts.count]:
            reading.problems.append(f"{place}: experts {uneven} have not all of {parts.count} matrices")
        else:
            shape = next(iter(alike))
            rows = shape if parts.is_stack else (parts.count * shape[0], *shape[1:])
            whole[stack] = (len(experts), *rows)
    return whole


def made_of(layer: int, shapes: Mapping[str, Shape], relations: Relations, reading: Reading) -> list[SubBlock]:
    """The mixer and the MLP whose tensors a layer has. Norms of what is not there any more are left over."""
    fits = []
    norms = {name for block in relations.sub_blocks for name, shape in block.shapes.items() if len(shape) == 1}
    norms = {name for name in norms if "norm" in name.split(".")[0]}
    for pair in pairs_of(relations):
        more = shapes.keys() - joined_names(pair)
        if joined_names(pair) <= shapes.keys() and more <= norms:
            fits.append((len(more), [block for block in pair if block is not None], more))
    if fits:
        _, blocks, more = min(fits, key=lambda fit: fit[0])
        reading.left_over |= {
            f"model.layers.{layer}.{name}": "norm of a sub-block that is not there any more" for name in more
        }
        return blocks
    nearest = min(pairs_of(relations), key=lambda pair: len(joined_names(pair) ^ shapes.keys()))
    kinds = " and ".join(block.kind for block in nearest if block is not None) or "nothing"
    names = joined_names(nearest)
    told = [f"{name!r} is missing" for name in sorted(names - shapes.keys())]
    told += [f"{name!r} {list(shapes[name])} is unexpected" for name in sorted(shapes.keys() - names)]
    reading.problems.append(f"layer {layer}: nearest is {kinds}, and {', '.join(told[:6])}")
    return []


def base_shape(blocks: list[SubBlock], name: str) -> Shape:
    return next(block.shapes[name] for block in blocks if name in block.shapes)


def follows_in(blocks: list[SubBlock]) -> dict[tuple[str, int], tuple[str, Follows]]:
    return {place: found for block in blocks for place, found in block.follows.items()}


def fixed_misfits(layers: Layers, blocks: Mapping[int, list[SubBlock]]) -> dict[tuple[int, str, int], int]:
    """(layer, tensor, dimension) -> its size, where it is not the model's and follows no size of the layer."""
    found = {}
    for layer, shapes in layers.items():
        follows = follows_in(blocks[layer])
        for name in (name for block in blocks[layer] for name in block.shapes):
            expected = base_shape(blocks[layer], name)
            for dim, size in enumerate(shapes[name]):
                is_fixed = dim < len(expected) and (name, dim) not in follows
                if is_fixed and size != expected[dim]:
                    found[layer, name, dim] = size
    return found


def shared_sizes(
    found: Found, relations: Relations, layers: Layers, blocks: Mapping[int, list[SubBlock]], reading: Reading
) -> dict[str, int]:
    """A size that all layers share and that is another one than the config's, where one alone explains all of the shapes."""
    misfits = fixed_misfits(layers, blocks)
    if not misfits:
        return {}
    config = found.config
    readings: dict[str, int] = {}
    for name in type(config).__dataclass_fields__:
        value = getattr(config, name)
        no_size = name in (*config.per_layer_sizes, *EMBEDDING, "num_hidden_layers", *found.given)
        if no_size or type(value) is not int or value < 1 or (name in HEAD_WIDTHS and found.says(name)):
            continue
        if (size := explains(found, name, value, relations, layers, blocks, misfits, reading)) is not None:
            readings[name] = size
    if len(readings) == 1:
        (name,) = readings
        reading.sources[name] = "shapes: " + ", ".join(sorted({tensor for _, tensor, _ in misfits})[:3])
        return readings
    if readings:
        tensors = sorted({tensor for _, tensor, _ in misfits})
        what = " or ".join(f"{name} = {size}" for name, size in readings.items())
        reading.asked |= {next(iter(readings)): f"the shapes of {', '.join(tensors[:3])} may be {what}"}
        return {}
    reading.problems += [
        f"layer {layer}: {name!r} has {size} in dimension {dim}, expected {base_shape(blocks[layer], name)[dim]}: "
        "that is one size for all layers of this family"
        for (layer, name, dim), size in misfits.items()
    ]
    return {}


def explains(
    found: Found,
    name: str,
    value: int,
    relations: Relations,
    layers: Layers,
    blocks: Mapping[int, list[SubBlock]],
    misfits: Mapping[tuple[int, str, int], int],
    reading: Reading,
) -> int | None:
    """The value of a shared size with which all layers have the shapes that are found; `None` where there is none."""
    try:
        other = relations_of(found.family, found.config, **{**reading.shared, name: 2 * value})
    except (CheckpointError, *UNREADABLE):
        return None
    twice = {(block.types, block.kind, block.absent): block for block in other.sub_blocks}
    values = set()
    for layer, tensor, dim in misfits:
        block = next(block for block in blocks[layer] if tensor in block.shapes)
        once = block.shapes[tensor][dim]
        if (step := twice[block.types, block.kind, block.absent].shapes[tensor][dim] - once) <= 0:
            return None
        more, rest = divmod((misfits[layer, tensor, dim] - once) * value, step)
        values.add(value + more if not rest else 0)
    if len(values) != 1 or (size := values.pop()) < 1:
        return None
    try:
        then = relations_of(found.family, found.config, **{**reading.shared, name: size})
    except (CheckpointError, *UNREADABLE):
        return None
    trial = Reading()
    made = {layer: made_of(layer, shapes, then, trial) for layer, shapes in layers.items()}
    if trial.problems or fixed_misfits(layers, made):
        return None
    for layer, shapes in layers.items():
        sizes_of(layer, shapes, made[layer], trial)
    return None if trial.problems else size


def sizes_of(layer: int, shapes: Mapping[str, Shape], blocks: list[SubBlock], reading: Reading) -> dict[str, Any]:
    """What a layer is made of, its sizes those with which its tensors have their shapes."""
    row: dict[str, Any] = {"mixer_types": "none", "mlp_types": "none"}
    for block in blocks:
        row[block.types] = block.kind
        for size, places in block.sizes.items():
            said: dict[int | str, list[str]] = {}
            for (tensor, dim), follows in places.items():
                given = shapes[tensor][dim] if dim < len(shapes[tensor]) else 0
                value, rest = divmod(given - follows.rest, follows.step)
                key: int | str = value if not rest and value > 0 else f"no whole number ({given} / {follows.step})"
                said.setdefault(key, []).append(f"{tensor} {list(shapes[tensor])}")
                more = f" and {len(places) - 1} more" if len(places) > 1 else ""
                reading.sources.setdefault(size, f"shape of {tensor}{more}")
            if len(said) == 1 and isinstance(only := next(iter(said)), int):
                row[size] = only
            else:
                told = "; ".join(f"{value} after {tensors[0]}" for value, tensors in said.items())
                reading.problems.append(f"layer {layer}: {size} is {told}")
    return row
