"""Summaries: what stands for the beginning of a log whose first segments were removed.

A summary is the file ``summary-SERIAL.gz`` beside the segments, named by the serial of the last entry that it stands for.  It
has lines ``SERIAL SP JSON LF``, compressed.  The JSON is that of entries, with changes of the same kinds: the fewest that, folded
into an empty view, give what all entries up to ``SERIAL`` gave.  So every later version of the fold can build its view from a
summary and the rest of the log (``summary_fold.py``), for which each line is the entry with its serial.  Lines have no chain.

``base.json`` has the SHA-256 of the lines under ``summary``.  So has an entry of the log, ``HistoryCompacted``, if the summary
was made by a primary.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import BinaryIO

from twistpi.changelog.disk import Disk
from twistpi.changelog.format import read_base, read_summary_digest, sort_segments
from twistpi.changelog.interfaces import RawLine
from twistpi.changelog.reader import segment_path
from twistpi.model.changes import Entry, HistoryCompacted
from twistpi.model.codec import decode_content, encode_content
from twistpi.model.server_errors import LogDamaged

_NAME = re.compile(r"summary-([0-9]{20})\.gz")
_NAMING = b'"kind":"HistoryCompacted"'
_LEVEL = 1
"""Of the compression: more takes several times as long and saves a tenth."""
_CHUNK = 1024 * 1024
DAMAGED = "it is damaged; copy it from a backup, or from a server whose log begins after the same serial"
"""What to do about a summary that cannot be read."""
UNREADABLE = (OSError, EOFError, zlib.error, ValueError)
"""What reading one raises then."""


def summary_name(serial: int) -> str:
    """The file name of the summary of the entries up to ``serial``."""
    return f"summary-{serial:020d}.gz"


def summarised_serials(names: Iterable[str]) -> list[int]:
    """The last serials that the summaries among the file ``names`` of a folder stand for, ascending; others are ignored."""
    return sorted(int(match[1]) for name in names if (match := _NAME.fullmatch(name)))


def summary_path(directory: str, serial: int) -> str:
    """The path of the summary of the entries up to ``serial``."""
    return os.path.join(directory, summary_name(serial))


def named_summaries(line: RawLine, after: int) -> set[str]:
    """The SHA-256 of each summary of the entries up to ``after`` that a line names."""
    if _NAMING not in line.body:
        return set()
    changes = decode_content(line.body, line.serial).changes
    return {change.sha256 for change in changes if isinstance(change, HistoryCompacted) and change.after == after}


def write_summary(path: str, entries: Iterable[Entry]) -> str:
    """Write a summary to the file ``path``, which only its owner can read, and return its SHA-256.

    The content is synced, the name is not.  Blocking.  Raises ``OSError``, and then leaves no file.
    """
    digest = hashlib.sha256()
    try:
        with (
            open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file,
            gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as stream,
        ):
            for entry in entries:
                line = b"%d %b\n" % (entry.serial, encode_content(entry.at, entry.by, entry.changes))
                digest.update(line)
                stream.write(line)
            stream.close()
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with suppress(OSError):
            os.remove(path)
        raise
    return digest.hexdigest()


def lines_digest(path: str) -> str:
    """The SHA-256 of the lines of the summary at ``path``.  Blocking, but mostly not in Python.  Raises ``LogDamaged``."""
    name = os.path.basename(path)
    try:
        with open(path, "rb") as file:
            return read_digest(file, name)[0]
    except OSError as error:
        raise LogDamaged(0, name, 0, f"{error}; {DAMAGED}") from error


def read_digest(file: BinaryIO, name: str, told: Callable[[], object] = lambda: None) -> tuple[str, int]:
    """The SHA-256 and the bytes of the lines in ``file``, a summary that is called ``name``.  Blocking.  Raises ``LogDamaged``.

    ``told`` is called after each MiB, and may raise to end this early.
    """
    digest, size = hashlib.sha256(), 0
    try:
        with gzip.GzipFile(fileobj=file) as stream:
            while content := stream.read(_CHUNK):
                digest.update(content)
                size += len(content)
                told()
        return digest.hexdigest(), size
    except UNREADABLE as error:
        raise LogDamaged(0, name, 0, f"{error}; {DAMAGED}") from error


def remove_compacted(directory: str, disk: Disk) -> None:
    """Remove the segments and summaries that the summary of the log in ``directory`` stands for; blocking."""
    if read_summary_digest(directory, disk) is None:
        return
    base, _segments = read_base(directory, disk)
    names = disk.names(directory)
    gone = [segment_path(directory, first) for first in sort_segments(names) if first < base.segment]
    gone += [summary_path(directory, serial) for serial in summarised_serials(names) if serial < base.serial]
    for path in gone:
        disk.remove(path)
    if gone:
        disk.sync_folder(directory)
