"""`hetero new`: a shard that expands to a working copy of a parent, ready to be edited."""

import os
import re
import sys
from pathlib import Path

from ..heterogenise.parent import DoesNotFit, OutsideScope, read_parent
from ..heterogenise.planning import plan_family
from ..heterogenise.shard_text import shard_text
from ..modular_converter.naming.model_names import read_model_names
from ..modular_converter.naming.renaming import model_renaming
from ..modular_converter.shards.shard import exports
from ..modular_converter.sources.diagnostics import ShardError, nearest
from ..modular_converter.sources.paths import installed_folder
from ..modular_converter.sources.source import read_source
from .project import HOUSE, project_of


FILE_TYPES = ("configuration", "modeling")
HEADER = """\
# Copyright {year} The authors of {model}. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""


class CannotStart(Exception):
    """Why no shard can be written, and what to do instead."""


class OutOfScope(CannotStart):
    """A parent of a kind that no heterogeneous family is made of."""


def new_command(model: str, parent: str, out: Path | None, year: int, heterogeneous: bool = False) -> int:
    """
    Write `modular_<model>.py` into `out`, or where the project has its shards: a class of one's own for every public class of the
    parent.

    Args:
        heterogeneous: its layers may differ from one another.

    Returns:
        0 when it was written, 2 when it could not be, with the reason on stderr.
    """
    try:
        here = project_of(Path())
        own = here.modular.parent == HOUSE  # of this package, whose families nobody adds to in passing
        path, notes = new_shard(model, parent, out or (Path() if own else here.modular), year, heterogeneous)
    except (CannotStart, ShardError) as error:
        print(f"hetero new: {error}", file=sys.stderr)
        return 2
    for note in notes:
        print(note)
    named = "" if path.parent == here.modular else f" {path}"
    print(f"{path} is written; change what differs from {parent}, then: hetero generate{named}")
    return 0


def new_shard(model: str, parent: str, out: Path, year: int, heterogeneous: bool = False) -> tuple[Path, list[str]]:
    """The path of the shard that was written, and what there is to say of it; `CannotStart` where it could not be."""
    path = out / f"modular_{model}.py"
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", model):
        raise CannotStart(f"{model!r} is not a model name: lower case, digits and single underscores are allowed")
    if os.path.lexists(path):
        raise CannotStart(f"{path} exists; nothing is overwritten")
    models = models_folder()
    if not (models / parent / f"modeling_{parent}.py").is_file():
        raise CannotStart(f"transformers has no model {parent!r}{nearest(parent, parents())}")
    text, notes = (heterogeneous_text if heterogeneous else plain_text)(model, parent, models, year)
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path, notes


def parents() -> list[str]:
    """The models of the installed transformers that a shard may inherit from."""
    folders = sorted(models_folder().iterdir())
    found = [folder.name for folder in folders if (folder / f"modeling_{folder.name}.py").is_file()]
    return [name for name in found if name != "auto"]


def models_folder() -> Path:
    """The models of the installed transformers, found without importing it."""
    package = installed_folder("transformers")
    if package is None:
        raise CannotStart("transformers is not installed")
    return package / "models"


def heterogeneous_text(model: str, parent: str, models: Path, year: int) -> tuple[str, list[str]]:
    """The shard of a family whose layers may differ."""
    try:
        plan = plan_family(read_parent(parent, models))
        classes = [each.name for each in plan.parent.modeling.of_kind("class")] + [plan.parent.config]
        children = child_names(classes, model, parent, models)
        header = HEADER.format(year=year, model=model)
        return shard_text(plan, lambda name: children.get(name, name), header), plan.notes
    except DoesNotFit as error:
        kind = OutOfScope if isinstance(error, OutsideScope) else CannotStart
        lines = "\n  ".join(error.reasons)
        raise kind(f"{parent} is not a parent for --heterogeneous, and nothing is written:\n  {lines}") from error


def plain_text(model: str, parent: str, models: Path, year: int) -> tuple[str, list[str]]:
    """The shard: the parent's public classes, each inherited under the new name and left as it is."""
    files = {kind: public_classes(models / parent / f"{kind}_{parent}.py") for kind in FILE_TYPES}
    children = child_names([name for found in files.values() for name in found], model, parent, models)
    imports = "".join(
        import_text(
            f"transformers.models.{parent}.{kind}_{parent}", sorted(name for name in found if name in children)
        )
        for kind, found in files.items()
        if found
    )
    bodies = "".join(f"\n\nclass {child}({name}):\n    pass\n" for name, child in children.items())
    listed = "".join(f'    "{child}",\n' for child in children.values())
    return f"{HEADER.format(year=year, model=model)}{imports}{bodies}\n\n__all__ = [\n{listed}]\n", []


def public_classes(path: Path) -> list[str]:
    """The classes that a parent's file exports, in its order; none where there is no such file."""
    if not path.is_file():
        return []
    source = read_source(path)
    defined = {statement.name for statement in source.of_kind("class")}
    order = [statement.name for statement in source.of_kind("class")]
    return sorted(defined & set(exports(source) or ()), key=order.index)


def import_text(module: str, names: list[str]) -> str:
    """An import as ruff formats it."""
    line = f"from {module} import {', '.join(names)}\n"
    if len(line) <= 120:
        return line
    return f"from {module} import (\n" + "".join(f"    {name},\n" for name in names) + ")\n"


def child_names(classes: list[str], model: str, parent: str, models: Path) -> dict[str, str]:
    """`Qwen3Model` -> `NewModel`: the parent's name in class names replaced by the new one, in the parent's own case where
    the new name ends with it. Of classes that would be called alike, as deprecated spellings are, one is left."""
    names = read_model_names(models / "auto").spelled_in(parent, classes)
    front = model.removesuffix(parent).removesuffix("_")
    cased = names.cased(front) + names.cased(parent) if 0 < len(front) < len(model) else names.cased(model)
    renaming = model_renaming(names, parent, cased)
    found: dict[str, str] = {}
    for name in sorted(classes, key=renaming.spells, reverse=True):
        child = renaming.name(name) if renaming.touches(name) else names.cased(front or model) + name
        if child not in found.values():
            found[name] = child
    return {name: found[name] for name in classes if name in found}
