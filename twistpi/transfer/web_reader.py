"""Pages and files of another server: redirects are followed, credentials stay with their origin, bodies come in pieces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from typing import BinaryIO, Final, cast

import attrs

from twistpi.http.blocking import BlockingClient, request_failed
from twistpi.http.errors import RequestFailed
from twistpi.http.urls import origin_of, quoted, resolve
from twistpi.model.errors import BadRequest
from twistpi.model.records import NOTHING
from twistpi.model.urls import without_credentials

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS: Final = 10


@attrs.frozen(eq=False)
class Answer:
    """What a server answered, with a body that is read in pieces."""

    status: int
    url: str
    """Where it came from, after redirects."""
    content_type: str
    serial: str
    """That of a devpi-server (``X-Devpi-Serial``); empty where it is not told."""
    _response: HTTPResponse

    def header(self, name: str) -> str:
        """Return the value of a header, empty without it."""
        return self._response.getheader(name) or ""

    def read(self, size: int = -1) -> bytes:
        """Return at most ``size`` bytes, none at the end.  Raise ``BadRequest`` when the body breaks off."""
        try:
            data = self._response.read(size if size >= 0 else None)
        except (OSError, HTTPException) as error:
            raise BadRequest(f"{without_credentials(self.url)} broke off: {request_failed(error).reason}") from error
        if not data and self._response.length:
            raise BadRequest(f"{without_credentials(self.url)} broke off, {self._response.length:,} bytes early")
        return data

    def read_all(self, limit: int) -> bytes:
        """Return the whole body; raise ``BadRequest`` when it has more than ``limit`` bytes."""
        pieces, size = [], 0
        while piece := self.read(1 << 16):
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                raise BadRequest(f"{without_credentials(self.url)} has more than {limit:,} bytes")
        return b"".join(pieces)


@attrs.frozen(eq=False)
class WebReader:
    """Reads from one server, and from where it redirects to.  In any thread."""

    _client: BlockingClient
    _origin: str
    """An address of the server that gets the credentials."""
    _credentials: Mapping[str, str] = attrs.field(default=NOTHING, repr=False)
    """Headers for that server alone."""

    @contextmanager
    def open(self, url: str, accept: str = "*/*") -> Iterator[Answer]:
        """Return the answer to a GET; raise ``BadRequest`` when there is none."""
        for _ in range(_MOST_REDIRECTS):
            headers = {"Accept": accept, "User-Agent": "twistpi", "Connection": "close"}
            try:
                if origin_of(url) == origin_of(self._origin):
                    headers |= self._credentials
                with self._client.stream(quoted(url), headers) as response:
                    location = response.getheader("Location")
                    if response.status not in _REDIRECTS or location is None:
                        kind, serial = (response.getheader(name) or "" for name in ("Content-Type", "X-Devpi-Serial"))
                        yield Answer(response.status, url, kind, serial, response)
                        return
                    url = resolve(url, location)
            except RequestFailed as failed:
                raise BadRequest(f"{without_credentials(url)} cannot be reached: {failed.reason}") from failed
            except ValueError as error:
                raise BadRequest(f"{without_credentials(url)} redirects to no address: {error}") from error
        raise BadRequest(f"{without_credentials(url)} redirects too often")

    def read(self, url: str, accept: str, limit: int) -> tuple[bytes, str, str]:
        """Return the body, its content type and its address; raise ``BadRequest`` for every status but 200."""
        with self.open(url, accept) as answer:
            if answer.status != 200:
                raise BadRequest(f"{without_credentials(url)} answered {answer.status}")
            return answer.read_all(limit), answer.content_type, answer.url

    @contextmanager
    def open_file(self, url: str) -> Iterator[BinaryIO]:
        """Return the bytes of a file; raise ``BadRequest`` for every status but 200."""
        with self.open(url) as answer:
            if answer.status != 200:
                raise BadRequest(f"{without_credentials(url)} answered {answer.status}")
            yield cast(BinaryIO, answer)
