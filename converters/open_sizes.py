"""Sizes that no shape says, or that several readings explain: taken from the config, as they are set, or asked for by name."""

import math
from collections.abc import Mapping

from .findings import CONFIG, SET, Found, Layers, Reading


USUAL_HEAD_WIDTHS = (8, 16, 32, 64, 80, 96, 128, 192, 256)


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
