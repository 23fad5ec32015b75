"""What is restored: the entry that is wanted, the backup that has it, and the log up to there, verified where it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final

import attrs
import orjson

from twistpi.backup.history import Span, brought_log, describe_serials, find_manifests, find_spans, load_manifest, load_manifests
from twistpi.backup.manifest import Beginning, Manifest, ManifestName
from twistpi.backup.store import BackupStore
from twistpi.changelog.disk import Disk
from twistpi.changelog.places import position_before
from twistpi.changelog.reader import read_lines
from twistpi.changelog.summary import lines_digest, named_summaries, summary_path
from twistpi.model.errors import TwistpiError
from twistpi.model.peers import BEGINNING, Position
from twistpi.model.server_errors import LogDamaged

_TIME: Final = "%Y-%m-%dT%H:%M:%S.%fZ"
_DISK: Final = Disk()
_OFTEN: Final = 1000
"""Lines after which progress is reported."""


@attrs.frozen
class Target:
    """Up to where to restore: the end of the backup, a serial, or a time (UTC)."""

    serial: int | None = None
    time: datetime | None = None


@attrs.frozen
class Choice:
    """A log that can be restored."""

    folder: str
    """It is in there as in a server directory; there may be more entries than are wanted."""
    log_id: str
    begin: Beginning
    end: Position
    """Of the last entry that is wanted."""
    at: str
    """The time of that entry."""


@contextmanager
def chosen_log(store: BackupStore, target: Target, progress: Callable[[str, int, int], object]) -> Iterator[Choice]:
    """Find what ``target`` says, and bring the log up to there; verified, and there until the store brings other files.

    Raise ``TwistpiError`` if no backup has it, or what has it is damaged.
    """
    names = find_manifests(store)
    if not names:
        raise TwistpiError(f"There is no backup in {store.url}: it has no manifest. Nothing was changed.")
    log_id, span, serial = _find_span(store, names, target)
    with brought_log(store, span) as folder:
        end, at = _verify(store.url, folder, span, serial, progress)
        yield Choice(folder, log_id, span.begin, end, at)


def _find_span(store: BackupStore, names: Sequence[ManifestName], target: Target) -> tuple[str, Span, int]:
    """Return the id of the log, the entries that have the one wanted, and its serial."""
    if target.serial is not None:
        manifest = _with_serial(store, names, target.serial)
        return manifest.log_id, Span.of(manifest), target.serial
    newest = load_manifest(store, names[-1])
    span, serial = Span.of(newest), newest.end.serial
    if target.time is not None:
        span, serial = _before(store, names, span, (target.time + timedelta(microseconds=1)).strftime(_TIME))
    return newest.log_id, span, serial


def _with_serial(store: BackupStore, names: Sequence[ManifestName], serial: int) -> Manifest:
    """Return the first manifest that has the entry ``serial``."""
    later = [name for name in names if name.serial >= serial]
    if not later:
        raise TwistpiError(f"The backup {store.url} goes up to serial {names[-1].serial}, so {serial} cannot be restored.")
    manifest = load_manifest(store, later[0])
    if manifest.has(serial):
        return manifest
    found = next((one for one in load_manifests(store, later[1:]) if one.has(serial)), None)
    if found is None:
        spans = find_spans(load_manifests(store, names))
        raise TwistpiError(
            f"Serial {serial} cannot be restored: the backup {store.url} has a summary in place of it, because the changelog was"
            f" compacted. The first serial from there on that can be restored is {_first_after(spans, serial)}; there are"
            f" {describe_serials(spans)}."
        )
    return found


def _first_after(spans: Sequence[Span], serial: int) -> int:
    return min(span.begin.base.serial + 1 for span in spans if span.begin.base.serial >= serial)


def _before(store: BackupStore, names: Sequence[ManifestName], newest: Span, moment: str) -> tuple[Span, int]:
    """Return the last entry before ``moment``, and the entries that have it."""
    serial = _last_before(store, newest, moment)
    if serial is not None:
        return newest, serial
    spans = [] if newest.begin.base == BEGINNING else find_spans(load_manifests(store, names))
    later = newest
    for span in reversed([span for span in spans if span.begin != newest.begin]):
        serial = _last_before(store, span, moment)
        if serial is not None and serial == span.end.serial < later.begin.base.serial:
            break  # what happened between the two is not known
        if serial is not None:
            return span, serial
        later = span
    if not spans:
        text = f"The first entry in the backup {store.url} is of a later time than that; name another time."
        raise TwistpiError(text)
    raise TwistpiError(
        f"The server cannot be restored as it was at that time: the backup {store.url} has a summary in place of the entries,"
        f" because the changelog was compacted. It has the serials {describe_serials(spans)}; name one of them with --to-serial."
    )


def _last_before(store: BackupStore, span: Span, moment: str) -> int | None:
    """Return the serial of the last entry of ``span`` before ``moment``; None if there is none."""
    with brought_log(store, span) as folder:
        try:
            serial = min(span.end.serial, position_before(folder, _DISK, moment).serial)
        except (LogDamaged, OSError) as error:
            raise _damaged(store.url, str(error)) from None
    return serial if serial > span.begin.base.serial else None


def _verify(url: str, folder: str, span: Span, until: int, progress: Callable[[str, int, int], object]) -> tuple[Position, str]:
    """Verify the log in ``folder`` up to serial ``until``; return the end of that line, and its time."""
    newest, named, base = None, set[str](), span.begin.base
    try:
        found = None if span.begin.summary is None else lines_digest(summary_path(folder, base.serial))
        for newest in read_lines(folder, _DISK, base, until):
            named |= named_summaries(newest, base.serial)
            if newest.serial % _OFTEN == 0:
                progress("log", newest.serial - base.serial, until - base.serial)
    except (LogDamaged, OSError) as error:
        raise _damaged(url, str(error)) from None
    if found != span.begin.summary or (found is not None and named and found not in named):
        expected = span.begin.summary if found != span.begin.summary else " or ".join(sorted(named))
        raise _damaged(url, f"its summary of the entries up to {base.serial} has the SHA-256 {found} instead of {expected}")
    if newest is None or newest.serial < until:
        raise _damaged(url, f"its log ends at serial {newest.serial if newest else base.serial}, and serial {until} is wanted")
    if until == span.end.serial and newest.chain != span.end.chain:
        raise _damaged(url, f"its log has another line {until} than the manifest says")
    return newest.position, str(orjson.loads(newest.body)["at"])


def _damaged(url: str, reason: str) -> TwistpiError:
    return TwistpiError(
        f"The backup {url} is damaged: {reason.rstrip('.')}. Nothing was restored. Try --to-serial with a serial before the"
        " damage, or another backup."
    )
