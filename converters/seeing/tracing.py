"""Traces: what each module of a model gives, of models in memory, and of checkpoints one layer after another."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from transformers import AutoModelForCausalLM

from ..calibration import encode
from ..checkpoint import Checkpoint
from ..engine.errors import CheckpointError, reading
from ..engine.json_objects import MAX_JSON_BYTES, read_object
from ..engine.open_files import held
from ..families.layers import place_in, renumbered
from ..hub import local_folder
from ..layers_from_disk import LayersFromDisk, Passing, device_of, refuse_unknown_numbers
from ..loading import AUTO_CLASS
from ..provenance import read_origin
from ..quantisation import quantisation_method
from ..verification import read_side
from .own_class import is_stock
from .recorder import LAYER, Activation, Recorder


VERSION = 1  # of saved traces


@dataclass(frozen=True)
class TracedLayer:
    """
    A layer of a traced model.

    Attributes:
        kind: Layers with the same number are built alike.
        absent: Sub-modules that others have and this one has not.
    """

    kind: int
    absent: tuple[str, ...]


@dataclass(frozen=True)
class Trace:
    """
    What the modules of a model gave.

    Attributes:
        source: The checkpoint, or the class of the model.
        computed_by: The class that computed it.
        one_by_one: Whether one layer was in memory at a time.
        tokens: What entered, where it was tokens.
        layers: Layer by name -> what it is.
        numbers: Layer -> its number in what the checkpoint was cut out of, where its `hetero_origin.json` names one.
        activations: What modules gave, in the order in which they were finished.
    """

    source: str
    computed_by: str
    one_by_one: bool
    tokens: list[list[int]] | None
    layers: Mapping[str, TracedLayer]
    numbers: Mapping[int, int]
    activations: Sequence[Activation]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data, without the tensors themselves."""
        return {
            "trace": VERSION,
            "source": self.source,
            "computed_by": self.computed_by,
            "one_by_one": self.one_by_one,
            "tokens": self.tokens,
            "layers": {name: {"kind": each.kind, "absent": each.absent} for name, each in self.layers.items()},
            "numbers": {str(layer): number for layer, number in self.numbers.items()},
            "modules": [each.to_dict() for each in self.activations],
        }

    def one_of_each_kind(self) -> "Trace":
        """The same with the first of the layers that are built alike."""
        first: dict[Any, str] = {}
        for name, traced in self.layers.items():
            first.setdefault((name.rpartition(".")[0], traced.kind), name)
        shown = set(first.values())
        activations = [each for each in self.activations if (layer := layer_of(each.module)) is None or layer in shown]
        return replace(self, activations=activations)


def layer_of(module: str) -> str | None:
    """The layer that a module is or lies in."""
    match = LAYER.fullmatch(module)
    return f"{match['layers']}.{match['number']}" if match else None


def read_trace(path: Path) -> Trace:
    """
    A saved trace.

    Raises:
        CheckpointError: where the file holds none.
    """
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError(f"more than {MAX_JSON_BYTES:,} bytes")
        members = json.loads(path.read_text(encoding="utf-8"))
        if members["trace"] != VERSION:
            raise ValueError(f"a trace of version {members['trace']!r}, and {VERSION} is read")
        layers = {name: TracedLayer(each["kind"], tuple(each["absent"])) for name, each in members["layers"].items()}
        numbers = {int(layer): number for layer, number in members["numbers"].items()}
        own = {name: members[name] for name in ("source", "computed_by", "one_by_one", "tokens")}
        activations = [Activation.from_dict(each) for each in members["modules"]]
        return Trace(**own, layers=layers, numbers=numbers, activations=activations)
    except Exception as error:  # whatever a file may hold
        raise CheckpointError(
            f"{path}: holds no trace ({type(error).__name__}: {error})",
            remedy="`hetero trace PATH --prompt TEXT --json > FILE` writes one.",
        ) from error


