"""``twistpi check``: verify a server directory.

The chain of the changelog is verified from its beginning, the view is compared with a fresh fold, and the digest of every blob is
computed. Nothing is changed, unless that is asked for. The server may run: then what it had written when the check came by is
verified.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import attrs

from twistpi.changelog.disk import Disk
from twistpi.changelog.format import read_base, read_summary_digest
from twistpi.changelog.reader import log_bytes, read_lines, report_progress
from twistpi.changelog.summary import named_summaries
from twistpi.cli.file_check import Counts, FileCheck, Finding, Progress
from twistpi.cli.history_check import check_archive, check_summary, compare
from twistpi.cli.repair import Repair, remove_view
from twistpi.model.codec import decode_content
from twistpi.model.errors import TwistpiError
from twistpi.model.peers import BEGINNING, Position
from twistpi.model.server_errors import ServerdirRefused
from twistpi.server.directory import Layout
from twistpi.server.node import not_made, read_node
from twistpi.view.database import FOLD_VERSION, ViewDatabase, copy_view, dump, open_view

_FOLDED_AT_ONCE = 1000
_REBUILD = "stop the server, and run twistpi check --repair"


@attrs.define(eq=False)
class _Chain:
    """The lines of the changelog, as far as they were found whole."""

    _directory: str
    _progress: Progress
    problem: Finding | None = attrs.field(default=None, init=False)
    """The first damage."""
    named: set[str] = attrs.field(factory=set, init=False)
    """The SHA-256 of the log's summary according to entries."""
    _end: Position = attrs.field(default=BEGINNING, init=False)
    _begins_after: int | None = attrs.field(default=None, init=False)

    @property
    def serial(self) -> int:
        """Of the last whole line."""
        return self._end.serial

    def go_on(self) -> None:
        """Read what is new since the last time."""
        disk = Disk()
        try:
            if self._begins_after is None:
                self._end = read_base(self._directory, disk)[0]
                self._begins_after = self._end.serial
            lines, total = read_lines(self._directory, disk, self._end), log_bytes(self._directory, disk)
            for line in report_progress(lines, total, lambda done, total: self._progress("changelog", done, total)):
                self._end = line.position
                self.named |= named_summaries(line, self._begins_after)
        except (TwistpiError, OSError) as error:
            self.problem = Finding(str(error))
        if not self.serial and self.problem is None:
            self.problem = Finding("the changelog is empty; restore the folder changelog from a backup")


def check(
    path: str, progress: Progress, counts: Counts, repair: Repair | None = None, archive: str | None = None
) -> Iterator[Finding]:
    """Yield what there is to report on the server directory ``path``, and count what is verified in ``counts``.

    With ``repair``, files that are missing or damaged are had again, and a wrong view is built anew.  ``archive`` is a folder
    with the entries before the changelog's first one.  Raise ``ServerdirRefused`` if the directory is none.
    """
    node = read_node(path)
    if node is None or not (node.initialised or node.is_replica):
        raise not_made(path)
    layout = Layout(path)
    chain = _Chain(layout.changelog, progress)
    chain.go_on()
    if chain.problem is not None:
        yield chain.problem
    with tempfile.TemporaryDirectory(prefix="twistpi-check-") as folder:
        fresh_path = str(Path(folder, "view.sqlite"))
        base, _segments = read_base(layout.changelog, Disk())
        summary = read_summary_digest(layout.changelog, Disk())
        can_be_built = base == BEGINNING or summary is not None
        if summary is not None:
            yield from check_summary(layout.changelog, node, base, summary, chain.named, fresh_path, progress)
        elif base != BEGINNING:
            yield from _take_over_view(layout, fresh_path, base)
        if archive is not None:
            yield from check_archive(layout.changelog, node, base, archive, fresh_path, progress)
        with closing(open_view(fresh_path, node.log_id)) as fresh:
            if fresh.position.serial < base.serial:
                return
            found = list(_check_view(layout, node.log_id, fresh, fresh_path, chain, progress))
            if repair is not None and can_be_built and chain.problem is None and any(finding.wrong for finding in found):
                found = [repair_view(path, finding, counts) for finding in found]
            yield from found
            yield from _fold(layout, fresh, chain.serial, progress)
            yield from FileCheck(path, fresh.reader, progress, counts, node.is_replica, repair).run()
    counts.entries = chain.serial - base.serial
    yield Finding(f"checked up to serial {chain.serial}", wrong=False)


def repair_view(path: str, finding: Finding, counts: Counts) -> Finding:
    """Remove the view, about which ``finding`` is; return what to report."""
    if not finding.wrong:
        return finding
    try:
        remove_view(path)
    except ServerdirRefused:  # a server runs
        return finding
    counts.repaired += 1
    return Finding(f"{finding.text.removesuffix(f'; {_REBUILD}')}; it was removed, and the next start builds it", False, True)


def _take_over_view(layout: Layout, fresh_path: str, base: Position) -> Iterator[Finding]:
    """Begin with a copy of the view, because the log lacks the entries that made it."""
    text = f"the changelog begins after serial {base.serial}; what the view says of earlier entries is not checked"
    yield Finding(text, wrong=False)
    try:
        copy_view(layout.view, fresh_path)
    except (TwistpiError, sqlite3.Error, ValueError) as error:
        yield Finding(f"there is no view that can be read ({error}), and the changelog alone does not tell what was before it")


def _check_view(
    layout: Layout, log_id: str, fresh: ViewDatabase, fresh_path: str, chain: _Chain, progress: Progress
) -> Iterator[Finding]:
    """Fold the log into ``fresh``, as far as the view goes, and compare the two."""
    rows = dump(layout.view)  # of one moment, though the server may go on writing
    try:
        stamp = next(rows)
        if stamp[3] > chain.serial and chain.problem is None:
            chain.go_on()  # the server has written since the log was read
        if stamp[1:3] != (log_id, FOLD_VERSION):
            yield Finding("the view is of another log or version; the next start builds it anew", wrong=False)
        elif stamp[3] < fresh.position.serial:
            yield Finding("the view does not go as far as to where the changelog begins; the next start builds it", wrong=False)
        elif stamp[3] > chain.serial:
            yield Finding(f"the view goes up to serial {stamp[3]}, the changelog only up to {chain.serial}")
        else:
            yield from _fold(layout, fresh, stamp[3], progress)
            folded = dump(fresh_path)
            if (expected := next(folded)) != stamp:
                yield Finding(f"the view is stamped {stamp[3:]}, not {expected[3:]}; {_REBUILD}")
            yield from compare(rows, folded, "view", "changelog", f"; {_REBUILD}")
    except (sqlite3.Error, StopIteration) as error:
        yield Finding(f"there is no view that can be read ({error}); the next start builds it", wrong=False)


def _fold(layout: Layout, fresh: ViewDatabase, until: int, progress: Progress) -> Iterator[Finding]:
    """Fold the log into ``fresh`` up to serial ``until``."""
    disk = Disk()
    lines = report_progress(
        read_lines(layout.changelog, disk, fresh.position, until),
        log_bytes(layout.changelog, disk),
        lambda done, total: progress("view", done, total),
    )
    if fresh.position.serial >= until:
        return
    while bunch := list(islice(lines, _FOLDED_AT_ONCE)):
        fresh.begin()
        for line in bunch:
            try:
                fresh.apply(decode_content(line.body, line.serial))
            except TwistpiError as error:
                fresh.rollback()
                yield Finding(f"serial {line.serial}: {error}")
                return
        fresh.commit(bunch[-1].position)
