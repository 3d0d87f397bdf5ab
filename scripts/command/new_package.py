"""`hetero new --package DIR`: a family as a package that can be installed: the shard, what it expands to, and a test that runs."""

import ast
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from ..modular_converter.output.formatting import format_files
from ..modular_converter.output.package import auto_class, auto_classes
from ..modular_converter.run import expand
from ..modular_converter.sources.paths import installed_version
from .new import FILE_TYPES, CannotStart, new_shard
from .small import small_decoder


INIT = '''\
"""The family {model}. Importing this package registers it with the Auto classes of transformers."""

import transformers
from transformers import AutoConfig, {autos}

if transformers.__version__.split(".")[:2] != {minor!r}:
    raise ImportError(
        f"{package} was expanded from transformers {release}, and installed is {{transformers.__version__}}: expand "
        "modular_{model}.py again, with `hetero generate`"
    )

{imports}

{registrations}

__all__ = {exported!r}
'''
PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "{dashed}"
version = "0.1.0"
description = "{model}, a model family for transformers"
requires-python = ">=3.11"
dependencies = [{dependencies}]

[project.optional-dependencies]
test = ["pytest"]

{entry_point}[tool.setuptools]
packages = ["{model}"]
"""
ENTRY_POINT = """\
[project.entry-points."transformers_heterogeneous.families"]
{model} = "{model}"

"""
README = """\
# {model}

A model family for transformers, expanded from its {parent}{differing}.

    pip install .
    python -c "import {model}; from transformers import AutoConfig; print(AutoConfig.for_model('{model_type}'))"
    pytest tests

`{model}/modular_{model}.py` is what to edit; `hetero generate {model}/modular_{model}.py` writes the files beside it anew.
{check}
"""
CHECK = (
    "`hetero check --run --heterogeneous {model}/modular_{model}.py` compares it with layers of {parent}, bit for bit."
)
TEST = '''\
"""The family is known to the Auto classes, runs, and is saved and loaded as it is."""

import torch
from transformers import AutoConfig, AutoModelForCausalLM

import {model}  # noqa: F401  # registers the family


SMALL = {small!r}


def test_saved_and_loaded_it_is_the_same_model(tmp_path):
    config = AutoConfig.for_model("{model_type}", **SMALL)
{changes}    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
{lacks}    tokens = torch.arange(3, 11)[None]
    generated = model.generate(tokens, max_new_tokens=4, do_sample=False, eos_token_id=None)
    assert generated.shape == (1, 12)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert type(loaded) is type(model)
    assert torch.equal(loaded(tokens).logits, model(tokens).logits)
'''
CHANGES = """\
    mixer_types, mlp_types = list(config.mixer_types), list(config.mlp_types)
    mixer_types[1], mlp_types[2] = "none", "none"
    config.mixer_types, config.mlp_types = mixer_types, mlp_types
"""
LACKS = """\
    uniform = AutoModelForCausalLM.from_config(AutoConfig.for_model("{model_type}", **SMALL))
    for idx, (ours, theirs) in enumerate(zip(model.base_model.layers, uniform.base_model.layers)):
        sizes = [sum(each.numel() for each in layer.parameters()) for layer in (ours, theirs)]
        assert sizes[0] < sizes[1] if idx in (1, 2) else sizes[0] == sizes[1]
