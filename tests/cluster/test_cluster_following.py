"""What one node writes, all nodes show."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.cluster.nodes import Node, both_go_on, in_front
from tests.fakes.postgres import PostgresServer
from tests.in_reactor import in_reactor, until
from twistpi.cluster.schema import prepare
from twistpi.model.changes import UserCreated
from twistpi.model.server_errors import LogUnreachable

MakeNode = Callable[..., Node]


@in_reactor
async def test_what_each_node_writes_is_shown_and_announced_by_all_and_their_views_are_equal(make_node: MakeNode) -> None:
    nodes = [make_node() for _ in range(3)]
    names = [f"user{number}" for number in range(30)]
    for number, name in enumerate(names):
        await nodes[number % 3].add_user(name)
    await until(lambda: all(len(node.announced) == len(names) for node in nodes))
    for node in nodes:
        assert node.users() == sorted(names)
        assert sorted(change.user for change in node.announced if isinstance(change, UserCreated)) == sorted(names)
        assert node.rows() == nodes[0].rows()
        assert node.writer.seen == nodes[0].writer.seen


@in_reactor
async def test_a_node_that_hears_of_nothing_finds_out_by_itself(make_node: MakeNode) -> None:
    """As through a pool, which passes no notifications on."""
    writing, deaf = make_node(), make_node(deaf_to="0" * 32)
    await writing.add_user("alice")
    await until(lambda: deaf.users() == ["alice"])


@in_reactor
async def test_a_node_gets_as_far_as_it_is_asked_to_at_once(make_node: MakeNode) -> None:
    one, two = make_node(), make_node()
    two.listener.stop()
    committed = await one.add_user("alice")
    await two.listener.reach(committed.serial)
    assert two.users() == ["alice"]
    await two.listener.reach(committed.serial)
    await two.listener.reach(committed.serial + 100)  # which nobody wrote


@in_reactor
async def test_a_database_that_restarts_is_waited_for_and_heard_again(make_node: MakeNode) -> None:
    server = PostgresServer.make()
    try:
        url = server.new_database()
        prepare(url, os.urandom, time.time)
        one, two = make_node(url), make_node(url)
        await one.add_user("alice")
        await until(lambda: two.users() == ["alice"])
        server.end(signal.SIGQUIT)
        writing = one.add_user("bob")
        server.start()
        await writing
        await both_go_on(one, two)
    finally:
        server.remove()


@in_reactor
async def test_while_the_database_is_gone_local_facts_are_kept_and_a_change_is_refused(url: str, make_node: MakeNode) -> None:
    with in_front(url) as (proxy, through):
        node = make_node(through, patience=0.0)
        await node.add_user("alice")
        proxy.refuses = True
        proxy.cut()
        with pytest.raises(LogUnreachable, match="Reading goes on") as refusal:
            await node.add_user("bob")
        assert refusal.value.status == 503
        assert isinstance(node.writer.failure, LogUnreachable)
        await node.writer.keep(lambda view: view.forget_missing(0.0))
        assert node.users() == ["alice"]
        proxy.refuses = False
        await node.writer.refresh()
        assert node.writer.failure is None
