"""Charts: where their lines and bars are, and what they say to those who do not see them."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistpi.statistics.download_queries import Count
from twistpi.statistics.history import Point
from twistpi.web.browser.charts import averaged, day_bars, line_chart

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
SVG = "{http://www.w3.org/2000/svg}"
values = st.lists(st.none() | st.floats(0, 1e15), max_size=300)


def parse(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(str(svg).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def test_points_are_averaged_in_equal_parts_of_the_time() -> None:
    points = [Point(100, 1), Point(120, 3), Point(160, 5), Point(400, 9), Point(99, 7)]
    assert averaged(points, 100, 400, 5) == [2, 5, None, None, None]
    assert averaged(points, 100, 401, 3) == [3, None, 9]


def test_a_line_goes_from_the_bottom_to_the_top_and_breaks_where_nothing_is_known() -> None:
    line = parse(line_chart([0, 10, None, 5], "Requests", "the last day")).find(f"{SVG}path[@class='line']")
    assert line is not None
    assert line.get("d") == "M0 60L80 2M240 31h.8"


@pytest.mark.parametrize("given", [[], [None, None]])
def test_without_figures_nothing_is_drawn(given: list[float | None]) -> None:
    assert not list(parse(line_chart(given, "Requests", "nothing yet")).iter(f"{SVG}path"))


@given(values, st.sampled_from(["zero", "least"]))
def test_a_line_stays_in_its_chart(given: list[float | None], begins_at: str) -> None:
    chart = parse(line_chart(given, "Serial", "", begins_at="zero" if begins_at == "zero" else "least"))
    for path in chart.iter(f"{SVG}path"):
        numbers = [float(number) for number in _NUMBER.findall(str(path.get("d")))]
        assert all(0 <= number <= 240 for number in numbers)


@given(st.lists(st.integers(0, 10**9), max_size=120))
def test_bars_are_as_high_as_their_numbers(numbers: list[int]) -> None:
    days = [Count(f"2026-11-{place}", number) for place, number in enumerate(numbers)]
    groups = list(parse(day_bars(days)).iter(f"{SVG}g"))
    heights = [float(str(group.findall(f"{SVG}rect")[1].get("height"))) for group in groups]
    assert len(heights) == len(numbers)
    for number, height in zip(numbers, heights, strict=True):
        assert (height == 0) == (number == 0)
        assert height == pytest.approx(max(60 * number / max(numbers), 1 if number else 0) if number else 0, abs=0.06)


def test_a_chart_says_what_it_shows_and_escapes_it() -> None:
    svg = day_bars([Count("2026-11-29", 1200), Count("2026-11-30", 3)], "<Downloads>")
    chart = parse(svg)
    title, told = chart.find(f"{SVG}title"), chart.find(f"{SVG}desc")
    assert title is not None
    assert told is not None
    assert (title.text, told.text) == ("<Downloads>", "1,203 in all; the most, 1,200, on 2026-11-29.")
    assert chart.get("role") == "img"
    assert "style=" not in svg
