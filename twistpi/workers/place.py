"""Where the first process answers its workers: a socket in the server directory, or a private folder if that path is too long."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from typing import Final

_NAME: Final = "workers.sock"
_LONGEST: Final = 100
"""Bytes of a socket's path; systems take 104 to 108."""


def place_for_socket(serverdir: str) -> str:
    """The path, at which nothing is: the server directory is this process's alone, so what lies there is left over."""
    path = os.path.join(os.path.abspath(serverdir), _NAME)
    if len(os.fsencode(path)) > _LONGEST:
        path = os.path.join(tempfile.mkdtemp(prefix="twistpi-"), _NAME)
    with suppress(FileNotFoundError):
        os.unlink(path)
    return path


def clear_place(path: str) -> None:
    """Take away what ``place_for_socket`` made; the port at ``path`` is closed."""
    with suppress(OSError):
        os.unlink(path)
    folder = os.path.dirname(path)
    if os.path.basename(folder).startswith("twistpi-"):
        with suppress(OSError):  # a server directory of that name is not empty
            os.rmdir(folder)
