"""Uploads, adopted files, pushes, removals and garbage collection at once, on real files: nothing that is named is lost."""

from __future__ import annotations

import random
import time
from pathlib import Path

import attrs
import pytest
from twisted.internet.task import deferLater

from tests.gc.gc_setup import INDEXES, Setup, all_done, make_setup, put, reactor, removed, uploaded
from tests.in_reactor import PATIENCE, in_reactor

FILES = [(f"demo-1.{number}.zip", b"content %d" % (number % 3)) for number in range(4)]


@attrs.define
class Tally:
    """What was done by all together."""

    seconds: float
    """How long it lasts at least."""
    least_done: int = 0
    least_removed: int = 0
    """How much has to be done, and removed, however long that takes."""
    done: int = 0
    removed: int = 0
    _began: float = attrs.field(factory=time.monotonic)

    @property
    def goes_on(self) -> bool:
        """Whether everybody does one more thing."""
        lasted = time.monotonic() - self._began
        assert lasted < PATIENCE, f"the collector has too little to do, so this shows nothing: {self}"
        return lasted < self.seconds or self.done < self.least_done or self.removed < self.least_removed


async def work(setup: Setup, chance: random.Random, tally: Tally) -> None:
    """Some client."""
    while tally.goes_on:
        filename, content = chance.choice(FILES)
        source, target = chance.sample(INDEXES, 2)
        pause = chance.choice([0, 0, 0.001, 0.01])
        what = chance.random()
        if what < 0.35:
            await setup.upload(filename, content, target, pause)
        elif what < 0.5:
            await setup.adopt(filename, content, target, pause)
        elif what < 0.6:
            await setup.push(filename, content, source, target)
        else:
            await setup.commit(removed(filename, target))
        await setup.check()
        tally.done += 1


async def collect(setup: Setup, tally: Tally) -> None:
    """One pass after the other."""
    while tally.goes_on:
        tally.removed += (await setup.collect()).swept.removed
        await setup.check()


@pytest.mark.parametrize("seed", range(3))
@in_reactor
async def test_with_no_grace_at_all_claims_alone_keep_what_is_going_to_be_named(tmp_path: Path, seed: int) -> None:
    setup = make_setup(tmp_path, lambda: time.time() + 1000, grace=0.0)
    try:
        tally = Tally(2.0, least_done=50, least_removed=5)
        clients = [work(setup, random.Random(seed * 100 + number), tally) for number in range(8)]
        await all_done([*clients, collect(setup, tally)])
        await setup.commit(*(removed(filename, index) for filename, _ in FILES for index in INDEXES))
        await setup.collect()
        assert list(setup.tree.walk()) == [], "something was claimed and never let go of"
    finally:
        await setup.close()


@in_reactor
async def test_without_any_claim_the_grace_time_keeps_what_is_going_to_be_named(tmp_path: Path) -> None:
    setup = make_setup(tmp_path, time.time, grace=3600.0)
    files = [(f"demo-{number}.zip", b"old %d" % number) for number in range(200)]
    try:
        for filename, content in files:
            put(setup.tree, filename, content, age=True)

        async def keep_then_name(some: list[tuple[str, bytes]]) -> None:
            for filename, content in some:
                put(setup.tree, filename, content)
                await deferLater(reactor, 0.001)
                await setup.commit(uploaded(filename, content, INDEXES[0]))
                await setup.check()

        named = files[::2]
        await all_done([*(keep_then_name(named[start::4]) for start in range(4)), collect(setup, Tally(1.0))])
        await setup.collect()
        await setup.check()
        assert {address.filename for address, _ in setup.tree.walk()} == {filename for filename, _ in named}
    finally:
        await setup.close()
