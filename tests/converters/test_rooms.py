"""The house of the converters, read off its source files: who imports whom, and that it runs one way."""

from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import libcst as cst
import pytest

import transformers_heterogeneous
from transformers_heterogeneous import converters

from ..imports import Imports, imports_of, modules_of


ROOT = Path(converters.__file__).parent
# The front is what lies in none of the rooms. Each room may use those behind it, and itself
ROOMS = ("front", "formats", "families", "engine")
# What looks into a folder for its modules -> the folder
FINDERS = {"formats.recognition": "formats", "families": "families"}
ALLOWED_IN_ENGINE = {"tqdm"}


MODULES = modules_of(ROOT)
IMPORTS = imports_of(MODULES)


def room_of(module: str) -> str:
    return module.split(".")[0] if module.split(".")[0] in ROOMS else "front"


def test_the_visitor_sees_imports_of_every_kind():
    assert {"tensor_plan", "headers"} <= {name.removeprefix("engine.") for name in IMPORTS["engine.plan"].ours}
    assert "engine.rendering" in IMPORTS["arithmetic"].ours and "torch" in IMPORTS["arithmetic"].others
    assert "huggingface_hub.errors" in IMPORTS["hub"].others  # inside a function
    assert "formats.gpt_oss" in IMPORTS["formats.anymodel"].ours  # `from . import gpt_oss`
    assert "conversion" in IMPORTS[""].ours
    assert all(name in MODULES for imports in IMPORTS.values() for name in imports.ours)


def test_rooms_run_one_way():
    wrong = [
        f"{module} imports {other}"
        for module, imports in IMPORTS.items()
        for other in imports.ours
        if ROOMS.index(room_of(other)) < ROOMS.index(room_of(module))
    ]
    assert not wrong


def test_no_module_imports_itself_by_way_of_others():
    graph = {module: set(imports.ours) for module, imports in IMPORTS.items()}
    found = {module: path for module, path in MODULES.items() if "found_modules(" in path.read_text()}
    assert set(found) == FINDERS.keys()
    for finder, room in FINDERS.items():
        graph[finder] |= {module for module in MODULES if room_of(module) == room} - {finder, room}
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)


def test_the_engine_needs_the_standard_library_alone():
    import sys

    others = {
        name.split(".")[0] for module in IMPORTS if room_of(module) == "engine" for name in IMPORTS[module].others
    }
    assert others - set(sys.stdlib_module_names) == ALLOWED_IN_ENGINE


@pytest.mark.parametrize("room", ["formats", "families"])
def test_each_file_of_a_room_is_found(room):
    """What a file has to be called to be found, and that no list of them is kept beside."""
    word = room.upper().removesuffix("S").replace("FAMILIE", "FAMILY")
    told = {module for module, path in MODULES.items() if room_of(module) == room and has_constant(path, word)}
    told.discard("formats.recognition")  # the order of those that are found
    assert len(told) > 2
    others = [name for module in MODULES if room_of(module) == "front" for name in IMPORTS[module].ours & told]
    assert not others  # the front asks those that find them


def has_constant(path: Path, word: str) -> bool:
    return any(line.startswith((f"{word} = ", f"{word}S = ")) for line in path.read_text().splitlines())


def test_of_the_families_only_the_package_itself_knows_the_converters():
    """It tells the configs what reads published forms; they, and what travels with a checkpoint, import none of it."""
    generated = Path(transformers_heterogeneous.__file__).parent
    sources = {path.stem: cst.parse_module(path.read_text()) for path in generated.glob("*.py")}
    for stem, source in sources.items():
        imports = Imports("", True, MODULES)
        source.visit(imports)
        found = any(name.startswith("formats") or "converters" in name for name in (*imports.ours, *imports.others))
        assert found == (stem == "__init__"), stem
    assert len(sources) > 8


def test_modeling_files_are_imported_by_nobody():
    def modeling() -> Iterator[str]:
        for module, imports in IMPORTS.items():
            yield from (f"{module}: {name}" for name in imports.others if ".modeling_" in name)

    assert not list(modeling())
