"""The notebooks of docs/: the cells of examples, with what they printed when they were run."""

import contextlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "examples" / "prune_and_heal" / "prune_and_heal.py"
NOTEBOOK = ROOT / "docs" / "prune_and_heal.ipynb"
SCRIPTS = {SCRIPT: NOTEBOOK, ROOT / "examples" / "load_pruned.py": ROOT / "docs" / "load_pruned.ipynb"}
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def cells(script: str) -> Iterator[tuple[str, str]]:
    """The cells of a script with lines `# %%` and `# %% [markdown]`, as (kind, text)."""
    for cell in script.split("# %%")[1:]:
        head, _, text = cell.partition("\n")
        if "markdown" in head:
            yield "markdown", "\n".join(line.removeprefix("#").removeprefix(" ") for line in text.strip().splitlines())
        else:
            yield "code", text.strip()


def notebook(script: str, run: bool = True) -> dict[str, Any]:
    """A notebook of these cells, run one after another."""
    names: dict[str, Any] = {"__name__": "__main__"}
    found = []
    for number, (kind, text) in enumerate(cells(script)):
        cell: dict[str, Any] = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}}
        cell["source"] = text.splitlines(keepends=True)
        if kind == "code":
            printed = io.StringIO()
            if run:
                with contextlib.redirect_stdout(printed):
                    exec(compile(text, "cell", "exec"), names)
            stream = {"name": "stdout", "output_type": "stream", "text": printed.getvalue().splitlines(keepends=True)}
            cell |= {"execution_count": None, "outputs": [stream] if printed.getvalue() else []}
        found.append(cell)
    return {"cells": found, "metadata": {"kernelspec": KERNEL}, "nbformat": 4, "nbformat_minor": 5}


def main() -> None:
    """Write those whose names are given, or all."""
    for script, path in SCRIPTS.items():
        if not sys.argv[1:] or script.stem in sys.argv[1:]:
            path.write_text(json.dumps(notebook(script.read_text()), indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
