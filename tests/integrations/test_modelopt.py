"""The class that ModelOpt asks for: `make puzzletron` holds it beside ModelOpt's own. Here, that nothing of ours needs ModelOpt."""

from pathlib import Path

import pytest

import transformers_heterogeneous

from ..imports import imports_of, modules_of


pytestmark = pytest.mark.release
ROOT = Path(transformers_heterogeneous.__file__).parent


def test_no_module_imports_it():
    importing = {}
    for room in ("converters", "integrations", "scripts"):
        for module, imports in imports_of(modules_of((ROOT / room).resolve())).items():
            names = {*imports.ours, *imports.others}
            importing[f"{room}.{module}"] = {name for name in names if "modelopt" in name.split(".")}
    found = {module for module, names in importing.items() if names}
    assert found == {"integrations.modelopt", "scripts.maintenance.puzzletron_proof"}
