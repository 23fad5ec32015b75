"""How a replica reaches its primary, over the network or through a unix socket, and what it forwards to it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import attrs
from twisted.internet.threads import deferToThreadPool

from twistpi.auth.tokens import NodeTokens
from twistpi.http.agent import Agent, make_agent, unix_agent
from twistpi.http.client import HTTPClient
from twistpi.http.networks import ForbiddenNetworks
from twistpi.model.errors import TwistpiError
from twistpi.replication.following import Following
from twistpi.replication.primary import Primary, PrimaryAddress
from twistpi.server.secret import read_secret
from twistpi.server.setting_kinds import NONE
from twistpi.server.settings import Settings
from twistpi.web.addresses import Addresses
from twistpi.web.forwarding.forwarder import Forwarder
from twistpi.web.forwarding.peers import primary_backend
from twistpi.web.paths import replica_answers


def reach(url: str, node_id: str, settings: Settings, reactor: Any, environment: Mapping[str, str]) -> Primary:
    """The server at ``url`` (``http://``, ``https://`` or ``unix:/path``), asked as the server ``node_id``.

    Raises ``ValueError`` for another address, ``TwistpiError`` when the secret that the servers share is not fit.
    """
    secret = read_secret(settings.serverdir, settings.secretfile)
    offload = partial(deferToThreadPool, reactor, reactor.getThreadPool())
    client = HTTPClient(agent_for(url, settings, reactor, environment), reactor, offload, reactor.callFromThread)
    return Primary(url, node_id, client, NodeTokens(secret), os.urandom, outside_url=settings.outside_url)


def agent_for(url: str, settings: Settings, reactor: Any, environment: Mapping[str, str]) -> Agent:
    """Return what sends requests to the server at ``url``; the administrator says where that is, so no network is forbidden."""
    socket = PrimaryAddress.parse(url).socket
    if socket is not None:
        return unix_agent(reactor, socket)
    anywhere = ForbiddenNetworks.parse((NONE,))
    return make_agent(reactor, environment, extra_ca_file=settings.ca_file, forbidden=anywhere)


def is_far(url: str) -> bool:
    """Whether what comes from ``url`` crosses a network, where it is worth compressing."""
    if PrimaryAddress.parse(url).socket is not None:
        return False
    return urlsplit(url).hostname not in ("localhost", "127.0.0.1", "::1")


_MARK: Final = ((b"X-Devpi-Proxy", b"replica"),)
"""The devpi protocol's way of saying who passed an answer on."""


def forward_to(
    primary: Primary | None, following: Following | None, addresses: Addresses, settings: Settings, reactor: Any
) -> Forwarder | None:
    """Return what forwards requests to ``primary``, and waits until ``following`` has received what they changed.

    None on a server that follows no other.
    """
    if primary is None or following is None:
        return None
    address = PrimaryAddress.parse(primary.url)
    # Straight, whatever proxies the environment names, and each request over a connection of its own.
    if address.socket is not None:
        agent = unix_agent(reactor, address.socket, connections=0)
    else:
        anywhere = ForbiddenNetworks.parse((NONE,))
        agent = make_agent(reactor, {}, extra_ca_file=settings.ca_file, forbidden=anywhere, connections_per_host=0)
    backend = primary_backend(primary.url, address.base, agent, primary)
    reach = _SerialWait(following, settings.proxy_timeout)
    return Forwarder(
        backend, addresses, reactor, replica_answers, reach=reach.reach, serial=lambda: following.progress.serial, mark=_MARK,
        is_over=lambda: following.is_stopped,
    )  # fmt: skip


@attrs.frozen
class _SerialWait:
    """Waits for serials."""

    _following: Following
    _patience: float

    async def reach(self, serial: int) -> bool:
        """See ``Forwarder.reach``; also when this server stops or is promoted, since the answer of the primary stands."""
        try:
            await self._following.wait_for(serial, self._patience)
        except TwistpiError:
            return False
        return True
