"""What a config says about each layer and about the whole model, as numbers."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import torch

from .engine.errors import reading
from .families.family import ByLayer, Family
from .families.tensors import Tensor, Tensors, num_parameters
from .flops import CONTEXT, FlopsPerToken, flops_of, num_multiplied
from .formats.published_format import PublishedFormat
from .formats.recognition import config_file, read_config, told_config
from .hub import local_config
from .loading import Loading, compared_with_tensors, loading_of, unread_loading


FULL = "full"
RECURRENT_STATE_BYTES = 4  # the recurrence of a mamba layer is kept in float32 whatever the model's dtype
# Kind of mixer or MLP -> its sizes in the fields of most configs. A family says where it has other ones
FIELDS = {
    "attention": ("num_attention_heads", "num_key_value_heads", "sliding_window"),
    "mamba": ("ssm_state_size",),
    "dense": ("intermediate_size",),
    "moe": ("intermediate_size", "num_experts", "num_experts_per_tok", "shared_intermediate_size", "latent_size"),
}
# What configs call these else, with or without the kind before it
WORDS = {
    "num_experts": ("num_local_experts", "n_routed_experts"),
    "ssm_state_size": ("mamba_d_state",),
    "shared_intermediate_size": ("shared_expert_intermediate_size", "moe_shared_expert_intermediate_size"),
}


@dataclass(frozen=True)
class LayerSummary:
    """
    One layer. Heads, window (positions), widths and numbers of experts are `None` where the layer has no such thing.
    `intermediate_size` is the width of the dense MLP, or of one expert. Of the parameters, those of experts that a token
    does not pass through are not active. `fused_block` is what the layer computes in one module, if anything. A token is
    multiplied with matrices of `num_multiplied` numbers, and takes `flops_per_key` for each key that it attends to.
    """

    mixer: str
    num_attention_heads: int | None
    num_key_value_heads: int | None
    sliding_window: int | None
    ssm_state_size: int | None
    mlp: str
    intermediate_size: int | None
    num_experts: int | None
    num_experts_per_tok: int | None
    shared_intermediate_size: int | None
    latent_size: int | None
    num_parameters: int
    num_active_parameters: int
    kv_cache_bytes_per_token: int
    state_bytes: int
    fused_block: str | None
    num_multiplied: int
    flops_per_key: int

    @property
    def window(self) -> str | int | None:
        """How many positions a layer attends to, `full` for all; `None` where it does not attend."""
        return FULL if self.mixer == "attention" and self.sliding_window is None else self.sliding_window


@dataclass(frozen=True)
class ModelSummary:
    """
    A model. Cache sizes are in bytes for one token of one sequence, in `cache_dtype`: the config's `dtype`, or bfloat16
    where it has none. Past the windows only layers with full attention still grow. `state_bytes` is what mamba layers keep
    for a sequence, however long. `num_active_parameters` leaves out the experts that a token does not pass through, and
    counts everything else, embedding and head included; `num_multiplied` are the numbers of matrices that a token is multiplied
    with, the head's among them. `loads_with` is the class whose `from_pretrained` reads the
    checkpoint as it is, `None` where it has to be converted first, and `loading_note` what else is to be known of that.
    `unread` are the fields of its config that may describe layers and that nobody reads: all this is of the model without
    them.
    """

    source: str
    format: str
    model_type: str
    loads_with: str | None
    loading_note: str | None
    unread: tuple[str, ...]
    num_hidden_layers: int
    hidden_size: int
    head_dim: int
    vocab_size: int
    dtype: str | None
    cache_dtype: str
    num_parameters: int
    num_active_parameters: int
    num_multiplied: int
    kv_cache_bytes_per_token: int
    kv_cache_bytes_per_token_past_windows: int
    state_bytes: int
    layers: tuple[LayerSummary, ...]

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain data."""
        return asdict(self)

    def flops_per_token(self, context: int = CONTEXT) -> FlopsPerToken:
        """Floating-point operations for a token among so many."""
        layers = ((layer.flops_per_key, layer.sliding_window) for layer in self.layers)
        return flops_of(self.num_multiplied, layers, context)


def summarise(path: str | Path, revision: str | None = None) -> ModelSummary:
    """
    Summarise a checkpoint folder, a config.json, or a repository `org/name` of the hub; of weights that lie in the folder, the headers.

    Args:
        revision: Branch, tag or commit of the repository.

    Raises:
        CheckpointError: where the config is of no known format, or names layers that are wrong, or cannot be had.
    """
    local = local_config(path, revision)
    with reading(local):
        published, config_dict = read_config(local)
        config, unread = told_config(published, config_dict, str(config_file(local)))
        if unread:
            loading = unread_loading(unread, config_dict)
        else:
            loading = loading_of(published, config_dict, config, local)
            loading = compared_with_tensors(loading, config_dict, local)
    return summary_of(str(path), published, config, loading, unread)


