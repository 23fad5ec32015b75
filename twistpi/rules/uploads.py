"""Uploads to private indexes: what a distribution or a registration changes.

A file name belongs to one release of a project.  On a volatile index other bytes take the place of those that were there, on
others they are refused; the same bytes again change nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import attrs

from twistpi.model.account_errors import NoUploadToMirror
from twistpi.model.changes import Change
from twistpi.model.records import NOTHING, Index, Json, Link
from twistpi.model.release_changes import FileRemoved, FileUploaded
from twistpi.model.releases import Release, UploadedFile
from twistpi.model.upload_errors import FileExists, FilenameUsed, ProjectClosed
from twistpi.rules.mirrors import file_path
from twistpi.rules.upload_checks import described, every_field

IDENTICAL: Final = "Upload of identical file to non volatile index."
"""How a success is called that changed nothing, on an index that is not volatile."""
CLOSED: Final = frozenset({"archived", "quarantined"})
"""Status markers (PEP 792) of projects that take no uploads."""


@attrs.frozen
class Upload:
    """A distribution whose blobs are on disk."""

    project: str
    """The normalised name."""
    version: str
    """As the form spells it."""
    filename: str
    sha256: str
    size: int
    """Bytes."""
    metadata: Mapping[str, Json]
    """What is said of the release, empty fields too (``upload_metadata.merge_metadata``)."""
    hashes: Mapping[str, str] = NOTHING
    """Other digests, by algorithm."""
    requires_python: str | None = None
    metadata_sha256: str | None = None
    """Of the core metadata beside it; None without."""
    metadata_size: int | None = None
    provenance_sha256: str | None = None
    """Of the provenance object beside it; None without."""
    provenance_size: int | None = None

    @property
    def path(self) -> str:
        """Where the file is going to be, below its index."""
        return uploaded_path(self.filename, self.sha256)


def uploaded_path(filename: str, sha256: str) -> str:
    """The path below its index of an uploaded file, or of documentation."""
    return file_path(Link(filename, "", {"sha256": sha256}))


def is_volatile(index: Index) -> bool:
    """Whether what is there may be replaced and removed."""
    return bool(index.config.get("volatile", True))


def check_open(index: Index, project: str, status: str | None) -> None:
    """Refuse uploads to a mirror (``NoUploadToMirror``) and to a project whose ``status`` forbids them (``ProjectClosed``)."""
    if index.is_mirror:
        raise NoUploadToMirror(index.name)
    if status in CLOSED:
        raise ProjectClosed(index.name, project, str(status))


def decide_file_uploaded(
    index: Index,
    release: Release | None,
    status: str | None,
    upload: Upload,
    *,
    holder: Release | None = None,
    gone: Collection[str] = (),
) -> tuple[Change, ...]:
    """What ``upload`` changes, nothing when the same bytes are there already.

    ``release`` is the one it is for, ``holder`` the one of the project that has a file of this name (``Reader.release_of_file``):
    another one when their versions are spelled differently.  ``gone`` are the paths that led to files of this name and lead
    nowhere now (``Reader.removed_paths``); they matter on an index that is not volatile.  ``status`` is the project's.

    Raises ``FileExists``, ``FilenameUsed``, ``ProjectClosed`` and ``NoUploadToMirror``, and then nothing has changed.
    """
    check_open(index, upload.project, status)
    holder = holder or release
    existing = file_of(holder, upload.filename)
    if existing is not None and existing.known.sha256 == upload.sha256:
        return ()
    check_replaceable(index, upload.filename, upload.sha256, existing, gone)
    changes: list[Change] = [*described(release, index.name, upload.project, upload.metadata)]
    if existing is not None and holder is not None and holder.version != upload.version:
        # After the release is there: a project that was empty for a moment would lose its status.
        changes.append(FileRemoved(index.name, upload.project, upload.filename))
    return (*changes, _uploaded(index.name, upload))


def decide_registered(
    index: Index, release: Release | None, project: str, status: str | None, metadata: Mapping[str, Json]
) -> tuple[Change, ...]:
    """What registering changes: the release, made anew where there is none, has the ``metadata`` of the form and no other.

    Raises ``ProjectClosed`` and ``NoUploadToMirror``.
    """
    check_open(index, project, status)
    return described(release, index.name, project, every_field(metadata))


def file_of(release: Release | None, filename: str) -> UploadedFile | None:
    """The file of ``release`` that is called ``filename``."""
    files = () if release is None else release.files
    return next((file for file in files if file.known.link.filename == filename), None)


def check_replaceable(index: Index, filename: str, sha256: str, existing: UploadedFile | None, gone: Collection[str]) -> None:
    """Refuse new bytes under a name that has, or had, others on an index that is not volatile: ``FileExists``, ``FilenameUsed``.

    With the index's setting ``reuse_filenames`` names of removed files may be used again.
    """
    if is_volatile(index):
        return
    if existing is not None:
        raise FileExists(filename)
    if gone and uploaded_path(filename, sha256) not in gone and not index.config.get("reuse_filenames", False):
        raise FilenameUsed(index.name, filename)


def _uploaded(index: str, upload: Upload) -> FileUploaded:
    return FileUploaded(
        index,
        upload.project,
        upload.version,
        upload.filename,
        upload.sha256,
        upload.size,
        upload.hashes,
        upload.requires_python,
        upload.metadata_sha256,
        upload.metadata_size,
        upload.provenance_sha256,
        upload.provenance_size,
    )
