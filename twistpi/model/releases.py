"""Private releases with their files and attachments, and the changes that happen to them; see ``model/changes.py``.

Names of projects are normalised, those of indexes read ``user/name``; sizes are in bytes, times UTC.

Source: the devpi protocol's version data (``+links`` and their logs).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs

from twistpi.model.records import NOTHING, Json, KnownFile

TOXRESULT: Final = "toxresult"
DOCZIP: Final = "doczip"


@attrs.frozen
class LogLine:
    """One event in the history of a file."""

    what: str
    """``upload``, ``push`` or ``overwrite``."""
    who: str | None
    """The user; None without a login, and for every ``overwrite``."""
    when: str
    """UTC, ``2026-11-22T17:24:48Z``."""
    dst: str
    """The index it happened to."""
    src: str | None = None
    """The index a push came from."""
    count: int | None = None
    """How often the file was overwritten so far."""


@attrs.frozen
class UploadedFile:
    """A distribution of a private release."""

    known: KnownFile
    log: tuple[LogLine, ...]
    provenance_sha256: str | None = None
    """SHA-256 of its provenance object (PEP 740), which is kept as ``NAME.provenance`` under its own digits; None without one."""
    provenance_size: int | None = None


@attrs.frozen
class Attachment:
    """A test result of a file, or the documentation of a release."""

    kind: str
    """``toxresult`` or ``doczip``."""
    filename: str
    path: str
    sha256: str
    size: int
    log: tuple[LogLine, ...]
    for_filename: str | None = None
    """Of the tested distribution; None for documentation."""


@attrs.frozen
class Release:
    """A version of a private project."""

    index: str
    project: str
    version: str
    """As it was uploaded."""
    metadata: Mapping[str, Json] = NOTHING
    """Every field that was given; ``name`` as it was written."""
    files: tuple[UploadedFile, ...] = ()
    """In the order in which they were stored."""
    attachments: tuple[Attachment, ...] = ()


TEXT_FIELDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "name": "Name",
        "version": "Version",
        "metadata_version": "Metadata-Version",
        "summary": "Summary",
        "home_page": "Home-page",
        "author": "Author",
        "author_email": "Author-email",
        "maintainer": "Maintainer",
        "maintainer_email": "Maintainer-email",
        "license": "License",
        "description": "Description",
        "keywords": "Keywords",
        "download_url": "Download-URL",
        "requires_python": "Requires-Python",
        "description_content_type": "Description-Content-Type",
        "license_expression": "License-Expression",
    }
)
"""Key -> header, of the fields that occur once.  A form also has ``comment``, which is no field of core metadata."""

LIST_FIELDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "platform": "Platform",
        "classifiers": "Classifier",
        "supported_platform": "Supported-Platform",
        "provides": "Provides",
        "requires": "Requires",
        "obsoletes": "Obsoletes",
        "project_urls": "Project-URL",
        "provides_dist": "Provides-Dist",
        "obsoletes_dist": "Obsoletes-Dist",
        "requires_dist": "Requires-Dist",
        "requires_external": "Requires-External",
        "provides_extras": "Provides-Extra",
        "dynamic": "Dynamic",
        "license_file": "License-File",
        "import_names": "Import-Name",
        "import_namespaces": "Import-Namespace",
    }
)
"""Key -> header, of the fields that may be repeated."""


# Changes -------------------------------------------------------------------------------------------------------------


@attrs.frozen
class ReleaseDescribed:
    """A release was created, or its metadata changed: only what differs from before."""

    index: str
    project: str
    version: str
    changed: Mapping[str, Json] = NOTHING
    """Fields of the core metadata as the devpi protocol names them, with their new values."""
    removed: tuple[str, ...] = ()


@attrs.frozen
class FileUploaded:
    """A distribution was added to a release, or replaced one of the same name.  Its blobs were on disk before."""

    index: str
    project: str
    version: str
    filename: str
    sha256: str
    size: int
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
    """Its log in the index it was pushed from; of an import, which says no such index, its whole log."""


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
    path: str
    for_filename: str | None = None
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
    """A distribution was removed with its test results; the last one with its release, the last release with its project.

    Of a mirror's file, which stays listed, the bytes and the core metadata were thrown away.
    """

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
