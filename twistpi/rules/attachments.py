"""Test results and documentation: how they are called, and what adding them changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import attrs
from packaging.version import InvalidVersion, Version

from twistpi.model.changes import Change
from twistpi.model.errors import BlobConflict
from twistpi.model.names import check_filename, normalize_project
from twistpi.model.records import Index, Json
from twistpi.model.release_changes import AttachmentAdded
from twistpi.model.releases import DOCZIP, TOXRESULT, Attachment, Release
from twistpi.model.upload_errors import FileExists, NoFileForToxresult, NoVersionForDocs
from twistpi.rules.upload_checks import described, read_metadata
from twistpi.rules.uploads import check_open, file_of, is_volatile, uploaded_path

_VERSION: Final = "version"


# Documentation -----------------------------------------------------------------------------------------------------


@attrs.frozen
class Docs:
    """Documentation of a release whose blob, called ``docs_filename``, is on disk."""

    name: str
    """Of the project, as the form spells it."""
    version: str
    """What ``read_docs_version`` told."""
    filename: str
    """What the upload called it, which only a refusal repeats."""
    sha256: str
    size: int
    """Bytes."""

    @property
    def project(self) -> str:
        """The normalised name."""
        return normalize_project(self.name)


def read_docs(form: Mapping[str, Sequence[str]], releases: Sequence[Release]) -> tuple[str, str]:
    """The name, as it is spelled, and the version that documentation in ``form`` is for: by default the latest of ``releases``.

    Raises ``InvalidMetadata``, and ``NoVersionForDocs`` when there is neither a field nor a release.
    """
    if form.get(_VERSION):
        told = read_metadata({"name": form.get("name", ()), _VERSION: form[_VERSION]})
        return told["name"], told[_VERSION]
    name = read_metadata({"name": form.get("name", ()), _VERSION: ("0",)})["name"]
    latest = latest_version([release.version for release in releases])
    if latest is None:
        raise NoVersionForDocs(normalize_project(name))
    return name, latest


def docs_filename(project: str, version: str) -> str:
    """How documentation of a version of ``project`` (the normalised name) is kept; ``InvalidFilename`` when that is too long."""
    return check_filename(f"{project}-{version}.doc.zip")


def docs_of(release: Release | None) -> Attachment | None:
    """The documentation of ``release``, if any."""
    attachments = () if release is None else release.attachments
    return next((one for one in attachments if one.kind == DOCZIP), None)


def decide_docs_uploaded(index: Index, release: Release | None, status: str | None, docs: Docs) -> tuple[Change, ...]:
    """What ``docs`` change, nothing when the same are there already.

    A release that is not there yet (None) is registered.  On an index that is not volatile nothing takes the place of other
    documentation.  Raises ``FileExists``, ``ProjectClosed`` and ``NoUploadToMirror``.
    """
    check_open(index, docs.project, status)
    existing = docs_of(release)
    if existing is not None and existing.sha256 == docs.sha256:
        return ()
    if existing is not None and not is_volatile(index):
        raise FileExists(docs.filename)
    made: tuple[Change, ...] = ()
    if release is None:
        made = described(None, index.name, docs.project, {"name": docs.name, _VERSION: docs.version})
    filename = docs_filename(docs.project, docs.version)
    path = uploaded_path(filename, docs.sha256)
    added = AttachmentAdded(index.name, docs.project, docs.version, DOCZIP, filename, docs.sha256, docs.size, path)
    return (*made, added)


def latest_version(versions: Sequence[str]) -> str | None:
    """The newest of ``versions`` by PEP 440, pre-releases included; what is no version by it is older than all that are."""
    return max(versions, key=_age, default=None)


def _age(version: str) -> tuple[bool, Version | str]:
    try:
        return True, Version(version)
    except InvalidVersion:
        return False, version


# Test results ------------------------------------------------------------------------------------------------------


@attrs.frozen
class Toxresult:
    """The result of testing a distribution, whose blob is on disk beside that of the distribution."""

    project: str
    """The normalised name."""
    tested: str
    """The path of the distribution below its index."""
    filename: str
    """What ``toxresult_filename`` told."""
    sha256: str
    size: int
    """Bytes."""

    @property
    def tested_filename(self) -> str:
        """The name of the distribution."""
        return self.tested.rpartition("/")[2]

    @property
    def path(self) -> str:
        """Where the result is going to be, below the index."""
        return f"{self.tested.rpartition('/')[0]}/{self.filename}"


def toxresult_filename(tested: str, now: datetime, number: int) -> str:
    """How the result of testing the distribution called ``tested`` is kept.

    ``number`` is how many of its results there are already, or more when that name is taken; ``InvalidFilename`` when it is too
    long.
    """
    return check_filename(f"{tested}.toxresult-{now.astimezone(UTC):%Y%m%d%H%M%S}-{number}")


def toxresults_of(release: Release | None, tested: str) -> tuple[Attachment, ...]:
    """The results of testing the distribution called ``tested``, oldest first."""
    attachments = () if release is None else release.attachments
    return tuple(one for one in attachments if one.kind == TOXRESULT and one.for_filename == tested)


def decide_toxresult(index: Index, release: Release | None, result: Toxresult) -> tuple[Change, ...]:
    """What ``result`` changes, nothing when it is there already; ``release`` is the one that has the tested file.

    Raises ``NoFileForToxresult`` when there is no such file of a release, as on a mirror, and ``BlobConflict`` when another
    result is called the same: another number will do.
    """
    file = file_of(release, result.tested_filename)
    if index.is_mirror or release is None or file is None or file.known.path != result.tested:
        raise NoFileForToxresult(index.name, result.tested)
    same = next((one for one in release.attachments if one.path == result.path), None)
    if same is not None and same.sha256 != result.sha256:
        raise BlobConflict(result.path)
    if same is not None:
        return ()
    return (
        AttachmentAdded(
            index.name,
            result.project,
            release.version,
            TOXRESULT,
            result.filename,
            result.sha256,
            result.size,
            result.path,
            result.tested_filename,
        ),
    )


def toxresult_link(index: str, result: Toxresult) -> Json:
    """How the answer calls ``result``: its path, the index included, and its digest."""
    return f"{index}/{result.path}#sha256={result.sha256}"
