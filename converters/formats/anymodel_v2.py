"""
Puzzletron's AnyModel of the second generation, as it realises a checkpoint: the base model's config.json, model type and all,
with the layers in `block_configs` of typed sub-blocks and once more in `per_layer_config`, and the architecture `AnyModel`.
Tensors lie in whatever files they lay in.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from ..families.family import ByLayer
from . import gpt_oss, gpt_oss_puzzle, nemotron_h, nemotron_h_puzzle, nemotron_nas
from .expression import most_common, other_types, refuse_inexpressible, varying_sizes
from .parents import kinds, parent_fields, parent_formats
from .published_format import PublishedFormat, Reader
from .typed_blocks import FULL, KIND_OF, KINDS, SCHEMA, SIZES, SKIPPED, WINDOW, field_of
from .typed_layers import ANY_MODEL, are_typed, read_typed


# Of vLLM's module for a base model: what is known of its layers, where it is not called after the model
ARCH_INFO: dict[str, dict[str, Any]] = {
    "gpt_oss": {"decoder_layer_module": ".gpt_oss", "decoder_layer_class": "TransformerBlock"},
    "nemotron_h": {
        "decoder_layer_module": ".nemotron_h",
        "decoder_layer_class": "NemotronHAttentionDecoderLayer",
        "decoder_layer_class_map": {
            "*": "NemotronHAttentionDecoderLayer",
            "-": "NemotronHMLPDecoderLayer",
            "E": "NemotronHMoEDecoderLayer",
            "M": "NemotronHMambaDecoderLayer",
        },
        "hybrid_pattern_field": "hybrid_override_pattern",
        "attn_module": "mixer",
        "attn_norm_module": "norm",
        "ffn_module": "mixer",
        "ffn_norm_module": "norm",
    },
}


def problems(theirs: Mapping[str, Any], config: Any) -> Iterator[str]:
    """
    Args:
        theirs: The fields of the base model.
    """
    yield from other_types(config, "mixer_types", (*kinds(config.supported_mixer_types), "none"))
    yield from other_types(config, "mlp_types", (*kinds(config.supported_mlp_types), "none"))
    yield from varying_sizes(config, allowed=config.per_layer_sizes)
    for name in {*config.optional_per_layer_sizes} - {"sliding_window"}:
        sizes = zip(config.layer_sizes(name), config.layers_with(name), strict=True)
        if isinstance(getattr(config, name), list) and (None, True) in sizes:
            yield f"{name} = {getattr(config, name)}: there is no word for a layer without one beside others"
    if config.windows is not None and "sliding_window" not in theirs:
        yield f"sliding_window = {config.windows}: the base model has no windows"


def write_config(base_fields: Any, config: Any) -> dict[str, Any]:
    """The base model's config.json, its sizes those that most layers have, and the layers in both forms."""
    shared = base_fields(config)
    refuse_inexpressible("anymodel_v2", problems(shared, config))
    layers, number = ByLayer(config), config.num_hidden_layers
    sizes = [name for name in config.per_layer_sizes if name in shared]
    shared |= {name: most_common(config.layer_sizes(name), shared[name]) for name in sizes}
    windows = config.windows is not None
    blocks = [typed_block(layers, layer_idx, windows) for layer_idx in range(number)]
    types = shared.get("layer_types") or [""] * number
    overrides = {
        str(layer_idx): override
        for layer_idx, block in enumerate(blocks)
        if (override := sparse_override(type(config), block, shared, types[layer_idx]))
    }
    (architecture,) = shared["architectures"]
    model_type: str = shared["model_type"]
    decoder_layer = architecture.replace("ForCausalLM", "DecoderLayer")
    usual = {"decoder_layer_module": f".{model_type}", "decoder_layer_class": decoder_layer}
    marks = {"base_architecture": architecture, "block_config_schema": SCHEMA}
    return {
        **shared,
        "architectures": [ANY_MODEL],
        "base_architecture": architecture,
        "anymodel_arch_info": {**ARCH_INFO.get(model_type, usual), **marks},
        "block_configs": blocks,
        "per_layer_config": overrides,
    }


