"""Checkpoints of Qwen, Mistral, gpt-oss, Granite 4 and Nemotron-H in their published layouts, small and made up."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import transformers_heterogeneous  # noqa: F401  (registers the families)
from transformers import AutoModelForCausalLM

from . import published_families as published
from . import published_typed as typed
from .published import write_checkpoint


SHARDS = tuple(f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3))
TOKENS = torch.randint(0, published.V, (2, 11), generator=torch.Generator().manual_seed(2))


@dataclass(frozen=True)
class Checkpoint:
    """
    A published checkpoint.

    Attributes:
        unconverted: Whether transformers loads it without conversion, by its own class or by ours.
        unused: Beginnings of the names of tensors that no model loads.
    """

    config: dict[str, Any]
    tensors: dict[str, torch.Tensor]
    model_type: str
    unconverted: bool = True
    unused: tuple[str, ...] = ()
    files: tuple[str, ...] = field(default=SHARDS)

    def write(self, folder: Path) -> Path:
        write_checkpoint(folder, self.config, self.tensors, self.files)
        return folder


def puzzle_tensors() -> dict[str, torch.Tensor]:
    tensors = published.random_tensors(published.llama_like(published.PUZZLE_LAYERS))
    scales = {f"model.layers.{layer}.self_attn.{name}_scale": torch.ones(1) for layer in range(3) for name in "kv"}
    return tensors | scales


def any_model_files(tensors: dict[str, torch.Tensor]) -> tuple[str, ...]:
    """As many files as Puzzletron would write; which tensor lies where does not matter to a reader."""
    return tuple(f"subblocks_safetensors/block_{number}_ffn.safetensors" for number in range(4))


def nemotron(layers, prefix="backbone", more=None) -> dict[str, torch.Tensor]:
    return published.random_tensors(published.nemotron_like(layers, prefix, more))


GPT_OSS, GRANITE, NEMOTRON = (f"heterogeneous_{name}" for name in ("gpt_oss", "granite_moe_hybrid", "nemotron_h"))
DENSE = {"Qwen2": published.QWEN2, "Qwen3": published.QWEN3, "Mistral": published.MISTRAL}


def dense_checkpoints(name: str, config: dict[str, Any]) -> dict[str, Checkpoint]:
    """A checkpoint as its maker published it, and what was pruned of it, in two forms."""
    model_type, tied = config["model_type"], config["tie_word_embeddings"]

    def tensors(layers: list[published.Shapes]) -> dict[str, torch.Tensor]:
        return published.random_tensors(published.llama_like(layers, tied))

    family, whole = f"heterogeneous_{model_type}", tensors(published.dense_layers(model_type))
    pruned = tensors(published.dense_block_layers(model_type))
    return {
        name: Checkpoint(config, whole, family),
        f"AnyModel {name}": Checkpoint({**config, "block_configs": published.DENSE_BLOCKS}, pruned, family),
        f"{name}, per_layer_config": Checkpoint(
            {**config, "per_layer_config": published.DENSE_OVERRIDES}, pruned, family
        ),
    }


def typed_checkpoints() -> dict[str, Checkpoint]:
    """What Puzzletron's second generation realises, of each base model, and takes in."""

    def llama_like(config: dict[str, Any], layers: list[published.Shapes]) -> Checkpoint:
        shapes = published.llama_like(layers, config["tie_word_embeddings"])
        return Checkpoint(config, published.random_tensors(shapes), f"heterogeneous_{config['model_type']}")

    return {
        "AnyModel v2 Llama": llama_like(typed.LLAMA, typed.dense_layers("llama")),
        "Llama with typed blocks": llama_like(typed.TEACHER, published.dense_layers("llama")),
        "AnyModel v2 Qwen2": llama_like(typed.QWEN2, typed.dense_layers("qwen2", heads=4)),
        "AnyModel v2 Qwen3": llama_like(typed.QWEN3, typed.dense_layers("qwen3")),
        "AnyModel v2 Mistral": llama_like(typed.MISTRAL, typed.MISTRAL_LAYERS),
        "AnyModel v2 Qwen3-MoE": llama_like(typed.QWEN3_MOE, typed.QWEN3_MOE_LAYERS),
        "AnyModel v2 gpt-oss": llama_like(typed.GPT_OSS, published.ANYMODEL_GPT_OSS_LAYERS),
        "AnyModel v2 Nemotron-H": Checkpoint(typed.NEMOTRON_H, nemotron(typed.NEMOTRON_H_LAYERS), NEMOTRON),
    }


