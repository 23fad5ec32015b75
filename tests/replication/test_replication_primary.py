"""Requests to a primary: what is signed, what is repeated, and what is said when it is gone or does not answer as one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from tests.in_reactor import PATIENCE, in_reactor, wait_for
from tests.mirror.mirror_setup import ShiftableClock
from tests.replication.fake_primary import Answering, FakePrimary, Spoken, client_for, reactor
from twistpi.http.agent import Agent
from twistpi.model.server_errors import PrimaryUnreachable, StrangePrimary
from twistpi.replication.primary import Primary, PrimaryAddress

NODE = "ab" * 16


@attrs.define
class World:
    """Primaries and their clients, and what has to be closed after a test."""

    folder: Path
    started: list[FakePrimary] = attrs.field(factory=list)
    agents: list[Agent] = attrs.field(factory=list)

    def primary(self, answering: Answering, *, unix: bool = False, **options: Any) -> tuple[Primary, FakePrimary]:
        fake = FakePrimary(answering).start(str(self.folder / "socket") if unix else None)
        self.started.append(fake)
        return self.asking(fake.url, **options), fake

    def asking(self, url: str, clock: Any = reactor, **options: Any) -> Primary:
        client, agent = client_for(url, clock)
        self.agents.append(agent)
        counter = iter(range(1000))
        return Primary(url, NODE, client, Spoken(), lambda size: next(counter).to_bytes(size, "big"), **options)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    for fake in made.started:
        wait_for(Deferred.fromCoroutine(fake.stop()))
    for agent in made.agents:
        agent.close()


def say(request: Any, status: int, value: object, **headers: str) -> None:
    request.setResponseCode(status)
    for name, text in headers.items():
        request.setHeader(name.replace("_", "-"), text)
    request.write(json.dumps(value).encode())
    request.finish()


def hello(request: Any) -> None:
    say(request, 200, {"hello": request.uri.decode()})


@pytest.mark.parametrize("unix", [False, True])
@in_reactor
async def test_a_request_is_signed_for_its_method_and_its_path_with_the_query(world: World, unix: bool) -> None:
    primary, fake = world.primary(hello, unix=unix, outside_url="http://replica.example")
    answer = await primary.ask("POST", "/+relay/page?x=%2B", headers={"Accept": "application/json"}, body=b"{}")
    assert (answer.status, await answer.json()) == (200, {"hello": "/+relay/page?x=%2B"})
    (seen,) = fake.seen
    assert json.loads(seen.token)[:3] == [NODE, "POST", "/+relay/page?x=%2B"]
    assert seen.body == b"{}"
    assert seen.headers.getRawHeaders("X-Devpi-Replica-Uuid") == [NODE]
    assert seen.headers.getRawHeaders("X-Devpi-Replica-Outside-Url") == ["http://replica.example"]
    assert seen.headers.getRawHeaders("Accept") == ["application/json"]


@in_reactor
async def test_the_prefix_of_the_primary_is_asked_for_but_not_signed(world: World) -> None:
    _, fake = world.primary(hello)
    answer = await world.asking(fake.url + "/pkgs/").ask("GET", "/+peer")
    assert await answer.json() == {"hello": "/pkgs/+peer"}
    assert json.loads(fake.seen[0].token)[2] == "/+peer"


@pytest.mark.parametrize("url", ["ftp://x.example", "http://", "unix:relative", "http://x.example/?a=b", "http://x.example:0"])
def test_other_addresses_than_those_of_servers_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        PrimaryAddress.parse(url)


@attrs.define
class Clockwork:
    """A primary whose clock is ``ahead`` of everybody's, and which believes no other."""

    ahead: float
    taken: list[Any] = attrs.field(factory=list)

    def answer(self, request: Any) -> None:
        claims = json.loads((request.getHeader("Authorization") or "").removeprefix("Twistpi-Node "))
        time = reactor.seconds() + self.ahead
        if abs(claims[3] - time) > 60:
            say(request, 403, {"message": "…", "reason": "expired"}, X_Twistpi_Time=repr(time))
        else:
            self.taken.append(claims)
            hello(request)


