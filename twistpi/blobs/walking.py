"""Everything that lies in a tree of blobs, told apart: blobs and strangers."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Final

from twistpi.blobs.address import BlobAddress
from twistpi.model.errors import InvalidFilename

_LEVELS: Final = (re.compile(r"[0-9a-f]{3}\Z"), re.compile(r"[0-9a-f]{13}\Z"))
"""What the folders of the two levels are called."""


def look_around(root: str, digits: str = "", below: str = "") -> Iterator[tuple[BlobAddress, int] | str]:
    """Each blob below the folder ``root`` with its size, and the path of everything else there, ordered by name.

    A symbolic link is never a blob, and nothing below a stranger is looked at.  What disappears meanwhile is passed over.
    """
    level = (0, 3, 16).index(len(digits))
    for entry in _sorted_entries(os.path.join(root, below)):
        path = os.path.join(below, entry.name)
        if level < 2 and _LEVELS[level].match(entry.name) and entry.is_dir(follow_symlinks=False):
            yield from look_around(root, digits + entry.name, path)
        elif level == 2 and entry.is_file(follow_symlinks=False):
            try:
                yield BlobAddress(digits, entry.name), entry.stat(follow_symlinks=False).st_size
            except InvalidFilename:
                yield path
            except FileNotFoundError:
                continue
        else:
            yield path


def _sorted_entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []
