"""Clients that keep a server busy, and remember what it told them."""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
from collections.abc import Sequence
from contextlib import closing
from random import Random
from typing import Any
from urllib.parse import urljoin, urlsplit

import attrs

from tests.fakes.live_server import PATIENCE

JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}
_BROKEN = (OSError, http.client.HTTPException)


@attrs.define
class Told:
    """What a server has acknowledged; whatever happens to it, this has to be true for ever."""

    serial: int = 0
    """The newest serial that any answer named."""
    filenames: set[str] = attrs.field(factory=set)
    """Files that a page listed."""
    whole: int = 0
    """Files and metadata that came whole, their digest right."""
    wrong: list[str] = attrs.field(factory=list)
    """What should never have been told."""


@attrs.define(eq=False)
class BusyClients:
    """Some threads that ask for pages, then for what those list, until the server is killed."""

    url: str
    projects: Sequence[str]
    told: Told
    random: Random
    killed: threading.Event = attrs.field(factory=threading.Event)
    answered: int = 0
    """Answers that came whole."""
    _heard: threading.Condition = attrs.field(factory=threading.Condition)
    _threads: list[threading.Thread] = attrs.field(factory=list)

    def start(self, count: int) -> None:
        """Begin to ask."""
        for number in range(count):
            chance = Random(self.random.random())
            thread = threading.Thread(target=self._run, args=(chance,), name=f"client {number}")
            self._threads.append(thread)
            thread.start()

    def wait_until_answered(self, count: int) -> None:
        """Return when so many answers came, or one that is wrong."""
        with self._heard:
            arrived = self._heard.wait_for(lambda: self.answered >= count or self.told.wrong, PATIENCE)
        assert arrived, f"{self.answered} of {count} answers came"

    def join(self) -> None:
        """Wait until all have noticed that the server is gone."""
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive(), "a client still waits for an answer of a server that is gone"

    def visit_all(self, files: Sequence[tuple[str, str]]) -> None:
        """Ask for each of ``files`` (path below the index, SHA-256), one after the other."""
        with closing(http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=60)) as connection:
            for path, sha256 in files:
                url = f"{self.url}/root/pypi/{path}"
                self._check(url, self._get(connection, url), sha256)

    def _run(self, chance: Random) -> None:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=60)
        try:
            while not self.killed.is_set():
                self._visit(connection, chance)
        except _BROKEN as error:
            if not self.killed.is_set():
                self._complain(f"{error!r} from a server that lives")
        finally:
            connection.close()

    def _visit(self, connection: http.client.HTTPConnection, chance: Random) -> None:
        page_url = f"{self.url}/root/pypi/+simple/{chance.choice(self.projects)}/"
        body = self._get(connection, page_url)
        if body is None:
            return
        files: list[dict[str, Any]] = json.loads(body)["files"]
        with self._heard:
            self.told.filenames.update(file["filename"] for file in files)
        for file in chance.sample(files, min(2, len(files))):
            file_url = urljoin(page_url, file["url"])
            self._check(file_url, self._get(connection, file_url), file["hashes"]["sha256"])
            metadata = file.get("core-metadata")
            if isinstance(metadata, dict):
                self._check(f"{file_url}.metadata", self._get(connection, f"{file_url}.metadata"), metadata["sha256"])

    def _get(self, connection: http.client.HTTPConnection, url: str) -> bytes | None:
        connection.request("GET", urlsplit(url).path, headers=JSON)
        response = connection.getresponse()
        body = response.read()  # raises when less came than was announced
        if response.status != 200:
            self._complain(f"{response.status} for {url}: {body[:200]!r}")
            return None
        with self._heard:
            self.told.serial = max(self.told.serial, int(response.headers["X-Devpi-Serial"]))
            self.answered += 1
            self._heard.notify_all()
        return body

    def _check(self, url: str, body: bytes | None, sha256: str) -> None:
        if body is None:
            return
        if hashlib.sha256(body).hexdigest() == sha256:
            with self._heard:
                self.told.whole += 1
        else:
            self._complain(f"{url} came with {len(body)} wrong bytes")

    def _complain(self, text: str) -> None:
        with self._heard:
            self.told.wrong.append(text)
            self._heard.notify_all()
