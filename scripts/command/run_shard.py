"""`hetero check --run`: a shard and its expansion side by side: their classes, and their models on small inputs."""

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import torch

from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.auto import modeling_auto
from transformers.models.auto.auto_factory import _LazyAutoMapping
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers_heterogeneous.integrations.whole_package import execute_package

from ..modular_converter.run import expand
from .oracle import Comparison, Pair, compare_classes, load, plain
from .small_models import small_configs, small_inputs, unknown_fields


SEED = 0
MAX_TOLD = 300  # characters of an error of the model's own


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
    codes = [run_one(Path(os.path.abspath(shard)), changes) for shard in shards]
    return max(codes, default=0)


def read_changes(config: str | None) -> dict[str, Any] | None:
    """What `--config` says, as JSON or in a file of it; None where it is neither, which is told."""
    try:
        text = Path(config).read_text(encoding="utf-8") if config and Path(config).is_file() else config or "{}"
        return dict(json.loads(text))
    except (OSError, TypeError, ValueError) as error:
        print(f"hetero check: --config is neither JSON nor a file of it: {error}", file=sys.stderr)
        return None


def run_one(shard: Path, changes: Mapping[str, Any]) -> int:
    """Compare one shard with its expansion, and print what came of it; the exit code."""
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
    if not comparison.compared:
        if not comparison.failures:
            print(f"{shard.name}: nothing was compared: the expansion has no class of the shard's", file=sys.stderr)
        return 2
    equal = "differs" if comparison.differences else "equal" if not comparison.failures else "equal as far as it ran"
    print(f"{shard.name}: {equal}; compared: {', '.join(comparison.compared)}")
    return 2 if comparison.failures else int(bool(comparison.differences))


def compare(shard: Path, folder: Path, changes: Mapping[str, Any]) -> Comparison:
    """Compare a shard, executed as a Python module, with the expansion of it in a folder."""
    comparison = Comparison()
    try:
        pair = load(shard, folder)
    except Exception as error:
        comparison.failures.append(f"cannot be executed: {_told(error)}")
        return comparison
    configs = [each for _, _, each in pair.classes() if issubclass(each, PreTrainedConfig)]
    if changes:
        with family_in_auto_classes(pair, 1):
            comparison.failures += (
                f"--config: {each}" for each in unknown_fields([each() for each in configs], changes)
            )
    if comparison.failures:
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
        elif issubclass(executed, PreTrainedModel) and not is_abstract(expanded):
            comparison.differences += (
                f"{name}: {text}" for text in _model_differences(executed, expanded, pair, changes)
            )
            comparison.compared[comparison.compared.index(name)] = f"{name} with outputs"
    except Exception as error:  # any code of a model may raise anything
        comparison.failures.append(
            f"{name} could not be run from the small config (give its fields with --config): {_told(error)}"
        )


def is_abstract(model: type[PreTrainedModel]) -> bool:
    """Whether a class is a base of models, with no forward of its own."""
    return model.forward is torch.nn.Module.forward


def _told(error: Exception) -> str:
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said[:MAX_TOLD]}{'...' if len(said) > MAX_TOLD else ''}"


def _config_differences(
    executed: type[PreTrainedConfig], expanded: type[PreTrainedConfig], pair: Pair
) -> Iterator[str]:
    """The fields of two configs with default values that differ."""
    described = []
    for side, config in enumerate((executed, expanded)):
        with family_in_auto_classes(pair, side):
            described.append(plain(config().to_dict(), pair.canonical))
    mine, theirs = described
    assert isinstance(mine, dict) and isinstance(theirs, dict)
    for key in sorted(mine.keys() | theirs.keys(), key=str):
        if mine.get(key) != theirs.get(key):
            yield f"{key} is {mine.get(key)} when executed, {theirs.get(key)} in the expansion"


