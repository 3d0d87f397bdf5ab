"""The engine where neither torch nor transformers, nor any format or family, can be imported: it reads, plans and writes."""

import subprocess
import sys

import torch
from safetensors.torch import load_file, save_file


PROGRAM = """
import importlib.util, sys
from pathlib import Path
from pkgutil import iter_modules

class Refusing:
    def find_spec(self, name, path=None, target=None):
        package = "transformers_heterogeneous.converters"
        if name.split(".")[0] in ("torch", "transformers", "safetensors") or name.startswith(
            (f"{package}.formats", f"{package}.families")
        ):
            raise ImportError(f"{name} is out of reach")

sys.meta_path.insert(0, Refusing())
spec = importlib.util.find_spec("transformers_heterogeneous")
sys.modules["transformers_heterogeneous"] = importlib.util.module_from_spec(spec)  # as the command does
from transformers_heterogeneous.converters import CheckpointError, engine

for module in iter_modules(engine.__path__):
    importlib.import_module(f"{engine.__name__}.{module.name}")
try:
    import torch
except ImportError:
    pass
else:
    raise AssertionError("torch can be imported, so nothing is shown")

from transformers_heterogeneous.converters.engine.plan import in_files, plan_weights, read_tensors, with_names
from transformers_heterogeneous.converters.engine.tensor_plan import cast
from transformers_heterogeneous.converters.engine.rendering import no_arithmetic, render
from transformers_heterogeneous.converters.engine.open_files import held
from transformers_heterogeneous.converters.engine.weights import read_weights
from transformers_heterogeneous.converters.engine.writing import write_files

source, target = map(Path, sys.argv[1:])
weights = read_weights(source)
tensors, dropped = read_tensors(weights, {"old.": "new."}, {"*.gone": "not wanted"})
files = in_files(with_names(tensors.values(), {}), lambda tensor: tensor.file)
plan = plan_weights(files, weights, dropped, ())
with held(weights) as opened:
    write_files(plan.files, opened, target, "copy", 1, no_arithmetic, lambda num_bytes: None)
try:
    list(render(cast(tensors["b"], "F32"), opened.readings, no_arithmetic))
except CheckpointError as error:
    assert "to cast it, something has to compute" in str(error)
else:
    raise AssertionError("nothing was refused")
print([tensor.name for tensor in dropped])
"""


def test_it_renames_and_drops_tensors(tmp_path):
    tensors = {"old.a": torch.randn(3, 5), "old.gone": torch.ones(2), "b": torch.arange(7)}
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    command = [sys.executable, "-c", PROGRAM, source, target]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['old.gone']"
    found = load_file(target / "model.safetensors")
    assert found.keys() == {"new.a", "b"}
    assert torch.equal(found["new.a"], tensors["old.a"]) and torch.equal(found["b"], tensors["b"])
