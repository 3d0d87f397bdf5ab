"""The masks that a model passes to attention, taken from a forward of a model whose weights take no memory."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.initialization import no_init_weights
from transformers.masking_utils import sdpa_mask

from ..engine.errors import CheckpointError, reading
from ..formats.recognition import config_file, read_config, told_config
from ..hub import local_config
from .own_class import maker_of, own_config
from .recorder import LAYER


NOTED = "hetero_noted"  # the attention implementation that notes what it gets
LONGEST = 12288  # tokens of a mask that is asked for without a number
SHORTEST = 16
WINDOWS = ("sliding_window", "attention_chunk_size", "local_attention")


@dataclass(frozen=True)
class PassedMask:
    """
    A mask.

    Attributes:
        modules: The attention modules that take it.
        layers: The layers that these lie in.
        sees: (sequences, queries, keys): which a token attends to.
    """

    modules: tuple[str, ...]
    layers: tuple[int, ...]
    sees: Any

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data: of each token the spans of what it attends to, ends not included."""
        spans = [[spans_of(row) for row in sequence] for sequence in self.sees.tolist()]
        return {"layers": list(self.layers), "modules": list(self.modules), "sees": spans}


@dataclass(frozen=True)
class Masks:
    """
    All masks of a model that differ.

    Attributes:
        source: The checkpoint or config.
        computed_by: The class of the model.
        num_tokens: How many of each sequence.
        masks: In the order of the first layers that take them.
        without: Layers that do not attend.
    """

    source: str
    computed_by: str
    num_tokens: int
    masks: tuple[PassedMask, ...]
    without: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        own = {"source": self.source, "computed_by": self.computed_by, "num_tokens": self.num_tokens}
        return {**own, "masks": [each.to_dict() for each in self.masks], "without": list(self.without)}


def spans_of(row: Sequence[bool]) -> list[list[int]]:
    """Where a row is true, as [first, behind the last]."""
    edges = [at for at in range(len(row) + 1) if (at < len(row) and row[at]) != (at > 0 and row[at - 1])]
    return [list(pair) for pair in zip(edges[::2], edges[1::2], strict=True)]


def masks(
    source: str | Path | Any, inputs: Mapping[str, Any] | int | None = None, revision: str | None = None
) -> Masks:
    """
    The masks that a model passes to attention. Its weights take no memory, and none are read.

    Args:
        source: A checkpoint's folder, config.json or repository; a config object; or a model, of which the config is taken.
        inputs: How many tokens, or what `forward` takes, as `packed` and `padded` make it. By default as many tokens as the
            largest window or chunk shows with, at most 12,288.
        revision: Branch, tag or commit of a repository.

    Raises:
        CheckpointError: where no such model can be built or run, in the words of what could not.
    """
    name, config, model_class = described(source, revision)
    if inputs is None:
        inputs = fitting_length(config)
    given = plain(inputs) if isinstance(inputs, int) else dict(inputs)
    try:
        model, noted = forwarded(config, model_class, given)
    except CheckpointError:
        raise
    except Exception as error:  # whatever a model may say
        reason = str(error) or type(error).__name__
        raise CheckpointError(f"{name}: cannot be run on these tokens:", reason.splitlines()[:8]) from error
    return gathered(name, model, noted, given["input_ids"].shape[1])


def described(source: Any, revision: str | None) -> tuple[str, Any, Any]:
    """What a source is called, its config, and the class of its model."""
    config = getattr(source, "config", source)
    if hasattr(config, "model_type"):
        return str(config.model_type), config, maker_of(config)
    local = local_config(source, revision)
    with reading(local):
        if (own := own_config(local)) is not None:
            return str(source), *own
        published, config_dict = read_config(local)
        config, _ = told_config(published, config_dict, str(config_file(local)))
    return str(source), config, published.family.model_class


