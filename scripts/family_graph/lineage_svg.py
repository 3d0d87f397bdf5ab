"""A picture of families: what each is made of to the left of it."""

from collections.abc import Iterator
from html import escape

from .lineage import Family, Lineage


ROW, COLUMN, MARGIN, TEXT = 20, 210, 16, 12  # pixels
INK, FAINT, ASKED, LINE = "#222222", "#666666", "#0072B2", "#BBBBBB"


def svg_of(lineage: Lineage) -> str:
    """The picture, as the text of an .svg file."""
    places = {family.name: (depth, row) for row, (depth, family) in enumerate(lineage.depth_first())}
    deepest = max(depth for depth, _ in places.values())
    width, height = MARGIN * 2 + COLUMN * (deepest + 1) + 260, MARGIN * 2 + ROW * len(places)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="{TEXT}">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        *edges(lineage, places),
        *(label(lineage, family, *places[family.name]) for _, family in lineage.depth_first()),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def edges(lineage: Lineage, places: dict[str, tuple[int, int]]) -> Iterator[str]:
    """A line from each family to what it is made of."""
    for name, (depth, row) in places.items():
        parent = lineage.parent_of(name)
        if parent is not None:
            left, top = MARGIN + COLUMN * (depth - 1) + 8, MARGIN + ROW * places[parent][1] + 15
            right, bottom = MARGIN + COLUMN * depth - 6, MARGIN + ROW * row + 10
            yield f'<path d="M{left} {top}V{bottom}H{right}" fill="none" stroke="{LINE}"/>'


def label(lineage: Lineage, family: Family, depth: int, row: int) -> str:
    """A family's name and its lines."""
    asked = family.name in lineage.asked
    colour = ASKED if asked else INK
    x, y = MARGIN + COLUMN * depth, MARGIN + ROW * row + 14
    lines = [each for each in (family.shard_lines, family.lines) if each]
    others = [name for name in family.parents if name != lineage.parent_of(family.name)]
    also = f", also of {', '.join(others)}" if others else ""
    return (
        f'<text x="{x}" y="{y}" fill="{colour}">{escape(family.name)}'
        f'<tspan fill="{FAINT}" dx="6">{" → ".join(f"{each:,}" for each in lines)}{escape(also)}</tspan></text>'
    )
