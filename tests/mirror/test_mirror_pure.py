"""The parts of the mirror that need no reactor."""

from __future__ import annotations

import gzip
import hashlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from twistpi.mirror.addresses import origin_of, page_url, resolve, split_credentials, without_credentials
from twistpi.mirror.breaker import Breaker
from twistpi.mirror.content_range import ContentRange, parse_content_range
from twistpi.mirror.encoding import decompress
from twistpi.mirror.freshness import Standing, standing, validators
from twistpi.mirror.inflight import Inflight
from twistpi.mirror.place import place_of
from twistpi.mirror.proxies import ProxyRules
from twistpi.mirror.trouble import Trouble
from twistpi.mirror.verify import BytesDiffer, Sink, promised_digest
from twistpi.model.records import Freshness, Index

SOURCE = "https://upstream.example/simple/"


class Kept:
    """Collects what is written."""

    def __init__(self) -> None:
        self.content = b""

    def write(self, data: bytes) -> None:
        self.content += data


# Addresses ---------------------------------------------------------------------------------------------------------


def test_credentials_are_taken_out_of_an_address() -> None:
    clean, credentials = split_credentials("https://me:s%3Acret@upstream.example:8443/simple/?x=1#part")
    assert clean == "https://upstream.example:8443/simple/?x=1"
    assert credentials is not None
    assert credentials.origin == ("https", "upstream.example", 8443)
    assert credentials.authorization == "Basic bWU6czpjcmV0"
    assert "bWU6" not in repr(credentials)


def test_an_address_without_credentials_stays_as_it_is() -> None:
    assert split_credentials(SOURCE) == (SOURCE, None)
    assert without_credentials("http://a:b@c.example/d?e#f") == "http://c.example/d?e"


