"""Pairs of user and password that were found right a moment ago, so that an installer's hundred requests cost one bcrypt.

Neither passwords nor anything they could be guessed from is kept: a pair is known by its HMAC under a key that is made anew with
every process.  The HMAC covers the kept password hash, too, so whoever changes a password thereby makes its old pair unknown.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from typing import Final

import attrs

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
