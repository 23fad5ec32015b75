"""Uploads over real sockets: little memory, nothing left behind, and refusals that reach who is refused."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet import reactor as installed_reactor
from twisted.internet import task
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, maybeDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.internet.testing import StringTransport
from twisted.internet.threads import deferToThread, deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from tests.fakes.certificates import write_certificate
from tests.fakes.faulty_system import FaultySystem
from tests.in_reactor import in_reactor, until, wait_for
from tests.web.receiving.form_samples import COMMON, WHEEL, encode, text
from twistpi.blobs.incoming import System
from twistpi.blobs.tree import open_tree
from twistpi.model.errors import LoginNeeded, TwistpiError
from twistpi.model.records import NOBODY, Principal
from twistpi.web.commits import UploadStorage
from twistpi.web.receiving.streamed_body import Admit, StreamedBody, choose_body
from twistpi.web.transport.channel import Channel

reactor: Any = installed_reactor
offload: Any = deferToThread
MB = 1024 * 1024
TYPE = "multipart/form-data; boundary=boundary"


@attrs.define(eq=False)
class Services(UploadStorage):
    """What bodies need, on a real disk."""

    admit: Admit = attrs.field(kw_only=True)
    bodies: list[StreamedBody] = attrs.field(factory=list)


async def anybody(request: Request, path: bytes) -> Principal:
    return NOBODY


class UploadRequest(Request):
    """A request whose form is streamed."""

    channel: Any

    def gotLength(self, length: int | None) -> None:
        services: Services = self.channel.site.services
        body = choose_body(self, services, length, services.admit)
        if body is None:
            super().gotLength(length)
            return
        services.bodies.append(body)
        self.content = body


class Handler(Resource):
    """Takes an upload and says what it was; keeps it when the field ``keep`` says so."""

    isLeaf = True  # noqa: N815

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._services = services

    def render_POST(self, request: Request) -> int:
        answering = ensureDeferred(self._answer(request))
        answering.addErrback(self._fail, request)
        request.notifyFinish().addErrback(lambda _: answering.cancel())
        return NOT_DONE_YET

    async def _answer(self, request: Request) -> None:
        body = request.content
        if not isinstance(body, StreamedBody):
            request.write(b"no form")
            request.finish()
            return
        principal = await body.admitted()
        form = await body.form()
        said = [f"{principal.user} sent {form.filename} to {request.path.decode()}"]
        if form.content is not None:
            said += [form.content.sha256, str(form.content.size)]
            if form.first("keep"):
                await self._services.offload(form.content.keep, form.filename)
        self._say(request, 200, " ".join(said))

    def _fail(self, failure: Failure, request: Request) -> None:
        if failure.check(CancelledError):
            return
        status = failure.value.status if isinstance(failure.value, TwistpiError) else 500
        self._say(request, status, failure.getErrorMessage())

    def _say(self, request: Request, status: int, said: str) -> None:
        request.setResponseCode(status)
        request.setHeader(b"Content-Length", b"%d" % len(said.encode()))
        request.write(said.encode())
        request.finish()


class UploadSite(Site):
    """A site with uploads."""

    protocol = Channel  # type: ignore[assignment]

    def __init__(self, services: Services) -> None:
        super().__init__(Handler(services), UploadRequest, parsePOSTFormSubmission=False)
        self.services = services


class Setup:
    """A server on loopback with a folder of blobs."""

    def __init__(self, folder: Path, system: System) -> None:
        self.folder = folder
        self.services: Any = Services(open_tree(str(folder), system), offload, print, 1 << 40, admit=anybody)
        self.site = UploadSite(self.services)
        self.listening = reactor.listenTCP(0, self.site, interface="127.0.0.1")
        self.port: int = self.listening.getHost().port
        self._clients = ThreadPool(0, 32, "clients")
        self._clients.start()

    @property
    def incoming(self) -> list[str]:
        return os.listdir(self.folder / "incoming")

    @property
    def kept(self) -> list[str]:
        return sorted(address.filename for address, _size in self.services.blobs.walk())

    def has_received(self, size: int) -> bool:
        return [body.received for body in self.services.bodies] == [size]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 20)

    def post(self, body: bytes, **headers: str) -> Any:
        """Send ``body`` in one go; the status, the text and whether the connection goes on."""
        return self.send(head(len(body), **headers) + body)

    def send(self, *pieces: bytes) -> Deferred[tuple[int, str, bool]]:
        """Send ``pieces`` one after the other; the same."""
        return self.run(self._send, *pieces)

    def run(self, client: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """Run a client, in a thread that the server does not need."""
        return deferToThreadPool(reactor, self._clients, client, *arguments)

    def stop(self) -> Deferred[Any]:
        self._clients.stop()
        return maybeDeferred(self.listening.stopListening)

    def _send(self, *pieces: bytes) -> tuple[int, str, bool]:
        with self.connect() as connection:
            for piece in pieces:
                connection.sendall(piece)
            return receive(connection)


@pytest.fixture
def system() -> System:
    return System()


@pytest.fixture
def setup(tmp_path: Path, system: System) -> Iterator[Setup]:
    made = Setup(tmp_path, system)
    yield made
    wait_for(made.stop())
    wait_for(task.deferLater(reactor, 0.05))


def head(length: int | None, path: str = "/alice/dev/", **headers: str) -> bytes:
    headers = {"Content-Type": TYPE, **headers}
    lines = [f"POST {path} HTTP/1.1", "Host: localhost"]
    lines.append("Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}")
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def chunks(*pieces: bytes) -> list[bytes]:
    """``pieces`` of a body in chunked coding."""
    return [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces]


def form(content: bytes, *more: Any) -> bytes:
    return encode("boundary", [*COMMON, *more, ("content", WHEEL, None, content)])


BEFORE, _, AFTER = form(b"CONTENT").partition(b"CONTENT")
"""What stands before and after the file."""


def receive(connection: socket.socket) -> tuple[int, str, bool]:
    stream = connection.makefile("rb")
    status = int(stream.readline().split()[1])
    length, goes_on = 0, True
    for line in iter(stream.readline, b"\r\n"):
        assert line, "the answer was cut"
        name, _, value = line.lower().partition(b": ")
        length = int(value) if name == b"content-length" else length
        goes_on = goes_on and (name, value) != (b"connection", b"close\r\n")
    return status, stream.read(length).decode(), goes_on


def resident() -> int:
    """Bytes of memory this process has."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS"))


