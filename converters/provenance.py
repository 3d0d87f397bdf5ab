"""
What a checkpoint was before it was converted, in a small file beside config.json: with it the way back ends where it
began, byte for byte, as long as the model is still the same.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from transformers_heterogeneous.configuration_heterogeneous import HeterogeneousPreTrainedConfig

from .checkpoint import Checkpoint
from .engine.errors import CheckpointError
from .engine.files import read_file
from .engine.json_objects import MAX_JSON_BYTES, parse_object
from .engine.plan import inverted, renamed
from .engine.quantised import BLOCKS
from .engine.tensor_layout import Experts, regroup
from .families.family import Family
from .families.layers import place_in, renumbered
from .formats import recognition
from .formats.published_format import PublishedFormat
from .pruning import numbers_without_empty, shortened, with_numbers
from .quantisation import HF_QUANT_CONFIG, read_hf_quant_config


ORIGIN = "hetero_origin.json"
MAX_NAMES = 100  # each is compared with each tensor's


@dataclass(frozen=True)
class Origin:
    """
    A published checkpoint.

    Attributes:
        format: Name of the format it was in.
        config: Its config.json, verbatim.
        names: Beginnings of tensor names, published -> the family's, as they were found; a whole layer or a whole
            name where it did not follow the others.
        experts: How experts lay in it, `keep` where there were none or both.
        hf_quant_config: ModelOpt's file, verbatim, where there was one.
        pruned: What was cut out of it since, the first cut first; there is no way back from these.
    """

    format: str
    config: str
    names: Mapping[str, str]
    experts: Experts
    hf_quant_config: str | None = None
    pruned: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class VerifiedOrigin:
    """
    An origin that still holds.

    Attributes:
        config: Its config.json as the family has it.
        config_dict: The same as it was published.
        numbers: Layer of the origin -> layer of the checkpoint, where empty layers have been taken out since.
        hf_quant_config: ModelOpt's file, verbatim, where the one that is there now says the same.
    """

    origin: Origin
    config: HeterogeneousPreTrainedConfig
    config_dict: dict[str, Any]
    numbers: Mapping[int, int]
    hf_quant_config: str | None


def origins_of(source: Checkpoint) -> Iterator[Origin]:
    """What a checkpoint came from, the last first: a published one is its own origin, and its file may name another."""
    if source.published.write_config is not None and (names := found_names(source)) is not None:
        config = text_of(source.folder / "config.json")
        quantisation = text_of(source.folder / HF_QUANT_CONFIG)
        yield Origin(source.published.name, config or "", names, found_experts(source), quantisation)
    if (origin := read_origin(source.folder)) is not None:
        yield origin


def origin_after(source: Checkpoint, record: Mapping[str, Any] | None) -> Origin | None:
    """What a checkpoint came from that is cut, or has been; `None` where nothing was."""
    earlier = read_origin(source.folder)
    if record is None:
        return earlier if earlier is not None and earlier.pruned else None
    if earlier is None or not earlier.pruned:
        config = text_of(source.folder / "config.json") or ""
        name = source.published.name
        earlier = next(origins_of(source), None) or Origin(name, config, {}, found_experts(source))
    return replace(earlier, pruned=[*earlier.pruned, record])


def text_of(path: Path) -> str | None:
    """A file in UTF-8, with the line ends that it has; `None` where there is none."""
    if not path.exists():
        return None
    try:
        return read_file(path, MAX_JSON_BYTES, path.parent).decode("utf-8")
    except UnicodeDecodeError:
        return None


def read_origin(folder: Path) -> Origin | None:
    """
    The file in a folder; `None` where there is none, or what it says is no origin.

    Raises:
        CheckpointError: where it is no regular file of the folder, or has more than is read of such a file.
    """
    path = folder / ORIGIN
    if not path.exists():
        return None
    content = read_file(path, MAX_JSON_BYTES, folder)
    try:
        origin = Origin(**{"pruned": [], **parse_object(content, str(path))})
    except (CheckpointError, TypeError):
        return None
    return origin if is_readable(origin) else None


def is_readable(origin: Origin) -> bool:
    """Whether the members have the types that they are to have; somebody else may have written them."""
    if not isinstance(origin.names, dict) or len(origin.names) > MAX_NAMES or origin.experts not in get_args(Experts):
        return False
    if not isinstance(origin.pruned, list) or not all(isinstance(each, dict) for each in origin.pruned):
        return False
    texts = [origin.format, origin.config, origin.hf_quant_config or "", *origin.names, *origin.names.values()]
    return all(isinstance(text, str) for text in texts)


def found_names(source: Checkpoint) -> dict[str, str] | None:
    """
    The beginnings of tensor names that are renamed in this checkpoint, and those of others that are not; `None` where
    these are too many.
    """
    if source.published.parts is not None:
        return {}  # they follow from the config
    if any(len(tensor.pieces) > 1 for tensor in source.tensors.values()):  # joined as it was read
        return None
    published = {name: tensor.pieces[0].tensor for name, tensor in source.tensors.items()}
    table = source.published.names.items()
    used = {old: new for old, new in table if any(name.startswith(old) for name in published.values())}
    back = inverted(used)
    others = [inner for inner, name in published.items() if renamed(inner, back) != name]
    found = {**layers_of(others, published), **used}
    back = inverted(found)
    holds = len(found) <= MAX_NAMES and all(renamed(inner, back) == name for inner, name in published.items())
    return found if holds else None


def layers_of(others: Iterable[str], published: Mapping[str, str]) -> dict[str, str]:
    """
    Beginnings of the published names of some tensors -> the family's, a whole layer at once where all of it has one.

    Args:
        others: Tensors by the family's names.
        published: The family's name -> the published one, of all tensors.
    """
    beginnings: dict[str, set[str]] = {}
    for inner, name in published.items():
        layer = beginning_of(inner)
        rest = inner[len(layer) :]
        beginnings.setdefault(layer, set()).add(name.removesuffix(rest) if name.endswith(rest) else "")
    found: dict[str, str] = {}
    for inner in others:
        layer = beginning_of(inner)
        (old, *several) = beginnings[layer]
        alike = layer and old and not several
        found |= {old: layer} if alike else {published[inner]: inner}
    return found


def beginning_of(name: str) -> str:
    """The beginning that all tensors of a layer have in common; "" outside the layers."""
    place = place_in(name)
    return "" if place is None else f"model.layers.{place[0]}."


def found_experts(source: Checkpoint) -> Experts:
    """How the experts lie in a checkpoint."""
    groups, names = source.groups, source.tensors.keys()
    stacked = any({name, f"{name}{BLOCKS}"} & names for name in groups)
    separate = any(single in names for singles in groups.values() for single in singles)
    return "keep" if stacked == separate else "stacked" if stacked else "separate"


def verified_origin(source: Checkpoint, origin: Origin) -> VerifiedOrigin | None:
    """The origin of a checkpoint, where it describes the same model still; at most empty layers are not there any more."""
    try:
        published, config_dict = format_of(origin, source.published.family)
        whole = recognition.family_config(published, config_dict, ORIGIN)
        then = as_published(replace(source, published=published, config=whole, numbers={}), origin)
        if then.model_fields() != source.model_fields():
            if not (numbers := numbers_without_empty(whole)):
                return None
            shorter = shortened(whole, numbers, published.family)
            then = as_published(replace(source, published=published, config=shorter, numbers=numbers), origin)
            if then.model_fields() != source.model_fields():
                return None
        verified = VerifiedOrigin(origin, whole, config_dict, then.numbers, quantisation_of(origin, then, source))
        return checked(verified, source, published)
    except CheckpointError:
        return None  # what cannot be read does not hold


def as_published(source: Checkpoint, origin: Origin) -> Checkpoint:
    """A checkpoint as if its files were those of the origin: their names, and experts as they lay in them."""
    back = inverted(origin.names)
    first_numbers = {new: old for old, new in source.numbers.items()}
    tensors = regroup(source.tensors, source.groups, origin.experts).tensors
    names = {name: renamed(renumbered(name, first_numbers), back) for name in tensors}
    pieces = {name: replace(tensor.pieces[0], tensor=names[name]) for name, tensor in tensors.items()}
    return replace(source, tensors={name: replace(tensor, pieces=(pieces[name],)) for name, tensor in tensors.items()})


def quantisation_of(origin: Origin, then: Checkpoint, source: Checkpoint) -> str | None:
    """
    ModelOpt's file of an origin, where the file that is there says the same of the modules.

    Args:
        then: What the origin describes, without the layers that are not there any more.
    """
    text, now = origin.hf_quant_config, read_hf_quant_config(source.folder)
    if text is None or now is None:
        return None
    try:
        before = parse_object(text.encode("utf-8", "surrogatepass"), ORIGIN)
        same = then.modules_in(before, "modelopt") == source.modules_in(now, "modelopt")
        return text if same else None
    except CheckpointError:
        return None


def format_of(origin: Origin, family: Family) -> tuple[PublishedFormat, dict[str, Any]]:
    """The format of an origin, and its config.json; a `CheckpointError` where they do not belong together."""
    config_dict = parse_object(origin.config.encode("utf-8", "surrogatepass"), ORIGIN)
    published = recognition.recognise(config_dict, ORIGIN)
    if published.name != origin.format or published.family is not family or published.write_config is None:
        raise CheckpointError(f"{ORIGIN}: is not in the format {origin.format}")
    return published, config_dict


def checked(verified: VerifiedOrigin, source: Checkpoint, published: PublishedFormat) -> VerifiedOrigin | None:
    """The origin, unless a tensor would not be found again under the name that it gets back."""
    back = inverted(verified.origin.names)
    found = all(renamed(renamed(name, back), published.names) == name for name in restored(source, verified).tensors)
    return verified if found else None


def restored(source: Checkpoint, verified: VerifiedOrigin) -> Checkpoint:
    """A checkpoint with the config of its origin, and with the layers that were empty."""
    if not verified.numbers:
        return replace(source, config=verified.config)
    return with_numbers(source, {new: old for old, new in verified.numbers.items()}, verified.config)
