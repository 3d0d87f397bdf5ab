"""
NVIDIA's `nemotron_h`, every generation: Nemotron-H, Nano v2, Nemotron 3 Nano, Super and Ultra.

Tensor names begin with `backbone.` on the hub and with `model.` where transformers saved them.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from transformers.utils import logging
from transformers_heterogeneous.configuration_heterogeneous import HeterogeneousConfigError
from transformers_heterogeneous.configuration_heterogeneous_nemotron_h import HeterogeneousNemotronHConfig

from ..families.heterogeneous_nemotron_h import FAMILY
from .expression import refuse_inexpressible, shared_fields, varying_sizes, without
from .published_format import PublishedFormat


logger = logging.get_logger(__name__)

Layer = tuple[str, str]  # mixer, MLP
BLOCK_TYPES = {
    "mamba": ("mamba", "none"),
    "attention": ("attention", "none"),
    "moe": ("none", "moe"),
    "mlp": ("none", "dense"),
    "linear_attention": ("mamba", "none"),
    "full_attention": ("attention", "none"),
    "none": ("none", "none"),
}
PATTERN_BLOCK_TYPES = {"M": "mamba", "*": "attention", "E": "moe", "-": "mlp"}
# What a layer is made of -> transformers' word for it, the last name of each; "none" is no word of theirs
LAYERS_BLOCK_TYPES = {layer: name for name, layer in BLOCK_TYPES.items()}
# Names in older checkpoints -> the fields they became
OLDER_NAMES = {
    "mamba_n_groups": "n_groups",
    "mamba_d_conv": "conv_kernel",
    "mamba_expand": "expand",
    "mamba_dt_min": "time_step_min",
    "mamba_dt_max": "time_step_max",
    "mamba_dt_limit": "time_step_limit",
    "mamba_dt_init_floor": "time_step_floor",
    "mamba_conv_bias": "use_conv_bias",
    "mamba_chunk_size": "chunk_size",
}
# Fields that generations of checkpoints name differently, several of the names beside each other
SYNONYMS = {
    "head_dim": ("head_dim", "attention_head_dim"),
    "layer_norm_epsilon": ("layer_norm_epsilon", "norm_eps", "rms_norm_eps"),
}
SYNONYM_NAMES = [name for field, names in SYNONYMS.items() for name in names if name != field]
DESCRIPTIONS = ("layers_block_type", "layer_types", "hybrid_override_pattern")
REMOTE_CODE_KEYS = ("auto_map", "blockwise_members")


def read(config_class: Any, config_dict: Mapping[str, Any]) -> dict[str, Any]:
    """A config as the family has it: its layers in `mixer_types` and `mlp_types`, its fields under the names of today."""
    config_dict = with_own_names(config_dict)
    lists = {name: config_dict.get(name) for name in ("layers_block_type", "layer_types")}
    if "mixer_types" in config_dict:  # `layer_types` beside it are the family's, which follow from it
        del lists["layer_types"]
    descriptions = described_layers(
        config_dict.get("mixer_types"),
        config_dict.get("mlp_types"),
        lists,
        {"hybrid_override_pattern": config_dict.get("hybrid_override_pattern")},
    )
    if descriptions:
        config_dict = {**config_dict, **read_layers(descriptions, config_dict.get("num_hidden_layers"))}
    return without(config_dict, *DESCRIPTIONS)


def read_layers(descriptions: dict[str, list[Layer]], number: int | None) -> dict[str, Any]:
    """The lists and their length, as everything says that describes the layers. Nemotron-H builds what its own list or
    pattern says, whatever the number beside it."""
    layers, name = agreed_layers(descriptions), next(iter(descriptions))
    stated = f"num_hidden_layers is {number}, but there are {len(layers)} in {name}"
    if number not in (None, len(layers)) and name == "mixer_types/mlp_types":
        raise HeterogeneousConfigError(stated)
    if number not in (None, len(layers)):
        logger.warning(f"{stated}: these are built, as Nemotron-H does.")
    types = {"mixer_types": [mixer for mixer, _ in layers], "mlp_types": [mlp for _, mlp in layers]}
    return {**types, "num_hidden_layers": len(layers)}


def with_own_names(config_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Names of older checkpoints and synonyms read into the fields that they are of; so are the layers for predicting
    several tokens, which are not built: what is said of them is kept."""
    fields = {OLDER_NAMES.get(name, name): value for name, value in config_dict.items()}
    fields |= {new: config_dict[old] for old, new in OLDER_NAMES.items() if old in config_dict}
    if "mixer_types" not in fields and "mlp_types" not in fields:
        fields = without(fields, *REMOTE_CODE_KEYS)
    errors = []
    for field, names in SYNONYMS.items():
        given = {name: value for name in names if (value := fields.pop(name, None)) is not None}
        if any(value != other for value in given.values() for other in given.values()):
            errors.append(f"{given}: these are names of one field, {field}, and contradict one another")
        fields |= dict.fromkeys([field] * bool(given), next(iter(given.values()), None))
    if errors:
        raise HeterogeneousConfigError("\n".join(errors))
    pattern, blocks = fields.pop("mtp_hybrid_override_pattern", None), fields.get("mtp_block_configs")
    if blocks is not None and not (
        isinstance(blocks, list | tuple) and all(isinstance(each, dict) for each in blocks)
    ):
        raise HeterogeneousConfigError(
            f"mtp_block_configs is a list of objects with a block_type each, not {blocks!r}"
        )
    lists = {
        "mtp_layers_block_type": fields.get("mtp_layers_block_type"),
        "mtp_block_configs": None if blocks is None else [block.get("block_type") for block in blocks],
    }
    if mtp := described_layers(None, None, lists, {"mtp_hybrid_override_pattern": pattern}):
        fields["mtp_layers_block_type"] = [LAYERS_BLOCK_TYPES[layer] for layer in agreed_layers(mtp)]
    return fields


