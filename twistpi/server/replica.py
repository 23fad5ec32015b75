"""What a replica is beside a server: how it reaches its primary, what it forwards to it, and how a new one begins.

Until its primary was reached once a new replica has nothing to serve, and nothing is opened but the ports, which say so.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

import attrs
import orjson
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from twistpi.auth.tokens import NodeTokens
from twistpi.http.agent import Agent, make_agent, unix_agent
from twistpi.http.backoff import Backoff
from twistpi.http.client import HTTPClient
from twistpi.http.routes import ForbiddenNetworks
from twistpi.model.errors import TwistpiError
from twistpi.model.records import Json
from twistpi.replication.following import Following
from twistpi.replication.primary import BY_BUNDLES, NOT_ASKED, Primary, PrimaryAddress
from twistpi.replication.progress import Progress, state_after
from twistpi.replication.segments import look_over
from twistpi.replication.snapshot import Bootstrap
from twistpi.server.directory import ServerDirectory, read_secret
from twistpi.server.process import IServerReactor, Process
from twistpi.server.setting_kinds import NONE
from twistpi.server.settings import Settings
from twistpi.statistics.delivery import encode_batch
from twistpi.statistics.download_tables import Batch
from twistpi.web.addresses import Addresses
from twistpi.web.forwarding.forwarder import TAKES_OVER, Forwarder
from twistpi.web.forwarding.peers import primary_backend
from twistpi.web.paths import replica_answers

_MARK: Final = ((b"X-Devpi-Proxy", b"replica"),)
"""The devpi protocol's way of saying who passed an answer on."""
_SHORTEST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 10.0
"""Seconds between two attempts."""
_ATTEMPTS: Final = "/+attempts"
_COUNTED_WITHIN: Final = 2.0
"""Seconds that a login waits for the primary to count it."""
_DOWNLOADS: Final = "/+relay/downloads"
_DOWNLOADS_WITHIN: Final = 30.0
"""Seconds that the primary has to count downloads."""
_JSON: Final = {"Content-Type": "application/json"}
_log = Logger()


def reach(url: str, node_id: str, settings: Settings, process: Process) -> Primary:
    """Return the server at ``url`` (``http://``, ``https://`` or ``unix:/path``) for requests of the server ``node_id``.

    Raise ``ValueError`` for another address, ``TwistpiError`` when the secret that the servers share is not fit.
    """
    secret = read_secret(settings.serverdir, settings.secretfile)
    reactor = process.reactor
    agent = _agent_for(PrimaryAddress.parse(url), settings, reactor, process.environment)
    client = HTTPClient(agent, reactor, process.offload, reactor.callFromThread)
    return Primary(url, node_id, client, NodeTokens(secret), os.urandom, outside_url=settings.outside_url)


def _agent_for(
    address: PrimaryAddress, settings: Settings, reactor: IServerReactor, environment: Mapping[str, str], connections: int = 32
) -> Agent:
    """Return what sends requests to another server; the administrator says where that is, so no network is forbidden."""
    if address.socket is not None:
        return unix_agent(reactor, address.socket, connections=connections)
    anywhere = ForbiddenNetworks.parse((NONE,))
    return make_agent(reactor, environment, extra_ca_file=settings.ca_file, forbidden=anywhere, connections_per_host=connections)


def is_far(url: str) -> bool:
    """Return whether what comes from ``url`` crosses a network, where it is worth compressing."""
    if PrimaryAddress.parse(url).socket is not None:
        return False
    return urlsplit(url).hostname not in ("localhost", "127.0.0.1", "::1")


def forward_to(
    primary: Primary, following: Following, addresses: Addresses, settings: Settings, reactor: IServerReactor
) -> Forwarder:
    """Return what forwards requests to ``primary``, and waits until ``following`` has received what they changed."""

    async def reach_serial(serial: int) -> bool:
        """See ``Forwarder.reach``; also when this server stops or is promoted, since the answer of the primary stands."""
        try:
            await following.wait_for(serial, settings.proxy_timeout)
        except TwistpiError:
            return False
        return True

    address = PrimaryAddress.parse(primary.url)

    def hindrance() -> str | None:
        if primary.url == BY_BUNDLES:
            return f"This replica never reaches its primary: {NOT_ASKED}."
        return TAKES_OVER if following.is_stopped else None

    # Directly, whatever proxies the environment names, and each request over a connection of its own.
    agent = _agent_for(address, settings, reactor, {}, connections=0)
    return Forwarder(
        primary_backend(primary.url, address.base, agent, primary),
        addresses,
        reactor,
        replica_answers,
        reach=reach_serial,
        serial=lambda: following.progress.serial,
        mark=_MARK,
        hindrance=hindrance,
    )


