"""Having a view begin with a summary: in steps, each of which is kept when the process is killed."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterator
from typing import BinaryIO

import attrs

from twistpi.changelog.catch_up import BATCH_BYTES
from twistpi.changelog.disk import Disk
from twistpi.changelog.format import read_base, read_summary_digest
from twistpi.changelog.interfaces import View
from twistpi.changelog.summary import DAMAGED, UNREADABLE, read_digest, summary_path
from twistpi.model.changes import Entry
from twistpi.model.codec import decode_content
from twistpi.model.peers import BEGINNING, NO_CHAIN, Position
from twistpi.model.server_errors import LogDamaged

GoesOn = Callable[[int, int], bool]
"""Called with how many bytes of the lines are folded, and how many there are (1 while that is unknown); False ends it early."""


def reporting(told: Callable[[int, int], object]) -> GoesOn:
    """Return a function that hands its arguments to ``told``, and never ends anything early."""

    def goes_on(done: int, total: int) -> bool:
        told(done, total)
        return True

    return goes_on


class _EndedEarly(Exception):
    """``goes_on`` returned False."""


@attrs.frozen
class FoldedPart:
    """The part of a summary that a view has, which has nothing else yet."""

    sha256: str
    """Of the lines of the summary."""
    done: int
    """Bytes of the lines that are folded."""
    total: int
    """Bytes of all lines."""

    @classmethod
    def of(cls, position: Position) -> FoldedPart | None:
        """Return what the ``position`` of a view says; None if the view is empty, or has the whole of a summary."""
        if position.serial > 0 or position.chain == NO_CHAIN:
            return None
        return cls(position.chain, position.offset, position.segment)

    @property
    def position(self) -> Position:
        """The position of a view that has this part: one that no log has."""
        return Position(0, self.sha256, self.total, self.done)


def begin_view(directory: str, disk: Disk, view: View, goes_on: GoesOn = lambda _done, _total: True) -> bool:
    """Begin an empty ``view`` where the log in ``directory`` begins; return whether the log says all that a view needs.

    A view that has entries stays as it is; one that has a part of the summary gets the rest.  Blocking.  Where ``goes_on`` ended
    it early, the view has a ``FoldedPart``, or nothing.  Raises as ``fold_summary``.
    """
    base, _segments = read_base(directory, disk)
    if base == BEGINNING or view.position.serial > 0:
        return True
    sha256 = read_summary_digest(directory, disk)
    if sha256 is None:
        return False
    fold_summary(view, summary_path(directory, base.serial), base, sha256, goes_on)
    return True


def fold_summary(
    view: View,
    path: str,
    base: Position,
    sha256: str,
    goes_on: GoesOn = lambda _done, _total: True,
    *,
    step: int = BATCH_BYTES,
) -> None:
    """Fold the summary at ``path``, whose lines have the digest ``sha256``, into ``view``, which is stamped with ``base`` then.

    The view is empty, or has a part of this summary.  It commits after every ``step`` bytes of lines, about; ``goes_on`` is
    called after each commit, and while the digest is computed before.  Blocking.  Raises ``LogDamaged``, before anything is
    folded, ``MalformedChange``, and what the view raises; what was committed before stays.
    """
    part, name = FoldedPart.of(view.position), os.path.basename(path)
    if part is not None and part.sha256 != sha256:
        raise LogDamaged(0, name, 0, "the view has a part of another summary; remove view.sqlite while no server runs")
    try:
        file = open(path, "rb")  # noqa: SIM115 -- closed below
    except OSError as error:
        raise LogDamaged(0, name, 0, f"{error}; {DAMAGED}") from error
    with file:
        done = 0 if part is None else part.done
        total = _checked_size(file, name, sha256, lambda: goes_on(done, 1 if part is None else part.total))
        if total is not None:
            file.seek(0)
            _fold_from(view, file, name, base, FoldedPart(sha256, done, total), goes_on, step)


def _checked_size(file: BinaryIO, name: str, sha256: str, goes_on: Callable[[], bool]) -> int | None:
    """Return how many bytes the lines in ``file`` have, whose digest is right; None if ``goes_on`` ended this early."""

    def end_early() -> None:
        if not goes_on():
            raise _EndedEarly

    try:
        found, size = read_digest(file, name, end_early)
    except _EndedEarly:
        return None
    if found != sha256:
        raise LogDamaged(0, name, 0, f"its lines have the SHA-256 {found}; {DAMAGED}")
    return size


def _fold_from(view: View, file: BinaryIO, name: str, base: Position, part: FoldedPart, goes_on: GoesOn, step: int) -> None:
    """Fold what comes after ``part``."""
    lines = _lines_after(file, name, part.done)
    while view.position != base:
        view.begin()
        try:
            size = _fold_some(lines, view, step)
            part = attrs.evolve(part, done=part.done + size)
            if size == 0 and part.done < part.total:
                raise LogDamaged(0, name, part.done, f"it became shorter; {DAMAGED}")
            view.commit(base if part.done >= part.total else part.position)
        except BaseException:
            view.rollback()
            raise
        if not goes_on(part.done, part.total):
            break


def _fold_some(lines: Iterator[tuple[int, Entry]], view: View, step: int) -> int:
    """Fold about ``step`` bytes of ``lines``; return how many bytes that were."""
    size = 0
    for length, entry in lines:
        view.apply(entry)
        size += length
        if size >= step:
            break
    return size


def _lines_after(file: BinaryIO, name: str, offset: int) -> Iterator[tuple[int, Entry]]:
    """Yield the length in bytes and the entry of each line after the first ``offset`` bytes."""
    serial = 0
    try:
        with gzip.GzipFile(fileobj=file) as stream:
            stream.seek(offset)
            for line in stream:
                number, body = line.split(b" ", 1)
                serial = int(number)
                yield len(line), decode_content(body, serial)
    except UNREADABLE as error:
        raise LogDamaged(serial, name, 0, f"{error}; {DAMAGED}") from error
