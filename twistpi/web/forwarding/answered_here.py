"""Which requests a server answers itself that hands others on.  Pure."""

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
"""Doors that are about one server and its disk, or for other servers."""
_QUESTIONS: Final = frozenset({b"+api", b"+authcheck", b"+straight"})
"""Doors that change nothing, by whatever method they are asked."""


def by_a_replica(method: bytes, path: bytes) -> bool:
    """Whether a replica answers a request itself: whatever only reads, and what is about itself.

    ``path`` is as it came, without query and without the prefix of the outside URL.
    """
    first, last = _ends(path)
    return method in _READS or first in _OF_EACH_SERVER or first in _QUESTIONS or last == b"+api"


def by_a_worker(method: bytes, path: bytes) -> bool:
    """Whether a worker tries to answer a request itself: what reads from the view, and nothing that is about the whole server."""
    first, last = _ends(path)
    if first.startswith(b"+"):
        return first in _QUESTIONS
    return method in _READS or last == b"+api"


def _ends(path: bytes) -> tuple[bytes, bytes]:
    """The first and the last part of a path, decoded."""
    parts = [unquote_to_bytes(part) for part in path.split(b"/") if part]
    return (parts[0], parts[-1]) if parts else (b"", b"")