def fitting_length(config: Any) -> int:
    """As many tokens as the largest window or chunk shows with."""
    text = config.get_text_config()
    values = [getattr(text, name, None) for name in WINDOWS]
    sizes = [size for value in values for size in (value if isinstance(value, list) else [value])]
    largest = max((size for size in sizes if isinstance(size, int)), default=0)
    return min(LONGEST, max(SHORTEST, largest + max(largest // 4, 1) if largest else SHORTEST))


def plain(num_tokens: int) -> dict[str, Any]:
    """One sequence."""
    return {"input_ids": torch.ones(1, num_tokens, dtype=torch.long)}


def packed(lengths: Sequence[int]) -> dict[str, Any]:
    """Several sequences in one row, whose positions begin again."""
    positions = torch.cat([torch.arange(length) for length in lengths])
    return {**plain(len(positions)), "position_ids": positions[None]}


def padded(lengths: Sequence[int]) -> dict[str, Any]:
    """Several sequences, the shorter ones padded on the left, as they are generated from."""
    longest = max(lengths)
    rows = [[0] * (longest - length) + [1] * length for length in lengths]
    tokens = torch.ones(len(lengths), longest, dtype=torch.long)
    return {"input_ids": tokens, "attention_mask": torch.tensor(rows)}


def with_images(inputs: Mapping[str, Any], spans: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """The same, some tokens being those of images; the ends of spans are in them."""
    types = torch.zeros_like(inputs["input_ids"])
    for first, last in spans:
        types[:, first : last + 1] = 1
    return {**inputs, "token_type_ids": types, "mm_token_type_ids": types}


class Weightless(TorchDispatchMode):  # type: ignore[misc]
    """Computes nothing that weights without memory take part in, and all else: of such weights no mask is made."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
        if not any(each.is_meta for each in tensors):
            return func(*args, **kwargs)
        args, kwargs = tree_map(without_memory, (args, kwargs))
        if func is torch.ops.aten.nonzero.default:  # such as the experts that tokens go to: none
            return args[0].new_empty((0, args[0].dim()), dtype=torch.long)
        if func is torch.ops.aten._local_scalar_dense.default:
            return 0
        if kwargs.get("device") is not None:
            kwargs["device"] = torch.device("meta")
        return func(*args, **kwargs)


def without_memory(value: Any) -> Any:
    return value.to("meta") if isinstance(value, torch.Tensor) and not value.is_meta else value


@contextmanager
def attention_noted(noted: list[tuple[Any, Any, Any, Any]]) -> Iterator[None]:
    """Let an attention implementation be there that notes which module takes what mask, and computes nothing."""

    def attention(module: Any, query: Any, key: Any, value: Any, attention_mask: Any = None, **more: Any) -> Any:
        noted.append((module, attention_mask, (query.shape[0], query.shape[2], key.shape[2]), more.get("is_causal")))
        return value.new_empty(query.shape[0], query.shape[2], query.shape[1], value.shape[-1]), None

    def whole(*args: Any, **kwargs: Any) -> Any:
        kwargs |= {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
        return sdpa_mask(*args, **kwargs)

    AttentionInterface.register(NOTED, attention)
    AttentionMaskInterface.register(NOTED, whole)
    try:
        yield
    finally:
        del AttentionInterface._global_mapping[NOTED]
        del AttentionMaskInterface._global_mapping[NOTED]


def forwarded(config: Any, model_class: Any, given: Mapping[str, Any]) -> tuple[Any, list[tuple[Any, Any, Any, Any]]]:
    """A model of which nothing takes memory, and what it has passed to attention."""
    from copy import deepcopy
    from inspect import signature

    config = deepcopy(config)
    noted: list[tuple[Any, Any, Any, Any]] = []
    vars(config).pop("quantization_config", None)
    for part in (config, config.get_text_config()):
        part._attn_implementation, part._experts_implementation = NOTED, "eager"
    with attention_noted(noted):
        with torch.device("meta"), no_init_weights():
            model = model_class(config).eval()
        known = signature(model.forward).parameters
        for module in embeddings_of(model):
            module.register_forward_hook(partial(embedded, config.get_text_config().hidden_size))
        optional = ("token_type_ids", "mm_token_type_ids")
        taken = {name: value for name, value in given.items() if name not in optional or name in known}
        if len(taken) < len(given) and not any(name in taken for name in optional):
            raise CheckpointError(f"{type(model).__name__}: takes no images")
        with torch.no_grad(), Weightless():
            model(**taken, use_cache=False)
    return model, noted


def embeddings_of(model: Any) -> Iterator[Any]:
    """The embedding of tokens, and in an encoder what adds that of positions to it."""
    words = model.get_input_embeddings()
    for module in model.modules():
        is_model = isinstance(module, PreTrainedModel) or any(
            isinstance(each, torch.nn.ModuleList) for each in module.children()
        )
        if not is_model and any(each is words for each in module.modules()):
            yield module


def embedded(size: int, module: Any, args: Any, output: Any) -> Any:
    """Embeddings on the CPU, where masks are made for them, without memory of their own."""
    return torch.zeros((), dtype=torch.float32).expand(*output.shape[:2], size)


def gathered(name: str, model: Any, noted: Sequence[tuple[Any, Any, Any, Any]], num_tokens: int) -> Masks:
    """What was noted, equal masks together."""
    names = {module: inner for inner, module in model.named_modules()}
    found: dict[Any, list[str]] = {}
    tensors: dict[Any, Any] = {}
    keys: dict[Any, Any] = {}  # layers share what is made once
    for module, mask, shape, is_causal in noted:
        is_causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
        passed = id(mask), shape, is_causal
        if passed not in keys:
            sees = seen(mask, shape, is_causal)
            keys[passed] = tuple(sees.shape), sha256(sees.numpy()).digest()
            tensors.setdefault(keys[passed], sees)
        found.setdefault(keys[passed], []).append(names[module])
    if not found:
        raise CheckpointError(
            f"{name}: {type(model).__name__} passes nothing to attention by transformers' interface, so that no mask is seen"
        )
    stacks = {match["layers"] for inner in names.values() if (match := LAYER.fullmatch(inner)) and not match["inner"]}
    layers = [layers_in(modules) for modules in found.values()]
    main = max(stacks, key=lambda stack: sum(inner.startswith(f"{stack}.") for inner in names.values()), default="")
    every = {
        int(match["number"])
        for inner in names.values()
        if (match := LAYER.fullmatch(inner)) and match["layers"] == main
    }
    attending = {layer for group in layers for layer in group}
    return Masks(
        source=name,
        computed_by=type(model).__name__,
        num_tokens=num_tokens,
        masks=tuple(
            PassedMask(tuple(modules), group, tensors[key])
            for (key, modules), group in zip(found.items(), layers, strict=True)
        ),
        without=tuple(sorted(every - attending)),
    )


def layers_in(modules: Sequence[str]) -> tuple[int, ...]:
    """The layers that modules lie in."""
    return tuple(dict.fromkeys(int(match["number"]) for each in modules if (match := LAYER.fullmatch(each))))


def seen(mask: Any, shape: tuple[int, int, int], is_causal: bool) -> Any:
    """
    Which keys each query sees, (sequences, queries, keys).

    Args:
        mask: As it was passed: true or zero where it sees; `None` where what sees what is not said.
        shape: What it is of.
    """
    batch, queries, keys = shape
    if mask is None:
        whole = torch.ones(queries, keys, dtype=torch.bool)
        return (whole.tril(keys - queries) if is_causal else whole).expand(batch, -1, -1).contiguous()
    if mask.is_meta:
        raise CheckpointError("a mask is made of what the model computes, and is not known without its weights")
    sees = mask if mask.dtype == torch.bool else mask == 0
    if sees.dim() == 2:  # which keys are padding
        sees = sees[:, None, None].bool().expand(-1, 1, queries, -1)
    if sees.shape[1] > 1 and not bool((sees == sees[:, :1]).all()):
        raise CheckpointError("heads of one layer have masks that differ, which are not shown")
    return sees[:, 0, :, :keys].expand(batch, queries, keys).contiguous()
