"""Conditional requests and ranges, as pure functions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistpi.http.conditional import (
    Span,
    Unsatisfiable,
    http_date,
    if_range_holds,
    not_modified_since,
    parse_range,
    parse_tags,
    tags_match,
)

DATE = "Sun, 22 Nov 2026 17:24:48 GMT"


@pytest.mark.parametrize("header", ['"a"', 'W/"a"', '"b", "a"', 'W/"b" , W/"a"', "*", " * ", '"b","a","c"'])
def test_R52_if_none_match_knows_lists_weak_tags_and_the_star(header: str) -> None:
    assert tags_match(parse_tags(header), '"a"')


@pytest.mark.parametrize(
    "header", ['"a-gzip"', '"a-br"', '"a;br"', 'W/"a-gzip"', '"a"-gzip', '"a--gzip"', 'W/"b;gzip", "a-zstd"', '"a-deflate", "b"']
)
def test_R52_tags_that_filters_lengthened_match(header: str) -> None:
    assert tags_match(parse_tags(header), '"a"')
    assert not if_range_holds('"a-gzip"', '"a"', None), "a part of what was compressed is no part of this"


@pytest.mark.parametrize("header", ['"b"', 'W/"b"', "", "a", '"A"', '"a', '"*"', '"a-gz"', '"-gzip"', '"a-gzip-x"'])
def test_R52_other_tags_do_not_match(header: str) -> None:
    assert not tags_match(parse_tags(header), '"a"')


@pytest.mark.parametrize(
    ("header", "span"),
    [
        ("bytes=0-0", Span(0, 1)),
        ("bytes=2-5", Span(2, 6)),
        ("bytes=2-", Span(2, 10)),
        ("bytes=-3", Span(7, 10)),
        ("bytes=0-99999", Span(0, 10)),
        ("bytes=9-9", Span(9, 10)),
        ("bytes=-10", Span(0, 10)),
        ("bytes=-11", Span(0, 10)),
        ("Bytes = 2 - 5", Span(2, 6)),
        ("bytes=10-", Unsatisfiable()),
        ("bytes=10-12", Unsatisfiable()),
        ("bytes=-0", Unsatisfiable()),
    ],
)
def test_R41_single_ranges(header: str, span: Span | Unsatisfiable) -> None:
    assert parse_range(header, 10) == span


@pytest.mark.parametrize(
    "header",
    ["bytes=0-1,4-5", "bytes=", "bytes=-", "bytes=5-2", "bytes=a-b", "pages=1-2", "bytes 1-2", "", "bytes=1-2x", "bytes=+1-2"],
)
def test_R42_several_ranges_and_malformed_ones_mean_the_whole_file(header: str) -> None:
    assert parse_range(header, 10) is None


@given(header=st.text(alphabet="bytes=-0123456789, ", max_size=20), size=st.integers(0, 50))
def test_R41_a_span_always_lies_inside_the_file(header: str, size: int) -> None:
    span = parse_range(header, size)
    if isinstance(span, Span):
        assert 0 <= span.start < span.end <= size


@pytest.mark.parametrize(
    ("header", "holds"),
    [('"a"', True), ('"b"', False), ('W/"a"', False), (DATE, True), ("Sun, 22 Nov 2026 17:24:49 GMT", False), ("junk", False)],
)
def test_R43_if_range_needs_the_strong_tag_or_the_exact_date(header: str, holds: bool) -> None:
    assert if_range_holds(header, '"a"', DATE) is holds


def test_R43_without_validators_no_part_is_trusted() -> None:
    assert not if_range_holds('"a"', None, None)
    assert not if_range_holds(DATE, None, None)


def test_upload_times_become_http_dates() -> None:
    assert http_date("2026-11-22T17:24:48.123456Z") == DATE
    assert http_date("2026-11-22T17:24:48Z") == DATE
    assert http_date("yesterday") is None
    assert http_date("2026-11-22T17:24:48") is None
    assert http_date(None) is None


def test_not_modified_since_compares_dates_and_survives_junk() -> None:
    assert not_modified_since(DATE, DATE)
    assert not_modified_since("Mon, 23 Nov 2026 00:00:00 GMT", DATE)
    assert not not_modified_since("Sat, 21 Nov 2026 00:00:00 GMT", DATE)
    assert not not_modified_since("junk", DATE)
    assert not not_modified_since(DATE, None)
    assert not not_modified_since("Sun, 22 Nov 2026 17:24:48", DATE)
