"""What keeps advisories up to date, made from the settings of a server."""

from __future__ import annotations

from twistpi.advisories.feeds import make_feed
from twistpi.advisories.loader import AdvisoryLoader
from twistpi.advisories.refresh import AdvisoryRefresh
from twistpi.advisories.service import Advisories
from twistpi.advisories.store import AdvisoryStore
from twistpi.changelog.writer import Writer
from twistpi.http.client import HTTPClient
from twistpi.server.process import Process
from twistpi.server.roles import Role
from twistpi.server.settings import Settings
from twistpi.server.storage import Storage
from twistpi.view.read import Readers


def make_advisories(
    settings: Settings,
    process: Process,
    storage: Storage,
    readers: Readers,
    writer: Writer,
    role: Role,
    client: HTTPClient,
) -> Advisories:
    """Return what keeps the advisories of a server up to date."""
    reactor, layout = process.reactor, storage.serverdir.layout
    files = role.mirrors.blobs
    loader = AdvisoryLoader(
        AdvisoryStore(layout.advisories),
        readers,
        storage.blobs,
        reactor,
        process.offload,
        reactor.callFromThread,
        None if files is None else files.bring,
    )
    node, is_silent = storage.serverdir.node, settings.offline and "://" in (settings.advisories or "")
    if settings.advisories is None or node.is_replica or node.fence is not None or is_silent:
        return Advisories(loader.store, loader)
    refresh = AdvisoryRefresh(
        make_feed(settings.advisories, client, process.offload),
        storage.blobs,
        readers,
        writer,
        reactor,
        process.offload,
        state_path=layout.advisory_feed,
        leads=role.leads,
        fail=process.fail,
    )
    return Advisories(loader.store, loader, refresh)
