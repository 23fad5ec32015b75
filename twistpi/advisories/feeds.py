"""Where advisories come from: a web address, or a file or folder on this server's disk.

A feed of the Open Source Vulnerability database is a zip of all records (``…/all.zip``).  Beside it lies a list of the newest
ones (``modified_id.csv``: a time and an id on each line, the newest first), and each record (``ID.json``); with these what
changed in the last minutes is known without fetching everything.

Source: "OSV data sources" (https://google.github.io/osv.dev/data/).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Final, Protocol
from urllib.parse import quote, urljoin, urlsplit

import attrs
import orjson

from twistpi.advisories.feed_files import moment
from twistpi.blobs.incoming import IncomingFile
from twistpi.http.client import HTTPClient, Response
from twistpi.http.conditional import conditions
from twistpi.http.errors import RequestFailed
from twistpi.http.offload import Offload
from twistpi.model.errors import TwistpiError
from twistpi.model.records import Json
from twistpi.model.urls import FOLDER, path_of, without_credentials

_LARGEST_DOWNLOAD: Final = 1024 * 1024 * 1024
"""Bytes."""
_LARGEST_RECORD: Final = 8 * 1024 * 1024
_LIST_BYTES: Final = 256 * 1024
"""Bytes of the list of the newest records that are looked at."""
_MOST_FETCHED: Final = 300
"""Records that are fetched one by one; if more changed, the whole feed is fetched."""
_LIST: Final = "modified_id.csv"


@attrs.frozen
class Validators:
    """What a feed sent last time, by which it can tell whether it changed since."""

    etag: str | None = None
    last_modified: str | None = None


@attrs.frozen
class Fetched:
    """A feed that was fetched."""

    path: str
    """Of the file or folder with the records."""
    validators: Validators


class Feed(Protocol):
    """Where advisories come from.  The methods raise ``TwistpiError`` when that cannot be read."""

    @property
    def name(self) -> str:
        """The address or path, without credentials."""

    async def fetch(self, former: Validators, into: IncomingFile) -> Fetched | None:
        """Return the records, perhaps in the file ``into``; None when nothing changed since ``former``."""

    async def changed_since(self, modified: str, former: Validators) -> Sequence[Json] | None:
        """Return the records that changed after ``modified`` (see ``feed_files.moment``); None when everything has to be fetched.

        Where that cannot be found out cheaply, return an empty sequence.
        """


def make_feed(source: str, client: HTTPClient, offload: Offload) -> Feed:
    """Return the feed at a web address, a path or a ``file:`` address."""
    if source.startswith(("http://", "https://")):
        return HTTPFeed(source, client)
    return LocalFeed(path_of(source) if source.startswith(FOLDER) else source, offload)


@attrs.define(eq=False)
class HTTPFeed:
    """A feed on a web server."""

    _url: str
    """May have a user and a password, which are sent to its own host only."""
    _client: HTTPClient
    most_bytes: int = _LARGEST_DOWNLOAD
    """Of all records, as they are sent."""
    _has_list: bool = attrs.field(init=False)
    """Whether there may be a list of the newest records beside it."""

    @_has_list.default
    def _begin(self) -> bool:
        return urlsplit(self._url).path.endswith(".zip")

    @property
    def name(self) -> str:
        """See ``Feed``."""
        return without_credentials(self._url).partition("?")[0]

    async def fetch(self, former: Validators, into: IncomingFile) -> Fetched | None:
        """See ``Feed``."""
        response = await self._get(self._url, former)
        if response.status == 304:
            response.discard()
            return None

        def write(pieces: list[bytes]) -> None:
            for piece in pieces:
                into.write(piece)
            if into.size > self.most_bytes:
                raise TwistpiError(f"The feed of advisories {self.name} has more than {self.most_bytes:,} bytes.")

        try:
            await response.write_to(write)
        except RequestFailed as failure:
            raise self._failed(failure) from failure
        return Fetched(into.path, Validators(response.header("ETag"), response.header("Last-Modified")))

    async def changed_since(self, modified: str, former: Validators) -> Sequence[Json] | None:
        """See ``Feed``."""
        if not self._has_list:
            return ()
        try:
            response = await self._client.get(urljoin(self._url, _LIST))
            if response.status != 200:
                self._has_list = response.status not in (403, 404, 410)
                response.discard()
                return ()
            content = await response.beginning(_LIST_BYTES)
            names = list(newer(content.decode("utf-8", "replace"), modified))
            if len(names) > _MOST_FETCHED or (names and len(content) >= _LIST_BYTES):
                return None
            return [await self._record(name) for name in names]
        except RequestFailed as failure:
            raise self._failed(failure) from failure

    async def _record(self, name: str) -> Json:
        response = await self._get(urljoin(self._url, f"{quote(name)}.json"), Validators())
        try:
            record = orjson.loads(await response.read(_LARGEST_RECORD))
        except orjson.JSONDecodeError as error:
            raise TwistpiError(f"The feed of advisories {self.name} has no JSON as {name}.json: {error}.") from error
        if not isinstance(record, dict) or record.get("id") != name:
            raise TwistpiError(f"The feed of advisories {self.name} has another record as {name}.json.")
        return record

    async def _get(self, url: str, former: Validators) -> Response:
        try:
            response = await self._client.get(url, headers=conditions(former.etag, former.last_modified))
        except RequestFailed as failure:
            raise self._failed(failure) from failure
        if response.status not in (200, 304):
            response.discard()
            raise TwistpiError(f"The feed of advisories {self.name} answered {response.status} {response.phrase}.")
        return response

    def _failed(self, failure: RequestFailed) -> TwistpiError:
        return TwistpiError(f"The feed of advisories {self.name} cannot be read: {failure.reason}.")


def newer(text: str, modified: str) -> Iterator[str]:
    """Yield the ids in a list of the newest records that changed after ``modified``; lines of another form are passed over."""
    for line in text.splitlines()[: _MOST_FETCHED + 1]:
        time, comma, name = line.partition(",")
        at = moment(time.strip())
        if at and at <= modified:
            return
        if at and comma and name.strip() and "/" not in name:
            yield name.strip()


@attrs.define(eq=False)
class LocalFeed:
    """A feed on this server's disk: a zip, a file or a folder."""

    name: str
    """Its path."""
    _offload: Offload

    async def fetch(self, former: Validators, into: IncomingFile) -> Fetched | None:
        """See ``Feed``."""
        validators = await self._offload(self._validators)
        return None if validators == former else Fetched(self.name, validators)

    async def changed_since(self, modified: str, former: Validators) -> Sequence[Json] | None:
        """See ``Feed``."""
        return () if await self._offload(self._validators) == former else None

    def _validators(self) -> Validators:
        """Return validators that change when any of the files changes; blocking."""
        try:
            newest, size, count = _extent(self.name)
        except OSError as error:
            text = f"The feed of advisories {self.name} cannot be read: {error.strerror or error}."
            raise TwistpiError(text) from error
        return Validators(f"{newest}-{size}-{count}")


def _extent(path: str) -> tuple[int, int, int]:
    """Return when the newest file at ``path`` was changed (nanoseconds), the bytes of all, and how many there are."""
    found = os.stat(path)
    newest, size, count = found.st_mtime_ns, found.st_size, 1
    if not os.path.isdir(path):
        return newest, size, count
    for folder, _folders, names in os.walk(path):
        for name in names:
            one = os.lstat(os.path.join(folder, name))
            newest, size, count = max(newest, one.st_mtime_ns), size + one.st_size, count + 1
    return newest, size, count
