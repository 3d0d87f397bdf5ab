"""A fork whose classes kept the names of those that they were copied from: the classes of a shard have names of their own."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from .class_features import classes_of, model_prefix
from .model_ranking import Ranking


def kept_prefix(result: Ranking) -> str:
    """The model's name in the names of a file's classes, where classes have the very names of their nearest; else ''."""
    prefix = model_prefix([each.name for each in result.classes])
    kept = any(
        each.nearest and each.name == each.nearest[1] and each.name.startswith(prefix) for each in result.classes
    )
    return prefix if kept else ""


def family_prefix(path: Path) -> str:
    """How the classes of a shard spell its model, which is named as its file is."""
    return "".join(part[:1].upper() + part[1:] for part in path.stem.removeprefix("modeling_").split("_"))


@contextmanager
def under_own_names(path: Path, result: Ranking, prefix: str) -> Iterator[tuple[Path, Ranking]]:
    """
    The file, its configuration file beside it, and the ranking, with the classes named as those of a shard.

    Args:
        prefix: What their names begin with, to be replaced by what the file's name says.
    """
    files = [path, path.with_name(path.name.replace("modeling_", "configuration_"))]
    files = list(dict.fromkeys(each for each in files if each.is_file()))
    own = [node.name for each in files for node in classes_of(each)]
    names = {each: family_prefix(path) + each.removeprefix(prefix) for each in own if each.startswith(prefix)}
    kept = next(each.nearest[0] for each in result.classes if each.nearest and each.name == each.nearest[1])
    model = path.stem.removeprefix("modeling_")
    with tempfile.TemporaryDirectory() as folder:
        for each in files:
            text = re.sub(r"\b\w+\b", lambda word: names.get(word[0], word[0]), each.read_text(encoding="utf-8"))
            text = re.sub(rf"""(["']){kept}\1""", rf"\1{model}\1", text)  # as in `model_type`
            Path(folder, each.name).write_text(text, encoding="utf-8")
        classes = [replace(each, name=names.get(each.name, each.name)) for each in result.classes]
        yield Path(folder, path.name), replace(result, classes=classes)
