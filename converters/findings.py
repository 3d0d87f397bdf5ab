"""What is known of a checkpoint whose config has old numbers, and what has been found out of its shapes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .engine.errors import CheckpointError
from .engine.headers import Shape
from .families.family import Family
from .formats.published_format import PublishedFormat
from .formats.recognition import UNREADABLE


CONFIG, SET = "config.json", "--set"
HEAD_WIDTH_NAMES = {"head_dim": ("head_dim", "attention_head_dim")}
Layers = dict[int, dict[str, Shape]]


@dataclass(frozen=True)
class Found:
    """
    What is known of a checkpoint before its layers are.

    Attributes:
        config: What config.json says, and `given` in its place.
        given: Fields that the caller has set.
        layers: Layer of the files -> shapes of its tensors by their names in it.
        outside: Shapes of the others.
    """

    folder: Path
    published: PublishedFormat
    config_dict: Mapping[str, Any]
    config: Any
    given: Mapping[str, Any]
    layers: Layers
    outside: Mapping[str, Shape]

    @property
    def family(self) -> Family:
        return self.published.family

    def says(self, name: str) -> bool:
        """Whether the caller or config.json says a field, and not a default."""
        names = HEAD_WIDTH_NAMES.get(name, (name,))
        return name in self.given or any(self.config_dict.get(each) is not None for each in names)


@dataclass
class Reading:
    """
    What is found out of a checkpoint, and how.

    Attributes:
        shared: Sizes that all layers have, where they are not the config's.
        layers: What each layer is made of, as `with_layers` takes it.
        sources: Field -> where its numbers came from.
        left_over: Names of tensors that belong to sub-blocks that are not there.
        problems: What is wrong with the tensors.
        asked: Field that is open -> its readings, in words.
    """

    shared: dict[str, Any] = field(default_factory=dict)
    layers: list[dict[str, Any]] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    left_over: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    asked: dict[str, str] = field(default_factory=dict)


class reading_config:
    """What a config refuses is a `CheckpointError`."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, UNREADABLE) and not isinstance(error, CheckpointError):
            lines = str(error.__cause__ or error).splitlines()
            remedy = (
                "Query heads that were cut out one by one have lost their groups: cut whole groups, or as many of each."
                if any("num_key_value_heads" in line and "divide" in line for line in lines)
                else ""
            )
            raise CheckpointError("The shapes say a model that there cannot be:", lines, remedy) from error
