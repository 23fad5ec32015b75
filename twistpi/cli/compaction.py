"""Making a summary of the beginning of a changelog, beside a server that may run.

The entries are folded into a view of their own, from which the summary is made. Then the summary is folded into another one, and
the two are compared: history is removed only if the summary says the same.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import closing
from itertools import islice, zip_longest

from twistpi.changelog.catch_up import fold_lines
from twistpi.changelog.compaction import Cut
from twistpi.changelog.disk import Disk
from twistpi.changelog.format import NEW_SUFFIX
from twistpi.changelog.reader import find_line, log_bytes, read_lines, report_progress
from twistpi.changelog.summary import summary_path, write_summary
from twistpi.changelog.summary_fold import begin_view, fold_summary
from twistpi.model.codec import decode_content
from twistpi.model.errors import TwistpiError
from twistpi.view.database import ViewDatabase, dump, open_view
from twistpi.view.read_summary import summarise

Progress = Callable[[int, int], object]
"""Called with the bytes done and the bytes in all."""


def make_summary(directory: str, log_id: str, cut: Cut, progress: Progress) -> str:
    """Make the summary of the entries before ``cut`` of the log in ``directory``; return the SHA-256 of its lines.

    Durable when this returns. It takes as long as building the view, twice. Raise ``TwistpiError``, with nothing changed, if the
    log does not say what was before its first entry, or the summary does not say the same as the entries.
    """
    disk, path = Disk(), summary_path(directory, cut.serial)
    unfinished = path + NEW_SUFFIX
    with tempfile.TemporaryDirectory(prefix="twistpi-compact-") as folder:
        folded, again = os.path.join(folder, "folded.sqlite"), os.path.join(folder, "again.sqlite")
        with closing(open_view(folded, log_id)) as view:
            if not begin_view(directory, disk, view):
                raise TwistpiError(
                    f"The changelog begins after serial {cut.after}, and no summary says what was before; let this replica fetch"
                    " the older history (--history all), or compact the primary."
                )
            fold_until(directory, view, cut.serial, progress)
            newest = find_line(directory, disk, view.position)
        at = decode_content(newest.body).at if newest is not None else ""
        try:
            sha256 = write_summary(unfinished, summarise(folded, at))
            with closing(open_view(again, log_id)) as view:
                fold_summary(view, unfinished, cut.base, sha256)
            _require_same(folded, again, cut.serial)
            _give_to_owner(directory, unfinished)
            disk.rename(unfinished, path)
        except BaseException:
            if os.path.exists(unfinished):
                os.remove(unfinished)
            raise
    disk.sync_folder(directory)
    return sha256


def fold_until(directory: str, view: ViewDatabase, serial: int, progress: Progress) -> None:
    """Fold the lines after the position of ``view``, of the log in ``directory``, up to ``serial``."""
    lines = read_lines(directory, Disk(), view.position, serial)
    fold_lines(report_progress(lines, log_bytes(directory, Disk()), progress), view)


def _require_same(folded: str, again: str, serial: int) -> None:
    """Raise ``TwistpiError`` unless the two views have the same content; their stamps name the same place in two ways."""
    for row, other in zip_longest(islice(dump(folded), 1, None), islice(dump(again), 1, None)):
        if row != other:
            raise TwistpiError(
                f"The changelog stays as it is: a summary of the entries up to {serial} would have {other} where they give {row}."
                " Please report this."
            )


def _give_to_owner(directory: str, path: str) -> None:
    """Give files that root made to the server's user."""
    if os.geteuid() == 0:
        owner = os.stat(directory)
        os.chown(path, owner.st_uid, owner.st_gid)