def unnamed_files() -> list[str]:
    """The files this process has open that no folder knows, as temporary files are."""
    links = (f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd"))
    return sorted(target for target in map(_target, links) if target.endswith("(deleted)"))


def _target(link: str) -> str:
    try:
        return os.readlink(link)
    except FileNotFoundError:
        return ""


@in_reactor
async def test_a_small_upload_is_read_whole_and_the_connection_goes_on(setup: Setup) -> None:
    content = os.urandom(1000)
    status, said, goes_on = await setup.post(form(content))
    assert (status, goes_on) == (200, True)
    assert said == f"{NOBODY.user} sent {WHEEL} to /alice/dev/ {hashlib.sha256(content).hexdigest()} 1000"
    await until(lambda: setup.incoming == [])
    assert setup.kept == []


@in_reactor
async def test_what_the_door_keeps_is_a_blob(setup: Setup) -> None:
    assert (await setup.post(form(b"wheel", text("keep", "1"))))[0] == 200
    await until(lambda: setup.incoming == [])
    assert setup.kept == [WHEEL]


@in_reactor
async def test_R93_200_megabytes_take_little_memory_and_lie_in_no_other_place(setup: Setup) -> None:
    megabyte, count = os.urandom(MB), 200

    def upload() -> tuple[int, str, int]:
        highest = 0
        with setup.connect() as connection:
            connection.sendall(head(len(BEFORE) + count * MB + len(AFTER)) + BEFORE)
            for _ in range(count):
                connection.sendall(megabyte)
                highest = max(highest, resident())
            assert set(unnamed_files()) <= set(unnamed)
            connection.sendall(AFTER)
            status, said, _ = receive(connection)
            return status, said, highest

    await setup.post(form(megabyte))  # what the first upload of all loads is not counted
    start, unnamed = resident(), unnamed_files()
    status, said, highest = await setup.run(upload)
    expected = hashlib.sha256()
    for _ in range(count):
        expected.update(megabyte)
    assert (status, said.split()[-2:]) == (200, [expected.hexdigest(), str(count * MB)])
    assert highest - start < 20 * MB
    await until(lambda: setup.incoming == [])


@in_reactor
async def test_R93_a_disk_that_is_slow_holds_the_sender_back(setup: Setup) -> None:
    gate: Deferred[None] = Deferred()

    def offload(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        waiter: Deferred[None] = Deferred()
        gate.addCallback(lambda _: waiter.callback(None))
        return waiter.addCallback(lambda _: deferToThread(function, *arguments))

    setup.services.offload = offload
    content = os.urandom(20 * MB)
    answer = setup.post(form(content))
    await until(lambda: setup.services.bodies)
    body = setup.services.bodies[0]
    await until(lambda: body.received > 256 * 1024)
    await task.deferLater(reactor, 0.2)
    assert body.received < MB
    others = await setup.run(lambda: [setup._send(head(1, **{"Content-Type": "text/plain"}) + b"x")[0] for _ in range(3)])
    assert others == [200, 200, 200], "nobody else waits for it"
    gate.callback(None)
    assert (await answer)[1].split()[-2] == hashlib.sha256(content).hexdigest()


@in_reactor
async def test_a_body_in_chunks_is_the_same(setup: Setup) -> None:
    content = os.urandom(3 * MB)
    body = form(content)
    pieces = [body[start : start + 100_003] for start in range(0, len(body), 100_003)]
    status, said, goes_on = await setup.send(head(None), *chunks(*pieces, b""))
    assert (status, said.split()[-2], goes_on) == (200, hashlib.sha256(content).hexdigest(), True)


@in_reactor
async def test_a_client_that_waits_for_leave_to_send_gets_it(setup: Setup) -> None:
    body = form(b"x" * 100_000)

    def upload() -> tuple[bytes, int]:
        with setup.connect() as connection:
            connection.sendall(head(len(body), Expect="100-continue"))
            leave = connection.recv(1000)
            connection.sendall(body)
            return leave, receive(connection)[0]

    assert await setup.run(upload) == (b"HTTP/1.1 100 Continue\r\n\r\n", 200)


@in_reactor
async def test_R86_a_client_that_waits_for_leave_to_send_but_may_not_hears_why_and_sends_nothing(setup: Setup) -> None:
    setup.services.max_upload_size = 1000
    status, said, goes_on = await setup.send(head(2000, Expect="100-continue"))
    assert (status, goes_on) == (413, False)
    assert "1000 bytes" in said
    assert "max-upload-size" in said
    setup.services.admit = _nobody
    assert (await setup.send(head(100, Expect="100-continue")))[0] == 401


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "in chunks"])
@in_reactor
async def test_R86_too_much_is_refused_early_and_the_sender_can_finish_and_hear_it(setup: Setup, chunked: bool) -> None:
    setup.services.max_upload_size = 5 * MB
    whole = (BEFORE, *[bytes(MB)] * 30, AFTER)
    for sent in (whole, whole[:7]):
        pieces = chunks(*sent, *[b""] * (sent is whole)) if chunked else sent
        status, said, goes_on = await setup.send(head(None if chunked else sum(map(len, whole))), *pieces)
        assert (status, goes_on) == (413, False)
        assert f"{5 * MB} bytes" in said
    await until(lambda: setup.incoming == [])


