"""Clients that upload, push and remove, many at once, and remember what they were told."""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

import attrs

from tests.fakes.distributions import Distribution
from tests.fakes.live_server import LiveServer
from tests.live.stages import JSON, PASSWORD
from tests.web.receiving.form_samples import encode, text
from twistpi.cli.check import check
from twistpi.cli.file_check import Counts

_BOUNDARY = "between-the-parts-4711"
_PATIENCE = 120
_Result = TypeVar("_Result")


@attrs.frozen
class Answer:
    """What the server said."""

    status: int
    reason: str
    body: bytes


@attrs.frozen
class Uploader:
    """Somebody with a password; every request has a connection of its own.  All of it blocks."""

    server: LiveServer
    user: str

    def upload(self, index: str, file: Distribution, before_the_end: Callable[[], object] = lambda: None) -> Answer:
        """Upload as twine does; ``before_the_end`` is called when all but the last byte is sent."""
        fields = {
            ":action": "file_upload", "protocol_version": "1", "metadata_version": "2.1", "name": file.project,
            "version": file.version, "sha256_digest": file.sha256,
        }  # fmt: skip
        parts = [text(name, value) for name, value in fields.items()]
        body = encode(_BOUNDARY, [*parts, ("content", file.filename, "application/octet-stream", file.content)])
        headers = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}", "Content-Length": str(len(body))}
        return self._ask("POST", f"/{index}/", headers, body, before_the_end)

    def push(self, source: str, project: str, version: str, target: str) -> Answer:
        """Push a release from one index to another."""
        body = json.dumps({"name": project, "version": version, "targetindex": target}).encode()
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Content-Length": str(len(body))}
        return self._ask("PUSH", f"/{source}", headers, body)

    def remove(self, path: str) -> Answer:
        """Remove what is there."""
        return self._ask("DELETE", path, {"Accept": "application/json"})

    def get(self, path: str, accept: str = "*/*") -> Answer:
        """What is there."""
        return self._ask("GET", path, {"Accept": accept})

    def digests(self, index: str, project: str) -> dict[str, str]:
        """SHA-256 by file name, as the page has them; nothing when there is no such project."""
        return {file["filename"]: file["hashes"]["sha256"] for file in self._files(index, project)}

    def files(self, index: str, project: str) -> dict[str, bytes]:
        """Every file of a page by name, after it and its metadata were fetched and found to be what the page says."""
        page, found = f"/{index}/+simple/{project}/", {}
        for file in self._files(index, project):
            path = urlsplit(urljoin(page, file["url"])).path
            found[file["filename"]] = self._right(path, file["hashes"]["sha256"])
            assert len(found[file["filename"]]) == file["size"], file
            if metadata := file.get("core-metadata"):
                self._right(f"{path}.metadata", metadata["sha256"])
        return found

    def _right(self, path: str, sha256: str) -> bytes:
        answer = self.get(path)
        assert answer.status == 200, (path, answer)
        assert hashlib.sha256(answer.body).hexdigest() == sha256, path
        return answer.body

    def _files(self, index: str, project: str) -> Sequence[Mapping[str, Any]]:
        answer = self.get(f"/{index}/+simple/{project}/", JSON)
        if answer.status == 404:
            return []
        assert answer.status == 200, answer
        files: list[dict[str, Any]] = json.loads(answer.body)["files"]
        return files

    def _ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        before_the_end: Callable[[], object] = lambda: None,
    ) -> Answer:
        known = b64encode(f"{self.user}:{PASSWORD}".encode()).decode()
        with closing(http.client.HTTPConnection(urlsplit(self.server.url).netloc, timeout=_PATIENCE)) as connection:
            connection.putrequest(method, path)
            for name, value in {**headers, "Authorization": f"Basic {known}"}.items():
                connection.putheader(name, value)
            connection.endheaders()
            connection.send(body[:-1])
            before_the_end()
            connection.send(body[-1:])
            response = connection.getresponse()
            return Answer(response.status, response.reason, response.read())


def at_once(*works: Callable[[], _Result]) -> list[_Result]:
    """What comes of each of ``works``, all of which begin at the same time, each in a thread; raises what one of them raised."""
    begin = threading.Barrier(len(works))

    def run(work: Callable[[], _Result]) -> _Result:
        begin.wait(_PATIENCE)
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


def upload_at_the_same_instant(uploader: Uploader, index: str, files: Sequence[Distribution]) -> list[Answer]:
    """Upload all ``files``; the last byte of each is sent when all have sent the rest.  Blocking."""
    sent = threading.Barrier(len(files))
    return at_once(*(lambda file=file: uploader.upload(index, file, lambda: sent.wait(_PATIENCE)) for file in files))


@contextmanager
def somebody_reads(uploader: Uploader, index: str, projects: Sequence[str]) -> Iterator[None]:
    """Meanwhile somebody fetches whatever the pages list; all of it has to be there and right."""
    done = threading.Event()
    seen: list[str] = []

    def read() -> int:
        is_last = False
        while not is_last:
            is_last = done.is_set()
            for project in projects:
                seen.extend(uploader.files(index, project))
        return len(seen)

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        try:
            yield
        finally:
            done.set()
        assert reading.result(_PATIENCE) > 0


def nothing_is_wrong(serverdir: Path) -> None:
    """Asserts that ``twistpi check`` finds nothing wrong.  Blocking."""
    assert [finding.text for finding in check(str(serverdir), lambda _what, _done, _total: None, Counts()) if finding.wrong] == []


def is_clean(serverdir: Path) -> None:
    """The same, and that nothing lies about half received.  Blocking."""
    nothing_is_wrong(serverdir)
    assert list((serverdir / "incoming").iterdir()) == []
