"""The secret of a server directory: read from its file, which nobody else may be able to read."""

from __future__ import annotations

import os
import stat
from typing import Final

from twistpi.model.errors import TwistpiError
from twistpi.server.directory import Layout

SHORTEST: Final = 32
"""Bytes."""
_FEWEST_DIFFERENT: Final = 6


def secret_in(content: bytes) -> bytes:
    """The secret in a file's content: all but the line's end, which editors add."""
    return content.rstrip(b"\r\n")


def what_is_wrong(content: bytes, file_mode: int, folder_mode: int | None) -> str | None:
    """Why a file is not fit to hold the secret, with what to do; None when it is.

    The modes are ``st_mode`` of the file and of its folder, None for a folder that is the server directory itself: whoever may
    write there needs no secret.
    """
    if not stat.S_ISREG(file_mode):
        return "it is not a file"
    if file_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return f"others than its owner can use it (mode {stat.S_IMODE(file_mode):04o}); chmod 600 it"
    if folder_mode is not None and folder_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mode = f"{stat.S_IMODE(folder_mode):04o}"
        return f"others than its owner can write to its folder (mode {mode}) and so replace it; chmod go-w that"
    secret = secret_in(content)
    if len(secret) < SHORTEST:
        return f"it holds {len(secret)} bytes, and {SHORTEST} are needed; write that many random ones to it"
    if len(set(secret)) < _FEWEST_DIFFERENT:
        return f"it holds fewer than {_FEWEST_DIFFERENT} different bytes; write random ones to it"
    return None


_LONGEST_SECRET = 64 * 1024


def read_secret(serverdir: str, secretfile: str | None) -> bytes:
    """What signs the login tokens of the server directory ``serverdir``: out of ``secretfile``, or its own secret.

    Raises ``TwistpiError`` for a file that is missing, or that is not secret.
    """
    path = Layout(serverdir).secret if secretfile is None else secretfile
    try:
        # Whatever it is, opening it does not wait.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            mode = os.fstat(descriptor).st_mode
            content = os.read(descriptor, _LONGEST_SECRET) if stat.S_ISREG(mode) else b""
        finally:
            os.close(descriptor)
        folder_mode = None if secretfile is None else os.stat(os.path.dirname(os.path.abspath(path))).st_mode
    except OSError as error:
        raise TwistpiError(f"The secret file {path} cannot be used: {error.strerror!s}.") from None
    wrong = what_is_wrong(content, mode, folder_mode)
    if wrong is not None:
        raise TwistpiError(f"The secret file {path} cannot be used: {wrong}.")
    return secret_in(content)
