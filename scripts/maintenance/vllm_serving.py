"""One model in vLLM, in a process of its own: prompts in, tokens and log-probabilities out, on the last line of stdout."""

import json
import os
import sys
from typing import Any


# The engine's processes inherit these: its CPU backend binds to cores and reserves a half of the memory otherwise
SETTINGS = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}


if os.environ.get("PLAIN_EXPERTS"):  # each process of the engine imports this module as it starts
    from .vllm_plain_experts import install

    install()


def served(model: str, prompts: list[list[int]], num_tokens: int, top: int, options: dict[str, Any]) -> Any:
    """For each prompt, and then for each again, as caches know it: tokens, and of each step the best log-probabilities."""
    from vllm import LLM, SamplingParams

    engine = LLM(model, max_num_seqs=8, block_size=32, **options)
    asked = SamplingParams(temperature=0, max_tokens=num_tokens, logprobs=top, ignore_eos=True, detokenize=False)
    answers = []
    for _ in range(2):
        for answer in engine.generate([{"prompt_token_ids": each} for each in prompts], asked, use_tqdm=False):
            found = answer.outputs[0]
            steps = [{token: each.logprob for token, each in step.items()} for step in found.logprobs]
            answers.append([list(found.token_ids), steps])
    return answers


if __name__ == "__main__":
    os.environ.update(SETTINGS)
    print(json.dumps(served(**json.load(sys.stdin))))
