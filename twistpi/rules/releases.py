"""The releases of an index: their files, their removal, yanked files and the status of projects."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import attrs

from twistpi.model.changes import Change
from twistpi.model.errors import BadRequest, TwistpiError, UnknownFile, UnknownProject, file_gone
from twistpi.model.names import comparable_version, find_version, version_of_filename
from twistpi.model.records import Index, Json, KnownFile, KnownProject, PageHeader
from twistpi.model.releases import (
    LIST_FIELDS,
    Attachment,
    AttachmentRemoved,
    FileRemoved,
    FileYanked,
    ProjectMarked,
    ProjectRemoved,
    Release,
    ReleaseRemoved,
)
from twistpi.model.text import one_line
from twistpi.rules.json_bodies import shown, unknown_keys
from twistpi.rules.uploads import is_volatile

_NOT_OF_A_FILE: Final = frozenset({"name", "version", "metadata_version", "description", "requires_python", "comment"})
"""Fields that are shown in another way, that no core metadata has, or that are too long to be repeated for each file."""


def differing_fields(own: Mapping[str, Mapping[str, Json]], common: Mapping[str, Json]) -> Mapping[str, Mapping[str, Json]]:
    """Return file name -> the fields of its ``own`` core metadata that differ from the ``common`` ones of its release.

    A field that the file does not have is empty.  Fields that no file has, as they came with an upload's form, are left out.
    """
    stated = {key for fields in own.values() for key in fields} - _NOT_OF_A_FILE
    return {
        filename: {
            key: fields.get(key, [] if key in LIST_FIELDS else "")
            for key in sorted(stated)
            if (fields.get(key) or None) != (common.get(key) or None)
        }
        for filename, fields in own.items()
    }


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
    spelled = find_version(version, found)
    return None if spelled is None else (spelled, found[spelled])


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

    Of a mirrored file only the bytes go: it is fetched again when it is requested next.
    """
    _check_volatile(index, force)
    if found.file is not None:
        project, known = found.file
        if index.is_mirror and not known.cached:
            raise TwistpiError(f"entry has no file data {index.name}/{found.path}", 404)
        if known.vanished:
            raise _not_one_by_one(index, project)
        return (FileRemoved(index.name, project, known.link.filename),)
    if found.attachment is not None:
        project, _, attachment = found.attachment
        return (AttachmentRemoved(index.name, project, attachment.path),)
    if found.removed and not index.is_mirror:
        raise file_gone(index.name, found.path)
    raise TwistpiError(f"package '{index.name}/{found.path}' doesn't exist", 404)


def decide_release_removed(
    index: Index, project: str, version: str, release: Release | None, known: KnownProject | None, *, force: bool
) -> tuple[Change, ...]:
    """Return the changes that remove a release with all its files; ``known`` is its project in the index.

    Of a mirror's files only the bytes go, as in ``decide_file_removed``.
    """
    _check_volatile(index, force)
    if known is None:
        raise TwistpiError(f"project {project!r} not found on stage {index.name!r}", 404)
    if index.is_mirror:
        _, files = find_release(version, known) or ("", ())
        stored = [file for file in files if file.cached]
        if any(file.vanished for file in stored):
            raise _not_one_by_one(index, project)
        return tuple(FileRemoved(index.name, project, file.link.filename) for file in stored)
    if release is None:
        raise TwistpiError(f"version {version!r} of project {project!r} not found on stage {index.name!r}", 404)
    return (ReleaseRemoved(index.name, project, release.version),)


def decide_project_removed(index: Index, project: str, *, exists: bool, force: bool) -> tuple[Change, ...]:
    """Return the change that removes a project with all its releases; of a mirror, all that it knows and has of it."""
    if not force and not is_volatile(index):
        raise TwistpiError(f"project {project!r} is on non-volatile index {index.name}", 403)
    if not exists:
        raise TwistpiError("project not found", 404)
    return (ProjectRemoved(index.name, project),)


def _not_one_by_one(index: Index, project: str) -> TwistpiError:
    whole = f"remove the project {project} from {index.name} as a whole"
    return TwistpiError(f"what a mirror's upstream does not list cannot be removed one by one, {whole}", 403)


def _check_volatile(index: Index, force: bool) -> None:
    if not force and not is_volatile(index):
        raise TwistpiError("cannot delete version on non-volatile index", 403)


# Yanked files (PEP 592) and the status of projects (PEP 792) ---------------------------------------------------------


STATUSES: Final = ("active", "archived", "deprecated", "quarantined")
"""The status markers of a project."""
_LONGEST_REASON: Final = 1000
"""Characters: pages repeat it for every file."""
_REASON: Final = "reason"
_STATUS: Final = "status"


def read_yank(body: Json) -> bool | str:
    """Read ``{"reason": "…"}`` or nothing: return the reason, or True without one."""
    return _reason(_object(body, (_REASON,)).get(_REASON)) or True


def read_status(body: Json) -> tuple[str | None, str | None]:
    """Read ``{"status": "archived", "reason": "…"}``: return status and reason, None for what is not given."""
    given = _object(body, (_STATUS, _REASON))
    status = given.get(_STATUS)
    if status is not None and status not in STATUSES:
        raise BadRequest(f"unknown project status {shown(status)}, it must be one of {', '.join(STATUSES)}")
    reason = _reason(given.get(_REASON)) or None
    if status is None and reason is not None:
        raise BadRequest("a reason needs a project status")
    return status, reason


def decide_yank(index: Index, release: Release, filenames: Collection[str] | None, yanked: bool | str) -> tuple[Change, ...]:
    """Return the changes that yank the files ``filenames``, or all (None), of ``release``, or undo that.

    ``yanked`` is True, the reason, or False.
    """
    check_markable(index)
    wanted = None if filenames is None else frozenset(filenames)
    files = {file.known.link.filename: file.known.link for file in release.files}
    for filename in sorted(wanted or ()):
        if filename not in files:
            raise UnknownFile(index.name, filename)
    mark = yanked or yanked == ""  # an empty reason is none, not "not yanked"
    return tuple(
        FileYanked(index.name, release.project, filename, mark)
        for filename, link in files.items()
        if (wanted is None or filename in wanted) and link.yanked != mark
    )


def decide_status(
    index: Index, project: str, header: PageHeader | None, status: str | None, reason: str | None = None
) -> tuple[Change, ...]:
    """Return the change that gives ``project`` (normalised) this ``status``, or none (None).

    ``header`` is the present one, None when the index does not have the project.
    """
    check_markable(index)
    if header is None:
        raise UnknownProject(index.name, project)
    if (header.status, header.status_reason) == (status, reason):
        return ()
    return (ProjectMarked(index.name, project, status, reason),)


def check_markable(index: Index) -> None:
    """Raise ``BadRequest`` for a mirror."""
    if index.is_mirror:
        raise BadRequest(f"{index.name} is a mirror: its upstream says which files are yanked and which status projects have")


def _object(body: Json, keys: Collection[str]) -> dict[str, Json]:
    if body is None:
        return {}
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    if (unknown := unknown_keys(body, keys)) is not None:
        raise BadRequest(f"unknown keys: {unknown}")
    return body


def _reason(value: Json) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRequest("the reason must be text")
    reason = one_line(value)
    if len(reason) > _LONGEST_REASON:
        raise BadRequest(f"the reason is longer than {_LONGEST_REASON} characters")
    return reason
