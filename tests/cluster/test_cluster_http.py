"""A cluster answers as one server with a directory does: the same requests, sent to its nodes in turn, get the same answers."""

from __future__ import annotations

import difflib
import hashlib
import io
import json
import os
import re
import signal
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import pytest
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.crash.test_crash_full_disk import SmallFiles
from tests.etc.talking import Answer, ask, basic, upload_form
from tests.fakes.cluster_form import cluster_node, new_place
from tests.fakes.distributions import Distribution, sdist_of, wheel_of
from tests.fakes.live_server import LiveServer
from tests.fakes.postgres import postgres
from tests.fakes.s3_server import S3Server
from tests.fakes.upstream import FakeUpstream
from tests.fakes.wheels import make_wheel, metadata, wheel_name
from tests.in_reactor import in_reactor, wait_for
from tests.live.test_live_commands import twistpi

reactor: Any = _reactor
OPTIONS = ("--bcrypt-cost", "4", "--root-passwd", "sesame12", "--min-free", "0", "--outside-url", "http://pypi.example/")
PAGE, HTML = "application/vnd.pypi.simple.v1+json", "text/html"
HEADERS = ("content-type", "cache-control", "www-authenticate", "content-range", "accept-ranges", "location", "allow")
"""What is compared beside status and body."""
VARYING = re.compile(
    rb"\[\s*20\d\d(,\s*\d+){5}\s*\]|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?|\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT"
)
"""When something happened."""


@attrs.frozen
class Request:
    """What is asked, by whom."""

    who: str
    method: str
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict)

    def send(self, url: str, serial: int) -> Answer:
        """The answer of the server at ``url``, which is as far as ``serial``.  Blocking."""
        given = {"Accept": "application/json", "X_Twistpi_Serial": str(serial), **self.headers}
        if self.who:
            given["Authorization"] = basic(self.who, "sesame12")
        return ask(f"{url}{self.path}", self.method, self.body, trust=None, **given)


def of(who: str, method: str, path: str, body: Any = None, **headers: str) -> Request:
    """A request with JSON."""
    if body is None:
        return Request(who, method, path, None, headers)
    return Request(who, method, path, json.dumps(body).encode(), {"Content_Type": "application/json", **headers})


def upload(who: str, index: str, file: Distribution, **fields: str) -> Request:
    body, kind = upload_form(file.filename, file.content)
    for name, value in fields.items():
        boundary = kind.rpartition("=")[2]
        body = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode() + body
    return Request(who, "POST", f"/{index}/", body, {"Content_Type": kind})


def push(who: str, project: str, version: str, target: str, source: str = "alice/dev") -> Request:
    return of(who, "PUSH", f"/{source}", {"name": project, "version": version, "targetindex": target})


WHEEL, OTHER = wheel_of("hello", "1.0", b"one"), wheel_of("hello", "1.0", b"two")
SDIST, NEWER = sdist_of("hello", "1.0"), wheel_of("hello", "2.0", b"three" * 40_000)
MADE, KNOWN, NEW = (wheel_of(name, "1.0", os.urandom(200_000)) for name in ("made", "known", "new"))
MIRRORED = make_wheel("far", "1.0", payload=b"far" * 30_000)
MIRRORED_PATH = f"+f/{(digest := hashlib.sha256(MIRRORED).hexdigest())[:3]}/{digest[3:16]}/{wheel_name('far', '1.0')}"


def documentation() -> Distribution:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr(zipfile.ZipInfo("index.html"), "<h1>Hello</h1>")
    return Distribution("hello", "1.0", "hello-1.0.doc.zip", archive.getvalue())


def pages_of(index: str, project: str) -> Iterator[Request]:
    for accept in (PAGE, HTML):
        for who in ("", "alice"):
            yield of(who, "GET", f"/{index}/+simple/{project}/", Accept=accept)


def users_and_indexes() -> Iterator[Request]:
    for who in ("alice", "bob"):
        yield of("", "PUT", f"/{who}", {"password": "sesame12", "email": f"{who}@example.com"})
    yield of("", "PUT", "/alice", {"password": "sesame12"})
    yield of("bob", "PATCH", "/alice", {"title": "mine"})
    yield of("alice", "PATCH", "/alice", {"title": "mine"})
    yield of("", "POST", "/+login", {"user": "alice", "password": "wrong"})
    yield of("alice", "PUT", "/alice/dev", {"bases": "root/pypi", "volatile": True})
    yield of("alice", "PUT", "/alice/prod", {"bases": "", "volatile": False, "acl_upload": ["alice", "bob"]})
    yield of("alice", "PUT", "/alice/closed", {"bases": "", "acl_read": ["alice"]})
    yield of("bob", "PUT", "/alice/other", {})
    yield of("alice", "PUT", "/alice/bad", {"bases": "alice/nothing"})
    yield of("alice", "PATCH", "/alice/dev", ["title=Development"])
    for path in ("/", "/alice", "/alice/dev", "/alice/prod", "/nobody", "/alice/nothing", "/alice/dev/+api"):
        yield of("", "GET", path)


