"""The `__init__.py` of a folder of generated families: what it exports, and their registration with transformers."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..sources.paths import installed_folder, installed_version


_AUTO_CLASS = "class AutoModel"
_FORMATS = Path(__file__).parents[3] / "converters" / "formats"
_CONFIG_CLASS = re.compile(r"^    config_class=(\w+),$", re.MULTILINE)
_QUANTIZER_MAPPING = "from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING\n"
_TEMPLATE = '''\
# Generated from the shards in {folder}/ by `hetero generate`. Do not edit.
"""Model families for transformers whose layers differ. Importing the package registers them with the Auto classes."""

import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from .integrations.installing import how_to_install

import transformers


__version__ = version("transformers-heterogeneous")
PARENTS_VERSION = "{parents_version}"

minor_release = ".".join(transformers.__version__.split(".")[:2])
if minor_release != ".".join(PARENTS_VERSION.split(".")[:2]):
    raise ImportError(
        f"transformers_heterogeneous {{__version__}} was expanded from transformers {{PARENTS_VERSION}}, and installed is "
        f"transformers {{transformers.__version__}}, with which its models may compute something else. What fits this one is "
        f"{{how_to_install(release=minor_release)}}; without --config-settings, the newest with the transformers that it needs"
    )

from transformers.models.auto.configuration_auto import AutoConfig
from transformers.models.auto.modeling_auto import {autos}
{quantizer_mapping}
{imports}
{published}
from .converters.formats.recognition import teach_configs
from .integrations import follow_imports


if TYPE_CHECKING:
    from .converters import convert as convert
    from .converters import describe as describe
    from .converters import infer as infer
    from .converters import inspect as inspect
    from .converters import prune as prune
    from .converters import score as score
    from .converters import trace as trace
    from .converters import verify as verify


def __getattr__(name: str) -> Any:
    """What is done with checkpoints, imported when it is asked for."""
    if name in ("convert", "describe", "infer", "inspect", "prune", "score", "trace", "verify"):
        from . import converters

        return getattr(converters, name)
    raise AttributeError(f"module {{__name__!r}} has no attribute {{name!r}}")


def register() -> None:
    """Tell the Auto classes about every family, and let `transformers` have the classes by name; calling it again changes
    nothing."""
    teach_configs()
    configs = ({configs})
    for config in configs:
        AutoConfig.register(config.model_type, config, exist_ok=True)
{models}{quantizers}    classes = {{name: globals()[name] for name in __all__ if name != "register"}}
    for module in (transformers, sys.modules["transformers"]):  # importing its models exchanges one for the other
        vars(module).update(classes)
    follow_imports(configs)


__all__ = [{exported}]

register()
'''


_PROJECT = '''\
# Generated from the shards in {folder}/ by `hetero generate`. Do not edit.
"""Model families for transformers. Importing the package registers them with the Auto classes."""

import transformers
from transformers import AutoConfig, {autos}


PARENTS_VERSION = "{parents_version}"

if transformers.__version__.split(".")[:2] != PARENTS_VERSION.split(".")[:2]:
    raise ImportError(
        f"{{__name__}} was expanded from transformers {{PARENTS_VERSION}}, and installed is {{transformers.__version__}}: expand "
        "its shards again, with `hetero generate`"
    )

{imports}

{models}
__all__ = [{exported}]
'''


@dataclass(frozen=True)
class Family:
    """What one shard adds to the package: public names by module, the config of its models, configs with a model type."""

    modules: Mapping[str, tuple[str, ...]]
    config: str
    configs: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for names in self.modules.values() for name in names)


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
    published = published_configs()
    names = sorted([*(name for each in families for name in each.names), *published])
    quantizers = [name for name in names if name.endswith("HfQuantizer")]
    return _TEMPLATE.format(
        folder=folder,
        parents_version=installed_version("transformers"),
        autos=", ".join(sorted(autos)),
        imports="\n".join(imports),
        published="\n".join(f"from .converters.formats.{module} import {name}" for name, module in published.items()),
        configs=_elements([*sorted(name for each in families for name in each.configs), *published]),
        models="".join(lines),
        quantizer_mapping=_QUANTIZER_MAPPING if quantizers else "",
        quantizers="".join(f"    AUTO_QUANTIZER_MAPPING[{name}.quant_method] = {name}\n" for name in quantizers),
        exported=", ".join(f'"{name}"' for name in [*names, "register"]),
    )


def render_project(families: Iterable[Family], folder: str) -> str:
    """The unformatted `__init__.py` of somebody else's families."""
    families = list(families)
    lines, autos = [], {"AutoModel"}
    for each in families:
        lines += [f"AutoConfig.register({name}.model_type, {name}, exist_ok=True)\n" for name in each.configs]
        for name in each.names:
            auto = auto_class(name)
            own = auto != "AutoModel" or name == f"{each.config.removesuffix('Config')}Model"
            if auto in auto_classes() and own:
                autos.add(auto)
                lines.append(f"{auto}.register({name}.config_class, {name}, exist_ok=True)\n")
    return _PROJECT.format(
        folder=folder,
        parents_version=installed_version("transformers"),
        autos=", ".join(sorted(autos)),
        imports="\n".join(
            f"from .{module} import {', '.join(names)}" for each in families for module, names in each.modules.items()
        ),
        models="".join(lines),
        exported=", ".join(f'"{name}"' for name in sorted(name for each in families for name in each.names)),
    )


def published_configs() -> dict[str, str]:
    """Config classes of published formats, which stand in `converters/formats/` -> the module of each. Looked for line by
    line, as an unchanged run parses nothing."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted(_FORMATS.glob("*.py"))}
    return {name: module for module, text in texts.items() for name in _CONFIG_CLASS.findall(text)}


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
    """The Auto classes for models that the installed transformers has: looked for line by line, as an unchanged run
    parses nothing."""
    folder = installed_folder("transformers")
    path = folder / "models" / "auto" / "modeling_auto.py" if folder else None
    lines = path.read_text(encoding="utf-8").splitlines() if path else []
    found = (line.removeprefix("class ").partition("(") for line in lines if line.startswith(_AUTO_CLASS))
    return frozenset(name for name, bracket, _ in found if bracket)
