"""
Quantisation configs: which modules they name, and how these are named in another checkpoint of the same model.

Names, globs and regular expressions are evaluated, as the method's reader does, on the names of all modules that there
are. A pattern follows as it is, or with its beginning renamed, where it means the same modules after as before; where it
does not, the names of these modules take its place.
"""

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from .engine.errors import CheckpointError
from .engine.json_objects import read_object
from .engine.quantised import Names, module_in, module_of
from .engine.tensor_plan import TensorPlan
from .matching import Limit


HF_QUANT_CONFIG = "hf_quant_config.json"
# Fields that hold lists of modules, or a single one
LISTS = ("exclude_modules", "ignore", "modules_to_not_convert", "targets")
REGEX = "re:"  # the mark of a regular expression, where names or globs are expected
SIGNED = re.compile(r"[+-]:")  # a rule of GPTQ's: what is quantised so, or not at all
SPECIAL = re.compile(r"[*?\[\]]")  # what makes a name a glob
BOUNDARY = r"(?:(?<=\.)|(?=\.|$))"
Meaning = frozenset[str]


def quantisation_method(folder: Path, config_dict: Mapping[str, Any]) -> str | None:
    """
    How a checkpoint is quantised, as its config calls it; `None` where it is not.

    Raises:
        CheckpointError: where the config does not say how.
    """
    quantisation = config_dict.get("quantization_config")
    if not quantisation:
        return "modelopt" if (folder / HF_QUANT_CONFIG).exists() else None
    method = quantisation.get("quant_method") if isinstance(quantisation, dict) else quantisation
    if not isinstance(method, str) or not method or not isinstance(quantisation, dict):
        raise CheckpointError(
            f"{folder / 'config.json'}: quantization_config has quant_method = {method!r}, a name such as 'modelopt' "
            "is needed",
            remedy="Convert the checkpoint that this one was made from.",
        )
    return method


def read_hf_quant_config(folder: Path) -> dict[str, Any] | None:
    """ModelOpt's own description of a quantised checkpoint, where there is one."""
    return read_object(folder / HF_QUANT_CONFIG, folder) if (folder / HF_QUANT_CONFIG).exists() else None


@dataclass(frozen=True)
class Modules:
    """
    All modules that hold tensors.

    Attributes:
        names: Name in the files -> the family's names of what it is; several where experts are stacked.
        own: The same by the names that the family's model would give to what is in these files.
    """

    names: Mapping[str, Meaning]
    own: Mapping[str, Meaning]

    @cached_property
    def limit(self) -> Limit:
        """What patterns may take that are looked for among them."""
        return Limit()

    @cached_property
    def everything(self) -> Meaning:
        """The family's names of all modules."""
        return frozenset().union(*self.names.values())

    @cached_property
    def under_own_names(self) -> "Modules | None":
        """The same modules, where they have other names in the files."""
        return None if self.names == self.own else Modules(self.own, self.own)

    @cached_property
    def inside(self) -> dict[str, list[str]]:
        """A module, also one that only holds others -> the names of those in it, its own among them."""
        found: dict[str, list[str]] = {}
        for name in self.names:
            for ancestor in ancestors(name):
                found.setdefault(ancestor, []).append(name)
        return found

    def meant(self, pattern: str, reader: "Reader") -> Meaning:
        """What a pattern means. One that matches no name in the files is read by the family's: transformers, which saves
        the published names of tensors, writes its own names of modules beside them."""
        matched = self.matched(pattern, reader)
        if matched or self.under_own_names is None:
            return matched
        return self.under_own_names.matched(pattern, reader)

    def matched(self, pattern: str, reader: "Reader") -> Meaning:
        return frozenset().union(*(self.names[name] for name in reader(pattern, self)))


# A pattern and modules -> those of their names that the pattern matches
Reader = Callable[[str, Modules], Iterable[str]]


def modules_of(tensors: Iterable[tuple[str, str, TensorPlan]], groups: Names) -> Modules:
    """
    The modules of a checkpoint.

    Args:
        tensors: (name in the files, what the family's model would call it, tensor under the name that it has now).
        groups: Stacked name -> single names.
    """
    singles = {stack: frozenset(map(module_of, names)) for stack, names in groups.items()}
    names: dict[str, Meaning] = {}
    own: dict[str, Meaning] = {}
    for name, own_name, tensor in tensors:
        num_dims = len(tensor.shape)
        inner = module_in(tensor.name, num_dims)
        meant = singles.get(inner, frozenset([inner]))
        for found, outer in ((names, module_in(name, num_dims)), (own, module_in(own_name, num_dims))):
            found[outer] = found.get(outer, frozenset()) | meant
    return Modules(names, own)


