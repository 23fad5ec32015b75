"""An HTTP server on loopback, or a unix socket, in a thread; a function answers its requests."""

from __future__ import annotations

import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@contextmanager
def serving(
    answer: Callable[[BaseHTTPRequestHandler, bytes], None], *, tls: tuple[Path, Path] | None = None, unix: Path | None = None
) -> Iterator[str]:
    """Serve, with TLS where a key and a certificate are given; gives the address.

    ``answer`` is called with the request and its body; what says that it comes in parts, by ``X-Partly``, is not read.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            length = 0 if "X-Partly" in self.headers else int(self.headers.get("Content-Length", "0"))
            answer(self, self.rfile.read(length))

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler) if unix is None else _UnixServer(str(unix), Handler)
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls[1], tls[0])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"unix:{unix}" if unix is not None else f"http{'s' if tls else ''}://127.0.0.1:{server.socket.getsockname()[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def reply(request: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    """Answer; underscores in names of headers are hyphens."""
    request.send_response(status)
    for name, value in {"Content_Length": str(len(body)), **headers}.items():
        request.send_header(name.replace("_", "-"), value)
    request.end_headers()
    request.wfile.write(b"" if request.command == "HEAD" else body)
