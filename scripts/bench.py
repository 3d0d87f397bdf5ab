"""`make bench`: what heterogeneous layers cost, as ratios to the parent measured in the same run.

Wall-clock ratios are the median over rounds in which both sides run one after the other, so that a noisy machine hits
both. Python calls are counted beside them: they do not jitter.
"""

import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, PreTrainedModel
from transformers_heterogeneous import HeterogeneousLlamaConfig, HeterogeneousLlamaForCausalLM

from . import bench_generator


Side = Callable[[], Any]

SIZES = {
    "vocab_size": 1024,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "num_hidden_layers": 24,
}
ROUNDS = 15
IMPORTS = ("import transformers_heterogeneous", "from transformers import LlamaForCausalLM")


def seconds(side: Side) -> float:
    """One run without the garbage collector, which would bill one side for what both left behind."""
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        side()
        return time.perf_counter() - start
    finally:
        gc.enable()


def time_ratio(ours: Side, theirs: Side, rounds: int = ROUNDS) -> float:
    """Median of ours / theirs; who runs first alternates."""
    ours(), theirs()
    ratios = []
    for number in range(rounds):
        if number % 2:
            mine, other = seconds(ours), seconds(theirs)
        else:
            other, mine = seconds(theirs), seconds(ours)
        ratios.append(mine / other)
    return statistics.median(ratios)


@contextmanager
def counted_calls() -> Iterator[list[int]]:
    """Count the Python functions that are entered; the count is the only entry of the list."""
    count = [0]

    def profile(frame: FrameType, event: str, argument: object) -> None:
        count[0] += event == "call"

    sys.setprofile(profile)
    try:
        yield count
    finally:
        sys.setprofile(None)


def call_ratio(ours: Side, theirs: Side) -> str:
    counts = []
    for side in (ours, theirs):
        side()
        with counted_calls() as count:
            side()
        counts.append(count[0])
    return f"{counts[0] / counts[1]:.3f} ({counts[0]} / {counts[1]})"


def model(model_class: type[PreTrainedModel], config: LlamaConfig) -> PreTrainedModel:
    torch.manual_seed(0)
    built: PreTrainedModel = model_class(config).eval()
    return built


def forward(side: PreTrainedModel, length: int = 128) -> Side:
    tokens = torch.arange(length)[None]
    return lambda: side(tokens, use_cache=False)


def decode(side: PreTrainedModel) -> Side:
    """One token after a prompt of 64; the cache is cropped back so that every step is the same."""
    cache = DynamicCache(config=side.config)
    side(torch.arange(64)[None], past_key_values=cache, use_cache=True)

    def step() -> None:
        side(torch.tensor([[5]]), past_key_values=cache, use_cache=True)
        cache.crop(-1)

    return step


def generate(side: PreTrainedModel) -> Side:
    tokens = torch.arange(16)[None]
    return lambda: side.generate(tokens, max_new_tokens=32, do_sample=False, eos_token_id=None, pad_token_id=0)


def on_meta(model_class: type[PreTrainedModel], config: LlamaConfig) -> Side:
    def build() -> None:
        with torch.device("meta"):
            model_class(config)

    return build


def importing(statement: str) -> Side:
    return lambda: subprocess.run([sys.executable, "-c", statement], check=True)


def uniform_rows() -> Iterator[tuple[str, str, str]]:
    ours = model(HeterogeneousLlamaForCausalLM, HeterogeneousLlamaConfig(**SIZES))
    theirs = model(LlamaForCausalLM, LlamaConfig(**SIZES))
    for name, task in (
        ("forward, 128 tokens", forward),
        ("decode, one token", decode),
        ("generate, 32 tokens", generate),
    ):
        pair = task(ours), task(theirs)
        yield f"uniform / Llama: {name}", f"{time_ratio(*pair):.2f}", call_ratio(*pair)


def thinned_rows() -> Iterator[tuple[str, str, str]]:
    mixers = ["attention", "none"] * (SIZES["num_hidden_layers"] // 2)
    thinned = model(HeterogeneousLlamaForCausalLM, HeterogeneousLlamaConfig(**SIZES, mixer_types=mixers))
    full = model(HeterogeneousLlamaForCausalLM, HeterogeneousLlamaConfig(**SIZES))
    for name, task in (("forward, 128 tokens", forward), ("decode, one token", decode)):
        pair = task(thinned), task(full)
        yield f"half its attention removed / full: {name}", f"{time_ratio(*pair):.2f}", call_ratio(*pair)


def fused_rows() -> Iterator[tuple[str, str, str]]:
    """Fused blocks without a kernel, and each compiled by itself, which is what a kernel could do."""
    plain = model(HeterogeneousLlamaForCausalLM, HeterogeneousLlamaConfig(**SIZES))
    compiled_mlp = model(HeterogeneousLlamaForCausalLM, HeterogeneousLlamaConfig(**SIZES))
    compile_blocks(compiled_mlp, "mlp")
    for block, name in (("norm_mlp", "mlp"), ("add_norm", "post_attention_layernorm")):
        fused, compiled = (
            model(HeterogeneousLlamaForCausalLM, HeterogeneousLlamaConfig(**SIZES, fused_blocks=block)) for _ in "ab"
        )
        compile_blocks(compiled, name)
        for what, task in (("forward, 128 tokens", forward), ("decode, one token", decode)):
            pair = task(fused), task(plain)
            yield f"{block} / plain: {what}", f"{time_ratio(*pair):.2f}", call_ratio(*pair)
            yield f"{block}, compiled / plain: {what}", f"{time_ratio(task(compiled), task(plain), rounds=7):.2f}", ""
            if block == "norm_mlp":
                ratio = time_ratio(task(compiled), task(compiled_mlp), rounds=7)
                yield f"{block}, compiled / plain, MLP compiled: {what}", f"{ratio:.2f}", ""


def compile_blocks(side: PreTrainedModel, name: str) -> None:
    for layer in side.base_model.layers:
        getattr(layer, name).compile()


def loading_rows() -> Iterator[tuple[str, str, str]]:
    deep = {**SIZES, "num_hidden_layers": 162}
    varied = {**deep, "mixer_types": ["attention", "none"] * 81, "intermediate_size": [512, 1024, 256] * 54}
    theirs = on_meta(LlamaForCausalLM, LlamaConfig(**deep))
    for name, fields in (("uniform", deep), ("mixed", varied)):
        ours = on_meta(HeterogeneousLlamaForCausalLM, HeterogeneousLlamaConfig(**fields))
        yield (
            f"{name} / Llama: 162 layers on the meta device",
            f"{time_ratio(ours, theirs):.2f}",
            call_ratio(ours, theirs),
        )
    pair = importing(IMPORTS[0]), importing(IMPORTS[1])
    yield f"{IMPORTS[0]} / {IMPORTS[1]}", f"{time_ratio(*pair, rounds=7):.2f}", ""


def main() -> int:
    torch.set_num_threads(1)
    table = Table("ours / theirs", "time", "Python calls", title="ratios; 1.00 is as fast as the parent")
    with torch.no_grad():
        for rows in (uniform_rows, thinned_rows, fused_rows, loading_rows):
            for row in rows():
                table.add_row(*row)
    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print(table)
    costs = Table("generator", "CPU seconds", "peak MB", "ratio to the floor")
    for costs_row in bench_generator.rows():
        costs.add_row(*costs_row)
    console.print(costs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
