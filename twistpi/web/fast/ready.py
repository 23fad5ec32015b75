"""Responses that are ready to be sent: simple pages, with the heads that both paths send, and which path leads to what."""

from __future__ import annotations

import os
from collections import OrderedDict
from contextlib import suppress

import attrs

from twistpi.view.page_cache import PageCache, PageKey
from twistpi.web.fast.ready_files import CREDENTIALS, ReadyFile
from twistpi.web.replies import (
    NO_CACHE,
    PRIVATE,
    SMALL,
    VARY,
    VARY_ALIAS,
    DefaultHeaders,
    Headers,
    Reply,
    head_bytes,
)
from twistpi.web.transport.bodies import FileBody, MemoryBody

PAGE_BASE = "../../"
"""How links on ``+simple/{project}/`` reach the index; every other base belongs to an alias."""
_MOST = 10_000
"""Entries of each table; the oldest leave first."""


@attrs.frozen
class CacheStatus:
    """How fresh what is known about a project is, for the headers that say so."""

    kind: str = "hit"
    """``hit``, ``miss``, ``revalidated`` or ``stale``."""
    checked_at: float | None = None
    """Unix seconds at which the upstream last confirmed it; None when no upstream is involved."""
    expires_at: float = 0.0
    """Unix seconds at which it counts as old."""
    source: str = "local"
    """The upstream's scheme, host and port."""
    reason: str | None = None
    """Why something old is served."""
    missing: str | None = None
    """Which upstreams could not say what they have, and why: the page may lack some of it.  None when all could."""

    def as_kept(self) -> CacheStatus:
        """Return the status of the next responses, which come from memory."""
        return self if self.kind == "stale" else attrs.evolve(self, kind="hit")

    def headers(self, now: float) -> Headers:
        """``Cache-Status`` (RFC 9211), ``Age``, ``X-Twistpi-Source`` and ``X-Twistpi-Incomplete``; the same for the whole of a
        second.
        """
        headers: Headers = ((b"X-Twistpi-Source", _printable(self.source)),)
        if self.missing is not None:
            headers = (*headers, (b"X-Twistpi-Incomplete", _printable(self.missing)))
        if self.checked_at is None:
            return ((b"Cache-Status", b"twistpi; hit"), *headers)
        age = max(0, int(now) - int(self.checked_at))
        return ((b"Age", b"%d" % age), (b"Cache-Status", self._status(int(self.expires_at) - int(now))), *headers)

    def _status(self, time_to_live: int) -> bytes:
        if self.kind == "miss":
            return b"twistpi; fwd=miss; stored; ttl=%d" % time_to_live
        if self.kind == "revalidated":
            return b"twistpi; fwd=stale; stored; ttl=%d" % time_to_live
        if self.kind == "stale":
            reason = _printable(self.reason or "the upstream failed").replace(b"\\", b"\\\\").replace(b'"', b'\\"')
            return b'twistpi; hit; ttl=%d; detail="%s"' % (min(time_to_live, -1), reason)
        return b"twistpi; hit; ttl=%d" % time_to_live


def page_policy(*, alias: bool, private: bool) -> Headers:
    """Return who may cache a page, and on which request headers it depends."""
    vary = VARY_ALIAS if alias else VARY
    return (PRIVATE, (b"Vary", b"%s, %s" % (vary[1], CREDENTIALS))) if private else (NO_CACHE, vary)


def made_private(reply: Reply) -> Reply:
    """Return ``reply`` for its caller alone."""
    kept = tuple(line for line in reply.headers if line[0] not in (b"Cache-Control", b"Vary"))
    vary = next((value for name, value in reply.headers if name == b"Vary"), VARY[1])
    return attrs.evolve(reply, headers=(*kept, PRIVATE, (b"Vary", b"%s, %s" % (vary, CREDENTIALS))))


def _printable(text: str) -> bytes:
    """``text`` as the value of a header: printable ASCII, one line, not endless."""
    return "".join(character if " " <= character <= "~" else "?" for character in text[:300]).encode("ascii")


