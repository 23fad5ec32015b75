"""Names of projects, indexes, versions and distribution files: checked, normalized and compared."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

import attrs
from packaging.utils import canonicalize_version
from packaging.version import InvalidVersion, Version

from twistpi.model.errors import InvalidName, invalid_filename

_PROJECT = re.compile(r"([A-Z0-9]|[A-Z0-9][A-Z0-9._-]*[A-Z0-9])\Z", re.IGNORECASE | re.ASCII)
_SEPARATORS = re.compile(r"[-_.]+")
_INDEX_PART = re.compile(r"[^\x00-\x20!\"#$%&'()*+,/:;<=>?\[\\\]^`{|}~\x7f]+\Z")
_ARCHIVE_SUFFIX = re.compile(r"\.(?:tar(?:\.(?:gz|bz2|xz|Z|lz|lzma|zst))?|tgz|tbz|txz|tlz|zip)\Z", re.IGNORECASE)
"""Of archives that pip, uv or earlier installers open."""
_OTHER_SUFFIX = re.compile(
    r"(?:[.-]py\d(?:\.\d+)?)?(?:[.-](?:win|linux|macosx)[^/]*)?\.(egg|exe|msi|rpm|deb|dmg)\Z|-variants\.json\Z", re.IGNORECASE
)
_VERSION_START = re.compile(r"[-_](?=v?\d)", re.IGNORECASE)
_PLAIN_VERSION = re.compile(r"(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*))*\Z", re.ASCII)
_NUMBERS = re.compile(r"[0-9.]+\Z")
_LAST_ZEROS = re.compile(r"(?:\.0)+\Z")
_BEHIND_VERSION: Final = {
    ".rpm": re.compile(r"-[^-]+\.[^-.]+\Z"),  # NAME-VERSION-RELEASE.ARCHITECTURE
    ".deb": re.compile(r"(?:-[^-_]+)?_[^_]+\Z"),  # NAME_VERSION-REVISION_ARCHITECTURE
}
_UNSAFE_IN_FILENAME = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029/\\]")
_LONGEST_FILENAME = 240
"""Bytes; leaves room for ``.metadata`` within the 255 bytes of common file systems."""


def normalize_project(name: str) -> str:
    """Return the normalised form of a project's name: lower case, runs of ``-``, ``_`` and ``.`` as one ``-``.

    Raise ``InvalidName``.  Source: "Names and normalization".
    """
    if not _PROJECT.match(name):
        raise InvalidName(
            f"{name!r} is not a project name: use letters, digits, '-', '_' and '.', beginning and ending with a letter or digit."
        )
    return _SEPARATORS.sub("-", name).lower()


@attrs.frozen(order=True)
class IndexName:
    """The name of an index with that of its owner: ``user/name``."""

    user: str
    name: str

    @classmethod
    def parse(cls, text: str) -> IndexName:
        """Parse ``user/name``.  Raise ``InvalidName``."""
        user, slash, name = text.partition("/")
        if not slash or not _INDEX_PART.match(user) or not _INDEX_PART.match(name):
            raise InvalidName(f"{text!r} is not an index: write user/index, for example root/pypi.")
        return cls(user, name)

    def __str__(self) -> str:
        return f"{self.user}/{self.name}"


def check_filename(filename: str) -> str:
    """Return ``filename`` when it can safely be the last part of a path and of a URL.  Raise ``InvalidName``."""
    if not filename or filename.startswith("."):
        raise invalid_filename(filename, "it is empty or begins with a dot")
    if _UNSAFE_IN_FILENAME.search(filename):
        raise invalid_filename(filename, "it contains a path separator or a control character")
    try:
        length = len(filename) if filename.isascii() else len(filename.encode())
    except UnicodeEncodeError:
        raise invalid_filename(filename, "it is not text") from None
    if length > _LONGEST_FILENAME:
        raise invalid_filename(filename, f"it is longer than {_LONGEST_FILENAME} bytes")
    return filename


def is_wheel(filename: str) -> bool:
    """Whether ``filename`` is a wheel's."""
    return filename[-4:].lower() == ".whl"


def is_archive(filename: str) -> bool:
    """Whether an installer may take ``filename`` for a source distribution, and build it: some open more than is allowed."""
    return _ARCHIVE_SUFFIX.search(filename) is not None


def version_of_filename(filename: str, project: str) -> str | None:
    """Return the version in the file name of a distribution, as it is written there; None when there is none.

    ``project`` is the normalised name: it may contain dashes and digits, so a file name alone is ambiguous.
    """
    if is_wheel(filename):
        parts = filename[:-4].split("-")
        return parts[1] if len(parts) in (5, 6, 7) and parts[1] else None
    head, _, rest = filename.partition("-")
    if rest[-7:] == ".tar.gz" and _NUMBERS.match(rest[:-7]) and head.replace("_", "-").lower() == project:
        return rest[:-7]  # nearly all, at a fifth of the time
    stem = _OTHER_SUFFIX.sub("", _ARCHIVE_SUFFIX.sub("", filename))
    if stem == filename:
        return None
    # Take as many characters as normalise to the project's name; what follows the separator is the version.
    for match in re.finditer(r"[-_.]", stem):
        head, rest = stem[: match.start()], stem[match.end() :]
        if _SEPARATORS.sub("-", head).lower() == project and rest:
            return rest if kind_of_filename(filename) != OTHER else _version_of_other(filename, rest)
    return None


def _version_of_other(filename: str, rest: str) -> str | None:
    """Return the version in ``rest``, what follows the project in the name of an installer or of installed files, if any."""
    behind = _BEHIND_VERSION.get(filename[-4:].lower(), _DUMB)
    version = behind.sub("", rest)
    try:
        Version(version)
    except InvalidVersion:
        return None
    return version


