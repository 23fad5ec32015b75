"""Ports of loopback that no other program gets."""

from __future__ import annotations

import socket

_held: list[socket.socket] = []


def free_port() -> int:
    """A port of loopback that the system gives to nobody else while the tests run, also between two servers of a test.

    A socket that is bound there and never listens keeps it: with ``SO_REUSEADDR``, which every server sets, listening at the
    port is possible beside that; the system does not give it to a program that asks for any port.
    """
    keeper = socket.socket()
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    keeper.bind(("127.0.0.1", 0))
    _held.append(keeper)
    port: int = keeper.getsockname()[1]
    return port
