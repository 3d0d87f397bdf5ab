"""
The description of a model, off its family's own facts: names and shapes of tensors, and what they follow.

The class of any config brings torch along, since transformers' module of it does. Where a process has none yet, another one looks;
what that has found is remembered by the config's bytes, so that the next needs neither.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, entry_points, version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from .description import (
    EMBEDDINGS,
    HALVES,
    HEAD,
    Description,
    LayerDescription,
    SizeDescription,
    description_from,
    names_pattern,
)
from .engine.errors import CheckpointError, reading
from .families.tensor_cache import cache_folder, keep
from .hub import local_config


if TYPE_CHECKING:
    from .families.relations import Relations, SubBlock
    from .formats.published_format import PublishedFormat

ENTRY_POINTS = "transformers_heterogeneous.families"
# Member of a block config -> kind of sub-block, and its size in the words that all families share
MEMBER_WORDS = {
    "attention.num_key_value_heads": ("attention", "num_key_value_heads"),
    "attention.mamba.state_dim": ("mamba", "ssm_state_size"),
    "ffn.intermediate_size": ("dense", "intermediate_size"),
    "ffn.moe.num_local_experts": ("moe", "num_experts"),
    "ffn.moe.num_experts_per_tok": ("moe", "num_experts_per_tok"),
    "ffn.moe.expert_intermediate_dim": ("moe", "intermediate_size"),
    "ffn.moe.shared_expert_intermediate_dim": ("moe", "shared_intermediate_size"),
}
# The same of what all mamba layers of a model share -> what configs of transformers call it
MAMBA_WORDS = {
    "attention.mamba.num_heads": ("mamba_num_heads", "mamba_n_heads"),
    "attention.mamba.head_dim": ("mamba_head_dim", "mamba_d_head"),
    "attention.mamba.num_groups": ("n_groups", "mamba_n_groups"),
}


def describe(source: Any, revision: str | None = None) -> Description:
    """
    What a model is made of: names of modules, groups of weights, sizes that may vary, block configs. No tensor is read, and torch
    is not imported.

    Args:
        source: A checkpoint folder, a config.json, a repository `org/name` of the hub; a config, or a dict of what config.json
            says.
        revision: Branch, tag or commit of the repository.

    Raises:
        CheckpointError: where the config is of no known format, or names layers that are wrong, or cannot be had.
    """
    if not isinstance(source, str | Path):
        return described_config(source)
    file = config_file(local_config(source, revision))
    with reading(file):
        known = recall(record_of(file))
    if known is not None:
        return known
    return described(file) if "torch" in sys.modules else asked_elsewhere(file)


def config_file(path: Path) -> Path:
    """The config.json of a folder; a file is its own."""
    return path / "config.json" if path.is_dir() else path


def described_config(config: Any) -> Description:
    """The same of a config, or of its dict."""
    if isinstance(config, Mapping):
        with TemporaryDirectory() as folder:
            file = Path(folder, "config.json")
            file.write_text(json.dumps(dict(config)))
            try:
                return describe(file)
            except CheckpointError as error:
                raise CheckpointError(str(error).replace(str(file), "config")) from error
    from .families import family_of
    from .formats.published_format import PublishedFormat
    from .formats.recognition import family_config, recognise

    config_class: Any = type(config)
    if hasattr(config_class, "per_layer_sizes"):
        own = PublishedFormat(config.model_type, "", lambda found: False, family_of(config_class))
        return description_of(own, config, config.model_type)
    if not hasattr(config, "to_json_string"):
        raise CheckpointError(f"{config_class.__name__}: a folder, a file, ORG/NAME, a config or its dict is needed")
    members = json.loads(config.to_json_string(use_diff=False))
    published = recognise(members, config_class.__name__)
    return description_of(published, family_config(published, members, config_class.__name__), members["model_type"])


def described(file: Path) -> Description:
    """The same of a config.json, by what this process imports for it."""
    from .formats.recognition import family_config, read_config

    with reading(file):
        published, config_dict = read_config(file)
        config = family_config(published, config_dict, str(file))
        return description_of(published, config, config_dict.get("model_type") or "")


def described_and_kept(source: str | Path, revision: str | None = None) -> Description:
    """The same of what `describe` takes by name, kept for those who ask next."""
    file = config_file(local_config(source, revision))
    found = described(file)
    if record := record_of(file):
        keep(record, found.to_dict())
    return found


def asked_elsewhere(file: Path) -> Description:
    """The same, by a process of its own."""
    code = "import hetero; hetero.main()"
    command = [sys.executable, "-c", code, "inspect", str(file.absolute()), "--groups", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CheckpointError(
            done.stderr.strip() or f"{file}: the process that was to look at it ended with {done.returncode}"
        )
    return description_from(json.loads(done.stdout))


def record_of(file: Path) -> Path | None:
    """The file in which the description of a config is kept: another one where config, code, torch or transformers are others;
    `None` where the code cannot be read."""
    try:
        digest = sha256(f"{version('torch')} {version('transformers')} ".encode() + file.read_bytes())
        for path in sorted(code_files()):
            digest.update(path.read_bytes())
    except PackageNotFoundError:
        return None
    return cache_folder("descriptions") / f"{digest.hexdigest()}.json"


def code_files() -> Iterator[Path]:
    """The code of the families, and of what reads configs; that of other packages' families too."""
    converters = Path(__file__).parent
    yield from converters.rglob("*.py")
    package = sys.modules[__name__.partition(".")[0]].__path__
    others = {each.value.partition(":")[0].partition(".")[0] for each in entry_points(group=ENTRY_POINTS)}
    specs = [find_spec(name) for name in sorted(others)]
    for folder in (*package, *(place for spec in specs if spec for place in spec.submodule_search_locations or ())):
        yield from Path(folder).glob("*.py")


