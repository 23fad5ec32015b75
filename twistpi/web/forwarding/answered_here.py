"""Which requests a server answers itself that forwards others. Pure."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote_to_bytes

_READS: Final = frozenset({b"GET", b"HEAD", b"OPTIONS"})
_OF_EACH_SERVER: Final = frozenset(
    {
        b"+status", b"+health", b"+ready", b"+metrics", b"+gc", b"+promote", b"+resync",
        b"+changelog", b"+snapshot", b"+blob", b"+blobs", b"+relay", b"+peer", b"+fence",
    }
)  # fmt: skip
"""Routes that are about one server and its disk, or for other servers."""
_QUESTIONS: Final = frozenset({b"+api", b"+authcheck", b"+straight"})
"""Routes that change nothing, whatever the method."""


def by_a_replica(method: bytes, path: bytes) -> bool:
    """Return whether a replica answers a request itself: all that only reads, and all that is about this server.

    ``path`` is as sent, without the query and the prefix of the outside URL.
    """
    first, last = _ends(path)
    return method in _READS or first in _OF_EACH_SERVER or first in _QUESTIONS or last == b"+api"


def by_a_worker(method: bytes, path: bytes) -> bool:
    """Return whether a worker tries to answer a request itself: what reads the view, and nothing about the whole server."""
    first, last = _ends(path)
    if first.startswith(b"+"):
        return first in _QUESTIONS
    return method in _READS or last == b"+api"


def _ends(path: bytes) -> tuple[bytes, bytes]:
    """Return the first and the last segment of a path, decoded."""
    segments = [unquote_to_bytes(segment) for segment in path.split(b"/") if segment]
    return (segments[0], segments[-1]) if segments else (b"", b"")
