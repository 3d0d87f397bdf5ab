"""`hetero graph`: which family is made of which, with the lines that have to be maintained."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.tree import Tree

from ..family_graph.lineage import Family, Lineage, lineage_of
from ..family_graph.lineage_svg import svg_of
from ..modular_converter.sources.paths import installed_version


WIDEST = 1000  # a terminal that is narrower wraps a line, and nothing is cut off
OWN = Path(__file__).resolve().parents[2] / "modular"


def graph_command(folder: Path | None, of_transformers: bool, as_json: bool, svg: Path | None) -> int:
    """Print the graph; 0 when done, 2 with the reason on stderr when it could not be."""
    if of_transformers and folder is not None:
        print(f"hetero graph: --transformers, or {folder}: one of them", file=sys.stderr)
        return 2
    try:
        lineage = lineage_of(None if of_transformers else folder or OWN)
        if svg is not None:
            svg.write_text(svg_of(lineage), encoding="utf-8")
    except (LookupError, SyntaxError) as error:
        print(f"hetero graph: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"hetero graph: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    if as_json:
        print(json.dumps(lineage.to_dict(), indent=2))
    else:
        print_graph(lineage)
    return 0


def print_graph(lineage: Lineage) -> None:
    """A tree: families below what most of their classes are inherited from."""
    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    tree = Tree(f"transformers {installed_version('transformers')}")
    branches = {-1: tree}
    for depth, family in lineage.depth_first():
        branches[depth] = branches[depth - 1].add(words(lineage, family))
    console.width = max(console.width, WIDEST)
    console.print(tree)
    asked = [lineage.families[name] for name in lineage.asked]
    shard, whole = sum(each.shard_lines or 0 for each in asked), sum(each.lines for each in asked)
    told = [f"{len(asked)} families", f"{shard:,} lines of shards", f"{whole:,} lines of what they expand to"]
    if any(each.overrides is not None for each in asked):
        told.append(f"{sum(sum((each.overrides or {}).values()) for each in asked):,} overrides")
    console.print(", ".join(told))


def words(lineage: Lineage, family: Family) -> str:
    """A family in a line."""
    if family.shard_lines is None:
        return f"{family.name}  {family.lines:,} lines"
    parent = lineage.parent_of(family.name)
    others = {name: count for name, count in family.parents.items() if name != parent}
    lines = f"{family.shard_lines:,} -> {family.lines:,}" if family.lines else f"{family.shard_lines:,}"
    told = [f"{family.name}  {lines} lines, {family.num_classes} classes"]
    if others:
        told.append(f"also of {counted(others)}")
    if family.overrides:
        told.append(f"overrides {counted(family.overrides)}")
    return "; ".join(told)


def counted(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in numbers.items())
