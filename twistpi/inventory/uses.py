"""Where a project is: the indexes that have it, its files and downloads, and the private releases that require it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import attrs
from packaging.version import Version

from twistpi.model.errors import BadRequest
from twistpi.model.names import parsed_version, version_of_filename
from twistpi.model.records import Json, KnownProject
from twistpi.model.releases import LogLine
from twistpi.rules.dependencies import dependencies_on
from twistpi.rules.requirements import Requirement
from twistpi.statistics.download_queries import Scope
from twistpi.statistics.downloads import Downloads
from twistpi.view.read import Reader

_ADDED = ("upload", "push")
"""What a log says where a file came into an index."""


@attrs.frozen
class FileHere:
    """A file whose bytes an index has."""

    filename: str
    version: str | None
    """None where its name has none."""
    size: int
    """Bytes."""
    downloads: int
    """Of all time."""
    uploaded_by: str | None = None
    """The user who uploaded or pushed it; None for files of mirrors, and where nobody was logged in."""
    uploaded_at: str | None = None
    """UTC, when that was."""
    pushed_from: str | None = None
    """The index that it was pushed from; None for what was uploaded."""


@attrs.frozen
class IndexUse:
    """What an index has of a project."""

    index: str
    is_mirror: bool
    files: tuple[FileHere, ...]
    """Those that are here, of the newest version first; those without a version last."""
    not_here: int
    """How many more an upstream lists, which nobody requested yet."""
    downloads: int
    """Of all time, of files that are gone, too."""


@attrs.frozen
class Dependent:
    """A private release that requires a project."""

    index: str
    project: str
    version: str
    requirement: str
    """As its core metadata has it."""
    extras: tuple[str, ...]
    marker: str
    """When it is required: ``extra == "docs"``; empty for always."""


@attrs.frozen
class Uses:
    """The answer to where a project, or some versions of it, are."""

    requirement: Requirement
    indexes: tuple[IndexUse, ...]
    """By name."""
    dependents: tuple[Dependent, ...]
    """By index, project and age."""

    @property
    def downloads(self) -> int:
        """Of all time, from all indexes."""
        return sum(one.downloads for one in self.indexes)

    @property
    def files(self) -> int:
        """How many files are here; one that two indexes have counts twice."""
        return sum(len(one.files) for one in self.indexes)

    def fields(self) -> dict[str, Json]:
        """Return it for programs."""
        return {
            "project": self.requirement.name,
            "requirement": str(self.requirement),
            "downloads": self.downloads,
            "indexes": [
                {
                    "index": one.index,
                    "type": "mirror" if one.is_mirror else "stage",
                    "downloads": one.downloads,
                    "not_here": one.not_here,
                    "files": [attrs.asdict(file) for file in one.files],
                }
                for one in self.indexes
            ],
            "dependents": [{**attrs.asdict(one), "extras": list(one.extras)} for one in self.dependents],
        }


def parse_subject(text: str) -> Requirement:
    """Return what ``PROJECT`` or ``PROJECT==VERSION`` asks about; raise ``BadRequest``, which says what is wrong."""
    try:
        requirement = Requirement.parse(text.strip())
    except ValueError as error:
        raise BadRequest(f"{error}; write PROJECT or PROJECT==VERSION") from error
    if requirement.is_prefix:
        raise BadRequest(f"{text!r} names more than one project; write the whole name of one")
    return requirement


def find_uses(
    reader: Reader, downloads: Downloads, requirement: Requirement, is_readable: Callable[[str], bool] = lambda index: True
) -> Uses:
    """Return where ``requirement`` is, of what is in the indexes that ``is_readable`` takes.  Blocking."""
    project = requirement.name
    with reader.snapshot():
        names = [name for name in reader.indexes_with_project(project) if is_readable(name)]
        known = {name: found for name in names if (found := reader.project(name, project)) is not None}
        numbers = downloads.of_files(Scope(tuple(known), project))
        indexes = [_index_use(reader, one, requirement, numbers) for one in known.values()]
        versions = _versions(requirement, known.values())
        dependents = tuple(_dependents(reader, requirement, versions, is_readable))
    return Uses(requirement, tuple(one for one in indexes if one.files or one.not_here or one.downloads), dependents)


def _index_use(reader: Reader, known: KnownProject, requirement: Requirement, numbers: Mapping[tuple[str, str], int]) -> IndexUse:
    index, logs = reader.index(known.index), _logs(reader, known)
    here, not_here = [], 0
    for file in known.files:
        filename = file.link.filename
        version = version_of_filename(filename, known.project)
        if not _is_meant(requirement, version):
            continue
        if file.sha256 is None:
            not_here += 1
            continue
        line = logs.get(filename)
        added = (None, None, None) if line is None else (line.who, line.when, line.src)
        here.append(FileHere(filename, version, file.size or 0, numbers.get((known.index, filename), 0), *added))
    downloaded = sum(
        number
        for (name, filename), number in numbers.items()
        if name == known.index and _is_meant(requirement, version_of_filename(filename, known.project))
    )
    newest_first = sorted(here, key=_age, reverse=True)
    return IndexUse(known.index, index is not None and index.is_mirror, tuple(newest_first), not_here, downloaded)


def _age(file: FileHere) -> tuple[bool, Version, str]:
    version = None if file.version is None else parsed_version(file.version)
    return version is not None, version or Version("0"), file.filename


def _is_meant(requirement: Requirement, version: str | None) -> bool:
    """Return whether a file of ``version`` is asked for: one without a version only where all are."""
    return requirement.matches(requirement.name, version) if version is not None else not requirement.versions


def _logs(reader: Reader, known: KnownProject) -> Mapping[str, LogLine]:
    """Return who uploaded each file of a private project, and when, by its name."""
    files = (file for release in reader.releases(known.index, known.project) for file in release.files)
    added = ((file.known.link.filename, [line for line in file.log if line.what in _ADDED]) for file in files)
    return {filename: lines[-1] for filename, lines in added if lines}


def _dependents(
    reader: Reader, requirement: Requirement, versions: Collection[Version], is_readable: Callable[[str], bool]
) -> Iterator[Dependent]:
    for release in reader.releases_that_may_require(requirement.name):
        if is_readable(release.index):
            for one in dependencies_on(requirement.name, release.required):
                if not versions or one.admits(versions):
                    release_facts = (release.index, release.project, release.version)
                    yield Dependent(*release_facts, one.text, one.extras, one.marker)


def _versions(requirement: Requirement, projects: Iterable[KnownProject]) -> Collection[Version]:
    """Return the versions that are asked about: one that is named with ``==``, and all that are known of the others.

    Empty where all versions are asked about, and where none is known.
    """
    named = [one.version for one in requirement.versions if one.operator in ("==", "===") and not one.version.endswith(".*")]
    for known in projects if requirement.versions else ():
        named += known.versions
        named += filter(None, (version_of_filename(file.link.filename, known.project) for file in known.files))
    found = {version for text in named if (version := parsed_version(text)) is not None}
    return {version for version in found if requirement.versions.contains(version, prereleases=True)}
