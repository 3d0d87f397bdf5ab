"""Model names in their spellings: `gpt_neox` (lower), `GPTNeoX` (cased) and `GPT_NEOX` (upper)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .source import read_source


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
    """The installed mapping between model types and config classes, read as text."""

    config_of_type: dict[str, str]

    def cased(self, lower: str) -> str:
        """`llama` -> `Llama`; names the mapping does not know are title-cased part by part."""
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
        lower = self.lower(cased)
        return Spelling(lower, self.cased(lower))


_PAIR = re.compile(r"[\"']([^\"']+)[\"']\s*[,:]\s*[\"'](\w*Config)[\"']")
_IN_FRONT = re.compile(r"^CONFIG_MAPPING_NAMES\b[^=]*=.*\bCONFIG_MAPPING_NAMES\b", re.DOTALL)


def read_model_names(auto_folder: Path) -> ModelNames:
    """Read the mapping from the files of `transformers/models/auto`, without importing them.

    A statement that rebuilds the mapping around itself puts its own pairs in front; all others add behind.
    """
    mapping: dict[str, str] = {}
    for path in (auto_folder / "auto_mappings.py", auto_folder / "configuration_auto.py"):
        for text in _mapping_statements(path):
            pairs = dict(_PAIR.findall(text))
            mapping = {**pairs, **mapping} if _IN_FRONT.match(text) else {**mapping, **pairs}
    return ModelNames(mapping)


def _mapping_statements(path: Path) -> Iterator[str]:
    if path.exists():
        for statement in read_source(path).of_kind("constant", "other"):
            if re.match(r"CONFIG_MAPPING_NAMES\b", statement.text):
                yield statement.text
