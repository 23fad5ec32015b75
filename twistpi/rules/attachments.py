"""Test results and documentation: their file names, and the changes when one is added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from typing import Final

import attrs
from packaging.version import Version

from twistpi.model.changes import Change
from twistpi.model.errors import BadRequest, TwistpiError, file_exists
from twistpi.model.names import check_filename, find_version, normalize_project, parsed_version
from twistpi.model.records import Index
from twistpi.model.releases import DOCZIP, TOXRESULT, Attachment, AttachmentAdded, Release
from twistpi.model.server_errors import BlobConflict
from twistpi.rules.upload_checks import described, read_metadata
from twistpi.rules.uploads import check_open, file_of, is_volatile

_VERSION: Final = "version"

Age = tuple[bool, Version | str]
"""What orders versions: whether it is one by PEP 440, and that version, else its text."""


# Documentation -----------------------------------------------------------------------------------------------------


def read_docs(form: Mapping[str, Sequence[str]], releases: Sequence[Release]) -> tuple[str, str]:
    """Return the project name, as it is written, and the version in ``form``, by default the latest of ``releases``.

    A version that one of ``releases`` has is written as there.
    """
    if form.get(_VERSION):
        metadata = read_metadata({"name": form.get("name", ()), _VERSION: form[_VERSION]})
        version = metadata[_VERSION]
        return metadata["name"], find_version(version, [release.version for release in releases]) or version
    name = read_metadata({"name": form.get("name", ()), _VERSION: ("0",)})["name"]
    latest = latest_version([release.version for release in releases])
    if latest is None:
        raise BadRequest(f"doczip has no version and {normalize_project(name)!r} has no releases to derive one from")
    return name, latest


def docs_filename(project: str, version: str) -> str:
    """Return the file name of the documentation of ``project`` (normalised).  Raise ``InvalidName`` when it is too long."""
    return check_filename(f"{project}-{version}.doc.zip")


def docs_of(release: Release | None) -> Attachment | None:
    """Return the documentation of ``release``, if there is any."""
    attachments = () if release is None else release.attachments
    return next((one for one in attachments if one.kind == DOCZIP), None)


def decide_docs_uploaded(
    index: Index, release: Release | None, status: str | None, docs: AttachmentAdded, name: str, filename: str
) -> tuple[Change, ...]:
    """Return the changes that add ``docs``, none when the same are there already.

    A new release (None) is registered, with the ``name`` of the project as it is written.  On an index that is not volatile
    documentation is not replaced; ``filename`` is that of the uploaded file.
    """
    check_open(index, docs.project, status)
    existing = docs_of(release)
    if existing is not None and existing.sha256 == docs.sha256:
        return ()
    if existing is not None and not is_volatile(index):
        raise file_exists(filename)
    if release is None:
        return (*described(None, index.name, docs.project, {"name": name, _VERSION: docs.version}), docs)
    return (attrs.evolve(docs, version=release.version),)


def latest_version(versions: Sequence[str]) -> str | None:
    """Return the newest of ``versions`` by PEP 440, pre-releases included; what is no such version is older than all that are."""
    return max(versions, key=age_of, default=None)


def preferred_version(versions: Sequence[str]) -> str | None:
    """Return the newest of ``versions`` that is no pre-release; the newest pre-release where there is no other."""
    ages = [(age_of(version), version) for version in versions]
    known = [one for one in ages if not (isinstance(one[0][1], Version) and one[0][1].is_prerelease)]
    return max(known or ages, key=itemgetter(0), default=(None, None))[1]


def is_prerelease(version: str) -> bool:
    """Return whether ``version`` is a pre-release; an invalid one (PEP 440) is none."""
    parsed = parsed_version(version)
    return parsed is not None and parsed.is_prerelease


def age_of(version: str) -> Age:
    """Return what orders versions by PEP 440; what is no such version is older than all that are."""
    parsed = parsed_version(version)
    return (False, version) if parsed is None else (True, parsed)


# Test results ------------------------------------------------------------------------------------------------------


def toxresult_filename(tested: str, now: datetime, number: int) -> str:
    """Return the file name of a result of testing the distribution called ``tested``.

    ``number`` is how many results there are already, or more when that name is taken.  Raise ``InvalidName`` when it is too
    long.
    """
    return check_filename(f"{tested}.toxresult-{now.astimezone(UTC):%Y%m%d%H%M%S}-{number}")


def toxresults_of(release: Release | None, tested: str) -> tuple[Attachment, ...]:
    """Return the results of testing the distribution called ``tested``, oldest first."""
    attachments = () if release is None else release.attachments
    return tuple(one for one in attachments if one.kind == TOXRESULT and one.for_filename == tested)


def decide_toxresult(index: Index, release: Release | None, result: AttachmentAdded) -> tuple[Change, ...]:
    """Return the change that adds ``result``, none when it is there already; ``release`` is that of the tested file.

    Raise ``BlobConflict`` when another result has the same name: then another number is needed.
    """
    tested = f"{result.path.rpartition('/')[0]}/{result.for_filename}"
    file = file_of(release, str(result.for_filename))
    if index.is_mirror or release is None or file is None or file.known.path != tested:
        raise TwistpiError(f"no release file found at {index.name}/{tested}", 404)
    same = next((one for one in release.attachments if one.path == result.path), None)
    if same is not None and same.sha256 != result.sha256:
        raise BlobConflict(result.path)
    return () if same is not None else (attrs.evolve(result, version=release.version),)
