"""The shards that transformers ships, against the files that were generated from them: every byte."""

import importlib.util
from pathlib import Path

import pytest

from transformers_heterogeneous.scripts.modular_converter.run import expand


spec = importlib.util.find_spec("transformers")
assert spec and spec.submodule_search_locations
MODELS = Path(spec.submodule_search_locations[0]) / "models"

# Each exercises what the others do not: aliases, several outputs, guards, PIL files, deletions, multiple parents.
SAMPLE = (
    "bamba",
    "conditional_detr",
    "csm",
    "doge",
    "embedding_gemma2",
    "evolla",
    "got_ocr2",
    "laguna",
    "mask2former",
    "mlcd",
    "nemotron_h",
    "neucodec",
    "pp_formulanet",
    "qwen2_5_omni",
    "smolvlm",
    "starcoder2",
    "vivit",
    "x_clip",
    "zamba2",
)


def differing(shards: list[Path]) -> list[str]:
    run = expand(shards, lambda path: path.parent)
    assert not run.failed, run.messages()
    assert run.shards == len(shards)
    return [path.name for path, text in run.files.items() if path.read_text(encoding="utf-8") != text]


def test_sample() -> None:
    assert differing([MODELS / name / f"modular_{name}.py" for name in SAMPLE]) == []


@pytest.mark.slow
def test_whole_corpus() -> None:
    shards = sorted(MODELS.glob("*/modular_*.py"))
    assert len(shards) > 300
    assert differing(shards) == []
