"""The interfaces of the blob store.  Every method blocks."""

# ruff: noqa: N805 -- methods of a zope interface are declared as they are called, without self

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import BinaryIO

from zope.interface import Attribute, Interface

from twistpi.blobs.address import BlobAddress


class IIncoming(Interface):
    """Bytes on their way to become a blob: one writer, any number of readers of what is there already."""

    path: str = Attribute("Where the bytes are, for messages.")
    size: int = Attribute("How many bytes were written.")

    def fileno() -> int:
        """A descriptor to read the bytes from with ``os.pread`` or ``sendfile``, also after ``keep`` or ``discard``; until
        ``close``.
        """

    def write(data: bytes) -> None:
        """Add ``data`` at the end.  ``StorageFull`` when there is no room; the bytes are discarded then."""

    def read(offset: int, length: int) -> bytes:
        """At most ``length`` bytes from ``offset`` on; none at the end."""

    def truncate(size: int) -> None:
        """Keep the first ``size`` bytes only."""

    def discard() -> None:
        """Forget the bytes, unless they were kept.  May be called again."""

    def close() -> None:
        """Discard, and give the descriptor back.  May be called again."""

    def __enter__() -> IIncoming:
        """The same object."""

    def __exit__(kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """``close``."""


class IBlobs(Interface):
    """Blobs by address.  All methods may be called in any thread."""

    def path(address: BlobAddress) -> str:
        """Where the blob lies or would lie; not looked at."""

    def find(address: BlobAddress) -> int | None:
        """The size of the blob in bytes, or None when it is not here."""

    def open(address: BlobAddress) -> BinaryIO:
        """The blob for reading; ``FileNotFoundError`` when it is not here."""

    def incoming() -> IIncoming:
        """A new, empty file on its way.  ``StorageFull`` when there is no room for it."""

    def keep(incoming: IIncoming, address: BlobAddress, sha256: str) -> None:
        """Make ``incoming``, whose bytes have the SHA-256 ``sha256``, the blob at ``address``; safe on disk when this returns.

        The same bytes may be there already.  ``incoming`` stays open for its readers: close it when the last of them is done.
        The blob cannot be withdrawn until ``incoming`` is closed.

        Raises ``BlobConflict`` when other bytes are there, ``StorageFull`` when there is no room, ``SyncFailed`` when nobody
        knows what is on disk, which is final (law 10).  Whatever is raised, ``incoming`` is discarded.
        """

    def claim(address: BlobAddress) -> BinaryIO | None:
        """The blob for reading, as if it had been kept just now, for who is going to name it; None when it is not here.

        The blob cannot be withdrawn until the file is closed.
        """

    def last_kept(address: BlobAddress) -> float | None:
        """When the blob was last kept or claimed, in Unix seconds; None when it is not here."""

    def withdraw(address: BlobAddress, before: float) -> Callable[[], object] | None:
        """Take the blob out of its place, if it was last kept before ``before`` (Unix seconds) and nobody claims it.

        Quick, whatever the blob's size.  Returns what gives its room back, in whichever thread, and not later than the next
        start does; None when the blob stays, or is not here.
        """

    def remove(address: BlobAddress) -> bool:
        """Remove the blob; whether it was there."""

    def walk() -> Iterator[tuple[BlobAddress, int]]:
        """Every blob with its size in bytes, by address.  What is not a blob is passed over."""

    def foreign_paths() -> Iterator[str]:
        """The paths among the blobs that are not blobs', by name; nothing below such a path is told."""

    def digest(address: BlobAddress) -> str:
        """The SHA-256 of the blob's bytes as they are now; constant memory.  ``FileNotFoundError`` when it is not here."""
