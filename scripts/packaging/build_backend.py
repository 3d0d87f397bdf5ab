"""What pip builds this project with: setuptools, and a build option for a wheel that fits an older transformers.

    pip install . --config-settings transformers=5.19

The repository holds the newest expansion alone. With the option, pip installs that transformers and the generator beside
the build, the shards are expanded for it in a scratch copy, and version and dependency of the wheel say the release.
"""

import contextlib
import os
import re
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import build_sdist, get_requires_for_build_editable, get_requires_for_build_sdist


__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

ROOT = Path(__file__).resolve().parents[2]
OPTION = "transformers"
FILES = ("pyproject.toml", "README.md", "LICENSE", "hetero.py")
EXPANDED = ("generated", "modular")  # which a wheel for another release has its own of
PACKAGE = "transformers_heterogeneous"
Settings = dict[str, Any] | None


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    """What pip installs beside the build: for an older release the generator, and that release."""
    found: list[str] = build_meta.get_requires_for_build_wheel(config_settings)
    release = asked_release(config_settings)
    return found if release is None else [*found, *_generator(), f"transformers=={release}.*"]


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: Settings = None) -> str:
    """Name, version and dependencies of the wheel."""
    with _tree(asked_release(config_settings), expanded=False):
        return str(build_meta.prepare_metadata_for_build_wheel(str(Path(metadata_directory).absolute())))


def build_wheel(wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None) -> str:
    """The wheel; returns its file name."""
    target = str(Path(wheel_directory).absolute())
    with _tree(asked_release(config_settings), expanded=True):
        return str(build_meta.build_wheel(target))


def prepare_metadata_for_build_editable(metadata_directory: str, config_settings: Settings = None) -> str:
    """The same of an editable install, which is of the newest release alone."""
    _refuse_editable(config_settings)
    return str(build_meta.prepare_metadata_for_build_editable(metadata_directory))


def build_editable(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    """An editable install."""
    _refuse_editable(config_settings)
    return str(build_meta.build_editable(wheel_directory, None, metadata_directory))


def _refuse_editable(config_settings: Settings) -> None:
    if release := asked_release(config_settings):
        raise SystemExit(
            f"transformers={release} asks for another release than the repository holds, and an editable install is of what "
            "it holds: leave --editable out"
        )


def asked_release(config_settings: Settings) -> str | None:
    """The minor release that a wheel is asked for, as in `5.19`; None for the one that the repository holds."""
    release = (config_settings or {}).get(OPTION)
    if release is None:
        return None
    if not isinstance(release, str) or not re.fullmatch(r"\d+\.\d+", release):
        raise SystemExit(f"--config-settings {OPTION}={release}: a minor release such as 5.19 is needed")
    return None if release == _newest() else release


def _pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _project() -> dict[str, Any]:
    found: dict[str, Any] = _pyproject()["project"]
    return found


def _folders() -> list[str]:
    """Those of packages that are the same for every release."""
    return [each for each in _pyproject()["tool"]["setuptools"]["package-dir"].values() if each not in EXPANDED]


def _newest() -> str:
    return ".".join(_project()["version"].split(".")[:2])


def _generator() -> list[str]:
    """What the generator needs, as it is pinned where the shards are developed."""
    needed = _project()["optional-dependencies"]["generator"]
    path = ROOT / "constraints.txt"
    pins = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    pinned = {line.partition("==")[0]: line for line in pins if "==" in line}
    return [pinned.get(re.split(r"[<>=]", each)[0], each) for each in needed]


@contextlib.contextmanager
def _tree(release: str | None, expanded: bool) -> Iterator[None]:
    """Work in the folder that the wheel is built from: the repository, or a scratch copy that is for another release."""
    if release is None:
        with contextlib.chdir(ROOT), _nothing_left_over():
            yield
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for each in FILES:
            shutil.copy2(ROOT / each, folder / each)
        for each in _folders():
            shutil.copytree(ROOT / each, folder / each)
        project = folder / "pyproject.toml"
        project.write_text(project_for(project.read_text(encoding="utf-8"), release), encoding="utf-8")
        if expanded:
            _expand(release, folder / "generated")
        else:
            shutil.copytree(ROOT / "generated", folder / "generated", ignore=_links)
            shutil.copytree(ROOT / "modular", folder / "generated" / "modular")
        (folder / "generated" / "modular").rename(folder / "modular")
        with contextlib.chdir(folder):
            yield


def _links(folder: str, names: list[str]) -> list[str]:
    """The links to the other rooms, which mypy and editors follow, and a build has a mapping for."""
    return [each for each in names if Path(folder, each).is_symlink()]


@contextlib.contextmanager
def _nothing_left_over() -> Iterator[None]:
    """Let setuptools gather files in a folder of this build: what lies in `build/` from earlier ones would get into the wheel."""
    variable = "DIST_EXTRA_CONFIG"
    before = os.environ.get(variable)
    with tempfile.TemporaryDirectory() as name:
        settings = Path(name, "settings.cfg")
        settings.write_text(f"[build]\nbuild_base = {name}\n", encoding="utf-8")
        os.environ[variable] = str(settings)
        try:
            yield
        finally:
            os.environ.pop(variable)
            if before is not None:
                os.environ[variable] = before


def project_for(text: str, release: str) -> str:
    """`pyproject.toml` with the version and the dependency of a wheel for another release."""
    project = tomllib.loads(text)["project"]
    major, minor = map(int, release.split("."))
    patch = project["version"].split(".", 2)[2]
    newest = next(each for each in project["dependencies"] if re.match(r"transformers\W", each))
    text = text.replace(f'version = "{project["version"]}"', f'version = "{release}.{patch}"', 1)
    return text.replace(f'"{newest}"', f'"transformers>={release},<{major}.{minor + 1}"', 1)


def _expand(release: str, out: Path) -> None:
    """The expansion for the release, which is installed beside the build."""
    package = module_from_spec(ModuleSpec(PACKAGE, None, is_package=True))
    package.__path__ = [str(ROOT)]
    sys.modules[PACKAGE] = package
    launcher = spec_from_file_location("hetero", ROOT / "hetero.py")
    assert launcher is not None and launcher.loader is not None
    sys.modules[launcher.name] = module_from_spec(launcher)
    launcher.loader.exec_module(sys.modules[launcher.name])
    from transformers_heterogeneous.scripts.command.expand_against import expand_for_installed
    from transformers_heterogeneous.scripts.modular_converter.sources.paths import installed_version

    found = installed_version("transformers")
    if found.split(".")[:2] != release.split("."):
        raise SystemExit(
            f"a wheel for transformers {release} is built beside that release, and here is {found}: leave "
            "--no-build-isolation out, or install it first"
        )
    if expand_for_installed(ROOT / "modular", out):
        raise SystemExit(f"the families cannot be expanded for transformers {release}: see above")
    (out / "modular" / "__init__.py").write_text((ROOT / "modular" / "__init__.py").read_text(encoding="utf-8"))
