"""The example does what it shows, without network, and the notebook of docs/ has its cells."""

import json
import os
import re
import subprocess
import sys

import pytest

from transformers_heterogeneous.scripts.maintenance.notebook import NOTEBOOK, SCRIPT, notebook


WAYS = ("sub-blocks", "width", "KV heads", "target")


def share(words: str) -> float:
    return float(words.rstrip("%"))


@pytest.mark.slow
def test_pruned_models_know_less_and_healed_ones_more(tmp_path):
    pytest.importorskip("trl")
    pytest.importorskip("lm_eval")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, SCRIPT], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    whole = share(re.findall(r"the plain model knows (\S+)%", done.stdout)[0])
    before = int(re.findall(r"^([\d,]+) parameters, loss", done.stdout, flags=re.MULTILINE)[0].replace(",", ""))
    table = done.stdout.partition("pruned  healed\n")[2].splitlines()
    rows = [re.split(r"\s{2,}", row) for row in table]
    assert tuple(row[0] for row in rows) == WAYS
    for _, parameters, pruned, healed in rows:
        assert int(parameters.replace(",", "")) < before
        assert share(pruned) < share(healed) <= whole == 100
    (folder,) = tmp_path.glob("tmp*")
    assert {f"{way}, healed" for way in WAYS} <= {path.name for path in folder.iterdir()}


def test_the_notebook_has_the_scripts_cells():
    shown, made = json.loads(NOTEBOOK.read_text()), notebook(SCRIPT.read_text(), run=False)
    assert [(cell["cell_type"], cell["source"]) for cell in shown["cells"]] == [
        (cell["cell_type"], cell["source"]) for cell in made["cells"]
    ]
    printed = "".join(line for cell in shown["cells"] for each in cell.get("outputs", ()) for line in each["text"])
    assert all(f"\n{way}" in printed for way in WAYS)
