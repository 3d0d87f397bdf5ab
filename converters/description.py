"""
What a model is made of, as plain data: names, groups of weights, sizes. Puzzletron asks this of a model, and so may anything that
plans, cuts or moves weights by sub-block.

Nothing here imports torch or transformers.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .engine.errors import CheckpointError, refuse
from .engine.quantised import BLOCKS, SCALE_NAMES, SCALES


EMBEDDINGS, HEAD = "embeddings", "lm_head"
# Puzzletron's half of a layer -> the list that says what it is
HALVES = {"attention": "mixer_types", "ffn": "mlp_types"}
# What a half is -> the member of it that says so, and holds its sizes
NESTED = {"mamba": "mamba", "moe": "moe"}
REST = {"no_op": False, "replace_with_linear": False, "sparsify": None, "weights_precision": "bf16"}
CHOICES = ("no_op", "replace_with_linear")
# All members of a half, and of what is nested in it, as they are where they say nothing
MEMBERS: dict[str, dict[str, Any]] = {
    "attention": dict.fromkeys(("num_key_value_heads", "llama4", "mamba")),
    "attention.mamba": dict.fromkeys(("state_dim", "num_heads", "head_dim", "num_groups")),
    "ffn": dict.fromkeys(("moe", "intermediate_size")),
    "ffn.moe": dict.fromkeys(
        (
            "num_local_experts",
            "num_experts_per_tok",
            "expert_intermediate_dim",
            "shared_expert_intermediate_dim",
        )
    ),
}


@dataclass(frozen=True)
class LayerDescription:
    """
    A layer: what mixes tokens in it, what its MLP is, `"none"` where there is none, and the sizes that may vary of what it has.
    """

    mixer: str
    mlp: str
    sizes: Mapping[str, int | None]

    @property
    def sub_blocks(self) -> tuple[str, ...]:
        """Those that it has, of `attention` (whatever mixes tokens) and `ffn`."""
        return tuple(half for half, kind in zip(HALVES, (self.mixer, self.mlp), strict=True) if kind != "none")

    @property
    def overrides(self) -> dict[str, Any]:
        """The same as the config's `per_layer_config` takes it."""
        return {"mixer_types": self.mixer, "mlp_types": self.mlp, **self.sizes}


@dataclass(frozen=True)
class SizeDescription:
    """
    A size that may vary by layer.

    Attributes:
        sub_block: `attention` or `ffn`.
        kinds: Of such sub-blocks those that have the size.
        is_optional: Whether `None` is a choice, as in "no window".
        dimensions: Kind -> tensor in its layer, experts as one -> (dimension, how much of it is of one unit of the size, what is
            there beside that).
    """

    sub_block: str
    kinds: tuple[str, ...]
    is_optional: bool
    dimensions: Mapping[str, Mapping[str, tuple[tuple[int, int, int], ...]]]


