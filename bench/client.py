"""The client of the cold measurements: blocking sockets in threads, the same for twistpi and for its reference."""

from __future__ import annotations

import hashlib
import http.client
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from queue import Empty, SimpleQueue
from urllib.parse import urlsplit

import attrs

INSTALLER_ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01"
"""What pip sends for a page."""
HTML_ACCEPT = "text/html"

_TIMEOUT_SECONDS = 120
_READ_BYTES = 1 << 18


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
    return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT_SECONDS), parts.path


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


def seconds_for_pages(urls: Iterable[str], width: int, accept: str = INSTALLER_ACCEPT) -> float:
    """Seconds to get all of ``urls`` over ``width`` kept connections, each taking the next page when it has one."""
    waiting: SimpleQueue[str] = SimpleQueue()
    for url in urls:
        waiting.put(url)

    def take() -> None:
        connection: http.client.HTTPConnection | None = None
        while True:
            try:
                url = waiting.get_nowait()
            except Empty:
                return
            if connection is None:
                connection, _ = _connect(url)
            connection.request("GET", urlsplit(url).path, headers={"Accept": accept})
            response = connection.getresponse()
            body = response.read()
            if response.status != 200:
                raise WrongAnswer(f"{url} answered {response.status}: {body[:300]!r}")

    return _seconds_of_threads([take] * width)


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

    return _seconds_of_threads([take] * clients), results


def _seconds_of_threads(works: Sequence[Callable[[], None]]) -> float:
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
