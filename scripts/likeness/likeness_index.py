"""The classes of every model of the installed transformers by what they are known by, built once and remembered."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ..modular_converter.cache.storage import cache_folder
from . import class_features, inheritance
from .class_features import Known, known_classes
from .inheritance import Class, parents_by_class


UNREADABLE = (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile)


@dataclass(frozen=True)
class Index:
    """
    Every class of the models, and its features one after the other.

    Attributes:
        classes: Models and names of classes.
        ends: Where the features of each end.
        parents: By model, which class of another model each class inherits from by the model's shard.
    """

    classes: Sequence[Class]
    features: NDArray[np.uint32]
    ends: NDArray[np.int64]
    parents: Mapping[str, Mapping[str, Class]]

    @cached_property
    def models(self) -> list[str]:
        """The models that have classes."""
        return list(dict.fromkeys(model for model, _ in self.classes))

    @cached_property
    def model_of(self) -> NDArray[np.int64]:
        """The number of each class's model."""
        number = {model: each for each, model in enumerate(self.models)}
        return np.array([number[model] for model, _ in self.classes], dtype=np.int64)

    def rows_of(self, model: str) -> slice:
        """Where the classes of a model are."""
        rows = np.flatnonzero(self.model_of == self.models.index(model))
        return slice(int(rows[0]), int(rows[-1]) + 1)

    @cached_property
    def known(self) -> NDArray[np.uint32]:
        """Every feature once."""
        return np.unique(self.features)

    @cached_property
    def place(self) -> NDArray[np.int64]:
        """Where each feature is in `known`."""
        return np.searchsorted(self.known, self.features)

    @cached_property
    def weight(self) -> NDArray[np.float64]:
        """How much each feature says: the less, the more models have it."""
        row = np.repeat(self.model_of, np.diff(self.ends, prepend=0))
        pairs = np.unique(row * len(self.known) + self.place)
        models = np.bincount(pairs % len(self.known), minlength=len(self.known))
        weights: NDArray[np.float64] = np.log((1 + len(self.models)) / models)
        return weights

    @cached_property
    def whole(self) -> NDArray[np.float64]:
        """The weight of all features of each class."""
        return self._summed(self.weight)

    def likeness(self, features: Iterable[int]) -> tuple[NDArray[np.float64], float]:
        """How alike a class is to each of the index, 0 to 1, and the weight of its own features."""
        asked = np.fromiter(features, dtype=np.uint32)
        places = np.searchsorted(self.known, asked).clip(max=len(self.known) - 1)
        found = self.known[places] == asked
        mark = np.zeros(len(self.known))
        mark[places[found]] = self.weight[places[found]]
        own = float(mark.sum() + np.count_nonzero(~found) * np.log(1 + len(self.models)))
        return 2 * self._summed(mark) / np.maximum(self.whole + own, 1e-9), own

    def _summed(self, of_feature: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum over the features of each class."""
        sums = np.concatenate([[0.0], np.cumsum(of_feature[self.place])])
        summed: NDArray[np.float64] = sums[self.ends] - sums[np.concatenate([[0], self.ends[:-1]])]
        return summed


def index_of(models: Path, names: Sequence[str]) -> Index:
    """The index of models in a folder, remembered or built."""
    files = [models / name / f"modeling_{name}.py" for name in names]
    path = cache_folder().parent / "likeness" / f"{_key(files)}.npz"
    with suppress(*UNREADABLE):
        return read_index(path)
    index = build_index(models, names)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            write_index(index, Path(folder) / "index.npz")
            os.replace(Path(folder) / "index.npz", path)
    return index


def _key(files: Iterable[Path]) -> str:
    """By the files as they are now, their shards, and the code that reads them."""
    digest = hashlib.sha256()
    for module in (__file__, class_features.__file__, inheritance.__file__):
        digest.update(Path(module).read_bytes())
    for path in files:
        for each in (path, path.with_name(path.name.replace("modeling_", "modular_"))):
            if each.is_file():
                status = each.stat()
                digest.update(f"{each} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:32]


def build_index(models: Path, names: Sequence[str]) -> Index:
    """The index, read off the files."""
    found = [(name, each) for name in names for each in known_classes(models / name / f"modeling_{name}.py")]
    classes = [(name, each.name) for name, each in found]
    features = np.fromiter((hash_ for hash_ in _sorted_features(each for _, each in found)), dtype=np.uint32)
    ends = np.cumsum([len(each.features) for _, each in found])
    there = set(classes)
    parents = {
        name: {own: parent for own, parent in parents_by_class(models, name).items() if (name, own) in there}
        for name in names
    }
    return Index(classes, features, ends, parents)


def _sorted_features(classes: Iterable[Known]) -> Iterator[int]:
    for each in classes:
        yield from sorted(each.features)


def write_index(index: Index, path: Path) -> None:
    """Keep an index in a file."""
    names = json.dumps({"classes": index.classes, "parents": index.parents})
    np.savez(path, features=index.features, ends=index.ends, names=np.frombuffer(names.encode(), dtype=np.uint8))


def read_index(path: Path) -> Index:
    """An index that was kept; one of `UNREADABLE` where it is not what was written."""
    with np.load(path) as arrays:
        names = json.loads(arrays["names"].tobytes())
        features, ends = arrays["features"], arrays["ends"]
    if len(ends) != len(names["classes"]) or int(ends[-1]) != len(features):
        raise ValueError("not what was written")
    parents = {
        model: {own: (parent, name) for own, (parent, name) in of.items()} for model, of in names["parents"].items()
    }
    return Index([(model, name) for model, name in names["classes"]], features, ends, parents)
