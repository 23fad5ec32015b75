"""Memory that the first process and its workers share: the announced serial, recent invalidations, and counters of each worker.

The first process writes into the ring what an entry made invalid, then moves the serial, and only then answers the request that
caused the entry.  A worker compares serials before it looks at a request (40 ns) and reads what it missed.  So a client that was
told of a change sees it at every worker.

::

    0      serial          the last entry that was announced
    8      written         bytes written to the ring so far; grows without the serial when advisories change
    64     slots           64 bytes for each worker
    16 Ki  ring            1 MiB of records, written around and around

A record is its length, its CRC-32 and a JSON list: the serial and the invalidations.  A worker that finds what it missed
overwritten drops its whole cache.
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

from twistpi.web.pages import Invalidation, InvalidationKind

_SLOTS: Final = 64
_SLOT_SIZE: Final = 64
_RING: Final = 16 * 1024
_RING_SIZE: Final = 1024 * 1024
_LONGEST: Final = _RING_SIZE // 4
"""Bytes of a record.  An entry with more invalidations invalidates everything."""
_SIZE: Final = _RING + _RING_SIZE
_FRAME: Final = struct.Struct("<II")
_SERIAL, _WRITTEN = 0, 1
"""Their places, in words of 8 bytes."""


class Slot:
    """The words in a worker's slot."""

    ALIVE: Final = 0
    """1 while it accepts connections."""
    CONNECTIONS: Final = 1
    """Open connections of clients."""
    ANSWERED: Final = 2
    """Requests so far."""
    PASSED_ON: Final = 3
    """Requests among them that the first process answered."""
    PAGES: Final = 4
    """Pages in its cache."""
    PAGE_BYTES: Final = 5
    """Bytes of these pages."""


@attrs.frozen
class Announced:
    """What was announced to a worker since it last asked."""

    serial: int
    """The view has at least this entry."""
    invalidations: Sequence[Invalidation] | None
    """None for everything."""


class SharedState:
    """The shared memory.  One process writes the serial and the ring, each worker its own slot."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        """The memory's descriptor, for a process that is to share it."""
        self._memory = mmap.mmap(descriptor, _SIZE)
        self._words = memoryview(self._memory)[:_RING].cast("Q")
        self._read = self._words[_WRITTEN]
        """How far this process has read the ring."""
        self._known = self._words[_SERIAL]
        """The serial up to which this process has read everything."""

    @classmethod
    def make(cls) -> SharedState:
        """Make an empty one."""
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("twistpi workers", os.MFD_CLOEXEC)
        else:
            descriptor, path = tempfile.mkstemp(prefix="twistpi-")
            os.unlink(path)
        os.ftruncate(descriptor, _SIZE)
        return cls(descriptor)

    def close(self) -> None:
        """Release the memory."""
        self._words.release()
        self._memory.close()
        os.close(self.descriptor)

    @property
    def serial(self) -> int:
        """The last serial that was announced."""
        return self._words[_SERIAL]

    # The first process ---------------------------------------------------------------------------------------------

    def announce(self, serial: int, invalidations: Iterable[Invalidation]) -> None:
        """Tell workers of the entry ``serial``, which readers of the view see, and what it made invalid."""
        found = [[int(one.kind), one.index, one.project] for one in dict.fromkeys(invalidations)]
        if found:
            record = orjson.dumps([serial, found])
            self._write(record if len(record) <= _LONGEST else orjson.dumps([serial, None]))
        self._words[_SERIAL] = serial

    def begin(self, serial: int) -> None:
        """Set the serial without an announcement: no worker has started yet."""
        self._words[_SERIAL] = serial

    def clear_slot(self, number: int) -> None:
        """Forget the counters of the worker ``number`` (from 1), which has ended."""
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

    def announced(self) -> Announced | None:
        """Return what was announced since the last call; None for nothing."""
        serial, written, since = self._words[_SERIAL], self._words[_WRITTEN], self._read
        if serial == self._known and written == since:
            return None
        self._known = serial
        self._read = written
        if written - since > _RING_SIZE // 2:
            return Announced(serial, None)
        data = self._copy(since, written)
        if self._words[_WRITTEN] - since > _RING_SIZE:  # overwritten while it was copied
            return Announced(serial, None)
        return self._parse(serial, data)

    def set(self, number: int, word: int, value: int) -> None:
        """Set a word, one of ``Slot``, of the worker ``number``."""
        self._words[(_SLOTS + number * _SLOT_SIZE) // 8 + word] = value

    def get(self, number: int, word: int) -> int:
        """Return a word of the worker ``number``; 0 when it has ended."""
        return self._words[(_SLOTS + number * _SLOT_SIZE) // 8 + word]

    def _copy(self, since: int, until: int) -> bytes:
        start, size = since % _RING_SIZE, until - since
        first = self._memory[_RING + start : _RING + min(start + size, _RING_SIZE)]
        return first + self._memory[_RING : _RING + size - len(first)]

    def _parse(self, serial: int, data: bytes) -> Announced:
        invalidations: list[Invalidation] = []
        while data:
            length, check = _FRAME.unpack_from(data)
            record, data = data[_FRAME.size : _FRAME.size + length], data[_FRAME.size + length :]
            if zlib.crc32(record) != check:
                return Announced(serial, None)
            seen, found = orjson.loads(record)
            serial = max(serial, seen)
            if found is None:
                return Announced(serial, None)
            invalidations += [Invalidation(InvalidationKind(kind), index, project) for kind, index, project in found]
        return Announced(serial, invalidations)
