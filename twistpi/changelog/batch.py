"""One batch of the writer: decide, fold, append, sync, commit.

Blocking, without threads or Deferreds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, cast

import attrs

from twistpi.changelog.catch_up import catch_up, decode_body
from twistpi.changelog.interfaces import IChangelog, View
from twistpi.model.changes import Change, Entry
from twistpi.model.codec import decode_content, encode_content
from twistpi.model.peers import Position
from twistpi.model.server_errors import (
    LogConflict,
    LogDamaged,
    LogUnreachable,
    MalformedChange,
    ServerdirRefused,
    StorageFull,
    SyncFailed,
    UnknownPosition,
    WrittenNotShown,
)

FATAL = (SyncFailed, LogDamaged, UnknownPosition, MalformedChange, ServerdirRefused)
"""After these the log or the view cannot be relied upon: the writer ends."""
_FOR_ALL = (LogUnreachable, WrittenNotShown)
"""These concern a batch as it is: its requests are not tried one by one, because they may be in the log."""


@attrs.frozen
class Committed:
    """The answer to a commit that was not refused."""

    serial: int
    """Of the entry; when nothing had to change, the one at which that was decided."""
    changes: tuple[Change, ...]
    """Those written; empty when nothing had to change."""


Decide = Callable[[Any], Sequence[Change]]
"""Called with the view's reader; returns the changes, or raises the refusal.  Only reads; may be called again."""
Work = Callable[[Any], object]
"""Called with the view within its transaction, and again after that was rolled back: stores local facts, which are no entry."""


@attrs.frozen(eq=False)
class Commit:
    """A request to append an entry."""

    decide: Decide
    by: str
    """The author."""
    local: Work | None = None
    """Not called when the decision is a refusal."""


@attrs.frozen(eq=False)
class Keep:
    """A request to store local facts in the view."""

    work: Work


@attrs.frozen(eq=False)
class Receive:
    """A request to append ``lines`` that the primary wrote after the log's last one; without line feeds."""

    lines: Sequence[bytes]


@attrs.frozen(eq=False)
class Refresh:
    """A request to show what others appended to the log."""


Request = Commit | Keep | Receive | Refresh
Answer = Committed | Position | Exception | None
"""For a ``Commit``, a ``Receive`` or ``Refresh``, or a ``Keep`` that succeeded, or why it did not."""


@attrs.define
class Outcome:
    """What became of a batch."""

    answers: list[Answer] = attrs.field(factory=list)
    """One for each request, in their order."""
    applied: list[tuple[int, tuple[Change, ...]]] = attrs.field(factory=list)
    """The entries that readers of the view see from now on, in order; also older ones that the view had been missing."""
    fatal: Exception | None = None
    """Why the writer has to end, or None."""
    end: Position | None = None
    """Up to where readers of the view see the log from now on; None when that is unknown."""


class _ViewFailed(Exception):
    """The view could not commit what the log has.

    ``refusal`` is the answer to requests that are not in the log yet, ``answers`` those to the requests under way.
    """

    def __init__(self, error: Exception, answers: Iterable[Answer] = ()) -> None:
        super().__init__(str(error))
        self.refusal = error if isinstance(error, StorageFull) else StorageFull("the view", str(error) or type(error).__name__)
        if self.refusal is not error:
            self.refusal.__cause__ = error
        self.answers = [self._corrected(answer) for answer in answers]

    def _corrected(self, answer: Answer) -> Exception:
        if isinstance(answer, Committed) and answer.changes:  # in the log: the author must not be told that it is not written
            return WrittenNotShown(self.refusal.path, self.refusal.reason, answer.serial)
        return answer if isinstance(answer, Exception) else self.refusal


def _kind(request: Request) -> type[Request]:
    """What can be answered together; commits and local facts can."""
    return type(request) if isinstance(request, Receive | Refresh) else Commit


