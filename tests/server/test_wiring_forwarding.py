"""What is handed on to a primary: its answer stands, whether or not this server gets to see what was changed."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.defer import Deferred

from tests.in_reactor import in_reactor
from tests.replication.fake_primary import reactor
from tests.replication.scripted_primary import Replica, ScriptedPrimary
from twistpi.server.primary_connection import forward_to
from twistpi.server.settings import Settings
from twistpi.web.addresses import Addresses
from twistpi.web.forwarding.forwarder import Forwarder


@in_reactor
async def test_a_write_that_was_done_is_answered_as_done_when_this_server_stops_before_it_is_here(
    tmp_path: Path,
) -> None:
    replica = Replica.build(tmp_path, ScriptedPrimary())
    forward = forward_to(replica.following.primary, replica.following, Addresses(), Settings(serverdir=str(tmp_path)), reactor)
    assert forward is not None
    reaching = Deferred.fromCoroutine(reach_of(forward, 9))
    replica.following.stop()
    assert await reaching is False
    assert await reach_of(forward, 9) is False
    await replica.stop()


async def reach_of(forward: Forwarder, serial: int) -> bool:
    assert forward.reach is not None
    return await forward.reach(serial)
