"""Bringing a file of the primary's to this disk, in as many pieces as it takes."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred

from twistpi.model.errors import StorageFull
from twistpi.model.following_errors import PrimaryUnreachable, StrangePrimary
from twistpi.replication.bodies import BodyBroken, BodyReader
from twistpi.replication.primary import Primary

Offload = Callable[..., "Deferred[Any]"]
"""Runs a function in a thread."""
_SILENCE: Final = 30.0
"""Seconds without a byte after which the connection is given up."""


class NotThere(Exception):
    """The primary has no such file any more."""


async def transfer(
    primary: Primary, path: str, target: str, size: int, clock: Any, received: Callable[[int], object] = lambda _count: None
) -> None:
    """Fetch the first ``size`` bytes at ``path`` into the file ``target``, after what is in it already.

    ``received`` is told of every piece how many bytes came.  Raises ``PrimaryUnreachable`` when that breaks off (call again: it
    goes on), ``NotThere``, ``StrangePrimary``, and ``StorageFull`` when nothing can be written.
    """
    descriptor = _open(target)
    try:
        have = os.fstat(descriptor).st_size
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
        await _write(answer.deliver, descriptor, primary.url, clock, received)
    finally:
        os.close(descriptor)


async def _write(
    deliver: Callable[[BodyReader], None], descriptor: int, url: str, clock: Any, received: Callable[[int], object]
) -> None:
    failed: list[OSError] = []

    def write(piece: bytes) -> None:
        try:
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        except OSError as error:
            failed.append(error)
            reader.give_up("it cannot be written")
        else:
            received(len(piece))

    reader = BodyReader(clock, _SILENCE, write)
    deliver(reader)
    try:
        await reader.ended
    except BodyBroken as broken:
        if failed:
            raise StorageFull("incoming", os.strerror(failed[0].errno or 0)) from failed[0]
        raise PrimaryUnreachable(url, str(broken)) from None


def _open(target: str) -> int:
    try:
        return os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageFull(target, os.strerror(error.errno or 0)) from error
