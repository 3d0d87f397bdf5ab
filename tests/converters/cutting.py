"""Checkpoints cut by plain indexing, as scripts do that know nothing of this package: each cut is written out by hand."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from . import published_families as p
from .published import LLAMA_GLOBALS, tensors_of


Tensors = dict[str, torch.Tensor]
UNITS = {"kv": p.HEAD_DIM, "heads": p.HEAD_DIM}


def take(tensors: Tensors, name: str, dim: int, kept: Iterable[int]) -> None:
    if name in tensors:
        tensors[name] = tensors[name].index_select(dim, torch.tensor(list(kept))).contiguous()


def in_blocks(kept: Iterable[int], size: int) -> list[int]:
    return [unit * size + inside for unit in kept for inside in range(size)]


def in_halves(kept: list[int], size: int) -> list[int]:
    return [*kept, *(size + unit for unit in kept)]


def cut_kv(tensors: Tensors, module: str, kept: list[int]) -> None:
    for name in ("k_proj", "v_proj"):
        take(tensors, f"{module}.{name}.weight", 0, in_blocks(kept, p.HEAD_DIM))
        take(tensors, f"{module}.{name}.bias", 0, in_blocks(kept, p.HEAD_DIM))


def cut_heads(tensors: Tensors, module: str, kept: list[int]) -> None:
    take(tensors, f"{module}.q_proj.weight", 0, in_blocks(kept, p.HEAD_DIM))
    take(tensors, f"{module}.o_proj.weight", 1, in_blocks(kept, p.HEAD_DIM))


def cut_state(tensors: Tensors, module: str, kept: list[int]) -> None:
    inner, heads = p.MAMBA_HEADS * p.MAMBA_HEAD_DIM, p.MAMBA_HEADS
    of_state = [group * p.STATE + unit for group in range(2 * p.GROUPS) for unit in kept]
    convolved = [*range(inner), *(inner + row for row in of_state)]
    last = 2 * inner + 2 * p.GROUPS * p.STATE
    take(tensors, f"{module}.conv1d.weight", 0, convolved)
    take(tensors, f"{module}.conv1d.bias", 0, convolved)
    take(
        tensors,
        f"{module}.in_proj.weight",
        0,
        [*range(inner), *(inner + row for row in convolved), *range(last, last + heads)],
    )


def cut_gated(tensors: Tensors, module: str, kept: list[int]) -> None:
    take(tensors, f"{module}.gate_proj.weight", 0, kept)
    take(tensors, f"{module}.up_proj.weight", 0, kept)
    take(tensors, f"{module}.down_proj.weight", 1, kept)


def cut_dense(tensors: Tensors, module: str, kept: list[int]) -> None:
    take(tensors, f"{module}.up_proj.weight", 0, kept)
    take(tensors, f"{module}.down_proj.weight", 1, kept)


def cut_gpt_oss_width(tensors: Tensors, module: str, kept: list[int]) -> None:
    take(tensors, f"{module}.experts.gate_up_proj", 2, in_blocks(kept, 2))
    take(tensors, f"{module}.experts.gate_up_proj_bias", 1, in_blocks(kept, 2))
    take(tensors, f"{module}.experts.down_proj", 1, kept)


def cut_gpt_oss_experts(tensors: Tensors, module: str, kept: list[int]) -> None:
    for name in ("router.weight", "router.bias"):
        take(tensors, f"{module}.{name}", 0, kept)
    for name in ("gate_up_proj", "down_proj"):
        for suffix in ("", "_bias", "_blocks", "_scales"):
            take(tensors, f"{module}.experts.{name}{suffix}", 0, kept)


def cut_granite_shared(tensors: Tensors, module: str, kept: list[int]) -> None:
    take(tensors, f"{module}.shared_mlp.input_linear.weight", 0, in_halves(kept, p.SHARED_WIDTH))
    take(tensors, f"{module}.shared_mlp.output_linear.weight", 1, kept)


def cut_granite_width(tensors: Tensors, module: str, kept: list[int]) -> None:
    take(tensors, f"{module}.block_sparse_moe.input_linear.weight", 1, in_halves(kept, p.WIDTH))
    take(tensors, f"{module}.block_sparse_moe.output_linear.weight", 2, kept)


def cut_granite_experts(tensors: Tensors, module: str, kept: list[int]) -> None:
    for name in ("router.layer.weight", "input_linear.weight", "output_linear.weight"):
        take(tensors, f"{module}.block_sparse_moe.{name}", 0, kept)


def experts_of(tensors: Tensors, module: str) -> range:
    return range(sum(name.startswith(f"{module}.experts.") and name.endswith("up_proj.weight") for name in tensors))


def cut_nemotron_width(tensors: Tensors, module: str, kept: list[int]) -> None:
    for expert in experts_of(tensors, module):
        cut_dense(tensors, f"{module}.experts.{expert}", kept)


def cut_nemotron_latent(tensors: Tensors, module: str, kept: list[int]) -> None:
    take(tensors, f"{module}.fc1_latent_proj.weight", 0, kept)
    take(tensors, f"{module}.fc2_latent_proj.weight", 1, kept)
    for expert in experts_of(tensors, module):
        take(tensors, f"{module}.experts.{expert}.up_proj.weight", 1, kept)
        take(tensors, f"{module}.experts.{expert}.down_proj.weight", 0, kept)


def cut_nemotron_experts(tensors: Tensors, module: str, kept: list[int]) -> None:
    for name in ("gate.weight", "gate.e_score_correction_bias"):
        take(tensors, f"{module}.{name}", 0, kept)
    old = {
        (expert, name): tensors.pop(f"{module}.experts.{expert}.{name}.weight")
        for expert in experts_of(tensors, module)
        for name in ("up_proj", "down_proj")
    }
    for new, expert in enumerate(kept):
        for name in ("up_proj", "down_proj"):
            tensors[f"{module}.experts.{new}.{name}.weight"] = old[expert, name]


Cut = tuple[str, str, int, Callable[[Tensors, str, list[int]], None]]
ATTENTION: list[Cut] = [("num_key_value_heads", "self_attn", p.KV_HEADS, cut_kv)]
GRANITE_MLP: list[Cut] = [
    ("num_local_experts", "", 4, cut_granite_experts),
    ("intermediate_size", "", p.WIDTH, cut_granite_width),
    ("shared_intermediate_size", "", p.SHARED_WIDTH, cut_granite_shared),
]
MOE: list[Cut] = [
    ("n_routed_experts", "mixer", p.EXPERTS, cut_nemotron_experts),
    ("moe_intermediate_size", "mixer", p.EXPERT_WIDTH, cut_nemotron_width),
    ("moe_shared_expert_intermediate_size", "mixer.shared_experts", p.SHARED_EXPERT_WIDTH, cut_dense),
    ("moe_latent_size", "mixer", p.LATENT, cut_nemotron_latent),
]
DENSE: Cut = ("intermediate_size", "mixer", p.WIDTH, cut_dense)
NEMOTRON_KV: Cut = ("num_key_value_heads", "mixer", p.KV_HEADS, cut_kv)
STATE: Cut = ("ssm_state_size", "mixer", p.STATE, cut_state)
LLAMA = {
    **LLAMA_GLOBALS,
    **{"model_type": "llama", "head_dim": p.HEAD_DIM, "num_hidden_layers": 4, "num_key_value_heads": p.KV_HEADS},
    "intermediate_size": 48,
}
LLAMA_LAYER = {
    "input_layernorm.weight": (p.H,),
    **p.inside("self_attn", p.attention()),
    "post_attention_layernorm.weight": (p.H,),
    "mlp.gate_proj.weight": (48, p.H),
    "mlp.up_proj.weight": (48, p.H),
    "mlp.down_proj.weight": (p.H, 48),
}


def nemotron_tensors(layers: list[p.Shapes]) -> Tensors:
    return p.random_tensors(p.nemotron_like(layers))


class Whole:
    """
    A whole model: its config, its tensors, the cuts that each layer allows, and how to take out a sub-block.

    A cut is (field of the family's config, module in the layer, how many there are, what cuts it).
    """

    def __init__(
        self, config: dict[str, Any], tensors: Tensors, cuts: list[list[Cut]], blocks: list[dict[str, tuple[str, ...]]]
    ):
        self.config, self.tensors, self.cuts, self.blocks = config, tensors, cuts, blocks
        self.prefix = next(name for name in tensors if ".layers." in name).partition("layers.")[0]

    def cut(self, layers: Mapping[int, Mapping[str, list[int]]], skips: Iterable[tuple[int, str]] = ()) -> Tensors:
        """The tensors with these indices of sizes kept in layers, and without these sub-blocks."""
        tensors = dict(self.tensors)
        for layer, sizes in layers.items():
            for size, kept in sizes.items():
                (found,) = (cut for cut in self.cuts[layer] if cut[0] == size)
                module = ".".join(filter(None, (f"{self.prefix}layers.{layer}", found[1])))
                found[3](tensors, module, kept)
        for layer, name in skips:
            gone = tuple(f"{self.prefix}layers.{layer}.{module}." for module in self.blocks[layer][name])
            tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(gone)}
        return tensors


BLOCKS = {"attention": ("self_attn", "input_layernorm"), "mlp": ("mlp", "post_attention_layernorm")}
GRANITE_BLOCKS = {
    "mixer": ("self_attn", "mamba", "input_layernorm"),
    "mlp": ("shared_mlp", "block_sparse_moe", "post_attention_layernorm"),
}
MIXER = {"mixer": ("mixer", "norm")}
WHOLE = {
    "llama": Whole(
        LLAMA,
        tensors_of([LLAMA_LAYER] * 4),
        [[*ATTENTION, ("intermediate_size", "mlp", 48, cut_gated)]] * 4,
        [BLOCKS] * 4,
    ),
    "gpt_oss": Whole(
        p.GPT_OSS,
        p.random_tensors(p.llama_like(p.GPT_OSS_LAYERS)),
        [
            [
                *ATTENTION,
                ("num_local_experts", "mlp", 4, cut_gpt_oss_experts),
                ("intermediate_size", "mlp", p.WIDTH, cut_gpt_oss_width),
            ]
        ]
        * 3,
        [BLOCKS] * 3,
    ),
    "granite": Whole(
        p.GRANITE,
        p.random_tensors(p.llama_like(p.GRANITE_LAYERS, tied=True)),
        [GRANITE_MLP, [*ATTENTION, *GRANITE_MLP], GRANITE_MLP],
        [GRANITE_BLOCKS] * 3,
    ),
    "nemotron_h": Whole(
        p.NEMOTRON_H,
        nemotron_tensors(p.NEMOTRON_H_LAYERS),
        [[STATE], [DENSE], [STATE], [NEMOTRON_KV], [DENSE]],
        [MIXER] * 5,
    ),
    "nemotron_3": Whole(
        p.SUPER_3,
        nemotron_tensors(p.SUPER_3_LAYERS),
        [[STATE], MOE, [STATE], [NEMOTRON_KV], MOE],
        [MIXER] * 5,
    ),
}