@in_reactor
async def test_a_primary_with_another_clock_is_asked_again_by_its_own(world: World) -> None:
    clockwork = Clockwork(-86400.0)
    primary, fake = world.primary(clockwork.answer)
    assert (await (await primary.ask("GET", "/+peer")).json()) == {"hello": "/+peer"}
    assert primary.offset == pytest.approx(-86400, abs=5)
    assert len(fake.seen) == 2
    nonces = [json.loads(seen.token)[4] for seen in fake.seen]
    assert nonces[0] != nonces[1]
    (await primary.ask("GET", "/+peer")).discard()
    assert len(fake.seen) == 3
    clockwork.ahead = 86400.0  # the clock jumps
    (await primary.ask("GET", "/+peer")).discard()
    assert len(fake.seen) == 5


@in_reactor
async def test_another_refusal_is_handed_on_whole_and_asked_once(world: World) -> None:
    refusal = {"message": "no", "reason": "wrong secret"}
    primary, fake = world.primary(lambda request: say(request, 403, refusal))
    answer = await primary.ask("GET", "/+changelog?after=0")
    assert (answer.status, await answer.json()) == (403, refusal)
    assert len(fake.seen) == 1


@in_reactor
async def test_a_token_that_was_seen_before_is_made_anew_once(world: World) -> None:
    primary, fake = world.primary(lambda request: say(request, 403, {"reason": "replayed"}))
    answer = await primary.ask("GET", "/+peer")
    assert answer.status == 403
    assert await answer.read(100) == b'{"reason": "replayed"}'
    assert len(fake.seen) == 2


@in_reactor
async def test_a_primary_that_is_gone_is_named_with_the_reason(world: World) -> None:
    primary, fake = world.primary(hello)
    await fake.stop()
    with pytest.raises(PrimaryUnreachable, match=r"The primary at http://127\.0\.0\.1:\d+ cannot be reached: .*refused"):
        await primary.ask("GET", "/+peer")


@in_reactor
async def test_a_socket_that_is_not_there_is_named_as_well(world: World) -> None:
    with pytest.raises(PrimaryUnreachable, match=r"unix:/nowhere/socket"):
        await world.asking("unix:/nowhere/socket").ask("GET", "/+peer")


@in_reactor
async def test_a_primary_that_says_nothing_is_given_up_after_a_while(world: World) -> None:
    primary, _ = world.primary(lambda request: None)
    with pytest.raises(PrimaryUnreachable, match=r"no answer within 0\.05 s"):
        await primary.ask("GET", "/+peer", patience=0.05)


@in_reactor
async def test_an_answer_that_falls_silent_in_the_middle_is_given_up(world: World) -> None:
    clock = ShiftableClock()
    primary, _ = world.primary(lambda request: request.write(b'{"half'), clock=clock)
    answer = await primary.ask("GET", "/+peer", patience=PATIENCE)
    reading = Deferred.fromCoroutine(answer.json())
    while not reading.called:  # the half may come in between, and begin the waiting anew
        clock.elapse(PATIENCE)
        await deferLater(reactor, 0.002)
    with pytest.raises(PrimaryUnreachable, match=rf"fell silent for {PATIENCE:g} s"):
        await reading


@in_reactor
async def test_an_answer_that_is_cut_off_is_not_taken_for_a_whole_one(world: World) -> None:
    primary, fake = world.primary(lambda request: request.write(b"{}"))
    answer = await primary.ask("GET", "/+peer")
    fake.hang_up()
    with pytest.raises(PrimaryUnreachable, match=r"broke before the answer was complete"):
        await answer.json()


@in_reactor
async def test_an_answer_that_is_no_json_or_too_long_is_strange(world: World) -> None:
    def answering(request: Any) -> None:
        request.write(b"<html>" + b"x" * 1000)
        request.finish()

    primary, _ = world.primary(answering)
    with pytest.raises(StrangePrimary, match=r"status 200 with a body that is no JSON"):
        await (await primary.ask("GET", "/+peer")).json()
    with pytest.raises(StrangePrimary, match=r"more than 10 bytes"):
        await (await primary.ask("GET", "/+peer")).read(10)


@in_reactor
async def test_whoever_stops_waiting_ends_the_request(world: World) -> None:
    arrived: Deferred[None] = Deferred()
    left: Deferred[None] = Deferred()

    def answering(request: Any) -> None:
        request.notifyFinish().addErrback(lambda _: left.callback(None))
        arrived.callback(None)

    primary, _ = world.primary(answering)
    asking = Deferred.fromCoroutine(primary.ask("GET", "/+changelog?after=0"))
    await arrived
    asking.cancel()
    with pytest.raises((CancelledError, PrimaryUnreachable)):
        await asking
    await left