@lru_cache(maxsize=8192)
def parsed_version(version: str) -> Version | None:
    """Return the version that the name of a file has, with ``_`` for ``-``; None for what is none by PEP 440."""
    try:
        return Version(version.replace("_", "-"))
    except InvalidVersion:
        return None


def comparable_version(version: str) -> str:
    """Return what is equal for all spellings of a version (PEP 440), also that of file names."""
    if _PLAIN_VERSION.match(version):
        return _LAST_ZEROS.sub("", version)  # nearly all, at a tenth of the time
    parsed = parsed_version(version)
    return version if parsed is None else canonicalize_version(parsed)


def find_version(version: str, versions: Iterable[str]) -> str | None:
    """Return which of ``versions`` is ``version``: written alike, else the first that is equal; None when there is none."""
    versions = tuple(versions)
    if version in versions:
        return version
    wanted = comparable_version(version)
    return next((spelled for spelled in versions if comparable_version(spelled) == wanted), None)


def project_of_filename(filename: str) -> str | None:
    """Return the normalised project that a file name most likely belongs to; None when there is none.

    Used only where nothing better is known: for the URL of a file of a project whose page was never requested.
    """
    if is_wheel(filename):
        head = filename.split("-", 1)[0]
    else:
        stem = _OTHER_SUFFIX.sub("", _ARCHIVE_SUFFIX.sub("", filename))
        starts = [match.start() for match in _VERSION_START.finditer(stem)]
        if stem == filename or not starts:
            return None
        head = stem[: starts[-1]]
    try:
        return normalize_project(head)
    except InvalidName:
        return None


WHEEL: Final = "wheel"
SDIST: Final = "sdist"
EGG: Final = "egg"
OTHER: Final = "other"
"""Installers for one system (``.exe``, ``.rpm``, ``.deb``, ``.dmg``, ``.msi``), and archives of installed files (``bdist_dumb``)
such as ``pkg-1.0.linux-x86_64.tar.gz``.
"""

_SDIST = re.compile(r".+\.(?:tar\.gz|tgz|tar\.bz2|zip)\Z", re.IGNORECASE | re.DOTALL)
_DUMB = re.compile(r"\.(?:linux-[a-z]\w*|macosx-[\d.]+-\w+|win32|win-[a-z]\w*)\Z", re.IGNORECASE | re.ASCII)
_EXTENSION = re.compile(r"\.(?:tar\.gz|tgz|tar\.bz2|zip)\Z", re.IGNORECASE)
_UNLIKE_IN_FILENAMES = re.compile(r"[^\w.]+")
_VARIANT_LABEL = re.compile(r"[0-9a-z._]{1,16}\Z")
_BUILD_TAG = re.compile(r"\d", re.ASCII)
_LONGEST_VERSION: Final = 240
"""Characters; a file name has no room for more."""


def kind_of_filename(filename: str) -> str:
    """Return ``WHEEL``, ``SDIST``, ``EGG`` or ``OTHER``."""
    if is_wheel(filename):
        return WHEEL
    if filename.lower().endswith(".egg"):
        return EGG
    if _SDIST.match(filename) and not _DUMB.search(_EXTENSION.sub("", filename)):
        return SDIST
    return OTHER


def is_wheel_name(filename: str, *, with_label: bool = False) -> bool:
    """Whether ``filename`` has the parts of a wheel's name: project, version, perhaps a build number, and three tags.

    With ``with_label`` a variant label (PEP 825) may follow.
    """
    parts = filename[:-4].split("-")
    more = len(parts) - 5 - has_build_number(parts)
    is_labelled = more == 1 and with_label and bool(_VARIANT_LABEL.match(parts[-1]))
    return is_wheel(filename) and all(parts) and (more == 0 or is_labelled)


def has_build_number(parts: Sequence[str]) -> bool:
    """Whether the third of ``parts``, those of a wheel's name between dashes, is a build number."""
    return len(parts) > 5 and bool(_BUILD_TAG.match(parts[2]))


def is_of_project(filename: str, project: str) -> bool:
    """Whether the wheel or sdist ``filename`` is one of ``project`` (the normalised name), in any spelling."""
    if not is_wheel(filename):
        return _version(filename, project) is not None
    try:
        return normalize_project(filename.partition("-")[0]) == project
    except InvalidName:
        return False


def is_of_version(filename: str, project: str, version: str) -> bool:
    """Whether ``filename``, of ``project`` (the normalised name), is one of ``version``, in any spelling."""
    found = _version(filename, project)
    return found is not None and is_same_version(found, version)


def _version(filename: str, project: str) -> str | None:
    """Return the version in ``filename``; in an sdist it follows a dash, or installers see another name and version."""
    version = version_of_filename(filename, project)
    if version is None or kind_of_filename(filename) != SDIST:
        return version
    return version if _EXTENSION.sub("", filename).endswith(f"-{version}") else None


def is_same_version(of_filename: str, version: str) -> bool:
    """Whether ``of_filename``, where ``_`` stands for what a file name cannot contain, and ``version`` are one version.

    Equal by PEP 440 (``1.0`` is ``1.00``); what is no version by PEP 440 has to be written alike.
    """
    if max(len(of_filename), len(version)) > _LONGEST_VERSION:
        return False
    try:
        return Version(of_filename.replace("_", "-")) == Version(version)
    except InvalidVersion:
        return _UNLIKE_IN_FILENAMES.sub("_", of_filename) == _UNLIKE_IN_FILENAMES.sub("_", version)
