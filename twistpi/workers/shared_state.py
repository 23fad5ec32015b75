"""Memory that the first process and its workers share: the serial that counts now, what was touched lately, who does how much.

The first process writes on the board what an entry touched, then moves its serial, and only then answers who made the entry.  A
worker compares serials before it looks at a request (forty billionths of a second), and reads what it missed.  So whoever was
told of a change sees it, whichever worker he asks next.

::

    0      serial          the last entry that is announced
    8      written         bytes that were ever written to the ring
    64     slots           64 bytes for each worker
    16 Ki  ring            1 MiB: records, around and around

A record is its length, its CRC-32 and a JSON list: the serial and what it touched.  Whoever comes too late, and finds that what
he missed is overwritten, forgets everything he has in memory.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
import zlib
from collections.abc import Iterable, Sequence
from typing import Final

import attrs
import orjson

from twistpi.web.fast.invalidation import Invalidation, InvalidationKind

MOST_WORKERS: Final = 128
_SLOTS: Final = 64
_SLOT_SIZE: Final = 64
_RING: Final = 16 * 1024
_RING_SIZE: Final = 1024 * 1024
_LONGEST: Final = _RING_SIZE // 4
"""Bytes of a record; an entry that touches more touches everything."""
_SIZE: Final = _RING + _RING_SIZE
_FRAME: Final = struct.Struct("<II")
_SERIAL, _WRITTEN = 0, 1
"""Words of 8 bytes."""


class Slot:
    """The words of a worker's slot."""

    ALIVE: Final = 0
    """1 while it serves."""
    CONNECTIONS: Final = 1
    """That it holds open."""
    ANSWERED: Final = 2
    """Requests, so far."""
    PASSED_ON: Final = 3
    """Those among them that the first process answered."""
    PAGES: Final = 4
    """In its page cache."""
    PAGE_BYTES: Final = 5
    """Of these pages."""


@attrs.frozen
class News:
    """What a worker missed."""

    serial: int
    """What the view shows at least."""
    invalidations: Sequence[Invalidation] | None
    """None when it may be anything."""


class SharedState:
    """The shared memory; one process writes the ring, each worker its own slot."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        """Of the memory, for a process that is to share it."""
        self._memory = mmap.mmap(descriptor, _SIZE)
        self._words = memoryview(self._memory)[:_RING].cast("Q")
        self._read = self._words[_WRITTEN]
        """How far this process has read the ring."""
        self._known = self._words[_SERIAL]
        """The serial up to which it has heard of everything."""

    @classmethod
    def make(cls) -> SharedState:
        """An empty one."""
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("twistpi workers", os.MFD_CLOEXEC)
        else:
            descriptor, path = tempfile.mkstemp(prefix="twistpi-")
            os.unlink(path)
        os.ftruncate(descriptor, _SIZE)
        return cls(descriptor)

    def close(self) -> None:
        """Give the memory back."""
        self._words.release()
        self._memory.close()
        os.close(self.descriptor)

    @property
    def serial(self) -> int:
        """The last serial that was announced."""
        return self._words[_SERIAL]

    # The first process ---------------------------------------------------------------------------------------------

    def announce(self, serial: int, invalidations: Iterable[Invalidation]) -> None:
        """Readers of the view see the entry ``serial``, which touched ``touches``."""
        told = [[int(touch.kind), touch.index, touch.project] for touch in dict.fromkeys(invalidations)]
        if told:
            record = orjson.dumps([serial, told])
            self._write(record if len(record) <= _LONGEST else orjson.dumps([serial, None]))
        self._words[_SERIAL] = serial

    def begin(self, serial: int) -> None:
        """The view shows ``serial``, and workers that are to start know nothing of before."""
        self._words[_SERIAL] = serial

    def clear_slot(self, number: int) -> None:
        """The worker ``number`` (from 1) is gone."""
        first = (_SLOTS + number * _SLOT_SIZE) // 8
        for word in range(_SLOT_SIZE // 8):
            self._words[first + word] = 0

    def _write(self, record: bytes) -> None:
        written = self._words[_WRITTEN]
        data = _FRAME.pack(len(record), zlib.crc32(record)) + record
        start = written % _RING_SIZE
        first = data[: _RING_SIZE - start]
        self._memory[_RING + start : _RING + start + len(first)] = first
        rest = data[len(first) :]
        self._memory[_RING : _RING + len(rest)] = rest
        self._words[_WRITTEN] = written + len(data)

    # Workers -------------------------------------------------------------------------------------------------------

    def news(self) -> News | None:
        """What was announced since this was last asked; None for nothing."""
        serial = self._words[_SERIAL]
        if serial == self._known:
            return None
        self._known = serial
        written, since = self._words[_WRITTEN], self._read
        self._read = written
        if written - since > _RING_SIZE // 2:
            return News(serial, None)
        data = self._copy(since, written)
        if self._words[_WRITTEN] - since > _RING_SIZE:  # overwritten while it was copied
            return News(serial, None)
        return self._understood(serial, data)

    def tell(self, number: int, word: int, value: int) -> None:
        """Say something of the worker ``number``: ``word`` is one of ``Slot``."""
        self._words[(_SLOTS + number * _SLOT_SIZE) // 8 + word] = value

    def told(self, number: int, word: int) -> int:
        """What the worker ``number`` said last; 0 when it is gone."""
        return self._words[(_SLOTS + number * _SLOT_SIZE) // 8 + word]

    def _copy(self, since: int, until: int) -> bytes:
        start, size = since % _RING_SIZE, until - since
        first = self._memory[_RING + start : _RING + min(start + size, _RING_SIZE)]
        return first + self._memory[_RING : _RING + size - len(first)]

    def _understood(self, serial: int, data: bytes) -> News:
        invalidations: list[Invalidation] = []
        while data:
            length, check = _FRAME.unpack_from(data)
            record, data = data[_FRAME.size : _FRAME.size + length], data[_FRAME.size + length :]
            if zlib.crc32(record) != check:
                return News(serial, None)
            seen, told = orjson.loads(record)
            serial = max(serial, seen)
            if told is None:
                return News(serial, None)
            invalidations += [Invalidation(InvalidationKind(kind), index, project) for kind, index, project in told]
        return News(serial, invalidations)
