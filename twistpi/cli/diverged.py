"""``SERVERDIR/diverged/``: entries that only this server had, saved before it becomes a replica of another one.

Each folder is named by the serials that it holds and by the chain of the last: saved again, it is the same folder. It is written
under another name and renamed when complete. Blobs are hard links, which need no space and stay when garbage collection removes
the blobs themselves.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final

from twistpi.blobs.address import BlobAddress, blob_address, metadata_address, provenance_address
from twistpi.blobs.tree import ROOT
from twistpi.changelog.interfaces import RawLine
from twistpi.cli.log import as_text
from twistpi.model.changes import Change, FileCached, MetadataCached
from twistpi.model.codec import decode_content
from twistpi.model.errors import InvalidName
from twistpi.model.releases import AttachmentAdded, FileUploaded
from twistpi.server.directory import Layout

FOLDER: Final = "diverged"
ENTRIES: Final = "entries.log"
SUMMARY: Final = "summary.txt"


def saved_name(first: int, last: int, chain: str) -> str:
    """Return the name of the folder for the entries ``first`` to ``last``, where ``chain`` is that of ``last``."""
    return f"{first}-{last}-{chain[:8]}"


def save(serverdir: str, name: str, lines: Iterable[RawLine], heading: str, *, whole_log: bool) -> tuple[str, int]:
    """Save ``lines`` and the blobs that they name as ``diverged/NAME``, durably; return the folder and how many blobs are in it.

    ``heading`` begins the summary. With ``whole_log`` the segments are kept, by links. Blocking; after an ``OSError`` it can be
    called again.
    """
    target = os.path.join(serverdir, FOLDER, name)
    if os.path.isdir(target):
        return target, sum(len(files) for _path, _folders, files in os.walk(os.path.join(target, ROOT)))
    unfinished = f"{target}.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    os.makedirs(unfinished, mode=0o700)
    blobs = _write_entries(serverdir, unfinished, lines, heading, raw=not whole_log)
    if whole_log:
        _link_log(serverdir, unfinished)
    for path, _folders, _files in os.walk(unfinished, topdown=False):
        _sync(path)
    os.rename(unfinished, target)
    _sync(os.path.join(serverdir, FOLDER))
    _sync(serverdir)
    return target, blobs


def _write_entries(serverdir: str, folder: str, lines: Iterable[RawLine], heading: str, *, raw: bool) -> int:
    """Write the entries, for programs (``raw``) and for people, and link the blobs they name; return how many these are."""
    blobs = 0
    # Like the log, these files hold hashes of passwords.
    with _private(folder, ENTRIES if raw else None) as entries, _private(folder, SUMMARY) as summary:
        summary.write(f"{heading}\n\n".encode())
        for line in lines:
            if raw:
                entries.write(b"%d %s %s\n" % (line.serial, line.chain.encode("ascii"), line.body))
            summary.write(f"{as_text(line)}\n".encode())
            for change in decode_content(line.body).changes:
                blobs += sum(_link(serverdir, folder, address) for address in _named_by(change))
        for file in (entries, summary) if raw else (summary,):
            file.flush()
            os.fsync(file.fileno())
    return blobs


def _private(folder: str, name: str | None) -> BinaryIO:
    """Open a new file that other users cannot read; one that goes nowhere without ``name``."""
    path = os.devnull if name is None else os.path.join(folder, name)
    return open(path, "wb", opener=lambda one, flags: os.open(one, flags, 0o600))


def _named_by(change: Change) -> Iterator[BlobAddress]:
    """Yield the addresses of the blobs that a change names."""
    try:
        if isinstance(change, FileUploaded | FileCached):
            file = blob_address(change.sha256, change.filename)
            yield file
            yield metadata_address(file)
        if isinstance(change, FileUploaded) and change.provenance_sha256 is not None:
            yield provenance_address(change.provenance_sha256, change.filename)
        if isinstance(change, MetadataCached):
            yield metadata_address(blob_address(change.sha256, change.filename))
        if isinstance(change, AttachmentAdded):
            _, three, thirteen, filename = change.path.split("/")
            yield BlobAddress(three + thirteen, filename)
    except (InvalidName, ValueError):
        return  # what has no address was never stored


def _link(serverdir: str, folder: str, address: BlobAddress) -> bool:
    """Link a blob into the folder; return False when there is no such blob, or it is linked already."""
    target = os.path.join(folder, ROOT, address.relative)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    try:
        os.link(os.path.join(serverdir, ROOT, address.relative), target)
    except (FileNotFoundError, FileExistsError):
        return False
    return True


def _link_log(serverdir: str, folder: str) -> None:
    source, target = Layout(serverdir).changelog, os.path.join(folder, "changelog")
    os.makedirs(target)
    for name in os.listdir(source):
        os.link(os.path.join(source, name), os.path.join(target, name))


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
