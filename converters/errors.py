"""The one error that reading and converting checkpoints raises."""

from collections.abc import Iterable


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
    """Raise a `CheckpointError` with all the problems, if there are any."""
    if found := list(problems):
        raise CheckpointError(f"{heading}:", found, remedy)
