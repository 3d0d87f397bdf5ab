"""The format that is written: the one that is named, or one that a program reads."""

from collections.abc import Sequence

from transformers_heterogeneous.configuration_heterogeneous import HeterogeneousPreTrainedConfig

from .engine.errors import CheckpointError
from .formats import recognition
from .formats.published_format import PublishedFormat
from .runtimes import Runtime


def output_format(
    published: PublishedFormat, config: HeterogeneousPreTrainedConfig, to: str | None, runtime: Runtime | None
) -> PublishedFormat:
    """
    The format to write: the one that is named, else one that `runtime` takes, else the family's own.

    Raises:
        CheckpointError: where checkpoints of this family cannot be written so; names the formats that can.
    """
    own = PublishedFormat(config.model_type, "", lambda found: False, published.family)
    writable = recognition.writable_formats(published.family)
    if to is None and runtime is not None:
        return format_for(runtime, [own, *writable], config)
    if to is None or to == own.name:
        return next((each for each in recognition.FORMATS if each.name == own.name), own)
    if chosen := next((each for each in writable if each.name == to), None):
        return chosen
    known = [own.name, *(each.name for each in writable)]
    raise CheckpointError(f"to = {to!r}: {published.name} can be written as {', '.join(known)}")


def format_for(
    runtime: Runtime, writable: Sequence[PublishedFormat], config: HeterogeneousPreTrainedConfig
) -> PublishedFormat:
    """The format in which a program reads a model: one that transformers has itself before those that are NVIDIA's alone."""
    read = [each for each in writable if each.name in runtime.problems]
    problems = []
    for each in sorted(read, key=lambda each: each.config_class is not None):
        if not (found := inexpressible(each, config) or runtime.cannot(each.name, config)):
            return each
        problems += [f"as {each.name}: {problem}" for problem in found]
    known = (
        []
        if read
        else [f"it reads {', '.join(runtime.problems)}, and {config.model_type} can be written as none of them"]
    )
    raise CheckpointError(f"{runtime} reads this model in no format:", problems or known)


def inexpressible(output: PublishedFormat, config: HeterogeneousPreTrainedConfig) -> list[str]:
    """What a format has no words for."""
    if output.write_config is None:  # the family's own
        return []
    try:
        output.write_config(config)
    except CheckpointError as error:
        return [line.strip() for line in str(error).splitlines()[1:-1]]
    return []
