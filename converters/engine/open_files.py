"""The files of a checkpoint while they are read: held open, and in the end still those that were planned with."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from .errors import CheckpointError, refuse
from .files import open_regular
from .fingerprints import Fingerprint, fingerprint_of
from .weights import Weights


SPARE_FILES = 256  # that are open beside those of a checkpoint


@dataclass(frozen=True)
class Source:
    """
    A checkpoint and its open files.

    Attributes:
        fingerprints: Name of a file -> what it was when it was planned with.
        readings: Name of a file with weights -> its descriptor.
    """

    weights: Weights
    fingerprints: Mapping[str, Fingerprint]
    readings: Mapping[str, int]

    def check(self) -> None:
        """Raise a `CheckpointError` that names every file that is not what it was."""
        refuse(
            f"{self.weights.folder}: changed while it was read, and nothing of it is kept",
            (f"{name!r} {change}" for name, change in self.changes()),
            remedy="Start again when nothing writes to it any more.",
        )

    def changes(self) -> Iterator[tuple[str, str]]:
        """The files that are not what they were, and how each differs."""
        for name, before in self.fingerprints.items():
            try:
                now = [fingerprint_of(os.stat(self.weights.path(name)))]
            except OSError as error:
                yield name, f"cannot be found any more: {error.strerror}"
                continue
            now += [fingerprint_of(os.fstat(self.readings[name]))] if name in self.readings else []
            if change := next((change for each in now if (change := before.change_to(each))), None):
                yield name, change


@contextmanager
def held(weights: Weights, others: Mapping[str, Fingerprint] | None = None) -> Iterator[Source]:
    """
    A checkpoint with its weight files open: whatever takes their names, what was planned is what is read.

    Args:
        others: Name of a file beside the weights -> what it was; these are not held open.

    Raises:
        CheckpointError: names the files that are not what they were, before the first byte is read or after the last.
    """
    allow_open_files(len(weights.files) + SPARE_FILES)
    with ExitStack() as stack:
        files = {
            name: stack.enter_context(open_regular(weights.path(name), weights.owner(name))) for name in weights.files
        }
        readings = {name: file.fileno() for name, file in files.items()}
        source = Source(weights, {**weights.fingerprints, **(others or {})}, readings)
        source.check()
        try:
            yield source
        except CheckpointError:
            source.check()  # says why a file ended before it should
            raise
        source.check()


def allow_open_files(number: int) -> None:
    """Let this process have so many files open, as far as the system allows it."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < number:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(number, hard) if hard >= 0 else number, hard))
