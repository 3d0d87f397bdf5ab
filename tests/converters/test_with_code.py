"""`--with-code`: a folder that loads where this package is not installed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import transformers_heterogeneous
from transformers_heterogeneous.converters import CheckpointError, convert

from .checkpoints import CHECKPOINTS, TOKENS, logits
from .published import LAYERS, tensors_of, write_checkpoint


# One of each family -> the heads that its code has
FAMILIES = {
    "llama": ["AutoModel", "CausalLM", "QuestionAnswering", "SequenceClassification", "TokenClassification"],
    "gpt-oss-puzzle": ["AutoModel", "CausalLM", "SequenceClassification", "TokenClassification"],
    "Granite 4": ["AutoModel", "CausalLM"],
    "Nemotron Puzzle": ["AutoModel", "CausalLM"],
}
LOAD = """
import sys
sys.modules["transformers_heterogeneous"] = None
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

found = {}
for name, folder in zip(sys.argv[2::2], sys.argv[3::2]):
    model, report = AutoModelForCausalLM.from_pretrained(
        folder, trust_remote_code=True, output_loading_info=True, attn_implementation="eager"
    )
    assert not any(report.values()), report
    assert type(AutoConfig.from_pretrained(folder, trust_remote_code=True)).__module__.startswith("transformers_modules")
    assert type(AutoModel.from_pretrained(folder, trust_remote_code=True)).__name__.endswith("Model")
    with torch.no_grad():
        found[name] = model.eval()(torch.tensor(TOKENS)).logits
save_file(found, sys.argv[1])
"""


def write(name, folder):
    if name == "llama":
        write_checkpoint(folder, tensors=tensors_of(LAYERS))
    else:
        CHECKPOINTS[name].write(folder)
    return folder


def test_loads_without_the_package(tmp_path):
    arguments = []
    for name, heads in FAMILIES.items():
        report = convert(write(name, tmp_path / name), tmp_path / f"{name}, converted", with_code=True)
        config = json.loads((tmp_path / f"{name}, converted/config.json").read_text())
        suffixes = [head.removeprefix("AutoModelFor") for head in config["auto_map"] if head != "AutoConfig"]
        assert sorted(suffixes) == sorted(heads)
        files = {f"{kind}_{config['model_type']}.py" for kind in ("configuration", "modeling")}
        files.add("configuration_heterogeneous.py")
        assert files <= set(report.written) and not files & {left.name for left in report.not_carried}
        arguments += [name, str(tmp_path / f"{name}, converted")]
    code = LOAD.replace("TOKENS", repr(TOKENS.tolist()))
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "logits"), *arguments], check=True, env=environment, cwd=tmp_path
    )
    found = load_file(tmp_path / "logits")
    for name in FAMILIES:
        assert torch.equal(found[name], logits(tmp_path / f"{name}, converted")), name


def test_code_that_travels_refuses_another_minor_of_transformers(tmp_path):
    write_checkpoint(tmp_path / "source", tensors=tensors_of(LAYERS))
    convert(tmp_path / "source", tmp_path / "converted", with_code=True)
    for module in ("configuration_heterogeneous", "configuration_heterogeneous_llama", "modeling_heterogeneous_llama"):
        code = (
            "import transformers.processing_utils, transformers; transformers.__version__ = '5.1.0'; "
            f"import converted.{module} as module"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode and "ImportError: The code beside this checkpoint was expanded from" in done.stderr
        assert "5.1.0" in done.stderr and "transformers>=" in done.stderr
        same = code.replace("transformers.__version__ = '5.1.0'", "pass")
        subprocess.run([sys.executable, "-c", same], cwd=tmp_path, check=True)


def test_code_for_another_release_is_that_of_a_folder(tmp_path):
    (tmp_path / "expanded").mkdir()
    for path in Path(transformers_heterogeneous.__file__).parent.glob("*_heterogeneous*.py"):
        text = re.sub("Parents: transformers [0-9.]+;", "Parents: transformers 5.1.2;", path.read_text())
        (tmp_path / "expanded" / path.name).write_text(text)
    write_checkpoint(tmp_path / "source", tensors=tensors_of(LAYERS))
    convert(tmp_path / "source", tmp_path / "converted", with_code=tmp_path / "expanded")
    code = (tmp_path / "converted/modeling_heterogeneous_llama.py").read_text()
    assert 'split(".")[:2] != ["5", "1"]' in code and "transformers>=5.1,<5.2" in code
    (tmp_path / "expanded/modeling_heterogeneous_llama.py").unlink()
    with pytest.raises(CheckpointError, match=r"modeling_heterogeneous_llama\.py is not there to be copied"):
        convert(tmp_path / "source", tmp_path / "again", with_code=tmp_path / "expanded")


def test_code_for_the_installed_release_is_the_packages():
    pytest.importorskip("libcst", reason="the generator is an extra")
    from transformers_heterogeneous.scripts.command.releases import with_code_for

    installed = ".".join(transformers_heterogeneous.PARENTS_VERSION.split(".")[:2])
    assert with_code_for(installed, lambda code: 7 if code is True else 0) == 7


def test_code_does_not_travel_by_itself(tmp_path):
    write_checkpoint(tmp_path / "source")
    convert(tmp_path / "source", tmp_path / "with", with_code=True)
    report = convert(tmp_path / "with", tmp_path / "without")
    assert "auto_map" not in json.loads((tmp_path / "without/config.json").read_text())
    assert {left.name for left in report.not_carried if left.reason.startswith("remote code")} == {
        "configuration_heterogeneous.py",
        "configuration_heterogeneous_llama.py",
        "modeling_heterogeneous.py",
        "modeling_heterogeneous_llama.py",
    }
    assert convert(tmp_path / "with", tmp_path / "back", to="nemotron-nas").restored


def test_published_formats_have_code_of_their_own(tmp_path):
    write_checkpoint(tmp_path / "source")
    with pytest.raises(
        CheckpointError, match="--with-code: the code that is there reads heterogeneous_llama, not nemotron-nas"
    ):
        convert(tmp_path / "source", tmp_path / "converted", to="nemotron-nas", with_code=True)
    assert not (tmp_path / "converted").exists()
