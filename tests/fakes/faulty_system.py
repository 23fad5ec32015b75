"""The system calls of ``blobs``, recorded, and failing or dying where a test says."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import attrs

from twistpi.blobs.incoming import System

T = TypeVar("T")


class Killed(BaseException):
    """The process ends here."""


@attrs.define
class FaultySystem(System):
    """The real system, which before call number ``at`` (counted from 0) raises ``fault`` instead."""

    at: int = -1
    fault: BaseException | None = None
    dead: bool = False
    """After ``Killed`` nothing is done any more, as in a process that is gone."""
    calls: list[tuple[str, str]] = attrs.field(factory=list)
    """What was called, with the name of the file or folder it was about."""
    _real: System = attrs.field(factory=System, init=False)

    def _do(self, call: str, path: str, work: Callable[[], T]) -> T:
        if self.dead:
            raise Killed
        if len(self.calls) == self.at and self.fault is not None:
            self.calls.append((f"{call} fails", path))
            self.dead = isinstance(self.fault, Killed)
            raise self.fault
        self.calls.append((call, path))
        return work()

    def create(self, path: str) -> int:
        return self._do("create", path, lambda: self._real.create(path))

    def write(self, descriptor: int, data: memoryview) -> int:
        # Short writes happen: at most three bytes at a time.
        return self._do("write", _name(descriptor), lambda: self._real.write(descriptor, data[:3]))

    def sync(self, descriptor: int) -> None:
        self._do("sync", _name(descriptor), lambda: self._real.sync(descriptor))

    def make_folder(self, path: str) -> None:
        self._do("make folder", path, lambda: self._real.make_folder(path))

    def rename(self, source: str, target: str) -> None:
        self._do("rename", target, lambda: self._real.rename(source, target))

    def remove(self, path: str) -> None:
        self._do("remove", path, lambda: self._real.remove(path))

    def touch(self, path: str) -> None:
        self._do("touch", path, lambda: self._real.touch(path))


def _name(descriptor: int) -> str:
    return os.readlink(f"/proc/self/fd/{descriptor}")
