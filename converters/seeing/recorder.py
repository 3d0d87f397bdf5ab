"""What modules take and give while a model runs, in numbers."""

import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any

import torch


# The outermost number in a module's name is that of its layer
LAYER = re.compile(r"(?P<layers>.*?)\.(?P<number>\d+)(?P<inner>\..*|$)")


@dataclass(frozen=True)
class Numbers:
    """
    Tensors in short.

    Attributes:
        shape: Of the first one, as are all members but `digest`.
        mean, std, least, most: `None` of no elements.
        digest: SHA-256 of the bytes of all.
    """

    shape: tuple[int, ...]
    dtype: str
    mean: float | None
    std: float | None
    least: float | None
    most: float | None
    digest: str


@dataclass(frozen=True)
class Activation:
    """
    A tensor that a module gave.

    Attributes:
        module: Its name in the model; `[1]` and so on where it gave several, `#2` where it was called again.
        class_name: Its class.
        gave: The tensor.
        took: Name of an argument that holds tensors -> these.
        values: The tensor itself, on the CPU, where it is kept.
    """

    module: str
    class_name: str
    gave: Numbers
    took: Mapping[str, Numbers]
    values: torch.Tensor | None = field(default=None, compare=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data, without the values."""
        took = {name: asdict(numbers) for name, numbers in self.took.items()}
        return {"module": self.module, "class": self.class_name, **asdict(self.gave), "took": took}

    @classmethod
    def from_dict(cls, members: Mapping[str, Any]) -> "Activation":
        """What `to_dict` made."""
        own = {name: members[name] for name in Numbers.__dataclass_fields__}
        took = {name: read_numbers_of(each) for name, each in members["took"].items()}
        return cls(str(members["module"]), str(members["class"]), read_numbers_of(own), took)


def read_numbers_of(members: Mapping[str, Any]) -> Numbers:
    return Numbers(**{**members, "shape": tuple(members["shape"])})


def numbers_of(tensors: list[torch.Tensor]) -> Numbers:
    """Some tensors in short."""
    digest, first = sha256(), tensors[0].detach().cpu()
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    mean = std = least = most = None
    if first.numel():
        wide = first.double() if not first.is_complex() else first.abs().double()
        mean, std = float(wide.mean()), float(wide.std(unbiased=False))
        least, most = float(wide.min()), float(wide.max())
    dtype = str(first.dtype).removeprefix("torch.")
    return Numbers(tuple(first.shape), dtype, mean, std, least, most, digest.hexdigest())


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """The tensors in an argument or an output, in their order."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from tensors_in(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from tensors_in(each)


class Recorder:
    """
    Notes what the modules of a model take and give, in the order in which they are finished.

    Attributes:
        kept: Whether the tensors stay.
        activations: What was noted.
        kinds: Layer -> what it is built of; its children's names.
    """

    def __init__(self, kept: bool) -> None:
        self.kept = kept
        self.activations: list[Activation] = []
        self.kinds: dict[str, tuple[Any, list[str]]] = {}
        self.calls: Counter[str] = Counter()
        self.took: dict[str, dict[str, Numbers]] = {}

    def watch(self, model: torch.nn.Module, name_of: Callable[[str], str | None] = str) -> list[Any]:
        """
        Note what a model's modules do from now on.

        Args:
            name_of: A module's name -> what it is called here; `None` where it is not looked at.

        Returns:
            What ends it, by `remove()`.
        """
        handles = []
        for inner, module in model.named_modules():
            name = name_of(inner)
            if name is None:
                continue
            if (match := LAYER.fullmatch(name)) and not match["inner"]:
                self.kinds.setdefault(name, (kind_of(module), [child for child, _ in module.named_children()]))
            handles.append(module.register_forward_pre_hook(self.entering(name), with_kwargs=True))
            handles.append(module.register_forward_hook(self.leaving(name), prepend=True))
        return handles

    def entering(self, name: str) -> Callable[..., None]:
        def note(module: torch.nn.Module, args: Any, kwargs: Any) -> None:
            found = ((key, list(tensors_in(value))) for key, value in named_arguments(module, args, kwargs))
            self.took[name] = {key: numbers_of(tensors) for key, tensors in found if tensors}

        return note

    def leaving(self, name: str) -> Callable[..., None]:
        def note(module: torch.nn.Module, args: Any, output: Any) -> None:
            self.calls[name] += 1
            again = f"#{self.calls[name]}" if self.calls[name] > 1 else ""
            took = self.took.pop(name, {})
            for at, tensor in enumerate(tensors_in(output)):
                called = f"{name}{again}" + (f"[{at}]" if at else "")
                values = tensor.detach().cpu().clone() if self.kept else None
                self.activations.append(Activation(called, type(module).__name__, numbers_of([tensor]), took, values))

        return note


def named_arguments(module: torch.nn.Module, args: Any, kwargs: Any) -> Iterator[tuple[str, Any]]:
    """The arguments of a call by their names, in the order in which `forward` declares them."""
    try:
        bound = inspect.signature(module.forward).bind(*args, **kwargs).arguments
    except (TypeError, ValueError):
        yield from [*((str(at), value) for at, value in enumerate(args)), *kwargs.items()]
        return
    for name, value in bound.items():
        yield from value.items() if name == "kwargs" and isinstance(value, dict) else [(name, value)]


def kind_of(layer: torch.nn.Module) -> Any:
    """What layers of one kind have in common: their modules, the shapes of their tensors, their windows."""
    return [
        (
            name,
            type(module).__name__,
            [(key, tuple(tensor.shape)) for key, tensor in module.named_parameters(recurse=False)],
            getattr(module, "sliding_window", None),
        )
        for name, module in layer.named_modules()
    ]
