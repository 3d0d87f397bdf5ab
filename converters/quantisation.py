"""How a checkpoint is quantised, and the config that names modules."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .engine.errors import CheckpointError
from .engine.json_objects import read_object
from .engine.quantised import Names, module_of
from .families.layers import OTHER_LAYERS


HF_QUANT_CONFIG = "hf_quant_config.json"
METHODS = ("modelopt", "mxfp4")
# Fields that hold lists of modules, or a single one
LISTS = ("exclude_modules", "ignore", "modules_to_not_convert", "targets")
# Ahead of the name in a pattern, and what makes a name a pattern
LEAD = re.compile(r"re:\^?(?:\.\*)?|\*+")
PATTERN = re.compile(r"^re:|[*?\[\\(|+]")
# In patterns: experts one by one, and a stack of all
ONE_EXPERT = re.compile(r"\bexperts\\?\.(?:\d|\\d|\[0|\*\.|\.\*\\?\.)")
ALL_EXPERTS = re.compile(r"\bexperts\\?\.[a-z]")


def quantisation_method(folder: Path, config_dict: Mapping[str, Any]) -> str | None:
    """
    How a checkpoint is quantised: `modelopt`, `mxfp4` or, where it is not, `None`.

    Raises:
        CheckpointError: where it is in a way whose tensors are not known here.
    """
    quantisation = config_dict.get("quantization_config")
    if not quantisation:
        return "modelopt" if (folder / HF_QUANT_CONFIG).exists() else None
    method = quantisation.get("quant_method") if isinstance(quantisation, dict) else quantisation
    if method not in METHODS:
        raise CheckpointError(
            f"{folder / 'config.json'}: quantization_config has quant_method = {method!r}, known are {METHODS}",
            remedy="Convert the checkpoint that this one was made from.",
        )
    return str(method)


@dataclass(frozen=True)
class ModuleNames:
    """
    Names of modules in the source -> their names in the output.

    Attributes:
        names_in: Published name -> the family's; "" of what is not there any more.
        names_out: Beginnings of names, the family's -> those of the output.
        before: The groups that were stacked in the source and are split.
        after: The groups that were single and are stacked.
        beginnings: Beginnings of names, published -> the family's, as `names_in` replaces them.
    """

    names_in: Callable[[str], str]
    names_out: Mapping[str, str]
    before: Names
    after: Names
    beginnings: Mapping[str, str]

    @cached_property
    def stacks(self) -> dict[str, str]:
        """Single module -> the stack that it becomes a part of."""
        return {module_of(single): stacked for stacked, singles in self.after.items() for single in singles}

    @cached_property
    def splits(self) -> dict[str, list[str]]:
        """Stack -> the modules that it becomes."""
        return {stacked: [module_of(single) for single in singles] for stacked, singles in self.before.items()}

    def renamed(self, name: str) -> list[str]:
        """The names in the output: none where the module is not there any more, several where it is split."""
        inner = self.names_in(name)
        if not inner:
            return []
        news = [self.stacks[inner]] if inner in self.stacks else self.splits.get(inner, [inner])
        return [with_beginning(new, self.names_out) for new in news]

    def problems(self, named: Mapping[str, Any]) -> Iterator[str]:
        """
        What cannot follow.

        Args:
            named: Names that stand in one place -> what is said of each; `None` of the entries of a list.
        """
        stacked: dict[str, dict[str, Any]] = {}
        others: dict[str, Any] = {}
        for name, said in named.items():
            try:
                inner = self.names_in(name)
            except CheckpointError as error:
                yield f"{error}: leave out --drop-empty-layers, or name each module"
                continue
            if inner in self.stacks:
                stacked.setdefault(self.stacks[inner], {})[name] = said
            elif wrong := self.problem(name, inner):
                yield wrong
            elif inner and others.setdefault(inner, said) != said:
                yield f"{name!r} becomes {inner!r}, of which something else is said already: leave out one of the two"
        for stack, parts in stacked.items():
            if len(parts) < len(self.after[stack]):
                yield (
                    f"{next(iter(parts))!r} cannot follow when experts are stacked: only {len(parts)} of the "
                    f"{len(self.after[stack])} that become {stack!r} are named; leave out --experts stacked"
                )
            elif any(said != next(iter(parts.values())) for said in parts.values()):
                yield (
                    f"{next(iter(parts))!r} cannot follow when experts are stacked: not the same is said of all that "
                    f"become {stack!r}; leave out --experts stacked"
                )

    def problem(self, name: str, inner: str) -> str | None:
        """Why a name that is no single expert's cannot follow, if it cannot."""
        for given, beginnings in ((name, self.beginnings), (inner, self.names_out)):
            if old := stuck_beginning(given, beginnings):
                return f"{name!r} is a pattern in which {old!r} cannot become {beginnings[old]!r}: name each module"
        one, all_ = self.stacks and ONE_EXPERT.search(inner), self.splits and ALL_EXPERTS.search(inner)
        if (one or (all_ and inner not in self.splits)) and not inner.startswith(OTHER_LAYERS):
            return (
                f"{name!r} cannot follow when experts are stacked or split: leave out --experts, or name each module"
            )
        return None


