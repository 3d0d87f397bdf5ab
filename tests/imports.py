"""Who imports whom in a folder of modules, read off the source files."""

from collections.abc import Mapping
from pathlib import Path

import libcst as cst


def modules_of(root: Path) -> dict[str, Path]:
    """The modules of a folder by name, as `engine.headers`; "" is the package itself."""
    return {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix("__init__").removesuffix("."): path
        for path in sorted(root.rglob("*.py"))
    }


class Imports(cst.CSTVisitor):
    """The modules that a file imports, inside functions too: those of its folder by name, others as they are written."""

    def __init__(self, module: str, is_package: bool, modules: Mapping[str, Path]) -> None:
        self.parts = [*module.split("."), *([""] * is_package)] if module else [""]
        self.modules = modules
        self.ours: set[str] = set()
        self.others: set[str] = set()

    def visit_Import(self, node: cst.Import) -> None:
        self.others |= {cst.Module([]).code_for_node(alias.name) for alias in node.names}

    def visit_ImportFrom(self, node: cst.ImportFrom) -> None:
        source = cst.Module([]).code_for_node(node.module) if node.module else ""
        if not node.relative:
            self.others.add(source)
            return
        origin = ".".join([*self.parts[: len(self.parts) - len(node.relative)], *([source] * bool(source))])
        for alias in node.names:
            name = f"{origin}.{alias.name.value}".removeprefix(".")
            self.ours.add(name if name in self.modules else origin)


def imports_of(modules: Mapping[str, Path]) -> dict[str, Imports]:
    """What each of the modules imports."""
    found = {name: Imports(name, path.name == "__init__.py", modules) for name, path in modules.items()}
    for name, path in modules.items():
        cst.parse_module(path.read_text()).visit(found[name])
    return found
