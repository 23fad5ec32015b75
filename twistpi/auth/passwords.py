"""Passwords: hashed and verified with bcrypt (slow: to be called in a thread); right ones are remembered for a minute."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections import OrderedDict
from typing import Final

import attrs
import bcrypt

BLANK: Final = ""
"""The hash of the blank password; a user without a hash (None) cannot log in."""
CHEAPEST, DEAREST = 4, 18
"""The accepted costs: each step doubles the time of a check; 12 takes about a quarter of a second."""

_HASH = re.compile(r"\$bcrypt-sha256\$v=2,t=2b,r=(\d{1,2})\$([./A-Za-z0-9]{22})\$([./A-Za-z0-9]{31})\Z", re.ASCII)


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