def pattern_to_block_types(pattern: Any) -> list[str]:
    """One block type a character; a `HeterogeneousConfigError` names every character that is none, with its position."""
    if not isinstance(pattern, str):
        raise HeterogeneousConfigError(f"a pattern is a string of {list(PATTERN_BLOCK_TYPES)}, not {pattern!r}")
    unknown = [
        f"{name!r} at position {position}" for position, name in enumerate(pattern) if name not in PATTERN_BLOCK_TYPES
    ]
    if unknown:
        raise HeterogeneousConfigError(
            f"the pattern {pattern!r} has {', '.join(unknown)}, allowed are {list(PATTERN_BLOCK_TYPES)}"
        )
    return [PATTERN_BLOCK_TYPES[name] for name in pattern]


def read_block_types(name: str, block_types: Any) -> list[Layer]:
    """The (mixer, MLP) of each entry of the list called `name`; a `HeterogeneousConfigError` names every entry that is none."""
    if not isinstance(block_types, list | tuple):
        raise HeterogeneousConfigError(f"{name} is {block_types!r}, a list with one entry a layer is needed")
    errors = [
        f"{name}[{layer_idx}] is {block_type!r}, allowed are {list(BLOCK_TYPES)}"
        for layer_idx, block_type in enumerate(block_types)
        if block_type not in list(BLOCK_TYPES)
    ]
    if errors:
        raise HeterogeneousConfigError("\n".join(errors))
    return [BLOCK_TYPES[block_type] for block_type in block_types]


