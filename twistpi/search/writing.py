"""What the indexer has threads do: everything here blocks, and is for one thread at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import Final

import attrs

from twistpi.blobs.interfaces import IBlobs
from twistpi.model.records import Index
from twistpi.search.database import Project, SearchDatabase
from twistpi.search.name_lists import listed_mirrors, read_list
from twistpi.view.read import Readers

_AT_ONCE: Final = 50
"""Projects in one transaction."""
_DROPPED_AT_ONCE: Final = 500
"""Documents."""
_MOST_PARTIAL: Final = 100
"""Projects of which files are looked for again."""

NameFile = tuple[str, str]
"""What distinguishes a name list from all others, and the path of the file with its names."""


@attrs.define(eq=False)
class IndexWriter:
    """Writes the index."""

    _database: SearchDatabase
    _readers: Readers
    _blobs: IBlobs

    def write(self, deleted: Collection[str], projects: Mapping[Project, bool], serial: int | None) -> None:
        """Forget the indexes ``deleted``, then have ``projects`` equal the view; those with False only if they are here.

        The documents are complete up to ``serial`` then; None if they are not.
        """
        for index in deleted:
            self._drop_place(index)
        waiting = iter(projects.items())
        while some := list(islice(waiting, _AT_ONCE)):
            self._update([key for key, is_certain in some if is_certain or self._database.has_project(*key)])
        if serial is not None:
            with self._database.transaction():
                self._database.stamp(serial)

    def compare(self) -> Iterator[None]:
        """Make all documents equal to the view, in steps."""
        with self._database.transaction():
            self._database.stamp(0)
        indexes = self._readers.get().indexes()
        for gone in {*self._database.places()} - {index.name for index in indexes}:
            self._drop_place(gone)
            yield
        for index in indexes:
            yield from self._compare_index(index)

    def read_list(self, index: str, names: NameFile | None) -> Iterator[None]:
        """Make the list of the mirror ``index`` the one that is in the file; None for no list; in steps."""
        identity, path = names or ("", None)
        return read_list(self._database, index, identity, path)

    def other_lists(self, on_disk: Mapping[str, NameFile]) -> dict[str, NameFile | None]:
        """Return what differs here from the lists ``on_disk``, for ``read_list``."""
        here = listed_mirrors(self._database)
        gone: dict[str, NameFile | None] = dict.fromkeys(index for index in here if index not in on_disk)
        return {**gone, **{index: names for index, names in on_disk.items() if here.get(index) != names[0]}}

    def serial(self) -> int:
        """Return up to which serial the documents are complete."""
        return self._database.serial()

    def look_again(self) -> None:
        """Read projects again of which files were missing."""
        self._update(self._database.partial(_MOST_PARTIAL))

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _compare_index(self, index: Index) -> Iterator[None]:
        view = self._readers.get()
        wanted = view.cached_projects(index.name) if index.is_mirror else view.projects(index.name)
        known = self._database.projects(index.name)
        waiting = iter([*wanted, *sorted({*known}.difference(wanted))])
        while some := list(islice(waiting, _AT_ONCE)):
            self._update([(index.name, project) for project in some])
            yield

    def _update(self, projects: Collection[Project]) -> None:
        view = self._readers.get()
        with self._database.transaction():
            for name, project in projects:
                index = view.index(name)
                if index is None:
                    self._database.drop_project(name, project)
                else:
                    self._database.update(view, self._blobs, name, project, is_mirror=index.is_mirror)

    def _drop_place(self, index: str) -> None:
        is_empty = False
        while not is_empty:
            with self._database.transaction():
                is_empty = self._database.drop_place(index, _DROPPED_AT_ONCE)
