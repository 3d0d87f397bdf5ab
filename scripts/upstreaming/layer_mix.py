"""The layers of the small models that a family is tested with: alike, and as different as they may be."""

from collections.abc import Mapping
from itertools import cycle, islice
from typing import Any

from .family_facts import Facts


NUM_LAYERS = 2  # as small as transformers asks of its tests
# Left as the family has it by default: what its parents are tested with
_OF_THE_FAMILY = ("layer_types", "sliding_window", "use_sliding_window", "attention_chunk_size")
# Their tester divides by it
_ONE_NUMBER = ("num_attention_heads", *_OF_THE_FAMILY)
# Groups of mamba heads, of which there are few; positions, which are tested with every kind of RoPE; windows, which all layers
# have where one is asked for; heads, of which a quarter may be turned
_SMALL = {"n_groups": 2, "position_embedding_type": "rope", "max_window_layers": 0, "head_dim": 16}
# The parents' own fields that make one of two layers dense
_ONE_DENSE = {"mlp_only_layers": [0], "interleave_moe_layer_step": 2}


def uniform_fields(facts: Facts, small: Mapping[str, object]) -> dict[str, Any]:
    """A small model with the layers of its parent, one of each kind of mixer and of MLP among them."""
    fields = {**_plain(facts, small), "num_hidden_layers": NUM_LAYERS}
    if facts.has_one_block:
        kinds = [*((mixer, "none") for mixer in facts.mixers), *(("none", mlp) for mlp in facts.mlps)]
        return fields | _lists(kinds)
    if len(facts.mixers) > 1:
        fields["mixer_types"] = list(islice(cycle(facts.mixers), NUM_LAYERS))
    return fields | {name: value for name, value in _ONE_DENSE.items() if name in facts.fields}


def mixed_fields(facts: Facts, small: Mapping[str, object]) -> dict[str, Any]:
    """A small model in which mixers, MLPs or both are missing, and sizes are halved in every other layer that has them."""
    mixers, mlps = list(facts.mixers), list(facts.mlps)
    if facts.has_one_block:
        whole = [*((mixer, "none") for mixer in mixers), *(("none", mlp) for mlp in mlps)]
        kinds = [*whole, ("none", "none"), *whole]
    else:
        more = [
            "linear" if "linear" in facts.said[name] else "none"
            for name in ("supported_mixer_types", "supported_mlp_types")
        ]
        kinds = [
            ("none", mlps[0]),
            (mixers[0], mlps[-1]),
            (mixers[-1], "none"),
            (more[0], mlps[0]),
            (mixers[-1], mlps[0]),
            (mixers[0], more[1]),
            ("none", "none"),
            (mixers[-1], mlps[-1]),
        ]
    fields = {**_plain(facts, small), **_lists(kinds)}
    for name, (list_, having) in facts.said["per_layer_sizes"].items():
        size = fields.get(name, facts.fields.get(name))
        if type(size) is int and name not in _ONE_NUMBER:
            fields[name] = _halved(size, [kind in having for kind in fields[list_]])
    return fields


def _plain(facts: Facts, small: Mapping[str, object]) -> dict[str, Any]:
    kept = {name: value for name, value in small.items() if name not in _OF_THE_FAMILY}
    return kept | {name: size for name, size in _SMALL.items() if name in facts.fields}


def _lists(kinds: list[tuple[str, str]]) -> dict[str, Any]:
    mixers, mlps = ([kind[at] for kind in kinds] for at in (0, 1))
    return {"num_hidden_layers": len(kinds), "mixer_types": mixers, "mlp_types": mlps}


def _halved(size: int, has: list[bool]) -> list[int | None] | int:
    """The size of each layer that has it: whole, half, whole..."""
    sizes = cycle((size, max(size // 2, 1)))
    return [next(sizes) if each else None for each in has]
