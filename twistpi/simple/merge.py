"""Merging of what an index and its bases know of a project into one page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from typing import Final

import attrs

from twistpi.model.names import comparable_version, version_of_filename
from twistpi.model.records import KnownFile, KnownProject, PageHeader

_NO_HEADER: Final = PageHeader()


@attrs.frozen
class MergedPage:
    """A project on an index: its own files and those it inherits."""

    index: str
    """The requested index, ``user/name``."""
    project: str
    """The normalised name."""
    files: tuple[tuple[str, KnownFile], ...]
    """Each with the index that owns it; one per file name, nearest index first, within an index in its own order."""
    versions: tuple[str, ...] = ()
    """Without repetition; they include every file's version that can be told (PEP 700)."""
    header: PageHeader = _NO_HEADER
    """``last_serial`` and ``extra`` only when the page is of a single index, since they are about one repository."""
    vanished: bool = False
    """True when no index behind the page has the project any more: only what is cached remains."""


def merge(index: str, project: str, known: Sequence[KnownProject]) -> MergedPage:
    """Return the page of ``project`` on ``index``; ``known`` is what the index and its bases know of it, nearest first.

    The first file of a name wins.  A quarantined project offers no files (PEP 792), a vanished one those that are cached.
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
    # As long as one index offers files, the page is not quarantined.
    speaking = [one.header for one in known if one.header.status is not None]
    offering = [header for header in speaking if header.status != "quarantined"]
    if not offering and all(one.quarantined for one in known):
        offering = speaking
    return PageHeader(offering[0].status, offering[0].status_reason) if offering else _NO_HEADER


def _unnamed_versions(named: Sequence[str], project: str, filenames: Iterable[str]) -> Iterable[str]:
    """Return the versions of files that are not in ``named`` in any spelling."""
    spelled = frozenset(named)
    # Of thousands of files nearly all have a version that is spelled as in ``named``; those are cheap to tell.
    odd = [filename for filename in filenames if not _is_named(filename, project, spelled)]
    of_files = {version_of_filename(filename, project) for filename in odd}
    left = [version for version in of_files - spelled if version is not None]
    if not left:
        return ()
    known = {comparable_version(version) for version in named}
    fresh = {comparable_version(version): version for version in sorted(left, reverse=True)}
    return sorted(version for comparable, version in fresh.items() if comparable not in known)


def _is_named(filename: str, project: str, spelled: Set[str]) -> bool:
    """Return whether a file name of the usual form has a version of ``spelled``."""
    head, _, rest = filename.partition("-")
    if filename.endswith(".whl"):
        return rest.partition("-")[0] in spelled
    return rest.removesuffix(".tar.gz") in spelled and head.replace("_", "-").lower() == project
