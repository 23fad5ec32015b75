"""Passwords: hashed and verified with bcrypt (slow: call them in a thread), and verified pairs remembered for a minute."""

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
"""What is kept of the blank password; None is kept of a user who cannot log in."""
CHEAPEST, DEAREST = 4, 18
"""The costs that are accepted: each step doubles the time a check takes, 12 takes about a quarter of a second."""

_HASH = re.compile(r"\$bcrypt-sha256\$v=2,t=2b,r=(\d{1,2})\$([./A-Za-z0-9]{22})\$([./A-Za-z0-9]{31})\Z", re.ASCII)


def hash_password(password: str, cost: int, salt: bytes | None = None) -> str:
    """What is to be kept of ``password``; blank for the blank one.

    ``cost`` is bcrypt's: the binary logarithm of its rounds.  ``salt`` is what ``bcrypt.gensalt`` makes, a new one when left out.
    """
    if not password:
        return BLANK
    setup = bcrypt.gensalt(cost) if salt is None else salt
    rounds, salt_text = setup.decode("ascii").split("$")[2:]
    whole = bcrypt.hashpw(_condensed(password, salt_text), setup).decode("ascii")
    return f"$bcrypt-sha256$v=2,t=2b,r={int(rounds)}${salt_text}${whole[-31:]}"


def verify_password(password: str, password_hash: str | None) -> bool:
    """Whether ``password`` is the one ``password_hash`` was made of.  The blank one matches only the blank hash."""
    if not password_hash or not password:
        return password_hash == BLANK and not password
    match = _HASH.match(password_hash)
    if match is None or not is_password_hash(password_hash):
        return False
    cost, salt_text, digest = match.groups()
    made = bcrypt.hashpw(_condensed(password, salt_text), f"$2b${int(cost):02}${salt_text}".encode("ascii"))
    return hmac.compare_digest(made[-31:], digest.encode("ascii"))


def is_password_hash(text: str) -> bool:
    """Whether ``text`` is something ``hash_password`` makes of a password that is not blank, with a cost that is bearable."""
    match = _HASH.match(text)
    return match is not None and CHEAPEST <= int(match[1]) <= DEAREST


def _condensed(password: str, salt_text: str) -> bytes:
    """All of the password in 44 bytes without a zero among them."""
    # Lone surrogates cannot come from a request, and must not end in a surprise when they come from elsewhere.
    content = password.encode("utf-8", "surrogatepass")
    return base64.b64encode(hmac.digest(salt_text.encode("ascii"), content, hashlib.sha256))


_SECONDS: Final = 60.0
_MOST: Final = 4096


@attrs.define
class Remembered:
    """Digests of verified pairs, the longest unused first."""

    _key: bytes
    """32 random bytes."""
    seconds: float = _SECONDS
    """For how long a pair is remembered after it was used."""
    most: int = _MOST
    """How many pairs are remembered at most; the longest unused ones go first."""
    _until: OrderedDict[bytes, float] = attrs.field(factory=OrderedDict)
    """When each is forgotten, on the clock of the caller."""

    def digest(self, user: str, password: str, password_hash: str) -> bytes:
        """What stands for the pair, for a user of whom ``password_hash`` is kept."""
        parts = [part.encode("utf-8", "surrogatepass") for part in (user, password_hash, password)]
        message = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        return hmac.digest(self._key, message, "sha256")

    def knows(self, digest: bytes, now: float) -> bool:
        """Whether the pair was found right lately; if so it is remembered anew from ``now``, in seconds of any steady clock."""
        until = self._until.get(digest)
        if until is None:
            return False
        if until <= now:
            del self._until[digest]
            return False
        self.add(digest, now)
        return True

    def add(self, digest: bytes, now: float) -> None:
        """Remember a pair that was found right."""
        self._until[digest] = now + self.seconds
        self._until.move_to_end(digest)
        while self._until and (len(self._until) > self.most or next(iter(self._until.values())) <= now):
            self._until.popitem(last=False)

    def __len__(self) -> int:
        return len(self._until)
