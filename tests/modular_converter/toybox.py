"""Small packages of parents, and shards of them, in a temporary folder."""

import textwrap
from pathlib import Path

from transformers_heterogeneous.scripts.modular_converter.run import Run, expand


def clean(text: str) -> str:
    """Source as written in a test: without its indentation."""
    return textwrap.dedent(text).lstrip("\n")


class Toy:
    """A folder with a package of parents (`toy`) and a folder of shards."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.shards = root / "shards"
        self.inside = root / "src" / "transformers" / "models"

    def write(self, path: Path, text: str) -> Path:
        """Write a file, its folders included."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(clean(text), encoding="utf-8")
        return path

    def parent(self, name: str, text: str) -> Path:
        """A module of the package `toy`, which shards import absolutely."""
        self.write(self.root / "toy" / "__init__.py", "")
        return self.write(self.root / "toy" / f"{name}.py", text)

    def shard(self, name: str, text: str) -> Path:
        """A shard outside transformers."""
        return self.write(self.shards / f"modular_{name}.py", text)

    def inside_parent(self, model: str, text: str, kind: str = "modeling") -> Path:
        """A file of a model of (a toy copy of) transformers."""
        return self.write(self.inside / model / f"{kind}_{model}.py", text)

    def inside_shard(self, model: str, text: str) -> Path:
        """A shard of a model of (a toy copy of) transformers."""
        return self.write(self.inside / model / f"modular_{model}.py", text)

    def run(self, *shards: Path) -> Run:
        """Expand shards beside themselves."""
        return expand(shards, lambda path: path.parent)

    def texts(self, *shards: Path) -> dict[str, str]:
        """What the shards expand to, by file name and without the banner; there must be no problem."""
        run = self.run(*shards)
        assert run.messages() == [], run.messages()
        return {path.name: body(text) for path, text in run.files.items()}

    def problems(self, *shards: Path) -> list[str]:
        """The problems of a run as `file:line:column: message`, with files by name."""
        run = self.run(*shards)
        assert run.crashes == []
        return [str(problem).removeprefix(f"{problem.path.parent}/") for problem in sorted(set(run.problems))]


def body(text: str) -> str:
    """An output without its banner (comments up to the first empty or code line)."""
    lines = text.split("\n")
    while lines and (lines[0].startswith("#") or not lines[0]):
        lines.pop(0)
    return "\n".join(lines)
