"""Promotion of a running replica: while the primary can be reached nothing is lost, without it nobody waits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import attrs
import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from tests.in_reactor import in_reactor, wait_for
from tests.replication.fake_primary import reactor
from tests.replication.test_replication_fencing import NEW, OLD, Server, Setup
from twistpi.model.errors import TwistpiError
from twistpi.replication.promotion import Promotion
from twistpi.rules.replication import Fence


@attrs.define(eq=False)
class Following:
    """Receives what is missing when it is waited for, or does not."""

    server: Server
    arrives: bool = True
    waited: list[int] = attrs.field(factory=list)

    def hurry(self) -> None:
        """Nothing to hurry."""

    def wait_for(self, serial: int, timeout: float) -> Deferred[None]:
        self.waited.append(serial)
        if not self.arrives:
            return fail(
                TwistpiError(
                    (
                        f"Serial {serial} is not here yet: after {timeout:g} s this server was at "
                        f"{self.server.log.serial}. What was changed is in force at the primary, and will be here."
                    ),
                    504,
                )
            )
        self.server.log.serial = max(self.server.log.serial, serial)
        return succeed(None)


@attrs.define(eq=False)
class Scene:
    """A primary, its replica, and the promotion of that."""

    old: Server
    new: Server
    promoting: Promotion
    following: Following
    missing: list[str]
    """Files that are not here."""
    clock: Clock
    begun: list[tuple[int, int]]
    """Epochs with the serials behind which they began."""

    async def take_over(self, epoch: int, *, notify: bool) -> None:
        self.begun.append((epoch, self.new.log.serial))

    async def promote(self, *, force: bool = False) -> dict[str, Any]:
        self.promoting.begin(force=force)
        while self.promoting.facts()["state"] == "under way" and not self.begun:
            turn: Deferred[None] = Deferred()
            reactor.callLater(0.001, turn.callback, None)
            await turn
            self.clock.advance(0.1)
        return self.promoting.facts()


@pytest.fixture
def setup() -> Iterator[Setup]:
    setup = Setup()
    yield setup
    wait_for(Deferred.fromCoroutine(setup.close()))


def scene_of(setup: Setup, old_serial: int = 123, new_serial: int = 120, **old: Any) -> Scene:
    one, other = setup.server(OLD, old_serial, **old), setup.server(NEW, new_serial, role="replica")
    following, begun, missing, clock = Following(other), list[tuple[int, int]](), list[str](), Clock()

    async def take_over(epoch: int, *, notify: bool) -> None:
        begun.append((epoch, other.log.serial))

    promoting = Promotion(
        other.fencing, other.reach(one), cast(Any, following), take_over, lambda: None, lambda: len(missing), clock
    )
    return Scene(one, other, promoting, following, missing, clock, begun)


@in_reactor
async def test_the_primary_holds_its_writes_and_all_that_it_has_is_waited_for(setup: Setup) -> None:
    scene = scene_of(setup)
    scene.old.gate.under_way = 2
    await scene.promote()
    assert scene.old.gate.told == ["hold"]
    assert scene.following.waited == [125]
    assert scene.begun == [(2, 125)]
    assert scene.promoting.facts()["told"] == ["Waiting for 5 entries of the primary, up to serial 125."]


@in_reactor
async def test_when_they_do_not_come_nobody_is_promoted_and_the_primary_goes_on(setup: Setup) -> None:
    scene = scene_of(setup)
    scene.following.arrives = False
    facts = await scene.promote()
    assert facts["state"] == "failed"
    assert "entries up to 123, this server only up to 120" in facts["failure"]
    assert "--force" in facts["failure"]
    assert scene.begun == []
    scene.old.clock.advance(0.1)
    assert scene.old.gate.told == ["hold", "hold", "release"]


@in_reactor
async def test_by_force_nothing_is_waited_for(setup: Setup) -> None:
    scene = scene_of(setup)
    await scene.promote(force=True)
    assert scene.begun == [(2, 120)]
    assert (scene.old.gate.told, scene.following.waited) == ([], [])


@in_reactor
async def test_a_primary_that_is_gone_or_has_another_log_is_not_waited_for(setup: Setup) -> None:
    gone = scene_of(setup)
    await gone.old.site.stop()
    facts = await gone.promote()
    assert gone.begun == [(2, 120)]
    assert "was not asked" in facts["told"][0]
    foreign = scene_of(setup, log_id="2" * 32)
    facts = await foreign.promote()
    assert foreign.begun == [(2, 120)]
    assert "another log" in facts["told"][0]


@in_reactor
async def test_who_follows_a_replica_is_not_promoted_but_by_force(setup: Setup) -> None:
    scene = scene_of(setup, role="replica")
    facts = await scene.promote()
    assert facts["state"] == "failed"
    assert f"promote the server at {scene.old.site.url}" in facts["failure"]
    await scene.promote(force=True)
    assert scene.begun == [(2, 120)]


@in_reactor
async def test_files_that_are_not_here_are_waited_for(setup: Setup) -> None:
    scene = scene_of(setup)
    scene.missing.append("demo-1.0.tar.gz")
    scene.clock.callLater(5, scene.missing.clear)
    facts = await scene.promote()
    assert scene.begun == [(2, 123)], facts


@in_reactor
async def test_when_files_do_not_come_the_primary_goes_on_and_when_there_are_many_it_is_not_even_held(setup: Setup) -> None:
    scene = scene_of(setup)
    scene.missing.append("demo-1.0.tar.gz")
    facts = await scene.promote()
    assert "1 file is not here yet" in facts["failure"]
    assert (scene.begun, scene.old.gate.told) == ([], ["hold", "hold"])
    scene.missing += ["another"] * 200
    facts = await scene.promote()
    assert "201 files are not here yet" in facts["failure"]
    assert (scene.begun, scene.old.gate.told) == ([], ["hold", "hold"])
    facts = await scene.promote(force=True)
    assert scene.begun == [(2, 123)]
    assert "+files" in facts["told"][0]


@in_reactor
async def test_a_primary_that_knows_a_later_epoch_is_told_of_one_beyond_that(setup: Setup) -> None:
    scene = scene_of(setup, epochs=[(4, OLD, 122)])
    facts = await scene.promote()
    assert scene.begun == [(5, 123)], facts


@in_reactor
async def test_a_former_primary_is_promoted_again_by_force_only(setup: Setup) -> None:
    scene = scene_of(setup)
    scene.promoting = Promotion(
        scene.old.fencing, None, None, scene.take_over, lambda: None, lambda: 0, scene.clock
    )  # fmt: skip
    scene.old.fencing.fence = Fence(3, NEW, None, 120, 123)
    facts = await scene.promote()
    assert "twistpi resync" in facts["failure"]
    assert facts["role"] == "fenced"
    await scene.promote(force=True)
    assert [epoch for epoch, _serial in scene.begun] == [4]


@in_reactor
async def test_a_primary_cannot_be_promoted(setup: Setup) -> None:
    promoting = Promotion(
        setup.server(OLD, 5).fencing, None, None, lambda epoch, *, notify: succeed(None), lambda: None, lambda: 0, Clock()
    )
    with pytest.raises(TwistpiError):
        promoting.begin(force=False)
    assert promoting.facts()["role"] == "primary"
