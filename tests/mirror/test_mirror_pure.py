"""The parts of the mirror that need no reactor."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistpi.mirror.file_transfer import BytesDiffer, Sink, promised_digest
from twistpi.mirror.upstream import is_fresh, upstream_config, validators
from twistpi.model.records import Freshness, Index

SOURCE = "https://upstream.example/simple/"


class Kept:
    """Collects what is written."""

    def __init__(self) -> None:
        self.content = b""

    def write(self, data: bytes) -> None:
        self.content += data


def test_the_page_of_a_project_ends_in_a_slash_whatever_the_index_does() -> None:
    urls = {upstream_config(Index("a/b", {"mirror_url": url}), "x").page_url("x") for url in (SOURCE, SOURCE.rstrip("/"))}
    assert urls == {f"{SOURCE}x/"}


def test_an_expiry_that_is_none_falls_back_to_the_servers() -> None:
    for wrong in (None, "soon", True, -1):
        assert upstream_config(Index("a/b", {"mirror_url": SOURCE, "mirror_cache_expiry": wrong}), "x", 7).expiry == 7
    assert upstream_config(Index("a/b", {"mirror_url": SOURCE, "mirror_cache_expiry": 0}), "x", 7).expiry == 0


# Freshness ---------------------------------------------------------------------------------------------------------


@given(st.floats(0, 1e6), st.floats(-1e6, 1e6))
def test_a_page_is_fresh_within_its_expiry_and_never_when_the_clock_went_backwards(expiry: float, age: float) -> None:
    now = 1e9
    assert is_fresh(Freshness(now - age, source=SOURCE), SOURCE, expiry, now) == (0 <= now - (now - age) < expiry)


def test_what_another_upstream_said_is_stale_and_its_validators_mean_nothing() -> None:
    freshness = Freshness(100.0, "tag", "date", source="https://other.example/")
    assert not is_fresh(freshness, SOURCE, 1800, 101.0)
    assert validators(freshness, True, SOURCE) == (None, None)
    assert validators(Freshness(1.0, "tag", "date", source=SOURCE), True, SOURCE) == ("tag", "date")
    assert validators(Freshness(1.0, "tag", "date", source=SOURCE), False, SOURCE) == (None, None)


def test_what_was_never_confirmed_is_not_fresh() -> None:
    assert not is_fresh(None, SOURCE, 1800, 0.0)


# Bytes -------------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5), st.integers(0, 300))
def test_a_sink_takes_pieces_and_repeats_as_one_file(content: bytes, cuts: list[int], broke_at: int) -> None:
    kept = Kept()
    sink = Sink(kept, ("sha256", hashlib.sha256(content).hexdigest()), len(content))
    sink.write([content[:broke_at]])
    sink.repeat()
    start = 0
    for cut in sorted(cuts):
        sink.write([content[start:cut]])
        start = max(start, cut)
    sink.write([content[start:]])
    assert kept.content == content
    assert sink.verified(len(content)) == hashlib.sha256(content).hexdigest()


@given(st.binary(min_size=2, max_size=100), st.data())
def test_a_repeat_that_differs_is_noticed_before_anything_is_added(content: bytes, data: st.DataObject) -> None:
    broke_at = data.draw(st.integers(1, len(content) - 1))
    changed = data.draw(st.integers(0, broke_at - 1))
    other = bytearray(content)
    other[changed] ^= 1
    kept = Kept()
    sink = Sink(kept, None, None)
    sink.write([content[:broke_at]])
    sink.repeat()
    with pytest.raises(BytesDiffer):
        sink.write([bytes(other)])
    assert kept.content == content[:broke_at]


def test_the_digest_to_hold_to_is_sha256_or_else_the_strongest_there_is() -> None:
    assert promised_digest({}) is None
    assert promised_digest({"crc32": "1"}) is None
    assert promised_digest({"md5": "AB", "sha1": "cd"}) == ("sha1", "cd")
    assert promised_digest({"sha512": "1", "sha256": "2"}) == ("sha256", "2")
