"""The one error that reading and converting checkpoints raises."""

from collections.abc import Iterable
from itertools import islice


MAX_PROBLEMS = 100  # more help nobody, and a damaged file may hold millions


class CheckpointError(ValueError):
    """
    A checkpoint that cannot be read, or a conversion that cannot be carried out.

    Args:
        heading: What is wrong, with the file or folder it is about.
        problems: Each single offender with its value and what is allowed, one a line.
        remedy: What to do about it.
    """

    def __init__(self, heading: str, problems: Iterable[str] = (), remedy: str = "") -> None:
        lines = [heading, *(f"  {problem}" for problem in problems), remedy]
        super().__init__("\n".join(line for line in lines if line))


def refuse(heading: str, problems: Iterable[str], remedy: str = "") -> None:
    """Raise a `CheckpointError` with all the problems, if there are any; of very many the first, and how many more."""
    found = iter(problems)
    if shown := list(islice(found, MAX_PROBLEMS)):
        num_others = sum(1 for _ in found)
        raise CheckpointError(f"{heading}:", [*shown, *([f"and {num_others:,} more"] * bool(num_others))], remedy)
