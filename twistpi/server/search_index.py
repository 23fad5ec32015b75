"""The search index of a server: it follows the changelog, and the name lists of mirrors."""

from __future__ import annotations

import os
from collections.abc import Mapping

from twistpi.mirror.name_store import home_of, load
from twistpi.mirror.names import NameLists
from twistpi.search.indexer import Indexer
from twistpi.search.writing import NameFile
from twistpi.server.process import Process
from twistpi.server.storage import Storage
from twistpi.view.read import Readers
from twistpi.web.components import MirrorServices


def make_indexer(storage: Storage, readers: Readers, process: Process, mirrors: MirrorServices) -> Indexer:
    """Return what keeps the index of a server up to date, told of every new name list."""
    layout, node = storage.serverdir.layout, storage.serverdir.node

    def lists_on_disk() -> Mapping[str, NameFile]:
        """Blocking."""
        names = [index.name for index in readers.get().indexes() if index.is_mirror]
        found = {name: load(home_of(layout.names, name)) for name in names}
        return {name: _file(stored.folder) for name, stored in found.items() if stored is not None}

    indexer = Indexer(layout.search, node.log_id, readers, storage.blobs, process.reactor, process.offload, lists_on_disk)

    def list_changed(index: str, folder: str | None) -> None:
        indexer.list_changed(index, None if folder is None else _file(folder))

    if isinstance(mirrors.names, NameLists):
        mirrors.names.announce = list_changed
    return indexer


def _file(folder: str) -> NameFile:
    return os.path.basename(folder), os.path.join(folder, "names.txt")