def recall(record: Path | None) -> Description | None:
    """The description of a file, if it is there."""
    try:
        return None if record is None else description_from(json.loads(record.read_text()))
    except (OSError, ValueError, LookupError, TypeError):
        return None


def description_of(published: "PublishedFormat", config: Any, config_type: str) -> Description:
    """
    The description of a model.

    Args:
        config: The family's.
        config_type: The model type that config.json says.
    """
    from .engine.plan import inverted, renamed
    from .families.relations import relations_of

    family = published.family
    tensors, relations = family.tensors(config), relations_of(family, config)
    members = dict(members_of(published, config))
    ends = tensors.ends
    names = [tensor.name for tensor in tensors.outside]
    found = Description(
        model_type=config.model_type,
        config_type=config_type,
        format=published.name,
        architecture=family.architecture,
        num_hidden_layers=config.num_hidden_layers,
        input_embedding=ends.embedding,
        final_norm=ends.norm,
        output_embedding=ends.head,
        layer_modules=tensors.place,
        renamings=dict(published.names),
        is_tied=any(tensor.is_tied for tensor in tensors.outside),
        layers=tuple(layers_of(config)),
        sizes=dict(sizes_of_layers(config, relations)),
        relations=tuple(config.related_sizes),
        kinds={"mixer_types": config.supported_mixer_types, "mlp_types": config.supported_mlp_types},
        outside={EMBEDDINGS: tuple(names[: ends.num_before]), HEAD: tuple(names[ends.num_before :])},
        inside={half: inside(relations, types) for half, types in HALVES.items()},
        members=members,
        constants={
            member: getattr(config, field) for member, field in members.items() if field not in config.per_layer_sizes
        },
    )
    on_disk = inverted(published.names if published.written_names is None else published.written_names)
    saved = (renamed(name, on_disk) for name, tensor in tensors.named() if not tensor.is_tied)
    grouped = found.weight_groups(saved)
    return replace(found, groups={group: tuple(names) for group, names in grouped.items()})


def layers_of(config: Any) -> Iterator[LayerDescription]:
    """The layers in their order."""
    sizes = {name: (config.layer_sizes(name), config.layers_with(name)) for name in config.per_layer_sizes}
    for layer, (mixer, mlp) in enumerate(zip(config.mixer_types, config.mlp_types, strict=True)):
        own = {name: values[layer] for name, (values, having) in sizes.items() if having[layer]}
        yield LayerDescription(mixer, mlp, own)


def sizes_of_layers(config: Any, relations: "Relations") -> Iterator[tuple[str, SizeDescription]]:
    """The sizes that may vary."""
    halves = {types: half for half, types in HALVES.items()}
    for name, (types, kinds) in config.per_layer_sizes.items():
        dimensions: dict[str, dict[str, list[tuple[int, int, int]]]] = {}
        for block in relations.sub_blocks:
            for (tensor, dim), how in block.sizes.get(name, {}).items():
                places = dimensions.setdefault(block.kind, {}).setdefault(tensor, [])
                if all(place[0] != dim for place in places):
                    places.append((dim, how.step, how.rest))
        told = {kind: {each: tuple(places) for each, places in found.items()} for kind, found in dimensions.items()}
        yield name, SizeDescription(halves[types], tuple(kinds), name in config.optional_per_layer_sizes, told)


def inside(relations: "Relations", types: str) -> str:
    """A pattern of the names of tensors in a layer that its mixer, or its MLP, may have, in the model and in files."""
    blocks = [block for block in relations.sub_blocks if block.types == types]
    names = dict.fromkeys(name for block in blocks for name in names_in(block))
    wholes = {name for block in blocks for name in block.shapes}
    numbered = (part.name.pattern.replace(r"(\d+)", r"\d+") for part in relations.parts if part.whole in wholes)
    return names_pattern(names, dict.fromkeys(numbered))


def names_in(block: "SubBlock") -> Iterator[str]:
    """The names that the tensors of a sub-block may have, but for those with the number of an expert."""
    for tensor in block.tensors:
        yield from filter(None, (tensor.inside, tensor.stack, tensor.name if not tensor.together else ""))


def members_of(published: "PublishedFormat", config: Any) -> Iterator[tuple[str, str]]:
    """Members of a block config, and the fields that the family has for them."""
    from .summary import field_in

    supported = {*config.supported_mixer_types, *config.supported_mlp_types}
    for member, (kind, word) in MEMBER_WORDS.items():
        name = field_in(published.family, config, kind, word)
        if kind in supported and is_of(config, name, kind):
            yield member, name
    for member, words in MAMBA_WORDS.items():
        if "mamba" in supported:
            yield from ((member, name) for name in words if is_of(config, name, "mamba"))


def is_of(config: Any, name: str, kind: str) -> bool:
    """Whether it is a field that says a size of this kind of sub-block."""
    if name in config.per_layer_sizes:
        return kind in config.per_layer_sizes[name][1]
    return name in config.__dataclass_fields__
