"""What evicts cached files, made from the settings of a server."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from twistpi.changelog.writer import Writer
from twistpi.gc.collector import GarbageCollector
from twistpi.gc.evictor import Evictor
from twistpi.gc.garbage import SlowClock
from twistpi.rules.replication import BlobPolicy
from twistpi.server.budgets import free_bytes, server_budget
from twistpi.server.process import Process
from twistpi.server.roles import Role
from twistpi.server.settings import Settings
from twistpi.server.storage import Storage
from twistpi.view.read import Readers
from twistpi.web.components import MirrorServices


def make_evictor(
    settings: Settings,
    process: Process,
    storage: Storage,
    readers: Readers,
    writer: Writer,
    collector: GarbageCollector,
    role: Role,
) -> Evictor:
    """Return what keeps the caches of mirrors within their budgets."""
    is_replica = storage.serverdir.node.is_replica
    return Evictor(
        blobs=storage.blobs,
        readers=readers,
        writer=writer,
        collector=collector,
        clock=process.reactor,
        offload=process.offload,
        now=SlowClock(time.time, time.monotonic).now,
        budget=server_budget(settings),
        min_free=settings.min_free if storage.bucket is None else 0,  # the disk is a cache, which has a budget of its own
        free=lambda: free_bytes(settings.serverdir),
        unavailable=_unavailable(settings, readers, role.mirrors, is_replica=is_replica),
        is_replica=is_replica,
        leads=role.leads,
    )


def _unavailable(
    settings: Settings, readers: Readers, mirrors: MirrorServices, *, is_replica: bool
) -> Callable[[], Collection[str]]:
    """Return what names the indexes whose files cannot be fetched again now, or that a replica fetches in advance."""
    policy = BlobPolicy.parse(settings.replicate_files)

    def unavailable() -> Collection[str]:
        if not settings.offline and not is_replica:
            return mirrors.pages.failing()
        names = [index.name for index in readers.get().indexes()]
        return names if settings.offline else [name for name in names if policy.wants(name)]

    return unavailable
