"""Clients of a cluster that upload, push, remove and read at random, and write down what they were told and when."""

from __future__ import annotations

import hashlib
import http.client
import json
import math
import random
import threading
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from urllib.parse import quote, urljoin, urlsplit

import attrs

from tests.crash.linearizability import File, Operation, Outcome, Push, Read, Remove, Upload
from tests.fakes.distributions import Distribution, sdist_of, wheel_of
from tests.live.stages import JSON, PASSWORD
from tests.web.receiving.form_samples import encode, text

USER = "jonathan"
DEV, PROD = f"{USER}/dev", f"{USER}/prod"
"""Volatile; not volatile."""
BROKEN = (OSError, http.client.HTTPException)
"""What a connection comes to that breaks."""
_SIZES = [100, 5_000, 60_000]
_VERSIONS = ("1.0", "2.0", "3.0")
_SERIAL = "X-Devpi-Serial"
_BOUNDARY = "between-the-parts-4711"
_PATIENCE = 90.0
"""Seconds a client waits for an answer."""
_BUSY = frozenset({502, 503, 504})
"""Answers that leave open whether something was changed."""
_AUTHORIZATION = "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@attrs.frozen
class Answer:
    """What came back."""

    status: int
    serial: int
    body: bytes


def ask(url: str, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None, serial: int = 0) -> Answer:
    """Ask over a connection of its own, for an answer that is as far as ``serial``.  Blocking; raise ``BROKEN``."""
    given = {"Authorization": _AUTHORIZATION, "Accept": "application/json", _SERIAL: str(serial), **(headers or {})}
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=_PATIENCE)) as connection:
        connection.request(method, quote(path), body, given)
        response = connection.getresponse()
        return Answer(response.status, int(response.headers.get(_SERIAL) or 0), response.read())


@attrs.define(eq=False)
class Record:
    """What all clients did, and how far they know the cluster to be."""

    serial: int = 0
    """The highest that anybody was told."""
    operations: dict[str, list[Operation]] = attrs.field(factory=dict)
    """By project."""
    wrong: list[str] = attrs.field(factory=list)
    """What must never happen."""
    counts: Counter[str] = attrs.field(factory=Counter)
    _lock: threading.Lock = attrs.field(factory=threading.Lock)

    def learn(self, answer: Answer) -> None:
        """Have those who ask from now on see at least what ``answer`` included."""
        with self._lock:
            self.serial = max(self.serial, answer.serial)

    def add(self, project: str, operation: Operation) -> None:
        """Write ``operation`` down, which is over."""
        with self._lock:
            self.operations.setdefault(project, []).append(operation)
            self.counts[f"{type(operation.action).__name__.lower()} {operation.outcome.value}"] += 1

    def count(self, what: str) -> None:
        """Count something that is no operation on a project."""
        with self._lock:
            self.counts[what] += 1

    def complain(self, what: str) -> None:
        """Note that something happened that must not."""
        with self._lock:
            self.wrong.append(what)


@attrs.define(eq=False)
class Projects:
    """The projects that are worked on: a few at a time, each for a limited number of operations."""

    chance: random.Random
    at_a_time: int = 4
    operations: int = 60
    _left: dict[str, int] = attrs.field(factory=dict)
    _made: int = 0
    _lock: threading.Lock = attrs.field(factory=threading.Lock)

    def take(self) -> str:
        """The project of the next operation."""
        with self._lock:
            while len(self._left) < self.at_a_time:
                self._made += 1
                self._left[f"soaked-{self._made}"] = self.operations
            name = self.chance.choice(list(self._left))
            self._left[name] -= 1
            if not self._left[name]:
                del self._left[name]
            return name


