"""What a kernel in the place of a fused block gains: compiled ones of tests/data/local_kernels, bound by `kernelize`."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from .measure import TASKS, Row, compare, model
from .models import LLAMA


KERNELS = Path(__file__).resolve().parents[2] / "tests" / "data" / "local_kernels"
# Fused block -> where it sits in a layer, what a row calls it unfused, its name for kernels, the kernel
BLOCKS = {
    "norm_mlp": ("mlp", "MLP", "NormMLP", "CompiledNormMLP"),
    "add_norm": ("post_attention_layernorm", "norm", "AddRMSNorm", "CompiledAddRMSNorm"),
}
# transformers 5.24 asks for a version of `kernels` that is not published, and takes it for absent otherwise. That has to
# be told before transformers is imported, so in a process of its own.
CHILD = """
import importlib.metadata
version = importlib.metadata.version
importlib.metadata.version = lambda name: "0.18.2" if name == "kernels" else version(name)
from transformers_heterogeneous.scripts.bench.kernels import print_rows
print_rows()
"""


def rows() -> Iterator[Row]:
    """The rows of `make bench`, measured in a new process."""
    done = subprocess.run([sys.executable, "-c", CHILD], check=True, stdout=subprocess.PIPE)
    yield from map(tuple, json.loads(done.stdout))


def print_rows() -> None:
    """Measure, and print the rows as JSON."""
    torch.set_num_threads(1)
    with torch.no_grad():
        print(json.dumps(list(measured())))


def measured() -> Iterator[Row]:
    from kernels import LocalLayerRepository, Mode, kernelize, use_kernel_mapping  # type: ignore[import-untyped]

    from transformers_heterogeneous import HeterogeneousLlamaConfig, HeterogeneousLlamaForCausalLM

    logging.getLogger("kernels").setLevel(logging.ERROR)  # it names every layer without a kernel
    tokens = torch.arange(128)[None]
    for block, (place, unfused, name, kernel) in BLOCKS.items():
        plain, compiled, fused = (
            model(HeterogeneousLlamaForCausalLM, HeterogeneousLlamaConfig(**LLAMA, fused_blocks=fused_blocks))
            for fused_blocks in ("none", "none", block)
        )
        for layer in compiled.base_model.layers:
            getattr(layer, place).compile()
        mapping = {name: {"cpu": {Mode.INFERENCE: LocalLayerRepository(KERNELS, layer_name=kernel)}}}
        with use_kernel_mapping(mapping, inherit_mapping=False):
            kernelize(fused, mode=Mode.INFERENCE, device="cpu")
        bound = {getattr(layer, place).forward.__qualname__ for layer in fused.base_model.layers}
        if bound != {f"{kernel}.forward"}:
            raise RuntimeError(f"{kernel} is not bound, but {bound}")
        torch.testing.assert_close(fused(tokens).logits, plain(tokens).logits)
        for task in ("forward, 128 tokens", "decode, 8 tokens"):
            yield compare(f"llama, {block}, compiled kernel / plain: {task}", fused, plain, TASKS[task])
            yield compare(
                f"llama, {block}, compiled kernel / {unfused} compiled: {task}", fused, compiled, TASKS[task]
            )
