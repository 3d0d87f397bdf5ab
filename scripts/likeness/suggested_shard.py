"""The shard that a modeling file could have been: what is the parent's is inherited, what differs is written out.

The generator says what each draft expands to, and what is not the file there is written out in the next.
"""

import ast
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from ..modular_converter.output.formatting import format_files
from ..modular_converter.run import Run, expand
from .class_features import parsed
from .file_comparison import Definitions, Difference, definitions_of, differences, names_in
from .shard_outline import Inherits


DRAFTS = 8  # each but the last writes out more than the one before


@dataclass
class Draft:
    """What the next draft does: the classes that inherit, and the functions and constants that have to be in it."""

    inheriting: dict[str, Inherits]
    needed: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Suggested:
    """The shard, how many classes do what, where its expansion is not the file, and what the generator said against it."""

    text: str
    inherited: Sequence[str]
    overriding: Sequence[str]
    written_out: Sequence[str]
    differences: Sequence[Difference]
    problems: Sequence[str]


def suggested_shard(files: Sequence[Path], model: str, outlined: Mapping[str, Inherits], models: Path) -> Suggested:
    """
    The shard of a model.

    Args:
        files: Its configuration file where there is one, and its modeling file.
        model: Its name in lower case.
        outlined: The classes that inherit, as far as can be told without the generator.
        models: Folder of the models of transformers.
    """
    theirs = definitions_of([parsed(path) for path in files], [path.read_text(encoding="utf-8") for path in files])
    draft = Draft(dict(outlined))
    for number in range(DRAFTS):
        text = shard_of(theirs, draft, files, models)
        with tempfile.TemporaryDirectory() as folder:
            shard = Path(folder) / f"modular_{model}.py"
            shard.write_text(text, encoding="utf-8")
            run = expand([shard], lambda path: path.parent / "expanded")
        problems = [each for each in run.diagnostics() if not each.warning]
        last = number == DRAFTS - 1
        if run.failed:
            if not last and _without_what_fails(draft, run, shard, text):
                continue
            found: list[Difference] = []
        else:
            texts = [each for path, each in run.files.items() if path.suffix == ".py"]
            found = differences(theirs, definitions_of([ast.parse(each) for each in texts], texts))
            if not last and _closer(draft, theirs, found):
                continue
        break
    formatted, _ = format_files({shard: text})
    over = [name for name, each in draft.inheriting.items() if each.overrides or each.gone]
    return Suggested(
        formatted.get(shard, text),
        [name for name in draft.inheriting if name not in over],
        over,
        [name for name in theirs.classes if name not in draft.inheriting],
        found,
        [f"line {each.line}: {each.message}" for each in problems],
    )


def _without_what_fails(draft: Draft, run: Run, shard: Path, text: str) -> bool:
    """Write out the classes that the generator refuses, all where it does not say which; False where none is to blame."""
    before = len(draft.inheriting)
    places = {each.name: each for each in ast.parse(text).body if isinstance(each, ast.ClassDef)}
    problems = [each for each in run.diagnostics() if not each.warning]
    for problem in problems:
        for name, each in places.items():
            if problem.path == shard and each.lineno <= problem.line <= (each.end_lineno or 0):
                draft.inheriting.pop(name, None)
    if any(each.path != shard for each in problems):
        draft.inheriting.clear()
    return len(draft.inheriting) < before


def _closer(draft: Draft, theirs: Definitions, found: Iterable[Difference]) -> bool:
    """Take what differs into the next draft; False where that is done already."""
    changed = False
    for each in found:
        if inherits := draft.inheriting.get(each.name):
            more = not inherits.overrides >= set(each.members) or not inherits.gone.keys() >= each.gone.keys()
            if each.header or not more:
                del draft.inheriting[each.name]
            else:
                inherits.overrides |= set(each.members)
                inherits.gone |= each.gone
            changed = True
        elif each.name in theirs.others and each.name not in draft.needed and not each.missing:
            draft.needed.add(each.name)
            changed = True
    return changed


