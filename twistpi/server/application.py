"""What answers requests, built over what is kept on disk."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from twistpi import __version__
from twistpi.changelog.writer import Writer
from twistpi.gc.access_times import AccessRecorder
from twistpi.gc.collector import LOOSENING, GarbageCollector
from twistpi.gc.garbage import SlowClock
from twistpi.http.agent import make_agent
from twistpi.http.client import HTTPClient
from twistpi.http.folders import Folders
from twistpi.http.routes import ForbiddenNetworks
from twistpi.mirror.upstream import upstream_measures
from twistpi.model.changes import AdvisoriesAccepted, FileCached, IndexDeleted, IndexModified
from twistpi.model.releases import FileRemoved
from twistpi.oidc.identity import Identities
from twistpi.push.releases import Pusher
from twistpi.rules.accounts import decide_hash_replaced
from twistpi.rules.permissions import Policy
from twistpi.search.service import SearchService
from twistpi.server.advisories import make_advisories
from twistpi.server.announcements import Announcements
from twistpi.server.authentication import Authentication
from twistpi.server.eviction import make_evictor
from twistpi.server.figures import Figures
from twistpi.server.health import ServerHealth
from twistpi.server.process import Process
from twistpi.server.replica import PrimaryDelivery, PrimaryThrottle, forward_to
from twistpi.server.roles import RoleBuilder
from twistpi.server.room_watch import RoomWatch
from twistpi.server.search_index import make_indexer
from twistpi.server.setting_sources import configured_settings
from twistpi.server.settings import Settings
from twistpi.server.storage import Storage
from twistpi.statistics.service import Statistics
from twistpi.view.page_cache import PageCache
from twistpi.view.read import Readers
from twistpi.web.access import Access
from twistpi.web.access_log import AccessLog
from twistpi.web.addresses import Addresses
from twistpi.web.commits import UploadStorage
from twistpi.web.components import Components, NodeFacts
from twistpi.web.delivery import Delivery
from twistpi.web.fast.ready import ReadyAnswers
from twistpi.web.forwarding.peers import own_name
from twistpi.web.routes import make_site
from twistpi.web.transport.connections import Connections

_HOUSEKEEPING: Final = 3600.0
"""Seconds between two rounds of it."""
_MISSING_REMEMBERED: Final = 86400.0
"""Seconds after which it is forgotten that somebody asked for a project that does not exist."""
_log = Logger()


class Application:
    """The site and everything it works with, made in the role that ``node.json`` says."""

    def __init__(
        self,
        settings: Settings,
        storage: Storage,
        process: Process,
        connections: Connections,
        access_log: AccessLog | None = None,
    ) -> None:
        """``access_log`` gets a line for every answer."""
        reactor, offload = process.reactor, process.offload
        self._settings, self._storage, self._process, self._connections = settings, storage, process, connections
        self._readers = Readers(storage.serverdir.layout.view, storage.view.keep_newest())
        self.announcements = Announcements()
        self.announcements.add(self._readers.unrecorded.entered)
        self._writer = Writer(
            storage.log,
            storage.view,
            now=process.now,
            call_in_reactor=reactor.callFromThread,
            announce=self.announcements.announce,
            stop=process.fail,
            follows=storage.serverdir.node.is_replica,
        )
        wait = settings.request_timeout
        upstream = self._make_client(connections=32, timeout=wait, silence=wait)
        # A replica has what is in a folder from its primary: its own disk may have another one there.
        upstream.folders = Folders(() if storage.serverdir.node.is_replica else settings.local_folders, offload)
        self.role = RoleBuilder(settings, process, storage, self._readers, self._writer, upstream).build()
        following = self.role.following
        shared = None if following is None or self.role.primary is None else PrimaryThrottle(self.role.primary)
        replace_hash = None if storage.serverdir.node.is_replica else self._replace_hash
        self._authentication = Authentication.build(settings, self._readers, reactor, offload, shared, replace_hash)
        self._collector = self._make_collector()
        self._evictor = make_evictor(settings, process, storage, self._readers, self._writer, self._collector, self.role)
        self.statistics = self._make_statistics()
        client = self._make_client(connections=4, timeout=30.0)
        self.advisories = make_advisories(settings, process, storage, self._readers, self._writer, self.role, client)
        self._indexer = make_indexer(storage, self._readers, process, self.role.mirrors)
        self.components = self._make_components()
        self._room_watch = self._prepare_for_full_disk()
        self._access_recorder = AccessRecorder(
            self.components.access_times, storage.blobs, self._readers, reactor, offload, lambda: process.now().timestamp()
        )
        if self.statistics.recorder is not None:
            self.statistics.recorder.received = self._access_recorder.downloaded
            self.announcements.add(self.statistics.recorder.changed, IndexDeleted)
        self._watch(upstream)
        self.components.responder.default_headers.moved(storage.changelog.last.serial)
        self.site = make_site(self.components, access_log=access_log)
        """The factory of the listening ports."""
        self._announce_entries()
        self._housekeeping = LoopingCall(self._do_housekeeping)
        self._housekeeping.clock = reactor

    def _make_collector(self) -> GarbageCollector:
        following = self.role.following
        return GarbageCollector(
            self._storage.blobs,
            self._readers,
            self._writer,
            self._process.reactor,
            offload=self._process.offload,
            now=SlowClock(time.time, time.monotonic).now,
            blocked=None if following is None else following.hindrance,
            leads=self.role.leads,
        )

    def _prepare_for_full_disk(self) -> RoomWatch:
        """Make the evictor make room when there is none, and pages show what is known in memory only."""
        self.role.mirrors.files.short_of_room = self._evictor.look
        self._readers.unrecorded.forgotten = self.components.ready.forget_project
        return RoomWatch(self._writer, self._storage.blobs, self._process.reactor, self._process.offload)

    def start(self) -> None:
        """Start what runs by itself."""
        self._indexer.start()
        self._writer.start()
        self.advisories.start()
        self._authentication.start()
        self._collector.start()
        self._access_recorder.start()
        self._evictor.start()
        self._room_watch.start()
        self._housekeeping.start(_HOUSEKEEPING)
        self.statistics.start()
        self.role.start()

    async def stop(self) -> None:
        """Stop fetching, write what was decided, and let go of the view."""
        if self._housekeeping.running:
            self._housekeeping.stop()
        await self.statistics.stop()
        await self._access_recorder.stop()
        await self.role.stop()
        await self.advisories.stop()
        await self._evictor.stop()
        self._room_watch.stop()
        await self._collector.stop()
        await self._writer.stop()
        await self._indexer.stop()
        await self._authentication.stop()
        self._readers.close()

    def _announce_entries(self) -> None:
        """Register the listeners: the site first, then all others with the changes that concern them."""
        add = self.announcements.add
        add(self.site.changed)
        add(self._collector.changed, *LOOSENING)
        add(self._evictor.changed, FileCached, FileRemoved, IndexModified)
        add(self._indexer.changed)
        add(self.role.names.changed, IndexDeleted, IndexModified)
        for listener in self.role.listeners:
            add(listener)
        if self.advisories.loader is not None:
            add(self.advisories.loader.changed, AdvisoriesAccepted)
            self.advisories.loader.listeners.append(self.site.advisories_changed)

    async def _replace_hash(self, user: str, former: str, password_hash: str) -> None:
        await self._writer.commit(lambda view: decide_hash_replaced(view.user(user), former, password_hash), user)

    def _do_housekeeping(self) -> Deferred[None]:
        before = self._process.reactor.seconds() - _MISSING_REMEMBERED
        return self._writer.keep(lambda view: view.forget_missing(before)).addErrback(self._not_kept)

    def _not_kept(self, failure: Failure) -> None:
        """Let a failure not end the rounds; the next one catches up."""
        _log.warn("Housekeeping is put off: {reason}", reason=failure.getErrorMessage())

    def _make_client(self, *, connections: int, timeout: float | None, silence: float = 30.0) -> HTTPClient:
        """Return a client for servers that users name, which may not be in forbidden networks."""
        settings, reactor = self._settings, self._process.reactor
        agent = make_agent(
            reactor,
            self._process.environment,
            extra_ca_file=settings.ca_file,
            forbidden=ForbiddenNetworks.parse(settings.forbidden_networks),
            connections_per_host=connections,
        )
        via = own_name(self._storage.serverdir.node.node_id)
        return HTTPClient(
            agent, reactor, self._process.offload, reactor.callFromThread, timeout=timeout, silence=silence, via=via
        )

    def _make_statistics(self) -> Statistics:
        settings, process, primary = self._settings, self._process, self.role.primary
        return Statistics.build(
            self._storage.serverdir.layout.statistics,
            process.reactor,
            process.offload,
            process.now,
            is_counting=not settings.no_downloads,
            days=settings.download_days,
            delivery=None if primary is None else PrimaryDelivery(primary),
        )

    def _make_components(self) -> Components:
        settings, storage, process, role = self._settings, self._storage, self._process, self.role
        node, offload = storage.serverdir.node, process.offload
        addresses, forwarder = Addresses(settings.trusted_proxy, settings.outside_url or "", settings.absolute_urls), None
        if role.primary is not None and role.following is not None:
            forwarder = forward_to(role.primary, role.following, addresses, settings, process.reactor)
        return Components(
            node=NodeFacts(node.node_id, node.role, node.log_id, node.primary_url),
            software=f"twistpi/{__version__}",
            addresses=addresses,
            access=Access(
                self._readers, self._authentication.authenticator, Policy.parse(settings.restrict_modify), not settings.no_cors
            ),
            changelog_folder=storage.serverdir.layout.changelog,
            writer=self._writer,
            storage=UploadStorage(
                storage.blobs,
                offload,
                process.fail,
                settings.max_upload_size,
                settings.upload_checks,
                settings.anonymous_results,
            ),
            mirrors=role.mirrors,
            pusher=Pusher(self._make_client(connections=0, timeout=None), storage.blobs, os.urandom),
            replication=role.replication,
            search=SearchService(storage.serverdir.layout.search),
            ready=ReadyAnswers(PageCache(settings.page_cache_size)),
            connections=self._connections,
            clock=process.reactor,
            offload=offload,
            now=process.now,
            collector=self._collector,
            evictor=self._evictor,
            reach=None if role.cluster is None else role.cluster.listener.reach,
            delivery=None if storage.bucket is None else Delivery(settings.blob_delivery, storage.bucket.blobs.remote.presign),
            forwarder=forwarder,
            lenient_accept=settings.lenient_accept,
            theme=settings.theme,
            identities=Identities(self._make_client(connections=0, timeout=None), time.monotonic, time.time),
            json_index=settings.json_index or "",
            local_folders=settings.local_folders,
            metrics_from=settings.metrics_from,
            downloads=self.statistics.downloads,
            recorder=self.statistics.recorder,
            failures=self.statistics.failures,
            settings=configured_settings(settings),
            advisories=self.advisories,
        )

    def _watch(self, upstream: HTTPClient) -> None:
        """Add the figures and checks of everything to those of the site."""
        settings, storage, role, components = self._settings, self._storage, self.role, self.components
        health = ServerHealth(
            settings.serverdir,
            settings.disk_reserve,
            storage.changelog,
            self._writer,
            role.mirrors.pages if role.following is None else None,
            components.access.is_open,
            lambda: None if role.following is None else role.following.progress,
            self._process.reactor.seconds,
        )
        components.measuring += [self._connections.measures, health.measures, self._writer.measures]
        components.measuring.append(components.policies.refused.measures)
        components.measuring += [partial(upstream_measures, upstream), role.mirrors.files.measures, *role.measuring]
        components.measuring.append(self._readers.unrecorded.measures)
        components.measuring += self.advisories.measuring
        components.upstream_times = upstream.times
        components.measuring += [self.statistics.measures, self._evictor.measures]
        figures = Figures(components, storage.serverdir.layout.changelog)
        components.history = self.statistics.keep_history(figures.read, figures.measure)
        components.checking += [health.checks, *role.checking, *self.advisories.checking]
