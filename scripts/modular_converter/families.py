"""What the package has to know of a shard: its public names, and the config of its models."""

from collections.abc import Iterator, Mapping

import libcst as cst
from libcst import matchers as m

from .filetypes import file_type
from .layout import Output
from .package import Family
from .shard import Shard
from .tree import block, code, small


_CONFIG = m.AnnAssign(target=m.Name("config"))


def family(shard: Shard, outputs: Mapping[str, Output]) -> Family:
    """The public names of a shard by module, and the config that its models are registered for."""
    modules: dict[str, list[str]] = {}
    for name in shard.exported or ():
        modules.setdefault(f"{file_type(name, shard.cased)}_{shard.model}", []).append(name)
    config = next(_configs(outputs), f"{shard.cased}Config")
    return Family({module: tuple(names) for module, names in sorted(modules.items())}, config)


def _configs(outputs: Mapping[str, Output]) -> Iterator[str]:
    """The `config: NewConfig` of the classes that all models of a family inherit from."""
    for nodes in outputs["modeling"].body.values() if "modeling" in outputs else ():
        if isinstance(nodes[0], cst.ClassDef) and nodes[0].name.value.endswith("PreTrainedModel"):
            for node in map(small, block(nodes[0].body).body):
                if isinstance(node, cst.AnnAssign) and m.matches(node, _CONFIG):
                    yield code(node.annotation.annotation).strip("\"'")
