"""`make bench`: what heterogeneous layers cost, as ratios to the parent measured in the same run.

Ratios of CPU time, of one thread, are the median over rounds in which both sides run one after the other, so that a noisy
machine hits both. Python calls are counted beside them: they do not jitter.
"""

import copy
import gc
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from transformers import (
    DynamicCache,
    GptOssConfig,
    GptOssForCausalLM,
    GraniteMoeHybridConfig,
    GraniteMoeHybridForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    NemotronHConfig,
    NemotronHForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers_heterogeneous import (
    HeterogeneousGptOssConfig,
    HeterogeneousGptOssForCausalLM,
    HeterogeneousGraniteMoeHybridConfig,
    HeterogeneousGraniteMoeHybridForCausalLM,
    HeterogeneousLlamaConfig,
    HeterogeneousLlamaForCausalLM,
    HeterogeneousNemotronHConfig,
    HeterogeneousNemotronHForCausalLM,
)

from . import bench_generator, bench_kernels


Side = Callable[[], Any]
Row = tuple[str, str, str, str]

LLAMA = {
    "vocab_size": 1024,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "num_hidden_layers": 24,
}
GPT_OSS = {
    **LLAMA,
    "head_dim": 32,
    "intermediate_size": 128,
    "num_hidden_layers": 12,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "sliding_window": 32,
}
MAMBA_AND_ATTENTION = (["linear_attention"] * 3 + ["full_attention"]) * 3
GRANITE = {
    **LLAMA,
    "intermediate_size": 128,
    "shared_intermediate_size": 256,
    "num_hidden_layers": 12,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "layer_types": MAMBA_AND_ATTENTION,
    "mamba_n_heads": 16,
    "mamba_d_state": 32,
    "mamba_chunk_size": 64,
}
NEMOTRON = {
    **{name: size for name, size in LLAMA.items() if name != "num_hidden_layers"},
    "head_dim": 32,
    "layers_block_type": ["linear_attention", "moe", "full_attention", "mlp", "linear_attention", "moe"] * 2,
    "mamba_num_heads": 16,
    "mamba_head_dim": 32,
    "ssm_state_size": 32,
    "n_groups": 1,
    "chunk_size": 64,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 128,
    "moe_shared_expert_intermediate_size": 256,
}


@dataclass(frozen=True)
class Contest:
    """A family and its parent, their common sizes, and what a thinned-out model of the family leaves out."""

    family: str
    ours: type[PreTrainedModel]
    our_config: type[PreTrainedConfig]
    parent: type[PreTrainedModel]
    parent_config: type[PreTrainedConfig]
    sizes: dict[str, Any]
    thinned: dict[str, dict[str, Any]]


CONTESTS = (
    Contest(
        "llama",
        HeterogeneousLlamaForCausalLM,
        HeterogeneousLlamaConfig,
        LlamaForCausalLM,
        LlamaConfig,
        LLAMA,
        {"half its attention removed": {"mixer_types": ["attention", "none"] * 12}},
    ),
    Contest(
        "gpt_oss",
        HeterogeneousGptOssForCausalLM,
        HeterogeneousGptOssConfig,
        GptOssForCausalLM,
        GptOssConfig,
        GPT_OSS,
        {
            "half its experts removed": {"num_local_experts": 4},
            "half its attention removed": {"mixer_types": ["attention", "none"] * 6},
        },
    ),
    Contest(
        "granite_moe_hybrid",
        HeterogeneousGraniteMoeHybridForCausalLM,
        HeterogeneousGraniteMoeHybridConfig,
        GraniteMoeHybridForCausalLM,
        GraniteMoeHybridConfig,
        GRANITE,
        {
            "half its experts removed": {"num_local_experts": 4},
            "half its mixers removed": {"mixer_types": ["mamba", "none", "none", "attention"] * 3},
        },
    ),
    Contest(
        "nemotron_h",
        HeterogeneousNemotronHForCausalLM,
        HeterogeneousNemotronHConfig,
        NemotronHForCausalLM,
        NemotronHConfig,
        NEMOTRON,
        {
            "half its experts removed": {"n_routed_experts": 4},
            "half its mixers removed": {
                "layers_block_type": None,
                "mixer_types": ["mamba", "none", "none", "none", "none", "none"] * 2,
                "mlp_types": ["none", "moe", "none", "dense", "none", "moe"] * 2,
            },
        },
    ),
)
ROUNDS = 21
IMPORTS = ("import transformers_heterogeneous", "from transformers import LlamaForCausalLM")


def seconds(side: Side) -> float:
    """CPU time of one run without the garbage collector, which would bill one side for what both left behind."""
    gc.collect()
    gc.disable()
    try:
        start = cpu_seconds()
        side()
        return cpu_seconds() - start
    finally:
        gc.enable()


def cpu_seconds() -> float:
    """Used so far by this process and by those that it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


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


def model(model_class: type[PreTrainedModel], config: PreTrainedConfig) -> PreTrainedModel:
    torch.manual_seed(0)
    built: PreTrainedModel = model_class(config).eval()
    return built


def forward(side: PreTrainedModel) -> Side:
    tokens = torch.arange(128)[None]
    return lambda: side(tokens, use_cache=False)


def decode(side: PreTrainedModel) -> Side:
    """Eight tokens, one by one, after a prompt of 64."""
    prompt = DynamicCache(config=side.config)
    side(torch.arange(64)[None], cache=prompt, use_cache=True)

    def steps() -> None:
        cache = copy.deepcopy(prompt)
        for token in range(8):
            side(torch.tensor([[token]]), cache=cache, use_cache=True)

    return steps


def generate(side: PreTrainedModel) -> Side:
    tokens = torch.arange(16)[None]
    return lambda: side.generate(tokens, max_new_tokens=32, do_sample=False, eos_token_id=None, pad_token_id=0)


TASKS = {"forward, 128 tokens": forward, "decode, 8 tokens": decode, "generate, 32 tokens": generate}


def on_meta(model_class: type[PreTrainedModel], config: PreTrainedConfig) -> Side:
    def build() -> None:
        with torch.device("meta"):
            model_class(config)

    return build


def importing(statement: str) -> Side:
    return lambda: subprocess.run([sys.executable, "-c", statement], check=True)


def uniform_rows(contest: Contest) -> Iterator[Row]:
    ours = model(contest.ours, contest.our_config(**contest.sizes))
    theirs = model(contest.parent, contest.parent_config(**contest.sizes))
    for name, task in TASKS.items():
        yield compare(f"{contest.family}, uniform / parent: {name}", ours, theirs, task)


def thinned_rows(contest: Contest) -> Iterator[Row]:
    full = model(contest.ours, contest.our_config(**contest.sizes))
    for removed, fields in contest.thinned.items():
        thinned = model(contest.ours, contest.our_config(**{**contest.sizes, **fields}))
        for name in ("forward, 128 tokens", "decode, 8 tokens"):
            yield compare(f"{contest.family}, {removed} / whole: {name}", thinned, full, TASKS[name])


def fused_rows(contest: Contest) -> Iterator[Row]:
    """Fused blocks without a kernel."""
    plain_config = contest.our_config(**contest.sizes)
    plain = model(contest.ours, plain_config)
    for block in plain_config.fusable:
        if any(plain_config.can_fuse(layer_idx, block) for layer_idx in range(plain_config.num_hidden_layers)):
            fused = model(contest.ours, contest.our_config(**contest.sizes, fused_blocks=block))
            for name in ("forward, 128 tokens", "decode, 8 tokens"):
                yield compare(f"{contest.family}, {block} / plain: {name}", fused, plain, TASKS[name])


def compare(
    title: str, ours: PreTrainedModel, theirs: PreTrainedModel, task: Callable[[PreTrainedModel], Side]
) -> Row:
    pair = task(ours), task(theirs)
    parameters = ours.num_parameters() / theirs.num_parameters()
    return title, f"{time_ratio(*pair):.2f}", call_ratio(*pair), f"{parameters:.2f}"


def loading_rows() -> Iterator[Row]:
    deep = {**LLAMA, "num_hidden_layers": 162}
    varied = {**deep, "mixer_types": ["attention", "none"] * 81, "intermediate_size": [512, 1024, 256] * 54}
    theirs = on_meta(LlamaForCausalLM, LlamaConfig(**deep))
    for name, fields in (("uniform", deep), ("mixed", varied)):
        ours = on_meta(HeterogeneousLlamaForCausalLM, HeterogeneousLlamaConfig(**fields))
        yield (
            f"{name} / Llama: 162 layers on the meta device",
            f"{time_ratio(ours, theirs):.2f}",
            call_ratio(ours, theirs),
            "",
        )
    pair = importing(IMPORTS[0]), importing(IMPORTS[1])
    yield f"{IMPORTS[0]} / {IMPORTS[1]}", f"{time_ratio(*pair, rounds=7):.2f}", "", ""


def main() -> int:
    torch.set_num_threads(1)
    table = Table(
        "ours / theirs", "CPU time", "Python calls", "parameters", title="ratios; 1.00 is as fast as the parent"
    )
    with torch.no_grad():
        for contest in CONTESTS:
            for row in (*uniform_rows(contest), *thinned_rows(contest), *fused_rows(contest)):
                table.add_row(*row)
        for row in (*bench_kernels.rows(), *loading_rows()):
            table.add_row(*row)
    console = Console(width=None if sys.stdout.isatty() else 130)
    console.print(table)
    costs = Table("generator", "CPU seconds", "peak MB", "ratio to the floor")
    for costs_row in bench_generator.rows():
        costs.add_row(*costs_row)
    console.print(costs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
