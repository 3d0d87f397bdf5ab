"""What `make test-quick` runs, the tests that quick.txt names: each is there, and every family and format has some."""

import subprocess
import sys
from pathlib import Path

from transformers_heterogeneous.converters.formats import recognition

from .converters.formats.test_there_and_back import SOURCES


ROOT = Path(__file__).resolve().parent.parent
# Of each family, in the suite of all families
PROOFS = {
    "test_uniform_logits_are_the_parents",
    "test_logits_and_gradients_are_those_of_stock_layers",
    "test_cached_steps_and_generation_are_one_forward_by_values",
    "test_uniform_models_save_what_the_parent_saves",
}

# Of those that are the text model of a model that sees, in a suite of their own
PROOFS_THAT_SEE = {
    "test_uniform_is_the_stock_model",
    "test_logits_and_gradients_are_those_of_stock_layers",
    "test_what_it_says_of_a_picture_is_what_stock_layers_say",
    "test_what_is_saved_loads_as_it_was",
}


def test_the_selection_has_every_family_and_every_format():
    command = [sys.executable, "-m", "pytest", "--collect-only", "-o", "addopts=--strict-markers", "-q"]
    done = subprocess.run([*command, "@tests/quick.txt"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]  # what is named is there
    found = [line.partition("::")[2] for line in done.stdout.splitlines() if "::" in line]
    families = [
        path.stem.removeprefix("modeling_heterogeneous_")
        for path in (ROOT / "generated").glob("modeling_heterogeneous_*.py")
    ]
    assert len(families) > 3
    for family in families:
        tests = {test.partition("[")[0] for test in found if f"[{family}-" in test or f"[{family}]" in test}
        assert tests >= (PROOFS_THAT_SEE if "_vl" in family else PROOFS), family
    assert {f"test_there_and_back_is_byte_identical[{name}]" for name in SOURCES} <= set(found)
    own = {each.name for each in recognition.FORMATS if each.name.startswith("heterogeneous_")}
    published = {recognition.recognise(config, name).name for name, (config, _) in SOURCES.items()}
    read_only = {"llm_drop"}
    assert published == {each.name for each in recognition.FORMATS} - own - read_only
    assert len(own) == len([family for family in families if "_vl" not in family])
    assert any(test.startswith("test_it_is_the_parent_without_these_blocks") for test in found)
