"""What the simulation of a large cluster says follows from what was measured, and from nothing else."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cluster_model import Amount, Capacity, Prices, Scale, Units, costs, loads, most_changes, sizes
from bench.cluster_sizes import report

UNITS = Units(
    line_bytes=400, row_bytes=500, view_bytes_of_file=450, view_bytes_of_entry=0, pulled=20_000, folded=10_000, appended=200,
    follow_seconds=0.0005, database_seconds_of_append=0.0006, database_seconds_of_follow=0.0002, connections=3, memory_bytes=1e8,
)  # fmt: skip
scales = st.builds(
    Scale,
    entries=st.integers(1_000_000, 10**9),
    files=st.integers(1, 1_000_000),
    nodes=st.integers(2, 100),
    changes=st.floats(0, 100),
    downloads=st.floats(0, 1e5),
    pages=st.floats(0, 1e5),
)


def value(amounts: list[Amount], beginning: str) -> float:
    (found,) = [amount.value for amount in amounts if amount.name.startswith(beginning)]
    return found


def test_sizes_are_products() -> None:
    found = sizes(UNITS, Scale(entries=1_000_000, files=100_000))
    assert value(found, "changelog in PostgreSQL") == 0.5
    assert value(found, "bucket") == 0.1
    assert value(found, "disk of a node: copy") == 0.4
    assert value(found, "disk of a node: view") == pytest.approx(0.045)
    assert value(found, "a new node") == pytest.approx(150 / 60)
    assert value(found, "a garbage collection") == 100


def test_an_upload_is_one_request_that_writes_and_two_that_read() -> None:
    found = costs(Scale(files=0, changes=1000 / (30 * 86400), downloads=0), Prices(thousand_writes=5, thousand_reads=1))
    assert value(found, "requests for new files") == pytest.approx(7)


@given(scales)
def test_the_busiest_comes_first_and_more_work_makes_nothing_idler(scale: Scale) -> None:
    found = loads(UNITS, scale, Capacity())
    assert [load.share for load in found] == sorted((load.share for load in found), reverse=True)
    more = attrs.evolve(scale, changes=scale.changes + 1, downloads=scale.downloads + 1, pages=scale.pages + 1)
    later = {load.name: load.used for load in loads(UNITS, more, Capacity())}
    assert all(later[load.name] >= load.used for load in found)


@given(scales)
def test_at_the_most_changes_that_are_possible_what_stands_in_the_way_is_full_and_nothing_else_that_they_need(
    scale: Scale,
) -> None:
    scale = attrs.evolve(scale, downloads=0.0)
    most, obstacle = most_changes(UNITS, scale, Capacity())
    full = {load.name: load.share for load in loads(UNITS, attrs.evolve(scale, changes=most), Capacity())}
    assert full[obstacle] == pytest.approx(1)
    needed = [name for name in full if name.startswith(("appends", "cores of the database", "cores of each node: following"))]
    assert all(full[name] <= 1 + 1e-6 for name in needed)


def test_the_report_names_what_is_busiest_and_how_much_is_possible() -> None:
    lines = report(UNITS, Scale(nodes=30), Capacity())
    assert any("connections to the database" in line and "92.8%" in line for line in lines)
    assert lines[-1].startswith("At most 200 changes a second")
