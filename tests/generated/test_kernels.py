"""The parents' kernels are those of our classes: their decorators are there, and local kernels are bound."""

import ast
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

import transformers_heterogeneous

from . import small, small_gpt_oss, small_granite_moe_hybrid, small_nemotron_h, small_qwen3_next


PACKAGE = Path(transformers_heterogeneous.__file__).parent
SMALL = {
    "llama": small,
    "gpt_oss": small_gpt_oss,
    "granite_moe_hybrid": small_granite_moe_hybrid,
    "nemotron_h": small_nemotron_h,
}
DECORATED = {**SMALL, "qwen3_next": small_qwen3_next}
HOOKS = {
    "use_experts_implementation",
    "use_kernel_forward_from_hub",
    "use_kernel_func_from_hub",
    "use_kernel_func_from_hub_with_fallback",
    "use_kernelized_func",
}
# What the parents have, so that a parent whose source is read wrongly does not pass for one without
NUM_HOOKED = {"llama": 3, "gpt_oss": 5, "granite_moe_hybrid": 10, "nemotron_h": 10, "qwen3_next": 7}
FUSED_BLOCKS = {
    "NormMLP": ["use_kernel_forward_from_hub('NormMLP')"],
    "AddRMSNorm": ["use_kernel_forward_from_hub('AddRMSNorm')"],
}


def hooks(path: Path, prefix: str) -> dict[str, list[str]]:
    """The kernel decorators of each class and function of a file, with arguments and without the family's prefix."""
    return {
        node.name.removeprefix(prefix): [ast.unparse(decorator).replace(prefix, "") for decorator in decorators]
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
        and (decorators := [decorator for decorator in node.decorator_list if HOOKS & names(decorator)])
    }


def names(decorator: ast.expr) -> set[str]:
    return {node.id for node in ast.walk(decorator) if isinstance(node, ast.Name)}


@pytest.mark.parametrize("family", DECORATED)
def test_every_kernel_decorator_of_the_parent_is_there(family):
    parent = DECORATED[family].PARENT
    prefix = parent.__name__.removesuffix("ForCausalLM")
    theirs = hooks(Path(importlib.util.find_spec(parent.__module__).origin), prefix)
    ours = hooks(PACKAGE / f"modeling_heterogeneous_{family}.py", f"Heterogeneous{prefix}")
    assert len(theirs) == NUM_HOOKED[family]
    assert ours == theirs | (FUSED_BLOCKS if DECORATED[family].CONFIG.fusable else {})


@pytest.fixture(scope="session")
def results() -> dict:
    """What bind_local_kernels.py reports: it says that `kernels` has another version, which only a new process can."""
    if importlib.util.find_spec("kernels") is None:
        pytest.skip("kernels is not installed")
    program = [sys.executable, "-m", "tests.generated.bind_local_kernels"]
    done = subprocess.run(program, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def expected_calls(family: str, fused_blocks: list[str]) -> dict[str, int]:
    """In one forward, by what the layers are made of."""
    config = SMALL[family].CONFIG(**SMALL[family].MIXED)
    mixers, mlps = config.mixer_types, config.mlp_types
    moe = [fused_block for mlp, fused_block in zip(mlps, fused_blocks, strict=True) if mlp == "moe"]
    num_norms = sum(kind != "none" for kind in mixers + mlps) + 1
    num_fused = {
        name: fused_blocks.count(block) for name, block in (("NormMLP", "norm_mlp"), ("AddRMSNorm", "add_norm"))
    }
    counts = {
        "RMSNorm": num_norms - sum(num_fused.values()),
        **num_fused,
        # The attention of Nemotron-H has the decorator, but no positions
        "rotary_pos_emb": mixers.count("attention") * (family != "nemotron_h"),
        "MegaBlocksMoeMLP": sum(block != "norm_mlp" for block in moe) * (family == "gpt_oss"),
        "causal_conv1d_fn": mixers.count("mamba"),
        "mamba_chunk_scan_combined": mixers.count("mamba"),
    }
    return {name: count for name, count in counts.items() if count}


@pytest.mark.parametrize("family", SMALL)
def test_local_kernels_are_bound(results, family):
    report = results[family]
    assert report["forward"] == expected_calls(family, report["fused_blocks"])
    if "mamba" in SMALL[family].MIXED["mixer_types"]:
        # Decoding with a cache, training without
        assert report["all"].keys() >= {"causal_conv1d_update", "selective_state_update"}
        assert "mamba_split_conv1d_scan_combined" in report["all"]
    assert report["difference"] == 0.0


@pytest.mark.parametrize("family", SMALL)
def test_kernels_stay_with_their_model(results, family):
    report = results[family]
    assert report["of_another_family"] == {} and report["difference_of_another_family"] == 0.0
    # Functions have no model of their own: `kernels` binds them for all models of the family
    functions = set(report["all"]) - {"RMSNorm", "NormMLP", "AddRMSNorm", "MegaBlocksMoeMLP"}
    assert set(report["of_the_family_unbound"]) == functions
    assert report["taken_off"] == {}


def test_a_kernel_that_does_not_fit_is_named(results):
    """By `kernels` itself."""
    for part in ("local_kernels", "OfOneArgument", "HeterogeneousLlamaAddRMSNorm", "different number of arguments"):
        assert part in results["unfit"]


def test_the_plain_layer_adds_and_norms_in_a_row():
    """`h = residual + h; residual = h; h = norm(h)` is what vLLM looks for to fuse the two."""
    for family in ("llama", "gpt_oss", "granite_moe_hybrid"):
        source = (PACKAGE / f"modeling_heterogeneous_{family}.py").read_text()
        statements = [line.strip() for line in source.splitlines()]
        statements = [line for line in statements if line and not line.startswith(("if ", "else", "elif "))]
        rows = [statements[idx : idx + 3] for idx, line in enumerate(statements) if "= residual + hidden" in line]
        scaled = " * self.residual_multiplier" if family == "granite_moe_hybrid" else ""
        assert [
            f"hidden_states = residual + hidden_states{scaled}",
            "residual = hidden_states",
            "hidden_states = self.post_attention_layernorm(hidden_states)",
        ] in rows, family
