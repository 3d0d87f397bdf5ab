"""`hetero check --run`: a shard and its expansion side by side: their classes, and their models on small inputs."""

import inspect
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch

from transformers import PreTrainedConfig, PreTrainedModel
from transformers_heterogeneous.integrations.whole_package import execute_package

from ..modular_converter.run import expand
from .oracle import Comparison, Pair, compare_classes, load, plain
from .small import small_value


SEED = 0


def run_command(shards: list[Path], config: str | None) -> int:
    """
    Compare shards with their expansions.

    Args:
        config: fields of the small config that models are built from, as JSON or a file of it.

    Returns:
        0 when all are equal, 1 when something differs, 2 when something could not be run.
    """
    changes = read_changes(config)
    if changes is None:
        return 2
    execute_package()
    codes = [_run_one(Path(os.path.abspath(shard)), changes) for shard in shards]
    return max(codes, default=0)


def read_changes(config: str | None) -> dict[str, Any] | None:
    """What `--config` says, as JSON or in a file of it; None where it is neither, which is told."""
    try:
        text = Path(config).read_text(encoding="utf-8") if config and Path(config).is_file() else config or "{}"
        return dict(json.loads(text))
    except (OSError, TypeError, ValueError) as error:
        print(f"hetero check: --config is neither JSON nor a file of it: {error}", file=sys.stderr)
        return None


