"""The files with tensors of the output."""

from collections.abc import Mapping

from .checkpoint import Checkpoint, dtype_of
from .conversion_job import ConversionJob
from .conversion_options import ConversionOptions
from .engine.errors import CheckpointError
from .engine.plan import NamedTensor, WeightsPlan, in_files, in_shards, plan_weights, sources_of, with_names
from .engine.tensor_layout import Regrouped, cast_all, dequantise_all, scales_of_activations
from .engine.tensor_plan import DTYPES, TensorPlan, put_together


def plan_output(job: ConversionJob, regrouped: Regrouped, options: ConversionOptions) -> WeightsPlan:
    """The files of the output that hold tensors."""
    source = job.source
    numbers = with_numbers(regrouped.tensors, source, options)
    if job.output.parts is not None:
        numbers = put_together(numbers, job.output.parts(source.config))
    tensors = list(with_names(numbers.values(), job.names))
    file_of = job.output.file_of
    if file_of is not None and options.max_bytes:
        raise CheckpointError(
            f"max_shard_size: {job.output.name} prescribes the files that tensors lie in",
            remedy="Leave out --max-shard-size.",
        )
    if options.max_bytes:
        files = in_shards(tensors, options.max_bytes)
    elif file_of is not None:
        files = in_files(tensors, lambda tensor: file_of(tensor.name, source.config))
    else:
        files = in_files(tensors, lambda tensor: tensor.file)
    gone = activations(regrouped, source, options)
    left = {(tensor.name, tensor.file) for tensor in gone}
    unused = tuple(tensor for tensor in source.unused.values() if (tensor.name, tensor.file) not in left)
    return plan_weights(files, source.weights, (*source.dropped, *gone), unused)


def with_numbers(
    tensors: Mapping[str, TensorPlan], source: Checkpoint, options: ConversionOptions
) -> Mapping[str, TensorPlan]:
    """The tensors with the numbers that they are to have: the last step, since what is computed cannot be cut up."""
    if options.dequantise:
        assert source.method is not None  # as `check_options` has seen
        tensors = dequantise_all(tensors, source.method, DTYPES[dtype_of(source.config)])
    return (
        tensors
        if options.dtype is None
        else cast_all(tensors, options.dtype, source.published.family.buffers(source.config))
    )


def activations(regrouped: Regrouped, source: Checkpoint, options: ConversionOptions) -> tuple[NamedTensor, ...]:
    """The scales that dequantised weights leave behind."""
    if not options.dequantise or source.method != "modelopt":
        return ()
    reason = "scale of activations or of the cache, which are not quantised any more"
    return tuple(sources_of(scales_of_activations(regrouped.tensors), reason))
