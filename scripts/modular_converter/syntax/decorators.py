"""Which decorators a merged class or method has (R13)."""

from collections.abc import Sequence

import libcst as cst
from libcst import matchers as m


NO_INHERIT = m.Decorator(decorator=m.Name("no_inherit_decorator"))
DEPRECATES = m.Decorator(decorator=m.Call(func=m.Name("deprecate_kwarg")))

# What wires a method or class of transformers into the library: a shard outside transformers, too, has it from its parent.
ONLY_DOCUMENTS = frozenset(
    {
        "add_end_docstrings",
        "add_start_docstrings",
        "add_start_docstrings_to_model_forward",
        "auto_docstring",
        "replace_return_docstrings",
    }
)
_WIRING = ONLY_DOCUMENTS | frozenset(
    {
        "accepts_precomputed_kwargs",
        "can_return_tuple",
        "capture_outputs",
        "deprecate_kwarg",
        "filter_output_hidden_states",
        "force_accelerate_hooks",
        "merge_with_config_defaults",
        "requires",
        "strict",
        "use_experts_implementation",
        "use_kernel_forward_from_hub",
        "use_kernelized_func",
    }
)


def inherited_decorator(node: cst.Decorator) -> bool:
    """Whether a shard outside transformers has a decorator from its parent; Python knows no such thing."""
    called = node.decorator.func if isinstance(node.decorator, cst.Call) else node.decorator
    return isinstance(called, cst.Name) and called.value in _WIRING


def method_decorators(child: Sequence[cst.Decorator], parent: Sequence[cst.Decorator]) -> list[cst.Decorator]:
    """The decorators of an overridden method outside transformers: its own, or what wires its parent's."""
    return merged_decorators(child, [each for each in parent if inherited_decorator(each)])


def merged_decorators(child: Sequence[cst.Decorator], parent: Sequence[cst.Decorator]) -> list[cst.Decorator]:
    """The child's decorators replace the parent's, but for deprecated keywords, which leave the parent's others where
    they are; `@no_inherit_decorator` alone means none at all."""
    if len(child) == 1 and m.matches(child[0], NO_INHERIT):
        return []
    if child and all(m.matches(each, DEPRECATES) for each in child):
        return [*(each for each in parent if not m.matches(each, DEPRECATES)), *child]
    return list(child or parent)


def half_of_property(node: cst.FunctionDef) -> str:
    """Which half of a property a method is: `setter`, `deleter`, or nothing for a getter and plain methods."""
    for each in node.decorators:
        if isinstance(each.decorator, cst.Attribute) and each.decorator.attr.value in ("setter", "deleter"):
            return each.decorator.attr.value
    return ""
