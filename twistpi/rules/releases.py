"""The releases of an index with their files, and the changes when files, releases or projects are removed."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from twistpi.model.changes import Change
from twistpi.model.errors import Forbidden, NotFound, file_gone
from twistpi.model.names import comparable_version, version_of_filename
from twistpi.model.records import Index, KnownFile, KnownProject
from twistpi.model.release_changes import AttachmentRemoved, FileRemoved, ProjectRemoved, ReleaseRemoved
from twistpi.model.releases import Attachment, Release
from twistpi.rules.uploads import is_volatile


def releases(known: KnownProject) -> Mapping[str, tuple[KnownFile, ...]]:
    """Return version -> its files, in the order of ``known.offered``.

    A version is written as the index has it, else as in the first file name.  Files without a version in their names belong to no
    release, and a version without files is no release.
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
    """Return the release ``version``, as the index writes it, with its files; None when the index does not have it.

    An exact match is preferred to another spelling of the same version.
    """
    found = releases(known)
    if version in found:
        return version, found[version]
    wanted = comparable_version(version)
    return next(((spelled, files) for spelled, files in found.items() if comparable_version(spelled) == wanted), None)


@attrs.frozen
class Found:
    """The result of looking up a path below an index."""

    path: str
    file: tuple[str, KnownFile] | None = None
    """A project and its distribution, from ``Reader.file_by_path``."""
    attachment: tuple[str, str, Attachment] | None = None
    """Project, version, and the test result or documentation, from ``Reader.attachment_by_path``."""
    removed: bool = False
    """Whether a file was there once, from ``Reader.was_removed``."""


def decide_file_removed(index: Index, found: Found, *, force: bool) -> tuple[Change, ...]:
    """Return the change that removes the distribution, test result or documentation at a path.

    Raise ``Forbidden``, ``NotFound`` or ``TwistpiError``; for mirrors ``NotFound`` or ``Forbidden``.
    """
    _check_volatile(index, force)
    if index.is_mirror:
        if found.file is None:
            raise NotFound(f"package '{index.name}/{found.path}' doesn't exist")
        project, known = found.file
        if not known.cached:
            raise NotFound(f"entry has no file data {index.name}/{found.path}")
        raise Forbidden(
            f"the files of a mirror cannot be removed one by one, remove the project {project} from {index.name} as a whole"
        )
    if found.file is not None:
        project, known = found.file
        return (FileRemoved(index.name, project, known.link.filename),)
    if found.attachment is not None:
        project, _, attachment = found.attachment
        return (AttachmentRemoved(index.name, project, attachment.path),)
    raise file_gone(index.name, found.path) if found.removed else NotFound(f"package '{index.name}/{found.path}' doesn't exist")


def decide_release_removed(
    index: Index, project: str, version: str, release: Release | None, known: KnownProject | None, *, force: bool
) -> tuple[Change, ...]:
    """Return the change that removes a release with all its files; ``known`` is its project in the index.

    Raise ``Forbidden``, ``NotFound``; ``Forbidden`` for cached files of a mirror.
    """
    _check_volatile(index, force)
    if known is None:
        raise NotFound(f"project {project!r} not found on stage {index.name!r}")
    if index.is_mirror:
        _, files = find_release(version, known) or ("", ())
        if any(file.cached for file in files):
            raise Forbidden(
                f"the files of a mirror cannot be removed one by one, remove the project {project} from {index.name} as a whole"
            )
        return ()
    if release is None:
        raise NotFound(f"version {version!r} of project {project!r} not found on stage {index.name!r}")
    return (ReleaseRemoved(index.name, project, release.version),)


def decide_project_removed(index: Index, project: str, *, exists: bool, force: bool) -> tuple[Change, ...]:
    """Return the change that removes a project with all its releases; of a mirror, all that it knows and has of it.

    Raise ``Forbidden`` or, unless the index itself has the project (``exists``), ``NotFound``.
    """
    if not force and not is_volatile(index):
        raise Forbidden(f"project {project!r} is on non-volatile index {index.name}")
    if not exists:
        raise NotFound("project not found")
    return (ProjectRemoved(index.name, project),)


def file_removed_message(index: str, path: str) -> str:
    """Return the message about a file that was removed."""
    return f"package '{index}/{path}' deleted"


def release_removed_message(project: str, version: str) -> str:
    """Return the message about a release that was removed."""
    return f"project {project!r} version {version!r} deleted"


def project_removed_message(index: str, project: str) -> str:
    """Return the message about a project that was removed."""
    return f"project {project} deleted from stage {index}"


def _check_volatile(index: Index, force: bool) -> None:
    if not force and not is_volatile(index):
        raise Forbidden("cannot delete version on non-volatile index")
