"""
What is measured in a layer while sequences pass through it, for pruning to choose by.

- Block influence: 1 − the cosine between what enters and leaves a layer, the mean over all tokens; low where a layer changes
  little. Men et al., "ShortGPT: Layers in Large Language Models are More Redundant Than You Expect", arXiv 2403.03853. Of a
  mixer and an MLP in one layer, the same between what the residual connection carries before and behind each.
- Activations of neurons: what the last matrix of an MLP or an expert is multiplied with, the root of the mean square over
  all tokens. Of heads: the norm of their output before `o_proj`, in the same mean; of a KV head, that of its group of query
  heads. Muralidharan et al., "Compact Language Models via Pruning and Knowledge Distillation", arXiv 2407.14679.
- Experts: the share of tokens that go to each; beside it the sum of their weights, over all tokens. Muzio et al., "SEER-MoE:
  Sparse Expert Efficiency through Regularization for Mixture-of-Experts", arXiv 2404.05089, prunes by such counts.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch.nn.functional import cosine_similarity, linear
from torch.overrides import TorchFunctionMode

from .families.relations import Relations
from .layers_from_disk import Passing
from .pruning_plan import KV_HEADS
from .score_file import skip_name


PRODUCTS = (linear, torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__)
Note = Callable[[torch.Tensor], None]


class Multiplied(TorchFunctionMode):  # type: ignore[misc]
    """Hands over what some weights, or parts of these, are multiplied with: of linear modules as of stacked experts."""

    def __init__(self, watched: Mapping[int, list[Note]]) -> None:
        super().__init__()
        self.watched = watched

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in PRODUCTS and isinstance(args[1], torch.Tensor):
            for note in self.watched.get(args[1].untyped_storage().data_ptr(), ()):
                note(args[0])
        return func(*args, **(kwargs or {}))


class Measured(Passing):
    """
    A layer of a model, alone in it. It holds no model, which goes when its layer is done.

    Attributes:
        sums: Name of a score -> what is added up, one number for each unit.
        num_tokens: How many have passed.
    """

    def __init__(
        self, model: Any, layer: int, config: Any, relations: Relations, expert_fields: Mapping[str, str]
    ) -> None:
        """
        Args:
            layer: Its number in the whole model.
            config: Of the whole model.
            expert_fields: `num_experts` and `intermediate_size` -> the fields of the config for those of routed experts.
        """
        super().__init__(model)
        self.layer, self.config = layer, config
        self.sums: dict[str, torch.Tensor] = {}
        self.num_tokens = 0
        self.between: torch.Tensor | None = None
        self.blocks = relations.blocks_of(config, layer)
        self.watched: dict[int, list[Note]] = {}
        self.squares: set[str] = set()  # names of sums of these
        module = model.base_model.layers[0]
        self.watch_weights(dict(module.named_parameters()))
        for part in module.modules():
            if isinstance(getattr(part, "down_proj", None), torch.nn.Parameter):
                self.watch_experts(part, expert_fields)
            if hasattr(part, "experts") and isinstance(getattr(part, "router", None), torch.nn.Linear):
                self.watch_scores(part.router, expert_fields["num_experts"])
        if len(self.blocks) > 1 and "norm_mlp" in config.fusable:  # else what is before the MLP is not known
            getattr(module, model.fused_norm).register_forward_pre_hook(self.pass_between)

    def watch_weights(self, parameters: Mapping[str, Any]) -> None:
        """Note what the matrices of MLPs and attention are multiplied with whose columns belong to units."""
        for block in self.blocks:
            for size, places in block.sizes.items():
                names = [
                    name
                    for (name, dim), follows in places.items()
                    if dim == 1 and name.endswith(".weight") and not follows.rest
                ]
                if size == KV_HEADS:
                    keys = (name for name, _ in places if name.endswith("k_proj.weight"))
                    names = [name.replace("k_proj", "o_proj") for name in keys]
                for parameter in (parameters[name] for name in names if name in parameters):
                    if parameter.dim() == 2:
                        self.watch(parameter, size)

    def watch(self, parameter: Any, size: str) -> None:
        units = int(self.config.layer_sizes(size)[self.layer])
        self.squares.add(size)

        def note(rows: torch.Tensor) -> None:
            squares = rows.float().square().reshape(-1, units, rows.shape[-1] // units).sum((0, 2))
            self.add(size, squares)

        self.watched.setdefault(parameter.untyped_storage().data_ptr(), []).append(note)

    def watch_experts(self, experts: Any, fields: Mapping[str, str]) -> None:
        """Note what experts multiply their last matrix with, and which tokens go to which of them."""
        self.watch(experts.down_proj, fields["intermediate_size"])
        name, number = fields["num_experts"], experts.down_proj.shape[0]

        def count(module: Any, args: Any) -> None:
            if len(args) < 3:
                return  # all of them see all tokens, times the router's scores
            chosen, weights = args[1].flatten(), args[2].flatten().float()
            self.add(name, torch.bincount(chosen, minlength=number))
            self.add(f"{name}.weights", torch.zeros(number, device=weights.device).index_add(0, chosen, weights))

        experts.register_forward_pre_hook(count)

    def watch_scores(self, router: Any, name: str) -> None:
        """Note which tokens go to which experts where the router, a matrix, gives scores: 0 for those not chosen."""

        def count(module: Any, args: Any, output: tuple[torch.Tensor, ...]) -> None:
            self.add(name, output[0].count_nonzero(0))
            self.add(f"{name}.weights", output[0].float().sum(0))

        router.register_forward_hook(count)

    def add(self, name: str, numbers: torch.Tensor) -> None:
        added = numbers.cpu().double()
        self.sums[name] = added + self.sums.get(name, 0.0)

    def pass_between(self, module: Any, args: Any) -> None:
        self.between = args[0]

    def watching(self) -> AbstractContextManager[Any]:
        return Multiplied(self.watched)

    def run(self, model: Any, tokens: torch.Tensor, hidden: torch.Tensor | None, **more: Any) -> torch.Tensor:
        """The same, and note what is measured."""
        self.between = None
        left = super().run(model, tokens, hidden, **more)
        self.num_tokens += tokens.numel()
        for name, before, after in self.stretches():
            self.add(name, changed(before, after))
        return left

    def stretches(self) -> Iterator[tuple[str, Any, Any]]:
        """The layer and its sub-blocks, by the names of their scores, and what is before and behind each."""
        yield "block_influence", self.entered, self.left
        lists = ("mixer_types", "mlp_types")
        present = [types for types in lists if getattr(self.config, types)[self.layer] != "none"]
        points = [self.entered, *([] if self.between is None else [self.between]), self.left]
        if len(present) == len(points) - 1:
            for types, before, after in zip(present, points[:-1], points[1:], strict=True):
                yield f"skip.{skip_name(self.config, types, self.layer)}", before, after

    def scores(self) -> Iterator[tuple[str, torch.Tensor]]:
        """The scores, by the names that they have in a file."""
        for name, total in self.sums.items():
            mean = total / self.num_tokens
            yield f"{self.layer}.{name}", mean.sqrt() if name in self.squares else mean


def changed(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """1 − the cosine between the two at each token, added up."""
    return (1 - cosine_similarity(before.float(), after.float(), dim=-1)).sum().view(1)
