"""Uploads: the changes of a distribution or a registration, and the form that uploads a file to another server.

A file name belongs to one release of a project.  On a volatile index other bytes replace those that were there; on others they
are refused.  The same bytes again change nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final

import attrs

from twistpi.model.changes import Change
from twistpi.model.errors import TwistpiError, file_exists
from twistpi.model.names import EGG, SDIST, WHEEL, has_build_number, kind_of_filename
from twistpi.model.records import Index, Json, Link
from twistpi.model.releases import FileRemoved, FileUploaded, Release, UploadedFile
from twistpi.rules.mirrors import file_path
from twistpi.rules.upload_checks import described, every_field

IDENTICAL: Final = "Upload of identical file to non volatile index."
"""The message of a success that changed nothing, on an index that is not volatile."""
CLOSED: Final = frozenset({"archived", "quarantined"})
"""Status markers (PEP 792) of projects that accept no uploads."""


def uploaded_path(filename: str, sha256: str) -> str:
    """Return the path below its index of an uploaded file, or of documentation."""
    return file_path(Link(filename, "", {"sha256": sha256}))


def is_volatile(index: Index) -> bool:
    """Whether files may be replaced and removed."""
    return bool(index.config.get("volatile", True))


def check_open(index: Index, project: str, status: str | None) -> None:
    """Raise ``TwistpiError`` for a mirror, and for a project whose ``status`` forbids uploads."""
    if index.is_mirror:
        raise TwistpiError("cannot submit to mirror index", 404)
    if status in CLOSED:
        raise TwistpiError(f"project {project} is {status!s} on {index.name}, nothing can be uploaded to it", 403)


def decide_file_uploaded(
    index: Index,
    release: Release | None,
    status: str | None,
    upload: FileUploaded,
    metadata: Mapping[str, Json],
    *,
    holder: Release | None = None,
    gone: Collection[str] = (),
) -> tuple[Change, ...]:
    """Return the changes of an upload, none when the same bytes are there already.

    ``metadata`` is that of the release, with empty fields (``upload_checks.merge_metadata``).  ``release`` is that of the upload,
    however its version is written, ``holder`` the one of the project with a file of this name (``Reader.release_of_file``),
    another one when an older server made two of one version.  ``gone`` are the paths of former files of this name
    (``Reader.removed_paths``), which matter on an index that is not volatile.  ``status`` is the project's.
    """
    check_open(index, upload.project, status)
    if release is not None:
        upload = attrs.evolve(upload, version=release.version)
    holder = holder or release
    existing = file_of(holder, upload.filename)
    if existing is not None and existing.known.sha256 == upload.sha256:
        return ()
    check_replaceable(index, upload.filename, upload.sha256, existing, gone)
    changes: list[Change] = [*described(release, index.name, upload.project, metadata)]
    if existing is not None and holder is not None and holder.version != upload.version:
        # After the release is described: a project that was empty for a moment would lose its status.
        changes.append(FileRemoved(index.name, upload.project, upload.filename))
    return (*changes, upload)


def decide_registered(
    index: Index, release: Release | None, project: str, status: str | None, metadata: Mapping[str, Json]
) -> tuple[Change, ...]:
    """Return the changes of a registration: the release, perhaps a new one, has the ``metadata`` of the form and no other."""
    check_open(index, project, status)
    return described(release, index.name, project, every_field(metadata))


def file_of(release: Release | None, filename: str) -> UploadedFile | None:
    """Return the file of ``release`` that is called ``filename``."""
    files = () if release is None else release.files
    return next((file for file in files if file.known.link.filename == filename), None)


def check_replaceable(index: Index, filename: str, sha256: str, existing: UploadedFile | None, gone: Collection[str]) -> None:
    """Raise ``TwistpiError`` for new bytes under a used name on an index that is not volatile.

    With the setting ``reuse_filenames`` of the index, names of removed files may be used again.
    """
    if is_volatile(index):
        return
    if existing is not None:
        raise file_exists(filename)
    if gone and uploaded_path(filename, sha256) not in gone and not index.config.get("reuse_filenames", False):
        raise TwistpiError(
            f"{filename} existed in non-volatile index {index.name} with other bytes; build a new version instead", 409
        )


# The form that uploads a file to another server ----------------------------------------------------------------------


Fields = tuple[tuple[str, str], ...]
"""Names and values, in the order in which they are sent; names may be repeated."""
_OTHER_SPELLINGS: Final = {
    "provides_extras": "provides_extra",
    "import_names": "import_name",
    "import_namespaces": "import_namespace",
}
"""Fields with another name on other servers; they are sent under both names."""
_INSTALLERS: Final = {".exe": "bdist_wininst", ".msi": "bdist_msi", ".rpm": "bdist_rpm", ".dmg": "bdist_dmg"}
_PYTHON: Final = re.compile(r"-py(\d+(?:\.\d+)?)(?=[-.])")
_OLDEST: Final = "2.1"
"""The metadata version of releases without one, which servers require."""


@attrs.frozen
class EncodedForm:
    """A form as it is sent; the bytes of its file, if any, come between ``head`` and ``tail``."""

    content_type: str
    head: bytes
    tail: bytes


def metadata_fields(metadata: Mapping[str, Json]) -> Fields:
    """Return the fields of ``metadata``; empty text is sent, empty lists are left out."""
    fields: list[tuple[str, str]] = []
    for key, value in {**metadata, "metadata_version": metadata.get("metadata_version") or _OLDEST}.items():
        names = (key, _OTHER_SPELLINGS[key]) if key in _OTHER_SPELLINGS else (key,)
        values = value if isinstance(value, list | tuple) else (value,)
        fields.extend((name, str(one)) for name in names for one in values)
    return tuple(fields)


def file_fields(filename: str, sha256: str) -> Fields:
    """Return the fields of a distribution beside its metadata."""
    filetype, pyversion = file_type(filename)
    return ((":action", "file_upload"), ("filetype", filetype), ("pyversion", pyversion), ("sha256_digest", sha256))


def file_type(filename: str) -> tuple[str, str]:
    """Return ``filetype`` and ``pyversion`` of a distribution, according to its name."""
    kind = kind_of_filename(filename)
    if kind == SDIST:
        return "sdist", "source"
    if kind == WHEEL:
        parts = filename.split("-")
        return "bdist_wheel", parts[2 + has_build_number(parts)] if len(parts) > 4 else "any"
    found = _PYTHON.search(filename)
    version = found[1] if found else "any"
    if kind == EGG:
        return "bdist_egg", version
    return _INSTALLERS.get(filename[-4:].lower(), "bdist_dumb"), version


def encode_form(fields: Iterable[tuple[str, str]], boundary: str, attached: str | None = None) -> EncodedForm:
    """Return ``fields`` as ``multipart/form-data`` (RFC 7578), with a file called ``attached``, unless None, as ``content``.

    ``boundary`` is ASCII, has at most 70 characters, and does not occur in what is sent.
    """
    parts: list[bytes] = []
    for name, value in fields:
        parts.append(b'--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n' % (boundary.encode("ascii"), _quoted(name)))
        parts.append(value.encode("utf-8", "replace") + b"\r\n")
    tail = b"--%s--\r\n" % boundary.encode("ascii")
    if attached is not None:
        parts.append(
            b'--%s\r\nContent-Disposition: form-data; name="content"; filename="%s"\r\n'
            b"Content-Type: application/octet-stream\r\n\r\n" % (boundary.encode("ascii"), _quoted(attached))
        )
        tail = b"\r\n" + tail
    return EncodedForm(f"multipart/form-data; boundary={boundary}", b"".join(parts), tail)


def _quoted(name: str) -> bytes:
    """Return ``name`` for between quotes, as browsers write it."""
    escaped = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    return escaped.encode("utf-8", "replace")
