"""Name lists on disk.  Everything here blocks.

``names/{user}/{index}/state.json`` says which folder beside it holds the ready pages.  A new list is made in a folder of its own
and becomes the list when ``state.json`` is replaced, so a crash leaves the old one.  The folder before the newest stays until the
next list comes, for those who are reading it.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import heapq
import json
import os
import shutil
import tempfile
from collections.abc import Generator, Iterable, Iterator, Mapping
from itertools import islice
from typing import BinaryIO, Final
from urllib.parse import quote

import attrs

from twistpi.http.codings import decode
from twistpi.http.errors import Cause, RequestFailed
from twistpi.model.errors import BadUpstreamPage
from twistpi.model.names import IndexName
from twistpi.simple.names import Name, NameListParser, render_names
from twistpi.simple.negotiate import Representation

LARGEST: Final = 100_000_000
"""Bytes of the largest list that is accepted, as it is received and decompressed."""
LARGEST_FOLDER: Final = 300_000_000
"""Bytes that the pages of a list may take on disk, with what is needed to make them.  930,000 names take 150 MB."""
_MOST_NAMES: Final = 5_000_000
_STATE: Final = "state.json"
_FOLDER: Final = "list-"
_PAGES: Final = {"page.json": Representation.JSON_V1, "page.html": Representation.TEXT_HTML}
_COMPRESSION: Final = 4
_PIECE: Final = 16 * 1024
"""Bytes handled at once: a thread that holds Python's lock for long delays the reactor."""
_PARSED_AT_ONCE: Final = 500
"""Names parsed in one step."""
_SORTED_AT_ONCE: Final = 5_000
"""Names sorted in one step."""


@attrs.frozen
class StoredNames:
    """A name list that is ready to be served."""

    folder: str
    """Holds ``page.json``, ``page.json.gz``, ``page.html``, ``page.html.gz`` and ``names.txt``."""
    count: int
    etags: Mapping[str, str]
    """File name -> its strong entity tag, quoted."""
    source: str
    """The upstream's URL, without credentials."""
    checked_at: float
    """Unix seconds: when the upstream last confirmed it."""
    etag: str | None = None
    """The upstream's."""
    last_modified: str | None = None
    """The upstream's."""


def home_of(root: str, index: str) -> str:
    """Return the folder for the lists of ``index`` below ``root``; any character may be in the name."""
    name = IndexName.parse(index)
    return os.path.join(root, _component(name.user), _component(name.name))


def _component(name: str) -> str:
    quoted = quote(name, safe="")
    return f"%2E{quoted[1:]}" if quoted.startswith(".") else quoted


