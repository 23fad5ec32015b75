"""A server whose search index follows what a test commits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred

from tests.web.web_world import World, at_once
from twistpi.model.changes import Change, IndexCreated
from twistpi.model.releases import FileUploaded, ReleaseDescribed
from twistpi.search.indexer import Indexer
from twistpi.search.results import SearchPage
from twistpi.search.service import SearchService

LOG_ID = "1" * 32


class SearchWorld(World):
    """``lists`` are the name lists of mirrors: index -> names."""

    indexer: Indexer | None = None

    def __init__(self, folder: str, **settings: Any) -> None:
        super().__init__(folder, **settings)
        self.on_close.append(self.stop)
        self.lists: dict[str, tuple[str, str]] = {}
        self.path = os.path.join(folder, "search.sqlite")
        self.service = SearchService(self.path)
        self.start()

    def start(self) -> None:
        """A server starts, over what is on the disk."""
        self.indexer = Indexer(self.path, LOG_ID, self.readers, self.blobs, self.clock, at_once, lambda: self.lists)
        self.indexer.start()
        self.settle()

    def stop(self) -> None:
        """It stops."""
        assert self.indexer is not None
        Deferred.fromCoroutine(self.indexer.stop())
        self.settle()

    def settle(self, seconds: float = 1.0) -> None:
        """Let time pass."""
        self.clock.pump([0.01] * round(seconds * 100))

    def commit(self, *changes: Change, by: str = "root") -> None:
        super().commit(*changes, by=by)
        if self.indexer is not None:
            self.indexer.changed(self.view.position.serial, changes)

    def add_stage(self, name: str, **config: Any) -> None:
        self.commit(IndexCreated(name, {"type": "stage", "bases": [], **config}))

    def upload(self, index: str, name: str, version: str, metadata: Mapping[str, Any] | None = None) -> None:
        """A release with one file, as it is in the view."""
        described = {"name": name, "version": version, **(metadata or {})}
        project = name.lower().replace(".", "-").replace("_", "-")
        filename = f"{project.replace('-', '_')}-{version}.tar.gz"
        self.commit(
            ReleaseDescribed(index, project, version, described),
            FileUploaded(index, project, version, filename, "a" * 64, 5),
        )

    def set_names(self, index: str, *names: str, identity: str = "list-1") -> None:
        """A mirror has this name list from now on."""
        path = os.path.join(self.folder, f"{index.replace('/', '-')}-{identity}.txt")
        with open(path, "w", encoding="ascii") as file:
            file.writelines(f"{name}\n" for name in sorted(names))
        self.lists[index] = (identity, path)
        assert self.indexer is not None
        self.indexer.list_changed(index, (identity, path))

    def search(self, query: str, *readable: str, **more: Any) -> SearchPage:
        """What somebody finds who may read ``readable`` indexes; all of them if none is given."""
        self.settle()
        every = [index.name for index in self.view.reader.indexes()]
        return self.service.search(query, frozenset(readable or every).__contains__, **more)

    def found(self, query: str, *readable: str) -> list[str]:
        """Names and first indexes."""
        return [f"{hit.index}/{hit.name}" for hit in self.search(query, *readable).hits]
