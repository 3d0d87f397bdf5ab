"""
A family that exists for the tests alone, and its formats: names that change, experts that may be stacked or packed,
files that are prescribed. What the engine can do is tried out on it, whatever the real families need of it.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from transformers_heterogeneous.converters.engine.errors import CheckpointError
from transformers_heterogeneous.converters.families.family import Family
from transformers_heterogeneous.converters.families.tensors import Tensor, Tensors
from transformers_heterogeneous.converters.formats import recognition
from transformers_heterogeneous.converters.formats.published_format import PublishedFormat


H, V, WIDTH, EXPERTS = 64, 128, 96, 3


@dataclass
class ToyConfig:
    """As much of a config as the engine asks for."""

    num_hidden_layers: int = 2
    fused: bool = False
    dtype: str = "bfloat16"
    quantization_config: dict[str, Any] | None = None
    model_type: str = "toy"
    architectures: list[str] = field(default_factory=list)
    hidden_size = H
    num_attention_heads = 1
    per_layer_sizes = {}  # noqa: RUF012
    compatible_model_types = ()
    attribute_map = {}  # noqa: RUF012
    fused_blocks = None

    @property
    def mixer_types(self) -> list[str]:
        return ["attention"] * self.num_hidden_layers

    @property
    def mlp_types(self) -> list[str]:
        return ["moe"] * self.num_hidden_layers

    @classmethod
    def refuse_other_models(cls, members: dict[str, Any]) -> None:
        """There is one."""

    @classmethod
    def without_unread_fields(cls, members: dict[str, Any]) -> dict[str, Any]:
        return dict(members)

    @classmethod
    def from_dict(cls, members: dict[str, Any]) -> "ToyConfig":
        known = cls.__dataclass_fields__.keys() - {"model_type"}  # what it reads becomes its own
        return cls(**{name: value for name, value in members.items() if name in known})

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def to_json_string(self) -> str:
        return json.dumps(self.to_dict())


def layer_tensors(config: ToyConfig) -> list[Tensor]:
    tensors = [Tensor("norm.weight", (H,)), Tensor("mixer.k_proj.weight", (H, H))]
    if config.fused:
        return [*tensors, Tensor("experts.fused", (EXPERTS, H, WIDTH))]
    singles = [f"experts.{expert}.up_proj.weight" for expert in range(EXPERTS)]
    return tensors + [Tensor(single, (WIDTH, H), "experts.up_proj") for single in singles]


class ToyFamily(Family):
    """A family without a model."""

    unused = {"mtp.*": "not built"}  # noqa: RUF012

    def tensors(self, config: ToyConfig) -> Tensors:
        outside = [Tensor("model.embeddings.weight", (V, H)), Tensor("model.bias", (V,), is_buffer=True)]
        return Tensors(outside, [layer_tensors(config)] * config.num_hidden_layers)


FAMILY = ToyFamily(ToyConfig)


def write_config(config: ToyConfig) -> dict[str, Any]:
    if config.num_hidden_layers > 10:
        raise CheckpointError("toy_published has ten layers at most")
    return {**config.to_dict(), "model_type": "toy_published"}


def in_sub_blocks(name: str, config: ToyConfig) -> str:
    return f"parts/{'_'.join(name.split('.')[1:3]) if 'layers' in name else 'rest'}.safetensors"


OWN = PublishedFormat("toy", "", lambda config: config.get("model_type") == "toy", FAMILY)
PUBLISHED = PublishedFormat(
    "toy_published",
    "",
    lambda config: config.get("model_type") == "toy_published",
    FAMILY,
    dropped={"*.inv_freq": "computed"},
    names={"backbone.": "model."},
    write_config=write_config,
)
IN_PARTS = PublishedFormat(
    "toy_parts", "", lambda config: False, FAMILY, write_config=ToyConfig.to_dict, file_of=in_sub_blocks
)
OLD_NAMES = replace(PUBLISHED, name="toy_old_names", recognises=lambda config: False, written_names={"old.": "model."})


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the formats known."""
    monkeypatch.setattr(recognition, "FORMATS", (OWN, PUBLISHED, IN_PARTS, OLD_NAMES, *recognition.FORMATS))


def random_tensors(fused: bool = False) -> dict[str, torch.Tensor]:
    """All tensors of the toy under their published names, in bfloat16; the bias is float32."""
    generator = torch.Generator().manual_seed(3)
    config = ToyConfig(fused=fused)
    shapes = FAMILY.tensor_shapes(config).items()
    tensors = {name: torch.randn(shape, generator=generator).bfloat16() for name, shape in shapes}
    tensors["model.bias"] = tensors["model.bias"].float()
    return {name.replace("model.", "backbone."): tensor for name, tensor in tensors.items()}


def write_toy(
    folder: Path, tensors: dict[str, torch.Tensor], config: dict[str, Any] | None = None, num_files: int = 2
) -> None:
    """A published checkpoint, its tensors dealt out to the files in turn."""
    folder.mkdir(parents=True)
    members = {"model_type": "toy_published", "num_hidden_layers": 2, **(config or {})}
    (folder / "config.json").write_text(json.dumps(members))
    weight_map: dict[str, str] = {}
    for number in range(num_files):
        file_name = f"model-{number + 1:05}-of-{num_files:05}.safetensors"
        names = list(tensors)[number::num_files]
        save_file({name: tensors[name] for name in names}, folder / file_name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(names, file_name)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def ours(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same under the family's names."""
    return {name.replace("backbone.", "model."): tensor for name, tensor in tensors.items()}


def stacked_experts(tensors: dict[str, torch.Tensor], suffix: str = "up_proj.weight", name: str = "up_proj") -> dict:
    """The same with the experts of each layer as one tensor, by torch."""
    singles = {key for key in tensors if ".experts." in key and key.endswith(suffix)}
    layers = sorted({key.split(".experts.")[0] for key in singles})
    stacks = {
        f"{layer}.experts.{name}": torch.stack([tensors[f"{layer}.experts.{at}.{suffix}"] for at in range(EXPERTS)])
        for layer in layers
    }
    return {key: tensor for key, tensor in tensors.items() if key not in singles} | stacks


def packed(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The experts in MXFP4, random bytes."""
    generator = torch.Generator().manual_seed(9)
    shape = (EXPERTS, WIDTH, H // 32)
    found = {name: tensor for name, tensor in tensors.items() if "fused" not in name}
    for layer in (0, 1):
        name = f"backbone.layers.{layer}.experts.fused"
        found[f"{name}_blocks"] = torch.randint(0, 256, (*shape, 16), dtype=torch.uint8, generator=generator)
        found[f"{name}_scales"] = torch.randint(100, 140, shape, dtype=torch.uint8, generator=generator)
    return found


MXFP4 = {"fused": True, "quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": ["backbone.bias"]}}
