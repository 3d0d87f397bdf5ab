"""A checkpoint as its family sees it: config, and tensors under the family's names, checked against one another."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .agreement import check_tensors
from .errors import CheckpointError
from .family import PublishedFormat
from .formats import family_config, read_config
from .pieces import TensorPlan
from .plan import NamedTensor, read_tensors, unused_tensors
from .quantisation import quantisation_method
from .weights import Weights, read_weights


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
    """

    folder: Path
    published: PublishedFormat
    config_dict: Mapping[str, Any]
    config: Any
    method: str | None
    weights: Weights
    tensors: Mapping[str, TensorPlan]
    dropped: tuple[NamedTensor, ...]
    unused: Mapping[str, NamedTensor]

    @property
    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """Stacked name -> single names."""
        return self.published.family.stacked(self.config)


def read_checkpoint(folder: Path, dtype: str | None = None) -> Checkpoint:
    """
    Read and check a checkpoint; of its tensors only the headers.

    Args:
        dtype: What its config is to say instead of its own, as torch calls it.

    Raises:
        CheckpointError: names every file, tensor, layer or field that is at fault.
    """
    published, config_dict = read_config(folder)
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: a checkpoint folder is needed, this is a file")
    method = quantisation_method(folder, config_dict)
    config = family_config(published, with_dtype(config_dict, dtype), str(folder / "config.json"))
    weights = read_weights(folder)
    tensors, dropped = read_tensors(weights, published.names, published.dropped)
    unused = unused_tensors(tensors, published.unused)
    check_tensors(str(folder), tensors, unused, published.family, config, method)
    return Checkpoint(folder, published, config_dict, config, method, weights, tensors, dropped, unused)


def with_dtype(config_dict: Mapping[str, Any], dtype: str | None) -> dict[str, Any]:
    """A config that says another dtype, where one is named."""
    if dtype is None:
        return dict(config_dict)
    return {name: value for name, value in config_dict.items() if name != "torch_dtype"} | {"dtype": dtype}