@dataclass(frozen=True)
class Description:
    """
    A model. Modules are called as in the model, tensors of groups as in a checkpoint of this format; where the two may begin
    otherwise, `renamings` says how.

    Attributes:
        model_type: Of the family.
        config_type: The model type that config.json says, "" where it says none.
        format: In which the config is.
        architecture: The class of the family's models.
        layers: One a layer.
        layer_modules: The module that the layers are in.
        output_embedding: "" where the model has no head.
        is_tied: Whether the head is the embedding.
        sizes: Those that may vary.
        relations: Of two sizes of one layer, as in `num_key_value_heads` `divides` `num_attention_heads`.
        kinds: What a list says that a sub-block may be.
        groups: `embeddings`, `lm_head`, `block_N_attention`, `block_N_ffn` -> the tensors, experts as they are saved. Nothing
            stands there for a sub-block that a layer does not have, nor for a tied head.
        outside: Of the first two, the names of all tensors that may be there.
        inside: Of the others, a pattern of the names in a layer, scales and other parts of quantised weights among them.
        members: Half of a block config and member, as in `ffn.moe.num_local_experts` -> the config's field.
        constants: The same of fields that hold for all layers -> their values.
        requires_trust_remote_code: Never: the family is installed.
        uses_autocast: Whether it runs under `torch.autocast`.
    """

    model_type: str
    config_type: str
    format: str
    architecture: str
    num_hidden_layers: int
    input_embedding: str
    final_norm: str
    output_embedding: str
    layer_modules: str
    renamings: Mapping[str, str]
    is_tied: bool
    layers: tuple[LayerDescription, ...]
    sizes: Mapping[str, SizeDescription]
    relations: tuple[tuple[str, str, str], ...]
    kinds: Mapping[str, tuple[str, ...]]
    outside: Mapping[str, tuple[str, ...]]
    inside: Mapping[str, str]
    members: Mapping[str, str]
    constants: Mapping[str, int]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    requires_trust_remote_code: bool = False
    uses_autocast: bool = True

    def layer_name(self, layer: int) -> str:
        """The module of a layer."""
        return f"{self.layer_modules}.{layer}"

    def patterns(self, num_layers: int | None = None) -> dict[str, str]:
        """Group -> regular expression of the names of its tensors, on disk or in the model; of a model with another number of
        layers where one is given. A name that both halves of a layer may have is matched by both: `weight_groups` knows."""
        outside = {group: f"^(?:{'|'.join(self.spellings(names))})$" for group, names in self.outside.items()}
        places = "|".join(self.spellings([f"{self.layer_modules}."]))
        inside = {
            f"block_{layer}_{half}": rf"^(?:{places}){layer}\.(?:{pattern})$"
            for layer in range(self.num_hidden_layers if num_layers is None else num_layers)
            for half, pattern in self.inside.items()
        }
        return {**outside, **inside}

    def spellings(self, names: Iterable[str]) -> list[str]:
        """Patterns of names as they are in the model and on disk."""
        found: dict[str, None] = {}
        for name in names:
            found[re.escape(name)] = None
            for on_disk, inner in self.renamings.items():
                if name.startswith(inner):
                    found[re.escape(on_disk + name.removeprefix(inner))] = None
        return list(found)

    def weight_groups(self, names: Iterable[str], num_layers: int | None = None) -> dict[str, list[str]]:
        """
        Names of tensors by their groups. What either half of a layer may have, as the one norm of a Nemotron-H's, is of the
        half that has something else there, of attention where both have.

        Raises:
            CheckpointError: names those that are of no group.
        """
        number = self.num_hidden_layers if num_layers is None else num_layers
        places = re.compile(rf"(?:{'|'.join(self.spellings([f'{self.layer_modules}.']))})(\d+)\.(.*)")
        inside = {half: re.compile(pattern) for half, pattern in self.inside.items()}
        outside = {group: re.compile("|".join(self.spellings(names))) for group, names in self.outside.items()}
        found: dict[str, list[str]] = {}
        for name in names:
            match = places.fullmatch(name)
            if match is None:
                found[name] = [group for group, pattern in outside.items() if pattern.fullmatch(name)]
            else:
                halves = [half for half, pattern in inside.items() if pattern.fullmatch(match[2])]
                found[name] = [f"block_{match[1]}_{half}" for half in halves if int(match[1]) < number]
        refuse("of no group of weights", (name for name, groups in found.items() if not groups))
        sure = {groups[0] for groups in found.values() if len(groups) == 1}
        grouped: dict[str, list[str]] = {}
        for name, groups in found.items():
            grouped.setdefault(next((group for group in groups if group in sure), groups[0]), []).append(name)
        return grouped

    def layer_overrides(self, block: Any) -> dict[str, Any]:
        """
        What a block config of Puzzletron's says of a layer, as `per_layer_config` takes it: what it is made of, and sizes.

        Args:
            block: A dict, or what has `to_dict`.

        Raises:
            CheckpointError: names every member that is wrong, or that the family does not have.
        """
        halves = block.to_dict() if hasattr(block, "to_dict") else block
        problems: list[str] = []
        found: dict[str, Any] = {}
        if not isinstance(halves, Mapping):
            raise CheckpointError(f"a block config is an object with {' and '.join(HALVES)}, not {block!r}")
        if "subblock_configs" in halves:
            raise CheckpointError(
                "typed blocks, of Puzzletron's second generation: AutoConfig and `hetero convert` read a whole config of them"
            )
        unknown = [name for name in halves if name not in HALVES and halves[name]]
        problems += [f"{name} = {halves[name]!r} cannot be expressed by this family" for name in unknown]
        for half, types in HALVES.items():
            members = halves.get(half)
            if not isinstance(members, Mapping):
                problems.append(f"{half} = {members!r}: an object is needed")
                continue
            problems += [
                f"{half}.{name} = {members[name]!r}: true, false or null is needed"
                for name in CHOICES
                if not isinstance(members.get(name), bool | None)
            ]
            found[types] = kind = kind_of(half, members)
            if kind not in self.kinds[types]:
                problems.append(f"{half} is {kind!r}, allowed are {list(self.kinds[types])}")
            found |= self.sizes_in(half, kind, members, problems)
        refuse(f"{self.model_type}: a block config that it cannot be", problems)
        return found

    def sizes_in(self, half: str, kind: str, members: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
        """The sizes of one half of a block config by the config's fields. What is wrong is added to the problems."""
        flat = {f"{half}.{name}": value for name, value in members.items() if name not in (*REST, *NESTED)}
        for name in (name for name in NESTED if members.get(name)):
            if isinstance(members[name], Mapping):
                flat |= {f"{half}.{name}.{inner}": value for inner, value in members[name].items()}
            else:
                problems.append(f"{half}.{name} = {members[name]!r}: an object is needed")
        part = "" if kind in ("none", "linear") else f"{half}.{NESTED[kind]}" if kind in NESTED else half
        found = {}
        for name, value in flat.items():
            if value is None or (name not in self.members and not value):
                continue
            if name not in self.members:
                problems.append(f"{name} = {value!r} cannot be expressed by this family")
            elif name.rpartition(".")[0] != part:
                problems.append(f"{name} = {value!r}, but {half} is {kind!r}")
            elif type(value) is not int or value <= 0:
                problems.append(f"{name} = {value!r}: a positive integer is needed")
            elif name not in self.constants:
                found[self.members[name]] = value
            elif value != self.constants[name]:
                problems.append(f"{name} = {value}: {self.members[name]} is {self.constants[name]} in all layers")
        problems += [
            f"{half}.{name} = {members[name]!r} cannot be expressed by this family"
            for name in ("sparsify", "weights_precision")
            if members.get(name) and members[name] != REST[name]
        ]
        return found

    def block_config(self, layer: int | Mapping[str, Any]) -> dict[str, Any]:
        """
        A layer as a block config of Puzzletron's.

        Args:
            layer: Its number, or what `layer_overrides` gives.
        """
        overrides = self.layers[layer].overrides if isinstance(layer, int) else layer
        block: dict[str, Any] = {}
        for half, types in HALVES.items():
            kind = overrides[types]
            members = {**MEMBERS[half], **REST, "no_op": kind == "none", "replace_with_linear": kind == "linear"}
            if nested := NESTED.get(kind):
                members[nested] = self.members_of(f"{half}.{nested}", overrides)
            elif kind not in ("none", "linear"):
                members |= self.members_of(half, overrides)
            block[half] = members
        return {**block, "parallel_blocks": None}

    def members_of(self, part: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """The members of a half, or of what is nested in it, that the family has."""
        names = {name: f"{part}.{name}" for name in MEMBERS[part]}
        return {
            name: self.constants.get(whole, overrides.get(self.members.get(whole, "")))
            for name, whole in names.items()
        }

    def to_dict(self) -> dict[str, Any]:
        """The description as plain data."""
        return asdict(self)


def kind_of(half: str, members: Mapping[str, Any]) -> str:
    """What a half of a block config is, in the words of `mixer_types` and `mlp_types`."""
    if members.get("no_op"):
        return "none"
    if members.get("replace_with_linear"):
        return "linear"
    nested = next((name for name in NESTED if members.get(name)), None)
    return nested or {"attention": "attention", "ffn": "dense"}[half]


def description_from(found: Mapping[str, Any]) -> Description:
    """The description that `to_dict` gave, as it comes back out of JSON."""
    return Description(
        **{
            **found,
            "layers": tuple(LayerDescription(**layer) for layer in found["layers"]),
            "sizes": {name: size_from(size) for name, size in found["sizes"].items()},
            "relations": tuple(map(tuple, found["relations"])),
            **{name: tuples(found[name]) for name in ("kinds", "outside", "groups")},
        }
    )


def size_from(found: Mapping[str, Any]) -> SizeDescription:
    """The same of one size."""
    dimensions = {
        kind: {tensor: tuple(map(tuple, places)) for tensor, places in tensors.items()}
        for kind, tensors in found["dimensions"].items()
    }
    return SizeDescription(**{**found, "kinds": tuple(found["kinds"]), "dimensions": dimensions})


def tuples(lists: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """A mapping of lists as one of tuples."""
    return {name: tuple(values) for name, values in lists.items()}


def names_pattern(names: Iterable[str], numbered: Iterable[str]) -> str:
    """
    A pattern of the names of tensors in a layer, and of what stands beside or in the place of quantised ones.

    Args:
        numbered: Patterns of names with a number in them.
    """
    patterns = [*map(re.escape, names), *numbered]
    weights = [pattern.removesuffix(r"\.weight") for pattern in patterns if pattern.endswith(r"\.weight")]
    others = [pattern for pattern in patterns if not pattern.endswith(r"\.weight")]
    scales = "|".join(SCALE_NAMES)
    modules = sorted({r"\.".join(pattern.split(r"\.")[:-2]) for pattern in patterns if pattern.count(r"\.") > 1})
    parts = [rf"(?:{'|'.join(weights)})\.(?:weight|{scales})"] * bool(weights)
    parts += [rf"(?:{'|'.join(others)})(?:{BLOCKS}|{SCALES}|_(?:{scales}))?"] * bool(others)
    parts += [rf"(?:{'|'.join(modules)})\.(?:{scales})"] * bool(modules)
    return "|".join(parts)
