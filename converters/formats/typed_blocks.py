"""
One block of Puzzletron's second generation, `typed_subblocks_v1`: a list of sub-blocks, each of a kind that has members of
its own. What it leaves unsaid, and the kind of a sub-block that is not there, the config around the blocks says.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..families.family import ByLayer
from .block_fields import impossible_choices, impossible_sizes
from .expression import without


SCHEMA = "typed_subblocks_v1"
# Kind -> the list of a family's config that it stands in, and its name there. No family has latents
KINDS = {
    "attention": ("mixer_types", "attention"),
    "mla": ("mixer_types", "mla"),
    "mamba": ("mixer_types", "mamba"),
    "ffn": ("mlp_types", "dense"),
    "moe": ("mlp_types", "moe"),
}
KIND_OF = {place: kind for kind, place in KINDS.items()}
# Kind -> its members, and what they are called in configs: a family has one of the names, or no such size
SIZES: dict[str, dict[str, tuple[str, ...]]] = {
    "attention": {
        "num_kv_heads": ("num_key_value_heads",),
        "num_query_heads": ("num_attention_heads",),
        "qk_head_dim": ("head_dim",),
        "v_head_dim": ("head_dim",),
    },
    "mla": {},
    "mamba": {
        "state_dim": ("ssm_state_size",),
        "num_heads": ("mamba_num_heads",),
        "head_dim": ("mamba_head_dim",),
        "num_groups": ("n_groups",),
        "conv_kernel_size": ("conv_kernel",),
    },
    "ffn": {"intermediate_size": ("intermediate_size",)},
    "moe": {
        "num_experts": ("n_routed_experts", "num_local_experts", "num_experts"),
        "expert_intermediate_size": ("moe_intermediate_size", "intermediate_size"),
        "shared_expert_intermediate_size": ("moe_shared_expert_intermediate_size",),
        "top_k": ("num_experts_per_tok",),
        "latent_dim": ("moe_latent_size",),
    },
}
# What an attention says in vain -> the values that ask for nothing
NOTHING = (None, False)
LLAMA4_ASKS_NOTHING = {"use_qk_norm": NOTHING, "attn_temperature_tuning": NOTHING}
WINDOW, FULL = "sliding_window_size", "full"
# What `skip` calls a sub-block of either list
SKIPPED = {"mixer_types": "attention", "mlp_types": "mlp"}


@dataclass(frozen=True)
class Layer:
    """
    What a block says of a layer.

    Attributes:
        types: List of the family's config -> its entry there, "none" where the sub-block is a no-op.
        sizes: Field of the config -> value, of the sub-blocks that are there, as far as it is said.
        window: The window of its attention, "full" where it has none; `None` where nothing is said.
    """

    types: Mapping[str, str]
    sizes: Mapping[str, Any]
    window: int | str | None

    @property
    def skipped(self) -> list[str]:
        return [SKIPPED[types] for types, kind in self.types.items() if kind == "none"]


def field_of(config_class: Any, kind: str, member: str) -> str | None:
    """What a family calls a member of a kind; `None` where it has no such size."""
    own = {each.name for each in fields(config_class)} | {*config_class.known_fields}
    return next((name for name in SIZES[kind][member] if name in own), None)


def read_block(base: ByLayer, block: Any) -> tuple[Layer, list[str]]:
    """One entry of `block_configs` as (what it says, errors)."""
    nothing = Layer({}, {}, None)
    sub_blocks = block.get("subblock_configs") if isinstance(block, dict) else None
    if not isinstance(sub_blocks, list | tuple) or not all(isinstance(each, dict) for each in sub_blocks):
        return nothing, [f" = {str(block)[:100]}: an object with a list of objects, subblock_configs, is needed"]
    errors = [f": {name} = {block[name]!r} cannot be expressed" for name in block if name != "subblock_configs"]
    found: dict[str, list[str]] = {"mixer_types": [], "mlp_types": []}
    sizes: dict[str, Any] = {}
    window = None
    for at, each in enumerate(sub_blocks):
        kind = each.get("kind")
        if not isinstance(kind, str) or kind not in KINDS:
            errors.append(f".subblock_configs[{at}]: kind = {kind!r}, allowed are {list(KINDS)}")
            continue
        wrong = impossible_choices(each)
        if each.get("no_op") is not True and not wrong:
            said, wrong = read_members(base, kind, each)
            sizes, window = sizes | said, window or each.get(WINDOW)
        errors += [f".{kind}: {error}" for error in wrong]
        found[KINDS[kind][0]].append("none" if each.get("no_op") is True else KINDS[kind][1])
    for types, kinds in found.items():
        if len(kinds) != 1:
            known = " or ".join(kind for kind, place in KINDS.items() if place[0] == types)
            errors.append(f".subblock_configs: one {known} is needed, no_op where there is none, not {len(kinds)}")
    return Layer({types: "".join(kinds[:1]) for types, kinds in found.items()}, sizes, window), errors


def read_members(base: ByLayer, kind: str, sub_block: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What is said of a sub-block that is there, as (field of the family -> value, errors)."""
    types, own_kind = KINDS[kind]
    if own_kind not in getattr(base, f"supported_{types}"):
        return {}, ["this family has no such sub-block, and expresses it only as a no_op"]
    members = {name: value for name, value in sub_block.items() if name not in ("kind", "name", "no_op")}
    errors = impossible_sizes(members, tuple(SIZES[kind]))
    sizes: dict[str, Any] = {}
    for member, value in () if errors else members.items():
        if member not in SIZES[kind]:
            continue
        field = field_of(type(base.config), kind, member)
        name = field or SIZES[kind][member][0]
        if value is None or (field is None and value == of_base(base, name)):
            continue
        if field is None:
            errors.append(f"{member} = {value!r} cannot be expressed by this family")
        elif sizes.setdefault(field, value) != value:
            errors.append(f"{member} = {value!r}, and {sizes[field]!r} in another member: they are one size here")
    rest = without(members, *SIZES[kind])
    errors += attention_problems(base, rest) if kind == "attention" else asked_problems(rest)
    return sizes, errors


