"""Leases: held by one node at a time, until it ends them or dies."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
from twisted.internet.defer import Deferred

from tests.cluster.nodes import Node, in_front
from tests.in_reactor import in_reactor, until
from twistpi.cluster.leases import Leadership

MakeNode = Callable[..., Node]


def expire(url: str) -> None:
    """Let the time have passed after which leases that are not renewed are over."""
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE twistpi_leases SET expires = now() - interval '1 second'")


@in_reactor
async def test_a_lease_is_one_nodes_and_then_the_next_ones_with_what_was_left_for_it(make_node: MakeNode) -> None:
    one, two = make_node(), make_node()
    first = await one.leases.take("page", 5)
    assert first is not None
    assert (first.note, first.is_news, first.is_held) == ("", False, True)
    assert await two.leases.take("page", 0.0) is None
    other = await two.leases.take("another page", 0.0)
    assert other is not None
    waiting = Deferred.fromCoroutine(two.leases.take("page", 60))
    await two.leases.forget()  # which its one thread does after the first attempt
    assert not waiting.called
    assert await first.end("what it says")
    second = await waiting
    assert second is not None
    assert (second.note, second.is_news) == ("what it says", True)
    assert second.token > first.token
    assert not first.is_held
    await other.end("")
    await second.end("")


@in_reactor
async def test_a_note_from_before_anybody_waited_is_no_news(make_node: MakeNode) -> None:
    one, two = make_node(), make_node()
    first = await one.leases.take("page", 0.0)
    assert first is not None
    await first.end("old")
    later = await two.leases.take("page", 0.0)
    assert later is not None
    assert (later.note, later.is_news) == ("old", False)
    await later.end("old")


@in_reactor
async def test_the_lease_of_a_node_that_died_is_taken_by_another_and_the_dead_one_can_end_it_no_more(
    url: str, make_node: MakeNode
) -> None:
    one, two = make_node(), make_node()
    dead = await one.leases.take("file", 0.0)
    assert dead is not None
    expire(url)
    heir = await two.leases.take("file", 0.0)
    assert heir is not None
    assert not heir.is_news
    assert not await one.leases.renew(dead)
    assert not await dead.end("too late")
    assert await two.leases.renew(heir)
    assert await heir.end("done")
    again = await one.leases.take("file", 0.0)
    assert again is not None
    assert again.note == "done"
    await again.end("")


@in_reactor
async def test_without_the_database_there_is_no_lease_and_nobody_waits_for_one(url: str, make_node: MakeNode) -> None:
    with in_front(url) as (proxy, through):
        node = make_node(through)
        held = await node.leases.take("page", 0.0)
        assert held is not None
        proxy.refuses = True
        proxy.cut()
        assert await node.leases.take("page", 600) is None
        assert not await held.end("")
        proxy.refuses = False


@in_reactor
async def test_of_all_nodes_one_leads_and_when_it_leaves_another_one_does(url: str, make_node: MakeNode) -> None:
    leaders = [Leadership(make_node().leases, "housekeeping") for _ in range(2)]
    for leader in leaders:
        leader.start()
    await until(lambda: any(leader.is_held for leader in leaders))
    [former] = [leader for leader in leaders if leader.is_held]
    [next_one] = [leader for leader in leaders if not leader.is_held]
    await former.stop()
    await next_one.stop()
    next_one.start()
    await until(lambda: next_one.is_held)
    assert not former.is_held
    await next_one.stop()


@in_reactor
async def test_what_was_left_long_ago_is_forgotten(url: str, make_node: MakeNode) -> None:
    node = make_node()
    for name in ("old", "new"):
        turn = await node.leases.take(name, 0.0)
        assert turn is not None
        await turn.end(name)
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE twistpi_leases SET expires = now() - interval '2 days' WHERE name = 'old'")
    leader = Leadership(node.leases, "housekeeping")
    leader.start()

    def names() -> set[str]:
        with psycopg.connect(url) as connection:
            return {str(name) for (name,) in connection.execute("SELECT name FROM twistpi_leases")}

    await until(lambda: names() == {"new", "housekeeping"})
    await leader.stop()
    turn = await node.leases.take("new", 0.0)
    assert turn is not None
    assert turn.note == "new"
    await turn.end("")
