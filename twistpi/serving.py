"""What answers requests: the rooms above the disk, joined."""

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
from twistpi.auth.node_tokens import NodeTokens
from twistpi.changelog.interfaces import IView
from twistpi.changelog.writer import Writer
from twistpi.condition import Condition
from twistpi.identifying import Identifying
from twistpi.keeping import Keeping
from twistpi.mirror.agents import make_agent
from twistpi.mirror.download import Downloads
from twistpi.mirror.forbidden import ForbiddenNetworks
from twistpi.mirror.names import NameLists
from twistpi.mirror.refresh import Mirror
from twistpi.mirror.sidecar import Sidecars
from twistpi.mirror.upstream import Upstream
from twistpi.model.changes import Change
from twistpi.push.releases import Pusher
from twistpi.rules.permissions import Policy
from twistpi.serverdir import read_secret
from twistpi.settings import Settings
from twistpi.sweeping.sweep import SlowClock
from twistpi.sweeping.sweeper import Sweeper
from twistpi.view.page_cache import PageCache
from twistpi.view.read import Readers
from twistpi.web.app import make_site
from twistpi.web.nodes import Nodes
from twistpi.web.services import NodeFacts, Services

_log = Logger()
_HOUSEKEEPING = 3600.0
"""Seconds between two rounds of it."""
_MISSING_REMEMBERED = 86400.0
"""Seconds after which it is forgotten that somebody asked for a project that does not exist."""


@attrs.define(eq=False)
class Serving:
    """The site and everything it works with; ``build`` makes one."""

    site: Any
    """The factory of the listening ports."""
    _writer: Writer
    _readers: Readers
    _mirror: Mirror
    _downloads: Downloads
    _sidecars: Sidecars
    _name_lists: NameLists
    _identifying: Identifying
    _sweeper: Sweeper
    _clock: Any
    _housekeeping: LoopingCall = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._housekeeping = LoopingCall(self._keep_house)
        self._housekeeping.clock = self._clock

    @classmethod
    def build(
        cls,
        settings: Settings,
        keeping: Keeping,
        reactor: Any,
        environment: Mapping[str, str],
        now: Callable[[], datetime],
        fail: Callable[[Exception], object],
    ) -> Serving:
        """Join the rooms over what is kept on disk; ``fail`` is told what makes it impossible to go on."""
        offload = partial(deferToThreadPool, reactor, reactor.getThreadPool())
        layout = keeping.serverdir.layout
        readers = Readers(layout.view, keeping.view.keep_newest())
        announcements: list[Callable[[int, tuple[Change, ...]], object]] = []

        def announce(serial: int, changes: tuple[Change, ...]) -> None:
            for told in announcements:
                told(serial, changes)

        writer = Writer(
            keeping.changelog, IView(keeping.view), now=now, call_in_reactor=reactor.callFromThread, announce=announce, stop=fail
        )
        forbidden = ForbiddenNetworks.parse(settings.forbidden_networks)
        agent = make_agent(reactor, environment, extra_ca_file=settings.ca_file, forbidden=forbidden)
        upstream = Upstream(agent, reactor, offload, request_timeout=settings.request_timeout)
        mirror = Mirror(
            upstream, readers, writer, reactor, offload=offload, cache_expiry=settings.mirror_cache_expiry,
            request_timeout=settings.request_timeout, offline=settings.offline,
        )  # fmt: skip
        downloads = Downloads(upstream, keeping.blobs, writer, reactor, offload=offload, offline=settings.offline, fail=fail)
        sidecars = Sidecars(
            upstream, downloads, keeping.blobs, writer, reactor, offload=offload, offline=settings.offline, fail=fail
        )
        name_lists = NameLists(
            upstream, readers, reactor, root=layout.names, spawner=reactor, offload=offload,
            cache_expiry=settings.mirror_cache_expiry, request_timeout=settings.request_timeout, offline=settings.offline,
        )  # fmt: skip
        pushing = make_agent(reactor, environment, extra_ca_file=settings.ca_file, forbidden=forbidden, connections_per_host=0)
        pusher = Pusher(pushing, keeping.blobs, reactor, offload, os.urandom)
        slow_clock = SlowClock(time.time, time.monotonic)
        sweeper = Sweeper(keeping.blobs, readers, writer, reactor, offload=offload, now=slow_clock.now)
        identifying = Identifying.build(settings, readers, reactor, offload)
        secret = read_secret(settings.serverdir, settings.secretfile)
        services = Services(
            readers=readers, blobs=keeping.blobs, mirror=mirror, downloads=downloads, sidecars=sidecars, name_lists=name_lists,
            page_cache=PageCache(settings.page_cache_size), clock=reactor, offload=offload, identify=identifying.identify,
            policy=Policy.parse(settings.restrict_modify), pusher=pusher, writer=writer, now=now,
            node=NodeFacts(keeping.serverdir.node.node_id, keeping.serverdir.node.role), trusted_proxies=settings.trusted_proxy,
            cache_expiry=settings.mirror_cache_expiry, offline=settings.offline, outside_url=settings.outside_url or "",
            max_upload_size=settings.max_upload_size, lenient_accept=settings.lenient_accept, software=f"twistpi/{__version__}",
            fail=fail, sweeper=sweeper, nodes=Nodes(NodeTokens(secret), time.monotonic, reactor.seconds()),
            metrics_from=settings.metrics_from,
        )  # fmt: skip
        condition = Condition(settings.serverdir, settings.disk_reserve, keeping.changelog, writer, mirror)
        services.measuring += [condition.measures, writer.measures, upstream.measures]
        services.checking += [condition.checks]
        services.standing.moved(keeping.changelog.last.serial)
        site = make_site(services, access_log=settings.access_log)
        announcements += [site.changed, name_lists.changed, sweeper.changed]
        return cls(site, writer, readers, mirror, downloads, sidecars, name_lists, identifying, sweeper, reactor)

    def start(self) -> None:
        """Start what runs by itself."""
        self._writer.start()
        self._identifying.start()
        self._sweeper.start()
        self._housekeeping.start(_HOUSEKEEPING)

    async def stop(self) -> None:
        """Stop fetching, write what was decided, and let go of the view."""
        if self._housekeeping.running:
            self._housekeeping.stop()
        for fetching in (self._name_lists, self._sidecars, self._mirror, self._downloads):
            fetching.stop()
        await self._sweeper.stop()
        await self._identifying.stop()
        await self._writer.stop()
        self._readers.close()

    def _keep_house(self) -> Deferred[None]:
        before = self._clock.seconds() - _MISSING_REMEMBERED
        kept = self._writer.keep(lambda view: view.forget_missing(before))
        return kept.addErrback(self._not_kept)

    def _not_kept(self, failure: Failure) -> None:
        """A failure must not end the rounds; the next one catches up."""
        _log.warn("Housekeeping is put off: {reason}", reason=failure.getErrorMessage())
