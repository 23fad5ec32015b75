"""Blobs that wait to be fetched: what was uploaded before what mirrors have, each in the order in which it was found lacking."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import attrs

from twistpi.blobs.address import BlobAddress
from twistpi.replication.blob_search import Lack
from twistpi.view.read import KeptBlob

SMALL: Final = 512 * 1024
"""Bytes up to which a blob comes with others."""
_BUNCH: Final = 200
"""Blobs of one request at most."""
_BUNCH_BYTES: Final = 8 * 1024 * 1024
"""And their bytes, about."""

Key = tuple[str, str]


class BlobBringer(Protocol):
    """Fetches single blobs, for clients as well (``mirror.relayed_files.RelayedDownloads``)."""

    async def bring(self, blob: KeptBlob) -> None:
        """Return once ``blob`` is here."""

    def is_fetching(self, address: BlobAddress) -> bool:
        """Whether somebody is fetching it."""


@attrs.define(eq=False)
class Waiting:
    """The queue."""

    _private: dict[Key, Lack] = attrs.field(factory=dict)
    _mirrored: dict[Key, Lack] = attrs.field(factory=dict)

    def put(self, lack: Lack) -> None:
        """Have ``lack`` wait; one that waits already stays where it is."""
        (self._private if lack.is_private else self._mirrored).setdefault(lack.key, lack)

    def take(self, *, alone: bool, is_fetching: Callable[[BlobAddress], bool]) -> list[Lack]:
        """Those that are to be fetched next with one request: several small ones, or one, if one ``alone`` may be; else none."""
        for queue in (self._private, self._mirrored):
            bunch = _bunch(queue, is_fetching)
            if len(bunch) < 2:
                bunch = (bunch or list(queue.values())[:1]) if alone else []
            for lack in bunch:
                del queue[lack.key]
            if bunch:
                return bunch
        return []

    def __len__(self) -> int:
        return len(self._private) + len(self._mirrored)


def _bunch(queue: dict[Key, Lack], is_fetching: Callable[[BlobAddress], bool]) -> list[Lack]:
    """Small ones from the front of ``queue``, but for those that somebody fetches already."""
    bunch: list[Lack] = []
    size = 0
    for number, lack in enumerate(queue.values()):
        if number >= 2 * _BUNCH or len(bunch) >= _BUNCH or size >= _BUNCH_BYTES:
            break
        if lack.blob.size <= SMALL and not is_fetching(BlobAddress(*lack.key)):
            bunch.append(lack)
            size += lack.blob.size
    return bunch
