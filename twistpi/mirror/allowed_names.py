"""The names in a mirror's list that allow lists name: found by bisection, so that the time is that of the result.

A list is a file with a name in each line, in order; it may have 730,000 of them.  Blocking.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Generator, Iterator, Sequence

from twistpi.rules.requirements import RequirementList


def allowed_names(path: str, allow: Sequence[RequirementList]) -> Generator[str, None, None]:
    """Yield the names in the file ``path`` that each list of ``allow``, of which there is one at least, names in any version."""
    first, *others = allow
    for name in _named(path, first):
        if all(any(other.naming(name)) for other in others):
            yield name


def _named(path: str, allow: RequirementList) -> Iterator[str]:
    wanted = sorted([*((name, False) for name in allow.by_name), *((one.name, True) for one in allow.prefixes)])
    if not os.path.getsize(path):
        return
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as lines:
        after = 0
        for text, is_prefix in wanted:
            key = text.encode("ascii", "replace")
            after = _first_from(lines, key, after)
            while after < len(lines):
                end = _end_of(lines, after)
                name = lines[after:end]
                if name != key and not (is_prefix and name.startswith(key)):
                    break
                yield name.decode("ascii")
                after = end + 1


def _first_from(lines: mmap.mmap, key: bytes, low: int) -> int:
    """Return where the first line that is not below ``key`` begins, from the beginning of a line at ``low`` on."""
    high = len(lines)
    while low < high:
        start = max(low, lines.rfind(b"\n", low, (low + high) // 2) + 1)
        end = _end_of(lines, start)
        if lines[start:end] < key:
            low = end + 1
        else:
            high = start
    return low


def _end_of(lines: mmap.mmap, start: int) -> int:
    found = lines.find(b"\n", start)
    return len(lines) if found < 0 else found
