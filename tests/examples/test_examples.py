"""The short examples run, without a network, and print what they are for."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from transformers_heterogeneous.scripts.maintenance.notebook import SCRIPTS, notebook


EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PRINTED = {
    "compare_models": [
        "the same tensors: True",
        "65 of 65 tensors are equal, they part at None",
        "38 of 67 tensors are equal, they part at model.layers.2.self_attn.k_norm",
        "behind model.layers.1: 0.0000",
    ],
    "load_pruned": [
        "transformers: RuntimeError: the shapes are not the config's",
        "intermediate_size: [128, 64, 32, 128]",
        "num_attention_heads: [8, 8, 8, 4]",
        "num_key_value_heads: [4, 4, 4, 2]",
        "HeterogeneousLlamaForCausalLM",
        "[0, 1, 2, 3, 4, 5, 6, 7] and four more",
    ],
    "own_family": [
        "1 shards, 4 files, 4 identical",
        "ScaledQwen3ForCausalLM, scale 1.0: equal to Qwen3: True",
        "ScaledQwen3ForCausalLM, scale 0.5: equal to Qwen3: False",
    ],
    "serve_and_query": ["chat.completion: 5 tokens", "True"],
}
NEEDED = {"serve_and_query": ("fastapi", "uvicorn", "openai")}


def test_every_example_is_tried() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == PRINTED.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", PRINTED)
def test_it_prints_what_it_is_for(name: str, tmp_path: Path) -> None:
    for module in NEEDED.get(name, ()):
        pytest.importorskip(module)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "TMPDIR": str(tmp_path)}
    command = [sys.executable, EXAMPLES / f"{name}.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert [line for line in PRINTED[name] if line not in lines] == []


def test_the_notebooks_have_the_cells_of_their_scripts() -> None:
    for script, path in SCRIPTS.items():
        shown, made = json.loads(path.read_text()), notebook(script.read_text(), run=False)
        kinds = [[(cell["cell_type"], cell["source"]) for cell in each["cells"]] for each in (shown, made)]
        assert kinds[0] == kinds[1], path.name


def test_a_notebook_is_run_and_prints_what_it_shows() -> None:
    script = next(each for each in SCRIPTS if each.stem == "load_pruned")
    printed = [
        ["".join(output["text"]) for cell in each["cells"] for output in cell.get("outputs", ())]
        for each in (json.loads(SCRIPTS[script].read_text()), notebook(script.read_text()))
    ]
    assert printed[0] == printed[1]
