"""What a file must be to hold the secret that signs login tokens; whoever knows the secret can be anybody."""

from __future__ import annotations

import stat
from typing import Final

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
