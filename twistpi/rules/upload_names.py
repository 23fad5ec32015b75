"""Whether the name of an uploaded file fits what the form and the file itself say of it.

The devpi protocol only looks for parts of the name.  Beyond that, a wheel or an sdist must be named exactly after its project and
version, in any of their spellings: otherwise the project ``pkg`` could own a file that installers take for one of ``pkg-a``.
"""

from __future__ import annotations

import re

from twistpi.model.distributions import (
    SDIST,
    WHEEL,
    is_of_project,
    is_of_version,
    is_same_version,
    is_wheel_name,
    kind_of_filename,
)
from twistpi.model.errors import InvalidFilename
from twistpi.model.names import check_filename, normalize_project, project_of_filename
from twistpi.model.upload_errors import FormDisagrees, NotAnArchiveName, ProjectNotInFilename, VersionNotInFilename

_ARCHIVE = re.compile(r".+?\.(?:exe|tar\.gz|bz2|rpm|deb|zip|tgz|egg|dmg|msi|whl)\Z", re.IGNORECASE | re.DOTALL)
_UNLIKE_IN_WHEELS = re.compile(r"[^\w.]+")
_SEPARATORS = re.compile(r"[-_.]+")


def check_upload_filename(filename: str, project: str, version: str) -> None:
    """Refuse a ``filename`` that cannot be one of ``project`` and ``version``, both in any spelling.

    Raises ``InvalidFilename``, ``InvalidProjectName``, ``VersionNotInFilename``, ``NotAnArchiveName`` or
    ``ProjectNotInFilename``; order and texts of the last three are the devpi protocol's.
    """
    check_filename(filename)
    normal = normalize_project(project)
    is_exact = kind_of_filename(filename) in (WHEEL, SDIST)
    fits = is_of_version(filename, normal, version)
    if not fits and not (version and _contains(filename, version)):
        raise VersionNotInFilename(filename, version)
    if not _ARCHIVE.match(filename):
        raise NotAnArchiveName(filename)
    if not _SEPARATORS.sub("-", filename).lower().startswith(normal):
        raise ProjectNotInFilename(filename, project)
    if is_exact:
        _check_exactly(filename, project, normal, version, fits)


def check_form(filename: str, form: tuple[str, str], found: tuple[str, str]) -> None:
    """Refuse a form whose name and version are not those ``found`` in the metadata of ``filename``, in any spelling.

    Raises ``FormDisagrees``, which names the field, or ``InvalidProjectName``.
    """
    if normalize_project(form[0]) != normalize_project(found[0]):
        raise FormDisagrees(filename, "name", form[0], found[0])
    if form[1] != found[1] and not is_same_version(form[1], found[1]):
        raise FormDisagrees(filename, "version", form[1], found[1])


def _contains(filename: str, version: str) -> bool:
    """Whether ``version`` stands in ``filename``, literally or as wheels spell it."""
    return version in filename or _UNLIKE_IN_WHEELS.sub("_", version) in filename


def _check_exactly(filename: str, project: str, normal: str, version: str, fits: bool) -> None:
    if kind_of_filename(filename) == WHEEL and not is_wheel_name(filename):
        raise InvalidFilename(filename, "a wheel is called project-version-python-abi-platform.whl")
    if not is_of_project(filename, normal):
        raise ProjectNotInFilename(filename, project)
    if not fits:
        # The name alone cannot tell where a project's name ends: say what is more likely wrong.
        if kind_of_filename(filename) == SDIST and project_of_filename(filename) != normal:
            raise ProjectNotInFilename(filename, project)
        raise VersionNotInFilename(filename, version)
