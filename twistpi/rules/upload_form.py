"""The form that uploads a file to another server, as every upload tool sends it and every package index accepts it.

Source: the legacy upload API of the public index.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

import attrs

from twistpi.model.names import EGG, SDIST, WHEEL, kind_of_filename
from twistpi.model.records import Json
from twistpi.rules.upload_checks import shown_metadata

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
    """Return the fields of ``Release.metadata``; empty text is sent, empty lists are left out."""
    fields: list[tuple[str, str]] = []
    for key, value in {**shown_metadata(metadata), "metadata_version": metadata.get("metadata_version") or _OLDEST}.items():
        names = (key, _OTHER_SPELLINGS[key]) if key in _OTHER_SPELLINGS else (key,)
        values = value if isinstance(value, list | tuple) else (value,)
        fields.extend((name, str(one)) for name in names for one in values)
    return tuple(fields)


def file_fields(filename: str, sha256: str) -> Fields:
    """Return the fields of a distribution beside the metadata of its release."""
    filetype, pyversion = file_type(filename)
    return ((":action", "file_upload"), ("filetype", filetype), ("pyversion", pyversion), ("sha256_digest", sha256))


def file_type(filename: str) -> tuple[str, str]:
    """Return ``filetype`` and ``pyversion`` of a distribution, according to its name."""
    kind = kind_of_filename(filename)
    if kind == SDIST:
        return "sdist", "source"
    if kind == WHEEL:
        tags = filename.split("-")[-3:]
        return "bdist_wheel", tags[0] if len(tags) == 3 else "any"
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
