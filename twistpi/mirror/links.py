"""Addresses of files at upstreams that are newer than those in the changelog.

What an upstream varies in the query of a link, such as a signature, is no news (law 5): the newest address is kept here, in
memory.  When an address is refused, the page that it stood on is requested once more: signatures expire, and files move.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import attrs
from twisted.logger import Logger

from twistpi.http.backoff import CircuitBreaker
from twistpi.http.client import HTTPClient, Response
from twistpi.http.errors import Cause, RequestFailed
from twistpi.http.single_flight import SingleFlight
from twistpi.mirror.page_source import read_page
from twistpi.mirror.upstream import UpstreamConfig, unusable_status
from twistpi.model.records import KnownFile, Link, ProjectPage
from twistpi.rules.mirrors import file_path

_REFUSALS: Final = frozenset({401, 403, 404, 410})
"""Statuses for which an upstream's page may have another address by now."""
_NOT_ALLOWED: Final = frozenset({401, 403})
_PAUSE: Final = 10.0
"""Seconds for which a page is not requested again because of a refused address."""
_MOST: Final = 50_000
"""Addresses that are remembered; those of the projects that were learned first leave first."""

Key = tuple[str, str, str]
"""Index, ``mirror_url`` and project."""


@attrs.define(eq=False)
class FileLinks:
    """The newest addresses of files, and requests to them."""

    _client: HTTPClient
    _timeout: float
    """Seconds until a page has to begin."""
    _newest: OrderedDict[Key, Mapping[str, str]] = attrs.field(factory=OrderedDict, init=False)
    """By path of the file; only what the changelog may not have."""
    _count: int = attrs.field(default=0, init=False)
    _asked: CircuitBreaker = attrs.field(factory=lambda: CircuitBreaker(_PAUSE), init=False)
    _later: CircuitBreaker = attrs.field(factory=lambda: CircuitBreaker(0.0), init=False)
    """Files that the upstream has no time for: by index, ``mirror_url`` and path."""
    _requests: SingleFlight[Key, None] = attrs.field(factory=SingleFlight, init=False)
    _log: Logger = attrs.field(init=False, factory=lambda: Logger("twistpi.mirror"))

    def learn(self, config: UpstreamConfig, page: ProjectPage) -> None:
        """Remember the addresses of a page that vary: those with a query."""
        self._remember(_key(config, page.project), (link for link in page.links if "?" in link.url))

    def newest(self, config: UpstreamConfig, project: str, known_file: KnownFile) -> str:
        """Return the newest known address of a file."""
        addresses = self._newest.get(_key(config, project))
        return known_file.link.url if addresses is None else addresses.get(known_file.path, known_file.link.url)

    async def get(
        self,
        config: UpstreamConfig,
        project: str,
        known_file: KnownFile,
        headers: Mapping[str, str],
        *,
        beside: Callable[[str], str] = lambda url: url,
        is_listed: bool = True,
    ) -> Response:
        """Request a file, or what lies ``beside`` its address; raise ``RequestFailed``, also for ``Retry-After``.

        For as long as that says, nothing more is requested of the file. When the upstream refuses the address, and its page has
        another one by now, that is requested instead; not when it may simply not have what no page lists.
        """
        refusals = _REFUSALS if is_listed else _NOT_ALLOWED
        file, clock = (config.index, config.mirror_url, known_file.path), self._client.clock
        if (wait := self._later.blocked(file, clock.seconds())) is not None:
            raise RequestFailed(wait.reason, Cause.UNUSABLE, wait.until - clock.seconds())
        url = self.newest(config, project, known_file)
        if "?" in url and not known_file.link.hashes and _key(config, project) not in self._newest:
            # Since this server started, no page came; and without a digest, the query may say which file it is.
            url = await self._renewed(config, project, known_file, url)
        response = await self._client.get(beside(url), headers=headers, credentials=config.credentials)
        if response.status in refusals and (newer := await self._renewed(config, project, known_file, url)) != url:
            response.discard()
            response = await self._client.get(beside(newer), headers=headers, credentials=config.credentials)
        if (later := unusable_status(response, clock.seconds())).retry_after is not None:
            response.discard()
            self._later.failed(file, clock.seconds(), clock.seconds(), later)
            raise later
        return response

    async def _renewed(self, config: UpstreamConfig, project: str, known_file: KnownFile, url: str) -> str:
        """Return the address that the upstream's page has now; the same when it has no other, or cannot be had just now."""
        newest = self.newest(config, project, known_file)
        if newest != url:
            return newest  # another request brought it meanwhile
        try:
            await self._requests.join(_key(config, project), lambda: self._ask(config, project))
        except RequestFailed as failed:
            text = "{index}: the newest addresses of {project} cannot be had: {reason}"
            self._log.info(text, index=config.index, project=project, reason=failed.reason)
        return self.newest(config, project, known_file)

    async def _ask(self, config: UpstreamConfig, project: str) -> None:
        key, now = _key(config, project), self._client.clock.seconds()
        if self._asked.blocked(key, now) is not None:
            return
        self._asked.failed(key, now, now, RequestFailed("it was requested just now"))
        page = await read_page(self._client, config, project, self._timeout)
        self._remember(key, page.links)
        self._log.info("{index}: the addresses of {project} were requested again", index=config.index, project=project)

    def _remember(self, key: Key, links: Iterable[Link]) -> None:
        self._count -= len(self._newest.pop(key, ()))
        addresses = {file_path(link): link.url for link in links}
        if addresses:
            self._newest[key] = addresses
            self._count += len(addresses)
        while self._count > _MOST and len(self._newest) > 1:
            self._count -= len(self._newest.popitem(last=False)[1])


def _key(config: UpstreamConfig, project: str) -> Key:
    return config.index, config.mirror_url, project
