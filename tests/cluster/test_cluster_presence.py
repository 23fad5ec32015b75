"""Nodes know which of them run, and say how they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import psycopg
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.threadpool import ThreadPool

from tests.cluster.nodes import in_front
from tests.in_reactor import in_reactor, offload, until
from twistpi.cluster.database import Database
from twistpi.cluster.leases import Leadership, Leases
from twistpi.cluster.listener import Listener
from twistpi.cluster.presence import Presence
from twistpi.model.peers import Position
from twistpi.server.cluster import ClusterNode


def presence(url: str, node_id: str, facts: Mapping[str, Any], clock: Any) -> Presence:
    return Presence(Database(url, patience=0.2), node_id, lambda: facts, "housekeeping", clock, offload)


@in_reactor
async def test_nodes_see_each_other_until_one_stops_or_is_silent_for_long(url: str) -> None:
    clock = Clock()
    one, two = presence(url, "a" * 32, {"serial": 7}, clock), presence(url, "b" * 32, {"serial": 9}, clock)
    one.start()
    await until(lambda: one.nodes)
    two.start()
    await until(lambda: len(two.nodes) == 2)
    assert {node.node_id: node.facts["serial"] for node in two.nodes} == {"a" * 32: 7, "b" * 32: 9}
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE twistpi_nodes SET seen_at = now() - interval '31 seconds' WHERE node_id = %s", ("a" * 32,))
    await two.stop()
    clock.advance(10.0)
    await until(lambda: [node.node_id for node in one.nodes] == ["a" * 32])
    await one.stop()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT FROM twistpi_nodes").rowcount == 0


@in_reactor
async def test_a_node_whose_database_is_gone_says_so_and_what_goes_on(url: str) -> None:
    with in_front(url) as (proxy, through):
        clock = Clock()
        node = make_node(through, presence(through, "a" * 32, {"serial": 7, "url": "http://one.example"}, clock), seen=7)
        node.presence.start()
        await until(lambda: node.presence.nodes)
        assert [check.fine for check in node.checks()] == [True, True]
        told = cast(dict[str, Any], node.facts())
        assert told["nodes"]["a" * 32]["outside-url"] == "http://one.example"
        assert (told["is-reachable"], told["lag-entries"]) == (True, 0)
        proxy.refuses = True
        proxy.cut()
        clock.advance(10.0)
        await until(lambda: node.presence.failure)
        database, cluster = node.checks()
        assert (database.fine, database.needed, cluster.fine) == (False, False, True)
        assert "changes are refused" in database.sentence
        assert node.facts()["is-reachable"] is False
        proxy.refuses = False
        await node.presence.stop()


def make_node(url: str, seen_by: Presence, seen: int, clock: Clock | None = None) -> ClusterNode:
    clock = Clock() if clock is None else clock
    never: Deferred[Position] = Deferred()
    listener = Listener(url, "a" * 32, lambda: never, lambda: seen, lambda *_: None, clock.seconds)
    leases = Leases(Database(url), "a" * 32, cast(Any, clock), offload)
    return ClusterNode(listener, leases, ThreadPool(), Leadership(leases, "housekeeping"), seen_by)


def test_a_node_that_lacks_entries_for_long_is_not_ready(url: str) -> None:
    clock = Clock()
    node = make_node(url, presence(url, "a" * 32, {}, clock), seen=7, clock=clock)
    appended = node.listener.appended
    appended(7)
    clock.advance(60.0)
    assert [check.fine for check in node.checks()] == [True, True]
    appended(9)
    clock.advance(29.0)
    assert all(check.fine for check in node.checks())
    clock.advance(2.0)
    _, cluster = node.checks()
    assert (cluster.fine, cluster.needed) == (False, True)
    assert "lacks 2 entries that others wrote, for 31 s" in cluster.sentence
    assert node.facts()["lag-entries"] == 2
