"""Finds all blobs below a folder, in order, some folders ahead of its reader.

A folder of blobs holds about one blob for each of its innermost folders, so most of the time is spent in waiting for a disk.
Threads look at the next outer folders meanwhile.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeAlias

from twistpi.blobs.address import BlobAddress
from twistpi.model.errors import InvalidName

Found: TypeAlias = tuple[BlobAddress, int] | str
"""A blob with its size in bytes, or the path below the folder of blobs of what is none."""

_OUTER: Final = re.compile(r"[0-9a-f]{3}\Z")
_INNER: Final = re.compile(r"[0-9a-f]{13}\Z")
_THREADS: Final = 2
_AHEAD: Final = 4
"""Outer folders that are looked at before they are asked for: a thousand blobs of a million."""


def scan(root: str) -> Iterator[Found]:
    """Each blob below the folder ``root`` with its size, and the path of everything else there, ordered by name.

    A symbolic link is never a blob, and other folders are not searched.  What disappears meanwhile is passed over.
    """
    ahead: deque[Future[list[Found]]] = deque()
    with ThreadPoolExecutor(_THREADS, "blobs") as threads:
        try:
            for entry in _entries(root):
                ahead.append(threads.submit(_scan_outer, entry))
                if len(ahead) > _AHEAD:
                    yield from ahead.popleft().result()
            while ahead:
                yield from ahead.popleft().result()
        finally:
            threads.shutdown(cancel_futures=True)


def _entries(path: str) -> list[os.DirEntry[str]]:
    """What is in the folder ``path``, ordered by name; nothing if it is gone."""
    try:
        with os.scandir(path) as found:
            entries = list(found)
    except FileNotFoundError:
        return []
    if len(entries) > 1:
        entries.sort(key=lambda entry: entry.name)
    return entries


def _scan_outer(outer: os.DirEntry[str]) -> list[Found]:
    """What is below a folder ``ab1``."""
    if not _OUTER.match(outer.name) or not outer.is_dir(follow_symlinks=False):
        return [outer.name]
    found: list[Found] = []
    for inner in _entries(outer.path):
        if _INNER.match(inner.name) and inner.is_dir(follow_symlinks=False):
            found += _scan_inner(inner, outer.name)
        else:
            found.append(f"{outer.name}/{inner.name}")
    return found


def _scan_inner(inner: os.DirEntry[str], outer: str) -> Iterator[Found]:
    """What is in a folder ``2cd34ef567890``."""
    for entry in _entries(inner.path):
        if entry.is_file(follow_symlinks=False):
            try:
                yield BlobAddress(outer + inner.name, entry.name), entry.stat(follow_symlinks=False).st_size
                continue
            except FileNotFoundError:
                continue
            except InvalidName:
                pass
        yield f"{outer}/{inner.name}/{entry.name}"
