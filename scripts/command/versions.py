"""Which transformers the families were expanded from, and whether the installed one is of that release."""

import re
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from transformers_heterogeneous.integrations.installing import how_to_install


def parents_version() -> str:
    """What generated/__init__.py says, which is read and not executed: importing it takes seconds."""
    spec = find_spec("transformers_heterogeneous")
    text = Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else ""
    match = re.search(r'^PARENTS_VERSION = "(.*)"$', text, re.MULTILINE)
    return match[1] if match else "unknown"


def installed(distribution: str) -> str:
    """The version of an installed distribution."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def versions_line() -> str:
    """What `hetero --version` prints."""
    ours, theirs = installed("transformers-heterogeneous"), installed("transformers")
    return f"transformers-heterogeneous {ours}, expanded from transformers {parents_version()}; installed: {theirs}"


def misfit() -> str | None:
    """Why the installed transformers does not serve the families; `None` where it does."""
    expanded, found = parents_version(), installed("transformers")
    if expanded.split(".")[:2] == found.split(".")[:2]:
        return None
    minor = ".".join(found.split(".")[:2])
    return (
        f"the families were expanded from transformers {expanded}, and installed is transformers {found}. What fits "
        f"this one is {how_to_install(release=minor)}; without --config-settings, the newest with the transformers that it needs"
    )
