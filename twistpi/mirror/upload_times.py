"""Upload times of files whose upstream tells none, for policies that hold young files back.

An upstream that serves HTML says of no file when it was uploaded.  The file itself does: its ``Last-Modified`` (RFC 9110, section
8.8.2) is asked for with a HEAD request.  Where there is none, the file counts as uploaded when this server first saw it.  What is
found goes into the changelog with the link, so that replicas and later refreshes of the page know it as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import attrs
from twisted.internet.defer import DeferredSemaphore
from twisted.logger import Logger

from twistpi.http.client import HTTPClient
from twistpi.http.errors import RequestFailed
from twistpi.mirror.upstream import UpstreamConfig
from twistpi.model.records import Link, ProjectPage
from twistpi.rules.file_policy import MIN_RELEASE_AGE
from twistpi.rules.inheritance import resolution_order
from twistpi.view.read import Reader, Readers

_AT_ONCE: Final = 32
"""HEAD requests for one page."""
_log = Logger()


@attrs.define(eq=False)
class UploadTimes:
    """Finds the upload times that a policy needs."""

    _client: HTTPClient
    _readers: Readers
    _timeout: float
    """Seconds until a response has to begin."""

    async def complete(self, config: UpstreamConfig, page: ProjectPage) -> ProjectPage:
        """Return ``page``, whose files have times as far as a policy needs them and they can be found."""
        if all(link.upload_time for link in page.links):
            return page
        reader = self._readers.get()
        if not holds_young_files(reader, config.index):
            return page
        known = reader.project(config.index, page.project)
        timed = {file.link.url.partition("?")[0] for file in known.files if file.link.upload_time} if known else set()
        unknown = [link for link in page.links if not link.upload_time and link.url.partition("?")[0] not in timed]
        times = await self._ask_all(config, unknown)
        if len(times) < len(unknown):
            text = "{index}: of {missing} files of {project} it is not known when they were uploaded; they are asked again"
            _log.warn(text, index=config.index, missing=len(unknown) - len(times), project=page.project)
        return attrs.evolve(page, links=tuple(_with_time(link, times) for link in page.links))

    async def _ask_all(self, config: UpstreamConfig, links: list[Link]) -> Mapping[str, str]:
        """Return the times of those ``links`` that answer, by file name."""
        turn, found = DeferredSemaphore(_AT_ONCE), {}
        asked = [turn.run(self._ask, config, link) for link in links]
        for link, asking in zip(links, asked, strict=True):
            if (time := await asking) is not None:
                found[link.filename] = time
        return found

    async def _ask(self, config: UpstreamConfig, link: Link) -> str | None:
        """Return when a file was uploaded; None when its server cannot tell now."""
        try:
            response = await self._client.request("HEAD", link.url, credentials=config.credentials, timeout=self._timeout)
        except RequestFailed:
            return None
        response.discard()
        if response.status >= 500 or response.status == 429:
            return None
        now = datetime.fromtimestamp(self._client.clock.seconds(), UTC)
        return _text(upload_moment(response.header("Last-Modified") if response.status == 200 else None, now))


def lacks_times(reader: Reader, mirror: str, project: str) -> bool:
    """Return whether a policy needs upload times of files of ``project`` that the view does not have."""
    return holds_young_files(reader, mirror) and reader.lacks_upload_times(mirror, project)


def holds_young_files(reader: Reader, mirror: str) -> bool:
    """Return whether the index ``mirror``, or one that inherits from it, has a policy about the age of files."""
    for index in reader.indexes_with_setting(MIN_RELEASE_AGE):
        if index.config.get(MIN_RELEASE_AGE) and any(one.name == mirror for one in resolution_order(index, reader.index)):
            return True
    return False


def upload_moment(last_modified: str | None, now: datetime) -> datetime:
    """Return the moment that a ``Last-Modified`` names; ``now`` where there is none, or one that cannot be."""
    try:
        moment = parsedate_to_datetime(last_modified or "")
    except ValueError:
        return now
    if moment.tzinfo is None:
        return now
    return min(moment.astimezone(UTC), now)


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _with_time(link: Link, times: Mapping[str, str]) -> Link:
    if link.upload_time or link.filename not in times:
        return link
    return attrs.evolve(link, upload_time=times[link.filename])
