"""Name lists on disk: ``names/{user}/{index}/state.json`` says which folder beside it holds the ready pages.  Blocking.

A new list is made in a folder of its own and becomes the list when ``state.json`` is replaced, so a crash leaves the old one.
The folder before the newest stays until the next list comes, for those who are reading it.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import shutil
import tempfile
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

import attrs

from twistpi.model.names import IndexName

_STATE: Final = "state.json"
_FOLDER: Final = "list-"


@attrs.frozen
class StoredNames:
    """A name list that is ready to be served."""

    folder: str
    """Holds ``page.json``, ``page.json.gz``, ``page.html``, ``page.html.gz`` and ``names.txt``."""
    count: int
    etags: Mapping[str, str]
    """File name -> its strong entity tag, quoted."""
    source: str
    """The upstream's address, without credentials."""
    checked_at: float
    """Unix seconds: when the upstream last confirmed it."""
    etag: str | None = None
    """The upstream's."""
    last_modified: str | None = None
    """The upstream's."""


def home_of(root: str, index: str) -> str:
    """The folder for the lists of ``index`` below ``root``, whatever characters its name has."""
    name = IndexName.parse(index)
    return os.path.join(root, _component(name.user), _component(name.name))


def _component(name: str) -> str:
    quoted = quote(name, safe="")
    return f"%2E{quoted[1:]}" if quoted.startswith(".") else quoted


def load(home: str) -> StoredNames | None:
    """The list in ``home``; None when there is none, or none that can be read."""
    try:
        with open(os.path.join(home, _STATE), encoding="utf-8") as file:
            fields = json.load(file)
        stored = StoredNames(**{**fields, "folder": os.path.join(home, fields["folder"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return stored if os.path.exists(os.path.join(stored.folder, "page.json")) else None


def new_folder(home: str) -> str:
    """A folder for a list that is being made."""
    os.makedirs(home, exist_ok=True)
    return tempfile.mkdtemp(prefix=_FOLDER, dir=home)


def save(home: str, stored: StoredNames) -> None:
    """From now on ``stored`` is the list."""
    fields = {**attrs.asdict(stored), "folder": os.path.basename(stored.folder)}
    path = os.path.join(home, _STATE)
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        json.dump(fields, file)
    os.replace(f"{path}.new", path)


def remove(home: str, keep: frozenset[str]) -> None:
    """There is no list in ``home`` any more; folders in ``keep`` (paths), which others work in, stay."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(home, _STATE))
    sweep(home, keep)
    with contextlib.suppress(OSError):  # not empty, or never made
        os.rmdir(home)


def sweep(home: str, keep: frozenset[str]) -> None:
    """Remove the folders of lists that are not in ``keep`` (paths)."""
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(home):
            if entry.name.startswith(_FOLDER) and entry.path not in keep:
                shutil.rmtree(entry.path, ignore_errors=True)


def search_names(folder: str, text: str, limit: int = 1000) -> list[str]:
    """Up to ``limit`` names of the list in ``folder`` that contain ``text``, in alphabetical order.

    Case, and which of ``-``, ``_`` and ``.`` is meant, make no difference.
    """
    wanted = text.lower().replace("_", "-").replace(".", "-").encode()
    path = os.path.join(folder, "names.txt")
    if not wanted or b"\n" in wanted or os.path.getsize(path) == 0:
        return []
    found: list[str] = []
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as names:
        position = names.find(wanted)
        while position >= 0 and len(found) < limit:
            start, end = names.rfind(b"\n", 0, position) + 1, names.find(b"\n", position)
            found.append(names[start:end].decode("ascii"))
            position = names.find(wanted, end)
    return found
