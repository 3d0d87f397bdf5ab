"""The models that a file is nearest to, and for each of its classes the class."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from .class_features import Known
from .inheritance import Class
from .likeness_index import Index


# Of classes that are as near, the one that people inherit from: many are copies of it. An identical class stays at 1.
# Chosen on history (docs/nearest.md).
FAME = 0.3
TIE = 1e-4
CLOSE = 0.98  # a class of the nearest model is taken where another model's is hardly nearer


@dataclass(frozen=True)
class Match:
    """A class of the file, the nearest of transformers, and how alike they are, 0 to 1; no nearest where nothing is."""

    name: str
    nearest: Class | None
    likeness: float


@dataclass(frozen=True)
class Ranking:
    """Models, the nearest first, with their likeness to the whole file and how many inherit from them; each class's match."""

    models: Sequence[tuple[str, float, int]]
    classes: Sequence[Match]


def ranking(index: Index, classes: Sequence[Known], left_out: Collection[str] = ()) -> Ranking:
    """
    Rank the models of an index.

    Args:
        classes: Those of the file.
        left_out: Models that are not to be found.
    """
    heirs = [
        sum(
            1
            for name, of in index.parents.items()
            if name not in left_out and model in {each for each, _ in of.values()}
        )
        for model in index.models
    ]
    fame = np.log1p(np.array(heirs, dtype=np.float64))
    out = np.isin(index.model_of, [number for number, model in enumerate(index.models) if model in left_out])
    starts = np.flatnonzero(np.diff(index.model_of, prepend=-1))
    famed_of, plain_of, own_of = [], [], []
    for each in classes:
        likeness, own = index.likeness(each.features)
        likeness = np.where(out, 0.0, likeness.clip(0, 1))
        famed = likeness ** (1 / (1 + FAME * fame[index.model_of])) + np.where(likeness, TIE * fame[index.model_of], 0)
        famed_of.append(famed)
        plain_of.append(likeness)
        own_of.append(np.sqrt(own))
    weights = np.array(own_of)[:, None]
    scores = (weights * np.maximum.reduceat(famed_of, starts, axis=1)).sum(0)
    plain = (weights * np.maximum.reduceat(plain_of, starts, axis=1)).sum(0) / weights.sum()
    order = [number for number in np.argsort(-scores, kind="stable") if index.models[number] not in left_out]
    matches = []
    for each, famed, likeness in zip(classes, famed_of, plain_of, strict=True):
        best = int(np.argmax(famed))
        of_first = int(np.argmax(np.where(index.model_of == order[0], famed, 0)))
        best = of_first if famed[of_first] >= CLOSE * famed[best] else best
        matches.append(Match(each.name, index.classes[best] if likeness[best] > 0 else None, float(likeness[best])))
    models = [(index.models[number], float(plain[number]), heirs[number]) for number in order]
    return Ranking(models, matches)
