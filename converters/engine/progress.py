"""A progress bar, which several threads may move."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from tqdm import tqdm

from .transfer import Advance


@contextmanager
def progress_bar(total: int, unit: str = "B") -> Iterator[Advance]:
    """A bar of so many bytes, or of something else, with rate and remaining time, silent where stderr is no terminal; what moves it."""
    if not sys.stderr.isatty():
        # Without tqdm, whose lock is shared with forked processes: one that is killed would keep it
        yield lambda num_bytes: None
        return
    lock = Lock()
    with tqdm(total=total, unit=unit, unit_scale=True, unit_divisor=1024 if unit == "B" else 1000) as bar:

        def advance(num_bytes: int) -> None:
            with lock:
                bar.update(num_bytes)

        yield advance
