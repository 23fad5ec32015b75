"""``twistpi resync``: a server whose log went another way becomes a replica, and what only it had is saved.

In this order, so that it can be interrupted at any point and begun again, and nothing is lost:

1. find the last entry that both logs have, asking the other server;
2. save what comes after it, and the blobs that it names, under ``diverged/`` (``cli/diverged.py``);
3. write into ``node.json`` that this is a replica: started now, it would follow, and say that it diverged;
4. drop the view, which may never be ahead of its log, and cut the log.

Where the logs have nothing in common, everything is saved, and ``node.json`` says at the very end that this replica has nothing
yet; between the cut and that, the directory is refused by a start, for its log is empty.  A replica without the older history
that has to be cut begins with nothing, too: its view could not be made anew.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import attrs

from twistpi.changelog.catch_up import catch_up
from twistpi.changelog.disk import RealDisk
from twistpi.changelog.files import FileChangelog
from twistpi.changelog.interfaces import IView
from twistpi.changelog.tail import truncate_log
from twistpi.cli.diverged import save, saved_name
from twistpi.model.errors import ServerdirRefused, UnknownPosition
from twistpi.model.peers import BEGINNING, Epoch, Fork, Peer, Position
from twistpi.model.promotion_errors import CannotResync
from twistpi.model.replication_errors import UnknownSerial
from twistpi.rules.promotion import PRIMARY, REPLICA, ForkSearch
from twistpi.server.directory import ServerDirectory
from twistpi.server.node import read_node
from twistpi.view.database import drop_view, open_view


class Other(Protocol):
    """The server to follow, as it is asked (``cli.clients.PeerClient``)."""

    url: str

    def peer(self) -> Peer:
        """What it says of itself."""

    def chain_at(self, serial: int) -> str | None:
        """The chain of a line of its log; None when it has no such line."""

    def beginning(self) -> tuple[int, str]:
        """Serial and chain of the line before the first one that it has."""


@attrs.frozen
class Resynced:
    """What came of it."""

    common: int
    """The last serial that both logs have; 0 when there is none."""
    last: int
    """The last serial that this server had."""
    saved: str | None
    """The folder in which what comes between is; None when there was nothing."""
    blobs: int
    """How many blobs are in there."""
    other_log: bool
    """Whether that server has another log altogether."""
    anew: bool
    """Whether the replica begins with nothing."""


def resync(serverdir: str, primary_url: str | None, reach: Callable[[str, str], Other]) -> Resynced:
    """Make a replica of the stopped server of ``serverdir``, which follows ``primary_url``, or else whom it knows to be the
    primary.  ``reach(url, node_id)`` makes what is asked.  Blocking.

    Raises ``ServerdirRefused``, ``CannotResync``, ``PrimaryUnreachable``, ``StrangePrimary``, and then has changed nothing that
    matters; ``OSError`` in the midst of it, after which it is to be begun again.
    """
    if read_node(serverdir) is None:
        raise ServerdirRefused(serverdir, "nothing is in it; start a new replica there, with --primary-url and --secretfile")
    opened = ServerDirectory.open(serverdir)
    try:
        return _Resync(opened, _whom(opened, primary_url), reach).run()
    finally:
        opened.close()


def _whom(opened: ServerDirectory, primary_url: str | None) -> str:
    fence = opened.node.fence
    url = primary_url or opened.node.primary_url or (None if fence is None else fence.url)
    if url is None:
        reason = "which server it is to follow is not known; say it with --primary-url"
        raise CannotResync(opened.layout.path, "another server", reason)
    return url


@attrs.define
class _Resync:
    """One run of it."""

    _serverdir: ServerDirectory
    _url: str
    _reach: Callable[[str, str], Other]
    _disk: RealDisk = attrs.field(factory=RealDisk)

    def run(self) -> Resynced:
        """Do it."""
        node, layout = self._serverdir.node, self._serverdir.layout
        other = self._reach(self._url, node.node_id)
        peer = other.peer()
        with self._log() as (log, epoch_start):
            self._check(peer, epoch_start)
            other_log = bool(node.log_id) and peer.log_id != node.log_id
            common = BEGINNING if other_log else self._find_common(log, other, peer)
            last, begins_after = log.last, log.begins_after
            saved, blobs = self._save(log, common, last)
        # Without its older history, a log does not make the view as it was at an earlier entry.
        anew = common.serial == 0 or (begins_after.serial > 0 and last.serial > common.serial)
        if anew:
            self._begin_anew()
        else:
            self._become_replica()
            if last.serial > common.serial:
                drop_view(layout.view)
                truncate_log(layout.changelog, self._disk, common)
        return Resynced(common.serial, last.serial, saved, blobs, other_log, anew)

    @contextmanager
    def _log(self) -> Iterator[tuple[FileChangelog, Epoch]]:
        """The log here, and the newest epoch in it."""
        layout, log_id = self._serverdir.layout, self._serverdir.node.log_id
        view = open_view(layout.view, log_id)
        try:
            log = FileChangelog.open(layout.changelog, self._disk, trusted=view.position)
        except UnknownPosition:  # what was interrupted after the view was dropped, or a log that lost entries
            view.close()
            drop_view(layout.view)
            view = open_view(layout.view, log_id)
            log = FileChangelog.open(layout.changelog, self._disk)
        try:
            if view.position.serial >= log.begins_after.serial:
                catch_up(log, IView(view))
            epochs = view.reader.epochs()
            yield log, self._epoch_start(log, epochs[-1] if epochs else None)
        finally:
            view.close()
            log.close()

    def _epoch_start(self, log: FileChangelog, newest: tuple[int, str, int] | None) -> Epoch:
        if newest is None:
            return Epoch()
        epoch, node_id, serial = newest
        return Epoch(epoch, node_id, Fork(serial - 1, self._chain_at(log, serial - 1) or Fork().chain))

    def _check(self, peer: Peer, epoch_start: Epoch) -> None:
        """Refuse a server that should rather follow this one."""
        node = self._serverdir.node
        if peer.node_id == node.node_id:
            raise self._refusal("that is this very server")
        if not peer.log_id:
            raise self._refusal("it is a replica that has nothing yet")
        if peer.fenced:
            raise self._refusal(f"it is fenced itself; follow its successor: --primary-url {peer.primary_url or 'URL'}")
        if peer.log_id != node.log_id:
            return
        if peer.epoch_start.rank < epoch_start.rank:
            raise self._refusal(
                f"its epoch is {peer.epoch_start.epoch}, and here began epoch {epoch_start.epoch}: it has to follow this one"
            )
        if node.role == PRIMARY and peer.role != PRIMARY and peer.epoch_start.rank == epoch_start.rank:
            raise self._refusal("it is a replica, of this server perhaps, and none of a later primary; promote it first")

    def _find_common(self, log: FileChangelog, other: Other, peer: Peer) -> Position:
        """The end of the last line that both logs have; ``BEGINNING`` when they can have none."""
        theirs, _ = other.beginning()
        low = max(log.begins_after.serial, theirs)
        if low > min(log.last.serial, peer.serial) or not self._same(log, other, low):
            return BEGINNING
        search = ForkSearch.between(low, log.last.serial, peer.serial)
        while (serial := search.wanted) is not None:
            search.learn(serial, same=self._same(log, other, serial))
        return log.position(search.agreed)

    def _same(self, log: FileChangelog, other: Other, serial: int) -> bool:
        return serial == 0 or self._chain_at(log, serial) == other.chain_at(serial)

    @staticmethod
    def _chain_at(log: FileChangelog, serial: int) -> str | None:
        try:
            return log.position(serial).chain
        except UnknownSerial:
            return None

    def _save(self, log: FileChangelog, common: Position, last: Position) -> tuple[str | None, int]:
        """Save what comes after ``common``; where, and how many blobs."""
        if last.serial <= common.serial:
            return None, 0
        whole = common.serial == 0
        after = log.begins_after if whole else common
        name = saved_name(after.serial + 1, last.serial, last.chain)
        heading = (
            f"The entries {after.serial + 1} to {last.serial}, which only this server had when it became a replica of"
            f" {self._url}.\nThe files that they name are in +files. What matters of it can be uploaded again."
        )
        return save(self._serverdir.layout.path, name, log.read(after), heading, whole_log=whole)

    def _begin_anew(self) -> None:
        layout = self._serverdir.layout
        drop_view(layout.view)
        shutil.rmtree(layout.names, ignore_errors=True)
        truncate_log(layout.changelog, self._disk, BEGINNING)
        self._become_replica(log_id="", initialised=False)

    def _become_replica(self, **changed: Any) -> None:
        node = {"role": REPLICA, "primary_url": self._url, "fence": None, "former_url": None, "promoting": None}
        self._serverdir.note(**node, **changed)

    def _refusal(self, reason: str) -> CannotResync:
        return CannotResync(self._serverdir.layout.path, self._url, reason)