def _run_one(shard: Path, changes: Mapping[str, Any]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        run = expand([shard], lambda path: Path(folder))
        if run.failed:
            print("\n".join(run.messages()), file=sys.stderr)
            return 2
        for path, text in run.files.items():
            path.write_text(text, encoding="utf-8")
        with redirect_stdout(sys.stderr):  # what transformers has to say of the classes on the way
            comparison = compare(shard, Path(folder), changes)
    for line in comparison.differences:
        print(f"{shard.name}: {line}")
    for line in comparison.failures:
        print(f"{shard.name}: {line}", file=sys.stderr)
    equal = "differs" if comparison.differences else "equal"
    print(f"{shard.name}: {equal}; compared: {', '.join(comparison.compared) or 'nothing'}")
    return 2 if comparison.failures else int(bool(comparison.differences))


def compare(shard: Path, folder: Path, changes: Mapping[str, Any]) -> Comparison:
    """Compare a shard, executed as a Python module, with the expansion of it in a folder."""
    comparison = Comparison()
    try:
        pair = load(shard, folder)
    except Exception as error:
        comparison.failures.append(f"cannot be executed: {_told(error)}")
        return comparison
    compare_classes(pair, comparison)
    for name, executed, expanded in pair.classes():
        if name in (pair.shard.exported or ()):
            _compare_instances(name, executed, expanded, pair, changes, comparison)
    return comparison


def _compare_instances(
    name: str, executed: type, expanded: type, pair: Pair, changes: Mapping[str, Any], comparison: Comparison
) -> None:
    try:
        if issubclass(executed, PreTrainedConfig):
            comparison.differences += (f"{name}: {text}" for text in _config_differences(executed, expanded, pair))
        elif issubclass(executed, PreTrainedModel):
            comparison.differences += (
                f"{name}: {text}" for text in _model_differences(executed, expanded, pair, changes)
            )
            comparison.compared[comparison.compared.index(name)] = f"{name} with outputs"
    except Exception as error:  # any code of a model may raise anything
        comparison.failures.append(
            f"{name} could not be run from the small config (give its fields with --config): {_told(error)}"
        )


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


def _config_differences(
    executed: type[PreTrainedConfig], expanded: type[PreTrainedConfig], pair: Pair
) -> Iterator[str]:
    """The fields of two configs with default values that differ."""
    mine, theirs = (plain(each().to_dict(), pair.canonical) for each in (executed, expanded))
    assert isinstance(mine, dict) and isinstance(theirs, dict)
    for key in sorted(mine.keys() | theirs.keys(), key=str):
        if mine.get(key) != theirs.get(key):
            yield f"{key} is {mine.get(key)} when executed, {theirs.get(key)} in the expansion"


def _model_differences(
    executed: type[PreTrainedModel], expanded: type[PreTrainedModel], pair: Pair, changes: Mapping[str, Any]
) -> Iterator[str]:
    """What differs between two models with the same weights: parameters, and the outputs for the same inputs."""
    mine, theirs = _built(executed, pair, changes), _built(expanded, pair, changes)
    states = [{pair.canonical(name): value for name, value in each.state_dict().items()} for each in (mine, theirs)]
    shapes = [{name: tuple(value.shape) for name, value in state.items()} for state in states]
    if shapes[0] != shapes[1]:
        for name in sorted(shapes[0].keys() | shapes[1].keys()):
            if shapes[0].get(name) != shapes[1].get(name):
                yield f"parameter {name} is {shapes[0].get(name)} when executed, {shapes[1].get(name)} in the expansion"
        return
    with torch.no_grad():
        for name, value in states[1].items():
            value.copy_(states[0][name])
    first, second = _outputs(mine), _outputs(theirs)
    if list(first) != list(second):
        yield f"outputs {list(first)} when executed, {list(second)} in the expansion"
    for name in first.keys() & second.keys():
        if not torch.equal(torch.nan_to_num(first[name]), torch.nan_to_num(second[name])):
            yield f"output {name} differs by up to {(first[name] - second[name]).abs().max():.3g}"


def _built(model: type[PreTrainedModel], pair: Pair, changes: Mapping[str, Any]) -> PreTrainedModel:
    """A small model, from the config class of its own side."""
    config_class = _config_class(model, pair)
    torch.manual_seed(SEED)
    return model(config_class(**small_fields(config_class, changes))).eval()


def _config_class(model: type[PreTrainedModel], pair: Pair) -> type[PreTrainedConfig]:
    """The family's config in the place of the parent's, which an executed model still names."""
    side = 0 if model.__module__ == pair.executed.__name__ else 1
    mine = {pair.canonical(name): both[side] for name, *both in pair.classes()}
    found: type[PreTrainedConfig] = mine.get(pair.canonical(model.config_class.__name__), model.config_class)
    return found


def small_fields(config_class: type[PreTrainedConfig], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a config that make a model small: known sizes by their names, and what the user gives."""
    return _merged(_small(config_class()), changes)


def _small(config: PreTrainedConfig) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    layers = {value for name, value in vars(config).items() if "layers" in name and isinstance(value, int)}
    for name, value in vars(config).items():
        if isinstance(value, PreTrainedConfig):
            fields[name] = _small(value)
        elif isinstance(value, list) and len(value) in layers and "layer" in name:
            fields[name] = value[:2]
        elif type(value) is int and not name.startswith("_") and (small := small_value(name, value)) != value:
            fields[name] = small
    return fields


def _merged(fields: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in changes.items():
        nested = isinstance(value, Mapping) and isinstance(fields.get(name), dict)
        fields[name] = _merged(fields[name], value) if nested else value
    return fields


def _outputs(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The tensors that a model returns, by name."""
    torch.manual_seed(SEED)
    with torch.no_grad():
        found = model(**small_inputs(model))
    return dict(_tensors("", found))


def _tensors(name: str, value: object) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield name, value.float()
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _tensors(f"{name}.{key}".lstrip("."), each)
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield from _tensors(f"{name}.{index}".lstrip("."), each)


def small_inputs(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Inputs for the parameters of a model's forward that are known by name."""
    torch.manual_seed(SEED + 1)
    wanted = inspect.signature(type(model).forward).parameters
    text = model.config.get_text_config()
    tokens = torch.randint(3, max(4, getattr(text, "vocab_size", 100)), (2, 7))
    found = {"input_ids": tokens} if "input_ids" in wanted else {}
    if "decoder_input_ids" in wanted:
        found["decoder_input_ids"] = tokens[:, :5]
    if "pixel_values" in wanted and (size := _image_size(model)):
        found["pixel_values"] = torch.randn(2, *size)
    if "input_values" in wanted:
        found["input_values"] = torch.randn(2, 1600)
    if "input_features" in wanted:
        length = 2 * getattr(model.config, "max_source_positions", 32)
        found["input_features"] = torch.randn(2, getattr(model.config, "num_mel_bins", 80), length)
    return found


def _image_size(model: PreTrainedModel) -> tuple[int, int, int] | None:
    config = model.config
    vision = next(
        (each for each in (config, getattr(config, "vision_config", None)) if hasattr(each, "num_channels")), None
    )
    if vision is None:
        return None
    size = getattr(vision, "image_size", 32)
    return (vision.num_channels, *(size if isinstance(size, list | tuple) else (size, size)))
