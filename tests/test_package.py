"""What a user gets: registration on import, a command that starts quickly, a wheel with one package."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


ROOT = Path(__file__).resolve().parent.parent


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_importing_registers_with_the_auto_classes():
    code = """
import transformers_heterogeneous as th
th.register()  # a second time, as a server's entry point does
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForQuestionAnswering
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoModelForTokenClassification
config = AutoConfig.for_model("heterogeneous_llama", num_hidden_layers=1, hidden_size=8, num_attention_heads=2,
                              intermediate_size=8, vocab_size=8)
for auto in (AutoModel, AutoModelForCausalLM, AutoModelForQuestionAnswering, AutoModelForSequenceClassification,
             AutoModelForTokenClassification):
    print(type(auto.from_config(config)).__name__)
print(AutoConfig.for_model("nemotron-nas").model_type, AutoConfig.for_model("deci").model_type)
from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING
print(AUTO_QUANTIZER_MAPPING["mxfp4"].__name__)
"""
    assert run(code).split() == [
        "HeterogeneousLlamaModel",
        "HeterogeneousLlamaForCausalLM",
        "HeterogeneousLlamaForQuestionAnswering",
        "HeterogeneousLlamaForSequenceClassification",
        "HeterogeneousLlamaForTokenClassification",
        "nemotron-nas",
        "deci",
        "HeterogeneousGptOssMxfp4HfQuantizer",
    ]


def test_the_command_and_the_generator_start_without_torch():
    code = """
import sys, hetero
sys.argv = ["hetero", "check", "--json"]
try:
    hetero.main()
except SystemExit as stop:
    assert stop.code == 0, stop.code
assert not {"torch", "transformers", "transformers.models"} & set(sys.modules)
"""
    assert json.loads(run(code))["differing"] == []


@pytest.mark.slow
def test_the_wheel_holds_one_package_and_the_launcher(tmp_path):
    command = ["pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, ROOT]
    subprocess.run([sys.executable, "-m", *command], check=True)
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    top_level = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert top_level == {"hetero.py", "transformers_heterogeneous"}
    expected = (
        "py.typed",
        "modeling_heterogeneous_llama.py",
        "modular/modular_heterogeneous_llama.py",
        "converters/__init__.py",
    )
    assert {f"transformers_heterogeneous/{name}" for name in expected} <= set(names)
