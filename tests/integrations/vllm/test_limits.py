"""What vLLM is kept from serving, and how it is said; and the configs that its modules read. Without vLLM."""

from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace

import pytest

import transformers_heterogeneous
from transformers import AutoConfig
from transformers_heterogeneous.integrations.vllm import UnservedError, register
from transformers_heterogeneous.integrations.vllm.limits import (
    ARCHITECTURES,
    architecture,
    engine_problems,
    model_problems,
    refuse,
)
from transformers_heterogeneous.integrations.vllm.views import largest, only_layer, without_layers


# No wheel has it, nor what reads imports beside it
vllm_proof = pytest.importorskip("transformers_heterogeneous.scripts.maintenance.vllm_proof")
imports = pytest.importorskip("tests.imports")

HOUSE = Path(__file__).resolve().parents[3]
DATA = HOUSE / "tests" / "data"
VLLM = HOUSE / "integrations" / "vllm"
PACKAGE = "transformers_heterogeneous"
# Of the cases that `make vllm` runs, those whose row in docs/vllm.md is a sentence of ours
REFUSED = {
    ("Llama", "activation, dynamic RoPE"): 2,
    ("Qwen3", "biases"): 1,
    ("GptOss", "no biases, another limit"): 2,
    ("GraniteMoeHybrid", "groups of mamba heads"): 1,
    ("GraniteMoeHybrid", "experts and two stages"): 2,
}


def processes(tensor: int = 1, stages: int = 1, experts: bool = False) -> SimpleNamespace:
    return SimpleNamespace(tensor_parallel_size=tensor, pipeline_parallel_size=stages, enable_expert_parallel=experts)


def problems(case: vllm_proof.Case) -> list[str]:
    options = {"max_model_len": 128, **case.options}
    asked = processes(
        options.get("tensor_parallel_size", 1),
        options.get("pipeline_parallel_size", 1),
        options.get("enable_expert_parallel", False),
    )
    return [*model_problems(case.config, options["max_model_len"]), *engine_problems(case.config, asked, False)]


def config_of(family: str, **fields):
    return vllm_proof.Case(family, "", fields).config


@pytest.mark.parametrize("case", vllm_proof.CASES, ids=lambda case: f"{case.family}: {case.layers}")
def test_what_the_proof_shows_is_served_and_the_rest_is_refused(case):
    assert len(problems(case)) == REFUSED.get((case.family, case.layers), 0)


YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}
BETAS = {"beta_fast": 32.0, "beta_slow": 1.0}
LONGROPE = {"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 256} | {
    "short_factor": [1.0] * 16,
    "long_factor": [2.0] * 16,
}


@pytest.mark.parametrize(
    ("family", "fields", "said"),
    [
        ("Llama", {"hidden_act": "gelu"}, ["hidden_act is 'gelu'"]),
        ("Llama", {"rope_parameters": LONGROPE}, []),
        ("Llama", {"rope_parameters": LONGROPE | {"original_max_position_embeddings": 100}}, ["--max-model-len 100"]),
        ("Llama", {"rope_parameters": LONGROPE | {"factor": 7.0}}, ["factor is 7.0"]),
        ("Llama", {"rope_parameters": {**YARN, "partial_rotary_factor": 0.5}}, ["partial_rotary_factor is 0.5"]),
        ("Llama", {"quantization_config": {"quant_method": "gptq"}}, ["'gptq'"]),
        ("Mistral", {"hidden_act": "gelu"}, ["hidden_act is 'gelu'"]),
        ("Qwen2", {"hidden_act": "relu", "rope_parameters": LONGROPE}, ["hidden_act is 'relu'"]),
        ("Qwen3", {"attention_bias": True, "hidden_act": "gelu"}, ["hidden_act is 'gelu'", "attention_bias is True"]),
        ("GptOss", {"quantization_config": {"quant_method": "mxfp4"}}, []),
        ("GptOss", {"tie_word_embeddings": True, "swiglu_alpha": 1.0}, ["swiglu_alpha is 1.0", "tie_word_embeddings"]),
        ("GptOss", {"rope_parameters": YARN}, ["YaRN alone, with all of"]),
        ("GptOss", {"rope_parameters": {**YARN, **BETAS, "attention_factor": 1.0}}, ["attention_factor is 1.0"]),
        ("GptOss", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}, ["YaRN alone"]),
        ("GraniteMoeHybrid", {"head_dim": 16}, ["head_dim is 16"]),
        ("GraniteMoeHybrid", {"time_step_limit": (0.1, 1.0)}, ["time_step_limit is (0.1, 1.0)"]),
        ("GraniteMoeHybrid", {"hidden_act": "gelu"}, ["hidden_act is 'gelu'"]),
        ("NemotronH", {"mlp_hidden_act": "silu"}, ["mlp_hidden_act is 'silu'"]),
        ("NemotronH", {"mlp_types": ["none", "moe", "none", "none", "none"], "mlp_bias": True}, ["mlp_bias is True"]),
        ("NemotronH", {"mlp_bias": True}, []),
    ],
)
def test_what_is_computed_otherwise_is_refused_by_name(family, fields, said):
    found = list(model_problems(config_of(family, **fields), 128))
    assert len(found) == len(said)
    assert all(word in problem for word, problem in zip(said, found, strict=True))


