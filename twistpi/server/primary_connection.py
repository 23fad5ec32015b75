"""How a replica reaches its primary, over the network or through a unix socket, and what it forwards to it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from twistpi.auth.tokens import NodeTokens
from twistpi.http.agent import Agent, make_agent, unix_agent
from twistpi.http.client import HTTPClient
from twistpi.http.routes import ForbiddenNetworks
from twistpi.model.errors import TwistpiError
from twistpi.replication.following import Following
from twistpi.replication.primary import Primary, PrimaryAddress
from twistpi.server.directory import read_secret
from twistpi.server.process import IServerReactor, Process
from twistpi.server.setting_kinds import NONE
from twistpi.server.settings import Settings
from twistpi.web.addresses import Addresses
from twistpi.web.forwarding.forwarder import Forwarder
from twistpi.web.forwarding.peers import primary_backend
from twistpi.web.paths import replica_answers

_MARK: Final = ((b"X-Devpi-Proxy", b"replica"),)
"""The devpi protocol's way of saying who passed an answer on."""


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
    # Straight, whatever proxies the environment names, and each request over a connection of its own.
    agent = _agent_for(address, settings, reactor, {}, connections=0)
    return Forwarder(
        primary_backend(primary.url, address.base, agent, primary),
        addresses,
        reactor,
        replica_answers,
        reach=reach_serial,
        serial=lambda: following.progress.serial,
        mark=_MARK,
        is_over=lambda: following.is_stopped,
    )
