"""The releases of an index: which there are, which files they have, and what removing files, releases and projects changes."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from twistpi.model.changes import Change
from twistpi.model.names import comparable_version, version_of_filename
from twistpi.model.records import Index, KnownFile, KnownProject
from twistpi.model.release_changes import AttachmentRemoved, FileRemoved, ProjectRemoved, ReleaseRemoved
from twistpi.model.releases import Attachment, Release
from twistpi.model.upload_errors import (
    CachedFilesStay,
    FileGone,
    FileNotCached,
    NoFileToRemove,
    NoProjectToRemove,
    NoReleasesOnStage,
    NoVersionOnStage,
    ProjectStays,
    ReleaseStays,
)
from twistpi.rules.uploads import is_volatile


def releases(known: KnownProject) -> Mapping[str, tuple[KnownFile, ...]]:
    """Version -> its files, as ``known.offered`` orders them.

    A version is spelled as the index names it, else as the first file does.  Files whose names tell no version belong to
    none, and a version without files is no release.
    """
    named = {comparable_version(version): version for version in reversed(known.versions)}
    spelled = frozenset(known.versions)
    found: dict[str, list[KnownFile]] = {}
    for file in known.offered:
        version = version_of_filename(file.link.filename, known.project)
        if version is None:
            continue
        if version not in spelled:
            version = named.setdefault(comparable_version(version), version)
        found.setdefault(version, []).append(file)
    return {version: tuple(files) for version, files in found.items()}


def find_release(version: str, known: KnownProject) -> tuple[str, tuple[KnownFile, ...]] | None:
    """The release that ``version`` names, as the index spells it, with its files; None when the index has none such.

    The very spelling wins over another one of the same version.
    """
    found = releases(known)
    if version in found:
        return version, found[version]
    wanted = comparable_version(version)
    return next(((spelled, files) for spelled, files in found.items() if comparable_version(spelled) == wanted), None)


@attrs.frozen
class Found:
    """What lies at a path below an index."""

    path: str
    file: tuple[str, KnownFile] | None = None
    """A distribution and its project, as ``Reader.file_by_path`` tells."""
    attachment: tuple[str, str, Attachment] | None = None
    """A test result or documentation with its project and version, as ``Reader.attachment_by_path`` tells."""
    removed: bool = False
    """Whether something lay there once, as ``Reader.was_removed`` tells."""


def decide_file_removed(index: Index, found: Found, *, force: bool) -> tuple[Change, ...]:
    """What removing the distribution, test result or documentation at a path changes.

    Raises ``ReleaseStays``, ``NoFileToRemove``, ``FileGone``; for mirrors ``FileNotCached`` and ``CachedFilesStay``.
    """
    _check_version_goes(index, force)
    if index.is_mirror:
        return _cached_file_removed(index, found)
    if found.file is not None:
        project, known = found.file
        return (FileRemoved(index.name, project, known.link.filename),)
    if found.attachment is not None:
        project, _, attachment = found.attachment
        return (AttachmentRemoved(index.name, project, attachment.path),)
    raise FileGone(index.name, found.path) if found.removed else NoFileToRemove(index.name, found.path)


def decide_release_removed(
    index: Index, project: str, version: str, release: Release | None, known: KnownProject | None, *, force: bool
) -> tuple[Change, ...]:
    """What removing a release with all its files changes; ``known`` is what the index knows of its project.

    Raises ``ReleaseStays``, ``NoReleasesOnStage`` and ``NoVersionOnStage``; ``CachedFilesStay`` for files of a mirror that are
    here.
    """
    _check_version_goes(index, force)
    if known is None:
        raise NoReleasesOnStage(index.name, project)
    if index.is_mirror:
        _, files = find_release(version, known) or ("", ())
        if any(file.cached for file in files):
            raise CachedFilesStay(index.name, project)
        return ()
    if release is None:
        raise NoVersionOnStage(index.name, project, version)
    return (ReleaseRemoved(index.name, project, release.version),)


def decide_project_removed(index: Index, project: str, *, exists: bool, force: bool) -> tuple[Change, ...]:
    """What removing a project with all its releases changes; of a mirror, all that it knows and has of it.

    Raises ``ProjectStays`` and, unless the index itself knows the project (``exists``), ``NoProjectToRemove``.
    """
    if not force and not is_volatile(index):
        raise ProjectStays(index.name, project)
    if not exists:
        raise NoProjectToRemove(index.name, project)
    return (ProjectRemoved(index.name, project),)


def file_removed_message(index: str, path: str) -> str:
    """What is told of a file that was removed."""
    return f"package '{index}/{path}' deleted"


def release_removed_message(project: str, version: str) -> str:
    """What is told of a release that was removed."""
    return f"project {project!r} version {version!r} deleted"


def project_removed_message(index: str, project: str) -> str:
    """What is told of a project that was removed."""
    return f"project {project} deleted from stage {index}"


def _check_version_goes(index: Index, force: bool) -> None:
    if not force and not is_volatile(index):
        raise ReleaseStays(index.name)


def _cached_file_removed(index: Index, found: Found) -> tuple[Change, ...]:
    if found.file is None:
        raise NoFileToRemove(index.name, found.path)
    project, known = found.file
    if not known.cached:
        raise FileNotCached(index.name, found.path)
    raise CachedFilesStay(index.name, project)
