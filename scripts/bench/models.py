"""What heterogeneous layers cost, as ratios to the parent measured in the same run."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from transformers import (
    GptOssConfig,
    GptOssForCausalLM,
    GraniteMoeHybridConfig,
    GraniteMoeHybridForCausalLM,
    Llama4ForCausalLM,
    Llama4TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    NemotronHConfig,
    NemotronHForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMoeConfig,
    Qwen3VLMoeForConditionalGeneration,
)
from transformers_heterogeneous import (
    HeterogeneousGptOssConfig,
    HeterogeneousGptOssForCausalLM,
    HeterogeneousGraniteMoeHybridConfig,
    HeterogeneousGraniteMoeHybridForCausalLM,
    HeterogeneousLlama4ForCausalLM,
    HeterogeneousLlama4TextConfig,
    HeterogeneousLlamaConfig,
    HeterogeneousLlamaForCausalLM,
    HeterogeneousNemotronHConfig,
    HeterogeneousNemotronHForCausalLM,
    HeterogeneousQwen3NextConfig,
    HeterogeneousQwen3NextForCausalLM,
    HeterogeneousQwen3VLConfig,
    HeterogeneousQwen3VLMoeConfig,
)

from .measure import TASKS, Row, Side, call_ratio, compare, model, time_ratio


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
EXPERTS = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 128}
QWEN3_NEXT = {
    **LLAMA,
    **EXPERTS,
    "head_dim": 32,
    "num_hidden_layers": 12,
    "layer_types": MAMBA_AND_ATTENTION,
    "linear_num_value_heads": 8,
    "linear_num_key_heads": 4,
    "linear_key_head_dim": 32,
    "linear_value_head_dim": 32,
    "shared_expert_intermediate_size": 128,
}
LLAMA4 = {
    **LLAMA,
    "head_dim": 32,
    "intermediate_size": 128,
    "intermediate_size_mlp": 512,
    "num_hidden_layers": 12,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "interleave_moe_layer_step": 2,
    "attention_chunk_size": 64,
    "pad_token_id": 0,
}
# Around these, the questions of the bench being words alone, a vision model that is not asked
VISION = {"depth": 1, "hidden_size": 32, "num_heads": 2, "out_hidden_size": 256, "deepstack_visual_indexes": [0]}
QWEN3_VL_TEXT = {
    **LLAMA,
    "head_dim": 32,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [8, 4, 4]},
}
QWEN3_VL_MOE_TEXT = {**QWEN3_VL_TEXT, **EXPERTS, "num_hidden_layers": 12}


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
    Contest(
        "qwen3_next",
        HeterogeneousQwen3NextForCausalLM,
        HeterogeneousQwen3NextConfig,
        Qwen3NextForCausalLM,
        Qwen3NextConfig,
        QWEN3_NEXT,
        {
            "half its experts removed": {"num_experts": 4},
            "half its mixers removed": {
                "layer_types": None,
                "mixer_types": ["mamba", "none", "none", "attention"] * 3,
            },
        },
    ),
    Contest(
        "llama4_text",
        HeterogeneousLlama4ForCausalLM,
        HeterogeneousLlama4TextConfig,
        Llama4ForCausalLM,
        Llama4TextConfig,
        LLAMA4,
        {
            "half its experts removed": {"num_local_experts": 4},
            "half its attention removed": {"mixer_types": ["attention", "none"] * 6},
        },
    ),
    Contest(
        "qwen3_vl",
        Qwen3VLForConditionalGeneration,
        HeterogeneousQwen3VLConfig,
        Qwen3VLForConditionalGeneration,
        Qwen3VLConfig,
        {"vision_config": VISION, "text_config": QWEN3_VL_TEXT},
        {"half its attention removed": {"text_config": {**QWEN3_VL_TEXT, "mixer_types": ["attention", "none"] * 12}}},
    ),
    Contest(
        "qwen3_vl_moe",
        Qwen3VLMoeForConditionalGeneration,
        HeterogeneousQwen3VLMoeConfig,
        Qwen3VLMoeForConditionalGeneration,
        Qwen3VLMoeConfig,
        {"vision_config": VISION, "text_config": QWEN3_VL_MOE_TEXT},
        {"half its experts removed": {"text_config": {**QWEN3_VL_MOE_TEXT, "num_experts": 4}}},
    ),
)
IMPORTS = ("import transformers_heterogeneous", "from transformers import LlamaForCausalLM")


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
    for block in getattr(plain_config, "fusable", ()):
        if any(plain_config.can_fuse(layer_idx, block) for layer_idx in range(plain_config.num_hidden_layers)):
            fused = model(contest.ours, contest.our_config(**contest.sizes, fused_blocks=block))
            for name in ("forward, 128 tokens", "decode, 8 tokens"):
                yield compare(f"{contest.family}, {block} / plain: {name}", fused, plain, TASKS[name])


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


def rows(families: Sequence[str] = ()) -> Iterator[Row]:
    """Every family, or those named, beside its parent, thinned out and fused; without names also what loading costs."""
    known = [contest.family for contest in CONTESTS]
    if unknown := sorted(set(families) - set(known)):
        raise SystemExit(f"{unknown}: the families are {known}")
    for contest in CONTESTS:
        if not families or contest.family in families:
            yield from uniform_rows(contest)
            yield from thinned_rows(contest)
            yield from fused_rows(contest)
    if not families:
        yield from loading_rows()
