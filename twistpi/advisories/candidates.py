"""Makes sets that may be accepted: from a whole feed, or from the former set and the records that changed since.

Blocking, for seconds; meant for threads.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import BinaryIO, Final

import attrs
from twisted.internet.defer import CancelledError

from twistpi.advisories.advisory_set import read_set, write_set
from twistpi.advisories.feed_files import FeedReport, read_feed
from twistpi.blobs.incoming import IncomingFile
from twistpi.model.errors import TwistpiError
from twistpi.model.records import Json
from twistpi.rules.osv import Advisory, NotARecord, read_record

_BETWEEN: Final = 1_000
"""Advisories after which it is checked again whether the set is still wanted."""


@attrs.frozen
class Candidate:
    """A set that was made."""

    sha256: str
    size: int
    """Bytes."""
    count: int
    """Of its advisories."""
    report: FeedReport
    """What was read for it."""


@attrs.define
class _DigestedFile:
    """Writes to a file that may become a blob, and digests what is written."""

    _file: IncomingFile
    _digest: hashlib._Hash = attrs.field(factory=hashlib.sha256, init=False)

    def write(self, data: bytes) -> int:
        """Write all of ``data``."""
        self._file.write(data)
        self._digest.update(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing: it is synced when it is kept."""

    @property
    def sha256(self) -> str:
        """Of what was written."""
        return self._digest.hexdigest()


def candidate_of_feed(path: str, name: str, into: IncomingFile, is_wanted: Callable[[], bool]) -> Candidate:
    """Return the set of all that the feed ``name``, which is at ``path``, has; it is written to ``into``.

    Raise ``TwistpiError`` and ``StorageFull``, and ``CancelledError`` once it is not wanted any more.
    """
    report = FeedReport()
    return _make(read_feed(path, report, name), into, report, is_wanted)


def candidate_with(records: Sequence[Json], former: BinaryIO, into: IncomingFile, is_wanted: Callable[[], bool]) -> Candidate:
    """Return the set ``former`` with ``records`` in place of those with the same ids; the rest as ``candidate_of_feed``."""
    report = FeedReport()
    found: list[Advisory] = []
    for record in records:
        try:
            found += read_record(record)
        except NotARecord as error:
            report.refuse("a record", error)
            continue
        report.note(record)
    replaced = {record["id"] for record in records}

    def merged() -> Iterator[Advisory]:
        yield from (advisory for advisory, _line in read_set(former) if advisory.id not in replaced)
        yield from found

    return _make(merged(), into, report, is_wanted)


def _make(advisories: Iterable[Advisory], into: IncomingFile, report: FeedReport, is_wanted: Callable[[], bool]) -> Candidate:
    scratch, output = f"{into.path}.scratch", _DigestedFile(into)
    try:
        count = write_set(_while_wanted(advisories, is_wanted), output, scratch)
    finally:
        with suppress(FileNotFoundError):
            os.remove(scratch)
    if not count:
        raise TwistpiError(f"None of the {report.records:,} advisories that were read is about a Python package.")
    return Candidate(output.sha256, into.size, count, report)


def _while_wanted(advisories: Iterable[Advisory], is_wanted: Callable[[], bool]) -> Iterator[Advisory]:
    for number, advisory in enumerate(advisories):
        if number % _BETWEEN == 0 and not is_wanted():
            raise CancelledError
        yield advisory