class Content:
    """The bytes of a page.

    The kernel copies them out of this process's memory each time they are sent, and copies nothing when they come from a file; so
    large ones lie in a file that exists only in memory (``memfd_create(2)``), until this object and the last body are gone.
    """

    def __init__(self, content: bytes) -> None:
        self.size = len(content)
        self._content: bytes | None = content
        self._descriptor = -1
        if self.size > SMALL and hasattr(os, "memfd_create"):
            with suppress(OSError):  # no descriptor is left: the bytes will be copied each time
                self._descriptor = os.memfd_create("twistpi page", os.MFD_CLOEXEC)
                with open(self._descriptor, "wb", closefd=False) as file:
                    file.write(content)
                self._content = None

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def read(self) -> bytes:
        """Return all of them."""
        return os.pread(self._descriptor, self.size, 0) if self._content is None else self._content

    def body(self) -> MemoryBody | FileBody:
        """Return a body that sends them."""
        if self._content is None:
            with suppress(OSError):  # no descriptor is left
                return FileBody(os.dup(self._descriptor), 0, self.size)
        return MemoryBody(memoryview(self.read()))


@attrs.frozen
class LargePage(Reply):
    """A response whose body lies in ``content``, so that slow clients do not have a copy each; ``body`` is empty."""

    content: Content = attrs.field(kw_only=True)


def large_body(reply: Reply) -> MemoryBody | FileBody | None:
    """Return the body of ``reply`` if it is too large to be written in one piece."""
    if isinstance(reply, LargePage):
        return reply.content.body()
    return MemoryBody(memoryview(reply.body)) if len(reply.body) > SMALL else None


@attrs.define(eq=False)
class ReadyPage:
    """A simple page in one representation and coding."""

    content: Content
    etag: str
    """Strong, quotes included; another one for each representation and coding."""
    content_type: bytes
    gzip: bool
    alias: bool
    """Whether the same path shows something else to other tools."""
    sources: frozenset[str]
    """The indexes its content depends on."""
    private: bool = False
    """Whether other callers may see another page, or none."""
    last_serial: int | None = None
    """The upstream's own serial of the project."""
    outside: str | None = None
    """The address of this server that stands in its links; None when none does."""
    valid_until: float = float("inf")
    """Unix seconds at which the page says something else, because a policy lets another file through."""
    valid_from: float = float("-inf")
    """When it was made.  A clock that is before that was set back, and a policy may hold back a file that the page has."""
    fresh_until: float = float("inf")
    """Unix seconds until which it is served without asking anybody."""
    fresh_from: float = float("-inf")
    """When it was confirmed: a clock that was set back makes it stale, not fresh for as long as that."""
    status: CacheStatus = CacheStatus()
    _version: int = -1
    _full: bytes = b""
    _unchanged: bytes = b""

    @property
    def size(self) -> int:
        """Bytes of the page."""
        return self.content.size

    def suits(self, outside: str) -> bool:
        """Return whether the page is right for callers that know this server by the URL ``outside``."""
        return self.outside is None or self.outside == outside

    def is_fresh(self, now: float) -> bool:
        """Return whether it is served at ``now`` (Unix seconds) without asking anybody."""
        return self.fresh_from <= now < self.fresh_until

    def is_valid(self, now: float) -> bool:
        """Return whether policies let through at ``now`` what they did when it was made."""
        return self.valid_from <= now < self.valid_until

    def renew(self, status: CacheStatus, fresh_until: float, now: float) -> None:
        """Note that an upstream confirmed at ``now`` what this page says."""
        self.status = status
        self.fresh_from, self.fresh_until = now, min(fresh_until, self.valid_until)
        self._version = -1

    def validators(self, status: CacheStatus, now: float) -> Headers:
        """The headers a 200 and a 304 share."""
        return (
            (b"ETag", self.etag.encode("ascii")),
            *page_policy(alias=self.alias, private=self.private),
            *status.headers(now),
        )

    def headers(self, status: CacheStatus, now: float) -> Headers:
        """The headers of a 200, without the default ones."""
        extra: Headers = ((b"Content-Encoding", b"gzip"),) if self.gzip else ()
        if self.valid_until < float("inf"):
            extra = (*extra, (b"X-Twistpi-Policy", b"next=%d" % self.valid_until))
        if self.last_serial is not None:
            extra = (*extra, (b"X-Pypi-Last-Serial", b"%d" % self.last_serial))
        return (
            (b"Content-Type", self.content_type),
            (b"Content-Length", b"%d" % self.size),
            *extra,
            *self.validators(status, now),
        )

    def reply(self, status: CacheStatus, now: float, *, unchanged: bool) -> Reply:
        """Return the response for the ordinary path."""
        if unchanged:
            return Reply(304, self.validators(status, now))
        headers = self.headers(status, now)
        return Reply(200, headers, self.content.read()) if self.size <= SMALL else LargePage(200, headers, content=self.content)

    def ready(self, defaults: DefaultHeaders, now: float) -> tuple[bytes, bytes, bool]:
        """Return the bytes of the 200 and the 304, and whether the former includes the body."""
        default_headers = defaults.at(now)
        if self._version != defaults.version:
            self._version = defaults.version
            head = head_bytes(200, (*default_headers, *self.headers(self.status, now), *defaults.cross_origin))
            self._full = head + self.content.read() if self.size <= SMALL else head
            self._unchanged = head_bytes(304, (*default_headers, *self.validators(self.status, now), *defaults.cross_origin))
        return self._full, self._unchanged, self.size <= SMALL


