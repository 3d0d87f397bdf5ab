"""
Quantised checkpoints: which tensors stand beside a weight, or in its place, and the config that names modules.

MXFP4 (gpt-oss) has blocks and scales in the place of experts. ModelOpt's FP8 and NVFP4 have a weight in fewer bits and
tensors with its scales beside it: `<module>.weight_scale`, or `<name>_weight_scale` where the weight has no module.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .errors import CheckpointError
from .family import Shape
from .json_objects import read_object
from .pieces import FLOATS, TensorPlan


HF_QUANT_CONFIG = "hf_quant_config.json"
METHODS = ("modelopt", "mxfp4")
BLOCKS, SCALES = "_blocks", "_scales"
MXFP4_GROUP, MXFP4_BYTES = 32, 16
FP8, PACKED = "F8_E4M3", "U8"
NVFP4_GROUP = 16
# What ModelOpt writes beside a weight
SCALE_NAMES = (
    *("weight_scale", "weight_scale_2", "weight_scale_inv", "input_scale", "pre_quant_scale"),
    *("k_scale", "v_scale", "q_scale", "output_scale"),
)
Names = Mapping[str, tuple[str, ...]]


def quantisation_method(folder: Path, config_dict: Mapping[str, Any]) -> str | None:
    """
    How a checkpoint is quantised: `modelopt`, `mxfp4` or, where it is not, `None`.

    Raises:
        CheckpointError: where it is in a way whose tensors are not known here.
    """
    quantisation = config_dict.get("quantization_config")
    if not quantisation:
        return "modelopt" if (folder / HF_QUANT_CONFIG).is_file() else None
    method = quantisation.get("quant_method") if isinstance(quantisation, dict) else quantisation
    if method not in METHODS:
        raise CheckpointError(
            f"{folder / 'config.json'}: quantization_config has quant_method = {method!r}, known are {METHODS}",
            remedy="Convert the checkpoint that this one was made from.",
        )
    return str(method)


def scale_name(weight: str, scale: str) -> str:
    """The name of a scale of a weight."""
    module = module_of(weight)
    return f"{module}{'_' if module == weight else '.'}{scale}"


def with_scales(groups: Names, tensors: Mapping[str, TensorPlan]) -> dict[str, tuple[str, ...]]:
    """The groups that may be stacked or split, and beside each those of its weights' scales that are there."""
    extended = dict(groups)
    for stacked, singles in groups.items():
        for scale in SCALE_NAMES:
            name, names = scale_name(stacked, scale), tuple(scale_name(single, scale) for single in singles)
            if name in tensors or any(single in tensors for single in names):
                extended[name] = names
    return extended


def mxfp4_shapes(shape: Shape) -> dict[str, Shape]:
    """Suffix -> shape of the two tensors in the place of experts of this shape, `[experts, in, out]`."""
    num_experts, num_in, num_out = shape
    groups = (num_experts, num_out, num_in // MXFP4_GROUP)
    return {BLOCKS: (*groups, MXFP4_BYTES), SCALES: groups}


def is_mxfp4(name: str, shape: Shape, names: Iterable[str]) -> bool:
    """Whether MXFP4 stands in the place of a tensor."""
    return name not in names and f"{name}{BLOCKS}" in names and len(shape) == 3 and shape[1] % MXFP4_GROUP == 0


def packed_names(tensors: Mapping[str, TensorPlan]) -> Iterator[str]:
    """Names of the tensors in whose place MXFP4 stands."""
    for name in tensors:
        base = name.removesuffix(BLOCKS)
        if base != name and f"{base}{SCALES}" in tensors:
            yield base


def weight_shapes(dtype: str, shape: Shape) -> Shape:
    """The shape that a weight has on disk in this dtype: NVFP4 packs two values into a byte."""
    return (*shape[:-1], shape[-1] // 2) if dtype == PACKED and shape else shape


def scale_shapes(scale: str, dtype: str, shape: Shape) -> set[Shape]:
    """
    The shapes that a scale of a weight may have.

    Args:
        dtype: Of the weight, as it is on disk.
        shape: Of the weight, unpacked.
    """
    lead = shape[:-2]
    single = {(), (1,), lead, (*lead, 1)}
    if scale == "pre_quant_scale":
        return {shape[-1:], (*lead, *shape[-1:])}
    if not scale.startswith("weight_scale") or scale == "weight_scale_2":
        return single
    if dtype == PACKED:
        return {(*shape[:-1], shape[-1] // NVFP4_GROUP)}
    blocks = tuple(-(-size // 128) for size in shape[-2:])
    return {*single, shape[:-1], (*shape[:-1], 1), (*lead, *blocks)}


def missing_scales(name: str, dtype: str, names: Iterable[str]) -> Iterator[str]:
    """The scales without which the numbers of a quantised weight mean nothing."""
    needed = {FP8: ("weight_scale", "weight_scale_inv"), PACKED: ("weight_scale",)}.get(dtype, ())
    if needed and not any(scale_name(name, scale) in names for scale in needed):
        yield f"{name!r} is quantised ({dtype}), and {scale_name(name, needed[0])!r} is missing"


def is_scale(name: str) -> bool:
    """Whether a tensor holds scales, whose dtype is not ours to change."""
    return name.endswith(tuple(f"{mark}{scale}" for scale in SCALE_NAMES for mark in "._"))


def are_floats(tensor: TensorPlan) -> bool:
    """Whether a tensor holds plain numbers, which may be cast."""
    return tensor.dtype in FLOATS and not is_scale(tensor.name)


def rename_modules(value: Any, rename: Callable[[str], Iterable[str]]) -> Any:
    """
    A quantisation config with the modules that it names renamed: strings of lists and keys, however deep.

    Args:
        rename: Old name -> new names; several where a module was split. Other strings are to be returned as they are.
    """
    if isinstance(value, list):
        if all(isinstance(member, str) for member in value):
            return list(dict.fromkeys(name for member in value for name in rename(member)))
        return [rename_modules(member, rename) for member in value]
    if isinstance(value, dict):
        return {name: rename_modules(member, rename) for old, member in value.items() for name in rename(old)}
    return value


def module_names(
    names_in: Callable[[str], str], names_out: Callable[[str], str], before: Names, after: Names
) -> Callable[[str], Iterable[str]]:
    """
    Names of modules in the source -> their names in the output.

    Args:
        names_in: Published name -> the family's; "" of what is not there any more.
        names_out: The family's name -> that of the output.
        before: The groups that were stacked in the source and are split.
        after: The groups that were single and are stacked.
    """
    modules = {stacked: [module_of(single) for single in singles] for stacked, singles in before.items()}
    modules |= {module_of(single): [stacked] for stacked, singles in after.items() for single in singles}

    def rename(name: str) -> Iterable[str]:
        inner = names_in(name)
        if not inner:
            return []
        return [names_out(new) for new in modules.get(inner, [inner])]

    return rename


def module_of(weight: str) -> str:
    return weight.removesuffix(".weight")


def read_hf_quant_config(folder: Path) -> dict[str, Any] | None:
    """ModelOpt's own description of a quantised checkpoint, where there is one."""
    return read_object(folder / HF_QUANT_CONFIG) if (folder / HF_QUANT_CONFIG).is_file() else None
