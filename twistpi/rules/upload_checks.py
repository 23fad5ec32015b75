"""Checks of an upload: form, core metadata in the file, and file name must agree."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from twistpi.model.errors import BadRequest, invalid_filename, project_not_in_filename
from twistpi.model.names import (
    SDIST,
    WHEEL,
    check_filename,
    is_of_project,
    is_of_version,
    is_same_version,
    is_wheel_name,
    kind_of_filename,
    normalize_project,
    project_of_filename,
)
from twistpi.model.records import Index, Json
from twistpi.model.releases import LIST_FIELDS, TEXT_FIELDS, Release, ReleaseDescribed

_ARCHIVE = re.compile(r".+?\.(?:exe|tar\.gz|bz2|rpm|deb|zip|tgz|egg|dmg|msi|whl)\Z", re.IGNORECASE | re.DOTALL)
_VARIANTS = re.compile(r".+-variants\.json\Z", re.DOTALL)
"""The file that describes the variants of a release's wheels (PEP 825)."""
_UNLIKE_IN_WHEELS = re.compile(r"[^\w.]+")
_SEPARATORS = re.compile(r"[-_.]+")


STRICT: Final = "strict"
"""Only what every installer and tool reads in the same way."""
LENIENT: Final = "lenient"
"""What some installer reads: odd packing, old and unknown metadata, wheel variants."""
NONE: Final = "none"
"""Any bytes under a distribution's name."""
UPLOAD_CHECKS: Final = (STRICT, LENIENT, NONE)


def upload_checks_of(index: Index, default: str) -> str:
    """Return which of ``UPLOAD_CHECKS`` the uploads to ``index`` have to pass."""
    return str(index.config.get("upload_checks") or default)


def check_upload_filename(filename: str, project: str, version: str, checks: str = STRICT) -> None:
    """Check that ``filename`` can be one of ``project`` and ``version``, both in any spelling.

    Unless ``checks`` are strict, wheels may have a variant label behind their tags, and ``…-variants.json`` is accepted; without
    checks a wheel needs no tags, and a version may be followed by anything.
    """
    check_filename(filename)
    normal = normalize_project(project)
    is_exact = kind_of_filename(filename) in (WHEEL, SDIST)
    fits = is_of_version(filename, normal, version)
    if not fits and not (version and _contains(filename, version)):
        raise BadRequest(f"filename {filename!r} does not contain version {version!r}")
    if not _ARCHIVE.match(filename) and (checks == STRICT or not _VARIANTS.match(filename)):
        raise BadRequest(f"{filename!r} is not a valid archive name")
    if not _SEPARATORS.sub("-", filename).lower().startswith(normal):
        raise project_not_in_filename(filename, project)
    if is_exact:
        _check_exactly(filename, project, normal, version, fits, checks)


def check_form(filename: str, form: Mapping[str, Json], found: Mapping[str, Json]) -> None:
    """Check that name and version in a form are those ``found`` in the metadata of ``filename``, in any spelling."""
    for field, is_same in (("name", _is_same_name), ("version", is_same_version)):
        if form[field] != found[field] and not is_same(form[field], found[field]):
            raise BadRequest(f"the form says {field} {form[field]!r}, but {filename!r} holds {found[field]!r}")


def _is_same_name(one: str, other: str) -> bool:
    return normalize_project(one) == normalize_project(other)


def _contains(filename: str, version: str) -> bool:
    """Whether ``filename`` contains ``version``, literally or as in wheels."""
    return version in filename or _UNLIKE_IN_WHEELS.sub("_", version) in filename


def _check_exactly(filename: str, project: str, normal: str, version: str, fits: bool, checks: str) -> None:
    is_wheel = kind_of_filename(filename) == WHEEL
    if is_wheel and checks != NONE and not is_wheel_name(filename, with_label=checks != STRICT):
        raise invalid_filename(filename, "a wheel is called project-version-python-abi-platform.whl")
    if not is_of_project(filename, normal):
        raise project_not_in_filename(filename, project)
    if not fits and checks != NONE:
        # The file name alone does not show where the project name ends: name what is more likely wrong.
        if kind_of_filename(filename) == SDIST and project_of_filename(filename) != normal:
            raise project_not_in_filename(filename, project)
        raise BadRequest(f"filename {filename!r} does not contain version {version!r}")


COMMENT: Final = "comment"
_TEXTS: Final = (*TEXT_FIELDS, COMMENT)
_OTHER_SPELLINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "platform": ("platforms",),
    "classifiers": ("classifier",),
    "supported_platform": ("supported_platforms",),
    "project_urls": ("project_url",),
    "provides_extras": ("provides_extra",),
    "license_file": ("license_files",),
    "import_names": ("import_name",),
    "import_namespaces": ("import_namespace",),
}
_YOUNG: Final = frozenset({"import_names", "import_namespaces"})
"""Fields that are no part of the devpi protocol: shown only where they are given."""
_IDENTITY: Final = ("name", "version")

_LONGEST: Final = 200
"""Characters of a name or a version: both are parts of file names."""
_NAME: Final = re.compile(r"[A-Za-z0-9._-]+\Z")
_VERSION: Final = re.compile(
    r"(?!\.{1,2}\Z)[^\x00-\x20<>%#\"/\\\x7f-\xa0\u2028\u2029+][^\x00-\x20<>%#\"/\\\x7f-\xa0\u2028\u2029]*\Z"
)