def ancestors(name: str) -> Iterator[str]:
    """A module and all that it lies in."""
    while name:
        yield name
        name = name.rpartition(".")[0]


def by_name(pattern: str, modules: Modules) -> Iterable[str]:
    """As compressed-tensors does: a name, or a regular expression that a name begins with. Classes of modules are no names."""
    if not pattern.startswith(REGEX):
        return [pattern] if pattern in modules.names else []
    return modules.limit.matching(pattern, pattern.removeprefix(REGEX), modules.names, "match")


def by_glob(pattern: str, modules: Modules) -> Iterable[str]:
    """As ModelOpt and its servers do: a glob, or a regular expression, of a module or of one that it lies in."""
    if pattern.startswith(REGEX):
        matching = modules.limit.matching(pattern, pattern.removeprefix(REGEX), modules.inside, "fullmatch")
    elif SPECIAL.search(pattern):
        matching = modules.limit.matching(pattern, fnmatch.translate(pattern), modules.inside, "match")
    else:
        matching = [pattern]
    return [name for outer in matching for name in modules.inside.get(outer, ())]


def by_boundary(pattern: str, modules: Modules) -> Iterable[str]:
    """As transformers does: a regular expression of the beginning of a name, up to a dot, or the end of a name."""
    matching = modules.limit.matching(pattern, f"(?:{pattern}){BOUNDARY}", modules.names, "match")
    return [*matching, *(name for name in modules.names if name.endswith(pattern))]


def by_rule(pattern: str, modules: Modules) -> Iterable[str]:
    """As GPTQ does: a regular expression that a name begins with, behind a sign."""
    sign = SIGNED.match(pattern)
    return modules.limit.matching(pattern, pattern[sign.end() :] if sign else pattern, modules.names, "match")


def by_any(pattern: str, modules: Modules) -> Iterable[str]:
    """For methods that are not known here: what any of the readers would take a pattern for."""
    return (name for reader in (by_name, by_glob, by_boundary) for name in reader(pattern, modules))


READERS: Mapping[str, Reader] = {
    "compressed-tensors": by_name,
    "modelopt": by_glob,
    **dict.fromkeys(("awq", "bitsandbytes", "fp8", "gptq", "mxfp4"), by_boundary),
}
# Fields whose keys are patterns of another kind than `by_glob` reads -> what reads them
KEY_READERS: Mapping[str, Reader] = {"dynamic": by_rule}


