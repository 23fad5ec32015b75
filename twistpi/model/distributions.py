"""What the name of a distribution file says: which kind it is, and whether it is of a certain release.

Sources: "Binary distribution format" (PEP 427), "Source distribution format" (PEP 625), "Version specifiers" (PEP 440).
"""

from __future__ import annotations

import re
from typing import Final

from packaging.version import InvalidVersion, Version

from twistpi.model.errors import InvalidProjectName
from twistpi.model.names import is_wheel, normalize_project, version_of_filename

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
_BUILD_TAG = re.compile(r"\d", re.ASCII)
_LONGEST_VERSION: Final = 240
"""Characters; a file name has no room for more."""


def kind_of_filename(filename: str) -> str:
    """``WHEEL``, ``SDIST``, ``EGG`` or ``OTHER``."""
    if is_wheel(filename):
        return WHEEL
    if filename.lower().endswith(".egg"):
        return EGG
    if _SDIST.match(filename) and not _DUMB.search(_EXTENSION.sub("", filename)):
        return SDIST
    return OTHER


def is_wheel_name(filename: str) -> bool:
    """Whether ``filename`` has the parts of a wheel's name: project, version, perhaps a build number, and three tags."""
    parts = filename[:-4].split("-")
    return is_wheel(filename) and len(parts) in (5, 6) and all(parts) and (len(parts) == 5 or bool(_BUILD_TAG.match(parts[2])))


def is_of_project(filename: str, project: str) -> bool:
    """Whether the wheel or sdist ``filename`` is one of ``project`` (the normalised name), however it is spelled there."""
    if not is_wheel(filename):
        return _version(filename, project) is not None
    try:
        return normalize_project(filename.partition("-")[0]) == project
    except InvalidProjectName:
        return False


def is_of_version(filename: str, project: str, version: str) -> bool:
    """Whether ``filename``, of ``project`` (the normalised name), is one of ``version``, however it is spelled there."""
    told = _version(filename, project)
    return told is not None and is_same_version(told, version)


def _version(filename: str, project: str) -> str | None:
    """The version in ``filename``; before that of an sdist there is a dash, or installers see another name and version."""
    told = version_of_filename(filename, project)
    if told is None or kind_of_filename(filename) != SDIST:
        return told
    stem = _EXTENSION.sub("", filename)
    return told if stem.endswith(f"-{told}") else None


def is_same_version(of_filename: str, version: str) -> bool:
    """Whether ``of_filename``, where ``_`` stands for what a file name cannot hold, and ``version`` are one version.

    Equal by PEP 440 (``1.0`` is ``1.00``); what is no version by PEP 440 must be spelled alike.
    """
    if max(len(of_filename), len(version)) > _LONGEST_VERSION:
        return False
    try:
        return Version(of_filename.replace("_", "-")) == Version(version)
    except InvalidVersion:
        return _UNLIKE_IN_FILENAMES.sub("_", of_filename) == _UNLIKE_IN_FILENAMES.sub("_", version)
