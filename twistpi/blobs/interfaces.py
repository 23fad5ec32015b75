"""The interface of the blob store.  Every method blocks."""

# ruff: noqa: N805 -- methods of a zope interface are declared as they are called, without self

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO

from zope.interface import Interface

from twistpi.blobs.address import BlobAddress, BlobTimes
from twistpi.blobs.incoming import IncomingFile


class IBlobs(Interface):
    """Blobs by address.  All methods may be called in any thread.

    *Here* is on this machine's disk.  That is all there is, but for a node of a cluster, whose disk is a cache: its blobs are in
    a bucket, which ``keep``, ``last_kept``, ``withdraw``, ``walk`` and ``foreign_paths`` are about.
    """

    def path(address: BlobAddress) -> str:
        """The blob's path, whether or not it is there."""

    def find(address: BlobAddress) -> int | None:
        """The size of the blob in bytes, or None when it is not here."""

    def open(address: BlobAddress) -> BinaryIO:
        """The blob for reading; ``FileNotFoundError`` when it is not here and cannot be brought here."""

    def incoming() -> IncomingFile:
        """A new, empty file.  ``StorageFull`` when there is no room for it."""

    def keep(incoming: IncomingFile, address: BlobAddress, sha256: str) -> None:
        """Make ``incoming``, whose bytes have the SHA-256 ``sha256``, the blob at ``address``; safe on disk when this returns.

        The same bytes may be there already.  ``incoming`` stays open for its readers; until it is closed the blob cannot be
        withdrawn.

        Raises ``BlobConflict`` when other bytes are there, ``StorageFull`` when there is no room, ``SyncFailed`` when it is
        unknown what is on disk, which is final (law 10).  Whatever is raised, ``incoming`` is discarded.
        """

    def claim(address: BlobAddress) -> BinaryIO | None:
        """The blob for reading, as if kept just now; None when it is not here.  Until it is closed, the blob stays."""

    def last_kept(address: BlobAddress) -> float | None:
        """When the blob was last kept or claimed, in Unix seconds; None when there is none."""

    def note_access(path: str, at: float) -> bool:
        """Make ``at`` (Unix seconds) the access time of the blob at a path that ``path`` returned; return whether it is here."""

    def times(address: BlobAddress) -> BlobTimes | None:
        """When the blob was kept and asked for; None when it is not here."""

    def withdraw(address: BlobAddress, before: float) -> Callable[[], object] | None:
        """Take the blob out of its place, if it was last kept before ``before`` (Unix seconds) and is not claimed.

        Quick, whatever the blob's size.  Returns a function that frees its room, for any thread (else the next start does); None
        when the blob stays, or there is none.
        """

    def remove(address: BlobAddress) -> bool:
        """Remove the bytes that are here, because they are not the right ones; whether there were any."""

    def walk() -> Iterator[tuple[BlobAddress, int]]:
        """Every blob with its size in bytes, by address."""

    def foreign_paths() -> Iterator[str]:
        """The paths among the blobs that are not blobs', by name; nothing below such a path is listed."""

    def digest(address: BlobAddress) -> str:
        """The SHA-256 of the blob's bytes as they are now; constant memory.  ``FileNotFoundError`` when it is not here."""
