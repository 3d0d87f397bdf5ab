"""`**super_kwargs` in a signature: the parent's parameters, with the child's own among them (R20)."""

from collections.abc import Iterator

import libcst as cst


Parameter = cst.Param | cst.ParamStar | cst.ParamSlash
CATCH_ALL = "**super_kwargs"


def parameter_list(parameters: cst.Parameters) -> list[tuple[str, Parameter]]:
    """(name, node) of each parameter, stars included in the name; markers such as `*` are named by themselves."""
    return list(_named(parameters))


def _named(parameters: cst.Parameters) -> Iterator[tuple[str, Parameter]]:
    yield from ((each.name.value, each) for each in parameters.posonly_params)
    if isinstance(parameters.posonly_ind, cst.ParamSlash):
        yield "/", parameters.posonly_ind
    yield from ((each.name.value, each) for each in parameters.params)
    if isinstance(parameters.star_arg, cst.Param):
        yield f"*{parameters.star_arg.name.value}", parameters.star_arg
    elif isinstance(parameters.star_arg, cst.ParamStar) or parameters.kwonly_params:
        yield "*", cst.ParamStar()
    yield from ((each.name.value, each) for each in parameters.kwonly_params)
    if parameters.star_kwarg:
        yield f"**{parameters.star_kwarg.name.value}", parameters.star_kwarg


def merged_parameters(child: cst.Parameters, parent: cst.Parameters) -> cst.Parameters:
    """`**super_kwargs` stands for the parent's parameters; otherwise the child's own are taken."""
    own = dict(parameter_list(child))
    if own.pop(CATCH_ALL, None) is None:
        return child
    theirs = parameter_list(parent)
    merged = {name: own.get(name, node) for name, node in theirs if not name.startswith("**")}
    merged |= {name: node for name, node in own.items() if name not in merged}
    merged |= {name: node for name, node in theirs if name.startswith("**")}
    return as_parameters(merged)


def as_parameters(named: dict[str, Parameter]) -> cst.Parameters:
    """The parameters in this order; what stands behind a star is keyword-only."""
    slash: cst.ParamSlash | None = None
    star: cst.Param | cst.ParamStar | None = None
    before: list[cst.Param] = []
    found: list[cst.Param] = []
    keyword_only: list[cst.Param] = []
    catch_all: cst.Param | None = None
    last = next(reversed(named), "")
    for name, node in named.items():
        node = node if name == last else _followed(node)
        if isinstance(node, cst.ParamSlash):
            slash, before, found = node, found, []
        elif isinstance(node, cst.ParamStar) or (name.startswith("*") and not name.startswith("**")):
            star = node
        elif name.startswith("**"):
            catch_all = node
        else:
            (found if star is None else keyword_only).append(node)
    return cst.Parameters(
        params=found,
        star_arg=star or cst.MaybeSentinel.DEFAULT,
        kwonly_params=keyword_only,
        star_kwarg=catch_all,
        posonly_params=before,
        posonly_ind=slash or cst.MaybeSentinel.DEFAULT,
    )


def _followed(node: Parameter) -> Parameter:
    """A parameter that can be followed by another one; a comment stays behind its comma."""
    if isinstance(node.comma, cst.Comma):
        return node
    return node.with_changes(comma=cst.Comma(whitespace_after=cst.SimpleWhitespace(" ")))
