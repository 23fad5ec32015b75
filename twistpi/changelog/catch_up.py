"""Filling a view from a log.  Blocking."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Final

from twistpi.changelog.interfaces import IChangelog, RawLine, View
from twistpi.model.changes import Change, Entry
from twistpi.model.codec import decode_content
from twistpi.model.server_errors import MalformedChange

BATCH_BYTES: Final = 1024 * 1024
"""About the most that is applied in one transaction, however few lines that is."""
RUN_BYTES: Final = 256 * 1024
"""About the most that is handed to the view at a time."""


def catch_up(
    changelog: IChangelog,
    view: View,
    *,
    batch: int = 4000,
    applied: Callable[[int, tuple[Change, ...]], object] | None = None,
    goes_on: Callable[[int], bool] = lambda _serial: True,
) -> int:
    """Apply to ``view`` every entry after its position; return how many there were.  Blocking.

    The view commits after each ``batch`` entries.  After each commit, ``applied(serial, changes)`` is called for every entry that
    it holds, and ``goes_on(serial)`` with the last serial: False ends this early, and another call goes on from there.  Without
    ``applied``, which wants every entry as an object, this takes half the time.
    Raises what ``IChangelog.read`` raises, ``MalformedChange`` (with a note of the serial), and what the view raises; what was
    committed before stays.
    """
    return fold_lines(changelog.read(view.position), view, batch=batch, applied=applied, goes_on=goes_on)


def fold_all(changelog: IChangelog, view: View, told: Callable[[int], object]) -> None:
    """The same, never ended early; ``told`` is called after each commit with the last serial."""

    def goes_on(serial: int) -> bool:
        told(serial)
        return True

    catch_up(changelog, view, goes_on=goes_on)


def fold_lines(
    lines: Iterator[RawLine],
    view: View,
    *,
    batch: int = 4000,
    applied: Callable[[int, tuple[Change, ...]], object] | None = None,
    goes_on: Callable[[int], bool] = lambda _serial: True,
) -> int:
    """As ``catch_up``, with lines that come right after the view's position, wherever they are from."""
    count = 0
    while (first := next(lines, None)) is not None:
        kept: list[Entry] | None = None if applied is None else []
        _apply(chain((first,), islice(lines, batch - 1)), view, kept)
        serial = view.position.serial
        count += serial - first.serial + 1
        for entry in kept or ():
            assert applied is not None
            applied(entry.serial, entry.changes)
        if not goes_on(serial):
            break
    return count


def _apply(lines: Iterator[RawLine], view: View, kept: list[Entry] | None) -> None:
    """Apply ``lines``, as far as they are not too long, in one transaction; ``kept`` takes their entries."""
    size = 0
    view.begin()
    try:
        while size < BATCH_BYTES and (run := _take_run(lines)):
            if kept is None:
                view.apply_many(run[0].serial, [line.body for line in run])
            else:
                for line in run:
                    kept.append(decode_body(line.serial, line.body))
                    view.apply(kept[-1])
            size += sum(len(line.body) for line in run)
            last = run[-1]
        view.commit(last.position)
    except BaseException:
        view.rollback()
        raise


def _take_run(lines: Iterator[RawLine]) -> list[RawLine]:
    """Take so many of ``lines`` that they, and what is made of them, stay in the processor's caches."""
    run, size = [], 0
    for line in lines:
        run.append(line)
        size += len(line.body)
        if size >= RUN_BYTES:
            break
    return run


def decode_body(serial: int, body: bytes) -> Entry:
    """The entry of a line; raises ``MalformedChange``, with a note of the serial."""
    try:
        return decode_content(body, serial)
    except MalformedChange as error:
        error.add_note(f"That is in serial {serial}.")
        raise
