"""The charts of the status page: which figures of the history are shown, and in which words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

import attrs
from markupsafe import Markup

from twistpi.model.text import in_words
from twistpi.statistics.history import HOUR, KEPT, MINUTE, History, Point
from twistpi.web.browser.charts import averaged, line_chart

Span = Literal["day", "month"]
_LENGTHS: Final[Mapping[Span, int]] = {"day": MINUTE, "month": HOUR}
_BUCKETS: Final[Mapping[Span, int]] = {"day": 240, "month": 248}


@attrs.frozen
class Chart:
    """A chart with what stands beside it."""

    title: str
    value: str
    """The last value, in words."""
    most: str
    """The largest, in words."""
    svg: Markup


@attrs.frozen
class _Kind:
    """One chart."""

    title: str
    needs: tuple[str, ...]
    """Figures of the history."""
    value: Callable[..., float | None]
    """Takes the values of a point in the order of ``needs``."""
    words: Callable[[float], str]
    begins_at: Literal["zero", "least"] = "zero"
    is_rate: bool = False
    """Whether a point has what happened in its time, which is shown per minute."""


def _share(hit: float, *others: float) -> float | None:
    total = hit + sum(others)
    return 100 * hit / total if total else None


def _milliseconds(seconds: float, answers: float) -> float | None:
    return 1000 * seconds / answers if answers else None


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"


def _same(value: float) -> float:
    return value


_KINDS: Final[Sequence[_Kind]] = (
    _Kind("Requests", ("requests",), _same, lambda value: f"{_number(value)} per minute", is_rate=True),
    _Kind("Errors (500 and above)", ("errors",), _same, lambda value: f"{_number(value)} per minute", is_rate=True),
    _Kind(
        "Pages from memory or disk",
        ("pages_hit", "pages_miss", "pages_revalidated", "pages_stale"),
        _share,
        lambda value: f"{value:.0f} %",
    ),
    _Kind("Downloads", ("downloads",), _same, lambda value: f"{_number(value)} per minute", is_rate=True),
    _Kind("Upstream answers within", ("upstream_seconds", "upstream_answers"), _milliseconds, lambda value: f"{value:,.0f} ms"),
    _Kind("Upstream failures", ("upstream_failures",), _same, lambda value: f"{_number(value)} per minute", is_rate=True),
    _Kind("Memory of all processes", ("memory",), _same, in_words),
    _Kind("Disk in use", ("disk_size", "disk_free"), lambda size, free: size - free, in_words, "least"),
    _Kind("Changelog", ("log_size",), _same, in_words, "least"),
    _Kind("Serial", ("serial",), _same, lambda value: f"{value:,.0f}", "least"),
    _Kind("Entries that the last replica lacks", ("lag_entries",), _same, _number),
    _Kind("Seconds behind the primary", ("lag_seconds",), _same, _number),
)


def status_charts(history: History, span: Span, now: int) -> list[Chart]:
    """Return the charts of the last day or month, those without any figures left out; blocking."""
    length = _LENGTHS[span]
    since = now - KEPT[length]
    series = history.series({name for kind in _KINDS for name in kind.needs}, length, since)
    charts = []
    for kind in _KINDS:
        points = _points_of(kind, series, length)
        if points:
            charts.append(_chart(kind, points, averaged(points, since, now, _BUCKETS[span]), span))
    return charts


def _points_of(kind: _Kind, series: Mapping[str, Sequence[Point]], length: int) -> list[Point]:
    columns = [{point.at: point.value for point in series[name]} for name in kind.needs]
    rate = MINUTE / length if kind.is_rate else 1.0
    found = []
    for at in columns[0]:
        if all(at in column for column in columns):
            value = kind.value(*(column[at] for column in columns))
            if value is not None:
                found.append(Point(at, value * rate))
    return found


def _chart(kind: _Kind, points: Sequence[Point], values: Sequence[float | None], span: Span) -> Chart:
    last, most = kind.words(points[-1].value), kind.words(max(point.value for point in points))
    description = f"the last {span}; now {last}, at most {most}"
    return Chart(kind.title, last, most, line_chart(values, kind.title, description, begins_at=kind.begins_at))
