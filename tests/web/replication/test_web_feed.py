"""The feed over a real socket: every line once, in order and whole, when everybody sees it; only for servers with the secret."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tests.in_reactor import in_reactor, until, wait_for
from tests.web.replication.feed_setup import LOG_ID, NODE, STRANGER, Client, Setup
from tests.web.web_asking import nobody
from twistpi.auth.tokens import WINDOW
from twistpi.model.changes import EpochBegan
from twistpi.model.codec import encode_content
from twistpi.model.peers import BEGINNING

reactor: Any = installed_reactor
TARGETS = ["/+changelog?after=0", "/+changelog/position?serial=1", "/+changelog/segments", "/+changelog/segments/1"]


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    """A log of a hundred lines in several segments, and a site."""
    made = Setup(str(tmp_path))
    made.start()
    wait_for(Deferred.fromCoroutine(made.write(100)))
    assert len(made.log.segments()) > 5
    yield made
    wait_for(Deferred.fromCoroutine(made.stop()))


async def turns(count: int = 3) -> None:
    """Let the reactor go round."""
    for _ in range(count):
        await deferLater(reactor, 0)


@in_reactor
async def test_a_feed_is_the_bytes_on_disk_after_any_line(setup: Setup) -> None:
    for after in (0, 1, 17, 50, 99, 100, *(segment.first - 1 for segment in setup.log.segments())):
        client = await setup.follow(after)
        await client.caught_up(setup)
        assert (client.status, client.lines) == (200, setup.bytes_after(after))
        assert client.head is not None
        assert (client.head["x-twistpi-log-id"], client.head["x-twistpi-epoch"]) == (LOG_ID, "1")
        assert float(client.head["x-twistpi-time"]) == pytest.approx(setup.nodes.now(), abs=10)
        assert client.beats[0] == (100, 1_795_000_000.25)


@in_reactor
async def test_an_announced_entry_is_on_its_way_in_the_same_turn_and_comes_with_all_that_was_announced(tmp_path: Path) -> None:
    setup = Setup(str(tmp_path), segment_limit=1 << 20)
    setup.start()
    await setup.write(100)
    clients = [await setup.follow(100), await setup.follow(90), await setup.follow(0)]
    for client in clients:
        await client.caught_up(setup)
    sent: list[list[int]] = []
    setup.after_announcing = lambda serial: sent.append([body.sent for body in setup.feeds.followers[NODE].bodies])
    for _ in range(20):
        await setup.write()
    await setup.write(30)
    for client, after in zip(clients, (100, 90, 0), strict=True):
        await client.caught_up(setup)
        assert client.lines == setup.bytes_after(after)
    assert len(setup.bytes_after(100).splitlines()) == 50
    assert 20 < len(sent) <= 50  # what is committed together is announced together
    assert sent[:20] == [[serial] * 3 for serial in range(101, 121)]
    assert sent[-1] == [150] * 3
    await setup.stop()


@in_reactor
async def test_a_feed_goes_on_into_new_segments_while_it_is_open(setup: Setup) -> None:
    client = await setup.follow(95)
    before = setup.log.last.segment
    while setup.log.last.segment < before + 60:
        await setup.write(3)
    await client.caught_up(setup)
    assert client.lines == setup.bytes_after(95)
    assert setup.feeds.followers[NODE].reached == setup.log.last.serial


@in_reactor
async def test_lines_that_nobody_has_been_told_of_are_not_sent(setup: Setup) -> None:
    client = await setup.follow(98)
    await client.caught_up(setup)
    seen = setup.log.last
    setup.log.append([encode_content("2026-11-22T17:00:00.123456Z", "root", [EpochBegan(2, NODE)])], 100)
    setup.beats.advance(5)
    await client.until(lambda: len(client.beats) == 3)
    assert client.lines == setup.bytes_after(98)[: -len(setup.bytes_after(100))]
    assert {serial for serial, _time in client.beats} == {100}
    status, refusal = await setup.ask(f"/+changelog?after=101&chain={setup.log.last.chain}&epoch=1")
    assert (status, refusal["reason"], refusal["serial"]) == (409, "diverged", 100)
    assert (await setup.ask("/+changelog/position?serial=101"))[0] == 404
    _status, told = await setup.ask("/+changelog/segments")
    growing = told["segments"][-1]
    assert (growing["first"], growing["size"], growing["sealed"]) == (seen.segment, seen.offset, False)


@in_reactor
async def test_heartbeats_come_at_the_beginning_when_all_was_sent_and_every_five_seconds(setup: Setup) -> None:
    client = await setup.follow(99)
    await client.caught_up(setup)
    assert [serial for serial, _time in client.beats] == [100, 100]
    for second in range(1, 11):
        setup.beats.advance(1)
        await turns()
        expected = 2 + second // 4
        await client.until(lambda: len(client.beats) >= expected)  # noqa: B023 -- awaited before it changes
        assert len(client.beats) == expected
    assert client.beats[-1] == (100, 1_795_000_008.25)
    await setup.write()
    await client.caught_up(setup)
    assert client.body.splitlines()[-2:] == [setup.bytes_after(100)[:-1], b"+ 101 1795000010.250000"]
    setup.beats.advance(3)
    late = await setup.follow(99)
    await late.caught_up(setup)
    for _second in range(20):
        setup.beats.advance(1)
        await turns()
    for each in (client, late):
        await each.until(lambda: each.beats[-1][1] >= 1_795_000_029)  # noqa: B023 -- awaited before it changes
        times = [time for _serial, time in each.beats]
        assert max(after - before for before, after in pairwise(times)) <= 5


@in_reactor
async def test_heartbeats_come_between_lines_while_a_follower_catches_up(tmp_path: Path) -> None:
    setup = Setup(str(tmp_path), segment_limit=8 << 20)
    setup.start()
    await setup.write(60, 50_000)
    client = await setup.follow(0)
    client.transport.pauseProducing()
    setup.beats.advance(5)
    await turns(20)
    client.transport.resumeProducing()
    await client.caught_up(setup)
    assert client.lines == setup.bytes_after(0)
    assert len(client.beats) >= 3
    assert client.body.splitlines()[1].startswith(b"1 "), "and not before each line"
    await setup.stop()


@in_reactor
async def test_a_slow_reader_is_waited_for_and_others_are_not_kept(tmp_path: Path) -> None:
    setup = Setup(str(tmp_path), segment_limit=8 << 20)
    setup.start()
    await setup.write(50, 100_000)
    slow, packed = await setup.follow(0), await setup.follow(0, Accept_Encoding="gzip")
    for client in (slow, packed):
        client.transport.pauseProducing()
    await turns(50)
    quick = await setup.follow(0)
    await quick.caught_up(setup)
    assert quick.lines == setup.bytes_after(0)
    offsets = [0, 0]
    while offsets != (offsets := [body.offset for body in setup.feeds.followers[NODE].bodies[:2]]):
        await deferLater(reactor, 0.1)
    assert max(offsets) < 8_000_000, "the rest waits on disk"
    for client in (slow, packed):
        client.transport.resumeProducing()
        await client.caught_up(setup)
        assert client.lines == quick.lines
    await setup.stop()


@in_reactor
async def test_twenty_servers_follow_at_once_some_of_them_compressed(setup: Setup) -> None:
    clients = [await setup.follow(number * 5, **({"Accept_Encoding": "gzip"} if number % 2 else {})) for number in range(20)]
    for _ in range(20):
        await setup.write(5)
    for number, client in enumerate(clients):
        await client.caught_up(setup)
        assert client.lines == setup.bytes_after(number * 5)
        assert client.head is not None
        assert client.head.get("content-encoding") == ("gzip" if number % 2 else None)
    assert [measure.value for measure in setup.feeds.measures()] == [20]
    for client in clients:
        client.transport.abortConnection()
        await client.ended
    await until(lambda: setup.feeds.count == 0)


@in_reactor
async def test_an_empty_log_can_be_followed_from_its_first_line(tmp_path: Path) -> None:
    setup = Setup(str(tmp_path))
    setup.start()
    plain, compressed = await setup.follow(0), await setup.follow(0, Accept_Encoding="gzip")
    await setup.write(3)
    for client in (plain, compressed):
        await client.caught_up(setup)
        assert client.lines == setup.bytes_after(0)
    await setup.stop()


@in_reactor
async def test_a_server_that_stops_ends_its_feeds(setup: Setup) -> None:
    clients = [await setup.follow(50), await setup.follow(100, Accept_Encoding="gzip")]
    for client in clients:
        await client.caught_up(setup)
    setup.feeds.stop()
    for client in clients:
        await client.ended
        assert client.body.endswith(b"\n")
    late = await setup.follow(50)
    await late.ended
    await until(lambda: setup.feeds.count == 0)


@in_reactor
async def test_who_follows_is_told_in_the_status(setup: Setup) -> None:
    client = await setup.follow(40, X_Devpi_Replica_Outside_Url="https://replica.example")
    await client.caught_up(setup)
    facts = nobody(setup.world).get("/+status").json()["result"]["polling_replicas"]
    assert facts == {
        NODE: {
            "remote-ip": "127.0.0.1", "outside-url": "https://replica.example", "serial": 100, "in-request": True,
            "is-streaming": True, "last-request": 1_795_000_000.25,
        }
    }  # fmt: skip
    client.transport.abortConnection()
    await client.ended
    await until(lambda: setup.feeds.count == 0)
    gone = nobody(setup.world).get("/+status").json()["result"]["polling_replicas"][NODE]
    assert (gone["in-request"], gone["serial"]) == (False, 100)


@in_reactor
async def test_a_node_of_a_cluster_gets_as_far_as_who_follows_before_it_says_that_logs_diverged(tmp_path: Path) -> None:
    setup = Setup(str(tmp_path))
    setup.world.rebuild(reach=lambda _serial: setup.writer.refresh())
    setup.start()
    await setup.write(10)
    setup.log.append([encode_content("2026-11-22T17:00:00.123456Z", "root", [EpochBegan(2, NODE)])], 10)  # by another node
    last = setup.log.last
    assert setup.writer.seen.serial == 10
    client = await setup.connect(f"/+changelog?after=11&chain={last.chain}&epoch=1")
    assert client.status == 200
    status, found = await setup.ask("/+changelog/position?serial=11")
    assert (status, found["chain"]) == (200, last.chain)
    for after in (11, 12):
        status, refusal = await setup.ask(f"/+changelog?after={after}&chain={'e' * 64}&epoch=1")
        assert (status, refusal["reason"]) == (409, "diverged")
    await setup.stop()


# From where a log cannot be followed


@in_reactor
async def test_a_log_is_followed_only_by_who_has_the_same_lines(setup: Setup) -> None:
    chain = setup.log.position(50).chain
    other = setup.log.position(51).chain
    for query, reason in (
        (f"after=50&chain={other}&epoch=1", "diverged"),
        ("after=50&epoch=1", "diverged"),
        (f"after=0&chain={other}&epoch=1", "diverged"),
        (f"after=101&chain={other}&epoch=1", "diverged"),
        (f"after=50&chain={chain}&epoch=2", "fenced"),
        (f"after=50&chain={chain}&epoch=1&log_id={'7' * 32}", "other log"),
    ):
        status, refusal = await setup.ask(f"/+changelog?{query}")
        assert (status, refusal["reason"]) == (409, reason)
        assert (refusal["serial"], refusal["epoch"], refusal["log_id"]) == (100, 1, LOG_ID)
        assert refusal["error"] == "FeedRefused"
        assert f"from serial {query[6:].partition('&')[0]}" in refusal["message"]
    setup.world.commit(EpochBegan(2, NODE))
    client = await setup.connect(f"/+changelog?after=50&chain={chain}&epoch=2&log_id={LOG_ID}")
    assert client.head is not None
    assert (client.status, client.head["x-twistpi-epoch"]) == (200, "2")


@in_reactor
async def test_a_question_that_cannot_be_understood_is_refused(setup: Setup) -> None:
    for query in ("", "?after=", "?after=x", "?after=-1", "?after=1&chain=zz", "?after=1&epoch=x", f"?after={9**30}"):
        status, refusal = await setup.ask(f"/+changelog{query}")
        assert (status, refusal["error"]) == (400, "BadRequest")


# Where lines are


@in_reactor
async def test_lines_and_segments_are_told(setup: Setup) -> None:
    facts = {"log_id": LOG_ID, "epoch": 1}
    position = setup.log.position(77)
    assert await setup.ask("/+changelog/position?serial=77") == (
        200, {"serial": 77, "chain": position.chain, "segment": position.segment, "offset": position.offset, **facts},
    )  # fmt: skip
    assert await setup.ask("/+changelog/position?serial=0") == (
        200, {"serial": 0, "chain": BEGINNING.chain, "segment": 1, "offset": 0, **facts},
    )  # fmt: skip
    status, refusal = await setup.ask("/+changelog/position?serial=101")
    assert (status, refusal["error"], refusal["fields"]) == (404, "UnknownSerial", {"serial": 101, "first": 1, "last": 100})
    status, told = await setup.ask("/+changelog/segments")
    assert (status, told["begins_after"]) == (200, {"serial": 0, "chain": BEGINNING.chain})
    assert [segment["first"] for segment in told["segments"]] == [segment.first for segment in setup.log.segments()]
    content = b""
    for segment in told["segments"]:
        client = await setup.connect(f"/+changelog/segments/{segment['first']}", Connection="close")
        await client.ended
        assert (client.status, len(client.body)) == (200, segment["size"])
        content += client.body
    assert content == setup.bytes_after(0)
    assert (await setup.ask("/+changelog/segments/2"))[0] == 404


@in_reactor
async def test_a_segment_comes_in_parts_where_asked(setup: Setup) -> None:
    size = setup.log.segments()[0].size
    for asked, status, expected in (
        ("bytes=100-299", 206, slice(100, 300)),
        (f"bytes={size - 10}-", 206, slice(size - 10, size)),
        ("bytes=-7", 206, slice(size - 7, size)),
        ("bytes=0-5,9-10", 200, slice(0, size)),
        (f"bytes={size}-", 416, None),
    ):
        client = await setup.connect("/+changelog/segments/1", Range=asked, Connection="close")
        await client.ended
        assert client.status == status
        assert expected is None or client.body == setup.bytes_after(0)[expected]


# Who is let in


async def forbidden(setup: Setup, target: str, method: str = "GET", **headers: str) -> tuple[str, Client]:
    """Why a request is refused, which must give away nothing."""
    client = await setup.connect(target, method, signed=False, Connection="close", **headers)
    await client.ended
    assert client.status == 403
    assert client.head is not None
    assert float(client.head["x-twistpi-time"]) == pytest.approx(setup.nodes.now(), abs=10)
    assert b"changes" not in client.body
    assert LOG_ID.encode() not in client.body
    if method == "HEAD":
        return "", client
    reason = next(word for word in ("missing", "malformed", "wrong secret", "expired", "other request", "replayed")
                  if f'"reason":"{word}"'.encode() in client.body)  # fmt: skip
    return reason, client


@in_reactor
async def test_without_the_secret_nothing_can_be_read(setup: Setup) -> None:
    for target in TARGETS:
        await nothing_can_be_read(setup, target)


async def nothing_can_be_read(setup: Setup, target: str) -> None:
    now = setup.nodes.now()

    async def why(token: str, **more: Any) -> str:
        return (await forbidden(setup, target, Authorization=f"Twistpi-Node {token}", **more))[0]

    assert (await forbidden(setup, target))[0] == "missing"
    assert (await forbidden(setup, target, Authorization="Basic cm9vdDo="))[0] == "missing"
    assert await why("x") == "malformed"
    assert await why(STRANGER.make(NODE, "GET", target, now, "01")) == "wrong secret"
    assert await why(setup.tokens.make(NODE, "GET", target, now - WINDOW - 1, "02")) == "expired"
    assert await why(setup.tokens.make(NODE, "GET", target, now + 100, "03")) == "expired"
    assert await why(setup.tokens.make(NODE, "POST", target, now, "04")) == "other request"
    for other in ("/+changelog?after=1", "/+changelog/segments/2", f"{target}&x=1", target.partition("?")[0] + "/"):
        assert await why(setup.tokens.make(NODE, "GET", other, now, "05")) == "other request"
    token = setup.token(target)
    client = await setup.connect(target, Authorization=f"Twistpi-Node {token}")
    assert client.status == 200
    assert await why(token) == "replayed"
    await forbidden(setup, target, "HEAD", Authorization=f"Twistpi-Node {token}")


@in_reactor
async def test_what_is_for_other_servers_does_not_exist_without_a_feed(setup: Setup) -> None:
    setup.world.components.replication.feeds = None
    setup.world.rebuild()
    for target in TARGETS:
        client = await setup.connect(target, "POST", Connection="close", Content_Length="0")
        await client.ended
        assert client.status in {404, 405}


@in_reactor
async def test_a_head_tells_what_a_feed_would(setup: Setup) -> None:
    client = await setup.connect("/+changelog?after=0", "HEAD", Connection="close")
    await client.ended
    assert client.head is not None
    assert (client.status, client.body, client.head["x-twistpi-log-id"]) == (200, b"", LOG_ID)
    assert setup.feeds.count == 0
