"""From the tensors of a checkpoint to those of the output: experts stacked or split, numbers dequantised and cast."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from .errors import CheckpointError, refuse
from .quantised import (
    BLOCKS,
    SCALES,
    WEIGHT_SCALES,
    Names,
    are_floats,
    dequantising_problems,
    factors_of,
    is_scale,
    packed_names,
    unpacked_shape,
    with_scales,
)
from .tensor_plan import DTYPES, TensorPlan, cast, dequantise, dequantise_mxfp4, split_groups, stack_groups


Experts = Literal["keep", "stacked", "separate"]
UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


@dataclass(frozen=True)
class Regrouped:
    """Tensors, and the groups of which the stacked ones were split, or the single ones stacked."""

    tensors: dict[str, TensorPlan]
    were_split: Names
    were_stacked: Names


def regroup(tensors: Mapping[str, TensorPlan], groups: Names, experts: Experts) -> Regrouped:
    """
    Stack or split what the family allows to be, and its scales with it.

    Args:
        groups: Stacked name -> single names.

    Raises:
        CheckpointError: names what cannot be stacked, or says that there is nothing of the kind.
    """
    if experts == "keep":
        return Regrouped(dict(tensors), {}, {})
    if not groups:
        raise CheckpointError(
            f"experts = {experts!r}: this model has no experts that can be stacked or split",
            remedy="Leave out --experts.",
        )
    extended = with_scales(groups, tensors)
    if experts == "separate":
        stacked = {name: singles for name, singles in extended.items() if name in tensors}
        return Regrouped(split_groups(tensors, stacked), stacked, {})
    single = {name: singles for name, singles in extended.items() if name not in tensors}
    changed, problems = stack_groups(tensors, single)
    refuse("Experts cannot be stacked", problems, remedy="Use --experts keep.")
    return Regrouped(changed, {}, single)


def dequantise_all(tensors: Mapping[str, TensorPlan], method: str, dtype: str) -> dict[str, TensorPlan]:
    """
    All that is quantised as floating point. Scales that belong to no weight are gone: of activations, of the cache.

    Args:
        method: How the checkpoint is quantised, as `quantisation_method` says it.

    Raises:
        CheckpointError: names every tensor whose numbers are not known.
    """
    if method == "mxfp4":
        return dequantise_experts(tensors, dtype)
    refuse("Not all tensors can be dequantised", dequantising_problems(tensors), remedy="Leave out --dequantise.")
    changed: dict[str, TensorPlan] = {}
    for name, tensor in tensors.items():
        if factors := factors_of(name, tensors):
            changed[name] = dequantise(tensor, factors.values(), unpacked_shape(tensor), dtype)
        elif not is_scale(name):
            changed[name] = tensor
    return changed


def scales_of_activations(tensors: Mapping[str, TensorPlan]) -> list[TensorPlan]:
    """The scales that nothing is multiplied with once the weights are dequantised."""
    return [tensor for name, tensor in tensors.items() if is_scale(name) and not is_scale(name, WEIGHT_SCALES)]


def dequantise_experts(tensors: Mapping[str, TensorPlan], dtype: str) -> dict[str, TensorPlan]:
    """All experts in MXFP4 as floating point, in the places of their blocks."""
    names = set(packed_names(tensors))
    changed: dict[str, TensorPlan] = {}
    for name, tensor in tensors.items():
        base = name.removesuffix(BLOCKS)
        if base in names:
            changed[base] = dequantise_mxfp4(base, tensor, tensors[f"{base}{SCALES}"], dtype)
        elif name.removesuffix(SCALES) not in names:
            changed[name] = tensor
    return changed


def cast_all(tensors: Mapping[str, TensorPlan], dtype: str, buffers: Collection[str]) -> dict[str, TensorPlan]:
    """
    All parameters in floating point in another dtype; scales and buffers stay.

    Args:
        dtype: As torch calls it.
        buffers: Names of tensors that are no parameters.
    """
    return {
        name: cast(tensor, DTYPES[dtype]) if are_floats(tensor) and name not in buffers else tensor
        for name, tensor in tensors.items()
    }


def parse_size(size: str | int) -> int:
    """
    A number of bytes: `5GB` is 5 * 10**9, `5GiB` 5 * 2**30, as in transformers' `save_pretrained`.

    Raises:
        CheckpointError: where it is none.
    """
    text = str(size).strip().upper()
    number, unit = next(((text.removesuffix(unit), UNITS[unit]) for unit in UNITS if text.endswith(unit)), (text, 1))
    if not number.strip().isdecimal() or not int(number):
        raise CheckpointError(f"max_shard_size = {size!r}: a size like 500MB, 5GB or 4GiB is needed")
    return int(number) * unit
