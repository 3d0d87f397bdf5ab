"""
A config worked out from the shapes of a checkpoint's tensors, where config.json still says what they were before somebody
cut them. What the shapes leave open is asked for by name; what is found is built, and compared with every header.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from .checkpoint import Checkpoint, check_head, check_layout, with_dtype
from .engine.errors import CheckpointError, refuse
from .engine.headers import Shape
from .engine.plan import NamedTensor, read_tensors, unused_tensors
from .engine.quantised import BLOCKS, COMPUTABLE, SCALES, is_scale, unpacked_shape
from .engine.tensor_plan import TensorPlan, join
from .engine.weights import read_weights
from .families.family import Family
from .families.layers import place_in, renumbered
from .families.relations import Follows, Relations, SubBlock, relations_of, with_layers
from .formats.published_format import PublishedFormat
from .formats.recognition import UNREADABLE, config_file, family_config, read_config
from .quantisation import quantisation_method
from .tensor_checks import check_tensors


CONFIG, SET = "config.json", "--set"
# Widths of heads, which a config says and no shape
HEAD_WIDTHS = ("head_dim", "mamba_head_dim", "mamba_d_head")
HEAD_WIDTH_NAMES = {"head_dim": ("head_dim", "attention_head_dim")}
USUAL_HEAD_WIDTHS = (8, 16, 32, 64, 80, 96, 128, 192, 256)
EMBEDDING = ("vocab_size", "hidden_size")
Layers = dict[int, dict[str, Shape]]


@dataclass(frozen=True)
class Found:
    """
    What is known of a checkpoint before its layers are.

    Attributes:
        config: What config.json says, and `given` in its place.
        given: Fields that the caller has set.
        layers: Layer of the files -> shapes of its tensors by their names in it.
        outside: Shapes of the others.
    """

    folder: Path
    published: PublishedFormat
    config_dict: Mapping[str, Any]
    config: Any
    given: Mapping[str, Any]
    layers: Layers
    outside: Mapping[str, Shape]

    @property
    def family(self) -> Family:
        return self.published.family

    def says(self, name: str) -> bool:
        """Whether the caller or config.json says a field, and not a default."""
        names = HEAD_WIDTH_NAMES.get(name, (name,))
        return name in self.given or any(self.config_dict.get(each) is not None for each in names)


@dataclass
class Reading:
    """
    What is found out of a checkpoint, and how.

    Attributes:
        shared: Sizes that all layers have, where they are not the config's.
        layers: What each layer is made of, as `with_layers` takes it.
        sources: Field -> where its numbers came from.
        left_over: Names of tensors that belong to sub-blocks that are not there.
        problems: What is wrong with the tensors.
        asked: Field that is open -> its readings, in words.
    """

    shared: dict[str, Any] = field(default_factory=dict)
    layers: list[dict[str, Any]] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    left_over: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    asked: dict[str, str] = field(default_factory=dict)


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
        return with_layers(published.family, config, rows, **shared)


class reading_config:
    """What a config refuses is a `CheckpointError`."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, UNREADABLE) and not isinstance(error, CheckpointError):
            lines = str(error.__cause__ or error).splitlines()
            remedy = (
                "Query heads that were cut out one by one have lost their groups: cut whole groups, or as many of each."
                if any("num_key_value_heads" in line and "divide" in line for line in lines)
                else ""
            )
            raise CheckpointError("The shapes say a model that there cannot be:", lines, remedy) from error


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


def read_what_has_no_shape(found: Found, reading: Reading) -> None:
    """Windows, top-k and the like: as the config says of these layers, or as it is set."""
    config, olds = found.config, sorted(found.layers)
    for name in config.per_layer_sizes:
        types, having = config.per_layer_sizes[name]
        wanting = {
            new: olds[new] for new, row in enumerate(reading.layers) if row[types] in having and name not in row
        }
        if not wanting or (name in config.optional_per_layer_sizes and name != "sliding_window"):
            continue
        if name in found.given:
            read_given(found, reading, name, wanting)
        else:
            read_stated(found, reading, name, wanting)
    set_in_vain = [name for name in found.given if name in config.per_layer_sizes and reading.sources.get(name) != SET]
    for name in set_in_vain:
        values = found.given[name] if isinstance(found.given[name], list) else [found.given[name]] * len(olds)
        if any(row.get(name) not in (None, value) for row, value in zip(reading.layers, values, strict=False)):
            said = [row.get(name) for row in reading.layers]
            reading.problems.append(f"{name} is set to {found.given[name]}, and the shapes say {said}")


