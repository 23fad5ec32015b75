"""Cached files that are ready to be sent, and the heads of responses with files."""

from __future__ import annotations

import attrs

from twistpi.statistics.tally import CountedFile
from twistpi.web.replies import DefaultHeaders, Headers, head_bytes

IMMUTABLE = (b"Cache-Control", b"max-age=365000000, immutable, public")
_PRIVATE_FILE = (b"Cache-Control", b"max-age=365000000, immutable, private")
CREDENTIALS = b"Authorization, X-Devpi-Auth, Cookie"
"""The request headers on which responses depend that are not open to everybody."""


@attrs.define(eq=False)
class ReadyFile:
    """A file that is complete on disk, a distribution or its metadata, of an index that everybody may read."""

    path: str
    """Where its bytes are."""
    size: int
    etag: str
    content_type: bytes
    last_modified: str | None
    owner: tuple[str, str]
    """Index and project; whatever changes there makes this be looked up again."""
    content: bytes | None = None
    """The bytes, of small files only."""
    counted: CountedFile | None = None
    """The distribution that it is; None for what is not counted as a download."""
    is_shared: bool = True
    """Whether pages of other sites may read it."""
    _version: int = -1
    _full: bytes = b""
    _unchanged: bytes = b""

    def ready(self, defaults: DefaultHeaders, now: float) -> tuple[bytes, bytes, bool]:
        """Return the bytes of the 200 and the 304, and whether the former includes the body."""
        default_headers = defaults.at(now)
        if self._version != defaults.version:
            self._version = defaults.version
            validators = file_validators(self.etag, self.last_modified)
            headers = file_headers(self.content_type, self.size, validators, b"twistpi; hit")
            last = defaults.cross_origin if self.is_shared else ()
            self._full = head_bytes(200, (*default_headers, *headers, *last)) + (self.content or b"")
            self._unchanged = head_bytes(304, (*default_headers, *validators, *last))
        return self._full, self._unchanged, self.content is not None


def file_validators(etag: str | None, last_modified: str | None, *, private: bool = False) -> Headers:
    """Return the validators of a file and how long it may be cached; a file never changes under its URL.

    A ``private`` one may be cached by the caller alone, for the credentials of the request.
    """
    headers: Headers = (_PRIVATE_FILE, (b"Vary", CREDENTIALS)) if private else (IMMUTABLE,)
    if last_modified is not None:
        headers = ((b"Last-Modified", last_modified.encode("ascii")), *headers)
    if etag is not None:
        headers = ((b"ETag", etag.encode("ascii")), *headers)
    return headers


def file_headers(content_type: bytes, length: int | None, validators: Headers, cache_status: bytes) -> Headers:
    """Return the headers of a file; ``length`` is None while it is not known, and ranges are then not offered."""
    length_headers: Headers = ()
    if length is not None:
        length_headers = ((b"Content-Length", b"%d" % length), (b"Accept-Ranges", b"bytes"))
    return ((b"Content-Type", content_type), *length_headers, *validators, (b"Cache-Status", cache_status))
