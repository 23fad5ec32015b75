"""What is at a path below a private index: a distribution, or a file beside one.

Everything is on this server: what is not here is gone, or never was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from twistpi.blobs.address import BlobAddress, blob_address, metadata_address, provenance_address
from twistpi.http.conditional import http_date
from twistpi.model.errors import FileBlocked, NoMetadata, UnknownFile, file_gone
from twistpi.model.records import Json, KnownFile
from twistpi.model.releases import Release
from twistpi.rules.uploads import file_of

if TYPE_CHECKING:
    from twistpi.view.read import Reader

METADATA: Final = ".metadata"
"""What a path ends with that leads to the core metadata of the distribution at the rest of it (PEP 658)."""
PROVENANCE: Final = ".provenance"
"""The same for its provenance object (PEP 740)."""
BINARY: Final = b"application/octet-stream"
_INTEGRITY: Final = b"application/vnd.pypi.integrity.v1+json"
_TYPES: Final = (
    (".tar.gz", b"application/x-tar"),
    (".tgz", b"application/x-tar"),
    (".tar.bz2", b"application/x-tar"),
    (".tar.xz", b"application/x-tar"),
    (".tar", b"application/x-tar"),
    (".zip", b"application/zip"),
)


@attrs.frozen
class StageFile:
    """A blob that a path leads to."""

    project: str
    """The normalised name."""
    known: KnownFile
    """The distribution that it is, or lies beside."""
    address: BlobAddress
    sha256: str
    content_type: bytes


def content_type(filename: str) -> bytes:
    """Return the media type of a distribution, by its name alone: it must not depend on the machine."""
    lower = filename.lower()
    return next((kind for suffix, kind in _TYPES if lower.endswith(suffix)), BINARY)


def stage_file(view: Reader, index: str, path: str) -> StageFile:
    """Return the file at ``path`` below the private index ``index``.

    Raises ``UnknownFile``, ``TwistpiError``, ``FileBlocked`` in quarantine, and ``NoMetadata``.
    """
    plain = path.removesuffix(METADATA).removesuffix(PROVENANCE)
    found = view.file_by_path(index, plain)
    if found is None:
        raise file_gone(index, path) if view.was_removed(index, plain) else UnknownFile(index, path)
    project, known = found
    header = view.header(index, project)
    if header is not None and header[0] == "quarantined":
        raise FileBlocked(index, project, path)
    filename = known.link.filename
    if path == plain and known.sha256 is not None:
        return StageFile(project, known, blob_address(known.sha256, filename), known.sha256, content_type(filename))
    if path == plain + METADATA and known.sha256 is not None:
        if known.metadata_sha256 is None:
            raise NoMetadata(index, plain, "it was uploaded without")
        address = metadata_address(blob_address(known.sha256, filename))
        return StageFile(project, known, address, known.metadata_sha256, BINARY)
    file = file_of(view.release_of_file(index, project, filename), filename)
    if path == plain + PROVENANCE and file is not None and file.provenance_sha256 is not None:
        address = provenance_address(file.provenance_sha256, filename)
        return StageFile(project, known, address, file.provenance_sha256, _INTEGRITY)
    raise UnknownFile(index, path)


def stage_file_facts(view: Reader, index: str, file: StageFile) -> Json:
    """``releasefilemeta`` of a distribution, as the devpi protocol has it."""
    digest = file.known.sha256
    release: Release | None = view.release_of_file(index, file.project, file.known.link.filename)
    facts: dict[str, Json] = {
        "hash_spec": f"sha256={digest}",
        "hashes": {"sha256": digest},
        "project": file.project,
        "version": "" if release is None else release.version,
    }
    modified = http_date(file.known.link.upload_time)
    return facts if modified is None else {"last_modified": modified, **facts}