def asked_problems(members: Mapping[str, Any]) -> list[str]:
    """Members that ask for something, and that nothing here does."""
    return [
        f"{name} = {value!r} cannot be expressed by this family"
        for name, value in members.items()
        if not any(value is each for each in NOTHING)
    ]


def attention_problems(base: ByLayer, members: Mapping[str, Any]) -> list[str]:
    """What of an attention cannot be expressed, beside its sizes."""
    window, llama4 = members.get(WINDOW), members.get("llama4")
    errors = asked_problems(without(members, WINDOW, "llama4"))
    if window not in (None, FULL):
        if type(window) is not int or window <= 0:
            errors.append(f'{WINDOW} = {window!r}: a positive integer or "{FULL}" is needed')
        elif "sliding_window" not in base.per_layer_sizes:
            errors.append(f"{WINDOW} = {window!r} cannot be expressed by this family, which has no windows")
    if not isinstance(llama4, dict | None):
        return [*errors, f"llama4 = {llama4!r}: an object or null is needed"]
    rope = "rope_parameters" in {each.name for each in fields(type(base.config))}
    same = {**LLAMA4_ASKS_NOTHING, "use_rope": (None, rope), "attention_dropout": (None, base.attention_dropout)}
    return errors + [
        f"llama4.{name} = {value!r} cannot be expressed by this family"
        for name, value in (llama4 or {}).items()
        if value is not None and not any(value == each for each in same.get(name, ()))
    ]


def of_base(base: ByLayer, name: str, layer_idx: int | None = None) -> Any:
    """What the config around the blocks says of a field, of one layer or of all."""
    if name == "head_dim" and getattr(base, name, None) is None:
        return base.hidden_size // of_base(base, "num_attention_heads")
    value = getattr(base, name, None)
    if isinstance(value, list):
        return value[layer_idx] if layer_idx is not None and layer_idx < len(value) else None
    return value


def size_of(base: ByLayer, layer: Layer, layer_idx: int, name: str) -> Any:
    """A size of a layer that has the sub-block."""
    if name == "sliding_window":
        window = layer.window
        return base.layer_sizes(name)[layer_idx] if window is None else None if window == FULL else window
    return layer.sizes.get(name, of_base(base, name, layer_idx))
