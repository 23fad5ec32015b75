"""What answers requests, built over what is kept on disk."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from twistpi import __version__
from twistpi.changelog.interfaces import IView
from twistpi.changelog.writer import Writer
from twistpi.gc.collector import GarbageCollector
from twistpi.gc.garbage import SlowClock
from twistpi.http.agent import make_agent
from twistpi.http.client import HTTPClient
from twistpi.http.networks import ForbiddenNetworks
from twistpi.mirror.upstream import upstream_measures
from twistpi.model.changes import Change
from twistpi.push.releases import Pusher
from twistpi.rules.permissions import Policy
from twistpi.server.authentication import Authentication
from twistpi.server.foundation import Foundation
from twistpi.server.health import ServerHealth
from twistpi.server.primary_connection import forward_to
from twistpi.server.roles import EntryListener, Role, build_role
from twistpi.server.settings import Settings
from twistpi.server.storage import Storage
from twistpi.view.page_cache import PageCache
from twistpi.view.read import Readers
from twistpi.web.access import Access
from twistpi.web.access_log import AccessLog
from twistpi.web.addresses import Addresses
from twistpi.web.commits import UploadStorage
from twistpi.web.components import Components, NodeFacts
from twistpi.web.fast.ready import ReadyAnswers
from twistpi.web.routes import make_site
from twistpi.web.transport.connections import Connections

_log = Logger()
_HOUSEKEEPING = 3600.0
"""Seconds between two rounds of it."""
_MISSING_REMEMBERED = 86400.0
"""Seconds after which it is forgotten that somebody asked for a project that does not exist."""


@attrs.define(eq=False)
class Application:
    """The site and everything it works with; ``build`` makes one."""

    site: Any
    """The factory of the listening ports."""
    role: Role
    """What the server has by its role."""
    components: Components
    """What the site was built from."""
    _writer: Writer
    _readers: Readers
    _authentication: Authentication
    _collector: GarbageCollector
    _clock: Any
    announcements: list[EntryListener]
    """Told of entries, in this order."""
    _housekeeping: LoopingCall = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._housekeeping = LoopingCall(self._do_housekeeping)
        self._housekeeping.clock = self._clock

    @classmethod
    def build(
        cls,
        settings: Settings,
        storage: Storage,
        reactor: Any,
        environment: Mapping[str, str],
        now: Callable[[], datetime],
        fail: Callable[[Exception], object],
        restart: Callable[[], object],
        connections: Connections,
        access_log: AccessLog | None,
    ) -> Application:
        """Return what answers requests over ``storage``, in the role that its ``node.json`` says.

        ``fail`` is told what makes it impossible to go on, ``access_log`` of every answer; ``restart`` begins anew.
        """
        offload = partial(deferToThreadPool, reactor, reactor.getThreadPool())
        readers = Readers(storage.serverdir.layout.view, storage.view.keep_newest())
        announcements: list[EntryListener] = []

        def announce(serial: int, changes: tuple[Change, ...]) -> None:
            for told in announcements:
                told(serial, changes)

        writer = Writer(
            storage.changelog, IView(storage.view), now=now, call_in_reactor=reactor.callFromThread, announce=announce, stop=fail,
            follows=storage.serverdir.node.is_replica,
        )  # fmt: skip
        forbidden, wait = ForbiddenNetworks.parse(settings.forbidden_networks), settings.request_timeout
        agent = make_agent(reactor, environment, extra_ca_file=settings.ca_file, forbidden=forbidden)
        upstream = HTTPClient(agent, reactor, offload, reactor.callFromThread, timeout=wait, silence=wait)
        foundation = Foundation(
            settings, storage, reactor, environment, now, fail, offload, readers, writer, upstream, restart
        )  # fmt: skip
        role = build_role(foundation)
        collector = _make_collector(foundation, role)
        authentication = Authentication.build(settings, readers, reactor, offload)
        components = _make_components(foundation, role, authentication, collector, connections)
        _watch(components, foundation, role)
        components.responder.default_headers.moved(storage.changelog.last.serial)
        site = make_site(components, access_log=access_log)
        announcements += [site.changed, collector.changed, *role.listeners]
        return cls(site, role, components, writer, readers, authentication, collector, reactor, announcements)

    def start(self) -> None:
        """Start what runs by itself."""
        self._writer.start()
        self._authentication.start()
        self._collector.start()
        self._housekeeping.start(_HOUSEKEEPING)
        self.role.start()

    async def stop(self) -> None:
        """Stop fetching, write what was decided, and let go of the view."""
        if self._housekeeping.running:
            self._housekeeping.stop()
        await self.role.stop()
        await self._collector.stop()
        await self._writer.stop()
        await self._authentication.stop()
        self._readers.close()

    def _do_housekeeping(self) -> Deferred[None]:
        before = self._clock.seconds() - _MISSING_REMEMBERED
        kept = self._writer.keep(lambda view: view.forget_missing(before))
        return kept.addErrback(self._not_kept)

    def _not_kept(self, failure: Failure) -> None:
        """A failure must not end the rounds; the next one catches up."""
        _log.warn("Housekeeping is put off: {reason}", reason=failure.getErrorMessage())


def _make_components(
    foundation: Foundation, role: Role, authentication: Authentication, collector: GarbageCollector, connections: Connections
) -> Components:
    """Return what the site is built from."""
    settings, storage, reactor = foundation.settings, foundation.storage, foundation.reactor
    readers, offload = foundation.readers, foundation.offload
    node = storage.serverdir.node
    addresses = Addresses(settings.trusted_proxy, settings.outside_url or "")
    return Components(
        node=NodeFacts(node.node_id, node.role, node.log_id, node.primary_url), software=f"twistpi/{__version__}",
        addresses=addresses,
        access=Access(readers, authentication.authenticator, Policy.parse(settings.restrict_modify)),
        writer=foundation.writer, storage=UploadStorage(storage.blobs, offload, foundation.fail, settings.max_upload_size),
        mirrors=role.mirrors,
        pusher=_make_pusher(foundation),
        replication=role.replication,
        ready=ReadyAnswers(PageCache(settings.page_cache_size)), connections=connections,
        clock=reactor, offload=offload, now=foundation.now, collector=collector,
        forwarder=forward_to(role.primary, role.following, addresses, settings, reactor),
        lenient_accept=settings.lenient_accept, metrics_from=settings.metrics_from,
    )  # fmt: skip


def _watch(components: Components, foundation: Foundation, role: Role) -> None:
    """Add the figures and checks of everything to those of the site."""
    settings, storage, writer = foundation.settings, foundation.storage, foundation.writer
    asks_upstreams = not storage.serverdir.node.is_replica
    following = role.following
    condition = ServerHealth(
        settings.serverdir, settings.disk_reserve, storage.changelog, writer, role.mirrors.pages if asks_upstreams else None,
        lambda: None if following is None else following.progress, foundation.reactor.seconds,
    )  # fmt: skip
    components.measuring += [components.connections.measures, condition.measures, writer.measures]
    components.measuring += [partial(upstream_measures, foundation.upstream)]
    components.measuring += role.measuring
    components.checking += [condition.checks]


def _make_pusher(foundation: Foundation) -> Pusher:
    settings, reactor = foundation.settings, foundation.reactor
    forbidden = ForbiddenNetworks.parse(settings.forbidden_networks)
    agent = make_agent(
        reactor, foundation.environment, extra_ca_file=settings.ca_file, forbidden=forbidden, connections_per_host=0
    )
    client = HTTPClient(agent, reactor, foundation.offload, reactor.callFromThread, timeout=None)
    return Pusher(client, foundation.storage.blobs, os.urandom)


def _make_collector(foundation: Foundation, role: Role) -> GarbageCollector:
    """What removes files that nothing names; on a replica only while that has the whole log."""
    slow_clock = SlowClock(time.time, time.monotonic)
    return GarbageCollector(
        foundation.storage.blobs, foundation.readers, foundation.writer, foundation.reactor, offload=foundation.offload,
        now=slow_clock.now, blocked=None if role.following is None else role.following.hindrance,
    )  # fmt: skip
