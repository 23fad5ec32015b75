"""The body of a request that is passed on: how it goes over the wire, and what of it could be sent a second time."""

from __future__ import annotations

from typing import Final

MOST_KEPT: Final = 256 * 1024
"""Bytes that wait for the connection, or are kept in case the head has to be signed anew."""


class RequestBody:
    """What came of a body so far."""

    def __init__(self, length: int | None, *, comes: bool) -> None:
        """``comes`` says whether there is a body, of ``length`` bytes, or in chunks when that is None."""
        self.comes = comes
        self.length = length
        self.size = 0
        """Bytes that came."""
        self.complete = not comes
        """Whether all of it came."""
        self._kept: list[bytes] | None = []

    @property
    def is_kept(self) -> bool:
        """Whether all that came can still be sent once more."""
        return self._kept is not None

    @property
    def is_large(self) -> bool:
        """Whether more came than is kept for long."""
        return self.size > MOST_KEPT

    @property
    def outstanding(self) -> float:
        """Bytes that are still to come; endlessly many when nobody says how many."""
        return float("inf") if self.length is None else self.length - self.size

    def came(self, data: bytes) -> None:
        """A piece came."""
        self.size += len(data)
        if self._kept is not None:
            self._kept.append(data)

    def forget_if_large(self) -> None:
        """Keep no more than is allowed; to be called when all that came was sent."""
        if self.is_large:
            self._kept = None

    def wire(self, data: bytes) -> bytes:
        """``data`` as it is sent."""
        return data if self.length is not None else b"%x\r\n%s\r\n" % (len(data), data)

    def wire_again(self) -> bytes:
        """All that came, as it is sent."""
        return b"".join(map(self.wire, self._kept or ()))

    @property
    def wire_end(self) -> bytes:
        """What is sent when it is complete."""
        return b"0\r\n\r\n" if self.comes and self.length is None else b""
