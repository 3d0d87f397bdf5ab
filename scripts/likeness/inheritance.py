"""Which classes the shards of transformers inherit from, as their authors wrote it."""

import ast
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from .class_features import parsed


Class = tuple[str, str]  # a model and a class of its modeling file


def parents_by_class(models: Path, model: str) -> dict[str, Class]:
    """The parent of each class of a model's modeling file that has one in another model's, by the model's shard."""
    shard = models / model / f"modular_{model}.py"
    if not shard.is_file():
        return {}
    tree = parsed(shard)
    origins: dict[str, Class] = {}
    for each in tree.body:
        if isinstance(each, ast.ImportFrom) and each.module and each.level:
            parent, _, module = each.module.rpartition(".")
            if module == f"modeling_{parent}" and parent not in ("", "auto", model):
                origins |= {alias.asname or alias.name: (parent, alias.name) for alias in each.names}
    return {
        each.name: origins[base.id]
        for each in tree.body
        if isinstance(each, ast.ClassDef)
        for base in each.bases[:1]
        if isinstance(base, ast.Name) and base.id in origins
    }


def main_parents(parents: Mapping[str, Class]) -> set[str]:
    """The model that most of the classes inherit from; several where they are equally many."""
    counts = Counter(model for model, _ in parents.values())
    return {model for model, times in counts.items() if times == max(counts.values())}


def heirs(parents: Mapping[str, Mapping[str, Class]], model: str) -> set[str]:
    """The models whose shards inherit from a model, and those that inherit from them."""
    found: set[str] = set()
    new = {model}
    while new:
        found |= new
        new = {name for name, of in parents.items() if any(parent in new for parent, _ in of.values())} - found
    return found - {model}