@pytest.mark.parametrize("url", ["", "file:///etc/passwd", "javascript:alert(1)", "http://", "//host/path", "http://h:x/"])
def test_what_is_no_http_address_has_no_origin(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        origin_of(url)


def test_redirects_resolve_against_the_page_and_only_to_http() -> None:
    assert resolve("https://a.example/b/c", "../d") == "https://a.example/d"
    assert resolve("https://a.example/b/c", "//e.example/f") == "https://e.example/f"
    with pytest.raises(ValueError, match="not an http"):
        resolve("https://a.example/b/c", "file:///etc/passwd")


def test_the_page_of_a_project_ends_in_a_slash_whatever_the_index_does() -> None:
    assert page_url("https://a.example/simple", "x") == page_url("https://a.example/simple/", "x")


def test_an_expiry_that_is_none_falls_back_to_the_servers() -> None:
    for wrong in (None, "soon", True, -1):
        assert place_of(Index("a/b", {"mirror_url": SOURCE, "mirror_cache_expiry": wrong}), "x", 7).expiry == 7
    assert place_of(Index("a/b", {"mirror_url": SOURCE, "mirror_cache_expiry": 0}), "x", 7).expiry == 0


# Proxies -----------------------------------------------------------------------------------------------------------


def test_proxies_are_told_by_scheme_and_lower_case_wins() -> None:
    rules = ProxyRules.from_environment(
        {"HTTP_PROXY": "http://upper.example:1", "http_proxy": "lower.example:2", "ALL_PROXY": "https://me:pw@all.example"}
    )
    http, https = rules.proxy_for("http://x.example/"), rules.proxy_for("https://x.example/")
    assert http is not None
    assert https is not None
    assert (http.host, http.port, http.secure) == ("lower.example", 2, False)
    assert (https.host, https.port, https.secure) == ("all.example", 443, True)
    assert https.credentials is not None


@pytest.mark.parametrize(
    ("exceptions", "direct", "proxied"),
    [
        ("*", "http://anything.example/", None),
        ("upstream.example", "http://upstream.example/", "http://other.example/"),
        ("upstream.example", "http://files.upstream.example/", "http://notupstream.example/"),
        (".upstream.example", "http://files.upstream.example/", "http://upstream.org/"),
        ("upstream.example:8080", "http://upstream.example:8080/", "http://upstream.example/"),
        ("10.0.0.0/8", "http://10.1.2.3/", "http://11.1.2.3/"),
        ("::1", "http://[::1]/", "http://[::2]/"),
        (" a.example , UPSTREAM.example ", "http://upstream.example/", "http://b.example/"),
    ],
)
def test_exceptions_from_proxies(exceptions: str, direct: str, proxied: str | None) -> None:
    rules = ProxyRules.from_environment({"http_proxy": "http://proxy.example:3128", "no_proxy": exceptions})
    assert rules.proxy_for(direct) is None
    assert proxied is None or rules.proxy_for(proxied) is not None


# Freshness ---------------------------------------------------------------------------------------------------------


@given(st.floats(0, 1e6), st.floats(-1e6, 1e6))
def test_a_page_is_fresh_within_its_expiry_and_never_when_the_clock_went_backwards(expiry: float, age: float) -> None:
    now = 1e9
    expected = Standing.FRESH if 0 <= now - (now - age) < expiry else Standing.STALE
    assert standing(Freshness(now - age, source=SOURCE), True, SOURCE, expiry, now) is expected


def test_what_another_upstream_said_is_stale_and_its_validators_mean_nothing() -> None:
    freshness = Freshness(100.0, "tag", "date", source="https://other.example/")
    assert standing(freshness, True, SOURCE, 1800, 101.0) is Standing.STALE
    assert validators(freshness, True, SOURCE) == (None, None)
    assert validators(Freshness(1.0, "tag", "date", source=SOURCE), True, SOURCE) == ("tag", "date")
    assert validators(Freshness(1.0, "tag", "date", source=SOURCE), False, SOURCE) == (None, None)


def test_without_anything_known_only_the_upstream_can_tell() -> None:
    assert standing(None, False, SOURCE, 1800, 0.0) is Standing.UNKNOWN
    assert standing(None, True, SOURCE, 1800, 0.0) is Standing.STALE


def test_a_breaker_opens_for_its_pause_unless_somebody_was_answered_meanwhile() -> None:
    breaker = Breaker(5.0)
    breaker.failed("a", started=10.0, now=12.0, reason="silent", unreachable=True)
    pause = breaker.blocked("a", 16.9)
    assert pause is not None
    assert (pause.reason, pause.until) == ("silent", 17.0)
    assert breaker.blocked("a", 17.0) is None
    assert breaker.blocked("a", 1.0) is None
    breaker.answered("b", now=11.0)
    breaker.failed("b", started=10.0, now=12.0, reason="slow page", unreachable=True)
    assert breaker.blocked("b", 12.0) is None


# Work in flight ----------------------------------------------------------------------------------------------------


def test_waiters_share_work_and_whoever_asks_after_the_end_gets_new_work() -> None:
    inflight: Inflight[str, int] = Inflight()
    works: list[Deferred[int]] = []
    heard: list[int] = []

    async def work() -> int:
        works.append(Deferred())
        return await works[-1]

    def ask_again(result: int) -> None:
        heard.append(result)
        inflight.join("key", work).addCallback(heard.append)

    inflight.join("key", work).addCallback(ask_again)
    leaver = inflight.join("key", work).addErrback(lambda _: None)
    inflight.join("key", work).addCallback(heard.append)
    leaver.cancel()
    works[0].callback(1)
    assert heard == [1, 1]
    assert "key" in inflight
    works[1].callback(2)
    assert heard == [1, 1, 2]
    assert len(inflight) == 0


def test_work_that_is_done_at_once_leaves_nothing_behind() -> None:
    inflight: Inflight[str, int] = Inflight()

    async def work() -> int:
        return 7

    heard: list[int] = []
    inflight.join("key", work).addCallback(heard.append)
    assert heard == [7]
    assert "key" not in inflight


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


@given(st.binary(max_size=5000))
def test_encodings_are_undone(body: bytes) -> None:
    assert decompress(gzip.compress(body), "gzip", 5000) == body
    assert decompress(zlib.compress(body), "deflate", 5000) == body
    assert decompress(body, "", 5000) == body


def test_a_decompression_bomb_stops_at_the_limit() -> None:
    with pytest.raises(Trouble, match="longer"):
        decompress(gzip.compress(bytes(10_000_000)), "gzip", 1_000_000)
    with pytest.raises(Trouble, match="breaks off"):
        decompress(gzip.compress(b"x" * 1000)[:-10], "gzip", 1_000_000)


@pytest.mark.parametrize("header", [None, "", "bytes */10", "bytes 5-4/10", "items 0-1/2", "bytes 0-1/2/3", "bytes 0-1/-2"])
def test_a_content_range_that_says_nothing_clear_says_nothing(header: str | None) -> None:
    assert parse_content_range(header) is None


def test_content_ranges_are_read() -> None:
    assert parse_content_range("bytes 0-99/1000") == ContentRange(0, 99, 1000)
    assert parse_content_range(" bytes 5-5/* ") == ContentRange(5, 5, None)
