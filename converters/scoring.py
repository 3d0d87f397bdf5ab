"""Scores of the units of a checkpoint, measured on sequences that pass through it one layer after another."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from .calibration import read_sequences
from .checkpoint import Checkpoint
from .engine.errors import CheckpointError
from .engine.open_files import held
from .engine.progress import progress_bar
from .engine.staging import locked, made, staging_of
from .engine.transfer import Advance
from .families.relations import Relations, relations_of
from .hub import local_folder
from .layers_from_disk import LayersFromDisk, refuse_unknown_numbers
from .measuring import Measured
from .score_file import read_scores
from .scoring_options import ScoringOptions
from .summary import field_in
from .verification import read_side


MEASURED = "measured_on"  # what the metadata of a file say


@dataclass(frozen=True)
class Scoring:
    """
    What was measured.

    Attributes:
        path: The file of scores.
        num_sequences: How many passed.
        num_tokens: Of all of these.
        dtype: What was computed in.
        device: Where.
        resumed: Layers that an earlier run had finished.
        scores: Layer -> name -> a number for each unit, as the file has them.
    """

    path: str
    num_sequences: int
    num_tokens: int
    dtype: str
    device: str
    resumed: int
    scores: Mapping[int, Mapping[str, list[float]]]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        return asdict(self)


def score(
    src: str | Path, data: str | Path, out: str | Path, options: ScoringOptions | None = None, **more: Any
) -> Scoring:
    """
    Measure what each layer, sub-block, neuron, head and expert of a checkpoint does to sequences of tokens, as
    `measuring` describes it, and write it to a file that `prune(by=...)` chooses by.

    The weights of one layer are in memory at a time, with what all sequences are behind it. Both that and the scores are
    kept in a hidden folder beside the file until it is finished: the same call goes on behind the last finished layer.

    Args:
        src: Folder with config.json and safetensors files, in any of the known formats, or a repository of the hub.
        data: JSON lines with `text` or `input_ids`, JSON or safetensors of `input_ids`, or plain text. Text needs a tokenizer
            in `src`.
        out: The file to write, `.safetensors`.
        options: How it is done.
        more: Members of [`ScoringOptions`] by name, such as `max_samples=16`.

    Returns:
        The scores, and what they were measured on.

    Raises:
        CheckpointError: where checkpoint or data cannot be read, or something is at `out`.
    """
    options, out = replace(options or ScoringOptions(), **more), Path(out)
    if out.suffix != ".safetensors":
        raise CheckpointError(f"{out}: scores are written to a .safetensors file")
    if os.path.lexists(out):
        raise CheckpointError(f"{out}: exists; nothing is overwritten: choose another name or remove it first")
    folder = local_folder(src, options.revision)
    source = read_side(folder)
    refuse_unknown_numbers(source)
    sequences = read_sequences(
        Path(data), folder, source.config.vocab_size, options.max_samples, options.sequence_length
    )
    staging = staging_of(out)
    with (
        made(out.resolve().parent),
        locked(staging, out),
        held(source.weights) as files,
    ):
        run = LayerByLayer(source, files.readings, sequences, options, staging)
        resumed = run.go()
        os.replace(run.last, out)
        shutil.rmtree(staging)
    return Scoring(
        str(out), len(sequences), run.num_tokens, run.dtype, str(run.device), resumed, by_layer(read_scores(out))
    )


def by_layer(scores: Mapping[str, list[float]]) -> dict[int, dict[str, list[float]]]:
    """Scores of a file, layer by layer."""
    found: dict[int, dict[str, list[float]]] = {}
    for layer, name in sorted((int(name.partition(".")[0]), name) for name in scores):
        found.setdefault(layer, {})[name.partition(".")[2]] = scores[name]
    return found


class LayerByLayer(LayersFromDisk):
    """
    A checkpoint whose layers are scored one after another.

    Attributes:
        scores: Those of the layers that are finished, by their names in the file.
        hidden: Length of sequences -> what all of that length are behind these layers; `None` before the first one.
    """

    def __init__(
        self,
        source: Checkpoint,
        files: Mapping[str, int],
        sequences: list[list[int]],
        options: ScoringOptions,
        staging: Path,
    ) -> None:
        super().__init__(source, files, options.dtype, options.device)
        self.options, self.staging = options, staging
        self.tokens = {
            length: torch.tensor([ids for ids in sequences if len(ids) == length])
            for length in sorted({len(ids) for ids in sequences})
        }
        self.num_tokens = sum(tokens.numel() for tokens in self.tokens.values())
        self.scores: dict[str, torch.Tensor] = {}
        self.hidden: dict[int, torch.Tensor | None] = dict.fromkeys(self.tokens)
        told = [
            source.config.to_dict(),
            list(map(asdict, source.weights.fingerprints.values())),
            sequences,
            self.dtype,
        ]
        self.fingerprint = sha256(json.dumps([torch.__version__, *told], default=str).encode()).hexdigest()

    def file_of(self, layer: int) -> Path:
        """What is kept when a layer is finished."""
        return self.staging / f"layer-{layer}.safetensors"

    @property
    def last(self) -> Path:
        return self.file_of(self.source.config.num_hidden_layers - 1)

    def go(self) -> int:
        """Score all layers that an earlier run of the same has not finished; how many it had."""
        number = self.source.config.num_hidden_layers
        first = self.take_up(number)
        relations = relations_of(self.source.published.family, self.source.config)
        total = (number - first) * sum(map(len, self.tokens.values()))
        with progress_bar(total, unit=" sequences") as advance:
            for layer in range(first, number):
                self.pass_through(layer, relations, advance)
                self.keep(layer, finished=layer == number - 1)
        return first

    def take_up(self, number: int) -> int:
        """Go on with what an earlier run of the same has left; what another one has is removed."""
        found = 0
        for path in sorted(self.staging.glob("layer-*")):
            layer = int(path.name.split("-")[1].split(".")[0])
            with safe_open(path, framework="pt") as file:
                if json.loads((file.metadata() or {}).get(MEASURED, "{}")).get("fingerprint") == self.fingerprint:
                    tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                    self.hidden = {length: tensors.pop(f"hidden.{length}", None) for length in self.tokens}
                    self.scores, found = tensors, layer + 1
                    continue
            path.unlink()
        return found

    def keep(self, layer: int, finished: bool) -> None:
        """Write what there is behind a layer, whole or not at all, and remove what was kept before."""
        hidden = {} if finished else {f"hidden.{length}": tensor for length, tensor in self.hidden.items()}
        told = {"fingerprint": self.fingerprint, "sequences": sum(map(len, self.tokens.values()))}
        told |= {"tokens": self.num_tokens, "dtype": self.dtype}
        unfinished = self.staging / "unfinished"
        save_file({**self.scores, **hidden}, unfinished, {MEASURED: json.dumps(told)})
        os.replace(unfinished, self.file_of(layer))
        if layer:
            self.file_of(layer - 1).unlink(missing_ok=True)

    def pass_through(self, layer: int, relations: Relations, advance: Advance) -> None:
        """Let all sequences pass through one layer."""
        family, config = self.source.published.family, self.source.config
        fields = {name: field_in(family, config, "moe", name) for name in ("num_experts", "intermediate_size")}
        model = self.model_of(layer)
        measured = Measured(model, layer, config, relations, fields)
        for length, tokens in self.tokens.items():
            hidden, left = self.hidden[length], []
            for at in range(0, len(tokens), self.options.batch_size):
                batch = slice(at, at + self.options.batch_size)
                entering = None if hidden is None else hidden[batch].to(self.device)
                left.append(measured.run(model, tokens[batch].to(self.device), entering).cpu())
                advance(len(tokens[batch]))
            self.hidden[length] = torch.cat(left)
        self.scores |= dict(measured.scores())
