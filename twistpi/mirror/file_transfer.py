"""The transfer of one file: written and hashed as it comes, continued by range where a connection broke, verified at the end."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

import attrs
from twisted.internet.interfaces import IProtocol, IReactorTime

from twistpi.http.backoff import sleep
from twistpi.http.body_writer import BodyWriter
from twistpi.http.conditional import parse_content_range
from twistpi.http.errors import Cause, RequestFailed
from twistpi.http.offload import Offload
from twistpi.mirror.upstream import unusable_status
from twistpi.model.records import Link

PAUSES: Final = (0.05, 0.5, 1.0, 2.0)
"""Seconds before each further attempt; as many attempts without a new byte are made."""
_LONGEST_WAIT: Final = 30.0
"""Seconds that an upstream may ask to be left alone before a file in transfer is given up."""
_MOST_BREAKS: Final = 100
"""Broken connections one file may cost, however far each one got."""
_STRENGTH: Final = (
    "sha512", "sha384", "sha256", "sha3_512", "sha3_384", "sha3_256", "blake2b", "blake2s", "sha224", "sha1", "md5",
)  # fmt: skip
"""Digest algorithms an upstream may name, best first; SHA-256 is preferred to all since it is computed anyway."""
_WORTH_A_CALL: Final = 64 * 1024
"""Bytes from which on a piece is written by itself: copying it costs more than a system call."""


class FileGone(Exception):
    """The upstream lists the file but answers that it does not exist."""


class BytesDiffer(Exception):
    """The bytes are not those that were promised; the message says how."""


class FileResponse(Protocol):
    """A response whose body is yet to come (``http.client.Response``, or that of a primary)."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def length(self) -> int | None:
        """Bytes of the body, None when the response does not say."""

    def header(self, name: str) -> str | None:
        """Return the first value of a header."""

    def deliver(self, protocol: IProtocol) -> None:
        """Send the body to ``protocol``."""

    def discard(self) -> None:
        """Drop the body."""


class FileClient(Protocol):
    """What a transfer needs to know of the client that requests the file."""

    @property
    def clock(self) -> IReactorTime:
        """The reactor's clock."""

    @property
    def silence(self) -> float:
        """The longest time in the middle of a body without a byte, in seconds."""

    @property
    def offload(self) -> Offload:
        """Runs functions in threads."""

    @property
    def call_in_reactor(self) -> Callable[[Callable[[], object]], object]:
        """``IReactorFromThreads.callFromThread``."""


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...
    def hexdigest(self) -> str: ...


class Writable(Protocol):
    """What the bytes are written to."""

    def write(self, data: bytes) -> object:
        """Append ``data``."""


