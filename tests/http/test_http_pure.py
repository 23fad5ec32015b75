"""The parts of the HTTP client that need no reactor."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from functools import partial
from importlib import import_module
from types import ModuleType

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from twistpi.http.backoff import CircuitBreaker
from twistpi.http.body import decompress
from twistpi.http.codings import ACCEPTED, decode, decoders
from twistpi.http.conditional import ContentRange, parse_content_range
from twistpi.http.errors import Cause, RequestFailed
from twistpi.http.routes import ProxyRules
from twistpi.http.single_flight import SingleFlight
from twistpi.http.urls import origin_of, resolve, split_credentials
from twistpi.model.urls import without_credentials

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


class Brotli(ModuleType):
    """The interface of ``brotli`` with zlib's format inside."""

    error = zlib.error

    class Decompressor:
        """Of one body."""

        def __init__(self) -> None:
            self._decoder = zlib.decompressobj()

        def process(self, data: bytes, *, output_buffer_limit: int) -> bytes:
            """Return the next bytes, not more than the limit."""
            return self._decoder.decompress(self._decoder.unconsumed_tail + data, output_buffer_limit)

        def can_accept_more_data(self) -> bool:
            """Return whether all that was given was read, though not all of it need have been returned."""
            return self.is_finished() or not self._decoder.unconsumed_tail

        def is_finished(self) -> bool:
            """Return whether the end was there."""
            return self._decoder.eof


def load(name: str) -> ModuleType:
    if name == "brotli":
        return Brotli(name)
    if name == "compression.zstd":
        return zstd
    raise ImportError(name)


CODINGS = decoders(load)


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


PACKERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": (" X-GZIP ", gzip.compress),
    "members of gzip": ("gzip", lambda body: gzip.compress(body[:9]) + gzip.compress(body[9:]) + gzip.compress(b"")),
    "padded gzip": ("gzip", lambda body: gzip.compress(body) + bytes(100)),
    "deflate": ("deflate", zlib.compress),
    "deflate without its frame": ("deflate", raw_deflate),
    "zstd": ("zstd", zstd.compress),
    "frames of zstd": ("zstd", lambda body: zstd.compress(body[:9]) + zstd.compress(body[9:])),
    "br": ("br", zlib.compress),
    "several": ("deflate, identity, gzip, zstd", lambda body: zstd.compress(gzip.compress(zlib.compress(body)))),
    "nothing": ("", bytes),
    "identity": ("identity", bytes),
}


@given(st.sampled_from(list(PACKERS)), st.binary(max_size=5000), st.sampled_from([1, 7, 100_000]), st.sampled_from([10, 100_000]))
def test_content_codings_are_undone_however_the_body_comes(what: str, body: bytes, size: int, most: int) -> None:
    encoding, pack = PACKERS[what]
    packed = pack(body)
    pieces = list(decode((packed[place : place + size] for place in range(0, len(packed), size)), encoding, most, CODINGS))
    assert b"".join(pieces) == body
    assert max(map(len, pieces), default=0) <= max(most, size)


@pytest.mark.parametrize("what", [what for what in PACKERS if what not in ("nothing", "identity", "padded gzip")])
def test_a_decompression_bomb_stops_at_the_limit_and_a_body_that_breaks_off_is_refused(what: str) -> None:
    encoding, pack = PACKERS[what]
    if what != "br":
        with pytest.raises(RequestFailed, match="longer than 1,000,000"):
            decompress(pack(bytes(10_000_000)), encoding, 1_000_000)
        assert decompress(pack(bytes(1_000_000)), encoding, 1_000_000) == bytes(1_000_000)
    for packed in (pack(b"x" * 1000)[:-1], b""):
        with pytest.raises(RequestFailed, match="breaks off"):
            list(decode((packed,), encoding, 100, CODINGS))
    with pytest.raises(RequestFailed, match="cannot be decompressed"):
        list(decode((b"\x78garbage" * 100,), encoding, 100, CODINGS))


def test_a_body_with_a_coding_that_cannot_be_undone_is_refused() -> None:
    without = decoders(lambda name: import_module(f"no_such_{name}"))
    assert sorted(without) == ["deflate", "gzip", "x-gzip"]
    for encoding, known in (("br", without), ("zstd, gzip", without), ("compress", CODINGS), ("gzip," * 4, CODINGS)):
        with pytest.raises(RequestFailed, match="nobody asked for"):
            decode((b"",), encoding, 100, known)
    assert set(ACCEPTED.split(", ")) <= {"gzip", "zstd", "br"}
    assert ACCEPTED.startswith("gzip")


@pytest.mark.parametrize("header", [None, "", "bytes */10", "bytes 5-4/10", "items 0-1/2", "bytes 0-1/2/3", "bytes 0-1/-2"])
def test_a_content_range_that_says_nothing_clear_says_nothing(header: str | None) -> None:
    assert parse_content_range(header) is None


def test_content_ranges_are_read() -> None:
    assert parse_content_range("bytes 0-99/1000") == ContentRange(0, 99, 1000)
    assert parse_content_range(" bytes 5-5/* ") == ContentRange(5, 5, None)
