"""The one error that reading and converting checkpoints raises."""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path


MAX_PROBLEMS = 100  # more help nobody, and a damaged file may hold millions
# Characters of a line of a message, and how many of a longer one are kept of its beginning and its end
MAX_LINE, KEPT_FIRST, KEPT_LAST = 2000, 1200, 600
# What Python raises at values that nobody thought of
UNFORESEEN = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


class CheckpointError(ValueError):
    """
    A checkpoint that cannot be read, or a conversion that cannot be carried out.

    Args:
        heading: What is wrong, with the file or folder it is about.
        problems: Each single offender with its value and what is allowed, one a line.
        remedy: What to do about it.
    """

    def __init__(self, heading: str, problems: Iterable[str] = (), remedy: str = "") -> None:
        parts = [heading, *(f"  {problem}" for problem in problems), remedy]
        lines = (line for part in parts if part for line in part.split("\n"))
        super().__init__("\n".join(map(cut, lines)))


def cut(line: str) -> str:
    """A line of a message, without the middle where a name or a value in it is a whole file long."""
    if len(line) <= MAX_LINE:
        return line
    return f"{line[:KEPT_FIRST]} [... {len(line) - KEPT_FIRST - KEPT_LAST:,} characters ...] {line[-KEPT_LAST:]}"


@contextmanager
def reading(source: object) -> Iterator[None]:
    """
    The boundary of what somebody else wrote: whatever goes wrong while it is read and judged is a `CheckpointError` about
    it, also where nobody thought of such a value.

    Args:
        source: What messages call it.
    """
    try:
        yield
    except CheckpointError:
        raise
    except OSError as error:
        place = error.filename if isinstance(error.filename, str | Path) else source
        raise CheckpointError(f"{place}: {error.strerror or error}") from error
    except UNFORESEEN as error:
        reason = f"{type(error).__name__}: {error}"
        raise CheckpointError(f"{source}: holds something that cannot be read ({reason})") from error


def refuse_loops(*paths: Path) -> None:
    """Raise a `CheckpointError` where a path leads to itself, over links: what works with paths has no words for it."""
    for path in paths:
        try:
            os.stat(path)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise CheckpointError(
                    f"{path}: is a link that leads to itself", remedy="Remove it, or name another place."
                ) from error


def refuse(heading: str, problems: Iterable[str], remedy: str = "") -> None:
    """Raise a `CheckpointError` with all the problems, if there are any; of very many the first, and how many more."""
    found = iter(problems)
    if shown := list(islice(found, MAX_PROBLEMS)):
        num_others = sum(1 for _ in found)
        raise CheckpointError(f"{heading}:", [*shown, *([f"and {num_others:,} more"] * bool(num_others))], remedy)
