"""Bringing one file from its upstream into a sink, going on by range where a connection broke."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol

from twistpi.mirror.addresses import Credentials
from twistpi.mirror.content_range import parse_content_range
from twistpi.mirror.spool import Spool
from twistpi.mirror.trouble import Trouble
from twistpi.mirror.upstream import Offload
from twistpi.mirror.verify import BytesDiffer, Sink, promised_digest
from twistpi.model.records import Link

PAUSES: Final = (0.05, 0.5, 1.0, 2.0)
"""Seconds before each further attempt; as many attempts without a new byte are made."""
_MOST_BREAKS: Final = 100
"""Broken connections one file may cost, however far each one got."""


class FileGone(Exception):
    """The upstream lists the file but answers that it does not exist."""


class Response(Protocol):
    """An answer whose body is yet to come (``upstream.UpstreamResponse``)."""

    @property
    def status(self) -> int:
        """Of HTTP."""

    @property
    def length(self) -> int | None:
        """Bytes of the body, None when it will end by itself."""

    def header(self, name: str) -> str | None:
        """The first value of a header."""

    def deliver(self, reader: IProtocol) -> None:
        """Send the body to ``reader``."""

    def discard(self, clock: Any) -> None:
        """Be done with the body."""


class Asking(Protocol):
    """Whoever can be asked for files (``upstream.Upstream``)."""

    @property
    def clock(self) -> Any:
        """An ``IReactorTime`` that is a reactor."""

    @property
    def request_timeout(self) -> float:
        """Seconds of silence in the middle of a body that are too many."""

    async def ask(
        self, url: str, headers: Mapping[str, str], credentials: Credentials | None = None, *, patience: float | None = None
    ) -> Response:
        """GET ``url``; raises ``Trouble``."""


@attrs.define(eq=False)
class FileSource:
    """One file's way from its upstream."""

    _upstream: Asking
    _offload: Offload
    _link: Link
    _credentials: Credentials | None
    _sink: Sink
    _began: Callable[[int | None, str | None], object]
    """Told of the file's size and ``Last-Modified`` when the upstream begins to answer."""
    _progressed: Callable[[int], object]
    """Told how many bytes are written."""
    _pauses: tuple[float, ...] = PAUSES
    """Seconds before each further attempt after one without a new byte; with the last one it ends."""
    _validator: str | None = attrs.field(default=None, init=False)
    _size: int | None = attrs.field(default=None, init=False)
    _answered: bool = attrs.field(default=False, init=False)

    async def bring(self) -> None:
        """Fill the sink; raises ``Trouble``, ``FileGone``, ``BytesDiffer``, ``StorageFull``."""
        idle = breaks = 0
        while True:
            before = self._sink.size
            try:
                await self._attempt()
                return
            except Trouble:
                breaks += 1
                idle = 0 if self._sink.size > before else idle + 1
                # A file that never began is for the asker to try again; one that broke off is for us.
                if not self._answered or idle >= len(self._pauses) or breaks > _MOST_BREAKS:
                    raise
            await self._pause(self._pauses[idle])

    def _pause(self, seconds: float) -> Deferred[None]:
        pause: Deferred[None] = Deferred(lambda _: timer.cancel())
        timer = self._upstream.clock.callLater(seconds, pause.callback, None)
        return pause

    async def _attempt(self) -> None:
        offset = self._sink.size
        response = await self._upstream.ask(self._link.url, self._headers(offset), self._credentials)
        try:
            self._accept(response, offset)
        except (Trouble, FileGone, BytesDiffer):
            response.discard(self._upstream.clock)
            raise
        spool = Spool(
            self._upstream.clock,
            self._upstream.request_timeout,
            self._offload,
            self._sink.write,
            lambda: self._progressed(self._sink.size),
        )
        await spool.read(response.deliver)
        if self._size is not None and self._sink.size < self._size:
            raise Trouble("its answer ended before the file did")

    def _headers(self, offset: int) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity"}
        if offset and self._validator is not None:
            headers.update({"Range": f"bytes={offset}-", "If-Range": self._validator})
        elif offset and promised_digest(self._link.hashes) is not None:
            headers["Range"] = f"bytes={offset}-"
        # With neither validator nor digest nobody would notice that it is another file by now: it comes again, and is compared.
        return headers

    def _accept(self, response: Response, offset: int) -> None:
        """Prepare for the body of ``response``, or raise."""
        if response.status == 200:
            self._begin(response)
            if offset:
                self._sink.repeat()
        elif response.status == 206 and offset:
            part = parse_content_range(response.header("Content-Range"))
            if part is None or part.first != offset or (self._size is not None and part.total not in (None, self._size)):
                raise Trouble("it answered another range than it was asked for")
            self._sink.go_on()
        elif response.status in (404, 410) and not offset:
            raise FileGone
        else:
            raise Trouble(f"it answered {response.status}")

    def _begin(self, response: Response) -> None:
        """The first, or a repeated, answer with the whole file."""
        sizes = {size for size in (self._link.size, response.length, self._size) if size is not None}
        if len(sizes) > 1:
            raise BytesDiffer(f"the upstream announces {' and '.join(f'{size:,}' for size in sorted(sizes))} of them")
        self._size = sizes.pop() if sizes else None
        self._sink.expect(self._size)
        etag = response.header("ETag")
        modified = response.header("Last-Modified")
        # If-Range needs a strong validator (RFC 9110, 13.1.5).
        self._validator = etag if etag and not etag.startswith("W/") else modified
        if not self._answered:
            self._answered = True
            self._began(self._size, modified)
