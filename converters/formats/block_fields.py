"""What the dialects of `block_configs` have in common: fields that ask for something, sizes, and what only remote code reads."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from transformers_heterogeneous.configuration_heterogeneous import HeterogeneousConfigError


# Of a sub-block or a layer: the attributes that it has in the family's config, and what is wrong
Read = tuple[dict[str, Any], list[str]]


# Keys of the published configs that only the checkpoint's own remote code reads
REMOTE_CODE_KEYS = (
    "auto_map",
    "block_return_only_hidden_states",
    "llama4_attn_implementation",
    "naive_attention_decode_batched",
    "naive_attention_decode_single",
    "naive_attention_prefill",
    "output_router_logits",
    "router_aux_loss_coef",
    "router_z_loss_coef",
)
# Fields of sub-blocks that are true, false or null
CHOICES = (
    "no_op",
    "replace_with_linear",
    "gated",
    "unshifted_sink",
    "use_prefill_window_in_sink_attention",
)
# Values of keys outside the blocks that say something which Llama layers do not do
INEXPRESSIBLE_KEYS = {"position_embedding_type": (None, "rope"), "o_proj_bias": (None, False)}


def stated(config_class: Any, config_dict: Mapping[str, Any]) -> Any:
    """What a config says of the family's fields, with their defaults, as an object: unfinished, but of the right types."""
    config = object.__new__(config_class)
    for each in fields(config_class):
        default = each.default if each.default_factory is MISSING else each.default_factory()
        if each.name in config_dict or default is not MISSING:
            setattr(config, each.name, config_dict.get(each.name, default))
    return config


def drop_remote_code_keys(config_class: Any, config_dict: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a published config that mean something without its remote code; a `HeterogeneousConfigError` names those that
    the family cannot express."""
    own = {each.name for each in fields(config_class)}
    errors = [
        f"{name} = {config_dict[name]!r} cannot be expressed, only {list(allowed)}"
        for name, allowed in INEXPRESSIBLE_KEYS.items()
        if name not in own and config_dict.get(name) not in allowed
    ]
    if errors:
        raise HeterogeneousConfigError("\n".join(errors))
    unread = {*REMOTE_CODE_KEYS, *INEXPRESSIBLE_KEYS} - own
    return {name: value for name, value in config_dict.items() if name not in unread}


def require_blocks(model_type: str, config_dict: Mapping[str, Any]) -> None:
    """Raise a `HeterogeneousConfigError` where a config of this type does not describe its layers."""
    if not config_dict.get("block_configs"):
        raise HeterogeneousConfigError(f"block_configs is missing: a {model_type} config describes its layers there")


def inexpressible_fields(sub_block: dict[str, Any], understood: tuple[str, ...]) -> list[str]:
    """The fields of a sub-block that ask for what the family does not do; null, false and empty ask for nothing."""
    harmless = {"weights_precision": "bf16"}
    return [
        f"{name} = {value!r} cannot be expressed by this family"
        for name, value in sub_block.items()
        if name not in understood and value and value != harmless.get(name)
    ]


def impossible_choices(sub_block: dict[str, Any]) -> list[str]:
    """The yes-or-no fields that say neither, since "false", 1.5 or "abc" would count as yes. Null is no."""
    return [
        f"{name} = {sub_block[name]!r}: true, false or null is needed"
        for name in CHOICES
        if not isinstance(sub_block.get(name), bool | None)
    ]


def impossible_sizes(sub_block: dict[str, Any], names: tuple[str, ...]) -> list[str]:
    """The fields that are given and are no positive numbers: integers, but for `ffn_mult`."""
    errors = []
    for name in names:
        value, kinds = sub_block.get(name), (int, float) if name == "ffn_mult" else (int,)
        possible = isinstance(value, kinds) and not isinstance(value, bool) and 0 < value < float("inf")
        if value is not None and not possible:
            kind = "number" if name == "ffn_mult" else "integer"
            errors.append(f"{name} = {value!r}: a positive {kind} is needed")
    return errors
