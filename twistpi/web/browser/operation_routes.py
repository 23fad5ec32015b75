"""The routes about the server itself: its status, monitoring, downloads, promotion, and what is removed from its disk."""

from __future__ import annotations

from collections.abc import Iterator

from twistpi.web.browser.audit_page import AuditPage
from twistpi.web.browser.forms import Forms
from twistpi.web.browser.frame import Frames
from twistpi.web.browser.garbage_page import GarbagePage
from twistpi.web.browser.policy_page import PolicyPage
from twistpi.web.browser.rendering import Renderer
from twistpi.web.browser.routing import Route, for_forms, for_people
from twistpi.web.browser.status_page import StatusPage
from twistpi.web.browser.uses_page import UsesPage
from twistpi.web.components import Components
from twistpi.web.handlers.advisories import AdvisoriesHandler
from twistpi.web.handlers.downloads import DownloadsHandler
from twistpi.web.handlers.operations import (
    CompactionHandler,
    EvictionHandler,
    GarbageHandler,
    HealthHandler,
    MetricsHandler,
    PromoteHandler,
)
from twistpi.web.handlers.search import SearchQueue
from twistpi.web.handlers.status import StatusHandler

_INDEX = "/<name:user>/<name:index>"


def operation_routes(parts: Components, frames: Frames, renderer: Renderer) -> Iterator[Route]:
    """Return the routes for which ``parts`` has what they need."""
    access, addresses, responder, node, ready = parts.access, parts.addresses, parts.responder, parts.node, parts.ready
    software, traffic, near = parts.software, parts.traffic, parts.metrics_from
    health = HealthHandler(parts.checking)
    known, checking = parts.advisories, parts.checking
    status = StatusHandler(access, responder, addresses, node, software, parts.replication, ready, known, checking)
    metrics = MetricsHandler(access, addresses, near, node, software, traffic, ready, responder, parts.measuring)
    downloads = DownloadsHandler(access, parts.downloads, parts.offload, parts.recorder)
    yield "/+status", ["GET"], for_people(StatusPage(parts, frames, renderer).show, status.status)
    policy = PolicyPage(access, frames, renderer, parts.policies.refused)
    yield "/+policy", ["GET"], for_people(policy.show, policy.facts)
    uses = UsesPage(access, frames, renderer, parts.downloads, SearchQueue(parts.offload), parts.recorder)
    yield "/+uses", ["GET"], for_people(uses.show, uses.facts)
    audit = AuditPage(access, frames, renderer, parts.advisories.store, parts.downloads, parts.offload, parts.clock.seconds)
    yield "/+audit", ["GET"], for_people(audit.show, audit.facts)
    yield "/+health", ["GET"], health.health
    yield "/+ready", ["GET"], health.ready
    yield "/+metrics", ["GET"], metrics.metrics
    yield "/+downloads", ["GET"], downloads.of_server
    yield f"{_INDEX}/+downloads", ["GET"], downloads.of_index
    yield f"{_INDEX}/<name:project>/+downloads", ["GET"], downloads.of_project
    if parts.advisories.loader is not None:
        advisories = AdvisoriesHandler(access, parts.advisories)
        yield "/+advisories", ["GET"], advisories.show
        yield "/+advisories", ["POST"], advisories.refresh
    if parts.collector is not None:
        garbage = GarbageHandler(access, parts.collector)
        page = GarbagePage(access, Forms(access, addresses, frames), renderer, parts.collector)
        yield "/+gc", ["GET"], for_people(page.show, garbage.show)
        yield "/+gc", ["POST"], for_forms(page.collect, garbage.collect)
    if parts.evictor is not None:
        eviction = EvictionHandler(access, parts.evictor)
        yield "/+evict", ["GET"], eviction.show
        yield "/+evict", ["POST"], eviction.evict
    if parts.replication.compactor is not None:
        yield "/+compact", ["POST"], CompactionHandler(access, parts.replication.compactor).compact
    if parts.replication.promoting is not None:
        promote = PromoteHandler(access, parts.replication.promoting)
        yield "/+promote", ["GET"], promote.show
        yield "/+promote", ["POST"], promote.promote
