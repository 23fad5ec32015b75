"""Bringing a file of the primary's to this disk, in as many pieces as it takes."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Final

from twistpi.model.errors import StorageFull
from twistpi.model.following_errors import StrangePrimary
from twistpi.replication.primary import Primary

_SILENCE: Final = 30.0
"""Seconds without a byte after which the connection is given up."""


class NotThere(Exception):
    """The primary has no such file any more."""


async def transfer(
    primary: Primary, path: str, target: str, size: int, received: Callable[[int], object] = lambda _count: None
) -> None:
    """Fetch the first ``size`` bytes at ``path`` into the file ``target``, after what is in it already.

    ``received`` is told how many bytes were written, again and again.  Raise ``PrimaryUnreachable`` when the connection breaks
    (call again: it goes on), ``NotThere``, ``StrangePrimary``, and ``StorageFull`` when nothing can be written.
    """
    descriptor = _open(target)
    try:
        have = told = os.fstat(descriptor).st_size
        if have >= size:
            return
        answer = await primary.ask("GET", path, headers={"Range": f"bytes={have}-{size - 1}"})
        if answer.status == 404:
            answer.discard()
            raise NotThere(path)
        whole = answer.status == 200 and have == 0 and answer.length == size
        if not whole and (answer.status != 206 or answer.length != size - have):
            answer.discard()
            raise StrangePrimary(primary.url, f"it answers {answer.status} where it should hand out a part of a file")

        def written() -> None:
            nonlocal told
            now = os.fstat(descriptor).st_size
            received(now - told)
            told = now

        await answer.write_to(partial(_write, descriptor), written, _SILENCE)
        written()
    except OSError as error:
        raise StorageFull("incoming", os.strerror(error.errno or 0)) from error
    finally:
        os.close(descriptor)


def _write(descriptor: int, pieces: list[bytes]) -> None:
    for piece in pieces:
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(descriptor, rest) :]


def _open(target: str) -> int:
    try:
        return os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageFull(target, os.strerror(error.errno or 0)) from error
