"""A checkpoint whose config says nothing of how it was cut: looked at, and converted with the config that its shapes say."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .checkpoint import Checkpoint
from .conversion import Report, converted
from .conversion_options import ConversionOptions
from .engine.errors import CheckpointError, reading
from .hub import is_on_hub, outlined, own_folder
from .inferred_checkpoint import inferred_checkpoint
from .loading import Loading
from .narrowing import zeros_of
from .pruning_plan import PruningPlan
from .summary import ModelSummary, summary_of


CONVERTED = "`hetero infer SRC DST` writes a checkpoint that AutoModelForCausalLM loads"


@dataclass(frozen=True)
class Inference:
    """
    What the shapes of a checkpoint say.

    Attributes:
        summary: The model, as `inspect` tells of one.
        config: The family's config.json.
        sources: Field of the config that was worked out -> where its numbers came from.
        layers: The layers that hold something, by their numbers in the files, in the order of the config's.
        dropped: Tensors that are left over of what is not there any more.
        zeros: Layer -> width -> how many of its units are zero in every tensor; `None` where they were not counted.
        report: Of the conversion, where there was one.
    """

    summary: ModelSummary
    config: dict[str, Any]
    sources: dict[str, str]
    layers: tuple[int, ...]
    dropped: tuple[str, ...]
    zeros: dict[int, dict[str, int]] | None = None
    report: Report | None = None

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        return {
            "summary": self.summary.to_dict(),
            "config": self.config,
            "sources": self.sources,
            "layers": list(self.layers),
            "dropped": list(self.dropped),
            "zeros": self.zeros,
            "report": None if self.report is None else self.report.to_dict(),
        }


def infer(
    src: str | Path,
    dst: str | Path | None = None,
    given: Mapping[str, Any] | None = None,
    options: ConversionOptions | None = None,
    *,
    zeros: bool = False,
    **more: Any,
) -> Inference:
    """
    Work out the config of a checkpoint that was cut, from the shapes in the headers of its safetensors files.

    What config.json says is taken for what no shape says: widths of heads where it names them, windows, experts a token
    goes to. Where the shapes have several readings nothing is guessed.

    Args:
        src: Folder with config.json and safetensors files, or a repository of the hub.
        dst: Folder to write the checkpoint to, with the config that was found; none: look, and write nothing.
        given: Fields of the config that are known otherwise, such as `{"head_dim": 128}`.
        options: Of the conversion.
        zeros: Count the units of widths that are zero in every tensor, as masks leave them; with `dst` take them out.
        more: Members of [`ConversionOptions`] by name, in place of these or beside them.

    Returns:
        The config, and where each number in it came from.

    Raises:
        CheckpointError: names every tensor that contradicts the others, or each field that is open and its readings.
    """
    options, given = replace(options or ConversionOptions(), **more), dict(given or {})
    if options.solution is not None:
        raise CheckpointError("solution: puts together whole sub-blocks, whose sizes it says", remedy="Use convert.")
    if zeros and dst is not None:
        options = replace(options, prune=PruningPlan(zeros=True))
    found: list[tuple[Checkpoint, dict[str, str]]] = []

    def read(folder: Path) -> Checkpoint:
        found.append(inferred_checkpoint(folder, given, options.dtype))
        return found[-1][0]

    report = None
    if dst is not None:
        report = converted(src, dst, options, read)
    elif is_on_hub(src):
        with outlined(src, options.revision) as remote, reading(remote.folder):
            read(remote.folder)
    else:
        folder = own_folder(src, options.revision)
        with reading(folder):
            read(folder)
    counted = zeros_of(found[-1][0]) if zeros and dst is None and not is_on_hub(src) else None
    return inference_of(str(src), *found[-1], counted, report)


def inference_of(
    source: str,
    checkpoint: Checkpoint,
    sources: dict[str, str],
    zeros: dict[int, dict[str, int]] | None,
    report: Report | None,
) -> Inference:
    """What is told of a checkpoint whose config was worked out."""
    config = checkpoint.config
    layers = tuple(checkpoint.numbers) or tuple(range(config.num_hidden_layers))
    return Inference(
        summary_of(source, checkpoint.published, config, Loading(None, CONVERTED)),
        json.loads(config.to_json_string()),
        sources,
        layers,
        tuple(tensor.name for tensor in checkpoint.dropped),
        zeros,
        report,
    )
