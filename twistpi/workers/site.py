"""What the site of a worker is built from: it has what is here, and leaves passwords and everything else to the first process."""

from __future__ import annotations

import os
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any, Final

import attrs
import orjson

from twistpi import __version__
from twistpi.advisories.service import Advisories
from twistpi.advisories.store import AdvisoryStore
from twistpi.blobs.tree import Tree
from twistpi.http.agent import unix_agent
from twistpi.http.client import HTTPClient
from twistpi.http.errors import RequestFailed
from twistpi.mirror.core_metadata import MetadataService
from twistpi.mirror.files import FileService
from twistpi.mirror.local_only import LocalOnly
from twistpi.mirror.pages import PageService
from twistpi.model.errors import AskFirst
from twistpi.rules.permissions import Policy
from twistpi.search.service import SearchService
from twistpi.server.authentication import login_tokens
from twistpi.server.directory import Layout
from twistpi.server.process import IServerReactor, connections_for, raise_descriptor_limit, thread_pool_of
from twistpi.statistics.database import StatisticsFile
from twistpi.statistics.downloads import Downloads
from twistpi.statistics.tally import Tally
from twistpi.view.page_cache import PageCache
from twistpi.view.read import Readers
from twistpi.web.access import Access
from twistpi.web.addresses import Addresses
from twistpi.web.authentication import Authenticator, PasswordQueue
from twistpi.web.commits import UploadStorage
from twistpi.web.components import Components, MirrorServices
from twistpi.web.fast.ready import ReadyAnswers
from twistpi.web.forwarding.forwarder import Forwarder
from twistpi.web.forwarding.headers import HEADER, PassedOn
from twistpi.web.forwarding.peers import first_process_backend
from twistpi.web.paths import worker_answers
from twistpi.web.serials import leave_to_first
from twistpi.web.transport.connections import Connections
from twistpi.workers.control_channel import WorkerConfig

_FORWARD_TIMEOUT: Final = 900.0
"""Seconds in which the first process may be silent: it knows itself how long its upstreams may be."""
_IDLE_CONNECTIONS: Final = 64
"""Unused connections to the first process that are kept."""
_IDLE_TIMEOUT: Final = 20.0
"""Seconds; well before the first process would close them."""
_WHOSE_LOGIN: Final = "http://localhost/+api"
"""Its answer names the user whose login came with the request."""
_LONGEST_ANSWER: Final = 64 * 1024


@attrs.frozen
class FirstProcess:
    """Has the first process verify passwords: it counts the wrong ones, and has clients that send such wait."""

    _client: HTTPClient
    """Leads to its socket."""

    async def is_right(self, name: str, password: str, address: str, *, local: bool) -> bool:
        """See ``PasswordCheck``.  ``AskFirst``: there is no plain answer, so the whole request goes to the first process."""
        client = PassedOn("http://localhost", address, local)
        credentials = b64encode(f"{name}:{password}".encode()).decode("ascii")
        headers = {"Authorization": f"Basic {credentials}", HEADER: client.text, "Accept": "application/json"}
        try:
            response = await self._client.get(_WHOSE_LOGIN, headers=headers)
            status = orjson.loads(await response.read(_LONGEST_ANSWER))["result"]["authstatus"]
        except (RequestFailed, ValueError, LookupError, TypeError) as error:  # such as of a server that has too much to do
            raise AskFirst from error
        return bool(status[:2] == ["ok", name])


def make_components(config: WorkerConfig, reactor: IServerReactor) -> Components:
    """Return what the site of a worker is built from."""
    settings, offload = config.settings, thread_pool_of(reactor)
    readers, blobs = Readers(Layout(settings.serverdir).view), Tree(settings.serverdir)
    addresses = Addresses(settings.trusted_proxy, settings.outside_url or "", settings.absolute_urls)
    agent = unix_agent(reactor, config.first_process, connections=_IDLE_CONNECTIONS, idle=_IDLE_TIMEOUT)
    first_process = FirstProcess(HTTPClient(agent, reactor, offload, reactor.callFromThread, timeout=_FORWARD_TIMEOUT))
    authenticator = Authenticator(
        readers,
        login_tokens(settings),
        PasswordQueue(offload),
        reactor,
        os.urandom,
        settings.bcrypt_cost,
        addresses,
        first_process,
    )
    nobody: Any = None  # changes are forwarded
    source = LocalOnly()
    pages = PageService(source, readers, reactor, cache_expiry=settings.mirror_cache_expiry, offline=config.offline)
    files, metadata = FileService(source, blobs, offload), MetadataService(source, blobs, offload)
    advisories = AdvisoryStore(Layout(settings.serverdir).advisories)
    advisories.open()
    limit = settings.max_connections or connections_for(raise_descriptor_limit()) * config.workers
    return Components(
        node=config.node,
        software=f"twistpi/{__version__}",
        addresses=addresses,
        access=Access(readers, authenticator, Policy.parse(settings.restrict_modify), not settings.no_cors),
        changelog_folder=Layout(settings.serverdir).changelog,
        writer=nobody,
        storage=UploadStorage(blobs, offload, nobody, settings.max_upload_size),
        mirrors=MirrorServices(pages, files, metadata, source, files, config.offline, settings.mirror_cache_expiry),
        pusher=nobody,
        search=SearchService(Layout(settings.serverdir).search),
        ready=ReadyAnswers(PageCache(settings.page_cache_size)),
        connections=Connections(reactor, -(-limit // config.workers)),
        clock=reactor,
        offload=offload,
        now=lambda: datetime.now(UTC),
        forwarder=Forwarder(first_process_backend(agent), addresses, reactor, worker_answers, patience=_FORWARD_TIMEOUT),
        reach=None if settings.changelog is None else leave_to_first,
        lenient_accept=settings.lenient_accept,
        theme=settings.theme,
        json_index=settings.json_index or "",
        advisories=Advisories(advisories),
        downloads=Downloads(
            StatisticsFile(Layout(settings.serverdir).statistics),
            lambda: datetime.now(UTC),
            None if settings.no_downloads else Tally(),
        ),
    )
