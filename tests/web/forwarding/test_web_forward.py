"""Forwarded requests: to a real server that trusts the sender, and to one whose answers a test chooses."""

from __future__ import annotations

import base64
import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path
from threading import Event
from typing import Any

import orjson
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.in_reactor import in_reactor, wait_for
from tests.web.forwarding.forward_setup import (
    ANSWER,
    Act,
    Primary,
    Setup,
    Signer,
    ask,
    asked,
    reactor,
    read_all,
    read_until,
    request,
    say,
    scripted,
    talking,
    wait_for_close,
)
from tests.web.web_world import SECRET, World
from twistpi.auth.tokens import NodeTokens
from twistpi.http.agent import make_agent
from twistpi.web.forwarding.forwarder import TAKES_OVER
from twistpi.web.forwarding.peers import first_process_backend
from twistpi.web.paths import replica_answers, worker_answers
from twistpi.web.replication.authentication import NodeAuthenticator
from twistpi.web.replication.routes import node_routes

JSON = b"Content-Type: application/json\r\n"
MakeSetup = Callable[..., Setup]
LOGIN = orjson.dumps({"user": "alice", "password": "secret"})


def basic(user: str, password: str) -> str:
    return "Authorization: Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def json_of(answer: bytes) -> Any:
    return orjson.loads(answer.partition(b"\r\n\r\n")[2])


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[Primary]:
    made = Primary(tmp_path / "primary")
    made.world.add_user("alice", "secret")
    yield made
    wait_for(Deferred.fromCoroutine(made.close()))


@pytest.fixture
def make_setup(tmp_path: Path, primary: Primary) -> Iterator[MakeSetup]:
    """Makes replicas of ``primary``, or of what is at another port."""
    made: list[Setup] = []

    def make(signer: Signer | None = None, port: int = primary.port, **settings: Any) -> Setup:
        folder = tmp_path / f"replica{len(made)}"
        made.append(Setup(folder, port, signer or Signer(primary.seconds), **settings))
        return made[-1]

    yield make
    for setup in reversed(made):
        wait_for(Deferred.fromCoroutine(setup.close()))


@pytest.fixture
def setup(make_setup: MakeSetup) -> Setup:
    return make_setup()


