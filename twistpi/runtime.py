"""What a server process asks of its interpreter and allocator: few collections, and memory given back."""

from __future__ import annotations

import ctypes
import gc

_ARENA_MAX, _TRIM_THRESHOLD, _MMAP_THRESHOLD = -8, -1, -3
"""Of glibc's ``mallopt``."""
_KEPT_FREE = 4 * 1024 * 1024
"""Bytes at the end of the heap that are not given back."""
_MAPPED_ALONE = 1280 * 1024
"""Bytes from which on a block is mapped by itself, and so given back when it is freed, whatever was freed before.  Reads from
sockets are smaller (``mirror/spool.py``): to map, clear and unmap each would cost as much as the read."""


def ease_collecting() -> None:
    """Spare the garbage collector what it need not look at again and again; halves the time a page of 4,000 files takes."""
    gc.freeze()  # what was loaded until now stays
    gc.set_threshold(20_000, 20, 50)


def give_memory_back() -> None:
    """Have freed memory returned to the system, where the C library is glibc.

    Pages of thousands of files are built in threads; an arena for each would keep the peak of each.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in ((_ARENA_MAX, 1), (_TRIM_THRESHOLD, _KEPT_FREE), (_MMAP_THRESHOLD, _MAPPED_ALONE)):
            mallopt(parameter, value)