@attrs.frozen
class PrimaryThrottle:
    """Has the primary count the passwords that this replica verifies; see ``web.authentication.SharedThrottle``."""

    _primary: Primary

    async def reserve(self, user: str, address: str) -> float | None:
        """Return the seconds to wait, None to refuse the password; 0 when the primary cannot tell."""
        wait = (await self._report({"user": user, "address": address})).get("wait", 0.0)
        return float(wait) if isinstance(wait, int | float) else None

    async def succeeded(self, user: str, address: str) -> None:
        """Take one back."""
        await self._report({"user": user, "address": address, "right": True})

    async def _report(self, message: Mapping[str, Json]) -> Mapping[str, Json]:
        """Return the answer; nothing if there is none, or one of a primary that cannot count."""
        body = orjson.dumps(message)
        try:
            answer = await self._primary.ask("POST", _ATTEMPTS, headers=_JSON, body=body, patience=_COUNTED_WITHIN)
            counted = await answer.json()
        except TwistpiError:
            return {}
        return counted if answer.status == 200 and isinstance(counted, dict) else {}


@attrs.frozen
class PrimaryDelivery:
    """Sends downloads that this replica counted to the primary; see ``statistics.recorder.Delivery``."""

    _primary: Primary

    async def send(self, batch: Batch) -> None:
        """Return when the primary has counted ``batch``, or will never take it; raise ``TwistpiError`` when it may later."""
        body = encode_batch(batch)
        answer = await self._primary.ask("POST", _DOWNLOADS, headers=_JSON, body=body, patience=_DOWNLOADS_WITHIN)
        said = await answer.read(64 * 1024)
        if answer.status == 400:
            _log.error("The primary does not understand downloads of this replica, which are lost: {said}", said=said.decode())
        elif answer.status != 200:
            raise TwistpiError(f"the primary answered {answer.status}", 502)


@attrs.define(eq=False)
class FirstSync:
    """Prepares the directory of a new replica."""

    _primary: Primary
    _serverdir: ServerDirectory
    _clock: IReactorTime
    _chance: Callable[[], float]
    _bootstrap: Bootstrap
    progress: Progress = attrs.field(init=False)
    """What can be said until something follows."""

    def __attrs_post_init__(self) -> None:
        self.progress = Progress(self._clock.seconds(), 0)

    @property
    def sentence(self) -> str:
        """Why nothing is served yet."""
        if self._bootstrap.expected:
            done = 100 * self._bootstrap.received // self._bootstrap.expected
            return f"This replica of {self._primary.url} is fetching a snapshot, {done} % so far. Try again in a moment."
        reason = f" {self.progress.last_error}" if self.progress.state != "connecting" else ""
        return f"This replica of {self._primary.url} has nothing to serve yet.{reason} Try again in a moment."

    async def run(self) -> None:
        """Return when the directory says whose log it is to have; tries for as long as it takes."""
        backoff = Backoff(_SHORTEST_PAUSE, _LONGEST_PAUSE, self._chance)
        if not self._serverdir.node.log_id:
            await self._bootstrap.clear()  # what a crash may have left
        while not self._serverdir.node.log_id:
            try:
                await self._meet()
            except TwistpiError as error:
                self._note(error)
                await backoff.wait(self._clock)

    async def _meet(self) -> None:
        """Get to know the primary's log, and take a snapshot where it is a long one."""
        if self._bootstrap.expected:
            log_id = await self._bootstrap.run()
        else:
            overview = await look_over(self._primary)
            log_id = await self._bootstrap.run() if overview.is_large else overview.log_id
        self._serverdir.note(log_id=log_id)

    def _note(self, error: TwistpiError) -> None:
        sentence = str(error)
        if sentence != self.progress.last_error:
            _log.warn("{reason}", reason=sentence)
        self.progress.failed(state_after(error), sentence, self._clock.seconds())
