"""Whose statements about addresses are trusted: outside URLs, client addresses, and what is local."""

from __future__ import annotations

from contextlib import nullcontext
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.web.test.requesthelper import DummyRequest

from twistpi.model.errors import TwistpiError
from twistpi.web.addresses import UNIX, Addresses, check_site, client_address, is_local, outside_prefix, outside_url

PROXY = "10.0.0.1"
STRANGER = "192.0.2.9"
_TELLING = [
    "x-forwarded-for", "x-real-ip", "forwarded", "x-outside-url", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto",
    "x-forwarded-prefix", "via",
]  # fmt: skip


def _configured(outside: str = "", *trusted: str) -> Addresses:
    return Addresses(tuple(ip_network(one) for one in trusted), outside)


NOTHING = _configured()
BEHIND = _configured("", "10.0.0.0/8")
SET = _configured("https://set.example", "10.0.0.1")


def asking(peer: str = STRANGER, **headers: str) -> Any:
    """A request from ``peer``."""
    request: Any = DummyRequest([b""])
    if peer == UNIX:
        request.client = UNIXAddress(None)
    else:
        request.client = IPv6Address("TCP", peer, 5000) if ":" in peer else IPv4Address("TCP", peer, 5000)
    request.getClientAddress = lambda: request.client
    request.getHost = lambda: IPv4Address("TCP", "192.0.2.1", 3141)
    request.isSecure = lambda: False
    for name, value in {"host": "devpi.example:3141", **headers}.items():
        request.requestHeaders.setRawHeaders(name.replace("_", "-"), [value])
    return request


