"""Guessing passwords made slow: each wrong one makes the next look at that user from that address wait longer.

The wait comes before the look, and the looks of one user and address stand in line: who guesses through a hundred connections at
once gets no more answers than who guesses through one.  Others, and the same user from elsewhere, notice nothing.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from ipaddress import IPv6Address, ip_address
from typing import Final

import attrs

FREE: Final = 3
"""Wrong passwords without a consequence: people mistype."""
FIRST_WAIT: Final = 0.5
"""Seconds after the first one that has one; doubled with each more."""
LONGEST_WAIT: Final = 8.0
"""Seconds.  Installers give up on an answer after 15."""
FORGOTTEN_AFTER: Final = 900.0
"""Seconds without a wrong password after which all is forgiven."""
_MOST: Final = 10_000
_PREFIX_OF_A_SITE: Final = 64
"""Bits of an IPv6 address that tell one site from another: within them, everybody may take any address."""


@attrs.define
class _Record:
    """What is known of one user and address."""

    looks: int = 0
    """At passwords since the last right one; each counts as wrong until it is found right."""
    next_look: float = 0.0
    """When the one behind all those in line may have a look."""
    forgotten_at: float = 0.0


@attrs.define
class Throttle:
    """Failed logins per user and address.  Times are seconds of any steady clock."""

    most: int = _MOST
    """How many users and addresses are known at most; those looked at longest ago go first."""
    _records: OrderedDict[bytes, _Record] = attrs.field(factory=OrderedDict)

    def reserve(self, user: str, address: str, now: float) -> float | None:
        """The seconds to wait before looking at a password of ``user`` from ``address``, which takes a place in line.

        None when the wait would be longer than ``LONGEST_WAIT``: refuse at once.
        """
        key = _key(user, address)
        record = self._records.get(key)
        if record is None or record.forgotten_at <= now:
            record = self._records[key] = _Record()
        look = max(now, record.next_look)
        if look - now > LONGEST_WAIT:
            return None
        record.looks += 1
        record.next_look = look + _pause(record.looks)
        record.forgotten_at = look + FORGOTTEN_AFTER
        self._records.move_to_end(key)
        self._forget(now)
        return look - now

    def succeeded(self, user: str, address: str) -> None:
        """A password was right: all is forgiven."""
        self._records.pop(_key(user, address), None)

    def __len__(self) -> int:
        return len(self._records)

    def _forget(self, now: float) -> None:
        while len(self._records) > self.most or next(iter(self._records.values())).forgotten_at <= now:
            self._records.popitem(last=False)


def _pause(looks: int) -> float:
    """The seconds between the look of this number and the next one."""
    return 0.0 if looks < FREE else min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(looks - FREE, 30))


def _key(user: str, address: str) -> bytes:
    """Of one size, however long the name that somebody made up."""
    return hashlib.blake2b(f"{user}\0{_site(address)}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _site(address: str) -> str:
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or int(parsed) >> (128 - _PREFIX_OF_A_SITE))
    return str(parsed)
