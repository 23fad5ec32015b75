"""What goes over the wire to an upstream: credentials, proxies, certificates, connections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from twisted.internet.defer import Deferred
from twisted.internet.ssl import PrivateCertificate
from twisted.logger import capturedLogs, formatEvent

from tests.fakes.certificates import write_certificate
from tests.fakes.proxy import FakeProxy
from tests.fakes.upstream import FakeUpstream, Redirect, Status
from tests.in_reactor import in_reactor, wait_for
from tests.mirror.mirror_setup import Setup, pause, reactor
from twistpi import __version__
from twistpi.http.agent import make_agent
from twistpi.http.codings import ACCEPTED
from twistpi.mirror.upstream import ACCEPT_PAGE
from twistpi.model.errors import UpstreamFailed, UpstreamUnreachable

WHEEL = "hello-1.0-py3-none-any.whl"
PAGE = "/simple/hello/"
FILE = f"/files/hello/{WHEEL}"


class TlsReactor:
    """The reactor, whose plain ports are made TLS ports."""

    def __init__(self, certificate: PrivateCertificate) -> None:
        self._options = certificate.options()

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)

    def listenTCP(self, port: int, factory: Any, interface: str = "") -> Any:
        return reactor.listenSSL(port, factory, self._options, interface=interface)


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[FakeUpstream, str, str]]:
    """An upstream behind TLS, its address by name, and the file with its certificate."""
    key, certificate = write_certificate(tmp_path, x509.DNSName("localhost"))
    authority = tmp_path / "ca.pem"
    authority.write_bytes(b"# a comment\n" + certificate.read_bytes() + b"\n")
    pair = PrivateCertificate.loadPEM(key.read_bytes() + certificate.read_bytes())
    upstream = FakeUpstream(TlsReactor(pair)).start()
    upstream.add_project("hello", {WHEEL: b"wheel"})
    yield upstream, f"https://localhost:{upstream.port}/simple/", str(authority)
    wait_for(Deferred.fromCoroutine(upstream.stop()))


@pytest.fixture
def proxy() -> Iterator[FakeProxy]:
    running = FakeProxy(reactor, user="me:secret").start()
    yield running
    wait_for(Deferred.fromCoroutine(running.stop()))


@in_reactor
async def test_a_page_is_asked_for_as_a_client_of_the_standard_does(setup: Setup) -> None:
    setup.fake.add_project("hello", {WHEEL: b"wheel"})
    await setup.mirror.ensure(setup.index, "hello")
    seen = setup.fake.seen[0]
    assert (seen.method, seen.path) == ("GET", PAGE)
    assert seen.header("Accept") == ACCEPT_PAGE
    assert seen.header("Accept-Encoding") == ACCEPTED
    assert seen.header("User-Agent") == f"twistpi/{__version__}"
    assert seen.header("Authorization") is None


@pytest.fixture
def guarded() -> Iterator[FakeUpstream]:
    upstream = FakeUpstream(reactor, user="me:s%20cret").start()
    upstream.user = "me:s cret"
    yield upstream
    wait_for(Deferred.fromCoroutine(upstream.stop()))


def setup_of(make_setup: Callable[..., Setup], guarded: FakeUpstream) -> Setup:
    """A mirror of an upstream that wants a password."""
    return make_setup(fake=guarded, mirror_url=f"http://me:s%20cret@127.0.0.1:{guarded.port}/simple/")


@in_reactor
async def test_credentials_of_the_mirror_url_are_sent_for_pages_and_files(
    make_setup: Callable[..., Setup], guarded: FakeUpstream
) -> None:
    setup = setup_of(make_setup, guarded)
    guarded.add_project("hello", {WHEEL: b"wheel"})
    state = await setup.mirror.ensure(setup.index, "hello")
    assert await setup.download("hello", WHEEL) == b"wheel"
    assert state.source == f"{guarded.url}/"
    assert "cret" not in repr(setup.project("hello"))


@in_reactor
async def test_a_token_in_the_path_of_the_mirror_url_is_neither_shown_nor_logged(
    make_setup: Callable[..., Setup], fake: FakeUpstream
) -> None:
    setup = make_setup(mirror_url=f"{fake.url}/s3cret/simple/")
    fake.misbehave("/s3cret/simple/hello/", Status(500))
    with capturedLogs() as events, pytest.raises(UpstreamFailed) as caught:
        await setup.mirror.ensure(setup.index, "hello")
    told = " ".join(formatEvent(event) for event in events if event["log_namespace"] == "twistpi.mirror")
    assert fake.url in told
    assert "s3cret" not in told + str(caught.value)


@in_reactor
async def test_credentials_never_go_to_another_host(
    make_setup: Callable[..., Setup], guarded: FakeUpstream, fake: FakeUpstream
) -> None:
    setup = setup_of(make_setup, guarded)
    fake.add_file("/files/moved.whl", b"wheel")
    guarded.add_project("hello", {WHEEL: b"wheel"})
    guarded.misbehave(FILE, Redirect(f"{fake.url}/files/moved.whl"))
    guarded.add_project("away", {})
    guarded.misbehave("/simple/away/", Redirect(f"{fake.url}{PAGE}"))
    guarded.add_project("other", {"other-1.0.tar.gz": b"sdist"}, files_at=fake.url)
    fake.add_file("/files/other/other-1.0.tar.gz", b"sdist")
    for name in ("hello", "other"):
        await setup.mirror.ensure(setup.index, name)
    assert await setup.download("hello", WHEEL) == b"wheel"
    assert await setup.download("other", "other-1.0.tar.gz") == b"sdist"
    fake.add_project("hello", {WHEEL: b"wheel"})
    await setup.mirror.ensure(setup.index, "away")
    assert len(fake.seen) == 3
    assert {seen.header("Authorization") for seen in fake.seen} == {None}


@in_reactor
async def test_wrong_credentials_are_a_failure_that_does_not_show_them(
    make_setup: Callable[..., Setup], guarded: FakeUpstream
) -> None:
    setup = make_setup(fake=guarded, mirror_url=f"http://me:wrong@127.0.0.1:{guarded.port}/simple/")
    with pytest.raises(UpstreamFailed, match="401") as caught:
        await setup.mirror.ensure(setup.index, "hello")
    assert "wrong" not in str(caught.value)


@in_reactor
async def test_http_goes_through_the_proxy_with_its_password(
    make_setup: Callable[..., Setup], proxy: FakeProxy, fake: FakeUpstream
) -> None:
    fake.add_project("hello", {WHEEL: b"wheel"})
    setup = make_setup(agent=make_agent(reactor, {"HTTP_PROXY": proxy.url}))
    await setup.mirror.ensure(setup.index, "hello")
    assert await setup.download("hello", WHEEL) == b"wheel"
    assert proxy.asked[0] == f"GET {fake.url}{PAGE} HTTP/1.1"
    assert fake.seen[0].header("Proxy-Authorization") is None


@in_reactor
async def test_no_proxy_is_asked_for_what_no_proxy_names(
    make_setup: Callable[..., Setup], proxy: FakeProxy, fake: FakeUpstream
) -> None:
    fake.add_project("hello", {WHEEL: b"wheel"})
    setup = make_setup(agent=make_agent(reactor, {"http_proxy": proxy.url, "NO_PROXY": "example.com,127.0.0.0/8"}))
    await setup.mirror.ensure(setup.index, "hello")
    assert proxy.asked == []


@in_reactor
async def test_https_goes_through_a_tunnel(
    make_setup: Callable[..., Setup], proxy: FakeProxy, secure: tuple[FakeUpstream, str, str]
) -> None:
    upstream, url, authority = secure
    setup = make_setup(
        fake=upstream,
        mirror_url=url,
        agent=make_agent(reactor, {"HTTPS_PROXY": proxy.url}, extra_ca_file=authority),
    )
    await setup.mirror.ensure(setup.index, "hello")
    assert await setup.download("hello", WHEEL) == b"wheel"
    assert set(proxy.asked) == {f"CONNECT localhost:{upstream.port} HTTP/1.1"}
    assert upstream.seen[0].header("Proxy-Authorization") is None


@in_reactor
async def test_a_proxy_that_refuses_is_an_upstream_out_of_reach(
    make_setup: Callable[..., Setup], proxy: FakeProxy, secure: tuple[FakeUpstream, str, str]
) -> None:
    upstream, url, authority = secure
    agent = make_agent(reactor, {"HTTPS_PROXY": proxy.url}, extra_ca_file=authority)
    proxy.refuses = True
    setup = make_setup(fake=upstream, mirror_url=url, agent=agent)
    with pytest.raises(UpstreamUnreachable, match="407"):
        await setup.mirror.ensure(setup.index, "hello")
    assert upstream.seen == []


@in_reactor
async def test_an_extra_authority_is_trusted_and_a_stranger_is_not(
    make_setup: Callable[..., Setup], secure: tuple[FakeUpstream, str, str]
) -> None:
    upstream, url, authority = secure
    trusting = make_setup(fake=upstream, mirror_url=url, agent=make_agent(reactor, {}, extra_ca_file=authority))
    assert (await trusting.mirror.ensure(trusting.index, "hello")).kind == "miss"
    wary = make_setup(fake=upstream, mirror_url=url)
    with pytest.raises(UpstreamUnreachable, match=r"its certificate is not accepted \(certificate verify failed\)"):
        await wary.mirror.ensure(wary.index, "hello")
    assert list(wary.mirror.failing()) == [wary.index.name], "which /+ready tells"


@in_reactor
async def test_a_connection_the_upstream_closed_meanwhile_is_replaced(setup: Setup) -> None:
    setup.fake.add_project("hello", {WHEEL: b"wheel"})
    await setup.mirror.ensure(setup.index, "hello")
    for transport in list(setup.fake._channels):
        transport.loseConnection()
    assert (await setup.mirror.ensure(setup.index, "hello", force=True)).kind == "revalidated"
    await pause(0.05)
    assert (await setup.mirror.ensure(setup.index, "hello", force=True)).kind == "revalidated"


@in_reactor
async def test_connections_are_used_again(setup: Setup) -> None:
    for number in range(10):
        setup.fake.add_project(f"p{number}", {f"p{number}-1.0.tar.gz": b"sdist"})
        await setup.mirror.ensure(setup.index, f"p{number}")
    assert len(setup.fake._channels) == 1


def test_a_proxy_that_is_no_address_is_refused() -> None:
    with pytest.raises(ValueError, match="not an http"):
        make_agent(reactor, {"HTTP_PROXY": "socks5://127.0.0.1:1080"})
