"""An upstream for tests: an index on loopback that behaves, until it is told not to.

    upstream = FakeUpstream(reactor).start()
    upstream.add_project("hello", {"hello-1.0-py3-none-any.whl": b"..."})
    upstream.index_url                       # "http://127.0.0.1:PORT/simple/"
    upstream.misbehave("/simple/hello/", Silent())
    upstream.count("/simple/hello/")         # how often it was asked
    await upstream.stop()

Everything it serves is a ``Document`` under a path: project pages, the name list, files, metadata beside wheels.  It knows
ETag, Last-Modified, gzip, HEAD, single ranges and ``If-Range``.  A ``Fault`` set with ``misbehave`` takes the place of the right
answer, for a number of times or for ever.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping
from html import escape
from typing import Any

import attrs
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "text/html; charset=utf-8"
LAST_MODIFIED = "Sun, 01 Nov 2026 10:00:00 GMT"


@attrs.frozen
class Seen:
    """A request that arrived."""

    method: str
    path: str
    """With its query."""
    headers: Headers

    def header(self, name: str) -> str | None:
        """The first value of a header."""
        values = self.headers.getRawHeaders(name)
        return values[0] if values else None


@attrs.define
class Document:
    """Something that can be asked for."""

    body: bytes
    content_type: str = "application/octet-stream"
    etag: str | None = None
    last_modified: str | None = None
    ranges: bool = False
    compress: bool = False
    headers: dict[str, str] = attrs.field(factory=dict)


class Fault:
    """A way to answer wrongly."""

    def answer(self, upstream: FakeUpstream, request: Any, document: Document | None) -> None:
        """Answer ``request``, or do not."""
        raise NotImplementedError


@attrs.define
class Status(Fault):
    """Answers with a status and nothing else."""

    code: int
    headers: dict[str, str] = attrs.field(factory=dict)

    def answer(self, upstream: FakeUpstream, request: Any, document: Document | None) -> None:
        request.setResponseCode(self.code)
        for name, value in self.headers.items():
            request.setHeader(name, value)
        request.write(b"trouble\n")
        request.finish()


@attrs.define
class Redirect(Fault):
    """Redirects to another address."""

    location: str
    code: int = 302

    def answer(self, upstream: FakeUpstream, request: Any, document: Document | None) -> None:
        Status(self.code, {"Location": self.location}).answer(upstream, request, document)


@attrs.define
class Silent(Fault):
    """Takes the request and says nothing, for ever."""

    def answer(self, upstream: FakeUpstream, request: Any, document: Document | None) -> None:
        upstream.held.append(request)


@attrs.define
class Held(Fault):
    """Answers rightly once ``release`` is called."""

    waiting: list[Callable[[], None]] = attrs.field(factory=list)

    def answer(self, upstream: FakeUpstream, request: Any, document: Document | None) -> None:
        self.waiting.append(lambda: upstream.answer_rightly(request, document))

    def release(self) -> None:
        """Let everything go."""
        waiting, self.waiting = self.waiting, []
        for go in waiting:
            go()


@attrs.define
class CutOff(Fault):
    """Announces everything, sends ``after`` bytes of it, then hangs up; also when asked for a range."""

    after: int

    def answer(self, upstream: FakeUpstream, request: Any, document: Document | None) -> None:
        assert document is not None
        body = upstream.prepare(request, document)
        request.setHeader("Content-Length", str(len(body)))
        request.write(body[: self.after])
        # Close rather than abort, so that what was written arrives.
        upstream.later(0.05, lambda: request.transport and request.transport.loseConnection())


@attrs.define
class FallsSilent(Fault):
    """Announces everything, sends ``after`` bytes of it, then nothing more."""

    after: int

    def answer(self, upstream: FakeUpstream, request: Any, document: Document | None) -> None:
        assert document is not None
        body = upstream.prepare(request, document)
        request.setHeader("Content-Length", str(len(body)))
        request.write(body[: self.after])
        upstream.held.append(request)


@attrs.define
class WrongBody(Fault):
    """Answers with other bytes, by default as many of them as there should be."""

    body: bytes | None = None

    def answer(self, upstream: FakeUpstream, request: Any, document: Document | None) -> None:
        assert document is not None
        body = bytes(len(document.body)) if self.body is None else self.body
        upstream.answer_rightly(request, attrs.evolve(document, body=body))


@attrs.define
class Chunked(Fault):
    """Answers rightly, without saying how long the answer will be."""

    piece: int = 16 * 1024
    pause: float = 0.0

    def answer(self, upstream: FakeUpstream, request: Any, document: Document | None) -> None:
        assert document is not None
        body = upstream.prepare(request, document)
        self._go_on(upstream, request, body, 0)

    def _go_on(self, upstream: FakeUpstream, request: Any, body: bytes, offset: int) -> None:
        request.write(body[offset : offset + self.piece])
        if offset + self.piece >= len(body):
            request.finish()
        else:
            upstream.later(self.pause, lambda: self._go_on(upstream, request, body, offset + self.piece))


@attrs.define
class InParts(Fault):
    """Answers rightly, a part at once and another one each time ``go_on`` is called; all that is left with the last."""

    parts: int
    _request: Any = None
    _pieces: list[bytes] = attrs.field(factory=list)

    def answer(self, upstream: FakeUpstream, request: Any, document: Document | None) -> None:
        assert document is not None
        body = upstream.prepare(request, document)
        size = -(-len(body) // self.parts)
        self._request = request
        self._pieces = [body[start : start + size] for start in range(0, len(body), size)]
        request.setHeader("Content-Length", str(len(body)))
        self.go_on()

    @property
    def began(self) -> bool:
        """Whether it was asked."""
        return self._request is not None

    def go_on(self) -> None:
        """Send the next part."""
        self._request.write(self._pieces.pop(0))
        if not self._pieces:
            self._request.finish()


@attrs.define
class Garbage(Fault):
    """Answers with something that is not HTTP."""

    bytes_sent: bytes = b"\x00\xffthis is not HTTP\r\n\r\n"

    def answer(self, upstream: FakeUpstream, request: Any, document: Document | None) -> None:
        assert request.transport is not None
        request.transport.write(self.bytes_sent)
        upstream.later(0.05, lambda: request.transport and request.transport.loseConnection())


@attrs.define
class Hangup(Fault):
    """Closes the connection without a word."""

    def answer(self, upstream: FakeUpstream, request: Any, document: Document | None) -> None:
        assert request.transport is not None
        request.transport.loseConnection()


@attrs.define
class WithHeaders(Fault):
    """Answers rightly, with further headers."""

    headers: dict[str, str]

    def answer(self, upstream: FakeUpstream, request: Any, document: Document | None) -> None:
        assert document is not None
        upstream.answer_rightly(request, attrs.evolve(document, headers={**document.headers, **self.headers}))


@attrs.define(eq=False)
class FakeUpstream:
    """The index itself."""

    reactor: Any
    user: str | None = None
    """``user:password`` that every request has to bring."""
    seen: list[Seen] = attrs.field(factory=list)
    documents: dict[str, Document] = attrs.field(factory=dict)
    held: list[Any] = attrs.field(factory=list)
    _faults: dict[str, list[Any]] = attrs.field(factory=dict)
    _port: Any = None
    _site: Any = None
    _calls: list[Any] = attrs.field(factory=list)
    _channels: set[Any] = attrs.field(factory=set)

    # Life ----------------------------------------------------------------------------------------------------------

    def start(self, port: int = 0) -> FakeUpstream:
        """Listen on loopback."""
        self._site = Site(_Everything(self))
        self._site.noisy = False
        self._port = self.reactor.listenTCP(port or 0, self._site, interface="127.0.0.1")
        return self

    @property
    def port(self) -> int:
        """Where it listens."""
        number: int = self._port.getHost().port
        return number

    @property
    def url(self) -> str:
        """Its root, without a slash."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def index_url(self) -> str:
        """What a mirror's ``mirror_url`` is, credentials included."""
        userinfo = f"{self.user}@" if self.user else ""
        return f"http://{userinfo}127.0.0.1:{self.port}/simple/"

    async def stop(self) -> None:
        """Be gone: no connection is taken or kept."""
        for call in self._calls:
            if call.active():
                call.cancel()
        for request in self.held:
            if request.transport is not None:
                request.transport.abortConnection()
        self.held.clear()
        for transport in list(self._channels):
            transport.abortConnection()
        self._channels.clear()
        port, self._port = self._port, None
        if port is not None:
            await port.stopListening()

    def later(self, seconds: float, call: Callable[[], object]) -> None:
        """Do something in a while."""
        self._calls.append(self.reactor.callLater(seconds, call))

    # Contents ------------------------------------------------------------------------------------------------------

    def add_project(
        self,
        name: str,
        files: Mapping[str, bytes],
        *,
        form: str = "json",
        hashes: Iterable[str] = ("sha256",),
        sizes: bool = True,
        metadata: Mapping[str, bytes] | None = None,
        extra: Mapping[str, Mapping[str, Any]] | None = None,
        files_at: str = "",
        base: str | None = None,
        **page: Any,
    ) -> None:
        """A project with its page and files.

        ``metadata``: file name -> core metadata to announce and serve.  ``extra``: file name -> further keys of the file in the
        page.  ``files_at``: where the page says the files are, by default relative links to this server; ``base``: ``<base>`` of
        an HTML page.  ``page``: further keys of a JSON page.
        """
        metadata = metadata or {}
        entries = []
        for filename, content in files.items():
            path = f"/files/{name}/{filename}"
            self.add_file(path, content)
            entry: dict[str, Any] = {
                "filename": filename,
                "url": f"{files_at}{path}" if files_at else f"../..{path}",
                "hashes": {algorithm: hashlib.new(algorithm, content).hexdigest() for algorithm in hashes},
            }
            if sizes:
                entry["size"] = len(content)
            if filename in metadata:
                self.add_file(f"{path}.metadata", metadata[filename])
                entry["core-metadata"] = {"sha256": hashlib.sha256(metadata[filename]).hexdigest()}
            entries.append({**entry, **((extra or {}).get(filename, {}))})
        versions = sorted({filename.split("-")[1] for filename in files if "-" in filename})
        if form == "json":
            fields = {"meta": {"api-version": "1.1"}, "name": name, "files": entries, "versions": versions, **page}
            self.set_page(name, json.dumps(fields).encode(), JSON)
        else:
            self.set_page(name, _html_page(entries, base), HTML)

    def set_page(self, name: str, body: bytes, content_type: str = JSON) -> None:
        """The page of a project, as it is."""
        self.documents[f"/simple/{name}/"] = Document(body, content_type, etag=_etag(body), compress=True)

    def set_names(self, names: Iterable[str], form: str = "json") -> None:
        """The name list."""
        if form == "json":
            body = json.dumps({"meta": {"api-version": "1.1"}, "projects": [{"name": name} for name in names]}).encode()
        else:
            links = "\n".join(f'<a href="/simple/{name}/">{name}</a><br>' for name in names)
            body = f"<!DOCTYPE html><html><body>{links}</body></html>".encode()
        self.documents["/simple/"] = Document(body, JSON if form == "json" else HTML, etag=_etag(body), compress=True)

    def add_file(self, path: str, content: bytes) -> str:
        """A file at ``path``; returns its address."""
        self.documents[path] = Document(content, etag=_etag(content), last_modified=LAST_MODIFIED, ranges=True)
        return self.url + path if self._port is not None else path

    def misbehave(self, path: str, fault: Fault, times: int | None = None) -> Fault:
        """Answer requests for ``path`` with ``fault``, ``times`` times or for ever; several are used one after the other."""
        self._faults.setdefault(path, []).append([fault, times])
        return fault

    def behave(self, path: str) -> None:
        """Be good again."""
        self._faults.pop(path, None)

    # What happened -------------------------------------------------------------------------------------------------

    def count(self, path: str) -> int:
        """How many requests for ``path`` came."""
        return sum(1 for request in self.seen if request.path == path)

    # Answering -----------------------------------------------------------------------------------------------------

    def answer(self, request: Any) -> None:
        """Answer rightly or wrongly, as told."""
        path = request.uri.decode("latin-1")
        self.seen.append(Seen(request.method.decode(), path, request.requestHeaders.copy()))
        self._channels.add(request.channel.transport)
        request.notifyFinish().addErrback(lambda _: None)
        document = self.documents.get(path) or self.documents.get(path.partition("?")[0])
        if self.user is not None and _userinfo(request) != self.user:
            Status(401, {"WWW-Authenticate": 'Basic realm="upstream"'}).answer(self, request, document)
            return
        fault = self._next_fault(path)
        if fault is None:
            self.answer_rightly(request, document)
        else:
            fault.answer(self, request, document)

    def _next_fault(self, path: str) -> Fault | None:
        faults = self._faults.get(path)
        if not faults:
            return None
        fault, times = faults[0]
        if times is not None:
            faults[0][1] = times - 1
            if times <= 1:
                faults.pop(0)
        chosen: Fault = fault
        return chosen

    def answer_rightly(self, request: Any, document: Document | None) -> None:
        """The right answer."""
        if document is None:
            Status(404).answer(self, request, document)
            return
        body = self.prepare(request, document)
        request.setHeader("Content-Length", str(len(body)))
        if body and request.method != b"HEAD":
            request.write(body)
        request.finish()

    def prepare(self, request: Any, document: Document) -> bytes:
        """Status and headers of the right answer, and its body."""
        body = document.body
        headers = {"Content-Type": document.content_type, "ETag": document.etag, "Last-Modified": document.last_modified}
        for name, value in {**headers, **document.headers}.items():
            if value is not None:
                request.setHeader(name, value)
        asked = {name: request.getHeader(name) for name in ("if-none-match", "if-modified-since", "range", "if-range")}
        if (document.etag and asked["if-none-match"] == document.etag) or (
            document.last_modified and not asked["if-none-match"] and asked["if-modified-since"] == document.last_modified
        ):
            request.setResponseCode(304)
            return b""
        if document.ranges:
            request.setHeader("Accept-Ranges", "bytes")
            if asked["range"] and asked["if-range"] in (None, document.etag, document.last_modified):
                return _ranged(request, body, asked["range"])
        if document.compress and "gzip" in (request.getHeader("accept-encoding") or ""):
            request.setHeader("Content-Encoding", "gzip")
            return gzip.compress(body, 1)
        return body


