"""Which decorators a merged class or method has (R13)."""

from collections.abc import Sequence

import libcst as cst
from libcst import matchers as m


NO_INHERIT = m.Decorator(decorator=m.Name("no_inherit_decorator"))
DEPRECATES = m.Decorator(decorator=m.Call(func=m.Name("deprecate_kwarg")))


def merged_decorators(child: Sequence[cst.Decorator], parent: Sequence[cst.Decorator]) -> list[cst.Decorator]:
    """The child's decorators replace the parent's, but for deprecated keywords, which leave the parent's others where
    they are; `@no_inherit_decorator` alone means none at all."""
    if len(child) == 1 and m.matches(child[0], NO_INHERIT):
        return []
    if child and all(m.matches(each, DEPRECATES) for each in child):
        return [*(each for each in parent if not m.matches(each, DEPRECATES)), *child]
    return list(child or parent)
