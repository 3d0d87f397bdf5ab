"""A family's own files inside a checkpoint, for machines that do not have this package."""

import ast
import re
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .engine.errors import CheckpointError
from .families.family import Family


# What the name of a class ends in -> transformers' class that finds it
AUTO_CLASSES = {
    "Model": "AutoModel",
    "ForCausalLM": "AutoModelForCausalLM",
    "ForQuestionAnswering": "AutoModelForQuestionAnswering",
    "ForSequenceClassification": "AutoModelForSequenceClassification",
    "ForTokenClassification": "AutoModelForTokenClassification",
}

SIBLING = re.compile(r"^from \.(\w+) import ", re.MULTILINE)
PARENTS = re.compile(r"^# Parents: transformers ([\d.]\S*?)[;,]", re.MULTILINE)
GUARD = """\
import transformers


if transformers.__version__.split(".")[:2] != ["{major}", "{minor}"]:
    raise ImportError(
        "The code beside this checkpoint was expanded from transformers {version}, and with the installed "
        f"{{transformers.__version__}} it may compute something else: pip install "
        "'transformers>={major}.{minor},<{major}.{next_minor}', or install a transformers-heterogeneous that fits the "
        "installed one, which needs no code beside the checkpoint"
    )

"""


def with_code(
    config: Mapping[str, Any], family: Family, folder: Path | None = None
) -> tuple[dict[str, Any], dict[str, str]]:
    """
    A config that names the code that reads it, and this code: name of a file -> its text.

    Args:
        config: One of the family, as config.json has it.
        folder: Where the family was expanded for another release of transformers; by default the installed package's.

    Raises:
        CheckpointError: where the family's files are not installed as files.
    """
    files = {kind: f"{kind}_{config['model_type']}" for kind in ("configuration", "modeling")}
    sources = sources_of(files.values(), folder)
    release = release_of(sources[files["modeling"]])
    texts = {f"{module}.py": guarded(source, release) for module, source in sources.items()}
    stems = [family.architecture.removesuffix("ForCausalLM"), family.config_class.__name__.removesuffix("Config")]
    classes = public_names(texts[f"{files['modeling']}.py"])
    auto_map = {"AutoConfig": f"{files['configuration']}.{family.config_class.__name__}"}
    auto_map |= {
        auto_class: f"{files['modeling']}.{stem}{ending}"
        for ending, auto_class in AUTO_CLASSES.items()
        for stem in stems
        if f"{stem}{ending}" in classes
    }
    return {**config, "auto_map": auto_map}, texts


def sources_of(modules: Iterable[str], folder: Path | None) -> dict[str, str]:
    """The texts of generated modules, and of those of the package that they import from, by module."""
    found: dict[str, str] = {}
    wanted = list(modules)
    while wanted:
        if (module := wanted.pop()) not in found:
            found[module] = source_of(module, folder)
            wanted += SIBLING.findall(found[module])
    return found


def source_of(module: str, folder: Path | None) -> str:
    """The text of a generated module, which is not imported."""
    spec = find_spec(f"transformers_heterogeneous.{module}") if folder is None else None
    path = folder / f"{module}.py" if folder else Path(spec.origin) if spec and spec.origin else None
    if path is None or not path.is_file():
        raise CheckpointError(f"--with-code: {module}.py is not there to be copied")
    return path.read_text(encoding="utf-8")


def release_of(source: str) -> str:
    """The release of transformers that a modeling file was expanded from, as its banner says."""
    expanded = PARENTS.search(source)
    if expanded is None:
        raise CheckpointError("--with-code: the family's code does not say from which transformers it was expanded")
    return expanded[1]


def guarded(source: str, release: str) -> str:
    """
    A generated module that refuses to be imported beside another minor release of transformers than its family was
    expanded from.

    Here the package does so for its modules; a module that travels has to do it by itself.
    """
    imports = [node for node in ast.parse(source).body if isinstance(node, ast.Import | ast.ImportFrom)]
    lines = source.splitlines(keepends=True)
    start = imports[0].lineno - 1  # ahead of names that another release may not have
    major, minor = release.split(".")[:2]
    guard = GUARD.format(version=release, major=major, minor=minor, next_minor=int(minor) + 1)
    return "".join([*lines[:start], guard, *lines[start:]])


def public_names(source: str) -> list[str]:
    """The `__all__` of a module."""
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(statement.value)
            return names
    return []


def missing_code(config_dict: Mapping[str, Any]) -> list[str]:
    """Names of the files with remote code that a config expects beside it."""
    auto_map = config_dict.get("auto_map")
    classes = auto_map.values() if isinstance(auto_map, dict) else ()
    names = [name for found in classes for name in (found if isinstance(found, list) else [found])]
    beside = [name for name in names if isinstance(name, str) and "." in name and "--" not in name]
    return sorted({f"{name.rpartition('.')[0]}.py" for name in beside})
