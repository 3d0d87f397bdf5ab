"""Random shards, executed as Python modules and expanded: the same to their users, or an error with a place; never different."""

import inspect
import os
from pathlib import Path
from types import FunctionType

import pytest

from transformers_heterogeneous.scripts.command import oracle

from .merges import BASE, Merge, behaviour
from .toybox import Toy


NUMBER = int(os.environ.get("RANDOM_MERGES", "300"))


@pytest.mark.parametrize("start", [0])
def test_a_random_shard_means_what_it_says(toy: Toy, start: int, capsys: pytest.CaptureFixture[str]) -> None:
    merges = {f"new{seed}": Merge(seed) for seed in range(start, start + NUMBER)}
    toy.parent("base", BASE)
    paths = {}
    for name, merge in merges.items():
        toy.write(toy.root / "toy" / f"m{merge.seed}" / "__init__.py", "")
        toy.write(toy.root / "toy" / f"m{merge.seed}" / "modeling_zz.py", merge.parent)
        toy.write(toy.shards / name / "modular_new.py", merge.shard)
        paths[toy.shards / name / "modular_new.py"] = merge
    run = toy.run(*paths)
    assert run.crashes == [], run.crashes[0].message
    refused = {problem.path for problem in run.problems if not problem.warning}
    assert all(problem.line > 1 for problem in run.problems), run.messages()
    counts = {"tried": len(paths), "equal": 0, "refused": len(refused), "different": 0}
    differing = []
    for path in sorted(paths.keys() - refused):
        outcome = compare(path, run.files, toy)
        counts["different" if outcome else "equal"] += 1
        if outcome:
            differing.append(f"seed {paths[path].seed}: {outcome}\n{paths[path].parent}\n{paths[path].shard}")
    with capsys.disabled():
        print(f"\nrandom merges: {counts}")
    assert not differing, f"{len(differing)}: " + "\n".join(differing[:3])
    assert counts["equal"] > counts["tried"] / 2


def compare(path: Path, files: dict[Path, str], toy: Toy) -> str:
    """What a user could tell a shard and its expansion apart by, empty when nothing."""
    for file, text in files.items():
        if file.parent == path.parent:
            file.write_text(text, encoding="utf-8")
    try:
        pair = oracle.load(path, path.parent)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    for name, executed, expanded in pair.classes():
        skip = {each for each, value in oracle.public(executed).items() if oracle.is_deletion(value)}
        keywords = {each for each, value in oracle.public(executed).items() if takes(value, "super_kwargs")}
        skip |= {each for each in keywords if not takes(oracle.public(expanded).get(each), "x")} - {"__init__"}
        first, second = (behaviour(each, pair.canonical, skip, keywords) for each in (executed, expanded))
        for key in [*first, *(second.keys() - first.keys())]:
            if first.get(key) != second.get(key):
                return f"{name} {key}: executed {first.get(key)}, expanded {second.get(key)}\n{files[path.parent / 'modeling_new.py']}"
    return ""


def takes(function: object, parameter: str) -> bool:
    """Whether a method has a parameter."""
    return isinstance(function, FunctionType) and parameter in inspect.signature(function).parameters
