"""The shards that transformers ships, against the files that were generated from them: every byte."""

import importlib.util
import re
from pathlib import Path

import pytest

from transformers_heterogeneous.scripts.modular_converter.run import Run, expand


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


def differing(run: Run) -> list[str]:
    """The files that are expanded to something else than what lies there."""
    return [path.name for path, text in run.files.items() if path.read_text(encoding="utf-8") != text]


def beside(path: Path) -> Path:
    return path.parent


def test_sample() -> None:
    run = expand([MODELS / name / f"modular_{name}.py" for name in SAMPLE], beside)
    assert not run.failed, run.messages()
    assert run.shards == len(SAMPLE)
    assert differing(run) == []


@pytest.mark.slow
def test_whole_corpus() -> None:
    """Every shard expands to what lies beside it, but for shards that name a class which their parent's file has not."""
    shards = sorted(MODELS.glob("*/modular_*.py"))
    assert len(shards) > 300
    run = expand(shards, beside)
    assert run.crashes == []
    errors = [problem for problem in run.problems if not problem.warning]
    for error in errors:
        model, module, name = re.search(r"(\w+)\.(\w+) defines no (\w+)", error.message).groups()
        assert not re.search(rf"^class {name}\b", (MODELS / model / f"{module}.py").read_text(), re.MULTILINE), error
    assert run.shards == len(shards) - len({error.path for error in errors})
    assert differing(run) == []
