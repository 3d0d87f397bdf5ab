"""`hetero init`: a repository for families of one's own: folders, what checks them at each commit, and what watches for releases."""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from ..modular_converter.output.formatting import format_files
from ..modular_converter.output.package import render_project
from ..modular_converter.sources.paths import installed_version


PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "{dashed}"
version = "0.1.0"
description = "Model families for transformers"
requires-python = ">=3.11"
dependencies = ["transformers>={minor},<{next}", "torch"]

[project.optional-dependencies]
test = ["pytest"]

[tool.setuptools.packages.find]
include = ["{package}*"]

[tool.hetero]
modular = "{package}/modular"      # the shards, which people write
generated = "{package}/generated"  # what `hetero generate` expands them to, which nobody edits
"""
INIT = '''\
"""Model families for transformers. Importing this package registers them with the Auto classes."""

from .generated import *  # noqa: F403
'''
README = """\
# {dashed}

Model families for transformers {minor}. Each is a shard in `{package}/modular`, which says how it differs from a model of
transformers; `{package}/generated` has what the shards expand to.

    hetero new my_qwen3 --parent qwen3     # a shard, to be edited
    hetero generate                        # write what the shards expand to
    hetero check                           # is generated/ what the shards expand to? Has a parent changed?
    hetero check --run {package}/modular/modular_my_qwen3.py
    hetero drift                           # what the newest transformers would change
    hetero rebase                          # carry overrides over to parents that changed
    pytest

`import {package}` registers the families, and `AutoModelForCausalLM` builds them.
"""
WORKFLOW = """\
# `hetero check` at each push: is generated/ what the shards expand to? `hetero drift` once a week: what would the newest
# transformers change?
name: hetero

on:
  push:
  pull_request:
  schedule:
    - cron: "0 6 * * 1"
  workflow_dispatch:

env:
  # URL is that of its repository: no package index has it yet
  HETERO: transformers-heterogeneous[generator] @ git+URL

jobs:
  check:
    if: github.event_name != 'schedule'
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.11"
      - run: pip install torch --index-url https://download.pytorch.org/whl/cpu
      - run: pip install "$HETERO" -e '.[test]'
      - run: hetero check --format github
      - run: pytest
  drift:
    if: github.event_name == 'schedule' || github.event_name == 'workflow_dispatch'
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.11"
      - run: pip install torch --index-url https://download.pytorch.org/whl/cpu
      - run: pip install "$HETERO" -e .
      - run: hetero drift
"""
HOOK = """\
# `pre-commit install` runs this on what is committed; `hetero` has to be installed where git is called.
repos:
  - repo: local
    hooks:
      - id: hetero-check
        name: generated/ is what the shards expand to
        entry: hetero check
        language: system
        pass_filenames: false
        files: ^{package}/(modular|generated)/
"""
TEST = '''\
"""Every family of the package is known to the Auto classes."""

from transformers import AutoConfig

import {package}


def test_the_families_are_registered():
    configs = [each for name, each in vars({package}).items() if name.endswith("Config")]
    for config in [each for each in configs if "model_type" in vars(each)]:
        assert type(AutoConfig.for_model(config.model_type)) is config
'''


def init_command(folder: Path, package: str | None) -> int:
    """
    Write a repository into a folder that is empty or not there.

    Args:
        package: Name of the package in it; by default the folder's.

    Returns:
        0 when it was written, 2 when it could not be, with the reason on stderr.
    """
    package = package or re.sub(r"[-.\s]+", "_", folder.resolve().name.lower())
    reason = why_not(folder, package)
    if reason:
        print(f"hetero init: {reason}", file=sys.stderr)
        return 2
    for path, text in files_of(package).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    print(f"{folder} is written. In it: hetero new NAME --parent MODEL, then hetero generate; README.md says the rest")
    return 0


def why_not(folder: Path, package: str) -> str:
    """Why no repository can be written there."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", package):
        return f"{package!r} is no name for a package: lower case, digits and underscores; give one with --package"
    if os.path.lexists(folder) and (not folder.is_dir() or any(each.name != ".git" for each in folder.iterdir())):
        return f"{folder} exists and is no empty folder; nothing is overwritten"
    return ""


def files_of(package: str) -> Mapping[Path, str]:
    """The files of the repository, by their places in it."""
    major, minor = installed_version("transformers").split(".")[:2]
    said = {"package": package, "dashed": package.replace("_", "-"), "minor": f"{major}.{minor}"}
    said["next"] = f"{major}.{int(minor) + 1}"
    generated = Path(package, "generated", "__init__.py")
    files = {
        Path("pyproject.toml"): PYPROJECT.format(**said),
        Path("README.md"): README.format(**said),
        Path(".gitignore"): "__pycache__/\n*.egg-info/\n.venv/\n",
        Path(".github/workflows/hetero.yml"): WORKFLOW,
        Path(".pre-commit-config.yaml"): HOOK.format(**said),
        Path(package, "__init__.py"): INIT,
        Path(package, "modular", "__init__.py"): "",
        Path("tests", "test_families.py"): TEST.format(**said),
        generated: render_project([], "modular"),
    }
    formatted, _ = format_files({generated: files[generated]})
    return files | formatted
