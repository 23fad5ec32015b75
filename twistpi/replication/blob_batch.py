"""Batches of small blobs: one request, one stream, each blob verified and stored by itself as it comes.

``POST /+blobs`` answers with::

    twistpi blobs 1
    + 0123456789abcdef 5 demo-1.0.tar.gz
    <5 bytes>- fedcba9876543210 gone-1.0.zip
    .

Each blob has a line, ``+``, the 16 digits of its address, its size in bytes and its file name (percent-encoded UTF-8), and its
bytes; one that is not there has a ``-`` line without a size.  The line with a full stop ends the stream: without it, the stream
was cut.  One request per blob would take five times the processor time of a replica, and reach a third of the rate.

Several batches are on their way at a time, each written by a thread of its own: a file system that is asked for several syncs at
once answers them with one write to its journal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final
from urllib.parse import quote, unquote

import attrs
import orjson

from twistpi.blobs.address import BlobAddress
from twistpi.blobs.interfaces import IBlobs
from twistpi.model.server_errors import BlobConflict, PrimaryUnreachable
from twistpi.replication.primary import Primary
from twistpi.view.read import KeptBlob

PATH: Final = "/+blobs"
BEGINNING: Final = b"twistpi blobs 1\n"
END: Final = b".\n"
_LONGEST_LINE: Final = 4096
_LINE: Final = re.compile(rb"(?:\+ ([0-9a-f]{16}) (0|[1-9][0-9]{0,17})|- ([0-9a-f]{16})) ([!-~]+)\Z")

Store = Callable[[KeptBlob, bytes], object]
"""Stores a blob; raises ``BlobConflict``, ``StorageFull``, ``SyncFailed``."""


class BatchDamaged(Exception):
    """The stream is not what it should be; the text says how."""


def begin_line(digits: str, filename: str, size: int) -> bytes:
    """Return the line before the bytes of a blob."""
    return b"+ %s %d %s\n" % (digits.encode("ascii"), size, _quoted(filename))


def missing_line(digits: str, filename: str) -> bytes:
    """Return the line for a blob that is not there."""
    return b"- %s %s\n" % (digits.encode("ascii"), _quoted(filename))


def _quoted(filename: str) -> bytes:
    return quote(filename, safe="").encode("ascii")


@attrs.define(eq=False)
class Batch:
    """The blobs of one request."""

    _store: Store
    _wanted: dict[tuple[str, str], KeptBlob]
    """By digits and file name; what was neither stored nor refused."""
    stored: list[KeptBlob] = attrs.field(factory=list, init=False)
    refused: list[tuple[KeptBlob, str]] = attrs.field(factory=list, init=False)
    """Blobs that are not there or not as they should be, and why."""
    complete: bool = attrs.field(default=False, init=False)
    """Whether the stream came to its end."""
    _data: bytearray = attrs.field(factory=bytearray, init=False)
    """Bytes of the stream that were not used yet: at most one line and one blob."""
    _began: bool = attrs.field(default=False, init=False)
    _present: KeptBlob | None = attrs.field(default=None, init=False)
    """The blob whose bytes are coming."""
    _unwanted: int = attrs.field(default=0, init=False)
    """Bytes to pass over."""

    @classmethod
    def of(cls, store: Store, wanted: Sequence[KeptBlob]) -> Batch:
        """Return a batch of ``wanted``."""
        return cls(store, {(blob.digits, blob.filename): blob for blob in wanted})

    @property
    def request(self) -> bytes:
        """The body of the request."""
        return orjson.dumps(list(self._wanted))

    def feed(self, pieces: Sequence[bytes]) -> None:
        """Take the next pieces of the stream.  Blocking.

        Raise ``BatchDamaged``, ``StorageFull``, ``SyncFailed``.
        """
        for piece in pieces:
            self._data += piece
            while self._advance():
                pass

    def cut(self) -> None:
        """Refuse the blob in whose middle the stream ended: if it is to blame, the next ones would never come."""
        if self._present is not None:
            self._refuse(self._present, "the stream ended in the middle of it")

    def _advance(self) -> bool:
        """Use what can be used of the data; return whether there may be more."""
        blob = self._present
        if self._unwanted:
            length = min(self._unwanted, len(self._data))
            del self._data[:length]
            self._unwanted -= length
            return bool(self._data)
        if blob is not None:
            if len(self._data) < blob.size:
                return False
            content = bytes(self._data[: blob.size])
            self._end(blob, content)
            del self._data[: blob.size]
            return True
        if self.complete and self._data:
            raise BatchDamaged("something follows its end")
        end = self._data.find(b"\n", 0, _LONGEST_LINE + 1)
        if end < 0 and len(self._data) > _LONGEST_LINE:
            raise BatchDamaged("a line has no end")
        if end >= 0:
            line = bytes(self._data[: end + 1])
            del self._data[: end + 1]
            self._take(line)
        return end >= 0

    def _take(self, line: bytes) -> None:
        if not self._began:
            if line != BEGINNING:
                raise BatchDamaged("it does not begin as a stream of files does")
            self._began = True
            return
        if line == END:
            self.complete = True
            return
        match = _LINE.match(line[:-1])
        if match is None:
            raise BatchDamaged(f"the line {line[:100]!r} says nothing")
        filename = unquote(match[4].decode("ascii"), errors="replace")
        blob = self._wanted.get(((match[1] or match[3]).decode("ascii"), filename))
        if blob is None:
            raise BatchDamaged(f"nobody asked for {filename}")
        if match[3] is not None:
            self._refuse(blob, "the primary does not have it at this moment")
        elif int(match[2]) != blob.size:
            self._refuse(blob, f"it has not the {blob.size:,} bytes that it should")
            self._unwanted = int(match[2])
        else:
            self._present = blob

    def _end(self, blob: KeptBlob, content: bytes) -> None:
        digest = sha256(content).hexdigest()
        try:
            if digest != blob.sha256:
                self._refuse(blob, f"its sha256 is {digest}, not {blob.sha256}")
                return
            self._store(blob, content)
        except BlobConflict as conflict:
            self._refuse(blob, str(conflict))
            return
        self._forget(blob)
        self.stored.append(blob)

    def _refuse(self, blob: KeptBlob, reason: str) -> None:
        self._forget(blob)
        self.refused.append((blob, reason))

    def _forget(self, blob: KeptBlob) -> None:
        del self._wanted[blob.digits, blob.filename]
        self._present = None


def store_in(blobs: IBlobs) -> Store:
    """Return a function that stores a blob in ``blobs``."""

    def store(blob: KeptBlob, content: bytes) -> None:
        with blobs.incoming() as incoming:
            incoming.write(content)
            blobs.keep(incoming, BlobAddress(blob.digits, blob.filename), blob.sha256)

    return store


async def fetch(primary: Primary, batch: Batch, silence: float) -> str | None:
    """Fetch ``batch``; return why not all of it came, or None.

    ``silence`` is the longest time without a byte, in seconds.  Raise ``PrimaryUnreachable`` when the primary does not answer,
    ``StorageFull``, ``SyncFailed``; ``batch`` has what was stored before in any case.
    """
    answer = await primary.ask("POST", PATH, headers={"Content-Type": "application/json"}, body=batch.request)
    if answer.status != 200:
        answer.discard()
        return f"the primary answered {answer.status}"
    try:
        await answer.write_to(batch.feed, silence=silence)
    except PrimaryUnreachable as broken:
        batch.cut()
        return broken.reason
    except BatchDamaged as damaged:
        batch.cut()
        return str(damaged)
    if not batch.complete:
        batch.cut()
        return "the stream ended before it was complete"
    return None