def with_beginning(name: str, beginnings: Mapping[str, str]) -> str:
    """
    The name of a module, or a pattern of such names, with the first of the beginnings that it has replaced.

    Patterns may have a `*` ahead of it, or be regular expressions, which begin with `re:`. `backbone` and `backbone*` are
    the module itself.
    """
    found = replaced(name, beginnings)
    return name if found is None else found


def replaced(name: str, beginnings: Mapping[str, str]) -> str | None:
    """The same; `None` where it has none of the beginnings."""
    lead = LEAD.match(name)
    start = lead.end() if lead else 0
    rest = name[start:]
    for old, new in beginnings.items():
        whole = old.removesuffix(".")
        for before, after in ((old, new), (re.escape(old), re.escape(new))):
            if rest.startswith(before):
                return name[:start] + after + rest[len(before) :]
        if rest == whole or rest.startswith(f"{whole}*"):
            return name[:start] + new.removesuffix(".") + rest[len(whole) :]
    return None


def stuck_beginning(name: str, beginnings: Mapping[str, str]) -> str | None:
    """The beginning that a pattern has in a place where it cannot be replaced, if there is one."""
    if not PATTERN.search(name) or replaced(name, beginnings) is not None:
        return None
    head = PATTERN.split(name.removeprefix("re:").removeprefix("^"))[0]
    head = head.split(".")[0] if name.startswith("re:") else head
    for old, new in beginnings.items():
        whole = old.removesuffix(".")
        inside = any(re.search(rf"(?<!\w){re.escape(each)}(?!\w)", name) for each in (whole, re.escape(whole)))
        if old != new and (inside or (head and old.startswith(head) and not new.startswith(head))):
            return old
    return None


def rename_modules(value: Any, rename: Callable[[str], Iterable[str]]) -> Any:
    """
    A quantisation config with the modules that it names renamed: keys, strings of lists, and those in the place of a
    list, however deep.

    Args:
        rename: Old name -> new names; several where a module was split. Other strings are to be returned as they are.
    """
    if isinstance(value, list):
        found: dict[Any, Any] = {}  # in their order, each name once
        for at, member in enumerate(value):
            if isinstance(member, str):
                found |= {name: name for name in rename(member)}
            else:
                found[at] = rename_modules(member, rename)
        return list(found.values())
    if isinstance(value, dict):
        members = {old: renamed_member(old, member, rename) for old, member in value.items()}
        return {name: members[old] for old in value for name in rename(old)}
    return value


def with_sorted_names(value: Any) -> Any:
    """A quantisation config with its lists of names sorted, however deep: what they say does not depend on the order."""
    if isinstance(value, dict):
        return {name: with_sorted_names(member) for name, member in value.items()}
    if isinstance(value, list):
        return sorted(value) if all(isinstance(each, str) for each in value) else list(map(with_sorted_names, value))
    return value


def renamed_member(field: str, value: Any, rename: Callable[[str], Iterable[str]]) -> Any:
    """The value of a field; one name in the place of a list stays one where it has one name."""
    if not is_single(field, value):
        return rename_modules(value, rename)
    names = list(rename(value))
    return names[0] if len(names) == 1 else names


def is_single(field: str, value: Any) -> bool:
    """Whether a field has a module's name in the place of a list of names."""
    return field in LISTS and isinstance(value, str)


def named_modules(value: Any, field: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each place of a quantisation config that names modules, as `ModuleNames.problems` reads it, and what it is called."""
    if isinstance(value, list):
        yield field, dict.fromkeys(member for member in value if isinstance(member, str))
        for member in value:
            yield from named_modules(member, field)
    elif isinstance(value, dict):
        yield field, value
        for name, member in value.items():
            yield from named_modules(
                [member] if is_single(name, member) else member, f"{field}.{name}".removeprefix(".")
            )


def read_hf_quant_config(folder: Path) -> dict[str, Any] | None:
    """ModelOpt's own description of a quantised checkpoint, where there is one."""
    return read_object(folder / HF_QUANT_CONFIG, folder) if (folder / HF_QUANT_CONFIG).exists() else None
