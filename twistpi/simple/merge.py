"""The links of an index and of those it inherits from -> one list."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from typing import Final

import attrs

from twistpi.model.names import comparable_version, version_of_filename
from twistpi.model.records import KnownFile, KnownProject, PageHeader

_NO_HEADER: Final = PageHeader()


@attrs.frozen
class MergedPage:
    """What an index shows for a project: its own files and those it inherits."""

    index: str
    """The index that was asked, ``user/name``."""
    project: str
    """The normalised name."""
    files: tuple[tuple[str, KnownFile], ...]
    """Each with the index that owns it; one per file name, nearest index first, within an index in its own order."""
    versions: tuple[str, ...] = ()
    """Without repetition; every file's version is among them as far as it can be told (PEP 700)."""
    header: PageHeader = _NO_HEADER
    """``last_serial`` and ``extra`` only when a single index stands behind the page: they speak of one repository."""
    vanished: bool = False
    """True when no index behind the page has the project any more: only what is cached remains."""


def merge(index: str, project: str, known: Sequence[KnownProject]) -> MergedPage:
    """What ``index`` shows for ``project``, given what it and its sources know of it, nearest first.

    The first file of a name wins.  Quarantined projects give no files ("MUST NOT offer files", PEP 792), and vanished files only
    those that are cached.
    """
    files: dict[str, tuple[str, KnownFile]] = {}
    for one in known:
        for file in one.offered:
            files.setdefault(file.link.filename, (one.index, file))
    named = tuple(dict.fromkeys(version for one in known for version in one.versions))
    return MergedPage(
        index,
        project,
        tuple(files.values()),
        (*named, *_unnamed_versions(named, project, files)),
        _header(index, known),
        bool(known) and all(one.vanished for one in known),
    )


def _header(index: str, known: Sequence[KnownProject]) -> PageHeader:
    if len(known) == 1:
        header = known[0].header
        return header if known[0].index == index else attrs.evolve(header, last_serial=None)
    # As long as somebody offers files the page is not quarantined, whatever another source is.
    speaking = [one.header for one in known if one.header.status is not None]
    offering = [header for header in speaking if header.status != "quarantined"]
    if not offering and all(one.quarantined for one in known):
        offering = speaking
    return PageHeader(offering[0].status, offering[0].status_reason) if offering else _NO_HEADER


def _unnamed_versions(named: Sequence[str], project: str, filenames: Iterable[str]) -> Iterable[str]:
    """The versions of files that ``named`` holds in no spelling."""
    spelled = frozenset(named)
    # Of thousands of files nearly all carry a version that is named just so; those need no closer look.
    odd = [filename for filename in filenames if not _is_named(filename, project, spelled)]
    of_files = {version_of_filename(filename, project) for filename in odd}
    left = [version for version in of_files - spelled if version is not None]
    if not left:
        return ()
    known = {comparable_version(version) for version in named}
    fresh = {comparable_version(version): version for version in sorted(left, reverse=True)}
    return sorted(version for comparable, version in fresh.items() if comparable not in known)


def _is_named(filename: str, project: str, spelled: Set[str]) -> bool:
    """Whether a file name of the usual form carries a version of ``spelled``."""
    head, _, rest = filename.partition("-")
    if filename.endswith(".whl"):
        return rest.partition("-")[0] in spelled
    return rest.removesuffix(".tar.gz") in spelled and head.replace("_", "-").lower() == project
