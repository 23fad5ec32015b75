"""The part of ``twistpi check`` that looks at what stands for compacted entries: the summary and the archive."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from itertools import islice, zip_longest
from typing import Final

from twistpi.changelog.archive import archived_until
from twistpi.changelog.disk import Disk
from twistpi.changelog.summary_fold import begin_view, reporting
from twistpi.cli.compaction import fold_until
from twistpi.cli.file_check import Finding, Progress
from twistpi.model.errors import TwistpiError
from twistpi.model.peers import BEGINNING, Position
from twistpi.server.node import Node
from twistpi.view.database import dump, open_view

_DISK: Final = Disk()


def check_summary(
    directory: str, node: Node, base: Position, sha256: str, named: set[str], fresh_path: str, progress: Progress
) -> Iterator[Finding]:
    """Begin the fresh view with the summary of the log in ``directory``; ``named`` are those that its entries name."""
    yield Finding(f"the changelog begins after serial {base.serial}; a summary stands for the entries before", wrong=False)
    if sha256 not in named:
        told = "an entry of the changelog names another one" if named else "no entry of the changelog names it"
        yield Finding(f"the summary has the SHA-256 {sha256}, and {told}", wrong=bool(named) and not node.is_replica)
    try:
        with closing(open_view(fresh_path, node.log_id)) as fresh:
            begin_view(directory, _DISK, fresh, reporting(partial(progress, "summary")))
    except (TwistpiError, OSError) as error:
        yield Finding(str(error))


def check_archive(
    directory: str, node: Node, base: Position, archive: str, fresh_path: str, progress: Progress
) -> Iterator[Finding]:
    """Verify the chain of an archive, and that the summary, of which the fresh view is, says what its entries say."""
    if base == BEGINNING:
        yield Finding("the changelog begins with its first entry, so the archive was not looked at", wrong=False)
        return
    path = f"{fresh_path}-archive"
    try:
        after = archived_until(archive, _DISK, base)
        yield Finding(f"the archive has the entries {after + 1} to {base.serial}", wrong=False)
        with closing(open_view(path, node.log_id)) as view, closing(open_view(fresh_path, node.log_id)) as fresh:
            if fresh.position != base or not begin_view(archive, _DISK, view):
                yield Finding("it cannot be compared with a summary", wrong=False)
                return
            fold_until(archive, view, base.serial, lambda done, total: progress("archive", done, total))
    except (TwistpiError, OSError) as error:
        yield Finding(str(error))
        return
    yield from compare(islice(dump(fresh_path), 1, None), islice(dump(path), 1, None), "summary", "archive")


def compare(
    rows: Iterator[tuple[object, ...]], others: Iterator[tuple[object, ...]], whose: str, source: str, remedy: str = ""
) -> Iterator[Finding]:
    """Yield the first difference of two dumps: from there on they may be out of step."""
    for row, expected in zip_longest(rows, others):
        if row != expected:
            yield Finding(f"the {whose} has {row} where the {source} gives {expected}{remedy}")
            return
