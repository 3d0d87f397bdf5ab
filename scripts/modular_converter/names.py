"""Model names in their spellings: `gpt_neox` (lower), `GPTNeoX` (cased) and `GPT_NEOX` (upper)."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


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


def read_model_names(auto_folder: Path) -> ModelNames:
    """Read the mapping from the files of `transformers/models/auto`, without importing them."""
    mapping: dict[str, str] = {}
    for file in ("auto_mappings.py", "configuration_auto.py"):
        path = auto_folder / file
        for pairs, first in _mapping_pieces(path) if path.exists() else ():
            mapping = {**pairs, **mapping} if first else {**mapping, **pairs}
    return ModelNames(mapping)


def _mapping_pieces(path: Path) -> Iterator[tuple[dict[str, str], bool]]:
    """The literal parts that statements about CONFIG_MAPPING_NAMES hold, and whether they are put in front."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        names = {child.id for child in ast.walk(node) if isinstance(child, ast.Name)}
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.Expr) and "CONFIG_MAPPING_NAMES" in names:
            in_front = isinstance(node, ast.Assign) and _reads_itself(node)
            yield dict(_string_pairs(node)), in_front


def _reads_itself(node: ast.Assign) -> bool:
    return any(isinstance(child, ast.Name) and child.id == "CONFIG_MAPPING_NAMES" for child in ast.walk(node.value))


def _string_pairs(node: ast.AST) -> Iterator[tuple[str, str]]:
    for child in ast.walk(node):
        elements: list[tuple[ast.expr | None, ast.expr]] = []
        if isinstance(child, ast.Dict):
            elements = list(zip(child.keys, child.values, strict=True))
        elif isinstance(child, ast.Tuple) and len(child.elts) == 2:
            elements = [(child.elts[0], child.elts[1])]
        for key, value in elements:
            if (
                isinstance(key, ast.Constant)
                and isinstance(value, ast.Constant)
                and str(value.value).endswith("Config")
            ):
                yield str(key.value), str(value.value)
