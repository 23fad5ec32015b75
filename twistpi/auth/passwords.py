"""Passwords: hashed and verified with bcrypt (slow: to be called in a thread), and a limit on guessing them.

Users that came from a devpi-server have Argon2 hashes (RFC 9106), which are verified too, until a hash of ours replaces them.

The limit: after each wrong password, the next check for that user from that address waits longer.  The wait is before the check,
and the checks of one user and address are queued: guessing over a hundred connections at once is no faster than over one.  The
same user at another address is not affected, nor are other users, until passwords of many users were wrong from one address: then
each further check from there waits, but for users whose password was right there before.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections import OrderedDict
from ipaddress import IPv6Address, ip_address
from typing import Final

import argon2
import attrs
import bcrypt

BLANK: Final = ""
"""The hash of the blank password; a user without a hash (None) cannot log in."""
CHEAPEST, DEAREST = 4, 18
"""The accepted costs: each step doubles the time of a check; 12 takes about a quarter of a second."""

_HASH = re.compile(r"\$bcrypt-sha256\$v=2,t=2b,r=(\d{1,2})\$([./A-Za-z0-9]{22})\$([./A-Za-z0-9]{31})\Z", re.ASCII)
_ARGON2 = re.compile(
    r"\$argon2(?:id|i|d)\$v=19\$m=(\d{1,7}),t=(\d{1,3}),p=(\d{1,3})\$[A-Za-z0-9+/]{11,88}\$[A-Za-z0-9+/]{16,172}\Z", re.ASCII
)
_MOST_MEMORY, _MOST_PASSES, _MOST_LANES = 1024 * 1024, 64, 64
"""Of an Argon2 hash, the memory in KiB: devpi-server's take 64 MiB, three passes and four lanes."""


def hash_password(password: str, cost: int, salt: bytes | None = None) -> str:
    """Return the hash of ``password``; ``BLANK`` for the blank one.

    ``cost`` is the binary logarithm of bcrypt's rounds.  ``salt`` is made by ``bcrypt.gensalt``, a new one by default.
    """
    if not password:
        return BLANK
    setup = bcrypt.gensalt(cost) if salt is None else salt
    rounds, salt_text = setup.decode("ascii").split("$")[2:]
    whole = bcrypt.hashpw(_condensed(password, salt_text), setup).decode("ascii")
    return f"$bcrypt-sha256$v=2,t=2b,r={int(rounds)}${salt_text}${whole[-31:]}"


def verify_password(password: str, password_hash: str | None) -> bool:
    """Whether ``password_hash`` is the hash of ``password``.  The blank password matches only ``BLANK``."""
    if not password_hash or not password:
        return password_hash == BLANK and not password
    if is_argon2_hash(password_hash):
        return _verify_argon2(password, password_hash)
    match = _HASH.match(password_hash)
    if match is None or not is_password_hash(password_hash):
        return False
    cost, salt_text, digest = match.groups()
    made = bcrypt.hashpw(_condensed(password, salt_text), f"$2b${int(cost):02}${salt_text}".encode("ascii"))
    return hmac.compare_digest(made[-31:], digest.encode("ascii"))


def is_password_hash(text: str) -> bool:
    """Whether ``text`` is a hash of ``hash_password``, of a password that is not blank, with an accepted cost."""
    match = _HASH.match(text)
    return match is not None and CHEAPEST <= int(match[1]) <= DEAREST


def is_argon2_hash(text: str) -> bool:
    """Whether ``text`` is an Argon2 hash in its usual form, whose verification takes a bearable time and at most 1 GiB."""
    match = _ARGON2.match(text)
    if match is None:
        return False
    memory, passes, lanes = map(int, match.groups())
    return memory <= _MOST_MEMORY and 1 <= passes <= _MOST_PASSES and 1 <= lanes <= _MOST_LANES


def _verify_argon2(password: str, password_hash: str) -> bool:
    try:
        return argon2.PasswordHasher().verify(password_hash, password.encode("utf-8", "surrogatepass"))
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHash):
        return False


def _condensed(password: str, salt_text: str) -> bytes:
    """Return 44 bytes, none of them zero, that depend on all of the password: bcrypt reads 72 bytes at most."""
    # Lone surrogates cannot come in a request, and must not raise when they come from elsewhere.
    content = password.encode("utf-8", "surrogatepass")
    return base64.b64encode(hmac.digest(salt_text.encode("ascii"), content, hashlib.sha256))


