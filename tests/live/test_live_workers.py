"""A server with workers: one upstream fetch for all of them, what is written is read at once, and none is missed when it dies."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import signal
import socket
import ssl
import time
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.fakes.certificates import write_certificate
from tests.fakes.live_server import PATIENCE, LiveServer, eventually
from tests.fakes.upstream import FakeUpstream
from tests.fakes.wheels import make_wheel, wheel_name
from tests.in_reactor import in_reactor, wait_for
from tests.live.devpi_client import Step
from tests.live.stages import fetch
from tests.live.test_live_commands import CHEAP

WHEEL = wheel_name("hello", "1.0")
CONTENT = make_wheel("hello", "1.0")
_SERVES = re.compile(r"Worker (\d) serves \(process (\d+)\)")
LARGE = 64 * 1024 * 1024


def workers_of(server: LiveServer) -> dict[int, int]:
    """The process of each worker, as the log says it last."""
    return {int(number): int(pid) for number, pid in _SERVES.findall(server.told())}


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def memory_of(pid: int) -> int:
    """The most that a process ever had in memory, in bytes."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


class Client:
    """One connection that is kept; every request must be answered."""

    def __init__(self, server: LiveServer) -> None:
        self._address = server.url.partition("://")[2]
        self._connection = http.client.HTTPConnection(self._address, timeout=60)

    def ask(self, method: str, path: str, body: object = None, login: str = "", **headers: str) -> tuple[int, bytes]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if login:
            sent["Authorization"] = "Basic " + b64encode(login.encode()).decode()
        content = None if body is None else json.dumps(body).encode()
        self._connection.request(method, path, content, {"Accept": "application/json", **sent})
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def close(self) -> None:
        self._connection.close()


def secure_url(server: LiveServer) -> str:
    """Where it answers over TLS."""
    found: str = re.findall(r"answers at (https://\S+?)/?\s", server.told())[0]
    return found


