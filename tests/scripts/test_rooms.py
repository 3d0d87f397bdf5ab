"""The rooms of scripts/: the command, the generator, what writes shards, and what only a clone has: demo, benches, maintenance, packaging."""

import ast
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import transformers_heterogeneous

from ..imports import imports_of, modules_of


HOUSE = Path(__file__).resolve().parents[2]
MODULES = modules_of(HOUSE / "scripts")
IMPORTS = imports_of(MODULES)
# Each room may use itself, and of the others these
MAY_USE = {
    "modular_converter": set(),
    "heterogenise": {"modular_converter"},
    "family_graph": {"modular_converter"},
    "likeness": {"modular_converter"},
    "upstreaming": {"modular_converter"},
    "command": {"family_graph", "heterogenise", "likeness", "modular_converter", "upstreaming"},
    "bench": {"modular_converter"},
    "demo": set(),
    "maintenance": {"modular_converter", "command", "likeness", "upstreaming"},
    "packaging": set(),
}
# Of the generator, from the ground up: a floor may use those below it
FLOORS = ("syntax", "sources", "naming", "shards", "merging", "layout", "checks", "output", "releases", "cache", "run")


def test_rooms_run_one_way():
    wrong = [
        f"{module} imports {other}"
        for module, imports in IMPORTS.items()
        for other in imports.ours
        if (room := module.partition(".")[0]) in MAY_USE and other.partition(".")[0] not in MAY_USE[room] | {room}
    ]
    assert not wrong
    assert {module.partition(".")[0] for module in MODULES} == {*MAY_USE, ""}


def test_floors_of_the_generator_import_from_those_below():
    floor = {
        module: FLOORS.index(module.split(".")[1]) for module in MODULES if module.startswith("modular_converter.")
    }
    wrong = [
        f"{module} imports {other}"
        for module in floor
        for other in IMPORTS[module].ours
        if floor[other] > floor[module]
    ]
    assert not wrong
    assert set(floor.values()) == set(range(len(FLOORS)))


def test_modules_of_the_generator_have_names_of_their_own_and_say_what_they_do():
    names = Counter(module.rpartition(".")[2] for module in MODULES if module.startswith("modular_converter."))
    assert not [name for name, times in names.items() if times > 1]
    assert not [module for module, path in MODULES.items() if not ast.get_docstring(ast.parse(path.read_text()))]


def test_no_module_imports_itself_by_way_of_others():
    graph = {module: set(imports.ours) for module, imports in IMPORTS.items()}
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)


def test_nothing_else_imports_the_scripts():
    for folder in ("converters", "generated", "modular", "integrations"):
        for module, imports in imports_of(modules_of(HOUSE / folder)).items():
            found = [name for name in (*imports.ours, *imports.others) if "scripts" in name.split(".")]
            assert not found, f"{folder}: {module}"


def test_modelopt_is_imported_by_its_integration_and_its_proof_alone():
    found = set()
    for room in ("converters", "integrations", "scripts"):
        for module, imports in imports_of(modules_of((HOUSE / room).resolve())).items():
            if any("modelopt" in name.split(".") for name in (*imports.ours, *imports.others)):
                found.add(f"{room}.{module}")
    assert found == {"integrations.modelopt", "scripts.maintenance.puzzletron_proof"}


def test_generated_files_import_of_ours_configurations_and_what_families_share():
    modules = modules_of(Path(transformers_heterogeneous.__file__).parent)
    for module, imports in imports_of(modules).items():
        if module:
            computing = {name for name in imports.ours if not name.startswith("configuration_")}
            assert computing <= {"modeling_heterogeneous"}, module
            assert not [name for name in imports.others if name.startswith("transformers_heterogeneous")], module
