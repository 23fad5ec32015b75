"""Attestations (PEP 740): signed statements in an upload about where its file comes from.

Checked are the form of each attestation, and that it is about the uploaded file.  Signature and signer are not checked: an index
without trusted publishers has no identity to compare with.  That is for installers, which know whom they trust.

Source: PEP 740 and "Index hosted attestations" of the packaging specifications; "Statement" of in-toto, version 1.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import orjson
from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, parse_sdist_filename, parse_wheel_filename

from twistpi.model.errors import BadRequest
from twistpi.model.names import is_wheel
from twistpi.model.records import Json
from twistpi.rules.json_bodies import is_storable, shown

_MOST: Final = 20
"""Attestations of one file; tools make one or two."""
_STATEMENT: Final = "https://in-toto.io/Statement/v1"
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}\Z")
_SEQUENCE: Final = 0x30
"""The first byte of a certificate in DER."""
PUBLISHER: Final[Mapping[str, Json]] = {"kind": "twistpi-upload", "claims": None}
"""The "publisher" of every bundle: a user who was allowed to upload, and no kind that a verifier would trust."""


def provenance_of(values: Sequence[str | bytes], filename: str, sha256: str) -> bytes | None:
    """Return the provenance object, as JSON, of the file ``filename`` with this ``sha256``; None without attestations.

    ``values`` are those of the form's field ``attestations``, each a JSON array.  The same values always give the same bytes.
    """
    attestations = [attestation for value in values for attestation in _array(value)]
    if not attestations:
        return None
    if len(attestations) > _MOST:
        raise BadRequest(f"invalid attestations: there are {len(attestations)}, more than the {_MOST} that are allowed")
    if not is_storable(attestations):
        raise BadRequest("invalid attestations: they are nested too deeply, or hold numbers that are too large")
    for number, attestation in enumerate(attestations, 1):
        try:
            _check(attestation, filename, sha256)
        except BadRequest as wrong:
            raise BadRequest(f"invalid attestations: number {number}: {wrong}") from None
    bundle = {"publisher": PUBLISHER, "attestations": attestations}
    return orjson.dumps({"version": 1, "attestation_bundles": [bundle]})


def _array(value: str | bytes) -> list[Json]:
    """Return the items of a field, which may be empty: some tools send every field."""
    if not value.strip():
        return []
    try:
        items = orjson.loads(value)
    except orjson.JSONDecodeError:
        raise BadRequest("invalid attestations: they are not JSON") from None
    if not isinstance(items, list):
        raise BadRequest("invalid attestations: they are not a JSON array")
    return items


def _check(attestation: Json, filename: str, sha256: str) -> None:
    """Raise ``BadRequest`` unless this is an attestation of that file."""
    if not isinstance(attestation, dict):
        raise BadRequest("it is not an object")
    version = attestation.get("version")
    if version != 1 or isinstance(version, bool):
        raise BadRequest(f"its version is {shown(version)}, and only 1 is supported")
    material = _object(attestation, "verification_material")
    if _bytes(material, "certificate")[:1] != bytes([_SEQUENCE]):
        raise BadRequest("its certificate is not in the DER format")
    entries = material.get("transparency_entries")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise BadRequest("its transparency_entries are not an array of objects")
    envelope = _object(attestation, "envelope")
    _bytes(envelope, "signature")
    _check_statement(_bytes(envelope, "statement"), filename, sha256)


def _check_statement(statement: bytes, filename: str, sha256: str) -> None:
    """Raise ``BadRequest`` unless this is an in-toto statement whose only subject is that file."""
    try:
        stated = orjson.loads(statement)
    except orjson.JSONDecodeError:
        raise BadRequest("its statement is not JSON") from None
    if not isinstance(stated, dict) or stated.get("_type") != _STATEMENT:
        raise BadRequest(f"its statement is not an {_STATEMENT}")
    predicate = stated.get("predicateType")
    if not isinstance(predicate, str) or not predicate:
        raise BadRequest("its statement has no predicateType")
    subjects = stated.get("subject")
    if not isinstance(subjects, list) or len(subjects) != 1 or not isinstance(subjects[0], dict):
        raise BadRequest("its statement does not have exactly one subject")
    name = subjects[0].get("name")
    if not isinstance(name, str) or not _is_same_file(name, filename):
        raise BadRequest(f"its subject is {shown(name)}, not {filename!r}")
    digest = subjects[0].get("digest")
    stated_sha256 = digest.get("sha256") if isinstance(digest, dict) else None
    if not isinstance(stated_sha256, str) or not _SHA256.match(stated_sha256):
        raise BadRequest("its subject has no SHA-256")
    if stated_sha256.lower() != sha256:
        raise BadRequest(f"its subject has the SHA-256 {stated_sha256.lower()}, but {filename!r} has {sha256}")


def _is_same_file(name: str, filename: str) -> bool:
    """Whether two file names are those of the same distribution: a statement may have the normalised one."""
    if name == filename:
        return True
    parse: Callable[[str], object] = parse_wheel_filename if is_wheel(filename) else parse_sdist_filename
    try:
        return parse(name) == parse(filename) and name.rpartition(".")[2] == filename.rpartition(".")[2]
    except (InvalidWheelFilename, InvalidSdistFilename):
        return False


def _object(parent: Mapping[str, Json], key: str) -> Mapping[str, Json]:
    child = parent.get(key)
    if not isinstance(child, dict):
        raise BadRequest(f"it has no {key}")
    return child


def _bytes(parent: Mapping[str, Json], key: str) -> bytes:
    """Return the bytes, at least one, that ``key`` has in base64."""
    text = parent.get(key)
    try:
        found = b64decode(text, validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        found = b""
    if not found:
        raise BadRequest(f"its {key} is not base64")
    return found