@attrs.define
class Batches:
    """Turn requests into entries of a changelog and of a view: many at a time, with one sync."""

    _changelog: IChangelog
    _view: View
    _now: Callable[[], datetime]
    _latest: str = attrs.field(default="", init=False)
    """The time of the newest entry, once it is known."""

    def process(self, requests: Sequence[Request]) -> Outcome:
        """Answer ``requests`` in their order, each as if it came alone.  Blocking; expected errors are in the outcome."""
        outcome = Outcome()
        try:
            self._catch_up(outcome)
            for kind, group in groupby(requests, key=_kind):
                if kind is Receive:
                    self._receive_all(cast(Iterable[Receive], group), outcome)
                elif kind is Refresh:
                    self._refresh(len(list(group)), outcome)
                else:
                    self._answer(cast(list[Commit | Keep], list(group)), outcome)
        except FATAL as error:
            outcome.fatal = error
            outcome.answers += [error] * (len(requests) - len(outcome.answers))
        except _ViewFailed as failed:
            outcome.answers += failed.answers
            outcome.answers += [failed.refusal] * (len(requests) - len(outcome.answers))
        outcome.end = self._view.position
        return outcome

    def _catch_up(self, outcome: Outcome) -> None:
        """Bring the view to the end of the log; it lags behind after a failed commit, or when another process appended."""
        if self._view.position.serial == self._changelog.last.serial:
            return
        try:
            catch_up(self._changelog, self._view, applied=lambda serial, changes: outcome.applied.append((serial, changes)))
        except FATAL:
            raise
        except Exception as error:
            raise _ViewFailed(error) from error
        self._latest = ""  # those entries may be later than what this machine takes for now

    def _refresh(self, count: int, outcome: Outcome) -> None:
        """Show what others appended, and answer ``count`` requests with the end of that."""
        answer: Answer
        try:
            answer = self._changelog.refresh()
        except (LogUnreachable, StorageFull) as error:
            answer = error
        self._catch_up(outcome)
        outcome.answers += [answer] * count

    def _receive_all(self, requests: Iterable[Receive], outcome: Outcome) -> None:
        """Append the lines of each request; lines that are wrong change nothing."""
        for request in requests:
            try:
                outcome.answers.append(self._receive(request.lines, outcome))
            except MalformedChange as error:  # fatal elsewhere, but these lines are not in the log
                outcome.answers.append(error)
            except (*FATAL, _ViewFailed):
                raise
            except Exception as error:
                outcome.answers.append(error)

    def _receive(self, lines: Sequence[bytes], outcome: Outcome) -> Position:
        """Check, fold, append, sync and commit ``lines`` as one transaction; after an exception the view is as before.

        What cannot be folded never gets into the log: a version that can will ask for it again.
        """
        changelog, view = self._changelog, self._view
        serial = changelog.last.serial
        entries: list[Entry] = []

        def fold(bodies: Sequence[bytes]) -> None:
            for number, body in enumerate(bodies, serial + 1):
                entry = decode_body(number, body)
                view.apply(entry)
                entries.append(entry)

        view.begin()
        try:
            end = changelog.receive(lines, serial, fold)
        except BaseException:
            view.rollback()
            raise
        self._commit_view(end)
        if entries:
            self._latest = max(self._latest, entries[-1].at)
        outcome.applied += [(entry.serial, entry.changes) for entry in entries]
        return end

    def _answer(self, requests: Sequence[Commit | Keep], outcome: Outcome) -> None:
        """Answer ``requests`` together, or each by itself when together they fail: so one spoils nothing for the others."""
        try:
            self._together(requests, outcome)
        except (*FATAL, _ViewFailed):
            raise
        except LogConflict:  # another process appended: read on, then decide again
            self._catch_up(outcome)
            self._answer(requests, outcome)
        except _FOR_ALL as error:
            outcome.answers += [error] * len(requests)
        except Exception as error:
            if len(requests) == 1:
                outcome.answers.append(error)
                return
            for request in requests:
                self._answer([request], outcome)

    def _together(self, requests: Sequence[Commit | Keep], outcome: Outcome) -> None:
        """Fold, append, sync and commit ``requests`` as one transaction; after an exception the view is as before."""
        changelog, view = self._changelog, self._view
        end = changelog.last
        draft = Outcome()
        view.begin()
        try:
            bodies, has_writes = self._fold(requests, end.serial, draft)
            if bodies:
                end = changelog.append(bodies, end.serial)
        except BaseException:
            view.rollback()
            raise
        if has_writes:
            self._commit_view(end, draft.answers)
        else:
            view.rollback()
        outcome.answers += draft.answers
        outcome.applied += draft.applied

    def _commit_view(self, end: Position, answers: Sequence[Answer] = ()) -> None:
        """Commit the view's transaction, whose entries are in the log by now."""
        try:
            self._view.commit(end)
        except FATAL:
            raise
        except Exception as error:
            with contextlib.suppress(Exception):  # the log has the batch: whatever else fails, it must not be tried again
                self._view.rollback()
            raise _ViewFailed(error, answers) from error

    def _fold(self, requests: Sequence[Commit | Keep], serial: int, draft: Outcome) -> tuple[list[bytes], bool]:
        """Decide ``requests`` one after the other, each seeing what those before it changed, and fold them into the view.

        Returns the new entries as JSON, and whether the view's transaction holds anything, be it only local facts.
        """
        view, reader = self._view, self._view.reader
        at = self._time()
        bodies: list[bytes] = []
        is_local = False
        for request in requests:
            if isinstance(request, Keep):
                request.work(view)
                is_local = True
                draft.answers.append(None)
                continue
            try:
                changes = tuple(request.decide(reader))
                body = encode_content(at, request.by, changes) if changes else b""
            except Exception as refusal:  # nothing was folded yet, so it concerns this request alone
                draft.answers.append(refusal)
                continue
            if changes:
                serial += 1
                view.apply(Entry(serial, at, request.by, changes))
                bodies.append(body)
                draft.applied.append((serial, changes))
            if request.local is not None:
                request.local(view)
                is_local = True
            draft.answers.append(Committed(serial, changes))
        return bodies, is_local or bool(bodies)

    def _time(self) -> str:
        """The time of a batch's entries: never before that of an earlier entry, even when the clock was set back."""
        if not self._latest and (newest := self._changelog.newest()):
            self._latest = decode_content(newest.body).at
        self._latest = max(self._latest, self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
        return self._latest
