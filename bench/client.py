"""The client of the cold measurements, the same for twistpi and for its reference."""

from __future__ import annotations

import hashlib
import http.client
import re
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import cast
from urllib.parse import urlsplit

import attrs

INSTALLER_ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01"
"""What pip sends for a page."""
HTML_ACCEPT = "text/html"

_TIMEOUT_SECONDS = 120
_READ_BYTES = 1 << 18
_LENGTH = re.compile(rb"^content-length: *(\d+)\r?$", re.I | re.M)


class WrongAnswer(Exception):
    """A server under measurement did not answer as it should; no figure can be made of that."""


@attrs.frozen
class Answer:
    """A whole answer in memory."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


@attrs.frozen
class Download:
    """How a download went."""

    first_byte: float
    """Seconds from asking to the first byte of the body."""
    whole: float
    """Seconds from asking to the last byte."""
    size: int
    sha256: str | None
    """None unless asked for: hashing takes time of its own."""


def _connect(url: str) -> tuple[http.client.HTTPConnection, str]:
    parts = urlsplit(url)
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT_SECONDS), target


def get(url: str, accept: str = "*/*", *, expect: int = 200) -> Answer:
    """The answer to one GET on a connection of its own; raises ``WrongAnswer`` for another status than ``expect``."""
    connection, path = _connect(url)
    try:
        connection.request("GET", path, headers={"Accept": accept})
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status != expect:
        raise WrongAnswer(f"{url} answered {response.status}, not {expect}: {body[:300]!r}")
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)


def seconds_to_get(url: str, accept: str) -> float:
    """Seconds from connecting to the last byte of one page."""
    started = time.perf_counter()
    get(url, accept)
    return time.perf_counter() - started


def seconds_for_pages(urls: Sequence[str], width: int, accept: str = INSTALLER_ACCEPT) -> float:
    """Return seconds to get all of ``urls``, of one server, over ``width`` kept connections.

    One thread and no HTTP library: what this client needs of the processor is missing to the servers.
    Raises ``WrongAnswer`` for a status other than 200 and for a connection that is not kept.
    """
    parts = urlsplit(urls[0])
    head = f" HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: {accept}\r\n\r\n"
    requests = iter([f"GET {urlsplit(url).path}{head}".encode("ascii") for url in urls])
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        address = (parts.hostname or "", parts.port or 80)
        connections = [stack.enter_context(socket.create_connection(address, _TIMEOUT_SECONDS)) for _ in range(width)]
        started = time.perf_counter()
        for connection, request in zip(connections, requests, strict=False):
            connection.sendall(request)
            selector.register(connection, selectors.EVENT_READ, bytearray())
        while selector.get_map():
            ready = selector.select(_TIMEOUT_SECONDS)
            if not ready:
                raise WrongAnswer(f"no answer in {_TIMEOUT_SECONDS} s")
            for key, _events in ready:
                connection, received = cast(socket.socket, key.fileobj), key.data
                block = connection.recv(_READ_BYTES)
                if not block:
                    raise WrongAnswer(f"the connection was closed after {bytes(received[:300])!r}")
                received += block
                if _is_whole(received):
                    received.clear()
                    following = next(requests, None)
                    if following is None:
                        selector.unregister(connection)
                    else:
                        connection.sendall(following)
        return time.perf_counter() - started


def _is_whole(received: bytearray) -> bool:
    """Whether an answer with a length is complete."""
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return False
    length = _LENGTH.search(head)
    if not head.startswith(b"HTTP/1.1 200 ") or length is None:
        raise WrongAnswer(f"an answer that is no 200 with a length: {bytes(received[:300])!r}")
    return len(body) >= int(length[1])


def download(url: str, *, hashed: bool = False) -> Download:
    """Read ``url`` to its end, keeping nothing; raises ``WrongAnswer`` for another status than 200."""
    connection, path = _connect(url)
    digest = hashlib.sha256() if hashed else None
    buffer = memoryview(bytearray(_READ_BYTES))
    try:
        started = time.perf_counter()
        connection.request("GET", path, headers={"Accept": "*/*", "Accept-Encoding": "identity"})
        response = connection.getresponse()
        size = response.readinto(buffer[:1])
        first_byte = time.perf_counter() - started
        if digest:
            digest.update(buffer[:size])
        while count := response.readinto(buffer):
            size += count
            if digest:
                digest.update(buffer[:count])
        whole = time.perf_counter() - started
    finally:
        connection.close()
    if response.status != 200:
        raise WrongAnswer(f"{url} answered {response.status}")
    return Download(first_byte, whole, size, digest.hexdigest() if digest else None)


def download_together(url: str, clients: int, *, hashed: bool = False) -> tuple[float, Sequence[Download]]:
    """``clients`` downloads of ``url`` at the same time: seconds until all are whole, and each of them."""
    results: list[Download] = []

    def take() -> None:
        results.append(download(url, hashed=hashed))

    return seconds_of_threads([take] * clients), results


def seconds_of_threads(works: Sequence[Callable[[], None]]) -> float:
    """Seconds from letting all of ``works`` go to the end of the last; an error of one is raised here."""
    failures: list[BaseException] = []
    gate = threading.Barrier(len(works) + 1)

    def run(work: Callable[[], None]) -> None:
        gate.wait()
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    gate.wait()
    started = time.perf_counter()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - started
    if failures:
        raise failures[0]
    return elapsed