@attrs.define(eq=False)
class ReadyAnswers:
    """The pages and files that are ready to be sent, by the bytes of a request's path.

    A path leads to a key of the page cache, or to a file, which is forgotten when its project changes.  Only requests without a
    query, for whole answers, are learned.
    """

    page_cache: PageCache[ReadyPage]
    small_bytes: int = 16 * 1024 * 1024
    """Bytes of small files that are kept in memory."""
    pages: OrderedDict[tuple[bytes, str], PageKey] = attrs.field(factory=OrderedDict)
    """By path and ``Negotiated.variant``."""
    files: OrderedDict[bytes, ReadyFile] = attrs.field(factory=OrderedDict)
    _paths: dict[tuple[str, str], set[bytes]] = attrs.field(factory=dict)
    _small: int = 0

    def learn_page(self, path: bytes, variant: str, key: PageKey) -> None:
        """``path``, requested with ``variant``, is the page under ``key``."""
        self.pages[path, variant] = key
        if len(self.pages) > _MOST:
            self.pages.popitem(last=False)

    def learn_file(self, path: bytes, file: ReadyFile) -> None:
        """``path`` is ``file``, whole and on disk."""
        self.forget_file(path)
        self.files[path] = file
        self._paths.setdefault(file.owner, set()).add(path)
        self._small += len(file.content or b"")
        while len(self.files) > _MOST or self._small > self.small_bytes:
            self.forget_file(next(iter(self.files)))

    def forget_file(self, path: bytes) -> None:
        """Forget the file at ``path``."""
        file = self.files.pop(path, None)
        if file is None:
            return
        self._small -= len(file.content or b"")
        paths = self._paths[file.owner]
        paths.discard(path)
        if not paths:
            del self._paths[file.owner]

    def clear(self) -> None:
        """Forget all paths."""
        self.pages.clear()
        self.forget_all_files()

    def forget_project(self, index: str, project: str) -> None:
        """Forget the pages and files of a project."""
        self.page_cache.forget(index, project)
        self.forget_files(index, project)

    def forget_files(self, index: str, project: str) -> None:
        """Forget every file of a project."""
        for path in list(self._paths.get((index, project), ())):
            self.forget_file(path)

    def forget_all_files(self) -> None:
        """Forget every file: their heads depend on the settings of their indexes and of all that these inherit."""
        for path in list(self.files):
            self.forget_file(path)
