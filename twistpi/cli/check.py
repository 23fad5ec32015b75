"""``twistpi check``: verify a server directory.

The chain of the changelog is verified from its beginning, the view is compared with a fresh fold, and the digest of every blob is
computed. Nothing is changed. The server may run: then what it had written when the check came by is verified.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice, zip_longest
from pathlib import Path

import attrs

from twistpi.blobs.address import BlobAddress
from twistpi.blobs.tree import Tree
from twistpi.changelog.disk import Disk
from twistpi.changelog.format import read_base
from twistpi.changelog.reader import log_bytes, read_lines, report_progress
from twistpi.model.codec import decode_content
from twistpi.model.errors import TwistpiError
from twistpi.model.peers import BEGINNING, Position
from twistpi.server.directory import Layout
from twistpi.server.node import not_made, read_node
from twistpi.view.database import FOLD_VERSION, ViewDatabase, copy_view, dump, open_view
from twistpi.view.read import KeptBlob, Readers

Progress = Callable[[str, int, int], object]
"""Called with what is read, how many of its bytes are done, and their total."""

Row = tuple[object, ...]
_FOLDED_AT_ONCE = 1000
_REBUILD = "stop the server, remove view.sqlite, and start it again"
_MOST_EXAMPLES = 3


@attrs.frozen
class Finding:
    """Something to report."""

    text: str
    wrong: bool = True
    """False for a mere note."""


def check(path: str, progress: Progress) -> Iterator[Finding]:
    """Yield what there is to report on the server directory ``path``; raise ``ServerdirRefused`` when it is none."""
    node = read_node(path)
    if node is None or not (node.initialised or node.is_replica):
        raise not_made(path)
    layout = Layout(path)
    serial, problem = _check_chain(layout, progress)
    if problem is not None:
        yield problem
    with tempfile.TemporaryDirectory(prefix="twistpi-check-") as folder:
        fresh_path = str(Path(folder, "view.sqlite"))
        base, _segments = read_base(layout.changelog, Disk())
        if base != BEGINNING:
            yield from _take_over_view(layout, fresh_path, base)
        with closing(open_view(fresh_path, node.log_id)) as fresh:
            if fresh.position.serial < base.serial:
                return
            yield from _check_view(layout, node.log_id, fresh, fresh_path, serial, progress)
            yield from _fold(layout, fresh, serial, progress)
            yield from _check_blobs(path, fresh, progress, partly=node.is_replica)
    yield Finding(f"checked up to serial {serial}", wrong=False)


def _take_over_view(layout: Layout, fresh_path: str, base: Position) -> Iterator[Finding]:
    """Begin with a copy of the view, because the log lacks the entries that made it."""
    told = f"the changelog begins after serial {base.serial}; what the view says of earlier entries is not checked"
    yield Finding(told, wrong=False)
    try:
        copy_view(layout.view, fresh_path)
    except (TwistpiError, sqlite3.Error, ValueError) as error:
        yield Finding(f"there is no view that can be read ({error}), and the changelog alone does not tell what was before it")


def _check_chain(layout: Layout, progress: Progress) -> tuple[int, Finding | None]:
    """Return the last serial before the first damage, and that damage."""
    disk = Disk()
    serial = 0
    try:
        serial = read_base(layout.changelog, disk)[0].serial
        lines = read_lines(layout.changelog, disk)
        total = log_bytes(layout.changelog, disk)
        for line in report_progress(lines, total, lambda done, total: progress("changelog", done, total)):
            serial = line.serial
    except (TwistpiError, OSError) as error:
        return serial, Finding(str(error))
    return serial, None if serial else Finding("the changelog is empty; restore the folder changelog from a backup")


def _check_view(
    layout: Layout, log_id: str, fresh: ViewDatabase, fresh_path: str, serial: int, progress: Progress
) -> Iterator[Finding]:
    """Fold the log into ``fresh``, as far as the view goes, and compare the two."""
    rows = dump(layout.view)  # of one moment, though the server may go on writing
    try:
        stamp = next(rows)
        if stamp[1:3] != (log_id, FOLD_VERSION):
            yield Finding("the view is of another log or version; the next start builds it anew", wrong=False)
        elif stamp[3] > serial:
            yield Finding(f"the view goes up to serial {stamp[3]}, the changelog only up to {serial}")
        else:
            yield from _fold(layout, fresh, stamp[3], progress)
            folded = dump(fresh_path)
            if (expected := next(folded)) != stamp:
                yield Finding(f"the view is stamped {stamp[3:]}, not {expected[3:]}; {_REBUILD}")
            yield from _compare(rows, folded)
    except (sqlite3.Error, StopIteration) as error:
        yield Finding(f"there is no view that can be read ({error}); the next start builds it", wrong=False)


def _compare(rows: Iterator[Row], expected_rows: Iterator[Row]) -> Iterator[Finding]:
    for row, expected in zip_longest(rows, expected_rows):
        if row != expected:
            # One is enough: from here on the two may be out of step.
            yield Finding(f"the view has {row} where the changelog gives {expected}; {_REBUILD}")
            return


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


def _check_blobs(path: str, fresh: ViewDatabase, progress: Progress, *, partly: bool) -> Iterator[Finding]:
    """Read every blob that the changelog names, and look for others; ``partly`` if some may arrive later."""
    tree = Tree(path)
    is_named_now = _later_names(Layout(path).view, fresh.position.serial)
    kept: dict[BlobAddress, KeptBlob] = {}
    for blob in fresh.reader.kept_blobs():
        kept[BlobAddress(blob.digits, blob.filename)] = blob
    total = sum(blob.size for blob in kept.values())
    done = outstanding = 0
    for address, blob in kept.items():
        if partly and tree.find(address) is None:
            outstanding += 1
            continue
        found = list(_check_blob(tree, address, blob))
        if found and is_named_now(address):
            yield from found
        done += blob.size
        progress("files", done, total)
    if outstanding:
        yield Finding(f"files that are not here: {outstanding}; while this replica runs, it fetches them", wrong=False)
    orphans = [address.relative for address, _size in tree.walk() if address not in kept]
    if orphans:
        told = f"files that no index knows: {len(orphans)} ({_examples(orphans)})"
        leavers = "they remain after removals and interrupted transfers; twistpi gc removes them"
        yield Finding(f"{told}; {leavers}", wrong=False)
    yield from (Finding(f"{stranger} is no file of twistpi's; move it elsewhere") for stranger in tree.foreign_paths())


def _later_names(view: str, serial: int) -> Callable[[BlobAddress], bool]:
    """Return a function that tells whether a blob is still named, True if unknown.

    A server may have taken the ``view`` further than ``serial`` meanwhile, and have removed the blob.
    """

    def names(address: BlobAddress) -> bool:
        try:
            with closing(Readers(view)) as readers:
                reader = readers.get()
                return reader.serial() <= serial or reader.names_blob(address.digits, address.filename)
        except sqlite3.Error:
            return True

    return names


def _check_blob(tree: Tree, address: BlobAddress, blob: KeptBlob) -> Iterator[Finding]:
    path = tree.path(address)
    advice = "it cannot be served; remove it while the server is stopped, and restore it from a backup"
    try:
        size = tree.find(address)
        if size is None:
            yield Finding(f"{path} is missing; restore it from a backup")
        elif size != blob.size:
            yield Finding(f"{path} has {size} bytes instead of {blob.size}; {advice}")
        elif (digest := tree.digest(address)) != blob.sha256:
            yield Finding(f"{path} has the SHA-256 {digest} instead of {blob.sha256}; {advice}")
    except OSError as error:
        yield Finding(f"{path} cannot be read: {error.strerror}")


def _examples(names: list[str]) -> str:
    more = ", …" if len(names) > _MOST_EXAMPLES else ""
    return ", ".join(names[:_MOST_EXAMPLES]) + more
