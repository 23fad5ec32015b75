"""Removes what is too old in a backup: manifests, the parts of the log that only they needed, and the blobs that nothing names
from the oldest manifest on.

A blob stays if it is named at the serial of the oldest manifest that is kept, or by any entry after that, so that each serial
from there on can be restored.  What was named there is found out by folding the server's own log up to that serial, which takes
as long as building a view does.  So blobs are looked through at most once a day; until then the place holds more than it has to.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import attrs
import orjson

from twistpi.backup.blob_state import blob_path
from twistpi.backup.history import CHANGELOG, Span, brought_log, find_manifests, find_spans, load_manifests
from twistpi.backup.manifest import Keep, Manifest, ManifestName
from twistpi.backup.named_files import AT_ONCE, Progress
from twistpi.backup.store import BackupStore
from twistpi.blobs.address import METADATA, PROVENANCE, blob_address
from twistpi.changelog.catch_up import decode_body, fold_lines
from twistpi.changelog.disk import Disk
from twistpi.changelog.format import read_beginning, segment_name, sort_segments
from twistpi.changelog.interfaces import RawLine
from twistpi.changelog.places import position_at
from twistpi.changelog.reader import read_lines
from twistpi.changelog.summary import summarised_serials, summary_name
from twistpi.changelog.summary_fold import begin_view, reporting
from twistpi.model.changes import ADVISORY_SET, AdvisoriesAccepted
from twistpi.model.peers import BEGINNING
from twistpi.replication.missing_blobs import Naming
from twistpi.server.directory import Layout
from twistpi.view.database import ViewDatabase, open_view
from twistpi.view.read import Reader

PRUNED: Final = "pruned.json"
"""When blobs were last looked through, and for which manifest; a file in the backup."""
_BETWEEN: Final = timedelta(hours=20)
"""Less than a day, so that a daily run that is a little early is not passed over."""
_NEVER: Final = datetime.min.replace(tzinfo=UTC)
_MOST_REMOVED: Final = 100_000
"""Blobs that one run removes at most; they are remembered meanwhile."""


@attrs.define
class Pruned:
    """What was dropped."""

    manifests: int = 0
    files: int = 0
    looked: bool = False
    """Whether blobs were looked through."""
    log_files: int = 0
    """Segments and summaries of the log."""


@attrs.define(eq=False)
class Prune:
    """Drops what ``keep`` does not keep; ``reader`` is of the view of the server, of whose log the backup is a part."""

    _serverdir: str
    _reader: Reader
    _store: BackupStore
    _progress: Progress
    _disk: Disk = attrs.field(factory=Disk, init=False)

    def run(self, keep: Keep, now: datetime) -> Pruned:
        """Prune; may be interrupted, and run again.  Raise ``TwistpiError`` and ``OSError``."""
        names, pruned = find_manifests(self._store), Pruned()
        expired = keep.expired(names, now)
        self._store.remove([name.path for name in expired])
        pruned.manifests, kept = len(expired), names[len(expired) :]
        if not kept:
            return pruned
        pruned.log_files = self._drop_history(kept)
        looked_at, looked_from = self._last_looked()
        if kept[0].serial == looked_from or now - looked_at < _BETWEEN or (looked_from == 0 and not expired):
            return pruned
        pruned.looked = True
        garbage = self._find(load_manifests(self._store, kept))
        for paths in _bunches(garbage):
            self._store.remove(paths)
        pruned.files = len(garbage)
        self._store.write(PRUNED, orjson.dumps({"at": now.isoformat(), "serial": kept[0].serial}))
        return pruned

    def _drop_history(self, kept: Sequence[ManifestName]) -> int:
        """Remove the segments and summaries that no manifest needs any more, because a later summary stands for them."""
        names = self._store.names(CHANGELOG)
        segments, summaries = sort_segments(names), summarised_serials(names)
        if not summaries or (len(summaries) == 1 and segments[:1] > summaries):
            return 0
        manifests = load_manifests(self._store, kept)
        needed = {name for span in find_spans(manifests) for name in span.log_files(names)}
        end = manifests[-1].end  # what is beyond that was left by an interrupted run, and the next one goes on with it
        former = [segment_name(first) for first in segments if first <= end.segment]
        former += [summary_name(serial) for serial in summaries if serial <= end.serial]
        gone = [f"{CHANGELOG}/{name}" for name in former if name not in needed]
        self._store.remove(gone)
        return len(gone)

    def _last_looked(self) -> tuple[datetime, int]:
        """Return when blobs were last looked through, and the serial from which on they were needed."""
        try:
            fields = orjson.loads(self._store.read(PRUNED))
            return datetime.fromisoformat(fields["at"]), int(fields["serial"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return _NEVER, 0

    def _find(self, manifests: Sequence[Manifest]) -> list[str]:
        """Return the paths of blobs in the backup that no entry from the first of the ``manifests`` on needs."""
        oldest, spans = manifests[0], find_spans(manifests)
        with tempfile.TemporaryDirectory(prefix="twistpi-prune-") as folder, ExitStack() as views:
            formers = []
            for number, (span, until) in enumerate(self._former_states(oldest, spans)):
                view = views.enter_context(closing(open_view(os.path.join(folder, f"{number}.sqlite"), oldest.log_id)))
                self._fold(view, span, until)
                formers.append(view.reader)
            unnamed = self._unnamed(*formers)
        found: dict[str, list[str]] = {}
        for path in unnamed:
            found.setdefault(_distribution(path), []).append(path)
        for line in self._later_lines(oldest, spans) if found else ():
            for change in decode_body(line.serial, line.body).changes:
                if isinstance(change, Naming):
                    found.pop(_name_of(change), None)  # perhaps of another digest; a later run removes it
        return [path for paths in found.values() for path in paths]

    def _former_states(self, oldest: Manifest, spans: Sequence[Span]) -> Iterator[tuple[Span, int]]:
        """Yield the states from which on entries tell what is named: that of ``oldest``, and each after a gap."""
        yield Span.of(oldest), oldest.end.serial
        covered = oldest.end.serial
        for span in spans:
            if span.begin.base.serial > covered:
                yield span, span.begin.base.serial
            covered = max(covered, span.end.serial)

    def _later_lines(self, oldest: Manifest, spans: Sequence[Span]) -> Iterator[RawLine]:
        """Yield the entries after ``oldest`` that the backup has."""
        covered = oldest.end.serial
        for span in spans:
            after = max(covered, span.begin.base.serial)
            if span.end.serial > after:
                with self._log_of(span, after) as directory:
                    yield from read_lines(directory, self._disk, position_at(directory, self._disk, after), span.end.serial)
                covered = span.end.serial

    @contextmanager
    def _log_of(self, span: Span, serial: int) -> Iterator[str]:
        """Return a folder with the log of ``span`` from ``serial`` on: the server's, or the backup's where that begins later."""
        own = Layout(self._serverdir).changelog
        base, sha256 = read_beginning(own, self._disk)
        if base == BEGINNING or (sha256 is not None and base.serial <= serial):
            yield own
            return
        with brought_log(self._store, span) as directory:
            yield directory

    def _fold(self, view: ViewDatabase, span: Span, until: int) -> None:
        """Fold the log of ``span`` up to serial ``until`` into an empty view."""
        with self._log_of(span, until) as directory:
            begin_view(directory, self._disk, view, reporting(partial(self._progress, "summary")))
            lines = read_lines(directory, self._disk, view.position, until)
            fold_lines(lines, view, goes_on=lambda serial: self._report(serial, until))

    def _report(self, serial: int, until: int) -> bool:
        self._progress("log", serial, until)
        return True

    def _unnamed(self, *formers: Reader) -> list[str]:
        unnamed: list[str] = []
        for path in self._store.walk():
            if len(unnamed) < _MOST_REMOVED and not _is_named(path, *formers, self._reader):
                unnamed.append(path)
        return unnamed


def _is_named(path: str, *readers: Reader) -> bool:
    match path.split("/"):
        case [_root, three, thirteen, filename]:
            return any(reader.names_blob(three + thirteen, filename) for reader in readers)
    return False  # what an interrupted copy left


def _distribution(path: str) -> str:
    """Return the name of the file that a blob is, or whose metadata or provenance it is; of a set of advisories its path."""
    if path.endswith(f"/{ADVISORY_SET}"):
        return path
    return path.rpartition("/")[2].removesuffix(METADATA).removesuffix(PROVENANCE)


def _name_of(change: Naming) -> str:
    """Return the same for the blob that ``change`` names."""
    if isinstance(change, AdvisoriesAccepted):
        return blob_path(blob_address(change.sha256, ADVISORY_SET))
    return change.filename


def _bunches(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    for begin in range(0, len(paths), AT_ONCE):
        yield paths[begin : begin + AT_ONCE]
