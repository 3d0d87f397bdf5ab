"""A checkpoint of which one layer is in memory at a time, and sequences that pass through it."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

import torch

from transformers.utils import logging

from .arithmetic import compute
from .checkpoint import Checkpoint, dtype_of
from .engine.errors import CheckpointError
from .engine.quantised import COMPUTABLE
from .engine.rendering import render
from .engine.tensor_layout import dequantise_all
from .engine.tensor_plan import DTYPES, TORCH_DTYPES, TensorPlan
from .families.layers import place_in, renumbered
from .families.meta_models import small_config
from .verification import HEAD, is_quantised


def refuse_unknown_numbers(source: Checkpoint) -> None:
    """Raise a `CheckpointError` where tensors are quantised in a way that is not computed here."""
    if source.method not in (None, *COMPUTABLE):
        raise CheckpointError(f"{source.folder}: quantised by {source.method!r}, whose numbers are not known here")


def device_of(named: str | None) -> torch.device:
    """The device that is named, else the accelerator that there is, else the CPU; a `CheckpointError` where there is none such."""
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if named is None:
        return accelerator or torch.device("cpu")
    try:
        device = torch.empty(0, device=named).device
    except (AssertionError, ImportError, NotImplementedError, RuntimeError) as error:
        raise CheckpointError(f"device {named}: {str(error).splitlines()[0]}") from error
    if device.type == "meta":
        raise CheckpointError("device meta: nothing is computed there")
    return device


class LayersFromDisk:
    """
    A checkpoint of which one layer is loaded at a time.

    Attributes:
        experts: How experts are computed; `None` as the model does by itself.
    """

    experts: str | None = "eager"  # one expert at a time, so that what it is multiplied with is seen

    def __init__(self, source: Checkpoint, files: Mapping[str, int], dtype: str | None, device: str | None) -> None:
        self.source, self.files = source, files
        self.dtype = dtype or str(source.model_fields()["dtype"] or dtype_of(source.config))
        self.device = device_of(device)
        tensors = source.tensors
        if is_quantised(source):
            assert source.method is not None
            tensors = dequantise_all(tensors, source.method, DTYPES[self.dtype])
        self.tensors = {name: tensor for name, tensor in tensors.items() if name not in source.unused}

    def model_of(self, layer: int, with_head: bool = False) -> Any:
        """A model that has one layer, loaded as the whole one would be; the first one has the embedding too, and one whose
        head is asked for has both."""
        family = self.source.published.family
        config = one_layer(self.source.config, layer)
        if layer and not with_head:
            config.vocab_size, config.pad_token_id = 1, None
        shapes = family.tensor_shapes(config)
        loaded = {
            renumbered(name, {layer: 0}): self.read(tensor)
            for name, tensor in self.tensors.items()
            if (place := place_in(name)) is not None and place[0] == layer
        }
        for name, shape in shapes.items():
            if (place := place_in(name)) is None and (with_head or name != HEAD):
                is_whole = self.tensors[name].shape == shape
                loaded[name] = self.read(self.tensors[name]) if is_whole else torch.zeros(shape)
            elif place is not None and place[0]:
                loaded[name] = torch.zeros(shape)
        with silent():
            model, found = (family.model_class if with_head else family.base_class).from_pretrained(
                None,
                config=config,
                state_dict=loaded,
                dtype=getattr(torch, self.dtype),
                experts_implementation=self.experts,
                output_loading_info=True,
            )
        if missing := sorted(found["missing_keys"]):
            raise CheckpointError(f"{self.source.folder}: layer {layer} lacks tensors:", missing)
        return model.eval().to(self.device)

    def read(self, tensor: TensorPlan) -> torch.Tensor:
        """A tensor of the checkpoint, computed where it has to be."""
        content, done = torch.empty(tensor.num_bytes, dtype=torch.uint8), 0
        for chunk in render(tensor, self.files, compute):
            content[done : done + len(chunk)] = torch.frombuffer(chunk, dtype=torch.uint8)
            done += len(chunk)
        return content.view(getattr(torch, TORCH_DTYPES[tensor.dtype])).view(tensor.shape)


class Passing:
    """
    Sequences that pass through the first layer of a model, which has one.

    Attributes:
        entered: What is to enter the layer in the place of what the model gives it; what did in the end.
        left: What left the layer.
        goes_on: Whether what comes behind the layer is computed too.
    """

    def __init__(self, model: Any, goes_on: bool = False) -> None:
        self.entered: torch.Tensor | None = None
        self.left: torch.Tensor | None = None
        self.goes_on = goes_on
        module = model.base_model.layers[0]
        module.register_forward_pre_hook(self.enter)
        module.register_forward_hook(self.leave)

    def enter(self, module: Any, args: Any) -> Any:
        if self.entered is None:
            self.entered = args[0]
        return (self.entered, *args[1:])

    def leave(self, module: Any, args: Any, output: Any) -> None:
        self.left = output[0] if isinstance(output, tuple) else output
        if not self.goes_on:
            raise Passed

    def run(self, model: Any, tokens: torch.Tensor, hidden: torch.Tensor | None, **more: Any) -> torch.Tensor:
        """
        Let sequences of one length pass.

        Args:
            hidden: What enters the layer; `None` for the first one, which is fed by the embedding.
            more: What else the model takes, such as `attention_mask`.

        Returns:
            What leaves it.
        """
        self.entered, self.left = hidden, None
        inputs = {"input_ids": tokens} if hidden is None else {"inputs_embeds": hidden}
        with torch.no_grad(), self.watching(), suppress(Passed):
            (model if self.goes_on else model.base_model)(**inputs, **more, use_cache=False)
        assert self.left is not None
        return self.left

    def watching(self) -> AbstractContextManager[Any]:
        """What is in force while they pass."""
        return nullcontext()


class Passed(Exception):
    """A layer is through; what comes behind it need not be computed."""


def one_layer(config: Any, layer: int) -> Any:
    """The config of a model whose first layer is this one. Where it mixes no tokens, as one layer of
    a model has to, there is a mixer behind it, which nothing comes to."""
    mixing = [at for at, mixer in enumerate(config.mixer_types) if mixer in ("attention", "mamba")]
    small = small_config(config, [layer] if layer in mixing else [layer, mixing[0]])
    small._attn_implementation = None
    if len(small.mixer_types) > 1 and small.mlp_types[1] != "none":
        name = next(name for name in small.skippable if "mlp_types" in small.entries_without(name, 1))
        small.per_layer_config = {1: {"skip": [name]}}
    return small


@contextmanager
def silent() -> Iterator[None]:
    """Without transformers' bar for each layer that is loaded."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