@attrs.define
class Remembered:
    """Digests of verified passwords, the longest unused first."""

    _key: bytes
    """32 random bytes."""
    seconds: float = 60.0
    """For how long a digest is remembered after its last use."""
    most: int = 4096
    """How many digests are remembered; the longest unused ones are forgotten first."""
    _until: OrderedDict[bytes, float] = attrs.field(factory=OrderedDict)
    """When each is forgotten, by the clock of the caller."""

    def digest(self, user: str, password: str, password_hash: str) -> bytes:
        """Return the digest of a password of ``user``, whose hash is ``password_hash``."""
        parts = [part.encode("utf-8", "surrogatepass") for part in (user, password_hash, password)]
        message = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        return hmac.digest(self._key, message, "sha256")

    def knows(self, digest: bytes, now: float) -> bool:
        """Whether the password was verified lately; if so it is remembered anew from ``now``, in seconds of any steady clock."""
        until = self._until.get(digest)
        if until is None:
            return False
        if until <= now:
            del self._until[digest]
            return False
        self.add(digest, now)
        return True

    def add(self, digest: bytes, now: float) -> None:
        """Remember a password that was verified."""
        self._until[digest] = now + self.seconds
        self._until.move_to_end(digest)
        while self._until and (len(self._until) > self.most or next(iter(self._until.values())) <= now):
            self._until.popitem(last=False)

    def __len__(self) -> int:
        return len(self._until)


# Limit on guessing ---------------------------------------------------------------------------------------------------


FREE: Final = 3
"""Wrong passwords without a wait: people mistype."""
FIRST_WAIT: Final = 0.5
"""Seconds; doubled with each further wrong password."""
LONGEST_WAIT: Final = 8.0
"""Seconds.  Installers wait 15 s for an answer."""
FORGOTTEN_AFTER: Final = 900.0
"""Seconds without a wrong password after which all are forgotten."""
FREE_USERS: Final = 10
"""Users whose passwords may be wrong at the same address without a wait: many people may share one."""
_MOST_USERS: Final = 100
"""Users who are remembered for one address."""
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
class _Site:
    """The failures of all users at one address."""

    failing: OrderedDict[bytes, float] = attrs.field(factory=OrderedDict)
    """The key of each user with wrong passwords, and when it is forgotten; the longest unused first."""
    next_check: float = 0.0
    """The earliest time of a check behind all that are queued, where there are too many such users."""


@attrs.define
class Throttle:
    """Failed logins per user and address, and per address.  Times are seconds of any steady clock."""

    most: int = 10_000
    """How many users and addresses are remembered; those checked longest ago are forgotten first."""
    _records: OrderedDict[bytes, _Record] = attrs.field(factory=OrderedDict)
    _sites: OrderedDict[bytes, _Site] = attrs.field(factory=OrderedDict)
    _known: OrderedDict[bytes, None] = attrs.field(factory=OrderedDict)
    """Users and addresses whose password was right."""

    def reserve(self, user: str, address: str, now: float) -> float | None:
        """Queue a check of a password of ``user`` from ``address``; return the seconds to wait before it.

        None when the wait would be longer than ``LONGEST_WAIT``: then nothing is queued, and the password is to be refused.
        """
        key = _key(user, address)
        record = self._records.get(key)
        if record is None or record.forgotten_at <= now:
            record = _Record()
        site = self._site(address, now)
        others = len(site.failing) - (key in site.failing)
        is_slowed = others >= FREE_USERS and key not in self._known
        time = max(now, record.next_check, site.next_check if is_slowed else 0.0)
        if time - now > LONGEST_WAIT:
            return None
        record.checks += 1
        record.next_check = time + _delay(record.checks)
        record.forgotten_at = time + FORGOTTEN_AFTER
        self._records[key] = record
        self._records.move_to_end(key)
        if is_slowed:
            site.next_check = time + _delay(FREE + others - FREE_USERS)
        site.failing[key] = record.forgotten_at
        site.failing.move_to_end(key)
        if len(site.failing) > _MOST_USERS:
            site.failing.popitem(last=False)
        self._forget(now)
        return time - now

    def succeeded(self, user: str, address: str) -> None:
        """Forget all failures of ``user`` at ``address``: a password was right."""
        key = _key(user, address)
        self._records.pop(key, None)
        if (site := self._sites.get(_key("", address))) is not None:
            site.failing.pop(key, None)
        self._known[key] = None
        self._known.move_to_end(key)
        if len(self._known) > self.most:
            self._known.popitem(last=False)

    def __len__(self) -> int:
        return len(self._records)

    def _site(self, address: str, now: float) -> _Site:
        key = _key("", address)
        site = self._sites.setdefault(key, _Site())
        self._sites.move_to_end(key)
        if len(self._sites) > self.most:
            self._sites.popitem(last=False)
        while site.failing and next(iter(site.failing.values())) <= now:
            site.failing.popitem(last=False)
        return site

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