FP8_SCALES = ("model.layers.0.self_attn.k_scale",)
PRUNED = {
    **published.GPT_OSS,
    "architectures": ["DeciGptOssForCausalLM"],
    "quantization_config": published.MXFP4,
}
CHECKPOINTS = {
    **typed_checkpoints(),
    **{key: each for name, config in DENSE.items() for key, each in dense_checkpoints(name, config).items()},
    # A window in the last of its layers
    "Qwen3, windows": Checkpoint(
        {**published.QWEN3, "use_sliding_window": True},
        published.random_tensors(published.llama_like(published.dense_layers("qwen3"))),
        "heterogeneous_qwen3",
    ),
    "Qwen3-MoE": Checkpoint(
        published.QWEN3_MOE,
        published.random_tensors(published.llama_like(published.QWEN3_MOE_LAYERS)),
        "heterogeneous_qwen3_moe",
    ),
    "Qwen3-MoE, per_layer_config": Checkpoint(
        {**published.QWEN3_MOE, "per_layer_config": published.QWEN3_MOE_OVERRIDES},
        published.random_tensors(published.llama_like(published.QWEN3_MOE_OTHER_LAYERS)),
        "heterogeneous_qwen3_moe",
    ),
    "Qwen3-MoE, pruned experts": Checkpoint(
        {**published.QWEN3_MOE, "per_layer_num_experts": published.EXPERTS_BY_LAYER},
        published.random_tensors(published.llama_like(published.QWEN3_MOE_PRUNED_LAYERS)),
        "heterogeneous_qwen3_moe",
    ),
    "Qwen3-Next": Checkpoint(
        published.QWEN3_NEXT,
        published.random_tensors(published.llama_like(published.QWEN3_NEXT_LAYERS) | published.QWEN3_NEXT_MTP),
        "heterogeneous_qwen3_next",
        unused=("mtp.fc.weight",),
    ),
    "Qwen3-Next, per_layer_config": Checkpoint(
        {**published.QWEN3_NEXT, "per_layer_config": published.QWEN3_NEXT_OVERRIDES},
        published.random_tensors(published.llama_like(published.QWEN3_NEXT_OTHER_LAYERS)),
        "heterogeneous_qwen3_next",
    ),
    "Qwen3-Next, pruned experts": Checkpoint(
        {
            **published.QWEN3_NEXT,
            "original_num_experts": 6,
            "per_layer_num_experts": published.QWEN3_NEXT_EXPERTS,
        },
        published.random_tensors(published.llama_like(published.QWEN3_NEXT_PRUNED_LAYERS)),
        "heterogeneous_qwen3_next",
    ),
    "Llama-4": Checkpoint(
        published.LLAMA4_TEXT,
        published.random_tensors(published.llama_like(published.LLAMA4_LAYERS)),
        "heterogeneous_llama4_text",
    ),
    "Llama-4, per_layer_config": Checkpoint(
        {**published.LLAMA4_TEXT, "per_layer_config": published.LLAMA4_OVERRIDES},
        published.random_tensors(published.llama_like(published.LLAMA4_OTHER_LAYERS)),
        "heterogeneous_llama4_text",
    ),
    "gpt-oss": Checkpoint(
        published.GPT_OSS, published.random_tensors(published.llama_like(published.GPT_OSS_LAYERS)), GPT_OSS
    ),
    "gpt-oss, MXFP4": Checkpoint(
        {**published.GPT_OSS, "quantization_config": published.MXFP4},
        published.packed(published.random_tensors(published.llama_like(published.GPT_OSS_LAYERS), torch.bfloat16)),
        GPT_OSS,
    ),
    # All layers keep as many experts, or each its own
    "gpt-oss pruned by ModelOpt, MXFP4": Checkpoint(
        {**PRUNED, "num_local_experts": 2},
        published.packed(
            published.random_tensors(
                published.llama_like([published.gpt_oss_attention() | published.gpt_oss_experts(2)] * 3)
            )
        ),
        GPT_OSS,
    ),
    "gpt-oss pruned by ModelOpt, by layer": Checkpoint(
        {**PRUNED, "block_configs": published.PUZZLE_BLOCKS},
        published.packed(published.random_tensors(published.llama_like(published.PUZZLE_LAYERS))),
        GPT_OSS,
        unconverted=False,
    ),
    "gpt-oss-puzzle": Checkpoint(published.GPT_OSS_PUZZLE, puzzle_tensors(), GPT_OSS, unused=FP8_SCALES),
    "gpt-oss-puzzle, MXFP4": Checkpoint(
        {**published.GPT_OSS_PUZZLE, "quantization_config": published.MXFP4},
        published.packed(puzzle_tensors()),
        GPT_OSS,
        unused=FP8_SCALES,
    ),
    "AnyModel gpt-oss": Checkpoint(
        {**published.GPT_OSS, "block_configs": published.ANYMODEL_GPT_OSS_BLOCKS},
        published.random_tensors(published.llama_like(published.ANYMODEL_GPT_OSS_LAYERS)),
        GPT_OSS,
        unconverted=False,
    ),
    "Granite 4": Checkpoint(
        published.GRANITE,
        published.random_tensors(published.llama_like(published.GRANITE_LAYERS, tied=True)),
        GRANITE,
    ),
    "Granite 4, dense": Checkpoint(
        {**published.GRANITE, "num_local_experts": 0, "num_experts_per_tok": 0, "position_embedding_type": "rope"},
        published.random_tensors(published.llama_like(published.GRANITE_DENSE_LAYERS, tied=True)),
        GRANITE,
    ),
    "Nemotron-H": Checkpoint(
        {**published.NEMOTRON_H, "head_dim": published.HEAD_DIM}, nemotron(published.NEMOTRON_H_LAYERS), NEMOTRON
    ),
    # transformers reads no `attention_head_dim` and takes 128
    "Nemotron-H, first keys": Checkpoint(
        published.NEMOTRON_H, nemotron(published.NEMOTRON_H_LAYERS), NEMOTRON, unconverted=False
    ),
    "Nemotron 3 Nano": Checkpoint(published.NANO_3, nemotron(published.NANO_3_LAYERS), NEMOTRON),
    "Nemotron 3 Nano, model.": Checkpoint(published.NANO_3, nemotron(published.NANO_3_LAYERS, "model"), NEMOTRON),
    "Nemotron 3 Super": Checkpoint(
        published.SUPER_3,
        nemotron(published.SUPER_3_LAYERS, more=published.MTP_SHAPES),
        NEMOTRON,
        unused=("mtp.layers.0.enorm.weight",),
    ),
    "Nemotron 3 Ultra": Checkpoint(published.ULTRA_3, nemotron(published.SUPER_3_LAYERS), NEMOTRON),
    "Nemotron Puzzle": Checkpoint(
        published.PUZZLE_75B,
        nemotron(published.PUZZLE_75B_LAYERS, "model", published.MTP_SHAPES),
        NEMOTRON,
        unused=("mtp.layers.0.enorm.weight",),
    ),
    "Nemotron Puzzle, backbone.": Checkpoint(published.PUZZLE_75B, nemotron(published.PUZZLE_75B_LAYERS), NEMOTRON),
    "AnyModel Nemotron-H": Checkpoint(
        published.ANYMODEL_NEMOTRON, nemotron(published.ANYMODEL_NEMOTRON_LAYERS), NEMOTRON, unconverted=False
    ),
}


def logits(folder: Path) -> torch.Tensor:
    model, report = AutoModelForCausalLM.from_pretrained(
        folder, output_loading_info=True, attn_implementation="eager", trust_remote_code=False
    )
    assert not any(report.values()), report
    with torch.no_grad():
        return model.eval()(TOKENS).logits