def read_metadata(form: Mapping[str, Sequence[str]]) -> Mapping[str, Json]:
    """Return the fields of core metadata in ``form``, also empty ones: text, or a list for those that may be repeated.

    ``name`` and ``version`` are always among them.  ``UNKNOWN``, which old tools send for empty fields, is empty; unknown fields
    are left out.
    """
    metadata: dict[str, Json] = {}
    for key in _TEXTS:
        if values := form.get(key):
            metadata[key] = "" if values[0] == "UNKNOWN" else values[0]
    for key in LIST_FIELDS:
        spellings = [form[name] for name in (key, *_OTHER_SPELLINGS.get(key, ())) if name in form]
        if spellings:
            cleaned = ([value for value in values if value not in ("", "UNKNOWN")] for values in spellings)
            metadata[key] = next((values for values in cleaned if values), [])
    check_identity(metadata.get("name", ""), metadata.get("version", ""))
    return metadata


def merge_metadata(form: Mapping[str, Json], found: Mapping[str, Json] | None) -> Mapping[str, Json]:
    """Return the metadata of an upload: what is ``found`` in the file itself, and all other fields of the ``form``.

    ``found`` is the archive's core metadata, None when it has none.  With it, fields that neither has are empty, so that the
    metadata of a release is never a mixture of those of its files.  Name and version are written as in the form.
    """
    if found is None:
        return form
    return every_field({**form, **found, **{key: form[key] for key in _IDENTITY}})


def requires_python(form: Mapping[str, Json], found: Mapping[str, Json] | None) -> str | None:
    """Return the ``Requires-Python`` of a file: that of its own metadata, or of the ``form`` when it has none."""
    return (form if found is None else found).get("requires_python") or None


def check_digests(form: Mapping[str, Sequence[str]], filename: str, digests: Mapping[str, str]) -> None:
    """Check that a ``form`` names only ``digests``, by field, that the received bytes have; none is required."""
    for field, digest in digests.items():
        for given in form.get(field, ()):
            if given.strip() and not _is_digest(given.strip(), digest):
                raise BadRequest(f"the form says {field} {given!r}, but the received bytes of {filename!r} have {digest!r}")


def described(release: Release | None, index: str, project: str, given: Mapping[str, Json]) -> tuple[ReleaseDescribed, ...]:
    """Return the change that sets the fields ``given`` of ``release``, and removes those that are empty; others stay.

    There is none when nothing differs, and always one for a new release (None).  The version of a release is written as at first.
    """
    if release is None:
        return (ReleaseDescribed(index, project, given["version"], {key: value for key, value in given.items() if value}),)
    former, given = release.metadata, {**given, "version": release.version}
    changed = {key: value for key, value in given.items() if value and former.get(key) != value}
    removed = tuple(key for key, value in given.items() if not value and key in former)
    return (ReleaseDescribed(index, project, release.version, changed, removed),) if changed or removed else ()


def shown_metadata(metadata: Mapping[str, Json]) -> dict[str, Json]:
    """Return ``Release.metadata`` for version data: with empty values for all missing fields of the devpi protocol."""
    return {**_empty_fields(key for key in LIST_FIELDS if key not in _YOUNG), **metadata}


def every_field(metadata: Mapping[str, Json]) -> Mapping[str, Json]:
    """Return ``metadata`` with empty values for all other fields, so that it replaces all former metadata of a release."""
    return {**_empty_fields(LIST_FIELDS), **metadata}


def _empty_fields(list_fields: Iterable[str]) -> dict[str, Json]:
    return {**dict.fromkeys(_TEXTS, ""), **{key: [] for key in list_fields}}


def check_identity(name: str, version: str) -> None:
    """Raise ``BadRequest`` unless ``name`` can be that of a project, and ``version`` that of a release."""
    for field, value in (("name", name), ("version", version)):
        if not value:
            raise BadRequest(f'invalid metadata: Missing required field "{field}"')
    if not _NAME.match(name):
        raise BadRequest(
            "invalid metadata: Invalid package name. Names must contain only ASCII letters, digits, "
            "underscores, hyphens, and periods"
        )
    if not name[0].isalnum():
        raise BadRequest("invalid metadata: Invalid package name. Names must start with an ASCII letter or digit")
    if not name[-1].isalnum():
        raise BadRequest("invalid metadata: Invalid package name. Names must end with an ASCII letter or digit")
    if not _VERSION.match(version):
        raise BadRequest("invalid metadata: Invalid package name or version (URL safety)")
    if len(name) > _LONGEST or len(version) > _LONGEST:
        raise BadRequest(f"invalid metadata: Invalid package name or version (longer than {_LONGEST} characters)")


def _is_digest(given: str, digest: str) -> bool:
    """Whether ``given`` is ``digest``, in hexadecimal digits of any case, or in URL-safe base64 as once used for MD5."""
    if given.lower() == digest:
        return True
    try:
        return base64.urlsafe_b64decode(given + "=" * (-len(given) % 4)).hex() == digest
    except (binascii.Error, ValueError):
        return False
