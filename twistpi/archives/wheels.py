"""Core metadata out of wheels and eggs.

Sources: "Binary distribution format" (PEP 427), "The Internal Structure of Python Eggs" (setuptools).
"""

from __future__ import annotations

from twistpi.archives.limits import Limits
from twistpi.archives.paths import member_path
from twistpi.archives.source import Source
from twistpi.archives.zip_layout import read_member, read_members
from twistpi.model.distributions import is_same_version
from twistpi.model.errors import InvalidProjectName
from twistpi.model.names import normalize_project, version_of_filename

_EGG_METADATA = ("EGG-INFO", "PKG-INFO")


def wheel_metadata(source: Source, limits: Limits) -> bytes:
    """``METADATA`` in the one folder ``.dist-info`` that bears the wheel's name and version, however these are spelled.

    Raises ``InvalidDistribution``, also when ``WHEEL`` or ``RECORD`` is not beside it.  Such folders of other distributions,
    which a wheel may have brought along, are passed over.
    """
    found: dict[str, list[str]] = {}
    place = {}
    for member in read_members(source, limits):
        path = member_path(source, member.name, limits)
        if len(path) == 2 and path[1] in ("METADATA", "WHEEL", "RECORD") and _is_info_of(source.filename, path[0]):
            found.setdefault(path[1], []).append(path[0])
            place[path[1]] = member
    for name in ("METADATA", "WHEEL", "RECORD"):
        if len(found.get(name, ())) != 1:
            many = "more than once" if name in found else "nowhere"
            raise source.refusal(f"it holds {name} of its name and version {many}")
    if len({folder for folders in found.values() for folder in folders}) > 1:
        raise source.refusal("it has more than one folder .dist-info of its name")
    return read_member(source, place["METADATA"], limits.largest_metadata)


def egg_metadata(source: Source, limits: Limits) -> bytes:
    """``EGG-INFO/PKG-INFO``; raises ``InvalidDistribution``."""
    found = [member for member in read_members(source, limits) if member_path(source, member.name, limits) == _EGG_METADATA]
    if len(found) != 1:
        raise source.refusal("it holds PKG-INFO more than once" if found else "it holds no EGG-INFO/PKG-INFO")
    return read_member(source, found[0], limits.largest_metadata)


def _is_info_of(filename: str, folder: str) -> bool:
    name, dash, version = folder.removesuffix(".dist-info").rpartition("-")
    if not folder.endswith(".dist-info") or not dash:
        return False
    try:
        project = normalize_project(filename.partition("-")[0])
        is_same_name = normalize_project(name) == project
    except InvalidProjectName:
        return False
    told = version_of_filename(filename, project)
    return is_same_name and told is not None and (told == version or is_same_version(told, version.replace("_", "-")))
