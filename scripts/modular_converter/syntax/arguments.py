"""Which argument of a call goes to which parameter, as Python binds them."""

from dataclasses import dataclass, field

import libcst as cst

from .parameters import CATCH_ALL, parameter_list


_LITERALS = (cst.SimpleString, cst.Integer, cst.Float, cst.Imaginary)


@dataclass
class Binding:
    """What a call gives to the parameters of a method: `given` by name, in order; `same` are those that have their own
    name already. `problem` says why it cannot be known, or cannot be written as assignments."""

    given: dict[str, cst.BaseExpression] = field(default_factory=dict)
    same: set[str] = field(default_factory=set)
    problem: str = ""


def bind(call: cst.Call, parent: cst.Parameters, child: cst.Parameters) -> Binding:
    """The parameters of the parent's method, without the first, and what a call from the child's method gives them."""
    binding = Binding()
    values, stars = _sorted_arguments(call, binding)
    rest = parent.star_arg if isinstance(parent.star_arg, cst.Param) else None
    named = [*parent.posonly_params, *parent.params][1:]
    keyword_only = list(parent.kwonly_params)
    positional = values.pop("", [])
    if len(positional) > len(named):
        binding.problem = "more positional arguments than parameters"
    for parameter, value in zip(named, positional, strict=False):
        _give(binding, parameter.name.value, value)
    for name, found in values.items():
        if name not in [each.name.value for each in (*parent.params[_skipped(parent) :], *keyword_only)]:
            binding.problem = f"no parameter {name}"
        _give(binding, name, found[0])
    _pass_through(binding, stars, [*named, *keyword_only], parent, child)
    for parameter in (*named, *keyword_only):
        if parameter.name.value not in binding.given:
            _default(binding, parameter)
    _variadic(binding, stars, rest, "*", "()")
    _variadic(binding, stars, parent.star_kwarg, "**", "{}")
    return binding


def _skipped(parent: cst.Parameters) -> int:
    return 0 if parent.posonly_params else 1


def _sorted_arguments(call: cst.Call, binding: Binding) -> tuple[dict[str, list[cst.BaseExpression]], dict[str, str]]:
    """The values by keyword (positional ones under no name), and the names behind the stars."""
    values: dict[str, list[cst.BaseExpression]] = {}
    stars: dict[str, str] = {}
    for arg in call.args:
        if not arg.star:
            values.setdefault(arg.keyword.value if arg.keyword else "", []).append(arg.value)
        elif isinstance(arg.value, cst.Name) and arg.star not in stars:
            stars[arg.star] = arg.value.value
        else:
            binding.problem = "an unpacked expression"
    if any(len(found) > 1 for name, found in values.items() if name):
        binding.problem = "an argument twice"
    return values, stars


def _give(binding: Binding, name: str, value: cst.BaseExpression) -> None:
    if name in binding.given:
        binding.problem = f"{name} twice"
    binding.given[name] = value
    if isinstance(value, cst.Name) and value.value == name:
        binding.same.add(name)


def _pass_through(
    binding: Binding, stars: dict[str, str], named: list[cst.Param], parent: cst.Parameters, child: cst.Parameters
) -> None:
    """`**super_kwargs` hands every parameter on which the child does not take for itself."""
    own = {name for name, _ in parameter_list(child)}
    missing = [each.name.value for each in named if each.name.value not in binding.given]
    if stars.get("**") == CATCH_ALL.removeprefix("**") and CATCH_ALL in own:
        del stars["**"]
        for name in missing:
            if name not in own:
                _give(binding, name, cst.Name(name))
        if parent.star_kwarg:
            stars["**"] = parent.star_kwarg.name.value
    elif stars and (loose := [*missing, *(name for name in binding.given if "**" in stars and name not in own)]):
        binding.problem = f"{loose[0]} may be among what is unpacked"


def _default(binding: Binding, parameter: cst.Param) -> None:
    if parameter.default is None:
        binding.problem = f"no argument for {parameter.name.value}"
    elif not is_literal(parameter.default):
        binding.problem = f"the default of {parameter.name.value} is no literal"
    else:
        _give(binding, parameter.name.value, parameter.default)


def _variadic(binding: Binding, stars: dict[str, str], parameter: cst.Param | None, star: str, empty: str) -> None:
    name = stars.pop(star, None)
    if parameter is None:
        binding.problem = f"nothing takes {star}{name}" if name else binding.problem
    elif name is None:
        _give(binding, parameter.name.value, cst.parse_expression(empty))
    elif name == parameter.name.value:
        _give(binding, name, cst.Name(name))
    else:
        binding.problem = f"{star}{name} has another name there"


def is_literal(node: cst.BaseExpression) -> bool:
    """Whether an expression is a constant that means the same wherever it stands."""
    if isinstance(node, cst.Tuple):
        return all(is_literal(each.value) for each in node.elements)
    if isinstance(node, cst.UnaryOperation):
        return is_literal(node.expression)
    return isinstance(node, _LITERALS) or (isinstance(node, cst.Name) and node.value in ("None", "True", "False"))