@attrs.define(eq=False)
class Client:
    """One thread that does one thing after the other, through the balancer at ``url``."""

    name: str
    url: str
    record: Record
    projects: Projects
    chance: random.Random
    over: threading.Event

    def run(self) -> None:
        """Go on until it is over."""
        while not self.over.is_set():
            self.work(self.projects.take())

    def work(self, project: str) -> None:
        """Do one thing with ``project``."""
        kind = self.chance.choices(("upload", "publish", "push", "remove", "read"), (35, 5, 12, 10, 38))[0]
        version = self.chance.choice(_VERSIONS)
        if kind == "upload":
            self._upload(DEV, self._build(project, version))
        elif kind == "publish":
            self._upload(PROD, self._build(project, version))
        elif kind == "push":
            body = json.dumps({"name": project, "version": version, "targetindex": PROD}).encode()
            action = Push(DEV, PROD, _names(project, version))
            self._change(project, action, "PUSH", f"/{DEV}", body, {"Content-Type": "application/json"})
        elif kind == "remove":
            self._change(project, Remove(DEV, _names(project, version)), "DELETE", f"/{DEV}/{project}/{version}")
        else:
            self.read(project, self.chance.choice((DEV, PROD)), is_fresh=self.chance.random() < 0.8)

    def _build(self, project: str, version: str) -> Distribution:
        make = self.chance.choice((wheel_of, sdist_of))
        return make(project, version, self.chance.randbytes(self.chance.choice(_SIZES)))

    def _upload(self, index: str, file: Distribution) -> None:
        fields = {
            ":action": "file_upload", "protocol_version": "1", "metadata_version": "2.1", "name": file.project,
            "version": file.version, "sha256_digest": file.sha256,
        }  # fmt: skip
        parts = [text(name, value) for name, value in fields.items()]
        body = encode(_BOUNDARY, [*parts, ("content", file.filename, "application/octet-stream", file.content)])
        action = Upload((index, file.filename, file.sha256), index == DEV)
        form = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
        self._change(file.project, action, "POST", f"/{index}/", body, form)

    def _change(
        self,
        project: str,
        action: Upload | Push | Remove,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        began = time.monotonic()
        outcome = Outcome.UNKNOWN
        try:
            answer = ask(self.url, method, path, body, headers, self.record.serial)
        except BROKEN:
            self.record.count("broken connections")
        else:
            self.record.learn(answer)
            outcome = self._judge(answer, f"{method} {path} {action}")
        self.record.add(project, Operation(self.name, action, began, time.monotonic(), outcome))

    def _judge(self, answer: Answer, what: str) -> Outcome:
        if answer.status == 200:
            return Outcome.DONE
        if answer.status in (400, 404, 409):
            return Outcome.REFUSED
        if answer.status not in _BUSY:
            self.record.complain(f"{what} was answered {answer}")
        self.record.count(f"changes answered {answer.status}")
        return Outcome.UNKNOWN

    def read(self, project: str, index: str, *, is_fresh: bool) -> None:
        """Read a page, and perhaps one of its files; ``is_fresh`` when it has to show what was acknowledged before."""
        began = time.monotonic()
        path = f"/{index}/+simple/{project}/"
        try:
            answer = ask(self.url, "GET", path, headers={"Accept": JSON}, serial=self.record.serial if is_fresh else 0)
        except BROKEN:
            self.record.count("reads without an answer")
            return
        self.record.learn(answer)
        if answer.status not in (200, 404):
            if answer.status not in _BUSY:
                self.record.complain(f"GET {path} was answered {answer}")
            self.record.count(f"reads answered {answer.status}")
            return
        shown = dict(files_of(index, answer))
        action = Read(index, frozenset(shown))
        self.record.add(project, Operation(self.name, action, began if is_fresh else -math.inf, time.monotonic()))
        if shown and self.chance.random() < 0.3:
            file = self.chance.choice(sorted(shown))
            self.fetch(urlsplit(urljoin(path, shown[file])).path, file[2])

    def fetch(self, path: str, sha256: str) -> bool:
        """Read a file, which must be the right one if it comes at all; whether it came."""
        try:
            answer = ask(self.url, "GET", path, headers={"Accept": "*/*"})
        except BROKEN:
            self.record.count("files without an answer")
            return False
        if answer.status == 200 and hashlib.sha256(answer.body).hexdigest() != sha256:
            self.record.complain(f"{path} came with {len(answer.body)} wrong bytes")
        if answer.status not in (200, 404, 410, *_BUSY):
            self.record.complain(f"GET {path} was answered {answer}")
        self.record.count(f"files answered {answer.status}")
        return answer.status == 200


def files_of(index: str, answer: Answer) -> Iterator[tuple[File, str]]:
    """What a page shows, and the address of each file."""
    if answer.status == 200:
        for file in json.loads(answer.body)["files"]:
            yield (index, file["filename"], file["hashes"]["sha256"]), file["url"]


def _names(project: str, version: str) -> frozenset[str]:
    return frozenset(make(project, version).filename for make in (wheel_of, sdist_of))
