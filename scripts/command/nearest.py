"""`hetero nearest`: the models of transformers that a modeling file is nearest to, and the shard that says the same."""

import json
import os
import re
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from ..likeness.class_features import Known, known_classes
from ..likeness.family_names import family_prefix, kept_prefix, under_own_names
from ..likeness.likeness_index import index_of
from ..likeness.model_ranking import Ranking, ranking
from ..likeness.shard_outline import Inherits, near_configs, near_enough, outline, outline_text
from ..likeness.suggested_shard import Suggested, suggested_shard
from ..modular_converter.sources.diagnostics import nearest
from .new import CannotStart, models_folder, parents


SHOWN = 5


class CannotCompare(Exception):
    """Why nothing can be compared, and what to do instead."""


def nearest_command(asked: str, write: Path | None, as_json: bool) -> int:
    """
    Print the ranking of models and each class's nearest.

    Args:
        asked: A file, or the name of a model.
        write: Folder for the shard.

    Returns:
        0, 1 when the expansion of the shard that was written differs from the file, 2 when nothing could be compared.
    """
    try:
        path, left_out = file_of(asked)
        classes = known_classes_of(path)
        result = ranking(index_of(models_folder(), parents()), classes, left_out)
        prefix = kept_prefix(result)
        renamed = (prefix, family_prefix(path)) if prefix else None
        if renamed and write and renamed[0] == renamed[1]:
            raise CannotCompare(
                f"the classes of {path} have the names of those that a shard would inherit from, and a family has names of its own: "
                f"copy it to modeling_NAME.py, and the shard's classes are called after NAME"
            )
        with under_own_names(path, result, prefix) if prefix else nullcontext((path, result)) as (file, named):
            outlined = outline(file, near_enough(named.classes), models_folder())
            written = written_shard(file, write, result, outlined) if write else None
    except (CannotCompare, CannotStart) as error:
        print(f"hetero nearest: {error}", file=sys.stderr)
        return 2
    if as_json:
        print(json.dumps(structured(path, named, outlined, written), indent=2))
    else:
        print_ranking(path, result)
        if renamed:
            print(f"{renamed[0]}... is {renamed[1]}... in the shard: a family has names of its own")
        print(outline_text([each.name for each in named.classes], outlined))
        if written:
            print_written(*written)
    return int(bool(written and (written[1].differences or written[1].problems)))


def written_shard(
    path: Path, folder: Path, result: Ranking, outlined: Mapping[str, Inherits]
) -> tuple[Path, Suggested]:
    """The shard, written; `CannotCompare` where it could not be."""
    model = path.stem.removeprefix("modeling_")
    shard = folder / f"modular_{model}.py"
    if path.stem == model or not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", model):
        raise CannotCompare(
            f"a shard takes its name from the file's: call {path} modeling_NAME.py, NAME in lower case"
        )
    if folder.exists() and not folder.is_dir():
        raise CannotCompare(f"{folder} is a file; --write names the folder for the shard")
    if os.path.lexists(shard):
        raise CannotCompare(f"{shard} exists; nothing is overwritten")
    config = path.with_name(f"configuration_{model}.py")
    files = [*([config] * config.is_file()), path]
    of_config = {}
    if config.is_file():
        near = near_configs(config, result.models[0][0], models_folder())
        of_config = outline(config, near, models_folder(), "configuration")
    suggested = suggested_shard(files, model, {**outlined, **of_config}, models_folder())
    folder.mkdir(parents=True, exist_ok=True)
    shard.write_text(suggested.text, encoding="utf-8")
    return shard, suggested


def print_written(shard: Path, suggested: Suggested) -> None:
    """What was written, and where its expansion is not the file."""
    inherited, over, out = (len(each) for each in (suggested.inherited, suggested.overriding, suggested.written_out))
    print(f"\n{shard}: {inherited} classes inherited as they are, {over} with overrides, {out} written out")
    if suggested.problems:
        print("the generator refuses it, so that what it overrides is not compared with the file:")
    for problem in suggested.problems:
        print(f"  {problem}")
    for difference in suggested.differences:
        print(f"  differs: {difference}")
    if not suggested.problems and not suggested.differences:
        print("its expansion is the file again; comments, docstrings and annotations of arguments were not compared")


def file_of(asked: str) -> tuple[Path, set[str]]:
    """The file that is asked for, and the models that it is not to be compared with."""
    path = Path(asked)
    if path.is_file():
        inside = path.resolve().parent
        return path, {inside.name} if inside.parent == models_folder().resolve() else set()
    if path.suffix or len(path.parts) > 1:
        raise CannotCompare(f"there is no file {path}")
    if asked not in parents():
        raise CannotCompare(f"{asked} is neither a file nor a model of transformers{nearest(asked, parents())}")
    return models_folder() / asked / f"modeling_{asked}.py", {asked}


def known_classes_of(path: Path) -> list[Known]:
    """What the classes of the file are known by."""
    try:
        classes = known_classes(path)
    except SyntaxError as error:
        place = f":{error.lineno}:{error.offset}" if error.lineno else ""
        raise CannotCompare(f"{path}{place}: {error.msg}") from error
    except (ValueError, OSError) as error:
        raise CannotCompare(f"{path} cannot be read as Python: {error}") from error
    if not classes:
        raise CannotCompare(f"{path} defines no class at its top level; give the modeling file")
    return classes


def structured(
    path: Path, result: Ranking, outlined: Mapping[str, Inherits], written: tuple[Path, Suggested] | None
) -> dict[str, object]:
    """It all for JSON."""
    models = [
        {"model": model, "likeness": round(likeness, 4), "heirs": heirs}
        for model, likeness, heirs in result.models[:SHOWN]
    ]
    classes = [
        {
            "class": each.name,
            "model": each.nearest[0] if each.nearest else None,
            "nearest": each.nearest[1] if each.nearest else None,
            "likeness": round(each.likeness, 4),
            "inherits": each.name in outlined,
            "overrides": sorted(outlined[each.name].overrides) if each.name in outlined else [],
            "without": list(outlined[each.name].gone) if each.name in outlined else [],
        }
        for each in result.classes
    ]
    found: dict[str, object] = {"file": str(path), "models": models, "classes": classes}
    if written:
        shard, suggested = written
        found["shard"] = {
            "path": str(shard),
            "inherited": suggested.inherited,
            "overriding": suggested.overriding,
            "written_out": suggested.written_out,
            "differences": list(map(str, suggested.differences)),
            "problems": suggested.problems,
        }
    return found


def print_ranking(path: Path, result: Ranking) -> None:
    """Tables of the models and of the classes."""
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    models = Table("model", "likeness", "models that inherit from it", box=box.SIMPLE)
    for model, likeness, heirs in result.models[:SHOWN]:
        models.add_row(model, f"{likeness:.2f}", str(heirs))
    classes = Table("class", "nearest", "of", "likeness", box=box.SIMPLE)
    for each in result.classes:
        model, name = each.nearest or ("", "none")
        classes.add_row(each.name, name, model, f"{each.likeness:.2f}")
    console.print(f"{path}")
    console.print(models)
    console.print(classes)