def summary_of(
    source: str, published: PublishedFormat, config: Any, loading: Loading, unread: Iterable[str] = ()
) -> ModelSummary:
    """
    Summarise the model that a config describes.

    Args:
        source: What the summary calls it.
        unread: Fields of the config that nobody reads.
    """
    cache_dtype = config.dtype or torch.bfloat16
    tensors = published.family.tensors(config, cached=True)
    layers = tuple(layer_summaries(published.family, config, tensors, cache_dtype.itemsize))
    unbounded = (layer for layer in layers if layer.sliding_window is None)
    num_inactive = sum(layer.num_parameters - layer.num_active_parameters for layer in layers)
    return ModelSummary(
        source=source,
        format=published.name,
        model_type=config.model_type,
        loads_with=loading.loads_with,
        loading_note=loading.loading_note,
        unread=tuple(unread),
        num_hidden_layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        head_dim=head_dim(config),
        vocab_size=config.vocab_size,
        dtype=dtype_name(config.dtype),
        cache_dtype=str(dtype_name(cache_dtype)),
        num_parameters=tensors.num_parameters,
        num_active_parameters=tensors.num_parameters - num_inactive,
        num_multiplied=sum(layer.num_multiplied for layer in layers) + config.vocab_size * config.hidden_size,
        kv_cache_bytes_per_token=sum(layer.kv_cache_bytes_per_token for layer in layers),
        kv_cache_bytes_per_token_past_windows=sum(layer.kv_cache_bytes_per_token for layer in unbounded),
        state_bytes=sum(layer.state_bytes for layer in layers),
        layers=layers,
    )


def folded(layers: Sequence[LayerSummary]) -> Iterator[tuple[str, LayerSummary]]:
    """Runs of equal layers, as (indices such as `12-41`, the layer)."""
    for layer, run in groupby(enumerate(layers), key=lambda numbered: numbered[1]):
        indices = [layer_idx for layer_idx, _ in run]
        yield str(indices[0]) if len(indices) == 1 else f"{indices[0]}-{indices[-1]}", layer


def dtype_name(dtype: torch.dtype | None) -> str | None:
    return None if dtype is None else str(dtype).removeprefix("torch.")


def head_dim(config: Any) -> int:
    """Width of one head."""
    return getattr(config, "head_dim", None) or int(config.hidden_size // config.num_attention_heads)


def layer_summaries(family: Family, config: Any, tensors: Tensors, itemsize: int) -> Iterator[LayerSummary]:
    """
    The layers in their order.

    Args:
        tensors: Those of the model.
        itemsize: Bytes of one element of the cache.
    """
    layers = ByLayer(config)
    fused_blocks = config.fused_blocks or ["none"] * config.num_hidden_layers
    counts: dict[int, tuple[int, int, int]] = {}
    for layer_idx, layer in enumerate(tensors.layers):
        sizes = sizes_of(family, layers, layer_idx)
        experts = sizes["num_experts"], sizes["num_experts_per_tok"]
        if id(layer) not in counts:
            both = num_parameters(layer), num_parameters(layer, routed=True)
            counts[id(layer)] = *both, num_multiplied(layer, *experts)
        num_all, num_routed, num_in_matrices = counts[id(layer)]
        conv_state, recurrent_state = mamba_state(layer, sizes["ssm_state_size"])
        yield LayerSummary(
            mixer=config.mixer_types[layer_idx],
            mlp=config.mlp_types[layer_idx],
            num_parameters=num_all,
            num_active_parameters=num_all - num_idle(num_routed, *experts),
            kv_cache_bytes_per_token=2 * (sizes["num_key_value_heads"] or 0) * head_dim(config) * itemsize,
            state_bytes=conv_state * itemsize + recurrent_state * RECURRENT_STATE_BYTES,
            fused_block=None if fused_blocks[layer_idx] == "none" else fused_blocks[layer_idx],
            num_multiplied=num_in_matrices,
            flops_per_key=4 * (sizes["num_attention_heads"] or 0) * head_dim(config),
            **sizes,
        )


def sizes_of(family: Family, config: Any, layer_idx: int) -> dict[str, int | None]:
    """The sizes of one layer in the words that all families share; `None` where it has no such thing."""
    sizes: dict[str, int | None] = {name: None for names in FIELDS.values() for name in names}
    for kind in (config.mixer_types[layer_idx], config.mlp_types[layer_idx]):
        for name in FIELDS.get(kind, ()):
            field = field_in(family, config, kind, name)
            if field in config.per_layer_sizes:
                sizes[name] = config.layer_sizes(field)[layer_idx]
            elif field in family.config_class.__dataclass_fields__:
                sizes[name] = getattr(config, field)
    return sizes


def field_in(family: Family, config: Any, kind: str, name: str) -> str:
    """The field of a config for a size of a kind of mixer or MLP, in the words that all families share: one that such layers
    have, else one that holds for all."""
    told = family.fields.get(kind, {}).get(name)
    words = (told,) if told else (f"{kind}_{name}", name, *WORDS.get(name, ()))
    fields = [str(config.attribute_map.get(word, word)) for word in words]
    own = [each for each in fields if kind in config.per_layer_sizes.get(each, ((), ()))[1]]
    of_all = (each for each in fields if each not in config.per_layer_sizes)
    return next(chain(own, (each for each in of_all if each in config.__dataclass_fields__), fields))


def mamba_state(tensors: Sequence[Tensor], state_size: int | None) -> tuple[int, int]:
    """Elements that a mamba mixer keeps for a sequence: of the convolution, of the recurrence."""
    shapes = {".".join(tensor.name.split(".")[-2:]): tensor.shape for tensor in tensors}
    if state_size is None:
        return 0, 0
    (convolved, _, kernel), (_, inner) = shapes["conv1d.weight"], shapes["out_proj.weight"]
    return convolved * kernel, inner * state_size


def num_idle(num_routed: int, num_experts: int | None, num_experts_per_tok: int | None) -> int:
    """Parameters of the routed experts that one token does not pass through."""
    if num_experts is None or num_experts_per_tok is None:
        return 0
    return num_routed // num_experts * (num_experts - num_experts_per_tok)
