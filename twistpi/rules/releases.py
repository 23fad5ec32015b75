"""Which releases an index has of a project, and which files each of them: told from what a page lists."""

from __future__ import annotations

from collections.abc import Mapping

from twistpi.model.names import comparable_version, version_of_filename
from twistpi.model.records import KnownFile, KnownProject


def releases(known: KnownProject) -> Mapping[str, tuple[KnownFile, ...]]:
    """Version -> its files, as ``known.offered`` orders them.

    A version is spelled as the index names it, else as the first file does.  Files whose names tell no version belong to
    none, and a version without files is no release.
    """
    named = {comparable_version(version): version for version in reversed(known.versions)}
    spelled = frozenset(known.versions)
    found: dict[str, list[KnownFile]] = {}
    for file in known.offered:
        version = version_of_filename(file.link.filename, known.project)
        if version is None:
            continue
        if version not in spelled:
            version = named.setdefault(comparable_version(version), version)
        found.setdefault(version, []).append(file)
    return {version: tuple(files) for version, files in found.items()}


def find_release(version: str, known: KnownProject) -> tuple[str, tuple[KnownFile, ...]] | None:
    """The release that ``version`` names, as the index spells it, with its files; None when the index has none such.

    The very spelling wins over another one of the same version.
    """
    found = releases(known)
    if version in found:
        return version, found[version]
    wanted = comparable_version(version)
    return next(((spelled, files) for spelled, files in found.items() if comparable_version(spelled) == wanted), None)
