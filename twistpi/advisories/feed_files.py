"""Reads feeds: a folder of JSON files, a zip of them, or one file with a record, a list of records, or a record a line.

Nothing is unpacked to the disk, and one record is in memory at a time.  Only regular files are read: a pipe or a device might
never end.  Blocking; meant for threads and commands.
"""

from __future__ import annotations

import os
import re
import stat
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import BinaryIO, Final

import attrs
import orjson

from twistpi.archives.source import Limits, Source
from twistpi.archives.zip_directory import list_members
from twistpi.archives.zip_members import directory_of, read_member
from twistpi.model.errors import InvalidDistribution, TwistpiError
from twistpi.model.records import Json
from twistpi.model.text import one_line
from twistpi.rules.osv import Advisory, NotARecord, read_record

_LARGEST_RECORD: Final = 8 * 1024 * 1024
"""Bytes."""
_LARGEST_FILE: Final = 64 * 1024 * 1024
"""Bytes of a file of many records."""
_LARGEST_FEED: Final = 8 * 1024 * 1024 * 1024
"""Bytes of all records together, unpacked."""
_LONGEST_REFUSAL: Final = 300
"""Characters of the reason why a record could not be read."""
_PLAIN: Final = re.compile(r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\dZ", re.ASCII)
_MOST_RECORDS: Final = 2_000_000

_ZIP_LIMITS: Final = Limits(most_members=_MOST_RECORDS, largest_directory=512 * 1024 * 1024)


@attrs.define
class FeedReport:
    """What was read."""

    records: int = 0
    refused: int = 0
    """Files and records that could not be read as advisories."""
    first_refusal: str = ""
    """The first of them, and the reason."""
    modified: str = ""
    """UTC, ``2026-11-30T17:12:19.000000Z``: when the newest record was changed, withdrawn ones included."""

    def refuse(self, name: str, reason: object) -> None:
        """Count what could not be read."""
        self.refused += 1
        self.first_refusal = self.first_refusal or one_line(f"{name}: {reason}")[:_LONGEST_REFUSAL]

    def note(self, record: Json) -> None:
        """Count a record."""
        self.records += 1
        self.modified = max(self.modified, moment(record.get("modified")))


def moment(text: Json) -> str:
    """Return a time of a feed in UTC, in one spelling, so that times can be compared; empty for what is none."""
    try:
        if _PLAIN.fullmatch(text):
            return f"{text[:-1]}.000000Z"  # nearly all, at a tenth of the time
        return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    except (ValueError, TypeError, OverflowError):
        return ""


def read_feed(path: str, report: FeedReport, name: str = "") -> Iterator[Advisory]:
    """Yield the advisories in the file or folder at ``path``; what is no record is counted in ``report`` and passed over.

    Raise ``TwistpiError``, which calls the feed by its ``name`` or else its path, for what cannot be read at all, and when there
    is no record in it.
    """
    feed = f"The feed of advisories {name or path}"
    try:
        total = 0
        for title, content in _documents(path, report):
            total += len(content)
            yield from _advisories(title, content, report)
            if report.records > _MOST_RECORDS or total > _LARGEST_FEED:
                text = f"has more than {_MOST_RECORDS:,} advisories, or more than {_LARGEST_FEED >> 30} GiB of them"
                raise TwistpiError(f"{feed} {text}; is it a feed?")
    except InvalidDistribution as error:
        raise TwistpiError(f"{feed} cannot be read: {error.reason}.") from error
    except (OSError, ValueError) as error:
        raise TwistpiError(f"{feed} cannot be read: {error}.") from error
    if not report.records:
        reason = report.first_refusal or "there is no JSON file in it"
        raise TwistpiError(f"{feed} has no advisory: {reason}.")


def _documents(path: str, report: FeedReport) -> Iterator[tuple[str, bytes]]:
    if os.path.isdir(path):
        yield from _in_folder(path, report)
        return
    with open_regular(path) as file:
        if zipfile.is_zipfile(file):
            file.seek(0)
            yield from _in_zip(os.path.basename(path), file, report)
        else:
            file.seek(0)
            yield from _in_file(os.path.basename(path), file)


def open_regular(path: str) -> BinaryIO:
    """Open a file to be read; raise ``OSError``, also for what is no regular file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is no regular file")
    return open(descriptor, "rb")


def _in_folder(path: str, report: FeedReport) -> Iterator[tuple[str, bytes]]:
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            if not name.endswith(".json"):
                continue
            try:
                with open_regular(os.path.join(folder, name)) as file:
                    content = file.read(_LARGEST_RECORD + 1)
            except OSError as error:
                report.refuse(name, error)
                continue
            yield name, content


def _in_zip(name: str, file: BinaryIO, report: FeedReport) -> Iterator[tuple[str, bytes]]:
    """Yield the members one by one: a list of all of them would take more memory than the advisories."""
    source = Source(file, name, os.fstat(file.fileno()).st_size, is_strict=False)
    directory = directory_of(source, _ZIP_LIMITS)
    for member in list_members(source.filename, directory, source.pieces(directory.start, directory.length)):
        if member.name.endswith(".json"):
            try:
                content = read_member(source, member, _LARGEST_RECORD)
            except InvalidDistribution as error:
                report.refuse(member.name, error.reason)
                continue
            yield member.name, content


def _in_file(name: str, file: BinaryIO) -> Iterator[tuple[str, bytes]]:
    """Yield a file of one record or of a list as a whole, and one of a record a line by lines."""
    first = file.readline(_LARGEST_RECORD + 1)
    if first.rstrip().endswith(b"}") and first.lstrip().startswith(b"{") and _is_json(first):
        yield name, first
        while line := file.readline(_LARGEST_RECORD + 1):
            if line.strip():
                yield name, line
        return
    if os.fstat(file.fileno()).st_size > _LARGEST_FILE:
        raise TwistpiError(f"{name} is larger than {_LARGEST_FILE >> 20} MiB; a zip, or a record a line, may be.")
    yield "", first + file.read()


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def _advisories(name: str, content: bytes, report: FeedReport) -> Iterator[Advisory]:
    """Yield what the records in ``content`` say; ``name`` is empty for a file that may be a list."""
    if name and len(content) > _LARGEST_RECORD:
        report.refuse(name, "it is too large for one advisory")
        return
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        report.refuse(name or "the file", error)
        return
    for record in value if isinstance(value, list) else [value]:
        try:
            found = list(read_record(record))
        except NotARecord as error:
            report.refuse(name or "the file", error)
            continue
        report.note(record)
        yield from found
