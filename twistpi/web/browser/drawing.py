"""What an index inherits from, as a small picture (SVG)."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

import attrs
from markupsafe import Markup

_WIDTH_OF_CHARACTER: Final = 7.4
"""Pixels of the widest usual letter at the size of the labels."""
_PADDING: Final = 14
_HEIGHT: Final = 44
_BETWEEN_COLUMNS: Final = 48
_BETWEEN_ROWS: Final = 16
_MARGIN: Final = 3


@attrs.frozen
class Box:
    """An index in the drawing."""

    name: str
    bases: tuple[str, ...] = ()
    link: str | None = None
    """Where a click leads; None for nowhere."""
    note: str = ""
    """A word below the name."""

    @property
    def width(self) -> float:
        """Pixels."""
        return max(len(self.name), len(self.note)) * _WIDTH_OF_CHARACTER + 2 * _PADDING


def columns_of(boxes: Sequence[Box]) -> list[list[Box]]:
    """Return ``boxes``, whose first one inherits from all others, in columns: each stands right of the nearest that names it."""
    known = {box.name: box for box in boxes}
    depth = {boxes[0].name: 0}
    waiting = [boxes[0]]
    while waiting:
        box = waiting.pop(0)
        for base in box.bases:
            if base in known and base not in depth:
                depth[base] = depth[box.name] + 1
                waiting.append(known[base])
    columns: list[list[Box]] = [[] for _ in range(max(depth.values()) + 1)]
    for name, column in depth.items():
        columns[column].append(known[name])
    return columns


def draw_inheritance(boxes: Sequence[Box]) -> Markup:
    """Return the drawing of ``boxes``, the index itself first."""
    columns = columns_of(boxes)
    tallest = max(map(len, columns))
    height = tallest * _HEIGHT + (tallest - 1) * _BETWEEN_ROWS + 2 * _MARGIN
    places: dict[str, tuple[float, float, float]] = {}
    left = float(_MARGIN)
    for column in columns:
        width = max(box.width for box in column)
        top = (height - len(column) * _HEIGHT - (len(column) - 1) * _BETWEEN_ROWS) / 2
        for row, box in enumerate(column):
            places[box.name] = (left, top + row * (_HEIGHT + _BETWEEN_ROWS), width)
        left += width + _BETWEEN_COLUMNS
    width = left - _BETWEEN_COLUMNS + _MARGIN
    shapes = [
        _arrow(places[box.name], places[base]) for box in boxes for base in box.bases if base in places and box.name in places
    ]
    shapes += [_box(box, *places[box.name]) for box in boxes if box.name in places]
    label = escape(f"{boxes[0].name} inherits from {', '.join(box.name for box in boxes[1:])}")
    return Markup(
        f'<svg class="drawing" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" role="group"'
        f' aria-label="{label}"><defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"'
        f' orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>{"".join(shapes)}</svg>'
    )


def _arrow(source: tuple[float, float, float], target: tuple[float, float, float]) -> str:
    x1, y1 = source[0] + source[2], source[1] + _HEIGHT / 2
    x2, y2 = target[0], target[1] + _HEIGHT / 2
    if x2 <= x1:  # a base that stands in the same column or further left
        x1, x2 = source[0] + source[2] / 2, target[0] + target[2] / 2
    bend = (x1 + x2) / 2
    line = f"M{x1:.0f} {y1:.0f}C{bend:.0f} {y1:.0f} {bend:.0f} {y2:.0f} {x2:.0f} {y2:.0f}"
    return f'<path class="arrow" d="{line}" marker-end="url(#tip)"/>'


def _box(box: Box, left: float, top: float, width: float) -> str:
    middle = left + width / 2
    shape = (
        f'<rect x="{left:.0f}" y="{top:.0f}" width="{width:.0f}" height="{_HEIGHT}" rx="8"/>'
        f'<text x="{middle:.0f}" y="{top + 19:.0f}">{escape(box.name)}</text>'
        f'<text class="note" x="{middle:.0f}" y="{top + 34:.0f}">{escape(box.note)}</text>'
    )
    return f"<g>{shape}</g>" if box.link is None else f'<a href="{escape(box.link)}">{shape}</a>'
