"""Formatting with ruff, all files of a run at once, as transformers formats its own."""

import json
import subprocess
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from ruff.__main__ import find_ruff_bin  # type: ignore[import-untyped]


# Undefined names, and what Python refuses to compile though it can be parsed: a star import or a `return` in a class,
# a `break` outside a loop...
FATAL_RULES = ("F821", "F406", "F621", "F622", "F701", "F702", "F704", "F706", "F707")
# Transformers formats its own files for the Python that it once began with; others are for that which it needs now.
INSIDE, OUTSIDE = "py310", "py311"
_NEWEST = "py314"  # newer syntax is not the formatter's to refuse: whether this Python reads an output is tried
_CONFIG = """\
line-length = 119
src = []  # else what lies in the current folder is first-party
target-version = "{target}"
cache-dir = "{cache}"
[lint.isort]
lines-after-imports = 2
known-first-party = ["transformers"]
"""


@dataclass(frozen=True)
class Finding:
    """Something ruff found in a formatted file."""

    key: Path
    line: int
    column: int
    code: str
    message: str


def format_files(files: Mapping[Path, str], target: str = OUTSIDE) -> tuple[dict[Path, str], list[Finding]]:
    """Sort imports, drop unused ones, format; returns the texts and what is wrong with them (undefined names, syntax)."""
    if not files:
        return {}, []
    with tempfile.TemporaryDirectory(prefix="hetero-") as name:
        folder = Path(name)
        config = folder / "ruff.toml"
        config.write_text(_CONFIG.format(cache=folder / "cache", target=target), encoding="utf-8")
        places = {folder / "files" / str(number) / key.name: key for number, key in enumerate(files)}
        for place, key in places.items():
            place.parent.mkdir(parents=True)
            place.write_text(files[key], encoding="utf-8")
        found = _check(folder, config, places, target if target == INSIDE else _NEWEST)
        _ruff(["format", "--quiet", "--no-cache", "--config", str(config), str(folder / "files")])
        return {key: place.read_text(encoding="utf-8") for place, key in places.items()}, found


def format_like(path: Path, before: str, text: str) -> str:
    """The new text of a file, formatted by the settings of the project that it is in, where the text before was so."""
    return _tidy(path, text) if _tidy(path, before) == before else text


def _tidy(path: Path, text: str) -> str:
    """Imports sorted and code formatted; as it was where it cannot be parsed."""
    name = ["--quiet", "--no-cache", "--stdin-filename", str(path)]
    for command in (["check", "--select", "I001", "--fix", "--exit-zero", *name], ["format", *name]):
        text = _ruff([*command, "-"], text) or text
    return text


def _check(folder: Path, config: Path, places: Mapping[Path, Path], target: str) -> list[Finding]:
    options = ["--fix", "--exit-zero", "--no-cache", "--output-format", "json", "--config", str(config)]
    options += ["--target-version", target]
    rules = ",".join(("I001", "F401", "F811", "SIM910", *FATAL_RULES))
    output = _ruff(["check", "--select", rules, *options, str(folder / "files")])
    return [
        Finding(
            places[Path(item["filename"])],
            item["location"]["row"],
            item["location"]["column"],
            item["code"] or "syntax",
            item["message"],
        )
        for item in json.loads(output)
    ]


@cache
def ruff_program() -> str:
    """
    The program of the ruff that is imported. Ruff's own search begins beside the interpreter, and that of pip's build
    environments is the user's: what a build asks for lies elsewhere, and another ruff formats otherwise.

    Raises:
        FileNotFoundError: where ruff was installed without it.
    """
    name = "ruff" + (sysconfig.get_config_var("EXE") or "")
    try:
        installed = files("ruff") or ()
    except PackageNotFoundError:
        installed = ()
    for file in installed:
        path = Path(str(file.locate()))
        if file.name == name and path.is_file():
            return str(path)
    return str(find_ruff_bin())


def _ruff(arguments: Sequence[str], given: str | None = None) -> str:
    done = subprocess.run([ruff_program(), *arguments], input=given, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1) and "format" not in arguments:
        raise RuntimeError(f"ruff failed: {done.stderr.strip()}")
    return done.stdout
