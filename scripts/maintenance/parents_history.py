"""`hetero nearest` against history: for each shard of transformers, at which rank is the model that its authors inherit from?

    python -m transformers_heterogeneous.scripts.maintenance.parents_history

A shard's file is looked up without itself and without the models that inherit from it, directly or through others.
"""

import sys
from collections import Counter
from dataclasses import dataclass

from ..command.new import models_folder, parents
from ..likeness.class_features import known_classes
from ..likeness.inheritance import Class, heirs, main_parents
from ..likeness.likeness_index import Index, index_of
from ..likeness.model_ranking import ranking
from ..modular_converter.sources.paths import installed_version


@dataclass(frozen=True)
class Found:
    """What came out for one shard."""

    model: str
    authors: frozenset[str]
    rank: int
    first: str
    any_parent: bool
    classes: int
    classes_found: int


def found_for(index: Index, model: str) -> Found:
    """Look a model's file up as if it were new."""
    of: dict[str, Class] = dict(index.parents[model])
    classes = known_classes(models_folder() / model / f"modeling_{model}.py")
    result = ranking(index, classes, {model} | heirs(index.parents, model))
    names = [name for name, _, _ in result.models]
    main = main_parents(of)
    nearest = {match.name: match.nearest for match in result.classes}
    same = [nearest[name] == parent for name, parent in of.items()]
    rank = min((names.index(name) + 1 for name in main if name in names), default=len(names) + 1)
    any_parent = names[0] in {parent for parent, _ in of.values()}
    return Found(model, frozenset(main), rank, names[0], any_parent, len(of), sum(same))


def main(show: bool) -> None:
    """Print the sums, and with `show` the shards whose authors chose another."""
    models = models_folder()
    shards = {path.stem.removeprefix("modular_") for path in models.glob("*/modular_*.py")}
    index = index_of(models, parents())
    found = [found_for(index, model) for model in index.models if index.parents[model]]
    ranks = Counter(each.rank for each in found)
    print(
        f"transformers {installed_version('transformers')}: {len(shards)} shards, of which {len(found)} inherit classes of another model's modeling file"
    )
    print(
        f"the parent of most classes is first in {ranks[1]} of {len(found)}, among three in {sum(ranks[n] for n in (1, 2, 3))}",
        end="",
    )
    print(f", among five in {sum(ranks[n] for n in range(1, 6))}")
    print(f"the first is one of the shard's parents in {sum(each.any_parent for each in found)}")
    classes, same = sum(each.classes for each in found), sum(each.classes_found for each in found)
    print(f"of {classes} classes that inherit, {same} are nearest to the very class that they inherit from")
    for each in found if show else ():
        if each.rank > 1:
            print(f"{each.model}: {' or '.join(sorted(each.authors))} at {each.rank}, first {each.first}")


if __name__ == "__main__":
    main("--show" in sys.argv[1:])
