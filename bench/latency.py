"""A server that answers nothing, late: nginx asks it before it hands out the pages of far projects.

``python -m bench.latency PORT MILLISECONDS``.  It stands for the way to an upstream on the internet, which the loopback lacks.
"""

from __future__ import annotations

import asyncio
import sys

_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


class Late(asyncio.Protocol):
    """Answers every request head after the latency; heads come whole and without bodies, nginx is the only client."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """One answer for each head that ends here, later."""
        loop = asyncio.get_running_loop()
        for _ in range(data.count(b"\r\n\r\n")):
            loop.call_later(self._seconds, self._transport.write, _ANSWER)


async def serve(port: int, seconds: float) -> None:
    """Listen on the loopback until the process is ended."""
    server = await asyncio.get_running_loop().create_server(lambda: Late(seconds), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2]) / 1000))
