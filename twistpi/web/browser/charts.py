"""Charts as inline SVG: lines of a server's figures, and bars of downloads per day.

They are drawn with attributes and classes alone, because the policy of the pages allows no inline style, and stretch to the width
of the page; what is written beside them is HTML, which does not stretch.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final, Literal

from markupsafe import Markup

from twistpi.statistics.download_queries import Count
from twistpi.statistics.history import Point

_WIDTH: Final = 240
"""Units of a chart, and the most points of a line."""
_HEIGHT: Final = 60
_TOP: Final = 2
"""Units above the highest point, for half of the line's width."""
_GAP: Final = 0.2
"""Between two bars, as a part of the width of one."""


def averaged(points: Sequence[Point], since: int, until: int, buckets: int = _WIDTH) -> list[float | None]:
    """Return the averages of the points in equal parts of the time from ``since`` to ``until``; None for a part without any."""
    sums, numbers = [0.0] * buckets, [0] * buckets
    for point in points:
        place = (point.at - since) * buckets // max(1, until - since)
        if 0 <= place < buckets:
            sums[place] += point.value
            numbers[place] += 1
    return [total / number if number else None for total, number in zip(sums, numbers, strict=True)]


def line_chart(
    values: Sequence[float | None], title: str, description: str, *, begins_at: Literal["zero", "least"] = "zero"
) -> Markup:
    """Return a line through ``values``, which breaks where one is None.

    ``begins_at`` says what the bottom is: zero, or the least value, where only changes matter.
    """
    known = [value for value in values if value is not None]
    most, least = max(known, default=0.0), min(known, default=0.0)
    bottom = 0.0 if begins_at == "zero" else least - (most - least) * 0.1
    scale = (_HEIGHT - _TOP) / (most - bottom) if most > bottom else 0.0
    step = _WIDTH / max(1, len(values) - 1)
    lines, areas = [], []
    for first, run in _runs(values):
        places = [
            (round((first + place) * step, 1), round(_HEIGHT - (value - bottom) * scale, 1)) for place, value in enumerate(run)
        ]
        path = "L".join(f"{x:g} {y:g}" for x, y in places)
        lines.append(f"M{path}" if len(places) > 1 else f"M{path}h.8")
        areas.append(f"M{places[0][0]:g} {_HEIGHT}L{path}V{_HEIGHT}z")
    shapes = f'<path class="area" d="{"".join(areas)}"/><path class="line" d="{"".join(lines)}"/>' if known else ""
    return _svg("chart", shapes, title, description)


def day_bars(days: Sequence[Count], title: str = "Downloads per day") -> Markup:
    """Return a bar for each day; its number is shown by a pointer that rests on it, and told by the description."""
    most = max((day.number for day in days), default=0)
    step = _WIDTH / max(1, len(days))
    shapes = []
    for place, day in enumerate(days):
        height = _HEIGHT * day.number / most if most else 0
        height = max(height, 1.0) if day.number else 0.0
        label = f"<title>{escape(day.name)}: {day.number:,}</title>"
        left, width = place * step, step * (1 - _GAP)
        # The whole column answers to the pointer, not only what is drawn of it.
        shapes.append(
            f'<g>{label}<rect class="column" x="{left:.1f}" width="{step:.1f}" height="{_HEIGHT}"/>'
            f'<rect x="{left:.1f}" y="{_HEIGHT - height:.1f}" width="{width:.1f}" height="{height:.1f}"/></g>'
        )
    total = sum(day.number for day in days)
    busiest = max(days, key=lambda day: day.number, default=None)
    told = "None." if busiest is None or not total else f"{total:,} in all; the most, {most:,}, on {busiest.name}."
    return _svg("bars", "".join(shapes), title, told)


def _runs(values: Sequence[float | None]) -> list[tuple[int, list[float]]]:
    """Return the unbroken parts of ``values``, each with the place of its first value."""
    runs: list[tuple[int, list[float]]] = []
    is_broken = True
    for place, value in enumerate(values):
        if value is not None:
            if is_broken:
                runs.append((place, []))
            runs[-1][1].append(value)
        is_broken = value is None
    return runs


def _svg(kind: str, shapes: str, title: str, description: str) -> Markup:
    return Markup(
        f'<svg class="{kind}" viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img"'
        f' aria-label="{escape(f"{title}: {description}")}"><title>{escape(title)}</title>'
        f"<desc>{escape(description)}</desc>{shapes}</svg>"
    )