@pytest.mark.parametrize(
    ("addresses", "peer", "headers", "expected"),
    [
        (NOTHING, STRANGER, {}, "http://devpi.example:3141"),
        (NOTHING, STRANGER, {"host": "[2001:db8::1]:80"}, "http://[2001:db8::1]:80"),
        (NOTHING, STRANGER, {"host": 'evil"><script>'}, "http://192.0.2.1:3141"),
        (NOTHING, STRANGER, {"host": "a/b"}, "http://192.0.2.1:3141"),
        (NOTHING, STRANGER, {"host": ""}, "http://192.0.2.1:3141"),
        (_configured("https://pkgs.example/devpi"), STRANGER, {}, "https://pkgs.example/devpi"),
        # Nobody believes a stranger.
        (NOTHING, STRANGER, {"x_outside_url": "https://evil.example"}, "http://devpi.example:3141"),
        (BEHIND, STRANGER, {"x_outside_url": "https://evil.example"}, "http://devpi.example:3141"),
        (BEHIND, STRANGER, {"x_forwarded_host": "evil.example", "x_forwarded_proto": "https"}, "http://devpi.example:3141"),
        (BEHIND, STRANGER, {"forwarded": "host=evil.example;proto=https"}, "http://devpi.example:3141"),
        # A trusted proxy is believed.
        (BEHIND, PROXY, {"x_outside_url": "https://pkgs.example/devpi/"}, "https://pkgs.example/devpi"),
        (BEHIND, UNIX, {"x_outside_url": "https://pkgs.example"}, "https://pkgs.example"),
        (BEHIND, "::ffff:10.0.0.1", {"x_outside_url": "https://pkgs.example"}, "https://pkgs.example"),
        (SET, PROXY, {"x_outside_url": "https://told.example"}, "https://told.example"),
        (SET, PROXY, {"x_forwarded_host": "told.example"}, "https://set.example"),
        (BEHIND, PROXY, {"x_forwarded_proto": "https"}, "https://devpi.example:3141"),
        (BEHIND, PROXY, {"x_forwarded_proto": "https, http"}, "http://devpi.example:3141"),
        (BEHIND, PROXY, {"x_forwarded_proto": "javascript"}, "http://devpi.example:3141"),
        (BEHIND, PROXY, {"x_forwarded_host": "evil.example, pkgs.example"}, "http://pkgs.example"),
        (BEHIND, PROXY, {"x_forwarded_host": "a b"}, "http://devpi.example:3141"),
        (BEHIND, PROXY, {"x_forwarded_prefix": "/devpi/"}, "http://devpi.example:3141/devpi"),
        (BEHIND, PROXY, {"x_forwarded_prefix": "//evil.example"}, "http://devpi.example:3141"),
        (BEHIND, PROXY, {"x_forwarded_prefix": "/a b"}, "http://devpi.example:3141"),
        (BEHIND, PROXY, {"forwarded": 'for=1.2.3.4;host="pkgs.example:8443";proto=https'}, "https://pkgs.example:8443"),
        (BEHIND, PROXY, {"forwarded": "host=evil.example, host=pkgs.example"}, "http://pkgs.example"),
        # Through two proxies that are trusted, what the outer one was called counts, but nothing before it.
        (BEHIND, PROXY, {"forwarded": "for=1.1.1.1;proto=https;host=a.example, for=10.9.9.9;host=inner"}, "https://a.example"),
        (BEHIND, PROXY, {"forwarded": "host=evil.example, for=1.1.1.1;proto=https, for=10.9.9.9;host=inner"}, "https://inner"),
        (BEHIND, PROXY, {"forwarded": "for=10.9.9.9;host=evil.example, for=1.1.1.1;host=pkgs.example"}, "http://pkgs.example"),
        # What cannot be read is not guessed at.
        (BEHIND, PROXY, {"forwarded": 'host="evil.example, host=pkgs.example'}, "http://devpi.example:3141"),
        (BEHIND, PROXY, {"forwarded": 'host="pkgs.example\\"'}, "http://devpi.example:3141"),
        # A port is told apart from the host, where it is not a usual one.
        (BEHIND, PROXY, {"host": "pkgs.example", "x_forwarded_port": "8443"}, "http://pkgs.example:8443"),
        (BEHIND, PROXY, {"x_forwarded_host": "[2001:db8::1]", "x_forwarded_port": "8443"}, "http://[2001:db8::1]:8443"),
        (BEHIND, PROXY, {"x_forwarded_host": "pkgs.example:1", "x_forwarded_port": "8443"}, "http://pkgs.example:1"),
        (BEHIND, PROXY, {"x_forwarded_host": "a", "x_forwarded_proto": "https", "x_forwarded_port": "80"}, "https://a"),
        (BEHIND, PROXY, {"x_forwarded_host": "pkgs.example", "x_forwarded_port": "x"}, "http://pkgs.example"),
        (BEHIND, STRANGER, {"host": "pkgs.example", "x_forwarded_port": "8443"}, "http://pkgs.example"),
        # What is no address is none.
        (BEHIND, PROXY, {"x_outside_url": "javascript:alert(1)"}, "http://devpi.example:3141"),
        (BEHIND, PROXY, {"x_outside_url": "https://"}, "http://devpi.example:3141"),
        (BEHIND, PROXY, {"x_outside_url": "https://a@b/"}, "http://devpi.example:3141"),
        (BEHIND, PROXY, {"x_outside_url": 'https://pkgs.example/"><b>'}, "http://devpi.example:3141"),
        (BEHIND, PROXY, {"x_outside_url": "https://pkgs.example/?q"}, "http://devpi.example:3141"),
    ],
)
def test_R06_the_outside_url_comes_from_who_may_say_it(
    addresses: Addresses, peer: str, headers: dict[str, str], expected: str
) -> None:
    assert outside_url(asking(peer, **headers), addresses) == expected


def test_R06_the_prefix_is_the_path_of_the_outside_url() -> None:
    assert outside_prefix(asking(PROXY, x_outside_url="https://pkgs.example/a/b/"), BEHIND) == "/a/b"
    assert outside_prefix(asking(PROXY), BEHIND) == ""