def shard_of(theirs: Definitions, draft: Draft, files: Sequence[Path], models: Path) -> str:
    """The text of a draft."""
    bodies = {name: _class_text(theirs, draft, name) for name in theirs.classes}
    used = names_in("\n".join(bodies.values()))
    kept = set(draft.needed)
    while more := {name for name in theirs.others if name in used} - kept:
        kept |= more
        used |= names_in("\n".join(theirs.others[name] for name in kept))
    used |= names_in("\n".join(theirs.others[name] for name in kept))
    taken = dict.fromkeys(
        bodies.get(name) or theirs.others[name] for name in theirs.order if name in bodies or name in kept
    )
    guards = [text for text, names in theirs.guards if names & used]
    used |= names_in("\n".join(guards))
    own = {*theirs.classes, *theirs.others}
    imports = [line for path in files for line in _imports(path, used, own, models)]
    inherited: dict[str, set[str]] = {}
    for model, parent in (each.parent for each in draft.inheriting.values()):
        kind = "configuration" if parent.endswith("Config") else "modeling"
        inherited.setdefault(f"transformers.models.{model}.{kind}_{model}", set()).add(parent)
    imports += [f"from {module} import {', '.join(sorted(names))}" for module, names in inherited.items()]
    exported = theirs.exported or [name for name in theirs.classes if not name.startswith("_")]
    listed = ", ".join(f'"{name}"' for name in exported)
    parts = ["\n".join(dict.fromkeys(imports)), *guards, *taken, f"__all__ = [{listed}]\n"]
    return "\n\n\n".join(parts)


def _class_text(theirs: Definitions, draft: Draft, name: str) -> str:
    """A class as the draft has it."""
    if name not in draft.inheriting:
        return theirs.text(name)
    each = draft.inheriting[name]
    lines = [theirs.text(name, member) for member in theirs.members(name) if member in each.overrides]
    for gone, method in each.gone.items():
        lines.append(
            f"    def {gone}(self):\n        raise AttributeError" if method else f"    {gone} = AttributeError()"
        )
    return f"class {name}({each.parent[1]}):\n" + ("\n\n".join(lines) or "    pass")


def _imports(path: Path, used: set[str], own: set[str], models: Path) -> Iterator[str]:
    """The imports of a file that a draft uses; those inside transformers by their full names."""
    inside = path.resolve().parent.parent == models.resolve()
    package = ["transformers", "models", path.resolve().parent.name]
    for node in parsed(path).body:
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        names = [each for each in node.names if (each.asname or each.name).partition(".")[0] in used - own]
        if not names:
            continue
        if isinstance(node, ast.ImportFrom) and node.level and inside:
            front = package[: len(package) + 1 - node.level]
            node = ast.ImportFrom(".".join([*front, *([node.module] if node.module else [])]), names, 0)
        node.names = names
        if isinstance(node, ast.ImportFrom) and node.module == "transformers":
            yield from _of_package(names, models.parent)
        else:
            yield ast.unparse(node)


def _of_package(names: Sequence[ast.alias], package: Path) -> Iterator[str]:
    """`from transformers import x` by the modules' full names, which the generator asks for; where none is known as it is."""
    homes = _homes(package / "__init__.py")
    for each in names:
        module = (package / f"{each.name}.py").is_file() or (package / each.name).is_dir()
        named = f" as {each.asname}" if each.asname else ""
        if module:
            yield f"import transformers.{each.name} as {each.asname or each.name}"
        else:
            yield f"from transformers{homes.get(each.name, '')} import {each.name}{named}"


@cache
def _homes(file: Path) -> dict[str, str]:
    """The module that a package's file imports each name from, for type checkers where it does so lazily itself."""
    imports = [node for node in ast.walk(parsed(file)) if isinstance(node, ast.ImportFrom) and node.level == 1]
    return {each.asname or each.name: f".{node.module}" for node in imports if node.module for each in node.names}
