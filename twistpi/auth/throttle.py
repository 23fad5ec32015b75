"""A limit on guessing passwords: after each wrong one, the next check for that user from that address has to wait longer.

The wait is before the check, and the checks of one user and address are queued: guessing over a hundred connections at once is no
faster than over one.  Other users, and the same user at another address, are not affected.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from ipaddress import IPv6Address, ip_address
from typing import Final

import attrs

FREE: Final = 3
"""Wrong passwords without a wait: people mistype."""
FIRST_WAIT: Final = 0.5
"""Seconds; doubled with each further wrong password."""
LONGEST_WAIT: Final = 8.0
"""Seconds.  Installers wait 15 s for an answer."""
FORGOTTEN_AFTER: Final = 900.0
"""Seconds without a wrong password after which all are forgotten."""
_PREFIX_OF_A_SITE: Final = 64
"""Bits of an IPv6 address that identify a site; a site has all addresses with the same prefix."""


@attrs.define
class _Record:
    """The failures of one user and address."""

    checks: int = 0
    """Since the last right password; each counts as wrong until the password turns out to be right."""
    next_check: float = 0.0
    """The earliest time of a check behind all that are queued."""
    forgotten_at: float = 0.0


@attrs.define
class Throttle:
    """Failed logins per user and address.  Times are seconds of any steady clock."""

    most: int = 10_000
    """How many users and addresses are remembered; those checked longest ago are forgotten first."""
    _records: OrderedDict[bytes, _Record] = attrs.field(factory=OrderedDict)

    def reserve(self, user: str, address: str, now: float) -> float | None:
        """Queue a check of a password of ``user`` from ``address``; return the seconds to wait before it.

        None when the wait would be longer than ``LONGEST_WAIT``: then nothing is queued, and the password is to be refused.
        """
        key = _key(user, address)
        record = self._records.get(key)
        if record is None or record.forgotten_at <= now:
            record = self._records[key] = _Record()
        time = max(now, record.next_check)
        if time - now > LONGEST_WAIT:
            return None
        record.checks += 1
        record.next_check = time + _delay(record.checks)
        record.forgotten_at = time + FORGOTTEN_AFTER
        self._records.move_to_end(key)
        self._forget(now)
        return time - now

    def succeeded(self, user: str, address: str) -> None:
        """Forget all failures: a password was right."""
        self._records.pop(_key(user, address), None)

    def __len__(self) -> int:
        return len(self._records)

    def _forget(self, now: float) -> None:
        while len(self._records) > self.most or next(iter(self._records.values())).forgotten_at <= now:
            self._records.popitem(last=False)


def _delay(checks: int) -> float:
    """Return the seconds between the check of this number and the next one."""
    return 0.0 if checks < FREE else min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(checks - FREE, 30))


def _key(user: str, address: str) -> bytes:
    """Return a key of fixed size, however long the name is."""
    return hashlib.blake2b(f"{user}\0{_site(address)}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _site(address: str) -> str:
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or int(parsed) >> (128 - _PREFIX_OF_A_SITE))
    return str(parsed)
