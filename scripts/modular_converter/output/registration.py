"""What the package has to know of a shard: its public names, its configs, and the one of its models."""

from collections.abc import Iterator, Mapping

import libcst as cst
from libcst import matchers as m

from ..layout.outputs import Output
from ..shards.shard import Shard
from ..syntax.tree import block, code, small
from .package import Family


_CONFIG = m.AnnAssign(target=m.Name("config"))
_MODEL_TYPE = m.Assign(targets=[m.AssignTarget(target=m.Name("model_type"))]) | m.AnnAssign(
    target=m.Name("model_type"), value=m.DoNotCare()
)


def family(shard: Shard, outputs: Mapping[str, Output]) -> Family:
    """The public names of a shard by module, and the config that its models are registered for."""
    modules: dict[str, list[str]] = {}
    for name in shard.exported or ():
        modules.setdefault(f"{shard.type_of(name)}_{shard.model}", []).append(name)
    config = next(_configs(outputs), f"{shard.cased}Config")
    typed = tuple(name for name in shard.exported or () if _has_model_type(name, outputs))
    return Family({module: tuple(names) for module, names in sorted(modules.items())}, config, typed)


def _has_model_type(name: str, outputs: Mapping[str, Output]) -> bool:
    """Whether a name is that of a config class with a model type of its own; what only others inherit from has none."""
    nodes = outputs["configuration"].body.get(name) if "configuration" in outputs else None
    if not nodes or not isinstance(nodes[0], cst.ClassDef):
        return False
    return any(m.matches(small(each), _MODEL_TYPE) for each in block(nodes[0].body).body)


def _configs(outputs: Mapping[str, Output]) -> Iterator[str]:
    """The `config: NewConfig` of the classes that all models of a family inherit from."""
    for nodes in outputs["modeling"].body.values() if "modeling" in outputs else ():
        if isinstance(nodes[0], cst.ClassDef) and nodes[0].name.value.endswith("PreTrainedModel"):
            for node in map(small, block(nodes[0].body).body):
                if isinstance(node, cst.AnnAssign) and m.matches(node, _CONFIG):
                    yield code(node.annotation.annotation).strip("\"'")
