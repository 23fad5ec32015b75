"""Names that a removal leaves to mirrors: no private index has them any more, and none reserves them.

Until then, an index that inherits from a mirror gave them to nobody else; from then on, the owner of such a name upstream decides
what is installed.  So the answer to the removal says which names these are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

import attrs

from twistpi.model.changes import Change, IndexDeleted, IndexModified
from twistpi.model.records import Index
from twistpi.model.releases import FileRemoved, ProjectRemoved, Release, ReleaseRemoved
from twistpi.rules.inheritance import resolution_order, rule_on_mirrors

Indexes = Mapping[str, Index]
"""All indexes by name."""
Exposed = Mapping[str, Sequence[str]]
"""Name of an index -> projects that mirrors answer for there."""
_MOST_NAMED: Final = 10


def indexes_after(indexes: Indexes, changes: Iterable[Change]) -> Indexes:
    """Return ``indexes`` as they are after ``changes``."""
    after = dict(indexes)
    for change in changes:
        if isinstance(change, IndexDeleted):
            after.pop(change.index, None)
        elif isinstance(change, IndexModified) and (former := after.get(change.index)) is not None:
            kept = {key: value for key, value in former.config.items() if key not in change.removed}
            after[change.index] = attrs.evolve(former, config={**kept, **change.changed})
    return after


def exposed_by_change(before: Indexes, after: Indexes, projects_of: Callable[[str], Collection[str]]) -> Exposed:
    """Return what mirrors answer for because bases are gone; ``projects_of`` returns the projects of an index before that."""
    known: dict[str, frozenset[str]] = {}

    def has(name: str, project: str) -> bool:
        if name not in known:
            known[name] = frozenset(projects_of(name))
        return project in known[name]

    exposed = {}
    for index in after.values():
        former, order = resolution_order(before.get(index.name, index), before.get), resolution_order(index, after.get)
        lost = [one.name for one in former if not one.is_mirror and all(one.name != now.name for now in order)]
        projects = sorted({project for name in lost for project in projects_of(name)})
        opened = [one for one in projects if _falls_through(one, order, has) and not _is_open(one, former, has)]
        if opened:
            exposed[index.name] = opened
    return exposed


def exposed_by_removal(indexes: Indexes, name: str, project: str, has_project: Callable[[str], bool]) -> Exposed:
    """Return the same after ``project`` was removed from the index ``name``; ``has_project`` tells which ones still have it."""
    orders = ((index.name, resolution_order(index, indexes.get)) for index in indexes.values())
    heirs = [(heir, order) for heir, order in orders if any(one.name == name and not one.is_mirror for one in order)]
    return {heir: [project] for heir, order in heirs if _falls_through(project, order, lambda one, _project: has_project(one))}


def is_emptied(releases: Iterable[Release], changes: Iterable[Change]) -> bool:
    """Whether ``changes``, all of one project of a private index, remove all that it has: ``releases``."""
    files: set[str] = set()
    versions: set[str] = set()
    for change in changes:
        match change:
            case ProjectRemoved():
                return True
            case ReleaseRemoved(version=version):
                versions.add(version)
            case FileRemoved(filename=filename):
                files.add(filename)
    left = [release for release in releases if release.version not in versions]
    return not any(
        any(file.known.link.filename not in files for file in release.files)
        or any(attached.for_filename not in files for attached in release.attachments)
        for release in left
    )


def exposure_text(exposed: Exposed, *, ahead: bool = False) -> str:
    """Return a sentence on ``exposed``, in the future if it is still ``ahead``; empty for nothing."""
    by_project: dict[str, list[str]] = {}
    for index, projects in exposed.items():
        for project in projects:
            by_project.setdefault(project, []).append(index)
    if not by_project:
        return ""
    phrases = [f"{project} in {enumerated(by_project[project])}" for project in by_project]
    when = "mirrors will answer for these names" if ahead else "mirrors answer for these names now"
    return f"{when}, which no private index has any more and none reserves: {enumerated(phrases)}"


def enumerated(names: Sequence[str]) -> str:
    """Return ``names`` for a message: the first ten, and how many more there are."""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _is_open(project: str, order: Sequence[Index], has: Callable[[str, str], bool]) -> bool:
    return rule_on_mirrors(project, order, lambda name: has(name, project)).allowed


def _falls_through(project: str, order: Sequence[Index], has: Callable[[str, str], bool]) -> bool:
    """Whether mirrors in ``order`` may contribute to ``project`` though no whitelist allows it."""
    ruling = rule_on_mirrors(project, order, lambda name: has(name, project))
    return ruling.allowed and ruling.whitelisted is None and any(index.is_mirror for index in order)