@pytest.mark.parametrize(
    ("addresses", "peer", "headers", "expected"),
    [
        (NOTHING, STRANGER, {}, STRANGER),
        (NOTHING, "::1", {}, "::1"),
        (NOTHING, "::ffff:192.0.2.9", {}, STRANGER),
        (NOTHING, UNIX, {}, UNIX),
        (NOTHING, STRANGER, {"x_forwarded_for": "127.0.0.1"}, STRANGER),
        (NOTHING, STRANGER, {"x_real_ip": "127.0.0.1"}, STRANGER),
        (BEHIND, PROXY, {"x_real_ip": "192.0.2.5"}, "192.0.2.5"),
        (BEHIND, PROXY, {"x_forwarded_for": "192.0.2.5"}, "192.0.2.5"),
        (BEHIND, PROXY, {"x_forwarded_for": "1.1.1.1, 192.0.2.5"}, "192.0.2.5"),
        (BEHIND, PROXY, {"x_forwarded_for": "192.0.2.5, 10.9.9.9"}, "192.0.2.5"),
        (BEHIND, PROXY, {"x_forwarded_for": "10.1.1.1, 10.9.9.9"}, "10.9.9.9"),
        (BEHIND, PROXY, {"x_forwarded_for": "192.0.2.5:4711"}, "192.0.2.5"),
        (BEHIND, PROXY, {"x_forwarded_for": "[2001:db8::5]:4711"}, "2001:db8::5"),
        (BEHIND, PROXY, {"forwarded": 'for="[2001:db8::5]:4711"'}, "2001:db8::5"),
        (BEHIND, PROXY, {"forwarded": "for=1.1.1.1, for=192.0.2.5"}, "192.0.2.5"),
        (BEHIND, UNIX, {"x_real_ip": "192.0.2.5"}, "192.0.2.5"),
        (BEHIND, PROXY, {"x_real_ip": "10.9.9.9", "x_forwarded_for": "192.0.2.5, 10.9.9.9"}, "192.0.2.5"),
        # Headers that contradict each other: one of them is made up, and nobody can tell which.
        (BEHIND, PROXY, {"x_real_ip": "192.0.2.5", "x_forwarded_for": "192.0.2.6"}, PROXY),
        (BEHIND, PROXY, {"x_real_ip": "192.0.2.5", "forwarded": "for=192.0.2.6"}, PROXY),
        (BEHIND, PROXY, {}, PROXY),
        (BEHIND, PROXY, {"x_forwarded_for": " , "}, PROXY),
        (BEHIND, PROXY, {"x_forwarded_for": "unknown"}, "0.0.0.0"),
        (BEHIND, PROXY, {"forwarded": 'for="127.0.0.1, for=192.0.2.5'}, "0.0.0.0"),
        (BEHIND, PROXY, {"forwarded": "for=_hidden"}, "0.0.0.0"),
    ],
)
def test_the_client_is_whom_a_trusted_proxy_names(
    addresses: Addresses, peer: str, headers: dict[str, str], expected: str
) -> None:
    assert client_address(asking(peer, **headers), addresses) == expected


@pytest.mark.parametrize(
    ("peer", "headers", "expected"),
    [
        ("127.0.0.1", {}, True),
        ("127.8.9.1", {"host": "127.8.9.1"}, True),
        ("::1", {"host": "[::1]:3141"}, True),
        ("::ffff:127.0.0.1", {"host": "LOCALHOST"}, True),
        (UNIX, {}, True),
        (STRANGER, {}, False),
        # A name that leads here, for browsers too: rebound in DNS.
        ("127.0.0.1", {"host": "devpi.example:3141"}, False),
        ("127.0.0.1", {"host": "localhost.devpi.example"}, False),
        ("127.0.0.1", {"host": "192.0.2.1:3141"}, False),
        ("127.0.0.1", {"host": "0.0.0.0:3141"}, False),
        ("127.0.0.1", {"host": ""}, False),
        (UNIX, {"host": "devpi.example"}, False),
        # Passed on by a proxy, whatever that says.
        (STRANGER, {"x_forwarded_for": "127.0.0.1"}, False),
        ("127.0.0.1", {"x_forwarded_for": "192.0.2.5"}, False),
        ("127.0.0.1", {"x_forwarded_for": "127.0.0.1"}, False),
        ("127.0.0.1", {"x_forwarded_proto": "https"}, False),
        ("127.0.0.1", {"x_real_ip": "127.0.0.1"}, False),
        ("127.0.0.1", {"forwarded": "for=127.0.0.1"}, False),
        ("127.0.0.1", {"via": "1.1 proxy"}, False),
        ("127.0.0.1", {"x_outside_url": "https://pkgs.example"}, False),
        (UNIX, {"x_real_ip": "127.0.0.1"}, False),
    ],
)
def test_local_is_what_came_from_this_machine_under_its_own_name_and_through_nobody(
    peer: str, headers: dict[str, str], *, expected: bool
) -> None:
    assert is_local(asking(peer, **{"host": "localhost:3141", **headers})) is expected


