"""An unreliable connection: a TCP proxy on loopback that cuts, stalls, falsifies, slows down, answers and refuses.

    with UnrulyProxy(server.url) as proxy:
        proxy.will(Cut(asked=b"GET /+blob/", behind=b"\\r\\n\\r\\n", after=1000))
        ...                                   # somebody fetches a blob through proxy.url
        proxy.wait_until_happened(1)

It works in threads of its own, so that tests with and without a reactor use it beside real processes.  A fault happens once: it
waits for the first connection on which ``asked`` is sent to the server, then for ``behind`` among what flows in its direction,
and strikes ``after`` so many bytes more, counted exactly.  Of several that wait for the same, each takes another request.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Literal
from urllib.parse import urlsplit

import attrs

Direction = Literal["down", "up"]
"""Down is from the server to its client."""
_CHUNK = 64 * 1024
_SLICES = 20
"""Pieces a second in which a slow connection forwards."""


@attrs.frozen
class Fault:
    """Something that happens to a connection once."""

    asked: bytes = b""
    """Bytes of the request that it waits for; empty: it does not wait."""
    behind: bytes = b""
    """Bytes after which counting begins; empty: at once."""
    after: int = 0
    """Bytes that still pass."""
    direction: Direction = "down"


@attrs.frozen
class Cut(Fault):
    """The connection is reset in both directions."""


@attrs.frozen
class Stall(Fault):
    """Nothing more comes through, and nobody is told; until ``UnrulyProxy.release``."""


@attrs.frozen
class Flip(Fault):
    """The next byte arrives with its lowest bit changed."""


@attrs.frozen
class Reply(Fault):
    """The client gets ``content`` instead of what the server would say, and the connection ends in order."""

    content: bytes = b""
    direction: Direction = "up"


class _Search:
    """Looks for a pattern in a stream that comes in pieces."""

    def __init__(self, pattern: bytes) -> None:
        self._pattern = pattern
        self._tail = b""
        self.found = not pattern

    def feed(self, piece: bytes) -> int:
        """Bytes of ``piece`` up to the end of the pattern; all of them while it does not come."""
        if self.found:
            return 0
        joined = self._tail + piece
        at = joined.find(self._pattern)
        if at >= 0:
            self.found = True
            return max(0, at + len(self._pattern) - len(self._tail))
        self._tail = joined[-(len(self._pattern) - 1) :] if len(self._pattern) > 1 else b""
        return len(piece)


@attrs.define(eq=False)
class _Armed:
    """A fault on the connection that it will happen to."""

    fault: Fault
    behind: _Search
    left: int

    def split(self, piece: bytes) -> int | None:
        """After how many bytes of ``piece`` it strikes; None when that is still to come."""
        begin = self.behind.feed(piece)
        if not self.behind.found:
            return None
        available = len(piece) - begin
        # A byte is flipped when it is there; whatever else happens, happens as soon as the bytes before it have passed.
        needed = self.left + 1 if isinstance(self.fault, Flip) else self.left
        if available < needed:
            self.left -= available
            return None
        return begin + self.left


@attrs.define
class _Ended(Exception):
    """The connection is over."""

    reset: bool = True


@attrs.define(eq=False)
class _Connection:
    """Both directions of one connection."""

    proxy: UnrulyProxy
    client: socket.socket
    server: socket.socket
    armed: list[_Armed] = attrs.field(factory=list)
    searches: dict[bytes, _Search] = attrs.field(factory=dict)
    """How far each request is on this connection that faults wait for."""
    held: threading.Event = attrs.field(factory=threading.Event)

    def start(self) -> None:
        """Forward in two threads."""
        self.held.set()
        for direction in ("up", "down"):
            threading.Thread(target=self._pump, args=(direction,), name=f"unruly {direction}", daemon=True).start()

    def close(self, *, reset: bool) -> None:
        """End it, for both sides."""
        self.held.set()
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                if reset:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RDWR)
            if reset:
                with contextlib.suppress(OSError):
                    end.close()

    def _pump(self, direction: Direction) -> None:
        source, sink = (self.server, self.client) if direction == "down" else (self.client, self.server)
        try:
            while piece := source.recv(self.proxy.piece_size):
                self._forward(piece, direction, sink)
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_WR)
        except _Ended as end:
            self.close(reset=end.reset)
        except OSError:
            self.close(reset=False)
        finally:
            self.proxy.ended(self, direction)

    def _forward(self, piece: bytes, direction: Direction, sink: socket.socket) -> None:
        self._arm(piece if direction == "up" else b"")
        for armed in [one for one in self.armed if one.fault.direction == direction]:
            at = armed.split(piece)
            if at is None:
                continue
            self.armed.remove(armed)
            before, piece = piece[:at], piece[at:]
            self._send(before, sink)
            self._strike(armed.fault)
            if isinstance(armed.fault, Flip):
                piece = bytes([piece[0] ^ 1]) + piece[1:]
        self._send(piece, sink)

    def _send(self, piece: bytes, sink: socket.socket) -> None:
        if not piece:
            return
        self.proxy.flowing.wait()
        self.held.wait()
        if self.proxy.bytes_per_second:
            time.sleep(len(piece) / self.proxy.bytes_per_second)
        sink.sendall(piece)

    def _arm(self, piece: bytes) -> None:
        """Take the faults that were waiting for what is asked now; one for each request."""
        for asked in self.proxy.waited_for():
            if any(armed.fault.asked == asked for armed in self.armed):
                continue
            search = self.searches.setdefault(asked, _Search(asked))
            search.feed(piece)
            if search.found:
                del self.searches[asked]
                fault = self.proxy.take(asked)
                if fault is not None:
                    self.armed.append(_Armed(fault, _Search(fault.behind), fault.after))

    def _strike(self, fault: Fault) -> None:
        if isinstance(fault, Stall):
            self.held.clear()
        self.proxy.happen(fault)
        if isinstance(fault, Cut):
            raise _Ended
        if isinstance(fault, Reply):
            self.client.sendall(fault.content)
            raise _Ended(reset=False)


@attrs.define(eq=False)
class UnrulyProxy:
    """The proxy; ``start`` or a ``with`` statement makes it listen."""

    target: str
    """Where the server is: ``http://127.0.0.1:PORT``; another one counts for connections from then on."""
    bytes_per_second: float = 0.0
    """How slow each direction of each connection is; 0 for no limit."""
    refuses: bool = False
    """Whether who connects is turned away."""
    happened: list[Fault] = attrs.field(factory=list)
    connected: int = 0
    """Connections so far."""
    flowing: threading.Event = attrs.field(factory=threading.Event)
    _waiting: list[Fault] = attrs.field(factory=list)
    _connections: list[_Connection] = attrs.field(factory=list)
    _changed: threading.Condition = attrs.field(factory=threading.Condition)
    _listening: socket.socket | None = None

    def start(self) -> UnrulyProxy:
        """Listen on loopback."""
        self.flowing.set()
        self._listening = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, args=(self._listening,), name="unruly proxy", daemon=True).start()
        return self

    def stop(self) -> None:
        """Be gone, with all connections."""
        if self._listening is not None:
            self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
            self._listening = None
        self.flowing.set()
        self.cut()

    def __enter__(self) -> UnrulyProxy:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where clients go, without a slash at the end."""
        assert self._listening is not None
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    @property
    def piece_size(self) -> int:
        """Bytes that are forwarded at a time."""
        return max(1, min(_CHUNK, int(self.bytes_per_second / _SLICES))) if self.bytes_per_second else _CHUNK

    def will(self, *faults: Fault) -> None:
        """Let ``faults`` happen, each once, to the first request that it is meant for."""
        with self._changed:
            self._waiting.extend(faults)

    def cut(self) -> None:
        """Reset every connection there is now."""
        for connection in self._present():
            connection.close(reset=True)

    def stall(self) -> None:
        """Let nothing through any more, without telling anybody; who connects is kept waiting, too."""
        self.flowing.clear()

    def release(self) -> None:
        """End every stall."""
        self.flowing.set()
        for connection in self._present():
            connection.held.set()

    def wait_until_happened(self, count: int, patience: float = 120.0) -> None:
        """Return when so many faults have happened.  Blocking."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self.happened) >= count, patience)
        assert arrived, f"{len(self.happened)} of {count} faults happened; waiting: {self._waiting}"

    def waited_for(self) -> set[bytes]:
        """The requests that faults wait for."""
        with self._changed:
            return {fault.asked for fault in self._waiting}

    def take(self, asked: bytes) -> Fault | None:
        """The first fault that waits for ``asked``, for the connection that wants it first."""
        with self._changed:
            for position, fault in enumerate(self._waiting):
                if fault.asked == asked:
                    return self._waiting.pop(position)
            return None

    def happen(self, fault: Fault) -> None:
        """Note that ``fault`` happened."""
        with self._changed:
            self.happened.append(fault)
            self._changed.notify_all()

    def ended(self, connection: _Connection, direction: Direction) -> None:
        """One direction of ``connection`` is over; what comes down last is the end of it."""
        if direction == "down":
            connection.close(reset=False)
            with self._changed, contextlib.suppress(ValueError):
                self._connections.remove(connection)
                self._waiting[:0] = [armed.fault for armed in connection.armed]  # another connection will have them

    def _present(self) -> list[_Connection]:
        with self._changed:
            return list(self._connections)

    def _accept(self, listening: socket.socket) -> None:
        for client in _clients_of(listening):
            self.connected += 1
            self.flowing.wait()
            place = urlsplit(self.target)
            try:
                if self.refuses:
                    raise ConnectionRefusedError
                server = socket.create_connection((place.hostname, place.port), 10)
                server.settimeout(None)
            except OSError:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
                continue
            connection = _Connection(self, client, server)
            with self._changed:
                self._connections.append(connection)
            connection.start()


def _clients_of(listening: socket.socket) -> Iterator[socket.socket]:
    while True:
        try:
            client, _address = listening.accept()
        except OSError:
            return
        yield client
