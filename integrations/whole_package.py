"""The package as whoever imports it has it: the `hetero` command only puts it in place."""

import sys


def execute_package() -> None:
    """Execute the `__init__` of the package, where that was left out: families of other packages import from it."""
    package = sys.modules[__name__.partition(".")[0]]
    if not hasattr(package, "__version__"):
        assert package.__spec__ and package.__spec__.loader
        package.__spec__.loader.exec_module(package)
