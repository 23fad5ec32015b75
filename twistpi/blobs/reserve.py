"""The free space that files of mirrors leave to what users send: they can be had again, uploads cannot."""

from __future__ import annotations

import os
from collections.abc import Callable

import attrs

from twistpi.model.server_errors import StorageFull
from twistpi.model.text import in_words


@attrs.frozen
class Reserve:
    """Free space of the disk that has the server directory."""

    _path: str
    _bytes: int
    _statvfs: Callable[[str], os.statvfs_result] = os.statvfs

    def require(self, size: int) -> None:
        """Raise ``StorageFull`` if a file of ``size`` bytes would take some of it.  Blocking."""
        try:
            found = self._statvfs(self._path)
        except OSError:
            return  # what is written to it will tell
        free = found.f_bavail * found.f_frsize
        if free - size < self._bytes:
            kept = f"of which the setting disk-reserve keeps {in_words(self._bytes)} for uploads"
            raise StorageFull(self._path, f"{in_words(free)} are free, {kept}")
