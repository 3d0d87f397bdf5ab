"""A checkpoint as its family sees it: config, and tensors under the family's names, checked against one another."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

from transformers_heterogeneous.configuration_heterogeneous import HeterogeneousPreTrainedConfig

from .engine.errors import CheckpointError
from .engine.plan import NamedTensor, read_tensors, unused_tensors
from .engine.quantised import has_quantised_weights, is_scale
from .engine.tensor_plan import TORCH_DTYPES, TensorPlan, join, take_apart
from .engine.weights import Weights, read_weights
from .families.layers import Place, left_out, places, renumbered
from .formats.expression import without
from .formats.published_format import PublishedFormat
from .formats.recognition import config_file, family_config, model_fields, read_config
from .quantisation import (
    Modules,
    in_modules,
    modules_of,
    quantisation_method,
    with_words,
)
from .tensor_checks import check_tensors


@dataclass(frozen=True)
class Checkpoint:
    """
    All that config, index and headers say.

    Attributes:
        folder: Where it is.
        published: The format that it is in.
        config_dict: Its config.json.
        config: The family's config.
        method: How it is quantised, as `quantisation_method` says it.
        tensors: Those that are kept, by the family's names.
        dropped: Those that are left out.
        unused: Those that are kept, though loading ignores them, by the family's names.
        numbers: Layer of the files -> layer of the config, where these are not the same. Of other layers the files say
            nothing.
    """

    folder: Path
    published: PublishedFormat
    config_dict: Mapping[str, Any]
    config: HeterogeneousPreTrainedConfig
    method: str | None
    weights: Weights
    tensors: Mapping[str, TensorPlan]
    dropped: tuple[NamedTensor, ...]
    unused: Mapping[str, NamedTensor]
    numbers: Mapping[int, int] = field(default_factory=dict)

    @cached_property
    def modules(self) -> Modules:
        """Those that hold tensors."""
        first = {new: old for old, new in self.numbers.items()}
        named = ((tensor.pieces[0].tensor, renumbered(name, first), tensor) for name, tensor in self.tensors.items())
        return modules_of(named, self.groups)

    def module_in(self, pattern: str) -> str:
        """What the family may call a module of the files, or a pattern of such; "" of what is not there any more."""
        return renumbered(with_words(pattern, self.published.names), self.numbers)

    def model_fields(self) -> dict[str, Any]:
        """
        What the config says of the model, modules as `modules_in` has them. A config that names no dtype has that of the
        tensors, the one that most of their numbers are in.
        """
        fields = model_fields(self.config)
        if "quantization_config" in fields:
            fields["quantization_config"] = self.modules_in(fields["quantization_config"], self.method)
        return {**fields, "dtype": fields.get("dtype") or self.dtype_of_tensors}

    def modules_in(self, quantisation: Any, method: str | None) -> Any:
        """What a quantisation config says of the modules, under the family's names, experts singly."""
        return in_modules(quantisation, self.modules, method or "", self.module_in)

    @property
    def dtype_of_tensors(self) -> str | None:
        """The dtype that most numbers of the tensors are in, as torch calls it; `None` where none is a plain one."""
        counts: Counter[str] = Counter()
        for tensor in self.tensors.values():
            if tensor.dtype in TORCH_DTYPES and not is_scale(tensor.name):
                counts[tensor.dtype] += tensor.num_elements
        return TORCH_DTYPES[max(counts, key=counts.__getitem__)] if counts else None

    @property
    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """Stacked name -> single names."""
        return self.published.family.stacked(self.config)


def read_checkpoint(
    folder: Path, dtype: str | None = None, by_scales: bool = False, to: str | None = None
) -> Checkpoint:
    """
    Read and check a checkpoint; of its tensors only the headers.

    Args:
        dtype: What its config is to say instead of its own, as torch calls it.
        by_scales: Whether weights in FP8 or NVFP4 may also be known by their scales alone.
        to: What it is to be converted to: where several families read it, one of them has to be named.

    Raises:
        CheckpointError: names every file, tensor, layer or field that is at fault.
    """
    published, config_dict = read_config(folder, to)
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: a checkpoint folder is needed, this is a file")
    return checked_checkpoint(folder, published, config_dict, lambda: read_weights(folder), dtype, by_scales)


