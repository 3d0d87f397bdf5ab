"""What every Python under `hetero run` begins with, children included: the families are registered with transformers.

This folder stands first on PYTHONPATH; the `sitecustomize` that it stands before is imported as it would have been.
"""

import importlib.util
import sys
from pathlib import Path


def main() -> None:
    own = Path(__file__).resolve().parent
    there = [entry for entry in sys.path if entry and Path(entry).resolve() == own]
    module = sys.modules.pop("sitecustomize", None)
    for entry in there:
        sys.path.remove(entry)
    try:
        import sitecustomize  # type: ignore[import-not-found] # noqa: F401
    except ImportError as error:
        if error.name != "sitecustomize":
            raise
        if module is not None:
            sys.modules["sitecustomize"] = module
    sys.path[:0] = there  # for children that are started with this path
    follower = own.parents[2] / "integrations" / "at_import.py"
    spec = importlib.util.spec_from_file_location("transformers_heterogeneous_at_import", follower)
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    found.autoload()


main()
