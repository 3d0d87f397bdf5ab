"""
Regular expressions that somebody else wrote: they match what they match in Python's `re`, which their readers use, but not for ever.

Other engines have a limit of their own or never go back, and read some patterns otherwise: here `re` itself is stopped.
"""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, NoReturn

from .engine.errors import CheckpointError


How = Literal["match", "fullmatch"]
SECONDS = 20.0  # of this process's time; hundreds of patterns of the usual kind take one in the largest models
BRANCHING = re.compile(r"[*+?{|]")  # without any of these a pattern is done with a name in one go
IN_CHILD = """
import json, re, sys
expression, how, names = json.load(sys.stdin)
match = getattr(re.compile(expression), how)
json.dump([name for name in names if match(name)], sys.stdout)
"""


@dataclass
class Limit:
    """What patterns may take together."""

    seconds_left: float = SECONDS

    def matching(self, pattern: str, expression: str, names: Iterable[str], how: How) -> list[str]:
        """
        The names that an expression matches; none where it is no regular expression.

        Args:
            pattern: What the config has in its place.

        Raises:
            CheckpointError: names the pattern at which the limit is exceeded.
        """
        if self.seconds_left <= 0:
            self.refuse(pattern)
        if can_be_stopped():
            with self.stopped(pattern):
                return matching(expression, names, how)
        if BRANCHING.search(expression) and compiled(expression) is not None:
            return self.matching_in_child(pattern, expression, list(names), how)
        return matching(expression, names, how)

    def refuse(self, pattern: str) -> NoReturn:
        self.seconds_left = 0
        raise CheckpointError(
            f"quantization_config: the pattern {pattern!r} takes too long to match: {SECONDS:g} seconds are allowed for "
            "all patterns together",
            remedy="Name the modules in its place, or write a pattern without repetitions inside of repetitions.",
        )

    @contextmanager
    def stopped(self, pattern: str) -> Iterator[None]:
        """An alarm of this process's own time: `re` looks for signals while it matches."""
        started = time.process_time()
        before = signal.signal(signal.SIGVTALRM, lambda *_: self.refuse(pattern))
        try:
            signal.setitimer(signal.ITIMER_VIRTUAL, self.seconds_left)
            try:
                yield
            finally:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        finally:
            self.seconds_left -= time.process_time() - started
            signal.signal(signal.SIGVTALRM, before or signal.SIG_DFL)

    def matching_in_child(self, pattern: str, expression: str, names: list[str], how: How) -> list[str]:
        """The same in a process that can be ended, where this thread cannot be stopped."""
        started = time.monotonic()
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-S", "-c", IN_CHILD],
                input=json.dumps([expression, how, names]),
                capture_output=True,
                text=True,
                timeout=self.seconds_left,
                check=True,
            )
        except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
            self.refuse(pattern)
        self.seconds_left -= time.monotonic() - started
        found: list[str] = json.loads(done.stdout)
        return found


def can_be_stopped() -> bool:
    """Signals reach the main thread alone, and there are none on some systems."""
    return hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()


def matching(expression: str, names: Iterable[str], how: How) -> list[str]:
    """As above, however long it takes."""
    if (pattern := compiled(expression)) is None:
        return []
    match = pattern.match if how == "match" else pattern.fullmatch
    return [name for name in names if match(name)]


def compiled(expression: str) -> re.Pattern[str] | None:
    """A regular expression; `None` where it is none, and so matches nothing."""
    try:
        return re.compile(expression)
    except (re.error, RecursionError, OverflowError):
        return None
