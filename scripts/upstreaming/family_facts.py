"""What a family's own files say of it, read and not executed."""

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..modular_converter.output.package import auto_class


# Where a family does not say what its layers may be made of
_DEFAULTS = {
    "supported_mixer_types": ("attention", "linear", "none"),
    "supported_mlp_types": ("dense", "linear", "none"),
    "per_layer_sizes": {},
    "skippable": {},
}


@dataclass(frozen=True)
class Facts:
    """
    A family.

    Args:
        model: its name, as in `modular_<model>.py`.
        parents: the models of the tree that it inherits from, the first is the one it is like, and what of each.
        models: the public classes of its models.
        said: what its config class says of layers, beside its fields.
        fields: the fields of its config, with their defaults where these are written out.
        modeling: the text of its modeling file.
    """

    model: str
    parents: Mapping[str, Sequence[str]]
    config: str
    models: Sequence[str]
    said: Mapping[str, Any]
    fields: Mapping[str, object]
    year: str
    modeling: str

    @property
    def cased(self) -> str:
        return self.config.removesuffix("Config")

    @property
    def model_type(self) -> str:
        return str(self.said.get("model_type", ""))

    @property
    def base(self) -> str:
        """The model without a head."""
        return next(name for name in self.models if auto_class(name) == "AutoModel")

    @property
    def causal(self) -> str:
        """The causal language model."""
        return next(name for name in self.models if auto_class(name) == "AutoModelForCausalLM")

    @property
    def mixers(self) -> list[str]:
        """What mixes tokens in its layers."""
        return [kind for kind in self.said["supported_mixer_types"] if kind not in ("linear", "none")]

    @property
    def mlps(self) -> list[str]:
        return [kind for kind in self.said["supported_mlp_types"] if kind not in ("linear", "none")]

    @property
    def plans_experts_alone(self) -> bool:
        """Whether experts are in the plan of expert parallelism, and not in that of tensor parallelism."""
        in_tensors, in_experts = (
            any(".experts" in name for name in self.said.get(plan) or ())
            for plan in ("base_model_tp_plan", "base_model_ep_plan")
        )
        return in_experts and not in_tensors

    @property
    def has_one_block(self) -> bool:
        """Whether a layer has a mixer or an MLP, and not both: something that may be left out is of either list."""
        return any(len(lists) > 1 and all(lists.values()) for lists in self.said["skippable"].values())


def read_facts(
    model: str,
    parents: Mapping[str, Sequence[str]],
    configuration: str,
    modeling: str,
    inherited: Sequence[str] = (),
) -> Facts:
    """A family, from the text of its files; of a model with several configs, the one that is inherited."""
    tree = ast.parse(configuration)
    classes = {each.name: each for each in tree.body if isinstance(each, ast.ClassDef)}
    configs = [name for name in _exported(tree) if name in classes and "model_type" in _assigned(classes[name])]
    name = next((name for name in configs if name in inherited), configs[0])
    node = classes[name]
    fields = {
        each.target.id: _literal(each.value)
        for each in node.body
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
    }
    years = re.findall(r"(?m)^# Copyright (?:\d{4}-)?(\d{4})", configuration)
    return Facts(
        model,
        parents,
        name,
        _exported(ast.parse(modeling)),
        {**_DEFAULTS, **_assigned(node)},
        fields,
        max(years, default="2026"),
        modeling,
    )


def _exported(tree: ast.Module) -> list[str]:
    found = (
        each.value for each in tree.body if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == "__all__"
    )
    return list(ast.literal_eval(next(found)))


def _assigned(node: ast.ClassDef) -> dict[str, Any]:
    """The attributes of a class that are no fields."""
    return {ast.unparse(each.targets[0]): _literal(each.value) for each in node.body if isinstance(each, ast.Assign)}


def _literal(node: ast.expr | None) -> Any:
    try:
        return ast.literal_eval(node) if node is not None else None
    except ValueError:
        return None
