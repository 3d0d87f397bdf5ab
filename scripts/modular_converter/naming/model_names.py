"""Model names in their spellings: `gpt_neox` (lower), `GPTNeoX` (cased) and `GPT_NEOX` (upper)."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import libcst as cst
from libcst import matchers as m

from ..sources.source import read_source
from ..syntax.tree import identifiers, small, walk


MAPPING = "CONFIG_MAPPING_NAMES"


@dataclass(frozen=True)
class Spelling:
    """One model name in its three spellings."""

    lower: str
    cased: str

    @property
    def upper(self) -> str:
        return self.lower.upper()


@dataclass(frozen=True)
class ModelNames:
    """The installed mapping between model types and config classes, read as text, and what classes say themselves.

    `own` spells the models of a shard outside transformers, and its parents, as their classes do.
    """

    config_of_type: dict[str, str]
    own: Mapping[str, str] = field(default_factory=dict)

    def spelled_in(self, lower: str, classes: Iterable[str]) -> "ModelNames":
        """The same names, and `lower` as these classes spell it, if they do."""
        cased = cased_in(lower, classes)
        return self.with_own(lower, cased) if cased else self

    def with_own(self, lower: str, cased: str) -> "ModelNames":
        """The same names, and one that is spelled so."""
        return replace(self, own={**self.own, lower: cased})

    def cased(self, lower: str) -> str:
        """`llama` -> `Llama`; names the mapping does not know are title-cased part by part."""
        if lower in self.own:
            return self.own[lower]
        for name in (lower, lower.replace("_", "-")):
            if name in self.config_of_type:
                return self.config_of_type[name].replace("Config", "")
        return "".join(part.title() for part in lower.split("_"))

    def lower(self, cased: str) -> str:
        """`Llama` -> `llama`; names the mapping does not know are split before each capital."""
        types = {config.replace("Config", ""): model_type for model_type, config in self.config_of_type.items()}
        known = types.get(cased, "").replace("-", "_")
        return known or "_".join(re.findall(r"[^A-Z]+|[A-Z][^A-Z]*", cased)).lower()

    def spelling(self, cased: str) -> Spelling:
        """All spellings of a name; its capitals are those that its lower-case form leads back to."""
        for own_lower, own in sorted(self.own.items(), key=lambda item: -len(item[1])):
            if cased.startswith(own):
                rest = cased.removeprefix(own)
                return Spelling(f"{own_lower}_{self.lower(rest)}" if rest else own_lower, cased)
            if cased.endswith(own):
                return Spelling(f"{self.lower(cased.removesuffix(own))}_{own_lower}", cased)
        lower = self.lower(cased)
        return Spelling(lower, self.cased(lower))


def cased_in(lower: str, classes: Iterable[str]) -> str:
    """How class names spell a model at their front, most of them: `MyViT` for my_vit where there is a MyViTModel."""
    pattern = re.compile(f"(?i:{'_*'.join(lower.replace('_', ''))})(?![a-z])")
    found = Counter(match[0] for name in classes if (match := pattern.match(name)))
    return found.most_common(1)[0][0] if found else ""


_STRING = m.SaveMatchedNode(m.SimpleString(), "type")
_CONFIG = m.SaveMatchedNode(m.SimpleString(), "config")
_PAIR = m.Tuple([m.Element(_STRING), m.Element(_CONFIG)]) | m.DictElement(_STRING, _CONFIG)


def read_model_names(auto_folder: Path) -> ModelNames:
    """Read the mapping from the files of `transformers/models/auto`, without importing them.

    A statement that rebuilds the mapping around itself puts its own pairs in front; all others add behind.
    """
    mapping: dict[str, str] = {}
    for path in (auto_folder / "auto_mappings.py", auto_folder / "configuration_auto.py"):
        for node in _mapping_statements(path):
            pairs = dict(_pairs(node))
            rebuilds = isinstance(node, cst.Assign) and MAPPING in identifiers(node.value)
            mapping = {**pairs, **mapping} if rebuilds else {**mapping, **pairs}
    return ModelNames(mapping)


def _mapping_statements(path: Path) -> Iterator[cst.CSTNode]:
    if path.exists():
        for statement in read_source(path).of_kind("constant", "other"):
            first = next((each for each in walk(small(statement.node)) if isinstance(each, cst.Name)), None)
            if first is not None and first.value == MAPPING:
                yield small(statement.node)


def _pairs(node: cst.CSTNode) -> Iterator[tuple[str, str]]:
    """(model type, config class) of each pair of strings whose second names a config."""
    for each in walk(node):
        if isinstance(each, cst.Tuple | cst.DictElement) and (found := m.extract(each, _PAIR)):
            model_type, config = found["type"], found["config"]
            assert isinstance(model_type, cst.SimpleString) and isinstance(config, cst.SimpleString)
            if config.raw_value.endswith("Config"):
                yield model_type.raw_value, config.raw_value