class _Everything(Resource):
    """Every path there is."""

    isLeaf = True  # noqa: N815

    def __init__(self, upstream: FakeUpstream) -> None:
        super().__init__()
        self._upstream = upstream

    def render(self, request: Any) -> int:
        self._upstream.answer(request)
        return NOT_DONE_YET


def _etag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:20]}"'


def _userinfo(request: Any) -> str:
    kind, _, value = (request.getHeader("authorization") or "").partition(" ")
    return b64decode(value).decode() if kind == "Basic" else ""


def _ranged(request: Any, body: bytes, header: str) -> bytes:
    first, _, last = header.removeprefix("bytes=").partition("-")
    start = int(first) if first else max(0, len(body) - int(last))
    end = min(int(last), len(body) - 1) if first and last else len(body) - 1
    if start >= len(body):
        request.setResponseCode(416)
        request.setHeader("Content-Range", f"bytes */{len(body)}")
        return b""
    request.setResponseCode(206)
    request.setHeader("Content-Range", f"bytes {start}-{end}/{len(body)}")
    return body[start : end + 1]


def _html_page(entries: Iterable[Mapping[str, Any]], base: str | None) -> bytes:
    lines = ["<!DOCTYPE html>", "<html><head>", f'<base href="{escape(base)}">' if base else "", "</head><body>"]
    for entry in entries:
        fragment = next((f"#{name}={digest}" for name, digest in entry["hashes"].items()), "")
        attributes = ""
        if "requires-python" in entry:
            attributes += f' data-requires-python="{escape(entry["requires-python"])}"'
        if entry.get("yanked"):
            attributes += f' data-yanked="{escape(str(entry["yanked"]))}"'
        if "core-metadata" in entry:
            attributes += f' data-core-metadata="sha256={entry["core-metadata"]["sha256"]}"'
        lines.append(f'<a href="{escape(entry["url"])}{fragment}"{attributes}>{escape(entry["filename"])}</a><br>')
    return "\n".join([*lines, "</body></html>"]).encode()
