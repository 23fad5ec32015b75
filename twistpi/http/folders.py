"""Folders on this server's disk, answered as a web server answers: a listing, and files with conditions and ranges.

So whatever asks an upstream asks a folder in the same way, and what it gets is checked, streamed and kept in the same way.
Nothing but ``file:`` addresses below the folders that the administrator named is read, and no link that leaves its folder is
followed.  The disk is read in threads, 64 KiB at a time; a listing has at most 64 MiB.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email.utils import formatdate
from html import escape
from typing import BinaryIO, Final, cast
from urllib.parse import quote

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, ITransport
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from twistpi.http.body import BODY_DONE
from twistpi.http.conditional import Unsatisfiable, if_range_holds, parse_range, parse_tags, tags_match
from twistpi.http.errors import Cause, RequestFailed, too_large
from twistpi.http.offload import Offload
from twistpi.model.names import project_of_filename
from twistpi.model.urls import is_within, path_of

_PIECE: Final = 64 * 1024
_LARGEST_LISTING: Final = 64 * 1024 * 1024
_START: Final = "<!DOCTYPE html>\n<html><head><title>Index of a folder</title></head><body>\n"


@implementer(IResponse)
class FolderResponse:
    """A response from a disk; also the transport of its body."""

    def __init__(self, code: int, headers: dict[str, str], body: BinaryIO, length: int, offload: Offload) -> None:
        """``length`` bytes of ``body`` are sent, from where it stands."""
        self.version, self.code, self.phrase = (b"HTTP", 1, 1), code, b""
        self.headers = Headers({name.encode(): [value.encode()] for name, value in headers.items()})
        self.length = length
        self.request = self.previousResponse = None
        self._body, self._left, self._offload = body, length, offload
        self._reader: IProtocol | None = None
        self._is_held = self._is_reading = False

    def setPreviousResponse(self, response: IResponse) -> None:
        """See ``IResponse``: there are no redirects."""

    def deliverBody(self, protocol: IProtocol) -> None:
        """Send the body to ``protocol``, once; see ``IResponse``."""
        self._reader = protocol
        protocol.makeConnection(cast(ITransport, self))
        self._go_on()

    def pauseProducing(self) -> None:
        """Read no further piece."""
        self._is_held = True

    def resumeProducing(self) -> None:
        """Go on after ``pauseProducing``."""
        self._is_held = False
        self._go_on()

    def abortConnection(self) -> None:
        """Stop, as the next two; without effect after the end of the body."""
        self._reader = None
        if not self._is_reading:
            self._body.close()

    def loseConnection(self) -> None:
        """Do the same."""
        self.abortConnection()

    def stopProducing(self) -> None:
        """Do the same."""
        self.abortConnection()

    def _go_on(self) -> None:
        if self._reader is not None and not self._is_held and not self._is_reading:
            self._is_reading = True
            self._offload(self._body.read, min(_PIECE, self._left)).addBoth(self._came)

    def _came(self, piece: bytes | Failure) -> None:
        self._is_reading = False
        reader = self._reader
        if reader is None:
            self._body.close()
        elif isinstance(piece, Failure) or not piece:
            self.abortConnection()
            reader.connectionLost(piece if isinstance(piece, Failure) else BODY_DONE)
        else:
            self._left -= len(piece)
            reader.dataReceived(piece)
            self._go_on()


@implementer(IAgent)
@attrs.frozen(eq=False)
class Folders:
    """Answers requests for ``file:`` addresses."""

    _allowed: Sequence[str]
    """Folders that may be read, with all below them: absolute paths."""
    _offload: Offload

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[IResponse]:
        """Answer a GET request; fail with ``RequestFailed`` when the folder cannot be read."""
        return self._offload(self._answer, uri.decode("ascii"), headers or Headers())

    def _answer(self, url: str, headers: Headers) -> IResponse:
        """Blocking."""
        try:
            path = path_of(url)
        except ValueError as error:
            raise RequestFailed(str(error), Cause.UNUSABLE) from error
        is_listing = url.endswith("/")
        folder = os.path.realpath(path if is_listing else os.path.dirname(path))
        if not is_within(folder, map(os.path.realpath, self._allowed)):
            raise RequestFailed("it is no folder that this server may read: see the setting local-folders", Cause.FORBIDDEN)
        try:
            if is_listing:
                return self._list(folder, headers)
            os.stat(folder)
        except OSError as error:
            raise RequestFailed(f"its folder cannot be read: {error.strerror}", Cause.CONNECT) from error
        try:
            return self._open(os.path.realpath(os.path.join(folder, os.path.basename(path))), folder, headers)
        except FileNotFoundError:
            return self._response(404)
        except OSError as error:
            raise RequestFailed(f"the file cannot be read: {error.strerror}", Cause.UNUSABLE) from error

    def _list(self, folder: str, headers: Headers) -> IResponse:
        pieces, size = [_START], 0
        for piece in _entries(folder):
            pieces.append(piece)
            size += len(piece)
            if size > _LARGEST_LISTING:
                raise too_large(_LARGEST_LISTING)
        body = "".join((*pieces, "</body></html>\n")).encode()
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        if tags_match(parse_tags(_header(headers, "If-None-Match")), etag):
            return self._response(304, {"ETag": etag})
        return self._response(200, {"ETag": etag, "Content-Type": "text/html; charset=utf-8"}, io.BytesIO(body), len(body))

    def _open(self, path: str, folder: str, headers: Headers) -> IResponse:
        if not is_within(path, [folder]):
            raise FileNotFoundError(path)  # a link that leaves the folder; none is listed
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        file = os.fdopen(descriptor, "rb", 0)
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            file.close()
            raise FileNotFoundError(path)
        modified, size = formatdate(facts.st_mtime, usegmt=True), facts.st_size
        given = {"ETag": f'"{facts.st_mtime_ns:x}-{size:x}"', "Last-Modified": modified}
        condition = _header(headers, "If-Range")
        holds = not condition or if_range_holds(condition, given["ETag"], modified)
        span = parse_range(_header(headers, "Range"), size) if holds else None
        if isinstance(span, Unsatisfiable):
            file.close()
            return self._response(416, {"Content-Range": f"bytes */{size}"})
        if span is None:
            return self._response(200, given, file, size)
        file.seek(span.start)
        given["Content-Range"] = f"bytes {span.start}-{span.end - 1}/{size}"
        return self._response(206, given, file, span.end - span.start)

    def _response(
        self, code: int, headers: dict[str, str] | None = None, body: BinaryIO | None = None, length: int = 0
    ) -> IResponse:
        fields = {"Content-Length": str(length), **(headers or {})}
        return cast(IResponse, FolderResponse(code, fields, body or io.BytesIO(), length, self._offload))


def _header(headers: Headers, name: str) -> str:
    return (headers.getRawHeaders(name) or [""])[0]


def _entries(folder: str) -> Iterator[str]:
    """Yield the line of each distribution in a folder, with its size and the time when it was last changed.  Blocking."""
    with os.scandir(folder) as entries:
        found = sorted((entry for entry in entries if project_of_filename(entry.name) is not None), key=lambda entry: entry.name)
    for entry in found:
        if not entry.name.isprintable() or not entry.is_file():
            continue
        if entry.is_symlink() and not is_within(os.path.realpath(entry.path), [folder]):
            continue
        facts, name = entry.stat(), entry.name
        yield f'<a href="{quote(name)}" data-size="{facts.st_size}"{_upload_time(facts.st_mtime)}>{escape(name)}</a><br>\n'


def _upload_time(mtime: float) -> str:
    try:
        return f' data-upload-time="{datetime.fromtimestamp(mtime, UTC).replace(tzinfo=None).isoformat()}Z"'
    except (ValueError, OverflowError):  # a disk may say anything
        return ""
