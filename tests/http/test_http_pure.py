"""The parts of the HTTP client that need no reactor."""

from __future__ import annotations

import gzip
import zlib
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from twistpi.http.backoff import CircuitBreaker
from twistpi.http.body import decompress
from twistpi.http.conditional import ContentRange, parse_content_range
from twistpi.http.errors import Cause, RequestFailed
from twistpi.http.routes import ProxyRules
from twistpi.http.single_flight import SingleFlight
from twistpi.http.urls import origin_of, resolve, split_credentials, without_credentials

SOURCE = "https://upstream.example/simple/"


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


SILENT = RequestFailed("silent", Cause.TIMEOUT)


def test_a_breaker_opens_for_its_pause_unless_somebody_was_answered_meanwhile() -> None:
    breaker = CircuitBreaker(5.0)
    breaker.failed("a", 10.0, 12.0, SILENT)
    pause = breaker.blocked("a", 16.9)
    assert pause is not None
    assert (pause.reason, pause.until, pause.unreachable, pause.is_asked_for) == ("silent", 17.0, True, False)
    assert breaker.blocked("a", 17.0) is None
    assert breaker.blocked("a", 1.0) is None, "a clock that was set back prolongs no pause"
    breaker.answered("b", now=11.0)
    breaker.failed("b", 10.0, 12.0, SILENT)
    assert breaker.blocked("b", 12.0) is None


def test_a_breaker_stays_open_for_as_long_as_the_server_asks() -> None:
    breaker = CircuitBreaker(5.0)
    for seconds, until in ((20.0, 32.0), (1.0, 17.0)):
        breaker.failed("a", 10.0, 12.0, RequestFailed("busy", Cause.UNUSABLE, seconds))
        pause = breaker.blocked("a", 16.0)
        assert pause is not None
        assert (pause.until, pause.is_asked_for) == (until, True)


def test_a_breaker_opens_without_a_connection_or_when_three_parts_in_a_row_fail() -> None:
    breaker = CircuitBreaker(5.0)
    breaker.failed_in_part("a", "page", 10.0, 12.0, RequestFailed("refused", Cause.CONNECT))
    assert breaker.blocked("a", 12.0) is not None
    for page in ("one", "one", "two"):
        breaker.failed_in_part("b", page, 10.0, 12.0, SILENT)
    breaker.failed_in_part("b", "wrong", 10.0, 12.0, RequestFailed("it answered 500", Cause.UNUSABLE))
    assert breaker.blocked("b", 12.0) is None
    breaker.answered("b", now=13.0)
    for page in ("three", "four"):
        breaker.failed_in_part("b", page, 14.0, 16.0, SILENT)
    assert breaker.blocked("b", 16.0) is None
    breaker.failed_in_part("b", "five", 14.0, 16.0, RequestFailed("busy", Cause.UNUSABLE, 30.0))
    assert breaker.blocked("b", 45.0) is not None
    breaker.failed_in_part("b", "six", 52.0, 54.0, SILENT)
    assert breaker.blocked("b", 54.0) is not None, "after a pause one attempt is enough"


def test_waiters_share_work_and_whoever_asks_after_the_end_gets_new_work() -> None:
    flight: SingleFlight[str, int] = SingleFlight()
    works: list[Deferred[int]] = []
    heard: list[int] = []

    async def work() -> int:
        works.append(Deferred())
        return await works[-1]

    def ask_again(result: int) -> None:
        heard.append(result)
        flight.join("key", work).addCallback(heard.append)

    flight.join("key", work).addCallback(ask_again)
    leaver = flight.join("key", work).addErrback(lambda _: None)
    flight.join("key", work).addCallback(heard.append)
    leaver.cancel()
    works[0].callback(1)
    assert heard == [1, 1]
    works[1].callback(2)
    assert (heard, len(works)) == ([1, 1, 2], 2)


def test_work_that_is_done_at_once_leaves_nothing_behind() -> None:
    flight: SingleFlight[str, int] = SingleFlight()

    async def work(result: int) -> int:
        return result

    heard: list[int] = []
    for number in (7, 8):
        flight.join("key", partial(work, number)).addCallback(heard.append)
    assert heard == [7, 8]


@given(st.binary(max_size=5000))
def test_encodings_are_undone(body: bytes) -> None:
    assert decompress(gzip.compress(body), "gzip", 5000) == body
    assert decompress(zlib.compress(body), "deflate", 5000) == body
    assert decompress(body, "", 5000) == body


def test_a_decompression_bomb_stops_at_the_limit() -> None:
    with pytest.raises(RequestFailed, match="longer"):
        decompress(gzip.compress(bytes(10_000_000)), "gzip", 1_000_000)
    with pytest.raises(RequestFailed, match="breaks off"):
        decompress(gzip.compress(b"x" * 1000)[:-10], "gzip", 1_000_000)


@pytest.mark.parametrize("header", [None, "", "bytes */10", "bytes 5-4/10", "items 0-1/2", "bytes 0-1/2/3", "bytes 0-1/-2"])
def test_a_content_range_that_says_nothing_clear_says_nothing(header: str | None) -> None:
    assert parse_content_range(header) is None


def test_content_ranges_are_read() -> None:
    assert parse_content_range("bytes 0-99/1000") == ContentRange(0, 99, 1000)
    assert parse_content_range(" bytes 5-5/* ") == ContentRange(5, 5, None)
