"""New projects of the last transactions, kept in memory."""

from __future__ import annotations

from threading import Lock
from typing import Final

import attrs

from twistpi.model.changes import Change, FileCached, LinksChanged, MetadataCached, MetadataMissing, ProjectVanished
from twistpi.model.records import KnownProject
from twistpi.view.rows import header_json, header_of, uncached_files

_MOST_LINKS: Final = 10_000
"""Of all projects together; about 9 MB."""
_MOST_PROJECTS: Final = 100

_Name = tuple[str, str]
"""Index and project."""
_OfOneProject = LinksChanged | ProjectVanished | FileCached | MetadataCached | MetadataMissing
"""Changes that touch only rows of the project they name."""


@attrs.define(eq=False)
class Newest:
    """New projects of the last transactions, kept in memory because the request that caused them reads them next.

    Reading a page of thousands of rows back takes a fifth of the time of its first answer.  The results here equal those of
    reading the rows, down to the order of keys; another change of a project drops it.  Filled by the writer's thread, along with
    its transactions; emptied by readers in other threads.
    """

    _folded: dict[_Name, LinksChanged] = attrs.field(init=False, factory=dict)
    """Projects of the open transaction."""
    _at_hand: dict[_Name, LinksChanged] = attrs.field(init=False, factory=dict)
    """Projects of committed transactions."""
    _lock: Lock = attrs.field(init=False, factory=Lock)

    def learned(self, change: LinksChanged) -> None:
        """Note that ``change``, the first of its project, was folded."""
        self._folded[change.index, change.project] = change

    def invalidated(self, change: Change) -> None:
        """Drop the projects that ``change``, which is about to be folded, concerns."""
        if not self._folded and not self._at_hand:
            return
        if isinstance(change, _OfOneProject):
            name = (change.index, change.project)
            self._folded.pop(name, None)
            self._at_hand.pop(name, None)
        else:
            self._folded.clear()
            self._at_hand.clear()

    def committed(self) -> None:
        """Note that the open transaction was committed."""
        if not self._folded:
            return
        with self._lock:
            self._at_hand.update(self._folded)
            self._folded.clear()
            links = sum(len(change.added) for change in self._at_hand.values())
            while links > _MOST_LINKS or len(self._at_hand) > _MOST_PROJECTS:
                oldest = self._at_hand.pop(next(iter(self._at_hand)))
                links -= len(oldest.added)

    def rolled_back(self) -> None:
        """Note that the open transaction was rolled back."""
        self._folded.clear()

    def take(self, index: str, project: str) -> KnownProject | None:
        """Remove and return the new project, as a reader outside a transaction would read it; None when it has to be read.

        Later requests are answered from the page cache.
        """
        with self._lock:
            change = self._at_hand.pop((index, project), None)
        return None if change is None else _known(change)

    def link_count(self, index: str, project: str) -> int | None:
        """The number of links of a new project; None when they have to be counted."""
        change = self._at_hand.get((index, project))
        return None if change is None else len(change.added)


def _known(change: LinksChanged) -> KnownProject:
    """The project of which ``change`` is the only change; as ``Fold`` writes it and ``Reader`` reads it."""
    links = {link.filename: link for link in (*change.added, *change.changed)}
    return KnownProject(
        change.index,
        change.project,
        tuple(uncached_files(links.values())),
        tuple(sorted(set(change.versions_added))),
        header_of(None if change.header is None else header_json(change.header)),
    )