def read_given(found: Found, reading: Reading, name: str, wanting: Mapping[int, int]) -> None:
    """A size of layers as the caller says it: one for all, or a list."""
    value = found.given[name]
    if isinstance(value, list) and len(value) != len(reading.layers):
        reading.problems.append(f"{name} is set to {len(value)} entries, and there are {len(reading.layers)} layers")
        return
    for new in wanting:
        reading.layers[new][name] = value[new] if isinstance(value, list) else value
    reading.sources[name] = SET


def read_stated(found: Found, reading: Reading, name: str, wanting: Mapping[int, int]) -> None:
    """A size of layers as the config has it. Where it differs between layers, and these may have new numbers, it is open."""
    config = found.config
    stated = config.layer_sizes(name)
    having = [size for size, has in zip(stated, config.layers_with(name), strict=True) if has]
    alike = len(set(having)) == 1
    whole, last = config.num_hidden_layers, max(found.layers)
    if not alike and last + 1 != whole:  # else the layers that are left have the numbers that they had
        reading.asked[name] = (
            f"config.json has it by layer, for {whole} layers, and there are {len(found.layers)}, the last number {last}: "
            f"say it for these, as a list with one entry a layer"
        )
        return
    for new, old in wanting.items():
        entry = having[0] if alike else stated[old]
        if entry is None and name not in config.optional_per_layer_sizes:
            reading.asked[name] = f"config.json says none for layer {old}"
            return
        reading.layers[new][name] = entry
    reading.sources[name] = CONFIG
    for smaller, relation, larger in config.related_sizes:
        if name == smaller and relation == "is at most":
            over = [new for new in wanting if reading.layers[new].get(larger, math.inf) < reading.layers[new][name]]
            if over:
                row = reading.layers[over[0]]
                reading.asked[name] = (
                    f"{row[name]} in config.json, and layer {wanting[over[0]]} has {larger} = {row[larger]}: "
                    "one number, or a list with one entry a layer"
                )


def ask_for_widths(found: Found, layers: Layers, reading: Reading) -> None:
    """Widths of heads that config.json does not say, where the heads are not those that it says; groups of a state."""
    config = found.config
    if "head_dim" in type(config).__dataclass_fields__:
        reading.sources["head_dim"] = CONFIG if found.says("head_dim") else "config.json, hidden_size over heads"
        reading.sources["head_dim"] = SET if "head_dim" in found.given else reading.sources["head_dim"]
    if "head_dim" in type(config).__dataclass_fields__ and not found.says("head_dim"):
        stated = config.layer_sizes("num_attention_heads")
        heads = [size for size in stated if size is not None]
        attending = [row for row in reading.layers if row["mixer_types"] == "attention"]
        now = {
            row.get("num_attention_heads", reading.shared.get("num_attention_heads", heads[0])) for row in attending
        }
        if attending and not now <= set(heads):
            rows = {
                math.gcd(row.get("num_attention_heads", heads[0]), row["num_key_value_heads"]) for row in attending
            }
            common = math.gcd(*rows) * config.head_dim
            widths = [width for width in USUAL_HEAD_WIDTHS if common % width == 0]
            asked = max(now - set(heads))
            total = asked * config.head_dim
            readings = " or ".join(f"{total // width} heads of {width}" for width in widths)
            reading.asked["head_dim"] = (
                f"a q_proj of {total:,} rows may be {readings}, and config.json does not say it"
            )
    ask_for_groups(found, reading)


def ask_for_groups(found: Found, reading: Reading) -> None:
    """Whether a state is smaller, or there are fewer groups of it: shapes have the product alone."""
    config = found.config
    groups, name = getattr(config, "n_groups", 1), "ssm_state_size"
    if name not in config.per_layer_sizes or groups == 1 or "n_groups" in found.given:
        return
    stated = {size for size in config.layer_sizes(name) if size is not None}
    now = {row[name] for row in reading.layers if name in row}
    if len(now) == len(stated) == 1 and now != stated:
        product_, state = groups * now.copy().pop(), stated.copy().pop()
        if product_ % state == 0:
            reading.asked["n_groups"] = (
                f"{product_} rows of state may be n_groups = {groups} of {now.pop()}, or {product_ // state} of {state}"
            )


def config_of(found: Found, reading: Reading) -> Any:
    """The config of what was found."""
    fields = {name: value for name, value in found.given.items() if name not in found.config.per_layer_sizes}
    fields.pop("layer_types", None)
    with reading_config():
        final = with_layers(found.family, found.config, reading.layers, **fields, **reading.shared)
    final.architectures = [found.family.architecture]
    if quantisation := getattr(found.config, "quantization_config", None):
        final.quantization_config = quantisation
    return final
