"""Projects that were folded a moment ago, kept in memory because the request that caused it reads them next.

To read a page of thousands of rows back takes a fifth of the time of its first answer.  What is told from here is what the rows
say, down to the order of keys: a project stays at hand only until another change speaks of it.
"""

from __future__ import annotations

from threading import Lock
from typing import Final

import attrs

from twistpi.model.changes import Change, FileCached, LinksChanged, MetadataCached, MetadataMissing, ProjectVanished
from twistpi.model.records import KnownProject
from twistpi.view.rows import header_json, header_of, uncached_files

_MOST_LINKS: Final = 10_000
"""Of all projects at hand together; about 9 MB."""
_MOST_PROJECTS: Final = 100

_Name = tuple[str, str]
"""Index and project."""
_OfOneProject = LinksChanged | ProjectVanished | FileCached | MetadataCached | MetadataMissing
"""Changes that touch only rows of the project they name."""


@attrs.define(eq=False)
class Newest:
    """Filled by the thread that folds, along with its transactions; emptied by readers in others."""

    _folded: dict[_Name, LinksChanged] = attrs.field(init=False, factory=dict)
    """Of the open transaction."""
    _at_hand: dict[_Name, LinksChanged] = attrs.field(init=False, factory=dict)
    """Of committed transactions, so that every reader that is in none sees them."""
    _lock: Lock = attrs.field(init=False, factory=Lock)

    def learned(self, change: LinksChanged) -> None:
        """``change`` was folded, and is all that was ever said of its project."""
        self._folded[change.index, change.project] = change

    def invalidated(self, change: Change) -> None:
        """``change`` is about to be folded: what it speaks of is no more what it was."""
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
        """Readers see what was folded."""
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
        """The transaction did not happen."""
        self._folded.clear()

    def take(self, index: str, project: str) -> KnownProject | None:
        """Return what a reader that is in no transaction would read of ``project``; None when it has to be read.

        It is given out once: later answers come out of the page cache, and the room is needed.
        """
        with self._lock:
            change = self._at_hand.pop((index, project), None)
        return None if change is None else _known(change)

    def link_count(self, index: str, project: str) -> int | None:
        """Return how many links such a reader would find; None when they have to be counted."""
        change = self._at_hand.get((index, project))
        return None if change is None else len(change.added)


def _known(change: LinksChanged) -> KnownProject:
    """The project of which ``change`` is all that is known; as ``Fold`` writes it and ``Reader`` reads it."""
    links = {link.filename: link for link in (*change.added, *change.changed)}
    return KnownProject(
        change.index,
        change.project,
        tuple(uncached_files(links.values())),
        tuple(sorted(set(change.versions_added))),
        header_of(None if change.header is None else header_json(change.header)),
    )