def load(home: str) -> StoredNames | None:
    """Return the list in ``home``, None when there is none that can be read."""
    try:
        with open(os.path.join(home, _STATE), encoding="utf-8") as file:
            fields = json.load(file)
        stored = StoredNames(**{**fields, "folder": os.path.join(home, fields["folder"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return stored if os.path.exists(os.path.join(stored.folder, "page.json")) else None


def new_folder(home: str) -> str:
    """Make a folder for a list that is to come."""
    os.makedirs(home, exist_ok=True)
    return tempfile.mkdtemp(prefix=_FOLDER, dir=home)


def require_size(folder: str, largest: int) -> None:
    """Raise ``RequestFailed`` when the files in ``folder`` have more than ``largest`` bytes."""
    with os.scandir(folder) as entries:
        if sum(entry.stat().st_size for entry in entries) > largest:
            raise RequestFailed(f"its list of projects takes more than {largest:,} bytes on disk", Cause.TOO_LARGE)


def save(home: str, stored: StoredNames) -> None:
    """Make ``stored`` the list."""
    fields = {**attrs.asdict(stored), "folder": os.path.basename(stored.folder)}
    path = os.path.join(home, _STATE)
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        json.dump(fields, file)
    os.replace(f"{path}.new", path)


def remove(home: str, keep: frozenset[str]) -> None:
    """Remove the list in ``home``; folders in ``keep`` (paths) stay, since they are in use."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(home, _STATE))
    remove_others(home, keep)
    with contextlib.suppress(OSError):  # not empty, or never made
        os.rmdir(home)


def remove_others(home: str, keep: frozenset[str]) -> None:
    """Remove the folders of lists that are not in ``keep`` (paths)."""
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(home):
            if entry.name.startswith(_FOLDER) and entry.path not in keep:
                shutil.rmtree(entry.path, ignore_errors=True)


# Making the pages --------------------------------------------------------------------------------------------------


@attrs.frozen
class Received:
    """An upstream's list in a file, as it came."""

    path: str
    encoding: str
    """Its ``Content-Encoding``, empty for none."""
    content_type: str
    url: str
    is_whole: bool
    """Whether it cannot have broken off unnoticed."""
    is_flat: bool = False
    """Whether an HTML page lists files, not projects."""


def make_pages(received: Received, index: str, folder: str) -> Generator[None, None, tuple[int, Mapping[str, str]]]:
    """Write the pages of ``index`` into ``folder``, in alphabetical order; return how many names there are, and the entity tags.

    The work is divided into steps of a few milliseconds and needs little memory, whatever the number of names.  Raise
    ``RequestFailed`` for a list that cannot be used.
    """
    names_path, serials_path, runs_path = (os.path.join(folder, name) for name in ("names.txt", "serials", "runs"))
    with open(received.path, "rb") as file, open(runs_path, "w+b") as runs_file:
        content = _decompressed(file, received.encoding)
        parser = NameListParser(content, received.content_type, received.url, received.is_whole, received.is_flat)
        try:
            runs = yield from _write_runs(parser.names(), runs_file)
        except BadUpstreamPage as error:
            raise RequestFailed(f"its name list cannot be used: {error.reason}", Cause.MALFORMED) from error
        lines = _unique(heapq.merge(*(_read_run(runs_file, start, end) for start, end in runs)))
        count, has_serials = yield from _write_names(lines, names_path, serials_path)
    etags: dict[str, str] = {}
    for page, representation in _PAGES.items():
        with open(names_path, encoding="ascii") as names, open(serials_path, encoding="ascii") as serials:
            pieces = render_names(
                index,
                map(str.rstrip, names),
                representation,
                serials=map(int, serials) if has_serials else None,
                last_serial=parser.last_serial,
            )
            etags.update((yield from _write_page(os.path.join(folder, page), page, pieces)))
    os.unlink(runs_path)
    os.unlink(serials_path)
    return count, etags


def _decompressed(file: BinaryIO, encoding: str) -> Iterator[bytes]:
    """Yield the content of ``file`` in pieces; raise ``RequestFailed`` when it is broken or too long."""
    size = 0
    for piece in decode(iter(lambda: file.read(_PIECE), b""), encoding, _PIECE):
        size += len(piece)
        if size > LARGEST:
            raise RequestFailed(f"its list of projects is longer than {LARGEST:,} bytes", Cause.TOO_LARGE)
        yield piece


Run = tuple[int, int]
"""Sorted lines, ``NAME SERIAL`` or ``NAME``: where in the file they begin and end."""


def _write_runs(names: Iterator[Name], file: BinaryIO) -> Generator[None, None, list[Run]]:
    """Write ``names`` in sorted runs, as few as their order allows."""
    runs: list[Run] = []
    last, place, count = "", 0, 0
    batch: list[str] = []
    more = True
    while more:
        some = list(islice(names, _PARSED_AT_ONCE))
        more = bool(some)
        batch += [f"{name}\n" if serial is None else f"{name} {serial}\n" for name, serial in some]
        count += len(some)
        if count > _MOST_NAMES:
            raise RequestFailed(f"its list has more than {_MOST_NAMES:,} names", Cause.MALFORMED)
        yield
        if len(batch) >= _SORTED_AT_ONCE or (batch and not more):
            batch.sort()
            start, place = place, place + file.write("".join(batch).encode("ascii"))
            if runs and batch[0] > last:
                start, _end = runs.pop()
            runs.append((start, place))
            last = batch[-1]
            batch = []
            yield
    file.flush()
    return runs


def _read_run(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    rest = b""
    while start < end:
        piece = os.pread(file.fileno(), min(_PIECE, end - start), start)
        start += len(piece)
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines


def _unique(lines: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and serial of each line, without those whose name is that of the line before."""
    last = b""
    for line in lines:
        name, _space, serial = line.partition(b" ")
        if name != last:
            yield name, serial
            last = name


def _write_names(lines: Iterator[tuple[bytes, bytes]], names: str, serials: str) -> Generator[None, None, tuple[int, bool]]:
    """Write two files with a line for each name; return how many there are, and whether every one has a serial."""
    count, known = 0, 0
    with open(names, "wb") as names_file, open(serials, "wb") as serials_file:
        while some := list(islice(lines, 4 * _PARSED_AT_ONCE)):
            names_file.write(b"".join([b"%b\n" % name for name, _serial in some]))
            serials_file.write(b"".join([b"%b\n" % serial for _name, serial in some]))
            count += len(some)
            known += sum(1 for _name, serial in some if serial)
            yield
    return count, bool(count) and known == count


def _write_page(path: str, name: str, pieces: Iterable[bytes]) -> Generator[None, None, Mapping[str, str]]:
    """Write a page plain and compressed; return the entity tags of both."""
    digest = hashlib.sha256(name.encode())
    with open(path, "wb") as plain, gzip.GzipFile(f"{path}.gz", "wb", _COMPRESSION, mtime=0) as compressed:
        for piece in pieces:
            digest.update(piece)
            plain.write(piece)
            compressed.write(piece)
            yield
    tag = digest.hexdigest()[:32]
    return {name: f'"{tag}"', f"{name}.gz": f'"{tag}-gzip"'}