def trace(
    model: Any,
    inputs: Any,
    *,
    keep_values: bool = True,
    by_family: bool = False,
    dtype: str | None = None,
    device: str | None = None,
    revision: str | None = None,
) -> Trace:
    """
    Run a model and note what each of its modules gives: shape, dtype, mean, deviation, extremes, and a digest of the bytes.

    Args:
        model: A module in memory, which runs as it is; or a checkpoint's folder or repository. One that a family reads is run
            with one layer in memory at a time; a stock checkpoint of transformers by its own class, whole.
        inputs: Token ids, what else `forward` takes by name, or for a checkpoint with a tokenizer a text.
        keep_values: Whether the tensors stay, for `parting_of` to compare each number of.
        by_family: Whether a family runs a stock checkpoint of its parent too.
        dtype: What a checkpoint is computed in; by default its own.
        device: Where; by default the accelerator that torch finds, else the CPU.
        revision: Branch, tag or commit of a repository.

    Raises:
        CheckpointError: where a checkpoint cannot be read, or inputs are no tokens of it.
    """
    recorder = Recorder(keep_values)
    if isinstance(model, torch.nn.Module):
        given = as_mapping(inputs, None)
        in_memory(model, recorder, given)
        return finished(type(model).__name__, type(model).__name__, False, given, {}, recorder)
    folder = local_folder(model, revision)
    given = as_mapping(inputs, folder)
    if not by_family and runs_as_it_is(folder):
        loaded = loaded_whole(folder, dtype, device)
        check_tokens(given, loaded.config.get_text_config().vocab_size, folder)
        in_memory(loaded, recorder, given)
        return finished(str(model), type(loaded).__name__, False, given, {}, recorder)
    source = read_side(folder)
    refuse_unknown_numbers(source)
    check_tokens(given, source.config.vocab_size, folder)
    with held(source.weights) as files:
        layers = TracedLayers(source, files.readings, dtype, device)
        layers.go(recorder, given)
    return finished(str(model), source.published.family.architecture, True, given, origin_numbers(source), recorder)


def finished(
    source: str,
    computed_by: str,
    one_by_one: bool,
    given: Mapping[str, Any],
    numbers: Mapping[int, int],
    recorder: Recorder,
) -> Trace:
    """What a recorder has noted, as a trace."""
    tokens = given.get("input_ids")
    layers = traced_layers(recorder)
    told = None if tokens is None else tokens.tolist()
    return Trace(source, computed_by, one_by_one, told, layers, numbers, recorder.activations)


def traced_layers(recorder: Recorder) -> dict[str, TracedLayer]:
    """The layers, which are built alike, and what some have and others have not."""
    stacks: dict[str, list[str]] = {}
    for name in recorder.kinds:
        stacks.setdefault(name.rpartition(".")[0], []).append(name)
    found = {}
    for names in stacks.values():
        kinds: list[Any] = []
        every = list(dict.fromkeys(child for name in names for child in recorder.kinds[name][1]))
        for name in names:
            kind, children = recorder.kinds[name]
            if kind not in kinds:
                kinds.append(kind)
            found[name] = TracedLayer(kinds.index(kind), tuple(child for child in every if child not in children))
    return found


def as_mapping(inputs: Any, folder: Path | None) -> dict[str, Any]:
    """Inputs by the names of `forward`."""
    if isinstance(inputs, Mapping):
        return {name: value for name, value in inputs.items() if value is not None}
    if isinstance(inputs, str):
        if folder is None:
            raise TypeError("a model in memory has no tokenizer: pass token ids, or what the tokenizer returns")
        inputs = encode([inputs], folder)[0]
    tokens = torch.as_tensor(inputs)
    return {"input_ids": tokens if tokens.dim() > 1 else tokens[None]}


