"""``/+snapshot``: the view as a file, from which a new replica starts instead of folding a long log.

``POST /+snapshot`` makes one, or tells of one that was made less than a minute ago: ``id``, ``serial``, ``chain``, ``segment``
and ``offset`` (the place in the log it stands for), ``size``, ``sha256``, ``fold_version`` and ``log_id``.  ``GET /+snapshot/ID``
is the file, in ranges where asked.  It is the fold of the lines up to ``serial``, in every table; when mirrors were last
refreshed is not in it.  One that nobody has asked for within an hour is removed; then, and after a restart, ``ID`` is 404.

For servers of the house only, as everything here holds hashes of passwords.
"""

from __future__ import annotations

import attrs
from twisted.web.server import Request

from twistpi.auth.node_tokens import NodeClaim
from twistpi.web.replication.base import NodeHandler, node_json
from twistpi.web.replication.snapshots import Snapshots


@attrs.define(eq=False)
class SnapshotHandler(NodeHandler):
    """Answers ``/+snapshot``."""

    _snapshots: Snapshots

    async def make(self, request: Request, _claim: NodeClaim) -> bytes:
        """A snapshot of about now."""
        snapshot = await self._snapshots.get()
        stamp = snapshot.copy.stamp
        facts = {"id": snapshot.id, **attrs.asdict(stamp.position), "size": snapshot.copy.size, "sha256": snapshot.copy.sha256}
        return self.put(request, node_json({**facts, "fold_version": stamp.fold_version, "log_id": stamp.log_id}))

    async def read(self, request: Request, _claim: NodeClaim, name: str) -> bytes | None:
        """Its bytes."""
        snapshot = self._snapshots.find(name)
        body = self._snapshots.read(snapshot)
        try:
            return await self.send_file(request, body, f'"{snapshot.copy.sha256}"')
        finally:
            self._snapshots.was_read(snapshot)
