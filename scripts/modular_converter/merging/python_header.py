"""The header of a merged class outside transformers: bases in Python's order, keywords and decorators."""

import libcst as cst
from libcst import matchers as m

from ..syntax.decorators import NO_INHERIT, ONLY_DOCUMENTS, inherited_decorator
from ..syntax.scopes import names_of_class_body
from ..syntax.tree import block, code, small, walk
from .unroll import Scope


_FIELDS = m.Decorator(decorator=m.Name("dataclass") | m.Call(func=m.Name("dataclass")))
_BINDS_ALWAYS = (cst.FunctionDef, cst.ClassDef, cst.Assign)
_HARMLESS = ("total",)  # of a TypedDict: which keys are required
_HOOKS = ("__init_subclass__", "__slots__")
_WARNING = m.Expr(m.Call(func=m.Attribute(value=m.Name("warnings") | m.Name("logger"), attr=m.Name())))


def python_bases(child: cst.ClassDef, parent: cst.ClassDef, base: str, scope: Scope) -> list[str]:
    """The parent's bases among the child's others, such that every name is looked up in the order it was."""
    written = [code(arg.value) for arg in child.bases]
    place = written.index(base)
    before, after = written[:place], written[place + 1 :]
    theirs = [code(arg.value) for arg in parent.bases]
    for name, arg in zip(before, child.bases, strict=False):
        _check_before(name, arg, child, parent, scope)
    bases = [*before]
    for each in theirs:
        special = next((name for name in written if name not in (each, base) and scope.replaces(name, each)), None)
        bases.append(special or each)
    bases = [each for each in dict.fromkeys([*bases, *after]) if each != "object"]
    return [each for each in bases if not (each == "nn.Module" and "GradientCheckpointingLayer" in bases)]


def _check_before(name: str, arg: cst.Arg, child: cst.ClassDef, parent: cst.ClassDef, scope: Scope) -> None:
    """A base before the parent comes first in Python; what is merged into the class comes before all of them."""
    offer = scope.offered(name)
    theirs = names_of_class_body(block(parent.body).body).bound
    always = [each for each in block(child.body).body if isinstance(small(each), _BINDS_ALWAYS)]
    mine = names_of_class_body(always).bound
    calls_on = any(m.matches(each, m.Name("super")) for each in walk(child.body))
    shared = (offer.names & theirs) - (frozenset() if calls_on else mine) | (offer.supers & theirs)
    if shared:
        message = (
            f"{name} stands before the parent, and defines or calls `{min(shared)}`, which would be found in the parent first: "
            f"put {name} behind the parent, or write out {min(shared)} in this class"
        )
        scope.report(arg.value, message)
    elif not offer.complete:
        scope.report(
            arg.value, f"{name} stands before the parent, and what it defines cannot be seen: put it behind the parent"
        )


def check_hooks(child: cst.ClassDef, parent: cst.ClassDef, scope: Scope) -> None:
    """What a parent does to its subclasses is not done to a class that takes its place."""
    mine = names_of_class_body(block(child.body).body).bound
    inherited = [each for each in block(parent.body).body if not _only_warns(each)]
    for name in sorted(names_of_class_body(inherited).bound & set(_HOOKS) - mine):
        message = (
            f"the parent defines `{name}`, which is meant for its subclasses: this class takes its place, and is none"
        )
        scope.report(child.name, f"{message}; inherit from what is above it, and write out the rest")


def _only_warns(node: cst.CSTNode) -> bool:
    """Whether a hook says something and changes no class, as those of names that are given up: a copy may keep it."""
    if not m.matches(node, m.FunctionDef(name=m.Name("__init_subclass__"))):
        return False
    assert isinstance(node, cst.FunctionDef)
    return all(m.matches(small(each), _WARNING) for each in block(node.body).body)


def python_keywords(child: cst.ClassDef, parent: cst.ClassDef, scope: Scope) -> list[cst.Arg]:
    """The keywords of both headers. A metaclass is inherited; others are arguments of one class only."""
    mine, theirs = ({arg.keyword.value: arg for arg in node.keywords if arg.keyword} for node in (child, parent))
    for name, arg in theirs.items():
        same = name in mine and code(mine[name].value) == code(arg.value)
        if name not in ("metaclass", *_HARMLESS) and not same:
            message = f"the parent was made with `{name}={code(arg.value)}`, which this class would be, too: write `{name}=` here as well"
            if name in mine:
                message = f"the parent was made with another `{name}`, `{code(arg.value)}`: a class that takes its place has one"
            scope.report(mine[name].value if name in mine else child.name, message)
    return [arg.with_changes(comma=cst.MaybeSentinel.DEFAULT) for arg in (theirs | mine).values()]


def python_decorators(child: cst.ClassDef, parent: cst.ClassDef, scope: Scope) -> list[cst.Decorator]:
    """The child's decorators, and those of the parent that wire it into transformers and are not repeated.

    Others would see the merged class instead of the parent alone.
    """
    if len(child.decorators) == 1 and m.matches(child.decorators[0], NO_INHERIT):
        return []
    mine = {_called(each) for each in child.decorators}
    wanted = [each for each in parent.decorators if not (mine and _called(each) in ONLY_DOCUMENTS)]
    kept = [each for each in wanted if _called(each) not in mine]
    for each in kept:
        if not inherited_decorator(each) and not (m.matches(each, _FIELDS) and not _has_new_fields(child)):
            name = code(each.decorator)
            message = (
                f"the parent is decorated with `@{name}`, which is not inherited in Python: repeat it here, or write "
                "`@no_inherit_decorator` to have none"
            )
            scope.report(child.name, message)
    return [*child.decorators, *kept]


def _called(decorator: cst.Decorator) -> str:
    node = decorator.decorator
    return code(node.func if isinstance(node, cst.Call) else node)


def _has_new_fields(child: cst.ClassDef) -> bool:
    return any(isinstance(small(each), cst.AnnAssign) for each in block(child.body).body)
