"""``twistpi resync``: a server whose log diverged becomes a replica, and what only it had is saved.

The order of the steps lets it be interrupted at any point and begun again, and loses nothing:

1. find the last entry that both logs have, by questions to the other server;
2. save the entries after it, and the blobs that they name, under ``diverged/`` (``save``);
3. write into ``node.json`` that this is a replica: started now, it would follow, and report that it diverged;
4. drop the view, which may never be ahead of its log, and cut the log.

When the logs have nothing in common, everything is saved, and ``node.json`` says only at the very end that this replica is empty.
Between the cut and that, a start refuses the directory, because its log is empty. A replica without the older history whose log
has to be cut begins empty, too, because its view cannot be folded again; one that was compacted has a summary for that.

Each folder in ``diverged/`` is named by its serials and by the chain of the last: saved again, it is the same folder.
It is written under another name and renamed when complete. Blobs are hard links, which need no space and stay when garbage
collection removes the blobs themselves.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import BinaryIO, Final, Protocol

import attrs
import click

from twistpi.blobs.address import BlobAddress
from twistpi.blobs.tree import ROOT
from twistpi.changelog.catch_up import catch_up
from twistpi.changelog.disk import Disk
from twistpi.changelog.files import FileChangelog
from twistpi.changelog.interfaces import RawLine
from twistpi.changelog.summary_fold import begin_view
from twistpi.changelog.tail import truncate_log
from twistpi.cli.log_entries import as_text
from twistpi.model.codec import decode_content
from twistpi.model.errors import InvalidName
from twistpi.model.peers import BEGINNING, Epoch, Fork, Peer, Position
from twistpi.model.server_errors import ServerdirRefused, UnknownPosition, UnknownSerial
from twistpi.replication.missing_blobs import Naming, addresses_in
from twistpi.rules.replication import PRIMARY, REPLICA, ForkSearch
from twistpi.server.directory import Layout, ServerDirectory
from twistpi.server.node import Node, read_node
from twistpi.view.database import drop_view, open_view
from twistpi.view.read import Reader

_DISK: Final = Disk()
FOLDER: Final = "diverged"
ENTRIES: Final = "entries.log"
SUMMARY: Final = "summary.txt"


def save(
    serverdir: str, name: str, lines: Iterable[RawLine], reader: Reader, heading: str, *, whole_log: bool
) -> tuple[str, int]:
    """Save ``lines`` and the blobs that they name as ``diverged/NAME``, durably; return the folder and how many blobs are in it.

    ``reader`` is of the view after them; ``heading`` begins the summary. With ``whole_log`` the segments are kept, by links.
    Blocking; after an ``OSError`` it can be called again.
    """
    target = os.path.join(serverdir, FOLDER, name)
    if os.path.isdir(target):
        return target, sum(len(files) for _path, _folders, files in os.walk(os.path.join(target, ROOT)))
    unfinished = f"{target}.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    os.makedirs(unfinished, mode=0o700)
    blobs = _write_entries(serverdir, unfinished, lines, reader, heading, raw=not whole_log)
    if whole_log:
        source, copy = Layout(serverdir).changelog, os.path.join(unfinished, "changelog")
        os.makedirs(copy)
        for segment in os.listdir(source):
            os.link(os.path.join(source, segment), os.path.join(copy, segment))
    for path, _folders, _files in os.walk(unfinished, topdown=False):
        _DISK.sync_folder(path)
    os.rename(unfinished, target)
    _DISK.sync_folder(os.path.join(serverdir, FOLDER))
    _DISK.sync_folder(serverdir)
    return target, blobs


def _write_entries(serverdir: str, folder: str, lines: Iterable[RawLine], reader: Reader, heading: str, *, raw: bool) -> int:
    """Write the entries, for programs (``raw``) and for people, and link the blobs they name; return how many these are."""
    blobs = 0
    # Like the log, these files hold hashes of passwords.
    with _private(folder, ENTRIES if raw else None) as entries, _private(folder, SUMMARY) as summary:
        summary.write(f"{heading}\n\n".encode())
        for line in lines:
            if raw:
                entries.write(b"%d %s %s\n" % (line.serial, line.chain.encode("ascii"), line.body))
            summary.write(f"{as_text(line)}\n".encode())
            for change in decode_content(line.body).changes:
                if isinstance(change, Naming):
                    blobs += sum(_link(serverdir, folder, address) for address in _named_by(change, reader))
        for file in (entries, summary) if raw else (summary,):
            file.flush()
            os.fsync(file.fileno())
    return blobs


def _private(folder: str, name: str | None) -> BinaryIO:
    """Open a new file that other users cannot read; one that goes nowhere without ``name``."""
    path = os.devnull if name is None else os.path.join(folder, name)
    return open(path, "wb", opener=lambda one, flags: os.open(one, flags, 0o600))


def _named_by(change: Naming, reader: Reader) -> Iterator[BlobAddress]:
    """Yield the addresses of the blobs that a change names."""
    try:
        yield from addresses_in(change, reader)
    except (InvalidName, ValueError):
        return  # what has no address was never stored


def _link(serverdir: str, folder: str, address: BlobAddress) -> bool:
    """Link a blob into the folder; return False when there is no such blob, or it is linked already."""
    target = os.path.join(folder, ROOT, address.relative)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    try:
        os.link(os.path.join(serverdir, ROOT, address.relative), target)
    except (FileNotFoundError, FileExistsError):
        return False
    return True


class Other(Protocol):
    """The server to follow: a ``PeerClient``."""

    url: str

    def peer(self) -> Peer:
        """Return what it says of itself."""

    def chain_at(self, serial: int) -> str | None:
        """Return the chain of a line of its log; None when it has no such line."""

    def beginning(self) -> tuple[int, str]:
        """Return serial and chain of the line before its first one."""


@attrs.frozen
class Resynced:
    """A resync that was done."""

    common: int
    """The last serial that both logs have; 0 when there is none."""
    last: int
    """The last serial that this server had."""
    saved: str | None
    """The folder with the entries between the two; None when there were none."""
    blobs: int
    """How many blobs are in that folder."""
    other_log: bool
    """Whether the other server has another log altogether."""
    anew: bool
    """Whether the replica begins empty."""
    begins_after: int = 0
    """The serial before the first entry that this server had."""

    @property
    def own_entries(self) -> int:
        """How many entries only this server had."""
        return self.last - max(self.common, self.begins_after)


def resync(serverdir: str, primary_url: str | None, connect: Callable[[str, str], Other]) -> Resynced:
    """Make a replica of the stopped server of ``serverdir``; it follows ``primary_url``, or else the primary that it knows.

    ``connect(url, node_id)`` makes the client of the other server. Blocking. Raise ``ServerdirRefused``, ``ClickException``,
    ``PrimaryUnreachable`` and ``StrangePrimary`` before anything is changed; after an ``OSError`` it can be run again.
    """
    if read_node(serverdir) is None:
        raise ServerdirRefused(serverdir, "nothing is in it; start a new replica there, with --primary-url and --secretfile")
    with closing(ServerDirectory.open(serverdir)) as opened:
        node = opened.node
        url = primary_url or node.primary_url or (None if node.fence is None else node.fence.url)
        if url is None:
            reason = "its primary is not known; name it with --primary-url"
            raise _refused(opened.layout.path, "another server", reason)
        return _resync(opened, connect(url, node.node_id))


def _refused(serverdir: str, other: str, reason: str) -> click.ClickException:
    return click.ClickException(f"{serverdir} cannot become a replica of {other}: {reason}. Nothing was changed.")


def _resync(serverdir: ServerDirectory, other: Other) -> Resynced:
    node, layout, peer = serverdir.node, serverdir.layout, other.peer()
    with _open_log(serverdir) as (log, reader, epoch_start):
        if reason := _objection(node, peer, epoch_start):
            raise _refused(layout.path, other.url, reason)
        other_log = bool(node.log_id) and peer.log_id != node.log_id
        common = BEGINNING if other_log else _find_common(log, other, peer)
        last, begins_after = log.last, log.begins_after.serial
        can_be_folded = begins_after == 0 or log.summary is not None
        saved, blobs = _save(layout.path, log, reader, common, other.url) if last.serial > common.serial else (None, 0)
    as_replica: dict[str, object] = dict.fromkeys(("fence", "former_url", "promoting", "restored_from"))
    as_replica |= {"role": REPLICA, "primary_url": other.url}
    # Without its older history or a summary of it, a log does not make the view as it was at an earlier entry.
    anew = common.serial == 0 or (last.serial > common.serial and not can_be_folded)
    if anew:
        drop_view(layout.view)
        shutil.rmtree(layout.names, ignore_errors=True)
        truncate_log(layout.changelog, _DISK, BEGINNING)
        serverdir.note(**as_replica, log_id="", initialised=False)
    else:
        serverdir.note(**as_replica)
        if last.serial > common.serial:
            drop_view(layout.view)
            truncate_log(layout.changelog, _DISK, common)
    return Resynced(common.serial, last.serial, saved, blobs, other_log, anew, begins_after)


@contextmanager
def _open_log(serverdir: ServerDirectory) -> Iterator[tuple[FileChangelog, Reader, Epoch]]:
    """Open the log of this server; yield it, its view, and the newest epoch in it."""
    layout, log_id = serverdir.layout, serverdir.node.log_id
    view = open_view(layout.view, log_id)
    try:
        log = FileChangelog.open(layout.changelog, _DISK, trusted=view.position)
    except UnknownPosition:  # interrupted after the view was dropped, or a log that lost entries
        view.close()
        drop_view(layout.view)
        view = open_view(layout.view, log_id)
        log = FileChangelog.open(layout.changelog, _DISK)
    with closing(view), closing(log):
        if begin_view(layout.changelog, _DISK, view):
            catch_up(log, view)
        epoch_start = Epoch()
        for epoch, node_id, serial in view.reader.epochs()[-1:]:
            epoch_start = Epoch(epoch, node_id, Fork(serial - 1, _chain_at(log, serial - 1) or Fork().chain))
        yield log, view.reader, epoch_start


def _objection(node: Node, peer: Peer, epoch_start: Epoch) -> str | None:
    """Return why the other server should rather follow this one, or cannot be followed; None when it can."""
    if peer.node_id == node.node_id:
        return "that is this server itself"
    if not peer.log_id:
        return "it is a replica that has nothing yet"
    if peer.fenced:
        return f"it is fenced itself; follow its successor: --primary-url {peer.primary_url or 'URL'}"
    if peer.log_id == node.log_id and peer.epoch_start.rank < epoch_start.rank:
        theirs, ours = peer.epoch_start.epoch, epoch_start.epoch
        if theirs == ours:
            return f"both were promoted and began epoch {ours}, and of the two this one counts: resync the other one to follow it"
        return f"its epoch is {theirs}, and here began epoch {ours}: it has to follow this one"
    if peer.log_id == node.log_id and node.role == PRIMARY != peer.role and peer.epoch_start.rank == epoch_start.rank:
        return "it is a replica, and no later primary is known; promote it first"
    return None


def _find_common(log: FileChangelog, other: Other, peer: Peer) -> Position:
    """Return the end of the last line that both logs have; ``BEGINNING`` when they can have none."""

    def is_same(serial: int) -> bool:
        return serial == 0 or _chain_at(log, serial) == other.chain_at(serial)

    low = max(log.begins_after.serial, other.beginning()[0])
    if low > min(log.last.serial, peer.serial) or not is_same(low):
        return BEGINNING
    search = ForkSearch.between(low, log.last.serial, peer.serial)
    while (serial := search.wanted) is not None:
        search.learn(serial, same=is_same(serial))
    return log.position(search.agreed)


def _chain_at(log: FileChangelog, serial: int) -> str | None:
    try:
        return log.position(serial).chain
    except UnknownSerial:
        return None


def _save(serverdir: str, log: FileChangelog, reader: Reader, common: Position, url: str) -> tuple[str, int]:
    """Save the entries after ``common``; return the folder, and how many blobs are in it."""
    is_whole, last = common.serial == 0, log.last
    after = log.begins_after if is_whole else common
    heading = (
        f"The entries {after.serial + 1} to {last.serial}, which only this server had when it became a replica of {url}.\n"
        "The files that they name are in +files. What matters of it can be uploaded again."
    )
    name = f"{after.serial + 1}-{last.serial}-{last.chain[:8]}"
    return save(serverdir, name, log.read(after), reader, heading, whole_log=is_whole)
