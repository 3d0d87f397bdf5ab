"""
Pages of the documentation as sessions: their blocks are run from top to bottom, in a folder with the checkpoints that they
name. A comment before a block says otherwise: `<!-- not run: REASON -->`, or `<!-- NAME.EXT -->`, a file that the block is.

`python -m tests.docs_pages docs/seeing.md` writes what is printed into a page.
"""

import contextlib
import io
import os
import re
import runpy
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from typer.testing import CliRunner

from transformers.utils import logging
from transformers_heterogeneous.scripts.command.cli import app
from transformers_heterogeneous.scripts.modular_converter.sources.source import read_source

from .docs_checkpoints import MADE


ROOT = Path(__file__).resolve().parent.parent
REASONS = ("a download", "a GPU", "an environment of its own", "minutes")
PROGRAMS = ("cd", "git", "hetero", "llama-cli", "make", "pip", "python")
BLOCK = re.compile(
    r"^(?:<!-- (?P<note>[^\n]*) -->\n)?```(?P<language>\w*)\n(?P<body>.*?)^```$(?:\n\n```text\n(?!\$ )(?P<output>.*?)^```$)?",
    re.DOTALL | re.MULTILINE,
)
COMMAND = re.compile(r"^\$ (?P<command>.*)\n(?P<output>(?:(?!\$ ).*\n)*)", re.MULTILINE)


def kind_of(block: re.Match[str]) -> str:
    """`python`, `commands`, `session` (with what each command prints), or `text`."""
    first = block["body"].lstrip().partition(" ")[0].strip()
    if first == "$":
        return "session"
    if block["language"] in ("python", "py", "console", "sh", "bash"):
        return "python" if block["language"].startswith("py") else "commands"
    if block["language"] or first.startswith("#"):
        return "text"
    if first.rpartition("/")[2] in PROGRAMS:
        return "commands"
    try:
        compile(block["body"], "page", "exec")
    except SyntaxError:
        return "text"
    return "python"


def blocks_of(text: str) -> list[re.Match[str]]:
    return list(BLOCK.finditer(text))


def is_run(block: re.Match[str]) -> bool:
    return not block["note"] and kind_of(block) != "text"


class Session:
    """What a page does to one process: a folder, the names that its Python has bound, packages that it installs."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"__name__": "page"}

    def python(self, code: str) -> str:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "page", "exec"), self.names)
        return printed.getvalue()

    def command(self, line: str, fails: bool = False) -> str:
        """
        Run a line.

        Args:
            fails: Whether it may end with another status than 0, as what it prints is compared.
        """
        program, *words = shlex.split(line, comments=True)
        if program == "hetero":
            read_source.cache_clear()  # as a new process
            done = CliRunner().invoke(app, words)
            if done.exception is not None and not isinstance(done.exception, SystemExit):
                raise done.exception
            assert fails or done.exit_code == 0, f"{line}\nexit status {done.exit_code}\n{done.output}"
            return done.output
        if program == "cd":
            os.chdir(words[0])
        elif program == "pip" and words[0] == "install" and Path(words[1], "pyproject.toml").is_file():
            sys.path.insert(0, str(Path(words[1]).resolve()))
        elif program == "python":
            return self.script(words)
        elif program == "make":
            done = subprocess.run([program, *words], cwd=ROOT, capture_output=True, text=True, check=True)
            return done.stdout
        else:
            raise AssertionError(
                f"{line}: not known to {Path(__file__).name}; a comment before the block says why not"
            )
        return ""

    def script(self, words: list[str]) -> str:
        printed = io.StringIO()
        with mock.patch.object(sys, "argv", words), contextlib.redirect_stdout(printed):
            runpy.run_path(words[0], run_name="__main__")
        return printed.getvalue()


def lines_of(text: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in text.rstrip().splitlines())


def filled(shown: str, printed: str) -> str:
    """What a page shows where it is what was printed, lines of `...` standing for any; else what was printed."""
    parts = re.split(r"^ *\.\.\.\n", lines_of(shown), flags=re.MULTILINE)
    if re.fullmatch(r"(?:.*\n)*?".join(map(re.escape, parts)), lines_of(printed)):
        return shown
    return lines_of(printed) + shown[len(shown.rstrip("\n")) + 1 :]


def run_block(block: re.Match[str], session: Session) -> str:
    """The block as it should be, and what it shows behind it."""
    kind, body = kind_of(block), block["body"]
    if kind == "session":
        body = COMMAND.sub(
            lambda each: f"$ {each['command']}\n"
            + filled(each["output"], session.command(each["command"], fails=bool(each["output"]))),
            body,
        )
        printed = ""
    elif kind == "python":
        printed = session.python(body)
    else:
        lines = [line for line in body.splitlines() if line and not line.startswith("#")]
        printed = "".join(session.command(line, fails=block["output"] is not None) for line in lines)
    whole = block[0].replace(block["body"], body, 1)
    if block["output"] is None:
        return whole
    before, _, _ = whole.rpartition("```text\n")
    return f"{before}```text\n{filled(block['output'], printed)}```"


@contextlib.contextmanager
def within(folder: Path) -> Iterator[None]:
    """In a folder, without bars of progress, which no page shows."""
    before, path, bars = Path.cwd(), list(sys.path), logging.is_progress_bar_enabled()
    os.chdir(folder)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if bars:
            logging.enable_progress_bar()
        os.chdir(before)
        sys.path[:] = path


def made_for(text: str, folder: Path) -> None:
    """The checkpoints that blocks name."""
    code = "".join(block["body"] for block in blocks_of(text) if is_run(block))
    for name, make in MADE.items():
        if re.search(rf"(?<![\w/-]){re.escape(name)}(?![\w-])", code):
            make(folder / name)


def run_page(text: str, folder: Path) -> str:
    """The page with what its blocks print."""
    session = Session()

    def replaced(block: re.Match[str]) -> str:
        if is_run(block):
            return run_block(block, session)
        if block["note"] and not block["note"].startswith("not run: "):
            Path(block["note"]).write_text(block["body"])
        return block[0]

    made_for(text, folder)
    with within(folder):
        return BLOCK.sub(replaced, text)


if __name__ == "__main__":
    for page in map(Path, sys.argv[1:]):
        with tempfile.TemporaryDirectory() as folder:
            page.write_text(run_page(page.read_text(), Path(folder)))
