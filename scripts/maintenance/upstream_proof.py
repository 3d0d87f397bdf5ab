"""Families in a source tree of transformers: exported, checked, and their tests run there beside their parents' (make upstream).

    python -m transformers_heterogeneous.scripts.maintenance.upstream_proof [CHECKOUT] [FAMILY...]

Without a checkout the sdist of the installed release is downloaded and unpacked, which has no tests of models: then families
are exported, checked and imported. With one that has `tests/causal_lm_tester.py`, the tests are run, one family at a time.
"""

import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from ..command.export import shard_of
from ..modular_converter.shards.shard import model_of
from ..upstreaming.exporting import parents_of
from ..upstreaming.source_tree import SourceTree
from ..upstreaming.tree_imports import tree_model


FAMILIES = ("llama", "gpt_oss", "granite_moe_hybrid", "nemotron_h")
FOLDER = Path(".upstream")
COUNTED = ("passed", "failed", "skipped", "error")
IMPORTED = """
import sys, transformers
from transformers import AutoConfig, AutoModelForCausalLM
for name in sys.argv[1:]:
    config = AutoConfig.for_model(name)
    assert AutoModelForCausalLM._model_mapping[type(config)].__module__.startswith("transformers.models."), name
assert "transformers_heterogeneous" not in sys.modules
print(f"{len(sys.argv) - 1} families in {transformers.__file__}")
"""


def main(arguments: Sequence[str]) -> int:
    """Export, check, import, test; 1 where a test fails."""
    given = [Path(each) for each in arguments[:1] if (Path(each) / "src" / "transformers").is_dir()]
    tree = SourceTree(given[0] if given else unpacked_sdist())
    families = arguments[len(given) :] or FAMILIES
    ours = [shard_of(family) for family in families]
    models = [tree_model(shard) for shard in ours]
    hetero = [str(Path(sys.executable).with_name("hetero"))]
    shards = [tree.models / model / f"modular_{model}.py" for model in models]
    run([*hetero, "export", "--transformers", str(tree.root), *families])
    run([*hetero, "check", *map(str, shards)])
    run([sys.executable, "-c", IMPORTED, *map(model_of, ours)], tree)
    if not (tree.root / "tests" / "causal_lm_tester.py").is_file():
        print(f"{tree.root} has no tests of models: they are not run")
        return 0
    failed = False
    print(f"{'':36}" + "".join(f"{each:>9}" for each in COUNTED))
    for model, shard in zip(models, shards, strict=True):
        parent = next(
            name for name in parents_of(shard.read_text(encoding="utf-8")) if not name.startswith("heterogeneous_")
        )
        for name in (parent, model):
            counts = tested(tree, name)
            print(f"{name:36}" + "".join(f"{counts[each]:>9,}" for each in COUNTED), flush=True)
            failed |= name == model and bool(counts["failed"] + counts["error"])
    return int(failed)


def unpacked_sdist() -> Path:
    """The source tree that the installed release was published as."""
    release = version("transformers")
    FOLDER.mkdir(exist_ok=True)
    name = f"transformers-{release}"
    if not (FOLDER / name).is_dir():
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-binary", ":all:", "--no-deps"]
        run([*pip, f"transformers=={release}", "--dest", str(FOLDER)])
        with tarfile.open(FOLDER / f"{name}.tar.gz") as archive:
            archive.extractall(FOLDER, filter="data")
    return FOLDER / name


def environment(tree: SourceTree) -> dict[str, str]:
    """One in which `transformers` is the tree."""
    return {
        **os.environ,
        "PYTHONPATH": str((tree.root / "src").resolve()),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }


def run(command: Sequence[str], tree: SourceTree | None = None) -> None:
    subprocess.run(command, check=True, env=environment(tree) if tree else None)


def tested(tree: SourceTree, model: str) -> dict[str, int]:
    """What a model's tests come to; what is skipped, and why, is in a log beside them."""
    tests = f"tests/models/{model}/test_modeling_{model}.py"
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", tests]
    done = subprocess.run(command, cwd=tree.root, env=environment(tree), capture_output=True, text=True, check=False)
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{model}.log").write_text(done.stdout + done.stderr, encoding="utf-8")
    last = done.stdout.splitlines()[-1:] or [""]
    return {each: int(found[1]) if (found := re.search(rf"(\d+) {each}", last[0])) else 0 for each in COUNTED}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