@pytest.mark.parametrize(
    ("family", "asked", "said"),
    [
        ("Llama", processes(tensor=4), []),
        ("Llama", processes(tensor=3), ["intermediate_size", "num_attention_heads", "num_key_value_heads"]),
        ("GptOss", processes(tensor=4), ["num_key_value_heads of these layers: {0: 2, 1: 2, 3: 2}"]),
        ("NemotronH", processes(tensor=4), ["n_groups = 2"]),
        ("NemotronH", processes(stages=2), []),
        ("GraniteMoeHybrid", processes(stages=2), ["pipeline_parallel_size is 2"]),
        ("GptOss", processes(experts=True), ["enable_expert_parallel"]),
    ],
)
def test_processes_among_which_layers_do_not_divide_are_refused(family, asked, said):
    found = sorted(engine_problems(config_of(family), asked, adapters=False))
    assert len(found) == len(said)
    assert all(word in problem for word, problem in zip(said, found, strict=True))


def test_adapters_are_refused():
    assert ["merge_and_unload" in problem for problem in engine_problems(config_of("Llama"), processes(), True)] == [
        True
    ]


def test_all_that_is_wrong_is_said_at_once():
    config = config_of("Llama", hidden_act="gelu", quantization_config={"quant_method": "awq"})
    with pytest.raises(UnservedError) as refusal:
        refuse(config, model_problems(config, 128))
    lines = str(refusal.value).splitlines()
    assert lines[0] == "heterogeneous_llama cannot be served by vLLM as it is:"
    assert len(lines) == 3
    refuse(config, [])


def test_published_configs_are_served_by_the_class_of_their_family():
    published = {
        "nvidia--Llama-3_3-Nemotron-Super-49B-v1": "HeterogeneousLlamaForCausalLM",
        "Deci--DeciLM-7B": "HeterogeneousLlamaForCausalLM",
        "nvidia--gpt-oss-puzzle-88B": "HeterogeneousGptOssForCausalLM",
    }
    for name, served in published.items():
        config = AutoConfig.from_pretrained(DATA / f"{name}.json")
        assert config.architectures != [served] and architecture(config) == served
        assert not list(model_problems(config, config.max_position_embeddings))
    other = config_of("Llama")
    other.architectures = ["HeterogeneousLlamaForSequenceClassification"]
    with pytest.raises(UnservedError, match="HeterogeneousLlamaForSequenceClassification"):
        architecture(other)


def test_a_layer_says_that_it_is_all_that_there_is():
    config = config_of("NemotronH", ssm_state_size=16)
    layer = only_layer(config, 3)
    assert (layer.num_hidden_layers, layer.mixer_types, layer.mlp_types) == (1, ["none"], ["dense"])
    assert layer.hybrid_override_pattern == "-"  # of the whole there is none: its last layer is empty
    assert without_layers(config).hybrid_override_pattern == ""
    assert config.num_hidden_layers == 5


def test_readers_of_one_number_get_the_largest():
    config = config_of("GptOss", num_local_experts=[4, None, 8, 6], num_experts_per_tok=[2, None, 2, 3])
    found = largest(config)
    assert (found.num_local_experts, found.num_experts_per_tok, found.intermediate_size) == (8, 3, 64)
    assert config.num_local_experts == [4, None, 8, 6]


def test_vllm_finds_the_plug_in():
    found = [
        each for each in entry_points(group="vllm.general_plugins") if each.dist.name == "transformers-heterogeneous"
    ]
    assert [each.load() for each in found] == [register]


def test_there_is_a_class_for_each_family():
    for model_type, name in ARCHITECTURES.items():
        assert hasattr(transformers_heterogeneous, name)
        path = VLLM / f"{model_type.removeprefix('heterogeneous_')}.py"
        assert f"class {name}(" in path.read_text()


def test_nothing_needs_vllm_but_what_vllm_imports():
    found = imports.imports_of(imports.modules_of(VLLM))
    free = {module for module, each in found.items() if not any(name.startswith("vllm") for name in each.others)}
    assert {module for module in free if "llama" not in found[module].ours} == {"limits", "views"}
    assert found[""].ours == {"limits", "config_hooks"}  # the former inside `register`
    for folder in ("converters", "generated", "modular"):
        for module, each in imports.imports_of(imports.modules_of(HOUSE / folder)).items():
            found = [name for name in (*each.ours, *each.others) if "vllm" in name]
            assert found == ([f"{PACKAGE}.integrations.vllm.limits"] if module == "runtimes" else []), (
                f"{folder}: {module}"
            )


def test_the_proof_finds_what_was_said():
    refused = "(EngineCore pid=7) x\npackage.limits.UnservedError: family cannot be served:\nfield is 1\nother is 2\n"
    assert vllm_proof.what_was_said(refused) == "family cannot be served: / field is 1 / other is 2"
    raised = "(Worker pid=12) ERROR 11-27 02:09:56 [executor.py:953] NotImplementedError: not here\nRuntimeError: see above\n"
    assert vllm_proof.what_was_said(raised) == "NotImplementedError: not here"
    assert vllm_proof.what_was_said("killed\n") == "killed"
