"""Many small blobs at once: one request, one stream, each blob verified and kept by itself as it comes.

A blob is synced before it gets its name, and the folders that hold the name before the next one is begun
(``blobs/tree.py``), as if it had come alone.  What makes it fast is that several bunches are on their way at a time, each in a
thread of its own: a file system that is asked for several syncs at once answers them with one write to its journal.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import attrs
import orjson

from twistpi.blobs.address import BlobAddress
from twistpi.blobs.interfaces import IBlobs, IIncoming
from twistpi.http.body import Offload
from twistpi.model.errors import BlobConflict, TwistpiError
from twistpi.model.following_errors import PrimaryUnreachable
from twistpi.replication.frames import FrameReader, FramesDamaged
from twistpi.replication.primary import Primary
from twistpi.view.read import KeptBlob

PATH: Final = "/+blobs"
NOT_THERE: Final = "the primary does not have it at this moment"


@attrs.define(eq=False)
class Bunch:
    """What becomes of the blobs of one request; a ``frames.BlobTaker``.  Blocking, but for what the reactor reads afterwards."""

    _blobs: IBlobs
    _wanted: dict[tuple[str, str], KeptBlob]
    """By digits and file name; what did not come yet."""
    lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    """Held by whoever hands it a piece of the stream, or closes it."""
    kept: list[KeptBlob] = attrs.field(factory=list, init=False)
    """What is here now."""
    refused: list[tuple[KeptBlob, str]] = attrs.field(factory=list, init=False)
    """What came otherwise than it should, or is not there, and why."""
    _blob: KeptBlob | None = attrs.field(default=None, init=False)
    _incoming: IIncoming | None = attrs.field(default=None, init=False)
    _digest: Any = attrs.field(default=None, init=False)

    @classmethod
    def of(cls, blobs: IBlobs, wanted: Sequence[KeptBlob]) -> Bunch:
        """A bunch of ``wanted``."""
        return cls(blobs, {(blob.digits, blob.filename): blob for blob in wanted})

    @property
    def left(self) -> list[KeptBlob]:
        """What neither came nor was refused."""
        return list(self._wanted.values())

    def begin(self, digits: str, filename: str, size: int) -> None:
        """See ``BlobTaker``; raises ``FramesDamaged`` for what nobody asked for."""
        self._blob = self._take(digits, filename)
        self._digest = hashlib.sha256()
        if size == self._blob.size:
            self._incoming = self._blobs.incoming()

    def write(self, data: bytes) -> None:
        """See ``BlobTaker``; raises ``StorageFull``."""
        if self._incoming is not None:
            self._incoming.write(data)
            self._digest.update(data)

    def end(self) -> None:
        """See ``BlobTaker``: keep the blob, if it is right.  Raises what ``IBlobs.keep`` raises."""
        blob, incoming = self._blob, self._incoming
        assert blob is not None, "something began"
        self._blob = self._incoming = None
        if incoming is None:
            self.refused.append((blob, f"it has not the {blob.size:,} bytes that it should"))
            return
        with incoming:
            if self._digest.hexdigest() != blob.sha256:
                self.refused.append((blob, f"its sha256 is {self._digest.hexdigest()}, not {blob.sha256}"))
                return
            try:
                self._blobs.keep(incoming, BlobAddress(blob.digits, blob.filename), blob.sha256)
            except BlobConflict as conflict:
                self.refused.append((blob, str(conflict)))
                return
        self.kept.append(blob)

    def missing(self, digits: str, filename: str) -> None:
        """See ``BlobTaker``."""
        self.refused.append((self._take(digits, filename), NOT_THERE))

    def close(self, *, is_cut: bool) -> None:
        """Forget what has only half come.

        When the stream ``is_cut`` it counts as refused: if it was to blame, what comes after it would never come.
        """
        with self.lock:  # a thread may be in the midst of writing when the server stops
            blob, incoming = self._blob, self._incoming
            self._blob = self._incoming = None
            if incoming is not None:
                incoming.close()
        if blob is not None and is_cut:
            self.refused.append((blob, "the stream ended in the middle of it"))
        elif blob is not None:
            self._wanted[blob.digits, blob.filename] = blob

    def _take(self, digits: str, filename: str) -> KeptBlob:
        blob = self._wanted.pop((digits, filename), None)
        if blob is None:
            raise FramesDamaged(f"nobody asked for {filename}")
        return blob


async def bring(primary: Primary, bunch: Bunch, offload: Offload, silence: float) -> str | None:
    """Ask for what is left of ``bunch``; why not all of it came, or None.

    Raises ``PrimaryUnreachable``, ``StorageFull``, ``SyncFailed``; in any case ``bunch`` tells what was kept before.
    """
    wanted = orjson.dumps([[blob.digits, blob.filename] for blob in bunch.left])
    answer = await primary.ask("POST", PATH, headers={"Content-Type": "application/json"}, body=wanted)
    if answer.status != 200:
        answer.discard()
        return f"the primary answered {answer.status}"
    frames = FrameReader(bunch)

    def take(pieces: list[bytes]) -> None:
        with bunch.lock:
            for piece in pieces:
                frames.feed(piece)

    is_cut = True
    try:
        await answer.write_to(take, silence=silence)
    except PrimaryUnreachable as broken:
        return broken.reason
    except FramesDamaged as damaged:
        return str(damaged)
    except TwistpiError:
        is_cut = False
        raise
    finally:
        await offload(partial(bunch.close, is_cut=is_cut))
    return None if frames.complete else "the stream ended before it was complete"