@pytest.mark.parametrize(
    ("addresses", "headers", "refused"),
    [
        (NOTHING, {}, False),
        (NOTHING, {"sec_fetch_site": "same-origin"}, False),
        (NOTHING, {"sec_fetch_site": "none"}, False),
        (NOTHING, {"sec_fetch_site": "same-site"}, True),
        (NOTHING, {"sec_fetch_site": "cross-site"}, True),
        (NOTHING, {"sec_fetch_site": "same-origin, cross-site"}, True),
        # A browser that tells the origin alone.
        (NOTHING, {"origin": "http://devpi.example:3141"}, False),
        (NOTHING, {"origin": "https://DEVPI.example:3141"}, False),
        (NOTHING, {"origin": "http://devpi.example"}, True),
        (NOTHING, {"origin": "http://evil.example"}, True),
        (NOTHING, {"origin": "http://localhost:8000", "host": "localhost:3141"}, True),
        (NOTHING, {"origin": "null"}, True),
        (NOTHING, {"origin": "null", "host": ""}, True),
        (NOTHING, {"origin": "https://devpi.example", "host": "devpi.example:443"}, False),
        (NOTHING, {"origin": "http://evil.example", "x_outside_url": "http://evil.example"}, True),
        # Behind a proxy that tells this server another name than users see, which the setting knows.
        (NOTHING, {"origin": "https://pkgs.example", "host": "inner:3141"}, True),
        (_configured("https://pkgs.example/devpi"), {"origin": "https://pkgs.example", "host": "inner:3141"}, False),
        # Both told, which browsers do: a page that hides its origin is still of this site.
        (NOTHING, {"sec_fetch_site": "same-origin", "origin": "null"}, False),
        (NOTHING, {"sec_fetch_site": "cross-site", "origin": "http://devpi.example:3141"}, True),
    ],
)
def test_changes_that_a_page_of_another_site_asks_for_are_refused_and_reads_never(
    addresses: Addresses, headers: dict[str, str], *, refused: bool
) -> None:
    request = asking(**headers)
    for method in (b"GET", b"HEAD", b"OPTIONS"):
        check_site(request, method, addresses)
    for method in (b"POST", b"PUT", b"PATCH", b"DELETE", b"PUSH"):
        with pytest.raises(TwistpiError, match="another site") if refused else nullcontext():
            check_site(request, method, addresses)


@given(
    headers=st.dictionaries(
        st.sampled_from(_TELLING),
        st.text(st.characters(max_codepoint=255, blacklist_characters="\r\n\0"), max_size=40),
        min_size=1,
    )
)
def test_nothing_a_stranger_says_moves_anything(headers: dict[str, str]) -> None:
    request = asking(STRANGER)
    for name, value in headers.items():
        request.requestHeaders.setRawHeaders(name.encode(), [value.encode("latin-1")])
    assert outside_url(request, BEHIND) == "http://devpi.example:3141"
    assert client_address(request, BEHIND) == STRANGER
    assert not is_local(request)


@given(
    name=st.sampled_from(_TELLING),
    value=st.text(st.characters(max_codepoint=255, blacklist_characters="\r\n\0"), max_size=60),
)
def test_nonsense_from_a_trusted_proxy_breaks_nothing(name: str, value: str) -> None:
    request = asking(PROXY)
    request.requestHeaders.setRawHeaders(name.encode(), [value.encode("latin-1")])
    url = outside_url(request, BEHIND)
    assert url.startswith(("http://", "https://"))
    assert not set(url) & set(" \t\"'<>\\#?")
    assert client_address(request, BEHIND)
    is_local(request)