"""
PLAIN_TEST = '''\
"""The family is known to the Auto classes."""

import transformers
from transformers import AutoConfig

import {model}


def test_the_config_is_known():
    assert type(AutoConfig.for_model("{model_type}")).__module__ == {model}.{config}.__module__
'''


def package_command(model: str, parent: str, folder: Path, year: int, heterogeneous: bool) -> int:
    """
    Write a package with the family.

    Returns:
        0 when it was written, 2 when it could not be, with the reason on stderr; nothing is left behind then.
    """
    try:
        notes = new_package(model, parent, folder, year, heterogeneous)
    except CannotStart as error:
        print(f"hetero new: {error}", file=sys.stderr)
        return 2
    for note in notes:
        print(note)
    place = folder if folder.is_absolute() else f"./{folder}"  # a bare name is asked of the package index
    print(f"{folder} is written; pip install {place}, then: import {model}")
    return 0


def new_package(model: str, parent: str, folder: Path, year: int, heterogeneous: bool) -> list[str]:
    """What there is to say of the package that was written; `CannotStart` where it could not be."""
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise CannotStart(f"{folder} exists and is no empty folder; nothing is overwritten")
    inner = folder / model
    shard, notes = new_shard(model, parent, inner, year, heterogeneous)
    run = expand([shard], lambda path: inner)
    if run.failed:
        shard.unlink()
        for each in (inner, folder):
            each.rmdir()
        raise CannotStart("the shard does not expand:\n" + "\n".join(run.messages()))
    files = {path.relative_to(folder): text for path, text in run.files.items()}
    files |= around(model, parent, shard.read_text(encoding="utf-8"), files, heterogeneous)
    formatted, _ = format_files({path: text for path, text in files.items() if path.suffix == ".py"})
    for path, text in {**files, **formatted}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return notes


def around(model: str, parent: str, shard: str, files: Mapping[Path, str], heterogeneous: bool) -> dict[Path, str]:
    """What a package has beside the shard and what it expands to."""
    release = installed_version("transformers")
    major, minor = release.split(".")[:2]
    modules = {kind: text for kind in FILE_TYPES if (text := files.get(Path(model) / f"{kind}_{model}.py"))}
    names = {kind: exported(text) for kind, text in modules.items()}
    configs = [name for name in names["configuration"] if model_type_of(modules["configuration"], name)]
    main = (
        configs[0]
        if len(configs) == 1
        else next((name for name in configs if name == f"{common(names['modeling'])}Config"), configs[0])
    )
    registrations = [f"AutoConfig.register({name}.model_type, {name}, exist_ok=True)" for name in configs]
    autos = set()
    for name in names["modeling"]:
        auto = auto_class(name)
        if auto in auto_classes() and (auto != "AutoModel" or name == f"{main.removesuffix('Config')}Model"):
            autos.add(auto)
            registrations.append(f"{auto}.register({name}.config_class, {name}, exist_ok=True)")
    imports = [f"from .{kind}_{model} import {', '.join(found)}" for kind, found in names.items()]
    needed = [f'"transformers>={major}.{minor},<{major}.{int(minor) + 1}"', '"torch"']
    needed += ['"transformers-heterogeneous"'] if heterogeneous else []
    model_type = model_type_of(modules["configuration"], main)
    said: dict[str, object] = {
        "model": model,
        "package": model,
        "dashed": model.replace("_", "-"),
        "parent": parent,
        "release": release,
        "minor": [major, minor],
        "model_type": model_type,
        "autos": ", ".join(sorted(autos)) or "AutoModel",
        "imports": "\n".join(imports),
        "registrations": "\n".join(registrations),
        "exported": sorted(name for found in names.values() for name in found),
        "dependencies": ", ".join(needed),
        "differing": ", whose layers may differ from one another" if heterogeneous else "",
        "entry_point": ENTRY_POINT.format(model=model) * heterogeneous,
        "check": CHECK.format(model=model, parent=parent) if heterogeneous else "",
        "config": main,
    }
    runs = "AutoModelForCausalLM" in autos and len(configs) == 1
    said["small"] = small_decoder(defaults_of(modules["configuration"], main)) if runs else {}
    said |= {"changes": CHANGES * heterogeneous, "lacks": LACKS.format(**said) * heterogeneous}
    return {
        Path(model) / "__init__.py": INIT.format(**said),
        Path("pyproject.toml"): PYPROJECT.format(**said),
        Path("README.md"): README.format(**said).rstrip() + "\n",
        Path("tests") / f"test_{model}.py": (TEST if runs else PLAIN_TEST).format(**said),
    }


def exported(text: str) -> list[str]:
    found = re.search(r"^__all__ = (\[[^\]]*\])", text, re.MULTILINE)
    return list(ast.literal_eval(found[1])) if found else []


def common(names: list[str]) -> str:
    """What the names of all model classes begin with."""
    return os.path.commonprefix(names)


def class_body(text: str, name: str) -> list[ast.stmt]:
    return next(
        (each.body for each in ast.parse(text).body if isinstance(each, ast.ClassDef) and each.name == name), []
    )


def model_type_of(text: str, name: str) -> str:
    """The model type that a config class says."""
    for each in class_body(text, name):
        if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == "model_type":
            return str(ast.literal_eval(each.value))
    return ""


def defaults_of(text: str, name: str) -> dict[str, object]:
    """The fields that a config class declares, with their defaults where these are written out."""
    found: dict[str, object] = {}
    for each in class_body(text, name):
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            try:
                found[each.target.id] = ast.literal_eval(each.value) if each.value else None
            except ValueError:
                found[each.target.id] = None
    return found
