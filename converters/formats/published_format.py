"""What there is to know of a published format, as data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..families.family import Family


# (class of the family's config, published config) -> the same as the family has it
Reader = Callable[[Any, Mapping[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class PublishedFormat:
    """
    A form in which checkpoints are published.

    Attributes:
        name: What reports and `--to` call it.
        looks_like: How its config.json is recognised, in words.
        recognises: The same as a function of the config's dict.
        family: The family that it is converted to.
        before: Names of formats that would recognise some of its configs too, and are asked later.
        config_class: Under which AutoConfig meets its model type, where transformers has none of its own. What its
            `from_dict` returns is a config of the family.
        readers: Field that describes layers and that the family does not have -> what makes a config of the family's of
            one with this field. Formats of one family that share such a field share the reader.
        dropped: Pattern of tensor names -> why they are left out.
        names: Beginnings of tensor names, published -> the family's. All other names are the same.
        written_names: Those with which the format is written, where it is read with others too.
        write_config: `config` -> the published config.json as a dict; raises a `CheckpointError` that names what the
            format cannot express. `None` where the format cannot be written.
        unskipped: `published config` -> the config of the same model with all its sub-blocks, where the weights of those that
            it leaves out may lie in the files.
        read_config: `published config` -> the same in the family's words, where it has other words all through, and no class
            loads it as it is.
        parts: `config` -> name of a published tensor -> the family's tensors that it is, one below the other, where names are
            not told by their beginnings.
        file_of: `(tensor name, config)` -> the file that a tensor lies in, where the format prescribes one.
    """

    name: str
    looks_like: str
    recognises: Callable[[Mapping[str, Any]], bool]
    family: Family
    before: tuple[str, ...] = ()
    config_class: Any = None
    readers: Mapping[str, Reader] = field(default_factory=dict)
    dropped: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    written_names: Mapping[str, str] | None = None
    write_config: Callable[[Any], dict[str, Any]] | None = None
    unskipped: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
    read_config: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
    parts: Callable[[Any], Mapping[str, tuple[str, ...]]] | None = None
    file_of: Callable[[str, Any], str] | None = None
