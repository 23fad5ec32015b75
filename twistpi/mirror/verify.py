"""What a download's bytes must be: written and hashed as they come, compared when they are all there.  Blocking; for threads."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final, Protocol

import attrs

_STRENGTH: Final = (
    "sha512",
    "sha384",
    "sha256",
    "sha3_512",
    "sha3_384",
    "sha3_256",
    "blake2b",
    "blake2s",
    "sha224",
    "sha1",
    "md5",
)
"""Algorithms an upstream may name, best first; SHA-256 is preferred to all since it is computed anyway."""


_WORTH_A_CALL: Final = 64 * 1024
"""Bytes from which on a piece is written by itself: to copy it costs more than a call to the system does."""


class Writable(Protocol):
    """Where the bytes go."""

    def write(self, data: bytes) -> Any:
        """Append ``data``."""


class BytesDiffer(Exception):
    """The bytes are not those that were promised; its text says how."""


def promised_digest(hashes: Mapping[str, str]) -> tuple[str, str] | None:
    """The algorithm and digest to hold a file to, None when the upstream gave none that can be computed."""
    for algorithm in ("sha256", *_STRENGTH):
        if algorithm in hashes:
            return algorithm, hashes[algorithm].lower()
    return None


@attrs.define
class Sink:
    """Writes a file and hashes it; one thread at a time."""

    _target: Writable
    _promise: tuple[str, str] | None
    _limit: int | None = None
    """Bytes the whole file has, None while nobody knows."""
    size: int = 0
    """Bytes written."""
    _sha256: Any = attrs.field(factory=hashlib.sha256)
    _other: Any = None
    _to_repeat: int = 0
    _repeated: Any = None

    def __attrs_post_init__(self) -> None:
        if self._promise is not None and self._promise[0] != "sha256":
            self._other = hashlib.new(self._promise[0], usedforsecurity=False)

    def expect(self, size: int | None) -> None:
        """The file has ``size`` bytes."""
        self._limit = size

    def repeat(self) -> None:
        """The file comes again from its beginning: what is here already is compared instead of written."""
        self._to_repeat = self.size
        self._repeated = hashlib.sha256()

    def go_on(self) -> None:
        """The file comes from where it broke off."""
        self._to_repeat = 0

    def write(self, pieces: list[bytes]) -> None:
        """The next bytes; raises ``BytesDiffer`` for too many, or others than before, and what the target raises."""
        for data in _of_some_size(pieces):
            self._add(self._compare(data) if self._to_repeat else data)

    def _add(self, data: bytes) -> None:
        if self._limit is not None and self.size + len(data) > self._limit:
            raise BytesDiffer(f"there are more than the {self._limit:,} that were announced")
        if data:
            self._target.write(data)
            self.size += len(data)
            self._sha256.update(data)
            if self._other is not None:
                self._other.update(data)

    def _compare(self, data: bytes) -> bytes:
        again = data[: self._to_repeat]
        self._repeated.update(again)
        self._to_repeat -= len(again)
        if self._to_repeat == 0 and self._repeated.digest() != self._sha256.digest():
            raise BytesDiffer("the upstream's file changed while it was fetched")
        return data[len(again) :]

    def verified(self, listed_size: int | None) -> str:
        """The SHA-256 of the whole file, when it keeps what was promised; raises ``BytesDiffer``."""
        for size in (listed_size, self._limit):
            if size is not None and size != self.size:
                raise BytesDiffer(f"there are {self.size:,}, not {size:,}")
        digest: str = self._sha256.hexdigest()
        if self._promise is not None:
            algorithm, promised = self._promise
            actual = self._other.hexdigest() if self._other is not None else digest
            if actual != promised:
                raise BytesDiffer(f"their {algorithm} is {actual}, not {promised}")
        return digest


def _of_some_size(pieces: list[bytes]) -> list[bytes]:
    """The same bytes in pieces that are worth a call each: small ones, as they come out of TLS, are put together."""
    if len(pieces) > 1 and sum(map(len, pieces)) < len(pieces) * _WORTH_A_CALL:
        return [b"".join(pieces)]
    return pieces
