"""Addresses that users cannot make the server ask, however they are spelled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHostnameResolver, IResolutionReceiver
from zope.interface import directlyProvides, implementer, providedBy

from tests.fakes.proxy import FakeProxy
from tests.fakes.upstream import FakeUpstream, Redirect
from tests.in_reactor import in_reactor, wait_for
from tests.mirror.mirror_setup import Setup, pause, reactor
from twistpi.http.agent import make_agent
from twistpi.http.routes import ForbiddenNetworks
from twistpi.model.errors import UpstreamFailed

WHEEL = "hello-1.0-py3-none-any.whl"
FILE = f"/files/hello/{WHEEL}"
LOOPBACK = ForbiddenNetworks.parse(["127.0.0.0/8", "::1"])
METADATA = "169.254.169.254"
SETTING = r"its address lies in a network where this server connects to nobody \(setting forbidden-networks\)"


@implementer(IHostnameResolver)
class Names:
    """Resolves the names it was given, and leaves all others to the reactor's resolver."""

    def __init__(self, names: dict[str, list[str]]) -> None:
        self.names = names
        self.asked: list[str] = []

    def resolveHostName(
        self, resolutionReceiver: IResolutionReceiver, hostName: str, portNumber: int = 0, *arguments: Any, **keywords: Any
    ) -> Any:
        self.asked.append(hostName)
        if hostName not in self.names:
            return reactor.nameResolver.resolveHostName(resolutionReceiver, hostName, portNumber, *arguments, **keywords)
        resolutionReceiver.resolutionBegan(None)  # type: ignore[arg-type]
        for address in self.names[hostName]:
            kind = IPv6Address if ":" in address else IPv4Address
            resolutionReceiver.addressResolved(kind("TCP", address, portNumber))
        resolutionReceiver.resolutionComplete()
        return None


class Network:
    """The reactor with names of its own, which remembers the addresses that were connected to."""

    def __init__(self, **names: list[str]) -> None:
        self.nameResolver = Names({f"{name}.example": addresses for name, addresses in names.items()})
        self.connected: list[str] = []
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)

    def connectTCP(self, host: str, *arguments: Any, **keywords: Any) -> Any:
        self.connected.append(host)
        return reactor.connectTCP(host, *arguments, **keywords)


@pytest.fixture
def proxy() -> Iterator[FakeProxy]:
    running = FakeProxy(reactor).start()
    yield running
    wait_for(Deferred.fromCoroutine(running.stop()))


async def refusal_of(setup: Setup) -> str:
    """Why the upstream is not asked."""
    with pytest.raises(UpstreamFailed, match=SETTING) as caught:
        await setup.mirror.ensure(setup.index, "hello")
    assert caught.value.status == 502
    return str(caught.value)


# Upstreams ---------------------------------------------------------------------------------------------------------


@in_reactor
@pytest.mark.parametrize("host", [METADATA, "2852039166", "[::ffff:169.254.169.254]", "[fe80::1]", "0xa9fea9fe"])
async def test_an_upstream_at_a_forbidden_address_is_not_asked(make_setup: Callable[..., Setup], host: str) -> None:
    network: Any = Network()
    setup = make_setup(mirror_url=f"http://{host}/latest/", agent=make_agent(network, {}))
    assert "The upstream of root/up failed for" in await refusal_of(setup)
    assert network.connected == []


@in_reactor
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("address", [METADATA, "::ffff:169.254.169.254", "fd00:ec2::254"])
async def test_an_upstream_whose_name_leads_to_a_forbidden_address_is_not_asked(
    make_setup: Callable[..., Setup], scheme: str, address: str
) -> None:
    network: Any = Network(inside=[address])
    setup = make_setup(mirror_url=f"{scheme}://inside.example/latest/", agent=make_agent(network, {}))
    assert address not in await refusal_of(setup)
    assert network.nameResolver.asked == ["inside.example"]
    assert network.connected == []


@in_reactor
async def test_what_counts_is_what_a_name_means_when_it_is_connected_to(
    make_setup: Callable[..., Setup], fake: FakeUpstream
) -> None:
    fake.add_project("hello", {WHEEL: b"wheel"})
    network: Any = Network(moving=["127.0.0.1"])
    setup = make_setup(mirror_url=f"http://moving.example:{fake.port}/simple/", agent=make_agent(network, {}))
    assert (await setup.mirror.ensure(setup.index, "hello")).kind == "miss"
    for transport in list(fake._channels):
        transport.loseConnection()
    await pause(0.05)
    network.nameResolver.names["moving.example"] = [METADATA]
    # What is known goes on being served, and nobody was connected to.
    assert (await setup.mirror.ensure(setup.index, "hello", force=True)).kind == "stale"
    assert network.connected == ["127.0.0.1"]


