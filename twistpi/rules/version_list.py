"""The versions of a project as its page lists them: newest first, each with where it comes from.  Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

import attrs
from packaging.version import Version

from twistpi.model.names import comparable_version, find_version, kind_of_filename, version_of_filename
from twistpi.model.records import KnownFile, KnownProject
from twistpi.rules.attachments import Age, age_of
from twistpi.rules.file_policy import Refusal
from twistpi.rules.releases import releases

LATEST: Final = "latest"
STABLE: Final = "stable"


@attrs.frozen
class ListedVersion:
    """One version of a project."""

    version: str
    """As the nearest index that has it writes it."""
    index: str
    """The nearest index that has it."""
    is_mirrored: bool
    """Whether that index is a mirror."""
    files: tuple[KnownFile, ...] = ()
    """Those of the nearest index; none of a version that was only registered."""
    farther: tuple[tuple[str, tuple[KnownFile, ...]], ...] = ()
    """The other indexes that have it, nearest first, with their files."""
    refusal: Refusal | None = None
    """Why no file of it is offered, of a version that policies hide."""
    age: Age = attrs.field(init=False)
    """What orders versions; see ``age_of``."""
    is_prerelease: bool = attrs.field(init=False)
    """Whether it is a pre-release or a development release."""
    yanked: bool | str = attrs.field(init=False)
    """True or the reason when all its files are yanked, else False."""

    @age.default
    def _age(self) -> Age:
        return age_of(self.version)

    @is_prerelease.default
    def _is_prerelease(self) -> bool:
        parsed = self.age[1]
        return isinstance(parsed, Version) and parsed.is_prerelease

    @yanked.default
    def _yanked(self) -> bool | str:
        if not self.files or any(file.link.yanked is False for file in self.files):
            return False
        return next((file.link.yanked for file in self.files if isinstance(file.link.yanked, str) and file.link.yanked), True)

    @property
    def also_in(self) -> tuple[str, ...]:
        """The names of the other indexes that have it, nearest first."""
        return tuple(index for index, _files in self.farther)

    @property
    def all_files(self) -> tuple[tuple[str, tuple[KnownFile, ...]], ...]:
        """All indexes that have it, nearest first, with their files."""
        return ((self.index, self.files), *self.farther)

    @property
    def uploaded_at(self) -> str:
        """When its first file was uploaded, UTC; empty when that is not known."""
        return min((file.link.upload_time for file in self.files if file.link.upload_time), default="")

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of its files, as ``kind_of_filename`` tells them, each once."""
        return tuple(dict.fromkeys(sorted(kind_of_filename(file.link.filename) for file in self.files)))

    @property
    def stored(self) -> int:
        """How many of its files are here."""
        return sum(file.cached for file in self.files)


def list_versions(known: Sequence[KnownProject], mirrors: Collection[str]) -> tuple[ListedVersion, ...]:
    """Return the versions in ``known``, what each contributing index has of a project, nearest first; the newest version first.

    ``mirrors`` are the names of the indexes that are mirrors: their versions without files are no releases.  A version that
    several indexes have is that of the nearest one.
    """
    found: dict[str, ListedVersion] = {}
    for project in known:
        is_mirrored = project.index in mirrors
        for version, files in _versions_of(project, is_mirrored=is_mirrored).items():
            key = comparable_version(version)
            nearer = found.get(key)
            if nearer is None:
                found[key] = ListedVersion(version, project.index, is_mirrored, files)
            elif project.index not in (nearer.index, *nearer.also_in):
                found[key] = attrs.evolve(nearer, farther=(*nearer.farther, (project.index, files)))
    return tuple(sorted(found.values(), key=lambda one: one.age, reverse=True))


def _versions_of(project: KnownProject, *, is_mirrored: bool) -> dict[str, tuple[KnownFile, ...]]:
    found = dict(releases(project))
    if not is_mirrored:
        spelled = set(map(comparable_version, found))
        found.update((version, ()) for version in project.versions if comparable_version(version) not in spelled)
    return found


def list_refused(
    refused: Sequence[tuple[str, KnownFile, Refusal]],
    project: str,
    offered: Sequence[ListedVersion],
    mirrors: Collection[str],
) -> tuple[ListedVersion, ...]:
    """Return the versions of ``refused`` files, each with its index, of which none of ``offered`` is one; the newest first.

    Each has the refusal that ends first.
    """
    found: dict[str, ListedVersion] = {}
    listed = {comparable_version(one.version) for one in offered}
    for index, file, refusal in refused:
        version = version_of_filename(file.link.filename, project)
        if not refusal.is_enforced or version is None or (key := comparable_version(version)) in listed:
            continue
        known = found.get(key)
        if known is None:
            found[key] = ListedVersion(version, index, index in mirrors, (file,), refusal=refusal)
        elif known.index == index and known.refusal is not None:
            first = min(known.refusal, refusal, key=lambda one: one.until)
            found[key] = attrs.evolve(known, files=(*known.files, file), refusal=first)
    return tuple(sorted(found.values(), key=lambda one: one.age, reverse=True))


def newest_version(versions: Iterable[ListedVersion]) -> ListedVersion | None:
    """Return what an installer would take of ``versions``: the newest stable one that is not yanked, of those that are offered.

    Without any, the newest that is not yanked; else the newest.
    """
    found = [one for one in versions if one.refusal is None]
    best = min(map(_rank, found), default=None)
    return max((one for one in found if _rank(one) == best), key=lambda one: one.age, default=None)


def _rank(one: ListedVersion) -> tuple[bool, bool, bool]:
    return bool(one.yanked), one.is_prerelease, not one.age[0]


def chosen_version(asked: str, versions: Sequence[ListedVersion]) -> ListedVersion | None:
    """Return which of ``versions`` is ``asked`` for: ``latest``, ``stable``, or one in any spelling; else None."""
    offered = [one for one in versions if one.refusal is None]
    if asked == LATEST:
        return max(offered, key=lambda one: one.age, default=None)
    if asked == STABLE:
        stable = [one for one in offered if not one.is_prerelease]
        return max(stable, key=lambda one: one.age, default=None)
    spelled = find_version(asked, [one.version for one in versions])
    return next((one for one in versions if one.version == spelled), None)