async def start(server: LiveServer, upstream: FakeUpstream, *options: str) -> dict[int, int]:
    """Start it with two workers; their processes."""
    upstream.add_project("hello", {WHEEL: CONTENT})
    await deferToThread(
        server.start, "--upstream", upstream.index_url, "--workers", "2", "--root-passwd", "secret", *options, environment=CHEAP
    )
    await deferToThread(eventually, lambda: len(workers_of(server)) == 2)
    return workers_of(server)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the certificate and the access log of ``running``."""
    return tmp_path_factory.mktemp("workers")


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[tuple[LiveServer, FakeUpstream]]:
    """A server with two workers, which listens for TLS, too."""
    key, certificate = write_certificate(folder)
    tls = f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}"
    fake, live = FakeUpstream(reactor).start(), LiveServer(folder / "data", folder / "twistd.log")
    options = ("--access-log", str(folder / "access.log"), "--listen", "tcp:0:interface=127.0.0.1", "--listen", tls)
    wait_for(Deferred.fromCoroutine(start(live, fake, *options)))
    yield live, fake
    live.end()
    wait_for(Deferred.fromCoroutine(fake.stop()))
    assert "Traceback" not in live.told()


@in_reactor
async def test_workers_share_fetches_and_see_what_was_written(
    running: tuple[LiveServer, FakeUpstream], step: Step, folder: Path
) -> None:
    server, upstream = running
    page, file = f"{server.simple}hello/", f"{server.url}/root/pypi/+f/{_digest_path(CONTENT)}/{WHEEL}"
    with ThreadPoolExecutor(12) as threads:
        pages = await deferToThread(lambda: list(threads.map(fetch, [page] * 24)))
        files = await deferToThread(lambda: list(threads.map(fetch, [file] * 24)))
    assert len(set(pages)) == 1
    assert set(files) == {CONTENT}
    assert upstream.count("/simple/hello/") == upstream.count(f"/files/hello/{WHEEL}") == 1
    await deferToThread(read_what_was_written, server)
    # The client of the devpi protocol, for which it makes no difference.
    await step("use", server.url)
    await step("login", "root", "--password", "secret")
    await step("index", "-c", "root/dev", "bases=root/pypi", "mirror_whitelist=*")
    await step("use", "root/dev")
    assert "root/pypi" in (await step("index", "root/dev")).told
    told = await deferToThread(fetch, f"{server.url}/+metrics")
    assert b'twistpi_worker_up{worker="2"} 1.0' in told
    assert b'twistpi_worker_requests_total{worker="1"}' in told
    # Whatever way a request took, it is counted and logged once.
    log = folder / "access.log"
    await deferToThread(eventually, lambda: _requests(server, "page", 200) >= 24 and _requests(server, "file", 200) >= 24)
    await deferToThread(eventually, lambda: log.read_text().count(f"/{WHEEL} HTTP") >= 24)
    assert _requests(server, "file", 200) == log.read_text().count(f"/{WHEEL} HTTP") == 24


def _requests(server: LiveServer, kind: str, status: int) -> int:
    """How many requests of a kind the server says it answered.  Blocking."""
    told = fetch(f"{server.url}/+metrics").decode()
    found = re.search(rf'^twistpi_requests_total{{kind="{kind}",status="{status}"}} (\d+)', told, re.MULTILINE)
    return int(found[1]) if found else 0


def _digest_path(content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    return f"{digest[:3]}/{digest[3:16]}"


def read_what_was_written(server: LiveServer) -> None:
    """A client whose change was acknowledged sees it on every connection, whichever worker has that."""
    clients = [Client(server) for _ in range(6)]
    assert clients[0].ask("PUT", "/alice", {"password": "a"})[0] == 201
    status, told = clients[0].ask("POST", "/+login", {"user": "alice", "password": "a"})
    assert status == 200
    login = f"alice:{json.loads(told)['result']['password']}"
    assert clients[0].ask("PUT", "/alice/dev", {"bases": []}, login)[0] == 200
    for number in range(40):
        writer = clients[number % 6]
        assert writer.ask("PATCH", "/alice/dev", {"title": f"title {number}"}, login)[0] == 200
        for reader in clients:
            status, told = reader.ask("GET", "/alice/dev?no_projects=")
            assert (status, json.loads(told)["result"]["title"]) == (200, f"title {number}")
    assert clients[1].ask("PATCH", "/alice/dev", {"acl_read": ["alice"]}, login)[0] == 200
    assert [reader.ask("GET", "/alice/dev/+simple/x/")[0] for reader in clients] == [401] * 6
    assert [reader.ask("GET", "/alice/dev", None, "alice:a")[0] for reader in clients] == [200] * 6
    assert clients[2].ask("PATCH", "/alice", {"password": "b"}, login)[0] == 200
    assert [clients[3].ask("GET", "/alice/dev", None, f"alice:{password}")[0] for password in ("b", "a")] == [200, 401]
    for client in clients:
        client.close()


@in_reactor
async def test_a_worker_that_is_killed_is_replaced_and_others_notice_nothing(running: tuple[LiveServer, FakeUpstream]) -> None:
    server, _ = running
    pids = workers_of(server)
    await deferToThread(fetch, f"{server.simple}hello/")
    outcome = await deferToThread(kill_under_load, server, pids)
    assert outcome["wrong"] == 0
    now = workers_of(server)
    assert now[1] != pids[1]
    assert now[2] == pids[2]
    assert outcome["cut"] <= outcome["clients"] * outcome["kills"], "only connections of the killed worker are cut, once each"
    assert outcome["spared"] > 0, "the other worker's connections are not cut"


def clients_of_both(server: LiveServer) -> list[Client]:
    """At least eight connections, some of them to the second worker, which a busy machine may let come late."""
    clients: list[Client] = []

    def is_enough() -> bool:
        clients.append(Client(server))
        assert clients[-1].ask("GET", "/+api")[0] == 200
        found = re.search(
            r'^twistpi_worker_connections{worker="2"} (\d+)', fetch(f"{server.url}/+metrics").decode(), re.MULTILINE
        )
        return len(clients) >= 8 and found is not None and int(found[1]) > 1  # one may be that of this question

    eventually(is_enough)
    return clients


def replaced(server: LiveServer, killed: int) -> int | None:
    """The process that has the place of the first worker after ``killed``, once there is one."""
    pid = workers_of(server)[1]
    return None if pid == killed else pid


def kill_under_load(server: LiveServer, pids: dict[int, int]) -> dict[str, int]:
    """Ask on kept connections, and again when one is cut, while the first worker is killed twice; a lot before and after."""
    done: list[bool] = []
    clients, kills, a_lot = clients_of_both(server), 2, 100
    answers: list[None] = []

    def go_on(client: Client) -> tuple[int, int, int]:
        answered = cut = wrong = 0
        while not done:
            try:
                status, body = client.ask("GET", "/root/pypi/+simple/hello/", Accept="text/html")
                answered += 1
                answers.append(None)
                wrong += status != 200 or WHEEL.encode() not in body
            except (http.client.HTTPException, ConnectionError):
                cut += 1
                client = Client(server)
        client.close()
        return answered, cut, wrong

    with ThreadPoolExecutor(len(clients)) as threads:
        asking = [threads.submit(go_on, client) for client in clients]
        pid = pids[1]
        try:
            for number in range(kills):
                eventually(lambda: len(answers) > (number + 1) * a_lot)  # noqa: B023 -- awaited before it changes
                os.kill(pid, signal.SIGKILL)
                pid = eventually(partial(replaced, server, pid))
            eventually(lambda: len(answers) > (kills + 1) * a_lot)
        finally:
            done.append(True)
        results = [one.result() for one in asking]
    return {
        "answered": sum(result[0] for result in results), "cut": sum(result[1] for result in results), "clients": len(clients),
        "wrong": sum(result[2] for result in results), "kills": kills, "spared": sum(result[1] == 0 for result in results),
    }  # fmt: skip


@in_reactor
async def test_a_large_upload_passes_without_filling_memory_and_no_worker_outlives_its_server(
    server: LiveServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    key, certificate = write_certificate(tmp_path)
    path = tmp_path / "s"
    tls = f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}"
    pids = await start(server, upstream, "--listen", "tcp:0:interface=127.0.0.1", "--listen", tls, "--listen", f"unix:{path}")
    before = {pid: memory_of(pid) for pid in pids.values()}
    await deferToThread(upload_large, server)
    for pid, used in before.items():
        assert memory_of(pid) - used < LARGE // 2
    trusting = ssl.create_default_context(cafile=str(certificate))
    secure = secure_url(server)
    with await deferToThread(urllib.request.urlopen, f"{secure}/+api", timeout=60, context=trusting) as answer:
        assert json.loads(answer.read())["result"]["login"] == f"{secure}/+login"
    assert b"200 OK" in await deferToThread(ask_at_socket, path)
    # Nobody is left when the first process is killed, and the next start is none the worse for it.
    assert server.process is not None
    first = server.process.pid
    os.kill(first, signal.SIGKILL)
    server.process.wait(PATIENCE)
    await deferToThread(eventually, lambda: not any(map(is_alive, pids.values())))
    await deferToThread(server.start, "--workers", "2", "--listen", "tcp:0:interface=127.0.0.1", environment=CHEAP)
    pids = await deferToThread(eventually, lambda: len(found := workers_of(server)) == 2 and found)
    assert b"alice/dev" in await deferToThread(fetch, f"{server.url}/alice/dev/+simple/")
    await deferToThread(server.end)
    assert not any(map(is_alive, pids.values()))


@in_reactor
async def test_clients_that_never_read_take_no_memory_and_no_time(running: tuple[LiveServer, FakeUpstream]) -> None:
    server, upstream = running
    upstream.add_project("many", {f"many-1.{number}.tar.gz": b"" for number in range(3000)})
    page = f"{server.simple}many/"
    size = len(await deferToThread(fetch, page))
    asked = b"GET /root/pypi/+simple/many/ HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n" * 500
    pids = list(workers_of(server).values())
    before = {pid: memory_of(pid) for pid in pids}

    def ask() -> tuple[list[socket.socket], float]:
        host, _, port = server.url.partition("://")[2].partition(":")
        clients = [socket.create_connection((host, int(port)), 60) for _ in range(4)]
        for client in clients:
            client.sendall(asked)
        began = time.monotonic()
        for _ in range(20):
            fetch(f"{server.url}/+api")
        return clients, time.monotonic() - began

    clients, seconds = await deferToThread(ask)
    assert all(memory_of(pid) - before[pid] < 100 * size for pid in pids)
    assert seconds < PATIENCE / 2
    for client in clients:
        client.close()


@in_reactor
async def test_a_renewed_certificate_counts_in_every_worker_and_a_bad_one_is_told_in_a_sentence(
    running: tuple[LiveServer, FakeUpstream], folder: Path
) -> None:
    server, certificate = running[0], folder / "certificate.pem"
    pids = workers_of(server)
    assert server.process is not None
    port = int(secure_url(server).rpartition(":")[2])

    def shown() -> set[str]:
        return {ssl.get_server_certificate(("127.0.0.1", port)) for _ in range(8)}

    former = await deferToThread(shown)
    write_certificate(folder)
    server.process.send_signal(signal.SIGHUP)
    renewed = {certificate.read_text()}
    await deferToThread(eventually, lambda: shown() == renewed)
    assert renewed != former
    # A worker that starts while the certificate is no good leaves its part to the others, until it is put right.
    certificate.write_text("no certificate")
    os.kill(pids[1], signal.SIGKILL)
    await deferToThread(eventually, lambda: "worker 1: The setting listen is" in server.told())
    assert await deferToThread(shown) == renewed
    certificate.write_text(*renewed)
    await deferToThread(eventually, lambda: workers_of(server)[1] != pids[1])
    assert await deferToThread(shown) == renewed


def upload_large(server: LiveServer) -> None:
    """An upload that is not compressible, in chunks; and one that is refused before it has ended."""
    client = Client(server)
    assert client.ask("PUT", "/alice", {"password": "a"})[0] == 201
    assert client.ask("PUT", "/alice/dev", {}, "alice:a")[0] == 200
    client.close()
    content = make_wheel("large", "1.0", [], os.urandom(LARGE))
    fields = {":action": "file_upload", "name": "large", "version": "1.0", "metadata_version": "2.1", "filetype": "bdist_wheel"}
    parts = "".join(f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items())
    parts += f'--b\r\nContent-Disposition: form-data; name="content"; filename="{wheel_name("large", "1.0")}"\r\n\r\n'
    head, tail = parts.encode(), b"\r\n--b--\r\n"
    pieces = [head, *(content[start : start + 65536] for start in range(0, len(content), 65536)), tail]
    connection = http.client.HTTPConnection(server.url.partition("://")[2], timeout=60)
    login = {"Authorization": "Basic " + b64encode(b"alice:a").decode(), "Content-Type": "multipart/form-data; boundary=b"}
    connection.request("POST", "/alice/dev/", iter(pieces), login, encode_chunked=True)
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    answer.read()
    path = f"{server.url}/alice/dev/+f/{_digest_path(content)}/{wheel_name('large', '1.0')}"
    assert hashlib.sha256(fetch(path)).digest() == hashlib.sha256(content).digest()
    anonymous = {"Content-Type": login["Content-Type"]}
    connection = http.client.HTTPConnection(server.url.partition("://")[2], timeout=60)
    connection.putrequest("POST", "/alice/dev/")
    for name, value in {**anonymous, "Content-Length": str(LARGE)}.items():
        connection.putheader(name, value)
    connection.endheaders(head)
    assert connection.getresponse().status in (401, 403)


def ask_at_socket(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(str(path))
        connection.sendall(b"GET /+api HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return connection.recv(1 << 16)