@in_reactor
async def test_R86_R93_the_same_holds_behind_tls(setup: Setup, tmp_path: Path) -> None:
    setup.services.max_upload_size = 12 * MB
    key, certificate = write_certificate(tmp_path)
    context = DefaultOpenSSLContextFactory(str(key), str(certificate))
    port = reactor.listenSSL(0, setup.site, context, interface="127.0.0.1")
    contents = [os.urandom(10 * MB), bytes(30 * MB)]

    def upload(content: bytes) -> tuple[int, str, bool]:
        trusting = ssl.create_default_context(cafile=str(certificate))
        with (
            socket.create_connection(("127.0.0.1", port.getHost().port), 60) as plain,
            trusting.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
        ):
            body = form(content)
            connection.sendall(head(len(body)) + body)
            return receive(connection)

    taken, refused = [await setup.run(upload, content) for content in contents]
    await port.stopListening()
    assert (taken[0], taken[1].split()[-2]) == (200, hashlib.sha256(contents[0]).hexdigest())
    assert (refused[0], refused[2]) == (413, False)


@in_reactor
async def test_R86_a_refusal_with_little_left_to_come_waits_and_the_connection_goes_on(setup: Setup) -> None:
    setup.services.max_upload_size = 1000
    status, said, goes_on = await setup.post(form(bytes(100_000)))
    assert (status, goes_on) == (413, True)
    assert "1000 bytes" in said


