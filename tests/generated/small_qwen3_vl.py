"""Small Qwen3-VL, dense and with experts, pictures for them, and configs whose text models are of every kind."""

from dataclasses import dataclass
from typing import Any

import torch

import transformers
import transformers_heterogeneous
from transformers import AutoModelForImageTextToText


IMAGE, VISION_START, VISION_END = 120, 122, 123
MARKS = [120, 121, 122, 123]  # what no answer says
OUTSIDE = {
    "image_token_id": IMAGE,
    "video_token_id": 121,
    "vision_start_token_id": VISION_START,
    "vision_end_token_id": VISION_END,
    "vision_config": {
        "depth": 4,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "patch_size": 4,
        "out_hidden_size": 32,
        "num_position_embeddings": 16,
        "deepstack_visual_indexes": [0, 1, 3],
    },
}
BASE = {
    "vocab_size": 128,
    "hidden_size": 32,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 2, 2]},
}
UNIFORM = {**BASE, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48}
# Features of the picture are added behind the first three layers: of these one has no attention, one nothing at all
MIXED = {
    **BASE,
    "num_hidden_layers": 6,
    "mixer_types": ["none", "attention", "none", "attention", "attention", "none"],
    "mlp_types": ["dense", "none", "none", "dense", "dense", "dense"],
    "num_attention_heads": [None, 4, None, 2, 8, None],
    "num_key_value_heads": [None, 2, None, 1, 2, None],
    "intermediate_size": [64, None, None, 32, 48, 64],
}
THINNED = {**UNIFORM, "mixer_types": ["attention", "none", "attention", "none"], "intermediate_size": [64, 96, 32, 64]}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
MIXED_EXPERTS = {
    "mlp_types": ["moe", "none", "none", "moe", "dense", "moe"],
    "num_attention_heads": 4,
    "num_key_value_heads": [None, 2, None, 1, 4, None],
    "intermediate_size": 48,
    "num_experts": [4, None, None, 6, None, 3],
    "num_experts_per_tok": [2, None, None, 3, None, 1],
    "moe_intermediate_size": [24, None, None, 40, None, 24],
}


@dataclass(frozen=True)
class SeeingFamily:
    """One of the two, by the name of the parent's classes; `kinds` are text configs."""

    name: str
    kinds: dict[str, dict[str, Any]]
    implementations: tuple[str, ...] = ("eager", "sdpa")

    def __str__(self) -> str:
        return self.PARENT_CONFIG.model_type

    @property
    def PARENT_CONFIG(self):
        return getattr(transformers, f"{self.name}Config")

    @property
    def PARENT(self):
        return getattr(transformers, f"{self.name}ForConditionalGeneration")

    @property
    def CONFIG(self):
        return getattr(transformers_heterogeneous, f"Heterogeneous{self.name}Config")

    @property
    def TEXT(self):
        return getattr(transformers_heterogeneous, f"Heterogeneous{self.name}TextConfig")

    def config(self, fields: dict):
        return self.CONFIG(**OUTSIDE, text_config=fields)

    def build(self, fields: dict, implementation: str = "sdpa"):
        """A model with reproducible weights, in evaluation mode."""
        torch.manual_seed(0)
        made = AutoModelForImageTextToText.from_config(self.config(fields), attn_implementation=implementation)
        return made.eval()

    def parent(self, implementation: str = "sdpa"):
        """The parent's own model whose layers are alike."""
        torch.manual_seed(3)
        config = self.PARENT_CONFIG(**OUTSIDE, text_config=self.kinds["uniform"])
        return self.PARENT._from_config(config, attn_implementation=implementation).eval()


DENSE = SeeingFamily("Qwen3VL", {"uniform": UNIFORM, "thinned": THINNED, "mixed": MIXED})
OF_EXPERTS = SeeingFamily(
    "Qwen3VLMoe",
    {
        "uniform": {**UNIFORM, **EXPERTS, "mlp_only_layers": [1]},
        "thinned": {**THINNED, **EXPERTS, "num_experts": [4, 6, 8, 4], "intermediate_size": 48},
        "mixed": {**MIXED, **MIXED_EXPERTS},
    },
)


def picture(height: int, width: int, seed: int) -> torch.Tensor:
    """Red grows to the right, green downwards, and there is a noisy square: (3, height, width) in -1..1."""
    across, down = torch.linspace(-1, 1, width).expand(height, -1), torch.linspace(-1, 1, height)[:, None]
    made = torch.stack([across, down.expand(-1, width), torch.zeros(height, width)])
    made[:, :4, :4] = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return made


def patches(image: torch.Tensor, size: int = 4, merge: int = 2) -> tuple[torch.Tensor, list[int]]:
    """As the processor of images gives them: those that are merged follow one another, each is there twice, as frames are."""
    rows, columns = image.shape[1] // size, image.shape[2] // size
    cut = image.reshape(3, rows // merge, merge, size, columns // merge, merge, size)
    cut = cut.permute(1, 4, 2, 5, 0, 3, 6)[..., None, :, :].expand(-1, -1, -1, -1, -1, 2, -1, -1)
    return cut.reshape(rows * columns, -1), [1, rows, columns]


def question() -> dict[str, torch.Tensor]:
    """What a processor makes of two questions, the first about a picture of 2 by 4 places, the second about two of 2 by 2."""
    images = [patches(picture(*size, seed)) for seed, size in enumerate([(16, 32), (16, 16), (16, 16)])]
    small = [VISION_START, *[IMAGE] * 4, VISION_END]
    rows = [
        [5, 6, VISION_START, *[IMAGE] * 8, VISION_END, 7, 8, 9, 10, 11],
        [12, *small, 13, *small, 14, 15, 16],
    ]
    tokens = torch.tensor(rows)
    return {
        "input_ids": tokens,
        "mm_token_type_ids": (tokens == IMAGE).int(),
        "pixel_values": torch.cat([values for values, _ in images]),
        "image_grid_thw": torch.tensor([grid for _, grid in images]),
    }
