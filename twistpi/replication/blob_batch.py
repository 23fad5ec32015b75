"""Batches of small blobs: one request and one stream, from which each blob is verified and stored by itself.

``POST /+blobs`` answers with::

    twistpi blobs 1
    + 0123456789abcdef 5 demo-1.0.tar.gz
    <5 bytes>- fedcba9876543210 gone-1.0.zip
    .

Each blob has a line, ``+``, the 16 digits of its address, its size in bytes and its file name (percent-encoded UTF-8), and its
bytes; one that is not there has a ``-`` line without a size.  The line with a full stop ends the stream: without it, the stream
was cut.  One request per blob takes about twice the processor time, and reaches half of the rate.

Several batches are on their way at a time, each written by a thread of its own: a file system that is asked for several syncs at
once answers them with one write to its journal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Final
from urllib.parse import quote, unquote

import attrs
import orjson

from twistpi.http.offload import Offload
from twistpi.model.server_errors import BlobConflict, PrimaryUnreachable
from twistpi.replication.primary import Primary
from twistpi.view.read import KeptBlob

BEGINNING: Final = b"twistpi blobs 1\n"
END: Final = b".\n"
_LINE: Final = re.compile(rb"(?:\+ ([0-9a-f]{16}) (0|[1-9][0-9]{0,17})|- ([0-9a-f]{16})) ([!-~]+)")
_LONGEST_LINE: Final = 4096


def begin_line(digits: str, filename: str, size: int) -> bytes:
    """Return the line before the bytes of a blob."""
    return b"+ %s %d %s\n" % (digits.encode("ascii"), size, quote(filename, safe="").encode("ascii"))


def missing_line(digits: str, filename: str) -> bytes:
    """Return the line for a blob that is not there."""
    return b"- %s %s\n" % (digits.encode("ascii"), quote(filename, safe="").encode("ascii"))


@attrs.define(eq=False)
class Batch:
    """The blobs of one request, and what became of them."""

    wanted: Sequence[KeptBlob]
    _store: Callable[[KeptBlob, bytes], object]
    """Stores a blob; raises ``BlobConflict``, ``StorageFull``, ``SyncFailed``.  Blocking."""
    stored: list[KeptBlob] = attrs.field(factory=list, init=False)
    refused: list[tuple[KeptBlob, str]] = attrs.field(factory=list, init=False)
    """Blobs that are not there or not as they should be, and why."""

    async def fetch(self, primary: Primary, offload: Offload, silence: float) -> str | None:
        """Fetch and store the blobs; return why not all of the stream came, or None.

        ``silence`` is the longest time without a byte, in seconds.  Raise ``PrimaryUnreachable`` when the primary does not
        answer, ``StorageFull``, ``SyncFailed``.
        """
        body = orjson.dumps([(blob.digits, blob.filename) for blob in self.wanted])
        answer = await primary.ask("POST", "/+blobs", headers={"Content-Type": "application/json"}, body=body)
        if answer.status != 200:
            answer.discard()
            return f"the primary answered {answer.status}"
        data, limit = bytearray(), sum(blob.size + _LONGEST_LINE for blob in self.wanted) + _LONGEST_LINE

        def collect(pieces: Sequence[bytes]) -> None:
            data.extend(b"".join(pieces))
            if len(data) > limit:
                raise ValueError("the stream is longer than it should be")

        reason = None
        try:
            await answer.write_to(collect, silence=silence)
        except PrimaryUnreachable as broken:
            reason = broken.reason
        except ValueError as damaged:
            reason = str(damaged)
        try:
            await offload(self.take, bytes(data))
        except ValueError as damaged:
            return reason or str(damaged)
        return None

    def take(self, stream: bytes) -> None:
        """Store what can be had from ``stream``.  Raise ``ValueError`` where it is damaged or cut off.  Blocking."""
        for blob, content in self._read(stream):
            if isinstance(content, bytes):
                try:
                    self._store(blob, content)
                except BlobConflict as conflict:
                    self.refused.append((blob, str(conflict)))
                else:
                    self.stored.append(blob)
            else:
                self.refused.append((blob, content))

    def _read(self, stream: bytes) -> Iterator[tuple[KeptBlob, bytes | str]]:
        """Yield the blobs with their bytes, or with the reason why these are of no use."""
        wanted = {(blob.digits, blob.filename): blob for blob in self.wanted}
        if not stream.startswith(BEGINNING):
            raise ValueError("it does not begin as a stream of files does")
        place = len(BEGINNING)
        while (end := stream.find(b"\n", place)) >= 0:
            line, place = stream[place:end], end + 1
            if line == b".":
                if place < len(stream):
                    raise ValueError("something follows its end")
                return
            match = _LINE.fullmatch(line)
            if match is None:
                raise ValueError(f"the line {line[:100]!r} says nothing")
            filename = unquote(match[4].decode("ascii"), errors="replace")
            blob = wanted.pop(((match[1] or match[3]).decode("ascii"), filename), None)
            if blob is None:
                raise ValueError(f"nobody asked for {filename}")
            if match[2] is None:
                yield blob, "the primary does not have it at this moment"
                continue
            content = stream[place : place + int(match[2])]
            place += int(match[2])
            if place > len(stream):  # if it is to blame, the next ones would never come
                yield blob, "the stream ended in the middle of it"
                break
            yield blob, _checked(blob, content)
        raise ValueError("the stream ended before it was complete")


def _checked(blob: KeptBlob, content: bytes) -> bytes | str:
    """Return ``content`` if it is that of ``blob``, else why not."""
    if len(content) != blob.size:
        return f"it has not the {blob.size:,} bytes that it should"
    digest = sha256(content).hexdigest()
    return content if digest == blob.sha256 else f"its sha256 is {digest}, not {blob.sha256}"