@dataclass
class Translation:
    """
    From the names of modules in one checkpoint to those in another of the same model.

    Attributes:
        guess: What a pattern may be called in the other; "" of what is not there any more.
        problems: What cannot follow, each with its field; filled while configs are translated.
    """

    source: Modules
    target: Modules
    method: str
    guess: Callable[[str], str]
    problems: list[str] = field(default_factory=list)

    def config(self, value: Any, place: str) -> Any:
        """A quantisation config with the modules that it names, however deep: strings of lists, those in the place of a
        list, and keys."""
        if isinstance(value, dict):
            return self.members(value, place)
        if isinstance(value, list):
            return self.entries(value, place)
        return value

    def entries(self, entries: list[Any], place: str) -> list[Any]:
        reader = READERS.get(self.method, by_any)
        names = self.names(dict.fromkeys(entry for entry in entries if isinstance(entry, str)), place, reader)
        changed: list[Any] = []
        there: set[str] = set()
        for entry in entries:
            if isinstance(entry, str):
                new = [name for name in dict.fromkeys(names[entry]) if name not in there]
                there.update(new)
                changed += new
            else:
                changed.append(self.config(entry, place))
        return changed

    def members(self, members: dict[str, Any], place: str) -> dict[str, Any]:
        names = self.names(members, place, KEY_READERS.get(place.rpartition(".")[2], by_glob))
        changed: dict[str, Any] = {}
        said: dict[str, Any] = {}
        for name, value in members.items():
            for new in names[name]:
                if said.setdefault(new, value) != value:
                    self.problems.append(
                        f"{place}: {name!r} becomes {new!r}, of which something else is said already: leave out one of "
                        "the two"
                    )
                changed[new] = self.member(name, value, f"{place}.{name}".removeprefix("."))
        return changed

    def member(self, name: str, value: Any, place: str) -> Any:
        """The value of a field; one name in the place of a list stays one where it has one name."""
        if name not in LISTS or not isinstance(value, str):
            return self.config(value, place)
        names = self.entries([value], place)
        return names[0] if len(names) == 1 else names

    def names(self, named: Mapping[str, Any], place: str, reader: Reader) -> dict[str, list[str]]:
        """
        The patterns that stand in one place -> what they are called in the other checkpoint.

        Args:
            named: Pattern -> what is said of it; `None` of the entries of a list.
        """
        meant = {pattern: self.source.meant(pattern, reader) & self.target.everything for pattern in named}
        stacks = {name: parts for name, parts in self.target.names.items() if len(parts) > 1}
        for name, parts in stacks.items():
            touching = {pattern: parts & meaning for pattern, meaning in meant.items() if parts & meaning}
            if problem := stack_problem(name, parts, touching, named):
                self.problems.append(f"{place}: {problem}")
            for pattern in touching:
                meant[pattern] |= parts
        return {pattern: self.renamed(pattern, meaning, place, reader) for pattern, meaning in meant.items()}

    def renamed(self, pattern: str, meaning: Meaning, place: str, reader: Reader) -> list[str]:
        """A pattern with this meaning in the other checkpoint, or the names of what it means."""
        guess = self.guess(pattern)
        if not meaning and not guess:
            return []
        for candidate in (guess, pattern):
            if candidate and self.target.meant(candidate, reader) == meaning:
                return [candidate]
        names = [name for name, parts in self.target.names.items() if parts <= meaning]
        if reader is by_rule:
            sign = SIGNED.match(pattern)
            names = [f"{sign[0] if sign else ''}{re.escape(name)}$" for name in names]
        found = frozenset().union(*(self.target.meant(name, reader) for name in names))
        if found != meaning:
            other = sorted(found ^ meaning)[0]
            self.problems.append(f"{place}: {pattern!r} cannot follow: written out, it would mean {other!r} otherwise")
        return names


def stack_problem(stack: str, parts: Meaning, touching: Mapping[str, Meaning], named: Mapping[str, Any]) -> str | None:
    """
    Why what is said of single experts cannot be said of their stack, if it cannot.

    Args:
        touching: Pattern -> the experts that it means.
        named: Pattern -> what is said of it.
    """
    together = frozenset().union(*touching.values())
    if not touching or (together == parts and all(named[name] == named[next(iter(touching))] for name in touching)):
        return None
    reason = f"not the same is said of all that become {stack!r}"
    if together != parts:
        reason = f"only {len(together)} of the {len(parts)} that become {stack!r} are named"
    return f"{next(iter(touching))!r} cannot follow when experts are stacked: {reason}; leave out --experts stacked"


def with_words(pattern: str, beginnings: Mapping[str, str]) -> str:
    """A pattern with the first of the beginnings that it has, wherever it stands, replaced: what it may be called."""
    for old, new in beginnings.items():
        whole = old.removesuffix("."), new.removesuffix(".")
        for before, after in (whole, tuple(map(re.escape, whole))):
            changed = re.sub(rf"(?<!\w){re.escape(before)}(?!\w)", after.replace("\\", r"\\"), pattern)
            if changed != pattern:
                return changed
    return pattern


def in_modules(value: Any, modules: Modules, method: str, name_in: Callable[[str], str]) -> Any:
    """
    What a quantisation config says of the modules, whatever its patterns look like: lists of names in their order, and
    keys, under the family's names.

    Args:
        name_in: The family's name of what holds no tensors; "" of what is not there any more.
    """

    def meant(pattern: str, reader: Reader) -> list[str]:
        found = sorted(modules.meant(pattern, reader)) or [name_in(pattern)]
        return [name for name in found if name]

    def plain(value: Any, place: str) -> Any:
        if isinstance(value, dict):
            reader = KEY_READERS.get(place, by_glob)
            return {name: plain(member, key) for key, member in value.items() for name in meant(key, reader)}
        if isinstance(value, str) and place in LISTS:
            return plain([value], place)
        if not isinstance(value, list):
            return value
        reader = READERS.get(method, by_any)
        names = sorted({name for entry in value if isinstance(entry, str) for name in meant(entry, reader)})
        return names + [plain(entry, place) for entry in value if not isinstance(entry, str)]

    return plain(value, "")