@in_reactor
async def test_of_several_addresses_the_allowed_ones_are_tried(make_setup: Callable[..., Setup], fake: FakeUpstream) -> None:
    fake.add_project("hello", {WHEEL: b"wheel"})
    network: Any = Network(both=[METADATA, "127.0.0.1"])
    setup = make_setup(mirror_url=f"http://both.example:{fake.port}/simple/", agent=make_agent(network, {}))
    assert (await setup.mirror.ensure(setup.index, "hello")).kind == "miss"
    assert network.connected == ["127.0.0.1"]


@in_reactor
@pytest.mark.parametrize("host", [METADATA, "inside.example", "[::ffff:169.254.169.254]"])
async def test_no_redirect_leads_to_a_forbidden_address(make_setup: Callable[..., Setup], fake: FakeUpstream, host: str) -> None:
    fake.add_project("hello", {WHEEL: b"wheel"})
    fake.misbehave("/simple/hello/", Redirect(f"http://{host}/latest/"))
    network: Any = Network(inside=[METADATA])
    setup = make_setup(agent=make_agent(network, {}))
    await refusal_of(setup)
    assert network.connected == ["127.0.0.1"]


@in_reactor
async def test_no_file_is_fetched_from_a_forbidden_address(make_setup: Callable[..., Setup], fake: FakeUpstream) -> None:
    fake.add_project("hello", {WHEEL: b"wheel"}, files_at=f"http://{METADATA}")
    network: Any = Network()
    setup = make_setup(agent=make_agent(network, {}))
    await setup.mirror.ensure(setup.index, "hello")
    with pytest.raises(UpstreamFailed, match=SETTING):
        await setup.download("hello", WHEEL)
    assert set(network.connected) == {"127.0.0.1"}


@in_reactor
async def test_what_an_administrator_forbids_is_not_asked(make_setup: Callable[..., Setup], fake: FakeUpstream) -> None:
    fake.add_project("hello", {WHEEL: b"wheel"})
    setup = make_setup(agent=make_agent(reactor, {}, forbidden=LOOPBACK))
    await refusal_of(setup)
    assert fake.seen == []


@in_reactor
async def test_what_an_administrator_allows_is_asked(make_setup: Callable[..., Setup]) -> None:
    network: Any = Network()
    setup = make_setup(
        mirror_url="http://127.0.0.1:1/simple/",
        agent=make_agent(network, {}, forbidden=ForbiddenNetworks.parse(["none"])),
    )
    with pytest.raises(Exception, match="refused"):
        await setup.mirror.ensure(setup.index, "hello")
    assert network.connected == ["127.0.0.1"]


# Proxies -----------------------------------------------------------------------------------------------------------


@in_reactor
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", [METADATA, "2852039166", "[::ffff:169.254.169.254]"])
async def test_no_proxy_is_sent_to_a_forbidden_address(
    make_setup: Callable[..., Setup], proxy: FakeProxy, scheme: str, host: str
) -> None:
    setup = make_setup(mirror_url=f"{scheme}://{host}/latest/", agent=make_agent(reactor, {"ALL_PROXY": proxy.url}))
    await refusal_of(setup)
    assert proxy.asked == []


@in_reactor
async def test_no_redirect_sends_a_proxy_to_a_forbidden_address(
    make_setup: Callable[..., Setup], proxy: FakeProxy, fake: FakeUpstream
) -> None:
    fake.misbehave("/simple/hello/", Redirect(f"http://{METADATA}/latest/"))
    setup = make_setup(agent=make_agent(reactor, {"HTTP_PROXY": proxy.url}))
    await refusal_of(setup)
    assert proxy.asked == [f"GET {fake.url}/simple/hello/ HTTP/1.1"]


@in_reactor
async def test_a_proxy_may_lie_where_no_upstream_may(
    make_setup: Callable[..., Setup], proxy: FakeProxy, fake: FakeUpstream
) -> None:
    # The proxy resolves localhost; its own address comes from the server's administrator.
    fake.add_project("hello", {WHEEL: b"wheel"})
    agent = make_agent(reactor, {"HTTP_PROXY": proxy.url}, forbidden=LOOPBACK)
    setup = make_setup(mirror_url=f"http://localhost:{fake.port}/simple/", agent=agent)
    assert (await setup.mirror.ensure(setup.index, "hello")).kind == "miss"


@in_reactor
async def test_past_a_proxy_a_name_is_resolved_and_checked_here(make_setup: Callable[..., Setup], proxy: FakeProxy) -> None:
    network: Any = Network(inside=[METADATA])
    agent = make_agent(network, {"HTTP_PROXY": proxy.url, "NO_PROXY": ".example"})
    setup = make_setup(mirror_url="http://inside.example/latest/", agent=agent)
    await refusal_of(setup)
    assert (proxy.asked, network.connected) == ([], [])
