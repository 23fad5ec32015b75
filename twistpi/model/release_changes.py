"""The changes that happen to private releases; see ``model/changes.py``."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from twistpi.model.records import NOTHING, Json
from twistpi.model.releases import LogLine


@attrs.frozen
class ReleaseDescribed:
    """A release was created, or its metadata changed: only what differs from before."""

    index: str
    project: str
    """The normalised name."""
    version: str
    changed: Mapping[str, Json] = NOTHING
    """Fields of the core metadata as the devpi protocol names them, with their new values."""
    removed: tuple[str, ...] = ()
    """Fields that are not set any more."""


@attrs.frozen
class FileUploaded:
    """A distribution was added to a release, or replaced one of the same name.  Its blobs were on disk before."""

    index: str
    project: str
    version: str
    filename: str
    sha256: str
    size: int
    """Bytes."""
    hashes: Mapping[str, str] = NOTHING
    """Other known digests, by algorithm."""
    requires_python: str | None = None
    metadata_sha256: str | None = None
    """Of the core metadata beside it; None without."""
    metadata_size: int | None = None
    provenance_sha256: str | None = None
    """Of its provenance object (PEP 740), which is kept as ``NAME.provenance`` under its own digits; None without."""
    provenance_size: int | None = None
    uploaded_at: str | None = None
    """UTC, when it was uploaded where it was pushed from; None for the time of the entry."""
    yanked: bool | str = False
    pushed_from: str | None = None
    """The index a push took it from; None for an upload."""
    log: tuple[LogLine, ...] = ()
    """Its log in the index it was pushed from."""


@attrs.frozen
class AttachmentAdded:
    """A test result or documentation was added to a release; documentation replaces the former one."""

    index: str
    project: str
    version: str
    attachment: str
    """``toxresult`` or ``doczip``."""
    filename: str
    sha256: str
    size: int
    """Bytes."""
    path: str
    """Below the index."""
    for_filename: str | None = None
    """Of the tested distribution; None for documentation."""
    pushed_from: str | None = None
    log: tuple[LogLine, ...] = ()


@attrs.frozen
class AttachmentRemoved:
    """A test result or documentation was removed."""

    index: str
    project: str
    path: str


@attrs.frozen
class FileRemoved:
    """A distribution was removed with its test results; the last one with its release, the last release with its project."""

    index: str
    project: str
    filename: str


@attrs.frozen
class ReleaseRemoved:
    """A release was removed with all its files; the last one with its project."""

    index: str
    project: str
    version: str


@attrs.frozen
class ProjectRemoved:
    """A project was removed from an index, with all that was known of it there."""

    index: str
    project: str


@attrs.frozen
class FileYanked:
    """A distribution of a private release was yanked, or is not yanked any more (PEP 592)."""

    index: str
    project: str
    filename: str
    yanked: bool | str
    """True or the reason; False when it is not yanked any more."""


@attrs.frozen
class ProjectMarked:
    """The status marker of a private project changed (PEP 792)."""

    index: str
    project: str
    status: str | None = None
    """``archived``, ``quarantined``, ``deprecated`` or ``active``; None for no marker."""
    reason: str | None = None
