"""Families as the files of a pull request: what is written into a source tree, from what shards say and what the tree has."""

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import libcst as cst

from ..modular_converter.run import expand
from ..modular_converter.sources.siblings import with_needed
from ..modular_converter.sources.source import read_source
from ..modular_converter.syntax.import_statements import module_of, names_of
from ..modular_converter.syntax.tree import small
from . import auto_lines
from .family_facts import Facts, read_facts
from .layer_mix import mixed_fields, uniform_fields
from .model_texts import init_text, page_text, tests_text
from .shared_half import shared_files, shared_names
from .source_tree import SourceTree
from .tree_imports import SHARED_SHARD, CannotExport, Place, tree_model
from .upstream_shard import formatted, upstream_shard


PACKAGE, TESTS, DOCS = "src/transformers", "tests/models", "docs/source/en"
AUTO = f"{PACKAGE}/models/auto"

SmallFields = Callable[[Mapping[str, object]], dict[str, object]]


@dataclass
class Export:
    """
    What is written.

    Args:
        whole: files that are the export's own.
        edited: files of the tree in which lines are added.
        notes: what there is to say of it.
    """

    whole: dict[str, str] = field(default_factory=dict)
    edited: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def files(self) -> dict[str, str]:
        return self.whole | self.edited


def export_of(shards: Sequence[Path], tree: SourceTree, package: Path, small_fields: SmallFields) -> Export:
    """
    The files of families, and of those that they inherit from.

    Args:
        package: folder of the expanded families, which has what they share.
        small_fields: the fields of a small model, from the fields of its config with their defaults.

    Raises:
        CannotExport: with all the reasons. Nothing is written here.
    """
    tree.check_release()
    every = families_needed(shards)
    export = Export(
        notes=[f"{tree_model(shard)} comes along: others inherit from it" for shard in every if shard not in shards]
    )
    export.whole |= {f"{PACKAGE}/{name}": text for name, text in shared_files(package).items()}
    with tempfile.TemporaryDirectory(prefix="hetero-export-") as folder:
        shadow = _shadow(tree, Path(folder))
        for shard in every:
            files = _expanded(shard, shadow, package)
            model = tree_model(shard)
            export.whole |= {f"{PACKAGE}/models/{model}/{name}": text for name, text in files.items()}
            facts = _facts(model, files)
            _add_family(facts, tree, export, small_fields)
    return export


def families_needed(shards: Iterable[Path]) -> list[Path]:
    """The shards, each behind those of its folder that it inherits from."""
    found = (each for shard in shards for each in with_needed(shard))
    return [each for each in dict.fromkeys(found) if each.stem != SHARED_SHARD]


def _shadow(tree: SourceTree, folder: Path) -> SourceTree:
    """A tree that has the models of this one, and into which others may be written."""
    shadow = SourceTree(folder)
    shadow.models.mkdir(parents=True)
    for each in tree.models.iterdir():
        if each.is_dir():
            os.symlink(each.resolve(), shadow.models / each.name)
    return shadow


def _expanded(shard: Path, shadow: SourceTree, package: Path) -> dict[str, str]:
    """The shard inside transformers, and what it expands to there."""
    model = tree_model(shard)
    home = shadow.models / model
    if home.is_symlink():
        home.unlink()  # of an earlier export
    home.mkdir()
    place = Place(("models", model), shared_names(package), shard.parent)
    written = home / f"modular_{model}.py"
    written.write_text(
        upstream_shard(shard, place, read_source(package / "modeling_heterogeneous.py"), shadow.models),
        encoding="utf-8",
    )
    run = expand([written], lambda path: home)
    if run.failed or not run.files:
        raise CannotExport(*(run.messages() or [f"{shard} expands to nothing"]))
    for path, text in run.files.items():
        path.write_text(text, encoding="utf-8")
    return {path.name: path.read_text(encoding="utf-8") for path in (written, *run.files)}


def _facts(model: str, files: Mapping[str, str]) -> Facts:
    missing = [name for kind in ("configuration", "modeling") if (name := f"{kind}_{model}.py") not in files]
    if missing:
        raise CannotExport(f"the shard of {model} expands to no {' and no '.join(missing)}")
    parents = parents_of(files[f"modular_{model}.py"])
    return read_facts(model, parents, files[f"configuration_{model}.py"], files[f"modeling_{model}.py"])


def parents_of(shard: str) -> dict[str, list[str]]:
    """The models of the tree that a shard inside transformers inherits from, that of its config first, and what of each."""
    imports = [
        node
        for statement in cst.parse_module(shard).body
        if isinstance(node := small(statement), cst.ImportFrom) and len(node.relative) == 2
    ]
    imports.sort(key=lambda node: ".configuration_" not in module_of(node))
    found: dict[str, list[str]] = {}
    for node in imports:
        found.setdefault(module_of(node).partition(".")[0], []).extend(names_of(node))
    return found


def _add_family(facts: Facts, tree: SourceTree, export: Export, small_fields: SmallFields) -> None:
    """What a model has beside its code."""
    parent = _parent_facts(facts, tree)
    small = small_fields(facts.fields)
    fields = uniform_fields(facts, small), mixed_fields(facts, small)
    inits = (tree.models / parent.model / "__init__.py").read_text(encoding="utf-8")
    parent_tests = tree.root / TESTS / parent.model / f"test_modeling_{parent.model}.py"
    tests = tests_text(facts, parent, fields, parent_tests)
    export.whole |= {
        f"{PACKAGE}/models/{facts.model}/__init__.py": init_text(facts, inits),
        f"{DOCS}/model_doc/{facts.model}.md": page_text(facts, parent, fields[1]),
        f"{TESTS}/{facts.model}/__init__.py": "",
        f"{TESTS}/{facts.model}/test_modeling_{facts.model}.py": formatted(Path("test.py"), tests),
    }
    _register(facts, parent, tree, export)


def _parent_facts(facts: Facts, tree: SourceTree) -> Facts:
    """The model of the tree that a family is like."""
    for name, inherited in facts.parents.items():
        files = [tree.models / name / f"{kind}_{name}.py" for kind in ("configuration", "modeling")]
        if all(file.is_file() for file in files):
            configuration, modeling = (file.read_text(encoding="utf-8") for file in files)
            return read_facts(name, {}, configuration, modeling, inherited)
    raise CannotExport(f"{facts.model} inherits from no model of {tree.root}")


def _register(facts: Facts, parent: Facts, tree: SourceTree, export: Export) -> None:
    """The lines in files of the tree."""

    def edit(name: str, change: Callable[[str], str]) -> None:
        text = export.edited.get(name)
        export.edited[name] = change((tree.root / name).read_text(encoding="utf-8") if text is None else text)

    edit(
        f"{AUTO}/auto_mappings.py",
        lambda text: auto_lines.with_config(text, facts.model_type, facts.config, facts.model),
    )
    edit(f"{AUTO}/modeling_auto.py", lambda text: auto_lines.with_models(text, facts.model_type, facts.models))
    edit(
        f"{AUTO}/tokenization_auto.py",
        lambda text: auto_lines.with_tokenizer(text, facts.model_type, [parent.model_type]),
    )
    edit(f"{PACKAGE}/models/__init__.py", lambda text: auto_lines.with_import(text, facts.model))
    contents = f"{DOCS}/_toctree.yml"
    if (tree.root / contents).is_file():
        edit(contents, lambda text: auto_lines.with_content(text, facts.model, facts.cased, [parent.model]))
    else:
        export.notes.append(f"{contents} is not in this tree: the line for {facts.model} is left out")
