"""
Binds the kernels of tests/data/local_kernels to a mixed model of each family and prints, as JSON, what happened.

A program of its own, run by test_kernels.py: transformers 5.24 asks for a version of `kernels` that is not published
(0.18.2) and takes it for absent otherwise. The least that the release asks for is told here, before transformers is
imported, and holds for the process.
"""

import importlib.metadata
import json
import sys
from pathlib import Path

from packaging.requirements import Requirement


version = importlib.metadata.version
asked = next(each for each in map(Requirement, importlib.metadata.requires("transformers")) if each.name == "kernels")
least = next(each.version for each in asked.specifier if each.operator == ">=")
importlib.metadata.version = lambda name: least if name == "kernels" else version(name)

import torch  # noqa: E402
from kernels import LocalLayerRepository, Mode, kernelize, use_kernel_mapping  # noqa: E402

from . import small, small_gpt_oss, small_granite_moe_hybrid, small_nemotron_h  # noqa: E402


KERNELS = Path(__file__).parents[1] / "data" / "local_kernels"
MAMBA = {
    "causal_conv1d_fn": "CausalConv",
    "causal_conv1d_update": "CausalConvUpdate",
    "mamba_chunk_scan_combined": "ChunkScan",
    "mamba_split_conv1d_scan_combined": "SplitConvScan",
    "selective_state_update": "StateUpdate",
}
COMMON = {"RMSNorm": "RMSNorm", "AddRMSNorm": "AddRMSNorm", "rotary_pos_emb": "Rotary"}
FAMILIES = {  # the small models, the kernels by what they are bound to, how each layer is fused
    "llama": (
        small,
        COMMON | {"NormMLP": "GatedNormMLP"},
        ["norm_mlp", "add_norm", "norm_mlp", "none", "none", "none", "none", "add_norm"],
    ),
    "gpt_oss": (
        small_gpt_oss,
        COMMON | {"rotary_pos_emb": "HalfRotary", "NormMLP": "RoutedNormMLP", "MegaBlocksMoeMLP": "RoutedMLP"},
        ["norm_mlp", "add_norm", "norm_mlp", "none", "none", "none", "none", "add_norm"],
    ),
    "granite_moe_hybrid": (
        small_granite_moe_hybrid,
        COMMON | MAMBA | {"NormMLP": "PackedNormMLP"},
        ["none", "norm_mlp", "add_norm", "none", "none", "add_norm", "none", "add_norm"],
    ),
    "nemotron_h": (small_nemotron_h, COMMON | MAMBA, None),
}


def calls() -> dict[str, int]:
    """How often each kernel ran since this was last asked."""
    counter = sys.modules["_local_kernels_cpu_1"].layers.calls
    counts = dict(counter)
    counter.clear()
    return counts


def bind(model, names: dict[str, str]):
    mapping = {
        name: {"cpu": {Mode.INFERENCE: LocalLayerRepository(KERNELS, layer_name=names[name])}} for name in names
    }
    with use_kernel_mapping(mapping, inherit_mapping=False):
        kernelize(model, mode=Mode.INFERENCE, device="cpu")


def run(model, tokens) -> list[torch.Tensor]:
    """Without a cache, with it, and in training mode, which has its own path through mamba layers."""
    logits = [model.eval()(tokens).logits]
    generated = model.generate(
        tokens, max_new_tokens=4, do_sample=False, output_logits=True, return_dict_in_generate=True
    )
    return [*logits, *generated.logits, model.train()(tokens, use_cache=False).logits]


@torch.no_grad()
def bind_family(name: str) -> dict:
    family, names, fused_blocks = FAMILIES[name]
    other = FAMILIES["gpt_oss" if name == "llama" else "llama"][0]
    tokens = torch.randint(2, 126, (2, 14), generator=torch.Generator().manual_seed(1))
    fields = {**family.MIXED, "fused_blocks": fused_blocks}
    model, unbound, of_another = family.build(fields), family.build(fields), other.build(other.MIXED)
    expected, expected_other = run(model, tokens), run(of_another, tokens)

    bind(model, names)
    calls()
    model.eval()(tokens)
    report = {"fused_blocks": fused_blocks or ["none"] * model.config.num_hidden_layers, "forward": calls()}
    outputs = run(model, tokens)
    report["all"] = calls()
    report["difference"] = max(
        (ours - theirs).abs().max().item() for ours, theirs in zip(outputs, expected, strict=True)
    )
    other_outputs = run(of_another, tokens)
    report["of_another_family"] = calls()
    report["difference_of_another_family"] = max(
        (ours - theirs).abs().max().item() for ours, theirs in zip(other_outputs, expected_other, strict=True)
    )
    run(unbound, tokens)
    report["of_the_family_unbound"] = calls()
    bind(model, {})
    run(model, tokens)
    report["taken_off"] = calls()
    return report


def message(names: dict[str, str]) -> str:
    """What is said of kernels that do not fit."""
    try:
        bind(small.build({**small.UNIFORM, "fused_blocks": "add_norm"}), names)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


if __name__ == "__main__":
    torch.set_num_threads(1)
    results = {name: bind_family(name) for name in FAMILIES}
    results["unfit"] = message({"AddRMSNorm": "OfOneArgument"})
    print(json.dumps(results))
