"""
Quantised tensors: which stand beside a weight, or in its place.

MXFP4 (gpt-oss) has blocks and scales in the place of experts. ModelOpt's FP8 and NVFP4 have a weight in fewer bits and
tensors with its scales beside it: `<module>.weight_scale`, or `<name>_weight_scale` where the weight has no module.
"""

from collections.abc import Iterable, Iterator, Mapping

from .headers import Shape
from .tensor_plan import FLOATS, FP8, PACKED, TensorPlan


BLOCKS, SCALES = "_blocks", "_scales"
MXFP4_GROUP, MXFP4_BYTES = 32, 16
NVFP4_GROUP = 16
# What ModelOpt writes beside a weight
SCALE_NAMES = (
    *("weight_scale", "weight_scale_2", "weight_scale_inv", "input_scale", "pre_quant_scale"),
    *("k_scale", "v_scale", "q_scale", "output_scale"),
)
# Those of them that a weight is multiplied with; the others are of what is computed, and of the cache
WEIGHT_SCALES = ("weight_scale", "weight_scale_inv", "weight_scale_2")
# Methods whose tensors can be stacked, split and dequantised
COMPUTABLE = ("modelopt", "mxfp4")
Names = Mapping[str, tuple[str, ...]]


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


def is_scale(name: str, scales: Iterable[str] = SCALE_NAMES) -> bool:
    """Whether a tensor holds scales, of these names, whose dtype is not ours to change."""
    return name.endswith(tuple(f"{mark}{scale}" for scale in scales for mark in "._"))


def has_quantised_weights(tensors: Mapping[str, TensorPlan]) -> bool:
    """Whether there are weights in FP8 or NVFP4, with their scales, whatever the config says."""
    quantised = (name for name, tensor in tensors.items() if tensor.dtype in (FP8, PACKED))
    return any(scale_name(name, scale) in tensors for name in quantised for scale in WEIGHT_SCALES)


def factors_of(name: str, tensors: Mapping[str, TensorPlan]) -> dict[str, TensorPlan]:
    """The scales that a quantised weight is multiplied with, by what ModelOpt calls them; none of other tensors."""
    if is_scale(name) or tensors[name].dtype not in (FP8, PACKED):
        return {}
    names = {scale: scale_name(name, scale) for scale in WEIGHT_SCALES}
    return {scale: tensors[beside] for scale, beside in names.items() if beside in tensors}


def dequantising_problems(tensors: Mapping[str, TensorPlan]) -> Iterator[str]:
    """Why the numbers of quantised weights are not known, or what weight a scale is of."""
    used: set[str] = set()
    for name, tensor in tensors.items():
        factors = factors_of(name, tensors)
        used |= {factor.name for factor in factors.values()}
        if factors or (tensor.dtype == FP8 and not is_scale(name)):
            yield from weight_problems(tensor, factors, tensors)
    for name in tensors:
        if is_scale(name, WEIGHT_SCALES) and name not in used:
            yield f"{name!r} is the scale of no weight in FP8 or NVFP4"


def weight_problems(
    weight: TensorPlan, factors: Mapping[str, TensorPlan], tensors: Mapping[str, TensorPlan]
) -> Iterator[str]:
    """Why the numbers of a quantised weight are not known."""
    needed = ("weight_scale", "weight_scale_2") if weight.dtype == PACKED else ("weight_scale",)
    if tuple(factors) not in (needed, ("weight_scale_inv",) * (weight.dtype == FP8)):
        said = " and ".join(repr(scale_name(weight.name, scale)) for scale in needed)
        yield f"{weight.name!r} ({weight.dtype}) needs {said}, found are {sorted(factors) or 'none'}"
    if (before := scale_name(weight.name, "pre_quant_scale")) in tensors:
        yield f"{before!r} scales what {weight.name!r} is multiplied with: such weights are not dequantised"
    shape = unpacked_shape(weight)
    if weight.dtype == PACKED and shape[-1:] and shape[-1] % NVFP4_GROUP:
        yield f"{weight.name!r} has rows of {shape[-1]} values: NVFP4 has groups of {NVFP4_GROUP}"
    for scale, factor in factors.items():
        if factor.shape not in scale_shapes(scale, weight.dtype, shape) or factor.dtype not in (*FLOATS, FP8):
            yield f"{factor.name!r} is {factor.dtype} {list(factor.shape)}, which does not fit {list(shape)}"


def unpacked_shape(weight: TensorPlan) -> Shape:
    """The shape of a weight whose dtype may pack two values into a byte."""
    shape = weight.shape
    return (*shape[:-1], 2 * shape[-1]) if weight.dtype == PACKED and shape else shape


def are_floats(tensor: TensorPlan) -> bool:
    """Whether a tensor holds plain numbers, which may be cast."""
    return tensor.dtype in FLOATS and not is_scale(tensor.name)


def module_of(weight: str) -> str:
    return weight.removesuffix(".weight")


def module_in(tensor: str, num_dims: int) -> str:
    """
    The module that a tensor, or a companion of it, belongs to. Experts that are stacked have none of their own and are
    called by the name of the tensor.
    """
    for suffix in (BLOCKS, SCALES, *(f"_{scale}" for scale in SCALE_NAMES)):
        if tensor.endswith(suffix):
            return tensor.removesuffix(suffix)
    if num_dims >= 3 and not tensor.endswith(".weight"):
        return tensor
    owner, _, _ = tensor.partition(".weight.")  # bitsandbytes: `<module>.weight.absmax`
    return tensor.rpartition(".")[0] if owner == tensor else owner