@in_reactor
async def test_a_broken_connection_leaves_nothing(setup: Setup) -> None:
    whole = form(os.urandom(5 * MB))
    for sent in (100, 70_000, 1_000_000, len(whole) - 1):
        client = setup.connect()
        await setup.run(client.sendall, head(len(whole)) + whole[:sent])
        await until(partial(setup.has_received, sent))
        if sent > 100_000:
            await until(lambda: setup.incoming)
        client.close()
        await until(lambda: setup.incoming == [])
        setup.services.bodies.clear()
    assert setup.kept == []


@in_reactor
async def test_a_client_that_stalls_is_let_go_and_leaves_nothing(setup: Setup) -> None:
    setup.site.reactor = clock = task.Clock()
    client = setup.connect()
    await setup.run(client.sendall, head(5 * MB) + form(bytes(MB))[:MB])
    await until(lambda: setup.incoming and setup.has_received(MB))

    def is_over() -> bool:
        clock.advance(10)
        return setup.incoming == []

    await until(is_over)
    assert await setup.run(client.recv, 100) == b""
    client.close()


@in_reactor
async def test_a_client_that_leaves_while_its_upload_is_looked_at_leaves_nothing(setup: Setup) -> None:
    gate: Deferred[None] = Deferred()
    real = setup.services.offload

    def offload(function: Callable[..., Any], *arguments: Any) -> Any:
        if getattr(function, "__name__", "") != "keep":
            return real(function, *arguments)
        return gate.addCallback(lambda _: real(function, *arguments))

    setup.services.offload = offload
    client = setup.connect()
    await setup.run(client.sendall, head(len(whole := form(bytes(MB), text("keep", "1")))) + whole)
    await until(lambda: setup.incoming)
    await task.deferLater(reactor, 0.05)
    client.close()
    await until(lambda: setup.incoming == [])
    assert setup.kept == []


@in_reactor
async def test_32_uploads_at_once_do_not_mix(setup: Setup) -> None:
    contents = [os.urandom(number * 20_000) for number in range(32)]
    answers = [setup.post(form(content, text("keep", "1"))) for content in contents]
    for answer, content in zip(answers, contents, strict=True):
        assert (await answer)[1].split()[-2:] == [hashlib.sha256(content).hexdigest(), str(len(content))]
    await until(lambda: setup.incoming == [])
    assert len(setup.kept) == 32


@in_reactor
async def test_what_can_have_no_files_is_left_to_others(setup: Setup) -> None:
    for kind in ("application/json", "text/xml", "application/x-www-form-urlencoded", ""):
        assert (await setup.post(b"{}", **{"Content-Type": kind}))[1] in ("no form", "")
    assert setup.services.bodies == []


class FullDisk(FaultySystem):
    """Has room for a megabyte."""

    def write(self, descriptor: int, data: memoryview) -> int:
        if os.fstat(descriptor).st_size > MB:
            raise OSError(errno.ENOSPC, "No space left on device")
        return os.write(descriptor, data)


@pytest.mark.parametrize("system", [FullDisk()])
@in_reactor
async def test_a_full_disk_is_told_early_and_leaves_nothing(setup: Setup) -> None:
    status, said, goes_on = await setup.post(form(bytes(20 * MB)))
    assert (status, goes_on) == (507, False)
    assert "No space left" in said
    assert setup.incoming == []
    assert (await setup.post(form(b"small", text("keep", "1"))))[0] == 200


@in_reactor
async def test_a_broken_form_is_refused_and_leaves_nothing(setup: Setup) -> None:
    for end in (b"--boundary\r\nno header\r\n\r\n", b""):
        status, said, goes_on = await setup.post(BEFORE + bytes(MB) + b"\r\n" + end)
        assert (status, goes_on) == (400, True)
        assert said.startswith("The form cannot be read: ")
    await until(lambda: setup.incoming == [])


@in_reactor
async def test_an_unreadable_type_is_refused_before_anything_else(setup: Setup) -> None:
    status, said, _ = await setup.post(form(b"x"), **{"Content-Type": "multipart/form-data"})
    assert (status, said) == (400, "The form cannot be read: its Content-Type names no boundary that can be used.")


# Who may upload ----------------------------------------------------------------------------------------------------


async def _nobody(request: Request, path: bytes) -> Principal:
    raise LoginNeeded(
        f"Log in to upload to {path.decode()}: it is not open to everybody, and no valid login came with the request."
    )


