"""What happened to a release: from the logs that its files and attachments keep, and from the changelog.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import Final

import attrs

from twistpi.model.changes import Change, Entry, IndexDeleted
from twistpi.model.names import is_of_version, is_same_version
from twistpi.model.releases import (
    DOCZIP,
    AttachmentRemoved,
    FileRemoved,
    FileUploaded,
    FileYanked,
    LogLine,
    ProjectMarked,
    ProjectRemoved,
    Release,
    ReleaseRemoved,
)
from twistpi.model.text import counted
from twistpi.rules.descriptions import describe, listed

MOST: Final = 200
"""Events that a page shows."""
_ANYBODY: Final = "+anonymous"
_MINUTE: Final = "2026-11-22T17:24"
"""Files that somebody uploads within the same one are one event."""

_Told = FileYanked | FileRemoved | ReleaseRemoved | ProjectRemoved | ProjectMarked | AttachmentRemoved
"""What only the changelog tells."""
MARKS: Final = (b'"pushed_from":"', *(b'"kind":"%b"' % kind.__name__.encode() for kind in (*_Told.__args__, IndexDeleted)))
"""What the JSON of each change has that ``historical_changes`` returns."""


@attrs.frozen
class Event:
    """Something that happened to a release."""

    when: str
    """UTC, ``2026-11-22T17:24:48Z``."""
    who: str
    """The user; empty for nobody who is known."""
    words: str
    reason: str = ""
    """Why, in the words of who did it."""


def historical_changes(entry: Entry) -> Iterator[tuple[str, Change]]:
    """Yield those changes of ``entry`` from which ``history_of`` is made, each with its project.

    A deleted index stands under no project.  What the server itself removed, such as cached files, is left out.
    """
    if entry.by.startswith("+") and entry.by != _ANYBODY:
        return
    for change in entry.changes:
        if isinstance(change, IndexDeleted):
            yield "", change
        elif isinstance(change, _Told) or (isinstance(change, FileUploaded) and change.pushed_from):
            yield change.project, change


def history_of(
    release: Release, entries: Iterable[Entry] = (), is_visible: Callable[[str], bool] = lambda index: True
) -> tuple[Event, ...]:
    """Return what happened to ``release``, the newest first; what a user repeated on a day is one event, with its number.

    ``entries`` have what ``historical_changes`` selected of the project, in order; pushes count if their target ``is_visible``.
    """
    told = _events(release, entries, is_visible)
    events = sorted((*told, *_logged(release)), key=lambda event: event.when, reverse=True)
    groups = groupby(events, key=lambda event: (event.when[:10], event.who, event.words, event.reason))
    return tuple(_counted(list(group)) for _key, group in islice(groups, MOST))


def _counted(group: Sequence[Event]) -> Event:
    newest = group[0]
    return newest if len(group) == 1 else attrs.evolve(newest, words=f"{newest.words}, {len(group)} times")


# Of the changelog ----------------------------------------------------------------------------------------------------


def _events(release: Release, entries: Iterable[Entry], is_visible: Callable[[str], bool]) -> Iterator[Event]:
    known = sorted(entries, key=lambda entry: entry.serial, reverse=True)
    deleted = ((entry.serial, change) for entry in reversed(known) for change in entry.changes)
    since = {change.index: serial for serial, change in deleted if isinstance(change, IndexDeleted)}
    for _serial, group in groupby(known, key=lambda entry: entry.serial):
        same = list(group)
        entry = same[0]
        changes = [
            change
            for one in same
            for change in one.changes
            if not isinstance(change, IndexDeleted)
            and _concerns(change, release, is_visible)
            and entry.serial > since.get(getattr(change, "index", ""), 0)
        ]
        reasons = {_reason(change) for change in changes}
        words, reason = describe(changes), reasons.pop() if len(reasons) == 1 else ""
        if words:
            yield Event(f"{entry.at[:19]}Z", "" if entry.by == _ANYBODY else entry.by, words, reason)


def _concerns(change: Change, release: Release, is_visible: Callable[[str], bool]) -> bool:
    match change:
        case FileUploaded(index=target, pushed_from=release.index, version=version):
            return target != release.index and is_same_version(version, release.version) and is_visible(target)
        case FileYanked(index=release.index, filename=name) | FileRemoved(index=release.index, filename=name):
            return is_of_version(name, release.project, release.version)
        case AttachmentRemoved(index=release.index, path=path):
            return _tested(path) is not None and is_of_version(_tested(path) or "", release.project, release.version)
        case ReleaseRemoved(index=release.index, version=version):
            return is_same_version(version, release.version)
        case ProjectRemoved(index=release.index) | ProjectMarked(index=release.index):
            return True
    return False


def _tested(path: str) -> str | None:
    """Return the file name of the release in that of something attached to it: without what says its kind."""
    name = path.rpartition("/")[2]
    for mark, ending in ((".toxresult-", ""), (".doc.zip", ".zip")):
        if mark in name:
            return name.partition(mark)[0] + ending
    return None


def _reason(change: Change) -> str:
    match change:
        case FileYanked(yanked=str(reason)) | ProjectMarked(reason=str(reason)):
            return reason
    return ""


# Of files and attachments --------------------------------------------------------------------------------------------


def _logged(release: Release) -> Iterator[Event]:
    together: dict[tuple[object, ...], list[tuple[LogLine, str]]] = {}
    for file in release.files:
        name = file.known.link.filename
        for line in reversed(file.log):
            alone = name if line.what == "overwrite" else ""
            key = (line.when[: len(_MINUTE)], line.who, line.what, line.src, line.dst, alone)
            together.setdefault(key, []).append((line, name))
    for lines in together.values():
        newest = max((line for line, _name in lines), key=lambda line: line.when)
        yield Event(newest.when, newest.who or "", _words(newest, listed([name for _line, name in lines])))
    for attachment in release.attachments:
        what = "the documentation" if attachment.kind == DOCZIP else f"a test result of {attachment.for_filename}"
        for line in reversed(attachment.log):
            yield Event(line.when, line.who or "", _words(line, what))


def _words(line: LogLine, what: str) -> str:
    if line.what == "overwrite":
        return f"{what} was replaced {counted(line.count or 1, 'time')} before"
    if line.what == "push":
        return f"pushed {what} from {line.src} to {line.dst}" if line.src else f"pushed {what} to {line.dst}"
    return f"uploaded {what} to {line.dst}"
