"""Pushes through whole sites: from one server to an endpoint, and to another server of the same kind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import orjson
import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import deferLater

from tests.archives.made_archives import zip_of
from tests.fakes.wheels import make_wheel
from tests.in_reactor import in_reactor, offload, wait_for
from tests.push.fake_repository import FakeRepository, Saying, reactor
from tests.web.web_asking import Person, basic
from tests.web.web_uploads import DEV, NAME, SDIST, WHEEL, files, release, sdist, upload, with_stages
from tests.web.web_wire import GONE, Answer, Wire, read_answer
from tests.web.web_world import World
from twistpi.http.agent import make_agent
from twistpi.http.client import HTTPClient
from twistpi.push.releases import Pusher

Start = Callable[..., FakeRepository]


@attrs.define(eq=False)
class Server:
    """A site, with a release of alice's when it is the first one."""

    world: World
    alice: Person
    port: Any

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port.getHost().port}"

    def ask_to_push(self, to: str, **more: Any) -> Wire:
        """A connection on which the answer is going to come."""
        user, _, token = str(self.alice.credentials).partition(":")
        told = {"name": NAME, "version": "1.0", "posturl": to, "username": user, "password": token, **more}
        body = orjson.dumps(told)
        wire = Wire(self.world)
        login = basic(f"{user}:{token}")
        head = f"PUSH /{DEV} HTTP/1.1\r\nHost: x\r\nX-Devpi-Auth: {login}\r\nContent-Length: {len(body)}\r\n\r\n"
        wire.transport.write(wire.send(head.encode() + body))
        return wire

    async def push(self, to: str, **more: Any) -> Answer:
        wire = self.ask_to_push(to, **more)
        while not wire.transport.value():
            await deferLater(reactor, 0.01)
        return read_answer(bytes(wire.transport.value()))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Callable[[str], Server]]:
    running: list[Server] = []

    def start(name: str) -> Server:
        folder = tmp_path / name
        folder.mkdir()
        world = World(str(folder))
        agent = make_agent(reactor, {}, connections_per_host=0)
        client = HTTPClient(agent, reactor, offload, reactor.callFromThread, timeout=None)
        world.rebuild(pusher=Pusher(client, world.blobs, os.urandom))
        alice = with_stages(world)
        running.append(Server(world, alice, reactor.listenTCP(0, world.site, interface="127.0.0.1")))
        return running[-1]

    yield start
    for one in running:
        wait_for(maybeDeferred(one.port.stopListening))
        one.world.close()


@pytest.fixture
def source(server: Callable[[str], Server]) -> Server:
    source = server("source")
    upload(source.alice, DEV, WHEEL, make_wheel(NAME, "1.0", more=["Summary: the best", "Classifier: A :: B", "Classifier: C"]))
    upload(source.alice, DEV, SDIST, sdist())
    upload(source.alice, DEV, "docs.zip", zip_of({"index.html": b""}), action="doc_upload")
    return source


@in_reactor
async def test_another_server_of_the_same_kind_has_the_same_release_afterwards(
    source: Server, server: Callable[[str], Server]
) -> None:
    target = server("target")
    answer = await source.push(f"{target.url}/{DEV}/", register_project=True)
    assert [line[:2] for line in answer.json()["result"]] == [
        [200, "register"], [200, "upload"], [200, "upload"], [200, "docfile"],
    ]  # fmt: skip
    assert answer.status == 200
    here, there = (release(one.alice, DEV) for one in (source, target))
    links = [[(one["rel"], one["hashes"]) for one in told.pop("+links")] for told in (here, there)]
    assert here == there
    assert sorted(map(str, links[0])) == sorted(map(str, links[1]))
    for name, told in files(target.world, DEV).items():
        assert told.get("core-metadata") == files(source.world, DEV)[name].get("core-metadata")
    assert (await source.push(f"{target.url}/{DEV}/")).status == 200


@in_reactor
async def test_what_the_other_server_refuses_is_shown(source: Server, server: Callable[[str], Server]) -> None:
    target = server("target")
    answer = await source.push(f"{target.url}/alice/none/")
    assert answer.status == 502
    assert [line[0] for line in answer.json()["result"]] == [404, 404, 404]
    assert all("The stage alice/none could not be found." in line[-1] for line in answer.json()["result"])
    answer = await source.push(f"{target.url}/{DEV}/", password="wrong", no_docs=True)
    assert [line[0] for line in answer.json()["result"]] == [401, 401]


@in_reactor
async def test_a_push_goes_on_when_the_client_leaves(source: Server, repository: Start) -> None:
    target = repository()
    wire = source.ask_to_push(target.url)
    wire.channel.connectionLost(GONE)
    while len(target.asked) < 3 or target.asked[-1].size < int(target.asked[-1].headers["content-length"]):
        await deferLater(reactor, 0.01)
    assert [asked.file[0] for asked in target.asked] == [WHEEL, SDIST, f"{NAME}.zip"]


@in_reactor
async def test_forbidden_networks_are_refused_in_the_answer(source: Server) -> None:
    answer = await source.push("http://169.254.169.254/latest/")
    assert answer.status == 502
    assert "forbidden-networks" in answer.json()["result"][0][-1]


@in_reactor
async def test_others_are_answered_while_a_push_is_on_its_way(source: Server, repository: Start) -> None:
    wire = source.ask_to_push(repository(Saying(silent=True)).url)
    done: Deferred[None] = deferLater(reactor, 0.1)
    await done
    assert not wire.transport.value()
    assert WHEEL in files(source.world, DEV)
