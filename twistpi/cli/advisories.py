"""The advisories that count on a server directory, for commands."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from twistpi.advisories.store import AdvisoryStore
from twistpi.blobs.address import blob_address
from twistpi.blobs.tree import Tree
from twistpi.model.changes import ADVISORY_SET
from twistpi.server.directory import Layout
from twistpi.view.read import Reader


@contextmanager
def advisories_of(serverdir: str, reader: Reader) -> Iterator[AdvisoryStore]:
    """Open the advisories of the set that ``reader`` has as accepted, as far as its file is here; nothing is known without.

    Blocking, for seconds where no server loaded that set yet, as after a restore.  Raise ``TwistpiError``.
    """
    store, accepted = AdvisoryStore(Layout(serverdir).advisories), reader.advisory_set()
    store.open()
    with tempfile.TemporaryDirectory(prefix="twistpi-advisories-") as folder:
        if accepted is not None and store.digest != accepted.sha256:
            address, tree = blob_address(accepted.sha256, ADVISORY_SET), Tree(serverdir)
            if tree.find(address) == accepted.size:
                store.close()
                store = AdvisoryStore(os.path.join(folder, "advisories.sqlite"))
                with tree.open(address) as file:
                    store.load(file, accepted.sha256)
        try:
            yield store
        finally:
            store.close()
