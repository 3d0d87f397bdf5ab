"""The `__init__.py` of a folder of generated families: what it exports, and their registration with transformers."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .filetypes import file_type
from .resolve import installed_folder, installed_version
from .shard import Shard, exports


_FAMILY_CONFIG = re.compile(r"^class \w*PreTrainedModel\b.*:\n(?:    .*\n|\n)*?    config: \"?(\w+)", re.MULTILINE)
_AUTO_CLASS = re.compile(r"^class (AutoModel\w*)\(", re.MULTILINE)

_QUANTIZER_MAPPING = "from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING\n"
_TEMPLATE = '''\
# Generated from the shards in {folder}/ by `hetero generate`. Do not edit.
"""Model families for transformers whose layers differ. Importing the package registers them with the Auto classes."""

from importlib.metadata import version

import transformers


__version__ = version("transformers-heterogeneous")
PARENTS_VERSION = "{parents_version}"

if transformers.__version__.split(".")[:2] != PARENTS_VERSION.split(".")[:2]:
    raise ImportError(
        f"transformers_heterogeneous {{__version__}} was expanded from transformers {{PARENTS_VERSION}}, and installed is "
        f"transformers {{transformers.__version__}}, with which its models may compute something else. Install a pair that "
        "fits: `pip install --upgrade transformers-heterogeneous` brings the transformers that it needs; or expand it anew "
        "from the installed one, in a clone of its repository: `hetero generate`"
    )

from transformers.models.auto.configuration_auto import AutoConfig
from transformers.models.auto.modeling_auto import {autos}
{quantizer_mapping}
{imports}


def register() -> None:
    """Tell the Auto classes about every family; calling it again changes nothing."""
    for config in ({configs}):
        AutoConfig.register(config.model_type, config, exist_ok=True)
{models}{quantizers}

register()


__all__ = [{exported}]
'''


@dataclass(frozen=True)
class Family:
    """What one shard adds to the package."""

    modules: Mapping[str, tuple[str, ...]]
    config: str

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for names in self.modules.values() for name in names)


def family(shard: Shard, texts: Mapping[Path, str]) -> Family:
    """The public names of a shard by module, and the config that its models are registered for."""
    modules: dict[str, list[str]] = {}
    for name in exports(shard.source) or ():
        modules.setdefault(f"{file_type(name, shard.cased)}_{shard.model}", []).append(name)
    modeling = texts.get(Path(f"modeling_{shard.model}.py"), "")
    match = _FAMILY_CONFIG.search(modeling)
    config = match[1] if match else f"{shard.cased}Config"
    return Family({module: tuple(names) for module, names in sorted(modules.items())}, config)


def render_package(families: Iterable[Family], folder: str) -> str:
    """The unformatted `__init__.py`."""
    families = list(families)
    known = auto_classes()
    lines, autos = [], {"AutoModel"}
    for each in families:
        for name in each.names:
            auto = auto_class(name)
            if auto in known:
                autos.add(auto)
                lines.append(f"    {auto}.register({each.config}, {name}, exist_ok=True)\n")
    imports = [
        f"from .{module} import {', '.join(names)}" for each in families for module, names in each.modules.items()
    ]
    names = sorted(name for each in families for name in each.names)
    quantizers = [name for name in names if name.endswith("HfQuantizer")]
    return _TEMPLATE.format(
        folder=folder,
        parents_version=installed_version("transformers"),
        autos=", ".join(sorted(autos)),
        imports="\n".join(imports),
        configs=_elements([name for name in names if name.endswith("Config")]),
        models="".join(lines),
        quantizer_mapping=_QUANTIZER_MAPPING if quantizers else "",
        quantizers="".join(f"    AUTO_QUANTIZER_MAPPING[{name}.quant_method] = {name}\n" for name in quantizers),
        exported=", ".join(f'"{name}"' for name in [*names, "register"]),
    )


def _elements(names: Sequence[str]) -> str:
    """The inside of a tuple."""
    return f"{names[0]}," if len(names) == 1 else ", ".join(names)


def auto_class(name: str) -> str:
    """The Auto class that builds a model class, by its suffix; empty for classes that none builds."""
    task = re.search(r"For[A-Z]\w*$", name)
    if task:
        return f"AutoModel{task[0]}"
    return "AutoModel" if name.endswith("Model") and not name.endswith("PreTrainedModel") else ""


def auto_classes() -> frozenset[str]:
    """The Auto classes for models that the installed transformers has."""
    folder = installed_folder("transformers")
    path = folder / "models" / "auto" / "modeling_auto.py" if folder else None
    return frozenset(_AUTO_CLASS.findall(path.read_text(encoding="utf-8"))) if path else frozenset()
