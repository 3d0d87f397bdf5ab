"""Two models side by side: ratios of CPU time and of Python calls.

Ratios of CPU time, of one thread, are the median over rounds in which both sides run one after the other, so that a noisy
machine hits both. Python calls are counted beside them: they do not jitter.
"""

import copy
import gc
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch

from transformers import DynamicCache, PreTrainedConfig, PreTrainedModel


Side = Callable[[], Any]
Row = tuple[str, str, str, str]

ROUNDS = 21


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


def compare(
    title: str, ours: PreTrainedModel, theirs: PreTrainedModel, task: Callable[[PreTrainedModel], Side]
) -> Row:
    pair = task(ours), task(theirs)
    parameters = ours.num_parameters() / theirs.num_parameters()
    return title, f"{time_ratio(*pair):.2f}", call_ratio(*pair), f"{parameters:.2f}"