def uploads() -> Iterator[Request]:
    yield upload("alice", "alice/dev", WHEEL)
    yield upload("alice", "alice/dev", WHEEL)
    yield upload("bob", "alice/dev", WHEEL)
    yield upload("", "alice/dev", WHEEL)
    yield upload("alice", "alice/dev", SDIST, sha256_digest="0" * 64)
    yield upload("alice", "alice/dev", SDIST)
    yield upload("alice", "alice/dev", NEWER)
    yield upload("alice", "root/pypi", NEWER)
    yield upload("bob", "alice/prod", OTHER)
    yield upload("alice", "alice/prod", WHEEL)
    yield upload("alice", "alice/closed", WHEEL)
    yield upload("alice", "alice/dev", documentation())
    yield of("", "POST", f"/alice/dev/{WHEEL.path}", {"testenvs": {}})
    for index in ("alice/dev", "alice/prod", "alice/closed"):
        yield from pages_of(index, "hello")
        yield of("", "GET", f"/{index}/hello")
        yield of("alice", "GET", f"/{index}/hello/1.0")
    yield of("", "GET", "/alice/dev/hello/1.0/+doc/index.html")


def files() -> Iterator[Request]:
    path = f"/alice/dev/{NEWER.path}"
    for accept in ("*/*", "application/json"):
        yield of("", "GET", path, Accept=accept)
    yield of("", "HEAD", path)
    yield of("", "GET", path, Range="bytes=100-199", Accept="*/*")
    yield of("", "GET", path, Range="bytes=9999999-", Accept="*/*")
    yield of("", "GET", f"{path}.metadata")
    yield of("", "GET", f"/alice/closed/{WHEEL.path}")
    yield of("bob", "GET", f"/alice/closed/{WHEEL.path}")
    yield of("alice", "GET", f"/alice/closed/{WHEEL.path}")
    yield of("", "GET", f"/alice/dev/{OTHER.path}")
    yield of("", "GET", "/alice/dev/+f/000/0000000000000/nothing-1.0.tar.gz")


def pushes_and_removals() -> Iterator[Request]:
    yield push("bob", "hello", "2.0", "alice/dev", "alice/dev")
    yield push("alice", "hello", "2.0", "alice/prod")
    yield push("alice", "hello", "2.0", "alice/prod")
    yield push("alice", "hello", "1.0", "alice/prod")
    yield push("alice", "hello", "3.0", "alice/prod")
    yield push("alice", "hello", "2.0", "alice/nothing")
    yield upload("alice", "alice/dev", OTHER)
    yield of("alice", "PUT", "/alice/dev/hello/2.0/+yank", {"reason": "broken"})
    yield of("bob", "DELETE", "/alice/dev/hello/2.0/+yank")
    yield from pages_of("alice/dev", "hello")
    yield of("alice", "DELETE", "/alice/dev/hello/2.0/+yank")
    yield of("bob", "DELETE", f"/alice/dev/{OTHER.path}")
    yield of("alice", "DELETE", f"/alice/dev/{OTHER.path}")
    yield of("alice", "DELETE", f"/alice/dev/{OTHER.path}")
    yield of("", "GET", f"/alice/dev/{OTHER.path}")
    yield of("alice", "DELETE", "/alice/prod/hello/2.0")
    yield of("alice", "DELETE", "/alice/prod/hello/2.0?force")
    yield of("alice", "DELETE", "/alice/dev/hello")
    for index in ("alice/dev", "alice/prod"):
        yield from pages_of(index, "hello")


def mirror() -> Iterator[Request]:
    yield from pages_of("root/pypi", "far")
    yield from pages_of("alice/dev", "far")
    for index in ("root/pypi", "alice/dev"):
        for suffix in ("", ".metadata"):
            yield of("", "GET", f"/{index}/{MIRRORED_PATH}{suffix}", Accept="*/*")
        yield of("", "GET", f"/{index}/+simple/absent/", Accept=PAGE)
        yield of("", "GET", f"/{index}/+simple/", Accept=PAGE)
    yield push("alice", "far", "1.0", "alice/prod", "root/pypi")
    yield of("", "GET", f"/alice/prod/{MIRRORED_PATH}", Accept="*/*")


def farewells() -> Iterator[Request]:
    yield of("bob", "DELETE", "/alice/dev")
    yield of("alice", "DELETE", "/alice/dev")
    yield of("alice", "DELETE", "/alice/prod")
    yield of("alice", "DELETE", "/alice/closed")
    yield of("alice", "DELETE", "/alice")
    yield of("", "GET", "/")
    yield of("", "GET", f"/alice/dev/{WHEEL.path}")
    for method in ("POST", "PATCH", "DELETE"):
        yield of("", method, "/+api", {})