def _model_differences(
    executed: type[PreTrainedModel], expanded: type[PreTrainedModel], pair: Pair, changes: Mapping[str, Any]
) -> Iterator[str]:
    """What differs between two models with the same weights: parameters, and the outputs for the same inputs."""
    with family_in_auto_classes(pair, side_of(expanded, pair)):
        fields, inputs = _that_run(expanded, pair, changes)
    mine, theirs = built(executed, pair, fields), built(expanded, pair, fields)
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
    first, second = _outputs(mine, inputs), _outputs(theirs, inputs)
    if list(first) != list(second):
        yield f"outputs {list(first)} when executed, {list(second)} in the expansion"
    if not first and not second:
        raise ValueError(f"forward({', '.join(inputs)}) gives no tensor to compare")
    for name in first.keys() & second.keys():
        if not torch.equal(torch.nan_to_num(first[name]), torch.nan_to_num(second[name])):
            yield f"output {name} differs by up to {(first[name] - second[name]).abs().max():.3g}"


def _that_run(
    model: type[PreTrainedModel], pair: Pair, changes: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The fields of a small config and the inputs with which a model runs: the first of those that are tried."""
    errors = []
    for fields in small_configs(_config_class(model, pair), changes):
        try:
            made = built(model, pair, fields)
        except Exception as error:
            errors.append(error)
            continue
        for inputs in small_inputs(made):
            try:
                _outputs(made, inputs)
            except Exception as error:
                errors.append(error)
            else:
                return fields, inputs
    raise errors[0]


def built(model: type[PreTrainedModel], pair: Pair, fields: Mapping[str, Any]) -> PreTrainedModel:
    """A model of small sizes, from the config class of its own side."""
    torch.manual_seed(SEED)
    with family_in_auto_classes(pair, side_of(model, pair)):
        made = model(_config_class(model, pair)(**fields)).eval()
    for module in made.modules():  # transformers chooses it by the text of a class's module, which here is the shard
        if isinstance(config := getattr(module, "config", None), PreTrainedConfig):
            config._experts_implementation = "eager"
    return made


def side_of(model: type, pair: Pair) -> int:
    """0 for a class of the executed shard, 1 for one of its expansion."""
    return 0 if model.__module__ == pair.executed.__name__ else 1


@contextmanager
def family_in_auto_classes(pair: Pair, side: int) -> Iterator[None]:
    """Let `AutoModel` and its like, which heads build their base with, know the classes of one side."""
    classes = {pair.canonical(name): both[side] for name, *both in pair.classes()}
    entered: list[tuple[Any, Any]] = []
    for config in [each for each in classes.values() if issubclass(each, PreTrainedConfig)]:
        types = {vars(base).get("model_type") for base in config.__mro__} | {parent_type(config, pair)}
        for mapping in [each for each in vars(modeling_auto).values() if isinstance(each, _LazyAutoMapping)]:
            names = [mapping._model_mapping.get(each) for each in types if each]
            found = [
                classes[key] for name in names if isinstance(name, str) and (key := pair.canonical(name)) in classes
            ]
            if found and config not in mapping._extra_content:
                mapping._extra_content[config] = found[0]
                entered.append((mapping, config))
        own = vars(config).get("model_type")
        if own and own not in CONFIG_MAPPING:
            CONFIG_MAPPING._extra_content[own] = config
            entered.append((CONFIG_MAPPING, own))
    try:
        yield
    finally:
        for mapping, key in entered:
            del mapping._extra_content[key]


def parent_type(config: type[PreTrainedConfig], pair: Pair) -> str | None:
    """The `model_type` of the config that a family's takes the place of."""
    executed = {name: first for name, first, _ in pair.classes()}[config.__name__]
    types = (vars(base).get("model_type") for base in executed.__mro__ if base.__module__.startswith("transformers."))
    return next((each for each in types if each), None)


def _config_class(model: type[PreTrainedModel], pair: Pair) -> type[PreTrainedConfig]:
    """The family's config in the place of the parent's, which an executed model still names."""
    side = side_of(model, pair)
    mine = {pair.canonical(name): both[side] for name, *both in pair.classes()}
    found: type[PreTrainedConfig] = mine.get(pair.canonical(model.config_class.__name__), model.config_class)
    return found


def _outputs(model: PreTrainedModel, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors that a model returns, by name."""
    torch.manual_seed(SEED)
    with torch.no_grad():
        found = model(**inputs)
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