def typed_block(config: Any, layer_idx: int, windows: bool) -> dict[str, Any]:
    """
    One layer.

    Args:
        config: The family's, for what reads one layer after another.
        windows: Whether attentions say what their windows are.
    """
    sub_blocks = []
    for types in SKIPPED:
        own_kind = getattr(config, types)[layer_idx]
        if own_kind == "none":
            kind = absent_kind(config, types)
            sub_blocks.append({"kind": kind, "name": kind, "no_op": True})
            continue
        kind = KIND_OF[types, own_kind]
        sub_block: dict[str, Any] = {"kind": kind, "name": kind, "no_op": False}
        for member in SIZES[kind]:
            field = field_of(type(config.config), kind, member)
            if field is not None and field != "head_dim":
                sub_block[member] = config.layer_sizes(field)[layer_idx]
        if kind == "attention" and windows:
            sub_block[WINDOW] = config.layer_sizes("sliding_window")[layer_idx] or FULL
        sub_blocks.append({name: value for name, value in sub_block.items() if value is not None})
    return {"subblock_configs": sub_blocks}


def absent_kind(config: Any, types: str) -> str:
    """The kind of a sub-block that is not there: one that the family has."""
    if types == "mixer_types":
        return "attention"
    return "ffn" if "dense" in config.supported_mlp_types else "moe"


def sparse_override(
    config_class: Any, block: Mapping[str, Any], shared: Mapping[str, Any], kind: str
) -> dict[str, Any]:
    """
    What `per_layer_config` says of a layer: what is not there, and what is otherwise than around it.

    Args:
        block: The layer's, as it is written.
        shared: The config around it.
        kind: What `layer_types` there calls the layer, "" where there are none.
    """
    override: dict[str, Any] = {}
    skip = [SKIPPED[KINDS[each["kind"]][0]] for each in block["subblock_configs"] if each["no_op"]]
    if skip:
        override["skip"] = skip
    for each in block["subblock_configs"]:
        for member, value in each.items():
            field = field_of(config_class, each["kind"], member) if member in SIZES[each["kind"]] else None
            if field is not None and value != shared.get(field):
                override[field] = value
        if WINDOW in each:
            window = None if each[WINDOW] == FULL else each[WINDOW]
            if window != (shared.get("sliding_window") if kind in ("", "sliding_attention") else None):
                override["sliding_window"] = window
    return override


def nemotron_h_fields(config: Any) -> dict[str, Any]:
    """Puzzletron's words for the layers, which calls one with nothing in it an attention."""
    names = {layer: name for name, layer in reversed(nemotron_h.BLOCK_TYPES.items())} | {("none", "none"): "attention"}
    layers = zip(config.mixer_types, config.mlp_types, strict=True)
    return {**nemotron_h.parent_fields(config), "layers_block_type": [names[layer] for layer in layers]}


def any_model_v2(base: PublishedFormat, base_fields: Any, read: Reader) -> PublishedFormat:
    """The AnyModel of a base model."""
    return PublishedFormat(
        name="anymodel_v2",
        looks_like=f'model_type "{base.name}" with block_configs of subblock_configs',
        recognises=lambda config: base.recognises(config) and are_typed(config.get("block_configs")),
        family=base.family,
        readers={"block_configs": read},
        before=("gpt_oss_puzzle", "per_layer_config", base.name),
        dropped=base.dropped,
        names=base.names,
        written_names=base.written_names,
        write_config=partial(write_config, base_fields),
    )


# Puzzletron has no words for which of Granite's two widths a sub-block's is, and what its typed blocks say of chunks and of gated
# delta nets was not compared with anything
WITHOUT = ("llama4_text", "qwen3_next")
FORMATS = (
    *(
        any_model_v2(
            each,
            parent_fields,
            read_typed if "moe" in each.family.config_class.supported_mlp_types else nemotron_nas.read,
        )
        for each in parent_formats()
        if each.name not in WITHOUT
    ),
    any_model_v2(gpt_oss.FORMAT, gpt_oss.parent_fields, gpt_oss_puzzle.read),
    any_model_v2(nemotron_h.FORMAT, nemotron_h_fields, nemotron_h_puzzle.read),
)
