"""What upstreams said while neither the changelog nor the view had room for it, kept in memory and shown by readers.

It is no fact (law 1): the writer does not see it, no follower learns of it, and it is gone when the process ends, when it was
recorded after all, or when there is too much of it.  Then the upstream is asked again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

import attrs

from twistpi.model.changes import (
    Change,
    IndexCreated,
    IndexDeleted,
    IndexModified,
    LinksChanged,
    ProjectVanished,
)
from twistpi.model.monitoring import Measure
from twistpi.model.records import Freshness, KnownFile, KnownProject
from twistpi.model.releases import FileRemoved, ProjectRemoved

_MOST_FILES: Final = 30_000
"""Of all projects together; about 30 MB."""
_MOST_PROJECTS: Final = 2_000

_Name = tuple[str, str]
"""Index and project."""


@attrs.frozen(eq=False)
class UnrecordedProject:
    """A project of a mirror as its upstream has it."""

    freshness: Freshness
    reason: str
    """Why it could not be recorded."""
    known: KnownProject | None
    """None where the view has the same."""
    files: dict[str, KnownFile]
    """By file name."""


@attrs.define(eq=False)
class Unrecorded:
    """Projects that are not recorded.  Changed in the reactor's thread; read in any."""

    forgotten: Callable[[str, str], object] = attrs.field(default=lambda index, project: None)
    """Called with the index and project of what was learned or forgotten: pages that show it are out of date."""
    _projects: OrderedDict[_Name, UnrecordedProject] = attrs.field(factory=OrderedDict, init=False)
    _owners: dict[tuple[str, str], str] = attrs.field(factory=dict, init=False)
    """Index and file name -> the project."""

    def learn(self, index: str, project: str, freshness: Freshness, reason: str, known: KnownProject | None = None) -> None:
        """Remember ``known``, or that the view has what its upstream has, instead of what was known of the project before."""
        if known is None and (former := self._projects.get((index, project))) is not None:
            known = former.known
        self._remove((index, project))
        files = {} if known is None else {file.link.filename: file for file in known.files}
        self._projects[index, project] = UnrecordedProject(freshness, reason, known, files)
        self._owners.update({(index, filename): project for filename in files})
        while len(self._owners) > _MOST_FILES or len(self._projects) > _MOST_PROJECTS:
            oldest = next(iter(self._projects))
            if oldest == (index, project):
                break
            self.forget(*oldest)
        self.forgotten(index, project)

    def forget(self, index: str, project: str) -> None:
        """Show what the view has of a project."""
        if self._remove((index, project)):
            self.forgotten(index, project)

    def entered(self, _serial: int, changes: Iterable[Change]) -> None:
        """Forget what ``changes`` say anew."""
        for change in changes if self._projects else ():
            match change:
                case LinksChanged() | ProjectVanished() | FileRemoved() | ProjectRemoved():
                    self.forget(change.index, change.project)
                case IndexCreated() | IndexModified() | IndexDeleted():
                    for index, project in [name for name in self._projects if name[0] == change.index]:
                        self.forget(index, project)
                case _:
                    pass

    def get(self, index: str, project: str) -> UnrecordedProject | None:
        """Return what is remembered of a project."""
        return self._projects.get((index, project))

    def project(self, index: str, project: str) -> KnownProject | None:
        """Return what a project is instead of what the view has."""
        found = self._projects.get((index, project))
        return None if found is None else found.known

    def file(self, index: str, filename: str) -> tuple[str, KnownFile] | None:
        """Return the file called ``filename`` with its project."""
        project = self._owners.get((index, filename))
        found = None if project is None else self._projects.get((index, project))
        file = None if found is None else found.files.get(filename)
        return None if project is None or file is None else (project, file)

    def measures(self) -> list[Measure]:
        """See ``Measured``."""
        help = "Projects of mirrors that are known in memory only, because nothing can be written"
        return [Measure("twistpi_unrecorded_projects", "gauge", help, len(self._projects))]

    def _remove(self, name: _Name) -> bool:
        removed = self._projects.pop(name, None)
        if removed is None:
            return False
        for filename in removed.files:
            self._owners.pop((name[0], filename), None)
        return True