@pytest.mark.parametrize("system", [FaultySystem()])
@in_reactor
async def test_R72_who_may_not_upload_hears_so_on_a_connection_that_goes_on_and_nothing_is_written(
    setup: Setup, system: FaultySystem
) -> None:
    setup.services.admit = _nobody
    system.calls.clear()

    def twice() -> list[tuple[int, str, bool]]:
        with setup.connect() as connection:
            answers = []
            for _ in range(2):
                body = form(bytes(600_000))
                connection.sendall(head(len(body)) + body)
                answers.append(receive(connection))
            return answers

    refused = (
        401,
        "Log in to upload to /alice/dev/: it is not open to everybody, and no valid login came with the request.",
        True,
    )
    assert await setup.run(twice) == [refused, refused]
    assert system.calls == []


@in_reactor
async def test_who_may_not_upload_much_hears_so_early(setup: Setup) -> None:
    setup.services.admit = _nobody
    status, _said, goes_on = await setup.post(form(bytes(20 * MB)))
    assert (status, goes_on) == (401, False)
    assert setup.services.bodies[0].received < 20 * MB


@in_reactor
async def test_until_it_is_known_who_asks_little_is_taken_and_nothing_written(setup: Setup) -> None:
    principal: Deferred[Principal] = Deferred()

    async def admit(request: Request, path: bytes) -> Principal:
        assert (path, request.getHeader("x-who")) == (b"/alice/dev/", "alice")
        return await principal

    setup.services.admit = admit
    content = os.urandom(5 * MB)
    answer = setup.post(form(content), **{"X-Who": "alice"})
    await until(lambda: setup.services.bodies and setup.services.bodies[0].received > 256 * 1024)
    await task.deferLater(reactor, 0.1)
    assert setup.services.bodies[0].received < MB
    assert setup.incoming == []
    principal.callback(Principal("alice"))
    status, said, goes_on = await answer
    assert (status, goes_on) == (200, True)
    assert said.startswith("alice sent ")
    assert said.split()[-2] == hashlib.sha256(content).hexdigest()


@in_reactor
async def test_who_leaves_before_it_is_known_who_asks_is_not_waited_for(setup: Setup) -> None:
    cancelled: list[object] = []

    async def admit(request: Request, path: bytes) -> Principal:
        return await Deferred[Principal](cancelled.append)

    setup.services.admit = admit
    client = setup.connect()
    client.sendall(head(1000) + b"--boundary")
    await until(lambda: setup.services.bodies and setup.services.bodies[0].received)
    client.close()
    await until(lambda: cancelled)
    assert setup.incoming == []


# The end of a connection that was answered early -------------------------------------------------------------------


class Line:
    """A connection in memory, with a clock that stands still."""

    def __init__(self, folder: Path) -> None:
        services = Services(open_tree(str(folder)), offload, print, 1000, admit=anybody)
        self.clock = task.Clock()
        site: Any = UploadSite(services)
        self.channel: Any = site.buildProtocol(None)
        self.channel.callLater = self.clock.callLater
        self.transport: Any = StringTransport()
        self.channel.makeConnection(self.transport)
        self.channel.dataReceived(head(50 * MB))
        self.clock.advance(0)

    @property
    def is_open(self) -> bool:
        return not self.transport.disconnecting and not self.transport.disconnected

    def lose(self) -> None:
        self.channel.connectionLost(Failure(ConnectionDone()))


@pytest.fixture
def line(tmp_path: Path) -> Line:
    return Line(tmp_path)


def test_R86_after_an_early_answer_the_connection_stays_open_for_the_rest(line: Line) -> None:
    answer = line.transport.value()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"Connection: close" in answer
    for _ in range(50):
        line.clock.advance(9)
        assert line.is_open
        line.channel.dataReceived(b"GET / HTTP/1.1\r\n\r\n" * 1000)
    assert line.transport.value() == answer, "what comes is not taken for requests"
    line.lose()
    assert line.clock.getDelayedCalls() == []


def test_R86_who_was_answered_early_and_falls_silent_is_let_go(line: Line) -> None:
    line.clock.advance(9)
    assert line.is_open
    line.clock.advance(2)
    assert not line.is_open
    line.lose()
    assert line.clock.getDelayedCalls() == []


def test_R86_who_was_answered_early_and_never_ends_is_let_go(line: Line) -> None:
    for _ in range(61):
        line.channel.dataReceived(b"x")
        line.clock.advance(9.9)
    assert not line.is_open