def promised_digest(hashes: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the algorithm and digest to hold a file to, None when the upstream gave none that can be computed."""
    for algorithm in ("sha256", *_STRENGTH):
        if algorithm in hashes:
            return algorithm, hashes[algorithm].lower()
    return None


@attrs.define
class Sink:
    """Writes a file and hashes it; one thread at a time."""

    _target: Writable
    _promise: tuple[str, str] | None
    _limit: int | None = None
    """Bytes of the whole file, None while unknown."""
    _beginning: tuple[int, bytes] | None = None
    """Size and SHA-256 of what readers got of a transfer before: this one has to begin with the same bytes."""
    size: int = 0
    """Bytes written."""
    _sha256: _Hash = attrs.field(factory=hashlib.sha256)
    _other: _Hash | None = None
    _to_repeat: int = 0
    _repeated: _Hash = attrs.field(factory=hashlib.sha256)

    def __attrs_post_init__(self) -> None:
        if self._promise is not None and self._promise[0] != "sha256":
            self._other = hashlib.new(self._promise[0], usedforsecurity=False)

    def expect(self, size: int | None) -> None:
        """Set the size of the whole file in bytes; None when it is unknown."""
        self._limit = size

    def repeat(self) -> None:
        """The file comes again from its beginning: compare what is here already instead of writing it."""
        self._to_repeat = self.size
        self._repeated = hashlib.sha256()

    def go_on(self) -> None:
        """The file continues where it broke off."""
        self._to_repeat = 0

    def write(self, pieces: list[bytes]) -> None:
        """Write the next bytes; raise ``BytesDiffer`` for too many, or others than before, and what the target raises."""
        for data in _of_some_size(pieces):
            self._add(self._compare(data) if self._to_repeat else data)

    def _add(self, data: bytes) -> None:
        if self._limit is not None and self.size + len(data) > self._limit:
            raise BytesDiffer(f"there are more than the {self._limit:,} that were announced")
        if self._beginning is not None and self.size + len(data) >= self._beginning[0]:
            rest = data[: self._beginning[0] - self.size]
            self._append(rest)
            data = data[len(rest) :]
            if self._sha256.digest() != self._beginning[1]:
                raise BytesDiffer("the upstream's file changed while it was fetched")
            self._beginning = None
        self._append(data)

    def _append(self, data: bytes) -> None:
        if data:
            self._target.write(data)
            self.size += len(data)
            self._sha256.update(data)
            if self._other is not None:
                self._other.update(data)

    def _compare(self, data: bytes) -> bytes:
        again = data[: self._to_repeat]
        self._repeated.update(again)
        self._to_repeat -= len(again)
        if self._to_repeat == 0 and self._repeated.digest() != self._sha256.digest():
            raise BytesDiffer("the upstream's file changed while it was fetched")
        return data[len(again) :]

    @property
    def written(self) -> tuple[int, bytes]:
        """Size and SHA-256 of what is written."""
        return self.size, self._sha256.digest()

    def verified(self, listed_size: int | None) -> str:
        """Return the SHA-256 of the whole file; raise ``BytesDiffer`` when size or digest is not what was promised."""
        for size in (listed_size, self._limit):
            if size is not None and size != self.size:
                raise BytesDiffer(f"there are {self.size:,}, not {size:,}")
        if self._beginning is not None:
            raise BytesDiffer(f"there are {self.size:,}, of which {self._beginning[0]:,} came before")
        digest = self._sha256.hexdigest()
        if self._promise is not None:
            algorithm, promised = self._promise
            actual = self._other.hexdigest() if self._other is not None else digest
            if actual != promised:
                raise BytesDiffer(f"their {algorithm} is {actual}, not {promised}")
        return digest


def _of_some_size(pieces: list[bytes]) -> list[bytes]:
    """Return the same bytes in fewer pieces when they are small, as they come out of TLS."""
    if len(pieces) > 1 and sum(map(len, pieces)) < len(pieces) * _WORTH_A_CALL:
        return [b"".join(pieces)]
    return pieces


@attrs.define(eq=False)
class FileTransfer:
    """Fetches one file into a sink."""

    _client: FileClient
    _get: Callable[[Mapping[str, str]], Awaitable[FileResponse]]
    """Sends a GET request with these headers for the file; raises ``RequestFailed``."""
    _link: Link
    _sink: Sink
    _began: Callable[[int | None, str | None], object]
    """Called with the file's size and ``Last-Modified`` when the response begins."""
    _progressed: Callable[[int], object]
    """Called with how many bytes are written."""
    _pauses: tuple[float, ...] = PAUSES
    """Seconds before each further attempt after one without a new byte; after the last one, the transfer fails."""
    _validator: str | None = attrs.field(default=None, init=False)
    _size: int | None = attrs.field(default=None, init=False)
    _has_begun: bool = attrs.field(default=False, init=False)
    _abandoned: Exception | None = attrs.field(default=None, init=False)
    _writer: BodyWriter | None = attrs.field(default=None, init=False)
    _from_start: bool = attrs.field(default=False, init=False)
    """Whether the upstream does not send the rest of this file when it is asked for a range."""

    async def run(self) -> str:
        """Fill the sink; return the SHA-256 of the file.

        Raise ``RequestFailed``, ``FileGone``, ``BytesDiffer`` or ``StorageFull``.
        """
        idle = breaks = 0
        while True:
            before = self._sink.size
            try:
                await self._attempt()
                return self._sink.verified(self._link.size)
            except RequestFailed as failed:
                breaks += 1
                idle = 0 if self._sink.size > before else idle + 1
                # A file that never began is for the client to try again; one that broke off is for us.
                if not self._has_begun or idle >= len(self._pauses) or breaks > _MOST_BREAKS:
                    raise
                wait = max(self._pauses[idle], failed.retry_after or 0.0)
                if wait > _LONGEST_WAIT:
                    raise
            await sleep(self._client.clock, wait)
            if self._abandoned is not None:
                raise self._abandoned

    def hold(self) -> None:
        """Hold the sender back until ``go_on``."""
        if self._writer is not None:
            self._writer.hold()

    def go_on(self) -> None:
        """End ``hold``."""
        if self._writer is not None:
            self._writer.go_on()

    def abandon(self, error: Exception) -> None:
        """End soon; ``run`` raises ``error``.  May be called from what this calls."""
        self._abandoned = error
        if self._writer is not None:
            self._writer.give_up(error)

    async def _attempt(self) -> None:
        client, sink, offset = self._client, self._sink, self._sink.size
        response = await self._get(self._headers(offset))
        try:
            self._accept(response, offset)
            if self._abandoned is not None:
                raise self._abandoned
        except Exception:
            response.discard()
            raise
        self._writer = BodyWriter(
            client.clock,
            client.silence,
            client.offload,
            client.call_in_reactor,
            sink.write,
            lambda: self._progressed(sink.size),
        )
        await self._writer.take(response.deliver)
        if self._size is not None and sink.size < self._size:
            raise RequestFailed("its answer ended before the file did")

    def _headers(self, offset: int) -> dict[str, str]:
        if self._from_start:
            return {}
        if offset and self._validator is not None:
            return {"Range": f"bytes={offset}-", "If-Range": self._validator}
        if offset and promised_digest(self._link.hashes) is not None:
            return {"Range": f"bytes={offset}-"}
        # With neither validator nor digest nobody would notice that it is another file by now: it comes again, and is compared.
        return {}

    def _accept(self, response: FileResponse, offset: int) -> None:
        """Prepare for the body of ``response``, or raise."""
        if response.status == 200:
            self._begin(response)
            if offset:
                self._sink.repeat()
        elif response.status == 206 and offset:
            part = parse_content_range(response.header("Content-Range"))
            if part is None or part.first != offset or (self._size is not None and part.total not in (None, self._size)):
                self._from_start = True
                raise RequestFailed("it answered another range than it was asked for", Cause.UNUSABLE)
            self._sink.go_on()
        elif response.status in (404, 410) and not offset:
            raise FileGone
        else:
            self._from_start = response.status == 416
            raise unusable_status(response, self._client.clock.seconds())

    def _begin(self, response: FileResponse) -> None:
        """The first, or a repeated, response with the whole file."""
        sizes = {size for size in (self._link.size, response.length, self._size) if size is not None}
        if len(sizes) > 1:
            raise BytesDiffer(f"the upstream announces {' and '.join(f'{size:,}' for size in sorted(sizes))} of them")
        self._size = sizes.pop() if sizes else None
        if self._size == 0 and promised_digest(self._link.hashes) is None:
            raise BytesDiffer("there are none")
        self._sink.expect(self._size)
        etag = response.header("ETag")
        modified = response.header("Last-Modified")
        # If-Range needs a strong validator (RFC 9110, 13.1.5).
        self._validator = etag if etag and not etag.startswith("W/") else modified
        if not self._has_begun:
            self._has_begun = True
            self._began(self._size, modified)