def check_tokens(given: Mapping[str, Any], vocab_size: int, folder: Path) -> None:
    """Raise a `CheckpointError` where what enters is not made of tokens of the model."""
    tokens = given.get("input_ids")
    if tokens is None or tokens.dim() != 2 or not tokens.numel():
        raise CheckpointError(f"{folder}: there are no tokens to run it on")
    wrong = sorted({token for token in tokens.flatten().tolist() if not 0 <= token < vocab_size})
    if wrong:
        raise CheckpointError(f"{folder}: tokens {wrong[:5]}: ids from 0 to {vocab_size - 1} are needed")


def in_memory(model: torch.nn.Module, recorder: Recorder, given: Mapping[str, Any]) -> None:
    """Run a model as it is, in evaluation mode."""
    training, handles = model.training, recorder.watch(model)
    place = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    moved = {name: value.to(place) if isinstance(value, torch.Tensor) else value for name, value in given.items()}
    try:
        with torch.no_grad():
            model.eval()(**moved, **({} if "use_cache" in given else no_cache(model)))
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()


def no_cache(model: Any) -> dict[str, bool]:
    """What keeps a model of transformers from making a cache."""
    return {"use_cache": False} if hasattr(getattr(model, "config", None), "use_cache") else {}


def runs_as_it_is(folder: Path) -> bool:
    """Whether transformers' own class reads a checkpoint, and its weights are numbers."""
    with reading(folder):
        return is_stock(folder) and quantisation_method(folder, read_object(folder / "config.json")) is None


def loaded_whole(folder: Path, dtype: str | None, device: str | None) -> Any:
    """A model of transformers, loaded by its own class."""
    place = device_of(device)
    try:
        loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype or "auto")
    except Exception as error:  # whatever a checkpoint may hold
        raise CheckpointError(f"{folder}: {AUTO_CLASS} cannot load it: {error}") from error
    return loaded.to(place)


def origin_numbers(source: Checkpoint) -> dict[int, int]:
    """Layer -> its number in the checkpoint that others were cut out of, as `hetero_origin.json` remembers it; empty where
    none was."""
    origin = read_origin(source.folder)
    found: list[int] | None = None
    for record in origin.pruned if origin is not None else ():
        layers = record.get("layers")
        if isinstance(layers, list) and all(type(layer) is int for layer in layers):
            found = layers if found is None else [found[layer] for layer in layers if layer < len(found)]
    if found is None or len(found) != source.config.num_hidden_layers:
        return {}
    return dict(enumerate(found))


class TracedLayers(LayersFromDisk):
    """A checkpoint whose layers are traced one after another, and behind the last one its norm and head."""

    experts = None

    def go(self, recorder: Recorder, given: Mapping[str, Any]) -> None:
        """Run tokens through all layers."""
        tokens, hidden = given["input_ids"].to(self.device), None
        more = {name: value for name, value in given.items() if name not in ("input_ids", "use_cache")}
        more = {name: value.to(self.device) if hasattr(value, "to") else value for name, value in more.items()}
        number = self.source.config.num_hidden_layers
        for layer in range(number):
            last = layer == number - 1
            model = self.model_of(layer, with_head=last)
            passing = Passing(model, goes_on=last)
            recorder.watch(model, self.name_in(layer, recorder, model.base_model_prefix, whole=last))
            hidden = passing.run(model, tokens, hidden, **more)

    def name_in(self, layer: int, recorder: Recorder, base: str, whole: bool) -> Callable[[str], str | None]:
        """
        What the modules of a model that has one layer are called in the whole one; `None` of those that are other layers',
        and of what an earlier layer's model has shown.

        Args:
            base: What the model without a head is called in one that has it, which this is where it is `whole`.
        """
        seen = {each.module for each in recorder.activations}

        def name_of(inner: str) -> str | None:
            name = inner if whole or not inner else f"{base}.{inner}"
            if (place := place_in(name)) is not None:
                return renumbered(name, {0: layer}) if place[0] == 0 else None
            return None if name in ("", base) or name in seen else name

        return name_of