class ListeningIdentify:
    """Notes from where people log in."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, bool]] = []

    async def login(self, user: str, password: str, address: str, *, local: bool) -> tuple[str, int]:
        self.seen.append((address, local))
        return "token", 1


def with_leave(port: int, head: bytes, body: bytes) -> tuple[bytes, bytes]:
    """Send the head, wait for what comes, send the body; what came before and after.  Blocking."""
    with talking(port) as connection:
        connection.sendall(head)
        first = read_until(connection, b"\r\n\r\n")
        connection.sendall(body)
        return first, read_all(connection)


# A primary that is one ------------------------------------------------------------------------------------------------


@in_reactor
async def test_a_write_reaches_the_primary_and_is_waited_for_here(setup: Setup, primary: Primary) -> None:
    made = await asked(setup, request("PUT", "/alice/dev", b'{"bases": []}', basic("alice", "secret")))
    assert made.startswith(b"HTTP/1.1 200 OK"), made
    assert primary.world.view.reader.index("alice/dev") is not None
    assert b"X-Devpi-Proxy: replica" in made
    assert setup.reached == [primary.world.view.position.serial]
    assert b"X-Twistpi-Time" not in made


@in_reactor
async def test_an_answer_says_so_when_this_server_lags_behind_it(setup: Setup, primary: Primary) -> None:
    setup.reaches = False
    made = await asked(setup, request("PUT", "/alice/dev", b"{}", basic("alice", "secret")))
    assert made.startswith(b"HTTP/1.1 200 OK")
    assert b"X-Twistpi-Behind: serial 1 is here, the answer is of %d" % primary.world.view.position.serial in made


@in_reactor
async def test_a_server_that_takes_the_place_of_its_primary_forwards_no_more(setup: Setup, primary: Primary) -> None:
    setup.forward.hindrance = lambda: TAKES_OVER
    refused = await asked(setup, request("PUT", "/alice/dev", b"{}", basic("alice", "secret")))
    assert refused.startswith(b"HTTP/1.1 503")
    assert b"becomes the primary" in refused
    assert primary.world.view.reader.index("alice/dev") is None


@in_reactor
async def test_a_refusal_is_not_waited_for(setup: Setup) -> None:
    refused = await asked(setup, request("PUT", "/alice/dev", b"{}"))
    assert b" 403 " in refused.partition(b"\r\n")[0]
    assert setup.reached == []


@in_reactor
async def test_reads_and_what_is_about_this_server_are_answered_here(setup: Setup) -> None:
    for path in ("/+status", "/+api", "/root/pypi"):
        answer = await asked(setup, request("GET", path, b"", "Accept: application/json"))
        assert answer.startswith(b"HTTP/1.1 200 OK")
    assert setup.forward.passed == 0


@in_reactor
async def test_links_fit_the_address_the_asker_used(setup: Setup, primary: Primary) -> None:
    primary.world.components.addresses.outside_url = "https://primary.example/pkgs"
    logged_in = await asked(setup, request("POST", "/+login", LOGIN))
    assert json_of(logged_in)["message"] == "login successful"
    moved = await asked(setup, request("POST", "/root/pypi/+simple/hello/refresh", b"{}"))
    assert b"primary.example" not in moved


@in_reactor
async def test_the_primary_counts_wrong_logins_by_the_askers_own_address(primary: Primary, make_setup: MakeSetup) -> None:
    setup = make_setup(trusted_proxies=(ip_network("127.0.0.0/8"),))
    listening: Any = ListeningIdentify()
    primary.world.components.access.authenticator = listening
    await asked(setup, request("POST", "/+login", LOGIN, "X-Real-IP: 192.0.2.7"))
    near = request("POST", "/+login", LOGIN).replace(b"replica.example", b"localhost")
    await asked(setup, near)
    forged = request("POST", "/+login", LOGIN, "X-Twistpi-Passed-On: http://localhost 127.0.0.1 local")
    await asked(setup, forged)
    assert listening.seen == [("192.0.2.7", False), ("127.0.0.1", True), ("127.0.0.1", False)]


@in_reactor
async def test_a_page_of_another_site_changes_nothing_through_a_replica(setup: Setup, primary: Primary) -> None:
    listening: Any = ListeningIdentify()
    primary.world.components.access.authenticator = listening
    foreign = await asked(setup, request("POST", "/+login", LOGIN, "Origin: http://evil.example"))
    assert (foreign.split(b" ")[1], b"another site" in foreign) == (b"403", True)
    assert listening.seen == []
    own = await asked(setup, request("POST", "/+login", LOGIN, "Origin: http://replica.example:4041"))
    assert own.split(b" ")[1] != b"403"
    assert len(listening.seen) == 1


@in_reactor
async def test_nobody_is_believed_without_the_secret(setup: Setup, primary: Primary) -> None:
    signer = Signer(primary.seconds, b"another secret of more than enough bytes")
    told = "http://evil.example 127.0.0.1 local"
    token = signer.token("POST", "/+login", told)
    lines = (f"X-Twistpi-Passed-On: {told}", f"X-Twistpi-Node: {token}")
    refused = await deferToThread(ask, primary.port, request("POST", "/+login", LOGIN, *lines))
    assert b" 403 " in refused.partition(b"\r\n")[0]
    assert b"X-Twistpi-Refused: wrong secret" in refused
    unproved = request("GET", "/+api", b"", "X-Twistpi-Passed-On: http://evil.example 127.0.0.1 local")
    assert b"evil.example" not in await deferToThread(ask, primary.port, unproved)


@in_reactor
async def test_a_token_counts_for_one_request_once(primary: Primary) -> None:
    told = "http://replica.example 192.0.2.1 elsewhere"
    token = Signer(primary.seconds).token("POST", "/+login", told)
    lines = (f"X-Twistpi-Passed-On: {told}", f"X-Twistpi-Node: {token}")
    first = await deferToThread(ask, primary.port, request("POST", "/+login", LOGIN, *lines))
    second = await deferToThread(ask, primary.port, request("POST", "/+login", LOGIN, *lines))
    assert first.startswith(b"HTTP/1.1 200 OK")
    assert b"X-Twistpi-Refused: replayed" in second


@in_reactor
async def test_what_a_server_tells_of_an_asker_cannot_be_changed_added_or_left_out_on_the_way(primary: Primary) -> None:
    signer, told = Signer(primary.seconds), "http://replica.example 192.0.2.1 elsewhere"
    for signed, sent in (
        (told, ["X-Twistpi-Passed-On: http://replica.example 127.0.0.1 local"]),
        (told, []),
        ("", [f"X-Twistpi-Passed-On: {told}"]),
    ):
        proof = f"X-Twistpi-Node: {signer.token('POST', '/+login', signed)}"
        refused = await deferToThread(ask, primary.port, request("POST", "/+login", LOGIN, proof, *sent))
        assert b"X-Twistpi-Refused: other request" in refused


@in_reactor
async def test_clocks_that_disagree_cost_a_second_try_and_no_more(primary: Primary, make_setup: MakeSetup) -> None:
    wrong = make_setup(Signer(lambda: primary.seconds() - 4000))
    for index in ("one", "two"):
        made = await asked(wrong, request("PUT", f"/alice/{index}", b"{}", basic("alice", "secret")))
        assert made.startswith(b"HTTP/1.1 200 OK"), made
    assert primary.world.view.reader.index("alice/two") is not None
    wrong.signer.clock_is(wrong.replica.clock.seconds() - 9000)
    head = request("PUT", "/alice/three", b"", "Content-Length: 2", "Expect: 100-continue", basic("alice", "secret"))
    leave, answer = await deferToThread(with_leave, wrong.port, head, b"{}")
    assert leave == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert answer.startswith(b"HTTP/1.1 200 OK"), answer


@in_reactor
async def test_a_server_with_another_secret_is_told_so_and_tells_its_asker(primary: Primary, make_setup: MakeSetup) -> None:
    stranger = make_setup(Signer(primary.seconds, b"another secret of more than enough bytes"))
    refused = await asked(stranger, request("PUT", "/alice/dev", b"{}", basic("alice", "secret")))
    assert refused.startswith(b"HTTP/1.1 502 ")
    assert "wrong secret" in json_of(refused)["message"]
    assert primary.world.view.reader.index("alice/dev") is None


@in_reactor
async def test_a_worker_in_between_leaves_the_tokens_to_those_who_understand_them(
    primary: Primary, make_setup: MakeSetup
) -> None:
    worker = make_setup()
    backend = first_process_backend(make_agent(reactor, {}), f"http://127.0.0.1:{primary.port}")
    worker.forward_to(backend, worker_answers)
    setup = make_setup(Signer(lambda: primary.seconds() - 4000), worker.port)
    made = await asked(setup, request("PUT", "/alice/dev", b"{}", basic("alice", "secret")))
    assert made.startswith(b"HTTP/1.1 200 OK"), made
    assert worker.forward.passed == 2, "the clock was wrong at first"


@in_reactor
async def test_prefixes_of_either_side_do_not_get_in_the_way(primary: Primary, make_setup: MakeSetup) -> None:
    primary.world.components.addresses.outside_url = "https://primary.example/pkgs"
    setup = make_setup(path="/pkgs", outside_url="https://replica.example/devpi")
    for path in ("/devpi/alice/one", "/alice/two"):
        made = await asked(setup, request("PUT", path, b"{}", basic("alice", "secret")))
        assert made.startswith(b"HTTP/1.1 200 OK"), made
    assert (await asked(setup, request("GET", "/devpi/+status"))).startswith(b"HTTP/1.1 200 OK")
    assert (await asked(setup, request("POST", "/devpi/+api"))).startswith(b"HTTP/1.1 200 OK")
    assert setup.forward.passed == 2


# A server that does whatever a test wants ------------------------------------------------------------------------------


@in_reactor
async def test_bodies_go_through_as_they_are_framed(tmp_path: Path) -> None:
    bodies: list[bytes] = []

    def act(connection: socket.socket, rest: bytes) -> None:
        while not rest.endswith(b"end") and not rest.endswith(b"0\r\n\r\n"):
            rest += connection.recv(1 << 16)
        bodies.append(rest)
        connection.sendall(ANSWER)

    async with scripted(tmp_path / "replica", act) as (setup, server):
        framed = await asked(setup, request("POST", "/alice/dev", b"the end", "Trailer: X-Sum", "TE: trailers", "X-Custom: yes"))
        chunked = request("PUSH", "/alice/dev", b"", "Transfer-Encoding: chunked")
        await asked(setup, chunked, b"3\r\nabc\r\n", b"4\r\n end\r\n0\r\nX-Sum: 12\r\n\r\n")
        assert framed.endswith(b"\r\n\r\nok")
        assert bodies[0] == b"the end"
        assert b"Content-Length: 7" in server.heads[0]
        assert b"X-Custom: yes" in server.heads[0]
        assert b"Trailer" not in server.heads[0]
        assert b"\r\nConnection: close" in server.heads[0]
        assert server.heads[1].startswith(b"PUSH /alice/dev HTTP/1.1\r\n")
        assert b"Transfer-Encoding: chunked" in server.heads[1]
        assert bodies[1].replace(b"\r\n", b"") == b"3abc4 end0"


@in_reactor
async def test_leave_to_send_is_the_primarys_to_give(tmp_path: Path) -> None:
    def act(connection: socket.socket, rest: bytes) -> None:
        assert rest == b""
        if b"/refused" in server.heads[-1]:
            connection.sendall(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
            return
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        read_until(connection, b"body")
        connection.sendall(ANSWER)

    def client(port: int, path: str) -> tuple[bytes, bytes]:
        with talking(port) as connection:
            connection.sendall(request("POST", path, b"", "Content-Length: 4", "Expect: 100-continue"))
            first = read_until(connection, b"\r\n\r\n")
            if first.startswith(b"HTTP/1.1 100"):
                connection.sendall(b"body")
                return first, read_until(connection, b"ok")
            return first, b""

    async with scripted(tmp_path / "replica", act) as (setup, server):
        leave, answer = await deferToThread(client, setup.port, "/alice/dev")
        assert leave == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert b"Expect: 100-continue" in server.heads[0]
        refused, _ = await deferToThread(client, setup.port, "/alice/refused")
        assert refused.startswith(b"HTTP/1.1 403 No")


@in_reactor
async def test_an_asker_who_leaves_ends_the_request_at_the_primary(tmp_path: Path) -> None:
    gone, began = Event(), Event()

    def act(connection: socket.socket, rest: bytes) -> None:
        began.set()
        wait_for_close(connection, gone)

    def client(port: int, body: bytes) -> None:
        with talking(port) as connection:
            connection.sendall(request("POST", "/alice/dev", b"", "Content-Length: 1000") + body)
            assert began.wait(60)

    async with scripted(tmp_path / "replica", act) as (setup, _server):
        for body in (b"in the middle", b"x" * 1000):
            gone.clear()
            began.clear()
            await deferToThread(client, setup.port, body)
            assert await deferToThread(gone.wait, 60)


@in_reactor
async def test_a_primary_that_is_gone_means_503_and_that_nothing_was_changed(tmp_path: Path) -> None:
    async with scripted(tmp_path / "replica", lambda connection, rest: None) as (setup, server):
        lost = await asked(setup, request("PUT", "/alice/dev", b"{}"))
        assert lost.startswith(b"HTTP/1.1 503 ")
        assert "It may have been carried out all the same" in json_of(lost)["message"]
        assert b"Retry-After: " in lost
        server.close()
        refused = await asked(setup, request("PUT", "/alice/dev", b"{}"))
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert "Nothing was changed" in json_of(refused)["message"]
        uploaded = request("POST", "/alice/dev", b"x" * 10, "Content-Type: multipart/form-data; boundary=b")
        assert b"Nothing was changed" in (await asked(setup, uploaded)).partition(b"\r\n")[0]


@in_reactor
async def test_an_answer_that_breaks_off_never_looks_whole(tmp_path: Path) -> None:
    answers = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
    ]

    async with scripted(tmp_path / "replica", say(*answers)) as (setup, server):
        for _ in answers:
            try:
                answer = await asked(setup, request("PUT", "/alice/dev", b"{}"))
            except ConnectionResetError:
                continue
            assert answer.startswith(b"HTTP/1.1 503 "), "what is no HTTP was seen before anything was passed on"
        assert len(server.heads) == 3


@in_reactor
@pytest.mark.parametrize("garbage", [b"SSH-2.0\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"])
async def test_what_is_no_answer_is_none(tmp_path: Path, garbage: bytes) -> None:
    async with scripted(tmp_path / "replica", say(garbage)) as (setup, _server):
        answer = await asked(setup, request("PUT", "/alice/dev", b"{}"))
        assert answer.startswith(b"HTTP/1.1 503 ")


@in_reactor
async def test_a_primary_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    gone = Event()
    silent: Act = lambda connection, rest: wait_for_close(connection, gone)  # noqa: E731
    async with scripted(tmp_path / "replica", silent, patience=2.0) as (setup, _):
        answer = await asked(setup, request("PUT", "/alice/dev", b"{}"))
        assert "nothing came for 2 s" in json_of(answer)["message"]
        assert await deferToThread(gone.wait, 60)


@in_reactor
async def test_answers_keep_their_form(tmp_path: Path) -> None:
    answers = {
        b"/one/chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: X-Hop, close\r\nX-Hop: 1\r\n"
        b"Vary: a\r\nVary: b\r\n"
        b"\r\n3\r\nabc\r\n0\r\n\r\n",
        b"/one/closing": b"HTTP/1.0 200 Fine\r\n\r\nuntil the end",
        b"/one/unchanged": b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nContent-Length: 10\r\n\r\n',
        b"/one/nothing": b"HTTP/1.1 204 No Content\r\n\r\n",
    }

    def act(connection: socket.socket, rest: bytes) -> None:
        connection.sendall(answers[server.heads[-1].split(b" ")[1]])

    async with scripted(tmp_path / "replica", act) as (setup, server):
        chunked = await asked(setup, request("DELETE", "/one/chunked"))
        assert chunked.endswith(b"3\r\nabc\r\n0\r\n\r\n")
        assert b"X-Hop" not in chunked
        assert b"Vary: a\r\nVary: b" in chunked
        old = await asked(setup, request("DELETE", "/one/chunked", version="1.0"))
        assert old.endswith(b"\r\n\r\nabc")
        assert b"Transfer-Encoding" not in old
        closing = await asked(setup, request("DELETE", "/one/closing"))
        assert closing.startswith(b"HTTP/1.1 200 Fine\r\n")
        assert closing.endswith(b"d\r\nuntil the end\r\n0\r\n\r\n")
        unchanged = await asked(setup, request("DELETE", "/one/unchanged"))
        assert unchanged.endswith(b"\r\n\r\n")
        assert b'ETag: "x"' in unchanged
        assert (await asked(setup, request("DELETE", "/one/nothing"))).startswith(b"HTTP/1.1 204 No Content")


@in_reactor
@pytest.mark.parametrize("time", [b"soon", b"nan", b"inf", b""])
async def test_what_is_no_time_sets_no_clock(tmp_path: Path, time: bytes) -> None:
    refusal = b"HTTP/1.1 403 No\r\nX-Twistpi-Refused: expired\r\nX-Twistpi-Time: " + time + b"\r\nContent-Length: 0\r\n\r\n"

    async with scripted(tmp_path / "replica", say(refusal, ANSWER)) as (setup, _server):
        assert (await asked(setup, request("DELETE", "/one/x"))).startswith(b"HTTP/1.1 200 OK")


@in_reactor
async def test_headers_that_the_primary_would_not_take_are_refused_in_so_many_words(tmp_path: Path) -> None:
    async with scripted(tmp_path / "replica", lambda connection, rest: None) as (setup, server):
        answer = await asked(setup, request("PUT", "/alice/dev", b"{}", "X-Long: " + "x" * 16_000))
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert "too large to be handed on" in json_of(answer)["message"]
        assert server.heads == []


@in_reactor
async def test_large_bodies_wait_for_whoever_is_slower_and_arrive_whole(tmp_path: Path) -> None:
    size = 24 * 1024 * 1024
    go_on = Event()
    received: list[int] = []

    def act(connection: socket.socket, rest: bytes) -> None:
        assert go_on.wait(60)
        count = len(rest)
        while count < size:
            count += len(connection.recv(1 << 20))
        received.append(count)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size >> 16):
            connection.sendall(b"y" * (1 << 16))

    def client(port: int) -> tuple[int, int]:
        with talking(port) as connection:
            connection.sendall(request("POST", "/alice/dev", b"", f"Content-Length: {size}"))
            sent = 0
            connection.settimeout(0.5)
            try:
                while sent < size:
                    sent += connection.send(b"x" * (1 << 16))
            except TimeoutError:
                pass
            stuck_at = sent
            go_on.set()
            connection.settimeout(60)
            while sent < size:
                sent += connection.send(b"x" * min(1 << 16, size - sent))
            head = read_until(connection, b"\r\n\r\n")
            count = len(head.partition(b"\r\n\r\n")[2])
            while count < size:
                count += len(connection.recv(1 << 20))
            return stuck_at, count

    async with scripted(tmp_path / "replica", act) as (setup, _server):
        stuck_at, count = await deferToThread(client, setup.port)
        assert received == [size]
        assert count == size
        assert stuck_at < size, "nobody held the sender up"


def test_a_replica_hands_on_what_changes_something() -> None:
    assert all(replica_answers(method, path) for method, path in ((b"GET", b"/a/b"), (b"HEAD", b"/a/b"), (b"OPTIONS", b"/a")))
    assert all(replica_answers(b"POST", path) for path in (b"/+snapshot", b"/%2Brelay/page", b"/+gc", b"/+fence", b"/a/b/+api"))
    assert not any(replica_answers(b"POST", path) for path in (b"/+login", b"/a/b", b"/a/b/+simple/c/refresh", b"/"))
    assert not replica_answers(b"PUSH", b"/a/b")


def test_a_door_for_other_servers_is_never_handed_on(tmp_path: Path) -> None:
    world, anything = World(str(tmp_path)), object()
    replication: Any = world.components.replication
    replication.nodes = NodeAuthenticator(NodeTokens(SECRET), lambda: 0.0, 0.0)
    replication.feeds = replication.snapshots = replication.fencing = anything
    sender: Any = anything
    routes = list(node_routes(world.components, sender))
    assert len(routes) >= 14
    for path, methods, _handler in routes:
        assert all(replica_answers(method.encode(), path.encode()) for method in methods), path
    world.close()


def test_a_worker_hands_on_what_is_about_the_whole_server_as_well() -> None:
    assert all(worker_answers(b"GET", path) for path in (b"/", b"/a/b/+simple/c/", b"/+api", b"/+authcheck", b"/+straight"))
    assert not any(worker_answers(b"GET", path) for path in (b"/+status", b"/+metrics", b"/+changelog", b"/%2bstatus"))
    assert not any(worker_answers(b"POST", path) for path in (b"/+login", b"/a/b"))