def checked_checkpoint(
    folder: Path,
    published: PublishedFormat,
    config_dict: Mapping[str, Any],
    read: Callable[[], Weights],
    dtype: str | None = None,
    by_scales: bool = False,
) -> Checkpoint:
    """
    The same of a config and weights that are had otherwise.

    Args:
        read: Reads the weights, where the config is one.
    """
    file = str(config_file(folder))
    check_head(config_dict, file)
    method = quantisation_method(folder, config_dict)
    config = family_config(published, with_dtype(config_dict, dtype), file)
    weights = read()
    names = {**published.names, **published.family.fused_names(config)}
    tensors, dropped = read_tensors(weights, names, published.dropped)
    tensors = in_family_layout(tensors, published, config)
    tensors, skipped = left_out(tensors, skipped_places(published, config_dict, config))
    if groups := published.family.joined(config):
        tensors = join(tensors, groups, published.family.tensor_shapes(config))
    check_layout(folder, tensors, published.family.other_layouts)
    unused = unused_tensors(tensors, published.family.unused)
    if method is None and by_scales and has_quantised_weights(tensors):
        method = "modelopt"
    check_tensors(str(folder), tensors, unused, published.family, config, method)
    return Checkpoint(folder, published, config_dict, config, method, weights, tensors, (*dropped, *skipped), unused)


def in_family_layout(
    tensors: dict[str, TensorPlan], published: PublishedFormat, config: HeterogeneousPreTrainedConfig
) -> dict[str, TensorPlan]:
    """The tensors of a format that has several of the family's in one, taken apart."""
    if published.parts is None:
        return tensors
    return take_apart(tensors, published.parts(config), published.family.tensor_shapes(config))


def check_layout(folder: Path, tensors: Mapping[str, TensorPlan], layouts: Mapping[str, str]) -> None:
    """Raise a `CheckpointError` that names a layout of tensors which cannot be read, in place of hundreds of tensors."""
    for pattern, layout in layouts.items():
        if found := [name for name in tensors if fnmatchcase(name, pattern)]:
            raise CheckpointError(
                f"{folder}: {len(found):,} tensors are {layout}, such as {found[0]!r} ({tensors[found[0]].dtype})",
                remedy="Convert the checkpoint that this one was made from.",
            )


def check_head(config_dict: Mapping[str, Any], file: str) -> None:
    """Raise a `CheckpointError` where the architecture is another than a causal language model."""
    names = config_dict.get("architectures")
    found = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    if any("For" in name for name in found) and not any("ForCausalLM" in name for name in found):
        raise CheckpointError(
            f"{file}: architectures = {found}, and only causal LMs are converted",
            remedy="Convert the causal LM that this model was made from.",
        )


def skipped_places(
    published: PublishedFormat, config_dict: Mapping[str, Any], config: HeterogeneousPreTrainedConfig
) -> dict[Place, str]:
    """Where tensors may lie that the checkpoint's own config says to skip, and a reason to leave them out."""
    unskipped = published.unskipped(config_dict) if published.unskipped else without_skips(config_dict)
    if unskipped is None:
        return {}
    try:
        whole = family_config(published, unskipped, "without skip")
    except CheckpointError:
        return {}  # such layers are described by nothing else
    gone = places(published.family.tensor_shapes(whole)) - places(published.family.tensor_shapes(config))
    by = [name for name in published.readers if config_dict.get(name) is not None] or ["per_layer_config"]
    return dict.fromkeys(gone, f"skipped by {' and '.join(by)} in config.json")


def without_skips(config_dict: Mapping[str, Any]) -> dict[str, Any] | None:
    """A config whose `per_layer_config` skips nothing; `None` where it does so already."""
    overrides = config_dict.get("per_layer_config")
    if not isinstance(overrides, dict) or not any("skip" in members for members in overrides.values()):
        return None
    unskipped = {layer: without(members, "skip") for layer, members in overrides.items()}
    return {**config_dict, "per_layer_config": unskipped}


def with_dtype(config_dict: Mapping[str, Any], dtype: str | None) -> dict[str, Any]:
    """A config that says another dtype, where one is named."""
    if dtype is None:
        return dict(config_dict)
    return {name: value for name, value in config_dict.items() if name != "torch_dtype"} | {"dtype": dtype}


def dtype_of(config: HeterogeneousPreTrainedConfig) -> str:
    """The dtype that a config names, as torch calls it; bfloat16 where it names none."""
    return str(getattr(config, "dtype", None) or "bfloat16").removeprefix("torch.")
