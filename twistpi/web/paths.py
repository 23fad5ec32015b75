"""What the first lines of a request say: its host, and its path, whose segments may be such that no route sees them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

from twistpi.model.errors import TwistpiError

_LONGEST_PATH: Final = 2048
"""Bytes; the longest honest one has a user, an index, a digest and a file name of 255 bytes, each byte in three."""
READS: Final = frozenset({b"GET", b"HEAD", b"OPTIONS"})
"""The methods that change nothing."""
_SLASHES: Final = re.compile(rb"/{2,}")
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._\-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?", re.ASCII)
_OF_EACH_SERVER: Final = frozenset(
    b"+status +health +ready +metrics +advisories +gc +evict +compact +promote +resync".split()
    + b"+attempts +changelog +snapshot +blob +blobs +relay +peer +fence".split()
)
"""Routes that are about one server and its disk, or for other servers."""
_QUESTIONS: Final = frozenset({b"+api", b"+authcheck", b"+straight"})
"""Routes that change nothing, whatever the method."""
_SEARCH: Final = frozenset(b"+search +search.json +searchhelp".split())
"""Routes that only read what every process reads."""


def is_host(text: str) -> bool:
    """Return whether ``text`` is a host name or an IP address, with or without a port."""
    return _HOST.fullmatch(text) is not None


def check_head(version: bytes, target: bytes, hosts: Sequence[bytes]) -> None:
    """Refuse a request line, or ``Host`` headers, that leave open what is requested; raise ``TwistpiError``."""
    if b"#" in target:
        raise TwistpiError("The address contains a '#', which is never sent to a server; in a name it is %23.", 400)
    if not target.startswith(b"/") and target != b"*":
        raise TwistpiError("The address does not begin with a slash; this server is no proxy.", 400)
    if len(hosts) > 1:
        raise TwistpiError("The request has more than one Host header.", 400)
    if not hosts and version == b"HTTP/1.1":
        raise TwistpiError("The request has no Host header.", 400)
    if hosts and not is_host(hosts[0].decode("latin-1")):
        raise TwistpiError("The Host header of the request is no host name.", 400)


def check_path(path: bytes, segments: Sequence[bytes]) -> None:
    """Refuse a ``path``, decoded into ``segments``, that is too long, ambiguous or not UTF-8; raise ``TwistpiError``."""
    if len(path) > _LONGEST_PATH:
        raise TwistpiError(f"The path has {len(path)} bytes; no more than {_LONGEST_PATH} are looked at.", 414)
    for segment in segments:
        # An encoded slash must never become a separator (or a file name a path).
        if b"/" in segment or b"\\" in segment or segment in (b".", b".."):
            raise TwistpiError("There is nothing at a path with such a part.", 404)
        if any(byte < 32 or byte == 127 for byte in segment):
            raise TwistpiError("The path contains a control character.", 400)
        try:
            segment.decode()
        except UnicodeDecodeError:
            raise TwistpiError("The path is not UTF-8.", 400) from None


def segments_of(address: str) -> list[bytes]:
    """Return the decoded segments of the path of ``address``, a URL or a path, as if no slash were doubled.

    Raise ``TwistpiError``.
    """
    path = address.partition("?")[0].partition("#")[0]
    if path.startswith(("http://", "https://")):
        path = "/" + path.partition("://")[2].partition("/")[2]
    encoded = path.encode("latin-1", "replace")
    segments = [unquote_to_bytes(segment) for segment in encoded.lstrip(b"/").split(b"/")]
    check_path(encoded, segments)
    return [*filter(None, segments[:-1]), segments[-1]]


def merge_slashes(path: bytes) -> bytes:
    """``path`` with one slash wherever it has several."""
    return _SLASHES.sub(b"/", path)


def without_prefix(segments: Sequence[bytes], prefix: str) -> list[bytes]:
    """``segments`` without those of ``prefix``, if they begin with it."""
    expected = [part.encode() for part in prefix.strip("/").split("/")] if prefix.strip("/") else []
    if expected and segments[: len(expected)] == expected:
        return [*segments[len(expected) :]] or [b""]
    return [*segments]


def replica_answers(method: bytes, path: bytes) -> bool:
    """Return whether a replica answers a request itself: what only reads, but for downloads, and all that is about this server.

    ``path`` is as sent, without the query and the prefix of the outside URL.
    """
    first, last = _ends(path)
    if last == b"+downloads":
        return False  # the primary has those of all servers
    return method in READS or first in _OF_EACH_SERVER or first in _QUESTIONS or last == b"+api"


def worker_answers(method: bytes, path: bytes) -> bool:
    """Return whether a worker tries to answer a request itself: what reads the view, and nothing about the whole server."""
    first, last = _ends(path)
    if first.startswith(b"+"):
        return first in _QUESTIONS or (first in _SEARCH and method in READS)
    return method in READS or last == b"+api"


def is_search_call(method: bytes, path: bytes, content_type: bytes) -> bool:
    """Return whether a request is a call of XML-RPC to an index, which only searches; ``path`` as above."""
    segments = [unquote_to_bytes(segment) for segment in path.split(b"/") if segment]
    is_index = len(segments) == 2 and not any(segment.startswith(b"+") for segment in segments)
    return method == b"POST" and is_index and content_type.partition(b";")[0].strip().lower() == b"text/xml"


def _ends(path: bytes) -> tuple[bytes, bytes]:
    """Return the first and the last segment of a path, decoded."""
    segments = [unquote_to_bytes(segment) for segment in path.split(b"/") if segment]
    return (segments[0], segments[-1]) if segments else (b"", b"")
