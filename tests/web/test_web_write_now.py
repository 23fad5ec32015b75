"""Heads that go out at once, whatever the kernel takes of them."""

from __future__ import annotations

import socket
from typing import Any

import attrs
import pytest

from twistpi.web.fast.site import write_now


@attrs.define
class Narrow:
    """A socket that takes so many bytes, or is gone."""

    room: int | None
    taken: bytes = b""
    flags: list[int] = attrs.field(factory=list)

    def send(self, data: bytes, flags: int) -> int:
        if self.room is None:
            raise BlockingIOError
        self.flags.append(flags)
        self.taken += data[: self.room]
        return len(data[: self.room])


@attrs.define
class PlainTransport:
    """As much of Twisted's as is asked of it."""

    socket: Narrow
    dataBuffer: bytes = b""  # noqa: N815
    disconnecting: bool = False
    written: bytes = b""
    _tempDataBuffer: list[bytes] = attrs.field(factory=list)  # noqa: N815

    def write(self, data: bytes) -> None:
        self.written += data


@pytest.mark.parametrize("room", [None, 0, 1, 5, 100])
def test_what_the_kernel_does_not_take_of_a_head_goes_out_after_it(room: int | None) -> None:
    transport: Any = PlainTransport(Narrow(room))
    write_now(transport, b"a whole head", more=True)
    assert transport.socket.taken + transport.written == b"a whole head"


def test_a_head_before_a_body_is_marked_as_not_the_end() -> None:
    transport: Any = PlainTransport(Narrow(100))
    write_now(transport, b"a whole head", more=True)
    assert transport.socket.flags == [socket.MSG_MORE]


def test_a_head_waits_for_what_was_written_before_it() -> None:
    transport: Any = PlainTransport(Narrow(100), dataBuffer=b"before")
    write_now(transport, b"a whole head", more=True)
    assert (transport.socket.taken, transport.written) == (b"", b"a whole head")
