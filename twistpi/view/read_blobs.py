"""Questions to the view about blobs: which of them anything names."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Final

import attrs

_METADATA: Final = ".metadata"
_PROVENANCE: Final = ".provenance"


@attrs.frozen
class KeptBlob:
    """A blob that some file of the view needs."""

    digits: str
    """The 16 hexadecimal digits in its path."""
    filename: str
    """``NAME``, ``NAME.metadata`` for core metadata, or ``NAME.provenance``."""
    sha256: str
    """Of its bytes."""
    size: int
    """Bytes."""


class BlobReader:
    """Asks for blobs through one connection; the part of ``Reader`` that knows how they are named."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._execute = connection.execute

    def kept_blobs(self) -> Iterator[KeptBlob]:
        """Every blob that the view says is here; one that several indexes hold comes several times."""
        rows = self._execute(
            "SELECT filename, link_sha256, sha256, size, metadata_sha256, metadata_size"
            " FROM kept CROSS JOIN file ON file.id = kept.file"
        )
        for filename, link_sha256, sha256, size, metadata_sha256, metadata_size in rows:
            if sha256 is not None:
                yield KeptBlob(sha256[:16], filename, sha256, size)
            if metadata_sha256 is not None:
                digits = (link_sha256 or metadata_sha256)[:16]
                yield KeptBlob(digits, f"{filename}{_METADATA}", metadata_sha256, metadata_size)
        rows = self._execute(
            "SELECT filename, provenance_sha256, provenance_size"
            " FROM uploaded JOIN file ON file.id = uploaded.file WHERE provenance_sha256 IS NOT NULL"
        )
        for filename, sha256, size in rows:
            yield KeptBlob(sha256[:16], f"{filename}{_PROVENANCE}", sha256, size)
        for path, sha256, size in self._execute("SELECT path, sha256, size FROM attachment"):
            _, three, thirteen, filename = path.split("/")
            yield KeptBlob(three + thirteen, filename, sha256, size)

    def names_blob(self, digits: str, filename: str) -> bool:
        """Whether ``kept_blobs`` tells of a blob with these ``digits`` and this ``filename``; a few look-ups, however large the
        view is.
        """
        kept = "SELECT 1 FROM file CROSS JOIN kept ON kept.file = file.id WHERE filename = ? AND"
        ways = [
            (f"{kept} substr(sha256, 1, 16) = ?", filename, digits),
            ("SELECT 1 FROM attachment WHERE path = ?", f"+f/{digits[:3]}/{digits[3:]}/{filename}"),
        ]
        if filename.endswith(_METADATA):
            theirs = "metadata_sha256 IS NOT NULL AND substr(coalesce(link_sha256, metadata_sha256), 1, 16) = ?"
            ways.append((f"{kept} {theirs}", filename.removesuffix(_METADATA), digits))
        if filename.endswith(_PROVENANCE):
            uploaded = "SELECT 1 FROM file CROSS JOIN uploaded ON uploaded.file = file.id WHERE filename = ?"
            ways.append((f"{uploaded} AND substr(provenance_sha256, 1, 16) = ?", filename.removesuffix(_PROVENANCE), digits))
        return any(self._execute(statement, values).fetchone() is not None for statement, *values in ways)
