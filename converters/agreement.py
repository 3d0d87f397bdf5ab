"""Whether a checkpoint holds the tensors that its config describes: names, shapes, dtypes, in all the forms they may have."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .engine.errors import refuse
from .engine.headers import Shape
from .engine.pieces import FLOATS, FP8, PACKED, TensorPlan
from .engine.quantised import (
    BLOCKS,
    SCALE_NAMES,
    is_mxfp4,
    missing_scales,
    mxfp4_shapes,
    scale_name,
    scale_shapes,
    weight_shapes,
)
from .families.family import Family


@dataclass(frozen=True)
class Form:
    """The shapes and dtypes that a tensor may have."""

    shapes: Collection[Shape]
    dtypes: tuple[str, ...] = FLOATS


def check_tensors(
    source: str,
    tensors: Mapping[str, TensorPlan],
    ignored: Collection[str],
    family: Family,
    config: Any,
    method: str | None,
) -> None:
    """
    Compare the tensors of a checkpoint with those that the model has.

    Args:
        source: What messages call the checkpoint.
        tensors: Under the family's names.
        ignored: Names of those that the model need not know.
        method: How the checkpoint is quantised, as `quantisation_method` says it.

    Raises:
        CheckpointError: names every tensor that is missing, unexpected or of another shape or dtype.
    """
    expected = expected_forms(as_found(family.tensor_shapes(config), family.stacked(config), tensors), tensors, method)
    optional = {name: Form([shape]) for name, shape in family.optional(config).items()}
    found = {name: tensor for name, tensor in tensors.items() if name not in ignored}
    refuse(
        f"{source}: the tensors are not those that config.json describes",
        [*tensor_problems(found, expected, optional), *lacking(expected, tensors)],
        remedy="" if method else quantised_remedy(found),
    )


def as_found(
    shapes: Mapping[str, Shape], groups: Mapping[str, tuple[str, ...]], tensors: Mapping[str, TensorPlan]
) -> dict[str, Shape]:
    """The shapes of the model's tensors, stacked where the checkpoint has them stacked."""
    stacked = {name: singles for name, singles in groups.items() if {name, f"{name}{BLOCKS}"} & tensors.keys()}
    taken = {single for singles in stacked.values() for single in singles}
    replaced = {name: (len(singles), *shapes[singles[0]]) for name, singles in stacked.items()}
    return {name: shape for name, shape in shapes.items() if name not in taken} | replaced


def expected_forms(
    shapes: Mapping[str, Shape], tensors: Mapping[str, TensorPlan], method: str | None
) -> dict[str, Form]:
    """The tensors that there have to be, in the forms that a quantised checkpoint has them in."""
    forms: dict[str, Form] = {}
    for name, shape in shapes.items():
        if method == "mxfp4" and is_mxfp4(name, shape, tensors):
            forms |= {f"{name}{suffix}": Form([packed], (PACKED,)) for suffix, packed in mxfp4_shapes(shape).items()}
        elif method == "modelopt":
            forms |= modelopt_forms(name, shape, tensors)
        else:
            forms[name] = Form([shape])
    return forms


def modelopt_forms(name: str, shape: Shape, tensors: Mapping[str, TensorPlan]) -> dict[str, Form]:
    """A weight and the scales that are beside it."""
    dtype = tensors[name].dtype if name in tensors else FLOATS[0]
    forms = {name: Form([weight_shapes(dtype, shape)], (*FLOATS, FP8, PACKED))}
    for scale in SCALE_NAMES:
        if (beside := scale_name(name, scale)) in tensors:
            forms[beside] = Form(scale_shapes(scale, dtype, shape), (*FLOATS, FP8))
    return forms


def lacking(expected: Mapping[str, Form], tensors: Mapping[str, TensorPlan]) -> Iterator[str]:
    for name in expected:
        if name in tensors and PACKED in expected[name].dtypes and FP8 in expected[name].dtypes:
            yield from missing_scales(name, tensors[name].dtype, tensors)


def tensor_problems(
    found: Mapping[str, TensorPlan], expected: Mapping[str, Form], optional: Mapping[str, Form]
) -> Iterator[str]:
    for name, form in expected.items():
        if name not in found:
            yield f"{name!r} is missing: expected with shape {in_words(form.shapes)}"
    allowed = {**optional, **expected}
    for name, tensor in found.items():
        place = f"{name!r} in {tensor.file}"
        if name not in allowed:
            yield f"{place} is unexpected: the model has no such tensor (shape {list(tensor.shape)})"
            continue
        if tensor.shape not in allowed[name].shapes:
            yield f"{place} has shape {list(tensor.shape)}, expected {in_words(allowed[name].shapes)}"
        if tensor.dtype not in allowed[name].dtypes:
            yield f"{place} has dtype {tensor.dtype}, allowed are {', '.join(allowed[name].dtypes)}"


def in_words(shapes: Collection[Shape]) -> str:
    return " or ".join(str(list(shape)) for shape in sorted(shapes))


def quantised_remedy(tensors: Mapping[str, TensorPlan]) -> str:
    """What to do about quantised tensors of which the config says nothing."""
    if all(tensor.dtype in FLOATS for tensor in tensors.values()):
        return ""
    return (
        "Quantised tensors need a quantization_config; --dequantise makes numbers of FP8 and NVFP4 without it, or "
        "convert the checkpoint that this one was made from."
    )
