"""Options of a command that are the fields of a dataclass, declared there and nowhere else."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import Field, fields
from types import UnionType
from typing import Annotated, Any, get_args, get_type_hints

import typer


def takes_fields_of(options: type[Any], *but: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """
    A decorator that gives a command whose last parameter is `**fields` an option for each field of a dataclass.

    A field's `metadata` has the `help` of its option, and where these differ from what is usual its `flag`, `metavar` and
    the `least` number that it takes and the `panel` that it is listed in. Fields without it are no options.

    Args:
        but: Fields that this command does not take.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        kinds = get_type_hints(options)
        added = [
            parameter(each, kinds[each.name]) for each in fields(options) if each.metadata and each.name not in but
        ]
        signature = inspect.signature(command)
        *own, rest = signature.parameters.values()
        assert rest.kind is inspect.Parameter.VAR_KEYWORD
        leading = [each for each in own if each.kind is not inspect.Parameter.KEYWORD_ONLY]
        last = [each for each in own if each.kind is inspect.Parameter.KEYWORD_ONLY]
        command.__signature__ = signature.replace(parameters=[*leading, *added, *last])  # type: ignore[attr-defined]
        return command

    return decorate


def parameter(field: Field[Any], kind: Any) -> inspect.Parameter:
    """The parameter of a field, as typer reads it."""
    told, name = field.metadata, f"--{field.name.replace('_', '-')}"
    option = typer.Option(
        told["flag"] or name,
        metavar=told["metavar"],
        help=told["help"],
        min=told["least"],
        rich_help_panel=told["panel"],
    )
    annotation = Annotated[asked_kind(kind), option]  # type: ignore[valid-type] # put together as it runs
    default = None if field.default == () else field.default
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def asked_kind(kind: Any) -> Any:
    """What is asked for on a command line where a field takes several kinds: text before numbers, several times where there
    may be several, a flag before a path."""
    kinds = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    if Sequence[str] in kinds:
        return list[str] | None
    if bool in kinds:
        return bool
    if str in kinds and int in kinds:
        return str | None
    return kind
