"""The plan of a heterogeneous family of a parent."""

import re
from dataclasses import replace

from ..modular_converter.syntax.tree import code
from .config_text import attributes_set
from .family_plan import OTHER_LAYER_TYPES, Plan, form_of_masks, plan_layer
from .parent import DoesNotFit, Parent
from .varying import find_relations, find_sizes, has_common_loss


def plan_family(parent: Parent) -> Plan:
    """The plan, or `DoesNotFit` with what is not as expected."""
    refuse_layer_types(parent)
    plan, *others = [plan_layer(replace(parent, layer=name)) for name in parent.layers]
    plan.others = others
    if any(each.mlp_types != plan.mlp_types for each in others):
        raise parent.refusal(None, f"the layers {', '.join(parent.layers)} have MLPs of different kinds")
    plan.masks = form_of_masks(parent)
    find_relations(plan, find_sizes(plan))
    for each in others:
        each.sizes, each.masks = plan.sizes, plan.masks
    plan.layered_loss = has_common_loss(parent) and any("expert" in name for name in plan.sizes)
    return plan


def refuse_layer_types(parent: Parent) -> None:
    """Refuse kinds of layers that no mixer of a family stands for, and a parent that has lists of its own."""
    if "per_layer_config" in parent.configuration.definitions[parent.config].code:
        reason = f"{parent.config} makes a per_layer_config of its own, which a family's lists take the place of"
        raise DoesNotFit([f"{parent.configuration.path.name}: {reason}"])
    computed = attributes_set(node) if (node := parent.config_pieces.get("__post_init__")) else []
    read = {name for name in re.findall(r"config\.(\w*layer\w*)", parent.modeling.text) if name in computed}
    if unknown := sorted(read - parent.fields.keys() - parent.other_names.keys()):
        reason = f"layers are told apart by {unknown[0]}, which {parent.config} computes and has no field for"
        raise DoesNotFit([f"{parent.modeling.path.name}: {reason}"])
    forward = parent.method(parent.base, "forward")
    if (made := re.search(r"cache = (\w+)\(", code(forward))) and made[1] != "DynamicCache":
        raise parent.refusal(
            forward, f"{parent.base} has a cache of its own, {made[1]}, and a family's is DynamicCache"
        )
    for kind, reason in OTHER_LAYER_TYPES.items():
        if f'"{kind}"' in parent.text:
            raise DoesNotFit([f"{parent.modeling.path.name}: layers of type {kind!r} {reason}"])
