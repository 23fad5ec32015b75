"""The interfaces of the blob store.  Every method blocks."""

# ruff: noqa: N805 -- methods of a zope interface are declared as they are called, without self

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import BinaryIO

from zope.interface import Attribute, Interface

from twistpi.blobs.address import BlobAddress


class IIncoming(Interface):
    """Bytes that may become a blob: one writer, any number of readers meanwhile."""

    path: str = Attribute("Where the bytes are, for messages.")
    size: int = Attribute("Bytes written.")

    def fileno() -> int:
        """A descriptor for ``os.pread`` or ``sendfile``; valid until ``close``, also after ``keep`` or ``discard``."""

    def write(data: bytes) -> None:
        """Add ``data`` at the end.  ``StorageFull`` when there is no room; the bytes are discarded then."""

    def read(offset: int, length: int) -> bytes:
        """At most ``length`` bytes from ``offset`` on; none at the end."""

    def truncate(size: int) -> None:
        """Keep the first ``size`` bytes only."""

    def discard() -> None:
        """Remove the bytes, unless they were kept.  May be called again."""

    def close() -> None:
        """Discard, and close the descriptor.  May be called again."""

    def __enter__() -> IIncoming:
        """The same object."""

    def __exit__(kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """``close``."""


class IBlobs(Interface):
    """Blobs by address.  All methods may be called in any thread."""

    def path(address: BlobAddress) -> str:
        """The blob's path, whether or not it is there."""

    def find(address: BlobAddress) -> int | None:
        """The size of the blob in bytes, or None when it is not here."""

    def open(address: BlobAddress) -> BinaryIO:
        """The blob for reading; ``FileNotFoundError`` when it is not here."""

    def incoming() -> IIncoming:
        """A new, empty file.  ``StorageFull`` when there is no room for it."""

    def keep(incoming: IIncoming, address: BlobAddress, sha256: str) -> None:
        """Make ``incoming``, whose bytes have the SHA-256 ``sha256``, the blob at ``address``; safe on disk when this returns.

        The same bytes may be there already.  ``incoming`` stays open for its readers; until it is closed the blob cannot be
        withdrawn.

        Raises ``BlobConflict`` when other bytes are there, ``StorageFull`` when there is no room, ``SyncFailed`` when it is
        unknown what is on disk, which is final (law 10).  Whatever is raised, ``incoming`` is discarded.
        """

    def claim(address: BlobAddress) -> BinaryIO | None:
        """The blob for reading, as if kept just now; None when it is not here.  Until it is closed, the blob stays."""

    def last_kept(address: BlobAddress) -> float | None:
        """When the blob was last kept or claimed, in Unix seconds; None when it is not here."""

    def withdraw(address: BlobAddress, before: float) -> Callable[[], object] | None:
        """Take the blob out of its place, if it was last kept before ``before`` (Unix seconds) and is not claimed.

        Quick, whatever the blob's size.  Returns a function that frees its room, for any thread (else the next start does); None
        when the blob stays, or is not here.
        """

    def remove(address: BlobAddress) -> bool:
        """Remove the blob; whether it was there."""

    def walk() -> Iterator[tuple[BlobAddress, int]]:
        """Every blob with its size in bytes, by address."""

    def foreign_paths() -> Iterator[str]:
        """The paths among the blobs that are not blobs', by name; nothing below such a path is listed."""

    def digest(address: BlobAddress) -> str:
        """The SHA-256 of the blob's bytes as they are now; constant memory.  ``FileNotFoundError`` when it is not here."""
