"""Manifests, and the entries of a backup that lie one after the other."""

from __future__ import annotations

from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistpi.backup.history import Span, describe_serials, find_spans
from twistpi.backup.manifest import Beginning, Manifest, manifest_names, read_manifest
from twistpi.changelog.format import segment_name, segment_start
from twistpi.changelog.summary import summary_name
from twistpi.model.errors import TwistpiError
from twistpi.model.peers import Position

NAME = manifest_names(["20261130T061317Z-00000000000000000150.json"])[0]
SUMMARY = "e" * 64


def begun_after(serial: int) -> Beginning:
    return Beginning(segment_start(serial + 1, "c" * 64), SUMMARY) if serial else Beginning()


def manifest(after: int, last: int) -> Manifest:
    end = Position(last, "d" * 64, after + 1, 900)
    return Manifest("1" * 32, "2" * 32, end, 0, 0, begin=begun_after(after), epoch=(2, "3" * 32, 99))


@given(st.integers(0, 149))
def test_a_manifest_says_where_its_log_begins_and_ends(after: int) -> None:
    written = manifest(after, 150)
    read = read_manifest("/place", NAME, written.content())
    assert read == written
    assert [serial for serial in range(200) if read.has(serial)] == list(range(after + 1, 151))
    assert orjson.loads(written.content())["format"] == (2 if after else 1), "older versions read what they can restore"


@pytest.mark.parametrize(
    ("key", "value"),
    [("format", 3), ("base", None), ("base", {"serial": 0, "chain": "c" * 64, "summary": SUMMARY}), ("base", {"serial": 7}),
     ("base", {"serial": 7, "chain": "c" * 64, "summary": None}), ("serial", 151), ("log_id", "x"), ("epoch", [2])],
)  # fmt: skip
def test_what_is_no_manifest_is_refused_by_name(key: str, value: object) -> None:
    fields = orjson.loads(manifest(7, 150).content())
    with pytest.raises(TwistpiError, match=str(NAME)):
        read_manifest("/place", NAME, orjson.dumps({**fields, key: value}))


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50)), min_size=1, max_size=8))
def test_spans_have_the_serials_of_their_manifests_and_no_others(facts: list[tuple[int, int]]) -> None:
    manifests = sorted((manifest(after, after + length) for after, length in facts), key=lambda one: one.end.serial)
    spans = find_spans(manifests)
    assert len(spans) == len({after for after, _length in facts})
    assert [span.end.serial for span in spans] == sorted(span.end.serial for span in spans)
    there = {serial for serial in range(110) for one in manifests if one.has(serial)}
    told = [text.split(" to ") for text in describe_serials(spans).split(" and ")]
    assert {serial for first, last in told for serial in range(int(first), int(last) + 1)} == there
    assert all(int(last) + 1 < int(first) for (_, last), (first, _) in pairwise(told)), "gaps are told"


def test_a_span_needs_its_segments_and_its_summary() -> None:
    names = [segment_name(first) for first in (1, 60, 121, 140, 151)] + [summary_name(50), summary_name(120), "base.json"]
    end = Position(150, "d" * 64, 140, 9)
    assert set(Span(begun_after(120), end).log_files(names)) == {segment_name(121), segment_name(140), summary_name(120)}
    assert set(Span(begun_after(0), end).log_files(names)) == {segment_name(first) for first in (1, 60, 121, 140)}