def described_layers(
    mixer_types: list[str] | None, mlp_types: list[str] | None, lists: dict[str, Any], patterns: dict[str, Any]
) -> dict[str, list[Layer]]:
    """The (mixer, MLP) of each layer after everything that is given, by its name."""
    descriptions: dict[str, list[Layer]] = {}
    for name, types in (("mixer_types", mixer_types), ("mlp_types", mlp_types)):
        if not isinstance(types, list | tuple | None):
            raise HeterogeneousConfigError(f"{name} is {types!r}, a list with one entry a layer is needed")
    if mixer_types is not None or mlp_types is not None:
        nothing = ["none"] * len(mixer_types or mlp_types or ())
        mixer_types, mlp_types = mixer_types or nothing, mlp_types or nothing
        if len(mixer_types) != len(mlp_types):
            raise HeterogeneousConfigError(
                f"mixer_types has {len(mixer_types)} entries, mlp_types {len(mlp_types)}: one a layer"
            )
        descriptions["mixer_types/mlp_types"] = list(zip(mixer_types, mlp_types, strict=True))
    lists = lists | {
        name: None if pattern is None else pattern_to_block_types(pattern) for name, pattern in patterns.items()
    }
    given = {name: block_types for name, block_types in lists.items() if block_types is not None}
    return descriptions | {name: read_block_types(name, block_types) for name, block_types in given.items()}


def agreed_layers(descriptions: dict[str, list[Layer]], left_out: Layer | None = None) -> list[Layer]:
    """The (mixer, MLP) of each layer, when everything that describes the layers says the same; a
    `HeterogeneousConfigError` names the layers for which it does not. What is `left_out` in the first may be of any kind
    in the others."""
    (first, layers), *others = descriptions.items()
    errors = [] if layers else [f"{first} has no layers"]
    for name, other_layers in others:
        if len(other_layers) != len(layers):
            errors.append(f"{name} has {len(other_layers)} layers, {first} {len(layers)}")
            continue
        pairs = enumerate(zip(layers, other_layers, strict=True))
        wrong = [layer_idx for layer_idx, (layer, other) in pairs if layer not in (other, left_out)]
        if wrong:
            errors.append(f"{name} and {first} differ in layers {wrong}: give one of them, or the same")
    if errors:
        raise HeterogeneousConfigError("\n".join(errors))
    return layers


def sub_block(config: Any, layer_idx: int) -> str:
    """The one thing that a layer is made of."""
    mixer = config.mixer_types[layer_idx]
    return str(config.mlp_types[layer_idx] if mixer == "none" else mixer)


def parent_fields(config: Any) -> dict[str, Any]:
    """The fields that are Nemotron-H's too. A layer with nothing in it is called an MLP, for others to leave out."""
    names = [LAYERS_BLOCK_TYPES[layer] for layer in zip(config.mixer_types, config.mlp_types, strict=True)]
    block_types = ["mlp" if name == "none" else name for name in names]
    return {**shared_fields(config, "nemotron_h", "NemotronHForCausalLM"), "layers_block_type": block_types}


def empty_layers(config: Any) -> Iterator[str]:
    """Layers with nothing in them, which the published configs have no word for."""
    for layer_idx in range(config.num_hidden_layers):
        if sub_block(config, layer_idx) == "none":
            yield f"layer {layer_idx} has nothing in it: every layer needs a sub-block"


def problems(config: HeterogeneousNemotronHConfig) -> Iterator[str]:
    yield from empty_layers(config)
    yield from varying_sizes(config)


def write_config(config: HeterogeneousNemotronHConfig) -> dict[str, Any]:
    """The config.json of Nemotron-H, of a model whose layers of one kind are all alike."""
    refuse_inexpressible("nemotron_h", problems(config))
    return parent_fields(config)


FORMAT = PublishedFormat(
    name="nemotron_h",
    looks_like='model_type "nemotron_h"',
    recognises=lambda config: config.get("model_type") == "nemotron_h",
    family=FAMILY,
    names={"backbone.": "model."},
    readers=dict.fromkeys((*DESCRIPTIONS, "mtp_hybrid_override_pattern", *OLDER_NAMES, *SYNONYM_NAMES), read),
    write_config=write_config,
)
