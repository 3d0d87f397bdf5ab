"""Counts what becomes of the configs and checkpoints that tests change, and says so at the end of a run."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest


WAYS = ("accepted", "refused", "ended otherwise")
OUTCOMES: Counter[str] = Counter()


@contextmanager
def attempt(kind: str, *refusals: type[Exception]) -> Iterator[None]:
    """Count one try. An error that is a refusal ends here; what else is raised goes on."""
    way = "ended otherwise"
    try:
        yield
        way = "accepted"
    except refusals:
        way = "refused"
    finally:
        OUTCOMES[f"{kind}: {way}"] += 1


@pytest.fixture(scope="session")
def attempted() -> Callable[..., AbstractContextManager[None]]:
    return attempt


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["outcomes"] = dict(OUTCOMES)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node) -> None:
    OUTCOMES.update(getattr(node, "workeroutput", {}).get("outcomes", {}))


def pytest_terminal_summary(terminalreporter) -> None:
    for kind in sorted({name.split(":")[0] for name in OUTCOMES}):
        counts = {way: OUTCOMES[f"{kind}: {way}"] for way in WAYS}
        said = ", ".join(f"{count:,} {way}" for way, count in counts.items())
        terminalreporter.write_line(f"{kind}: {sum(counts.values()):,} tried, {said}")
