"""Addresses of other servers as they may be shown, and of folders on this disk, ``file:///srv/wheels``.  Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit

FOLDER: Final = "file:///"
"""What the address of a folder, or of a file in it, begins with (RFC 8089); another host's files cannot be read."""


def without_credentials(url: str) -> str:
    """Return ``url`` as it may be shown: without user, password and fragment; empty where they cannot be told from the rest."""
    if "@" not in url and "#" not in url:
        return url
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))


def public_address(url: str) -> str:
    """Return scheme, host and port of an address: all of an upstream's that is shown to everybody.  Any text is accepted.

    Tokens stand in paths and queries, too.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/" if parts.netloc or parts.scheme == "file" else ""


def is_folder_address(url: object) -> bool:
    """Return whether ``url`` is the address of a folder or file on this disk, rather than of a web server."""
    return isinstance(url, str) and url.startswith(FOLDER)


def path_of(url: str) -> str:
    """Return the path that a ``file:`` address names; raise ``ValueError`` for one that is not absolute and plain.

    It is refused with ``..``, a query, a fragment, or characters that cannot be printed: each could be read in two ways.
    """
    path = unquote(url.removeprefix("file://"), errors="surrogateescape")
    if not is_folder_address(url) or "?" in url or "#" in url or not path.isprintable() or path.startswith("//"):
        raise ValueError("it is not the plain address of a folder, as file:///srv/wheels is")
    if ".." in path.split("/"):
        raise ValueError("it has .. in its path")
    return posixpath.normpath(path)


def is_within(path: str, folders: Iterable[str]) -> bool:
    """Return whether ``path`` is one of ``folders`` or lies below one; all are absolute, without ``..`` and links."""
    return any(path == folder or path.startswith(f"{folder.rstrip('/')}/") for folder in folders)
