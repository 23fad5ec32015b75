"""Opening the log of a server directory together with the view that was folded from it."""

from __future__ import annotations

from twisted.logger import Logger

from twistpi.changelog.disk import Disk
from twistpi.changelog.files import FileChangelog
from twistpi.changelog.format import read_beginning
from twistpi.changelog.summary_fold import FoldedPart
from twistpi.model.peers import BEGINNING, Position
from twistpi.model.server_errors import ServerdirRefused, UnknownPosition
from twistpi.server.directory import Layout, ServerDirectory
from twistpi.view.database import ViewDatabase, drop_view, open_view

_log = Logger()


def open_log_and_view(serverdir: ServerDirectory, disk: Disk) -> tuple[FileChangelog, ViewDatabase]:
    """Open the log of a directory, and the view, which may lack entries: an empty one where there is none that fits the log.

    Blocking.  Raise ``ServerdirRefused``, ``LogDamaged`` and ``StorageFull``, with the directory as it was.
    """
    layout: Layout = serverdir.layout
    disk.make_folder(layout.changelog)
    base, summary = read_beginning(layout.changelog, disk)
    view = open_view(layout.view, serverdir.node.log_id)
    part = FoldedPart.of(view.position)
    is_early = summary is not None and view.position.serial < base.serial
    if (part is not None or is_early) and (part is None or part.sha256 != summary):
        # A power failure took it back to entries that the summary stands for, or it has a part of another summary: ``catch_up``
        # begins with the one that is there.
        view.close()
        drop_view(layout.view)
        view = open_view(layout.view, serverdir.node.log_id)
    try:
        if view.position == BEGINNING and base != BEGINNING and summary is None:
            raise _without_view(layout, base)
        changelog = FileChangelog.open(layout.changelog, disk, trusted=base if view.position.serial == 0 else view.position)
    except ServerdirRefused:
        view.close()
        raise
    except UnknownPosition as error:
        # A view never runs ahead of its log: what it was folded from had been acknowledged, and is gone.
        view.close()
        raise ServerdirRefused(layout.path, _lost(error, layout.view)) from error
    if changelog.cut is not None:
        _log.warn("An interrupted write left something at the end of the changelog; it was cut off: {cut}.", cut=changelog.cut)
    return changelog, view


def _without_view(layout: Layout, base: Position) -> ServerdirRefused:
    """The error for a log that cannot be folded, because what its older lines said was in the view alone."""
    remedy = f"remove both {layout.changelog} and {layout.view}, and this replica gets them from its primary again"
    reason = f"its changelog begins after serial {base.serial}, and there is no view of what was before; {remedy}"
    return ServerdirRefused(layout.path, reason)


def _lost(error: UnknownPosition, view: str) -> str:
    return (
        f"its changelog lost entries that were acknowledged. {error} Restore the folder changelog from a backup or a replica; or,"
        f" to go on without those entries, remove {view}"
    )
