"""Whether a checkpoint holds the tensors that its config describes: names, shapes, dtypes, in all the forms they may have."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from math import prod

from transformers_heterogeneous.configuration_heterogeneous import HeterogeneousPreTrainedConfig

from .engine.errors import refuse
from .engine.headers import Shape
from .engine.quantised import (
    BLOCKS,
    COMPUTABLE,
    SCALE_NAMES,
    is_mxfp4,
    is_scale,
    missing_scales,
    module_in,
    mxfp4_shapes,
    scale_name,
    scale_shapes,
    weight_shapes,
)
from .engine.tensor_plan import FLOATS, FP8, PACKED, TensorPlan
from .families.family import Family


CUT = (
    "Where tensors were cut out and config.json has the old numbers, `hetero infer` finds the new ones in the shapes."
)


@dataclass(frozen=True)
class Form:
    """The shapes and dtypes that a tensor may have; `None` where it may have any."""

    shapes: Collection[Shape] | None
    dtypes: tuple[str, ...] | None = FLOATS


def check_tensors(
    source: str,
    tensors: Mapping[str, TensorPlan],
    ignored: Collection[str],
    family: Family,
    config: HeterogeneousPreTrainedConfig,
    method: str | None,
    remedy: str = CUT,
) -> None:
    """
    Compare the tensors of a checkpoint with those that the model has.

    Args:
        source: What messages call the checkpoint.
        tensors: Under the family's names.
        ignored: Names of those that the model need not know.
        method: How the checkpoint is quantised, as `quantisation_method` says it.
        remedy: What to do where plain tensors are others.

    Raises:
        CheckpointError: names every tensor that is missing, unexpected or of another shape or dtype.
    """
    expected = expected_forms(as_found(family.tensor_shapes(config), family.stacked(config), tensors), tensors, method)
    optional = {name: Form([shape]) for name, shape in family.optional(config).items()}
    found = {name: tensor for name, tensor in tensors.items() if name not in ignored}
    refuse(
        f"{source}: the tensors are not those that config.json describes",
        [*tensor_problems(found, expected, optional), *lacking(expected, tensors)],
        remedy="" if method else quantised_remedy(found) or remedy,
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
    return forms if method in (None, *COMPUTABLE) else with_companions(forms, shapes, tensors)


def with_companions(
    forms: Mapping[str, Form], shapes: Mapping[str, Shape], tensors: Mapping[str, TensorPlan]
) -> dict[str, Form]:
    """
    The forms where the method is none of those that are known here: a weight beside which something stands may be in any,
    or be replaced by what holds its numbers, and what stands there too.
    """
    beside = companions(shapes, tensors)
    replaced = {weight for name, weight in beside.items() if may_hold(tensors[name], shapes.get(weight, ()))}
    gone = {weight for weight in replaced if weight not in tensors}
    anything = [*beside, *(weight for weight in beside.values() if weight in tensors)]
    return {name: form for name, form in forms.items() if name not in gone} | dict.fromkeys(anything, Form(None, None))


def may_hold(tensor: TensorPlan, shape: Shape) -> bool:
    """Whether a tensor has room for the numbers of a weight of this shape: at least a bit for each, and no scales."""
    return tensor.dtype not in FLOATS and 8 * tensor.num_bytes >= prod(shape)


def companions(shapes: Mapping[str, Shape], tensors: Mapping[str, TensorPlan]) -> dict[str, str]:
    """Tensors that the model does not have, and that stand beside a weight or in its place -> that weight, or the module
    that a scale lies in."""
    modules = {name[:end] for name in shapes for end, letter in enumerate(name) if letter == "."}
    found: dict[str, str] = {}
    for name in tensors.keys() - shapes.keys():
        module = module_in(name, 0)
        matrices = [name for name in (f"{module}.weight", module, *stems(name)) if len(shapes.get(name, ())) > 1]
        if matrices:
            found[name] = matrices[0]
        elif is_scale(name) and module in modules:
            found[name] = module
    return found


def stems(name: str) -> Iterator[str]:
    """What a name is a longer form of, where its last words have been added."""
    while (name := name.rpartition("_")[0]).rpartition(".")[2]:
        yield name


def quantised_tensors(
    tensors: Mapping[str, TensorPlan], family: Family, config: HeterogeneousPreTrainedConfig
) -> set[str]:
    """Those that a method which is not known here has made or changed."""
    beside = companions(as_found(family.tensor_shapes(config), family.stacked(config), tensors), tensors)
    return beside.keys() | (set(beside.values()) & tensors.keys())


def modelopt_forms(name: str, shape: Shape, tensors: Mapping[str, TensorPlan]) -> dict[str, Form]:
    """A weight and the scales that are beside it."""
    dtype = tensors[name].dtype if name in tensors else FLOATS[0]
    forms = {name: Form([weight_shapes(dtype, shape)], (*FLOATS, FP8, PACKED))}
    for scale in SCALE_NAMES:
        if (beside := scale_name(name, scale)) in tensors:
            forms[beside] = Form(scale_shapes(scale, dtype, shape), (*FLOATS, FP8))
    return forms


def lacking(expected: Mapping[str, Form], tensors: Mapping[str, TensorPlan]) -> Iterator[str]:
    for name, form in expected.items():
        if name in tensors and form.dtypes is not None and {PACKED, FP8} <= set(form.dtypes):
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
        shapes, dtypes = allowed[name].shapes, allowed[name].dtypes
        if shapes is not None and tensor.shape not in shapes:
            yield f"{place} has shape {list(tensor.shape)}, expected {in_words(shapes)}"
        if dtypes is not None and tensor.dtype not in dtypes:
            yield f"{place} has dtype {tensor.dtype}, allowed are {', '.join(dtypes)}"


def in_words(shapes: Collection[Shape] | None) -> str:
    return " or ".join(str(list(shape)) for shape in sorted(shapes or ()))


def quantised_remedy(tensors: Mapping[str, TensorPlan]) -> str:
    """What to do about quantised tensors of which the config says nothing."""
    if all(tensor.dtype in FLOATS for tensor in tensors.values()):
        return ""
    return (
        "Quantised tensors need a quantization_config; --dequantise makes numbers of FP8 and NVFP4 without it, or "
        "convert the checkpoint that this one was made from."
    )