@attrs.define(eq=False)
class Forms:
    """A server with a directory, and two nodes of a cluster, one of them with a worker."""

    directory: LiveServer
    nodes: list[LiveServer]
    _serial: int = 0
    _turn: int = 0

    def answers(self, request: Request) -> tuple[Answer, Answer]:
        """What the one says, and what the node whose turn it is says, which has all that the other ones said.  Blocking."""
        self._turn += 1
        node = self.nodes[self._turn % len(self.nodes)]
        one, other = request.send(self.directory.url, 0), request.send(node.url, self._serial)
        self._serial = max(self._serial, int(other.headers["x-devpi-serial"]))
        return one, other


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    fake, far = FakeUpstream(reactor).start(), wheel_name("far", "1.0")
    fake.add_project("far", {far: MIRRORED}, metadata={far: metadata("far", "1.0")})
    for file in (KNOWN, NEW):
        fake.add_project(file.project, {file.filename: file.content})
    yield fake
    wait_for(Deferred.fromCoroutine(fake.stop()))


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server, upstream: FakeUpstream) -> Iterator[Forms]:
    """Servers that answer."""
    tmp_path = tmp_path_factory.mktemp("forms")
    url, blobs = postgres().new_schema(), new_place()
    nodes = [cluster_node(tmp_path / f"cache{n}", tmp_path / f"node{n}.log", url, blobs, s3_server) for n in range(2)]
    made = Forms(LiveServer(tmp_path / "data", tmp_path / "directory.log"), nodes)
    for server, more in ((made.directory, ()), (nodes[0], ()), (nodes[1], ("--workers", "1"))):
        server.spawn(*OPTIONS, "--upstream", upstream.index_url, *more)
    for server in (made.directory, *nodes):
        server.wait_until_it_answers()
    yield made
    for server in (made.directory, *nodes):
        server.end(signal.SIGKILL)


def shown(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    """What is compared."""
    headers = {name: answer.headers[name] for name in HEADERS if name in answer.headers}
    return answer.status, headers, VARYING.sub(b"(then)", answer.body)


def difference(one: Answer, other: Answer) -> str:
    before, after = ([str(shown(answer)[:2]), *repr(shown(answer)[2]).split("\\n")] for answer in (one, other))
    return "\n".join(difflib.unified_diff(before, after, "directory", "cluster", lineterm="", n=1))


@in_reactor
async def test_the_nodes_of_a_cluster_answer_as_one_server_with_a_directory(forms: Forms) -> None:
    def compare() -> list[int]:
        statuses = []
        for part in (users_and_indexes, uploads, files, pushes_and_removals, mirror, farewells):
            for request in part():
                one, other = forms.answers(request)
                assert shown(other) == shown(one), f"{request}\n{difference(one, other)}"
                statuses.append(one.status)
        return statuses

    statuses = await deferToThread(compare)
    assert len(statuses) > 100
    assert {200, 201, 206, 400, 401, 403, 404, 409, 410, 416} <= set(statuses)
    for server in (forms.directory, *forms.nodes):
        assert "Traceback" not in server.told()


def prepare(url: str, mirror_url: str) -> int:
    """Upload one file, have another one mirrored, and make another mirror; the serial of that.  Blocking."""
    for index, config in (("dev", {}), ("other", {"type": "mirror", "mirror_url": mirror_url})):
        made = of("root", "PUT", f"/root/{index}", config).send(url, 0)
        assert made.status == 200, made
    assert upload("root", "root/dev", MADE).send(url, 0).status == 200
    mirrored = download(url, "root/pypi", KNOWN)
    assert mirrored.body == KNOWN.content
    return int(mirrored.headers["x-devpi-serial"])


def download(url: str, index: str, file: Distribution) -> Answer:
    """A file, after the page that names it.  Blocking."""
    page = of("", "GET", f"/{index}/+simple/{file.project}/", Accept=PAGE).send(url, 0)
    assert page.status == 200, page
    return of("", "GET", f"/{index}/{file.path}", Accept="*/*").send(url, 0)


@in_reactor
async def test_a_node_whose_cache_has_no_room_passes_files_on(forms: Forms, upstream: FakeUpstream) -> None:
    def check() -> None:
        one, full = forms.nodes
        serial = prepare(one.url, upstream.index_url)
        for index, file in (("root/pypi", NEW), ("root/other", KNOWN)):  # so that the view needs no room for them
            assert of("", "GET", f"/{index}/+simple/{file.project}/", Accept=PAGE).send(full.url, serial).status == 200
        SmallFiles(full.serverdir).fill(full)
        for index, file in (("root/dev", MADE), ("root/pypi", KNOWN), ("root/other", KNOWN), ("root/pypi", NEW)):
            answer = download(full.url, index, file)
            assert answer.status == 200, (index, file.filename, answer)
            assert answer.body == file.content
        looked = json.loads(twistpi(full, "gc", "--dry-run", "--json"))
        assert looked["examined"] > 2, "it looks into the bucket"

    await deferToThread(check)
