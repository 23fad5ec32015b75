"""Pushes of releases: requests for them, and the changes of a push within this server, which make one entry."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

import attrs

from twistpi.model.changes import Change
from twistpi.model.errors import BadRequest, FileNotHereYet, InvalidName, TwistpiError, file_exists
from twistpi.model.names import IndexName, find_version, normalize_project
from twistpi.model.records import NOTHING, Index, Json, KnownFile, KnownProject
from twistpi.model.releases import Attachment, AttachmentAdded, FileRemoved, FileUploaded, Release, UploadedFile
from twistpi.rules.attachments import docs_of, toxresults_of
from twistpi.rules.json_bodies import unknown_keys
from twistpi.rules.releases import find_release
from twistpi.rules.upload_checks import described, every_field
from twistpi.rules.uploads import check_open, check_replaceable, file_of, is_volatile, uploaded_path

_WHAT: Final = ("name", "version")
_SELECTING: Final = ("no_docs", "only_docs")
_TARGET: Final = "targetindex"


@attrs.frozen
class Selection:
    """The release to push, and which parts of it."""

    name: str
    """Of the project, as in the request."""
    version: str
    no_docs: bool = False
    only_docs: bool = False

    @property
    def project(self) -> str:
        """The normalised name."""
        return normalize_project(self.name)


@attrs.frozen
class InternalPush:
    """A push to an index of this server."""

    selection: Selection
    target: str


@attrs.frozen
class ExternalPush:
    """A push to the upload address of another server."""

    selection: Selection
    url: str
    username: str
    password: str = attrs.field(repr=False)
    register_project: bool = False


def read_push(body: Json) -> InternalPush | ExternalPush:
    """Read the body of a request."""
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    if _TARGET in body:
        if (unknown := unknown_keys(body, (*_WHAT, *_SELECTING, _TARGET))) is not None:
            raise BadRequest(f"unknown additional options: {unknown}")
        return InternalPush(_selection(body), _index(body[_TARGET]))
    login = _text(body, "username", ""), _text(body, "password", "")
    return ExternalPush(_selection(body), _text(body, "posturl"), *login, _flag(body, "register_project"))


def _selection(body: dict[str, Json]) -> Selection:
    name, version = (_text(body, key) for key in _WHAT)
    normalize_project(name)
    no_docs, only_docs = (_flag(body, key) for key in _SELECTING)
    if no_docs and only_docs:
        raise BadRequest("can't use 'no_docs' and 'only_docs' together")
    return Selection(name, version, no_docs, only_docs)


def _index(value: Json) -> str:
    try:
        return str(IndexName.parse(value.strip("/") if isinstance(value, str) else ""))
    except InvalidName:
        raise BadRequest("targetindex not in format user/index") from None


def _text(body: dict[str, Json], key: str, default: str | None = None) -> str:
    value = body.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, str) or (not value and default is None):
        raise BadRequest(f"{key} must be given as text")
    return value


def _flag(body: dict[str, Json], key: str) -> bool:
    value = body.get(key)
    if value is not None and not isinstance(value, bool):
        raise BadRequest(f"{key} must be true or false")
    return bool(value)


QUARANTINED: Final = "quarantined"
ActionLog = list[list[Json]]
"""The lines that the devpi client shows of a push."""


@attrs.frozen
class PushSource:
    """The release that is pushed, where it is."""

    index: Index
    release: Release | None
    """From ``Reader.release`` or ``mirrored_release``; None when there is none."""
    status: str | None = None


@attrs.frozen
class PushTarget:
    """The target of a push, as it is before."""

    index: Index
    releases: Sequence[Release] = ()
    """All releases of the project."""
    status: str | None = None
    gone: Mapping[str, Collection[str]] = attrs.field(factory=dict)
    """File name -> the paths of former files of that name; needed where nothing may be replaced."""

    def release(self, version: str) -> Release | None:
        """Return the release with this ``version``, in any spelling."""
        releases = {release.version: release for release in self.releases}
        spelled = find_version(version, releases)
        return None if spelled is None else releases[spelled]

    def holder(self, filename: str) -> Release | None:
        """Return the release that has a file called ``filename``."""
        return next((release for release in self.releases if file_of(release, filename) is not None), None)


def mirrored_release(
    known: KnownProject | None, version: str, metadata_files: Mapping[str, tuple[str, int]] = NOTHING
) -> Release | None:
    """Return a release of a mirror as if it had been uploaded there; None when the mirror does not have it.

    ``metadata_files`` has, by file name, digest and size of core metadata that lie beside cached files without an entry.
    """
    found = None if known is None else find_release(version, known)
    if known is None or found is None:
        return None
    spelled, files = found
    required = next((file.link.requires_python for file in files if file.link.requires_python), None)
    metadata = {"name": known.project, "version": spelled, **({} if required is None else {"requires_python": required})}
    uploaded = tuple(UploadedFile(_with_metadata(file, metadata_files), ()) for file in files)
    return Release(known.index, known.project, spelled, metadata, uploaded)


def selected_files(release: Release, selection: Selection) -> tuple[UploadedFile, ...]:
    """Return the distributions of ``release`` that are pushed, by name."""
    files = () if selection.only_docs else release.files
    return tuple(sorted(files, key=lambda file: file.known.link.filename))


def selected_docs(release: Release, selection: Selection) -> Attachment | None:
    """Return the documentation of ``release`` if it is pushed."""
    return None if selection.no_docs else docs_of(release)


def checked_release(source: PushSource, selection: Selection) -> Release:
    """Return the release to push."""
    release = source.release
    if release is None:
        raise BadRequest(f"there are no files for {selection.name} {selection.version} on stage {source.index.name}")
    if source.status == QUARANTINED:
        raise TwistpiError(f"project {release.project} is quarantined on {source.index.name}, nothing can be pushed from it", 403)
    if not selected_files(release, selection) and selected_docs(release, selection) is None:
        raise TwistpiError(f"no release/files found for {selection.name} {selection.version}", 404)
    return release


def decide_push(source: PushSource, target: PushTarget, selection: Selection) -> tuple[tuple[Change, ...], ActionLog]:
    """Return the changes of pushing the ``selection`` to ``target``, and the lines about them.

    Files that the target has already, byte for byte, stay as they are; on an index that is not volatile even they are refused.
    So does documentation, whose name is that of the version as it is written there.
    """
    release = checked_release(source, selection)
    check_open(target.index, release.project, target.status)
    _check(release, target, selection)
    changes = list(_changes(source, release, target, selection))
    return tuple(changes), _lines(release, target.index.name, selection)


def _check(release: Release, target: PushTarget, selection: Selection) -> None:
    files = selected_files(release, selection)
    for file in files:
        filename, sha256 = file.known.link.filename, file.known.sha256
        existing = file_of(target.holder(filename), filename)
        gone = target.gone.get(filename, ()) if sha256 is not None else ()
        check_replaceable(target.index, filename, sha256 or "", existing, gone)
    docs = selected_docs(release, selection)
    if docs is not None and docs_of(target.release(release.version)) is not None and not is_volatile(target.index):
        raise file_exists(docs.filename)
    # Last, so that nothing is fetched for a push that is refused for another reason.
    missing = next((file.known.path for file in files if file.known.sha256 is None), None)
    if missing is not None:
        raise FileNotHereYet(f"the file {missing} of {release.index} was removed while it was pushed, try again")


def _changes(source: PushSource, release: Release, target: PushTarget, selection: Selection) -> Iterator[Change]:
    index, project, there = target.index.name, release.project, target.release(release.version)
    version = release.version if there is None else there.version
    # A mirror knows so little of its release that nothing else is replaced.
    metadata = release.metadata if source.index.is_mirror else every_field(release.metadata)
    yield from described(there, index, project, {**metadata, "version": release.version})
    for file in selected_files(release, selection):
        filename = file.known.link.filename
        holder = target.holder(filename)
        existing = file_of(holder, filename)
        is_elsewhere = holder is not None and holder is not there
        if is_elsewhere:
            yield FileRemoved(index, project, filename)
        if is_elsewhere or existing is None or existing.known.sha256 != file.known.sha256:
            yield _uploaded(file, release, index, version)
        kept = {one.path for one in toxresults_of(there, filename)}  # results of other bytes have other paths
        for result in toxresults_of(release, filename):
            if result.path not in kept:
                yield _attached(result, release, index, version)
    docs, former = selected_docs(release, selection), docs_of(there)
    if docs is not None and (former is None or former.sha256 != docs.sha256):
        yield _attached(docs, release, index, version)


def _lines(release: Release, target: str, selection: Selection) -> ActionLog:
    name = release.metadata.get("name") or release.project
    lines: ActionLog = [[200, "register", name, release.version, "->", target]]
    for file in selected_files(release, selection):
        path = uploaded_path(file.known.link.filename, file.known.sha256 or "")
        lines.append([200, "store_releasefile", f"{target}/{path}"])
        for result in toxresults_of(release, file.known.link.filename):
            lines.append([200, "store_toxresult", f"{target}/{result.path}"])
    if selected_docs(release, selection) is not None:
        lines.append([200, "store_doczip", name, release.version, "->", target])
    return lines


def _with_metadata(known: KnownFile, metadata_files: Mapping[str, tuple[str, int]]) -> KnownFile:
    """Return ``known`` with the core metadata that lies beside the file, as it does beside an uploaded one."""
    found = metadata_files.get(known.link.filename)
    if found is not None:
        return attrs.evolve(known, metadata_sha256=found[0], metadata_size=found[1])
    if known.link.sha256 is None:
        return attrs.evolve(known, metadata_sha256=None, metadata_size=None)
    return known


def _uploaded(file: UploadedFile, release: Release, index: str, version: str) -> FileUploaded:
    known, link = file.known, file.known.link
    assert known.sha256 is not None
    assert known.size is not None
    return FileUploaded(
        index,
        release.project,
        version,
        link.filename,
        known.sha256,
        known.size,
        {algorithm: digest for algorithm, digest in link.hashes.items() if algorithm != "sha256"},
        link.requires_python,
        known.metadata_sha256,
        known.metadata_size,
        file.provenance_sha256,
        file.provenance_size,
        link.upload_time,
        link.yanked,
        release.index,
        file.log,
    )


def _attached(attachment: Attachment, release: Release, index: str, version: str) -> AttachmentAdded:
    return AttachmentAdded(
        index,
        release.project,
        version,
        attachment.kind,
        attachment.filename,
        attachment.sha256,
        attachment.size,
        attachment.path,
        attachment.for_filename,
        release.index,
        attachment.log,
    )
