"""Uploads, adopted files, pushes, removals and sweeps against each other, on real files: nothing that is named is ever lost."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from twisted.internet.task import deferLater

from tests.in_reactor import in_reactor
from tests.sweeping.sweeping_house import INDEXES, House, all_done, build_house, put, reactor, removed, uploaded

FILES = [(f"demo-1.{number}.zip", b"content %d" % (number % 3)) for number in range(4)]


async def work_for_a_while(house: House, chance: random.Random, until: float) -> int:
    """Some client; how many things it did."""
    done = 0
    while time.monotonic() < until:
        filename, content = chance.choice(FILES)
        source, target = chance.sample(INDEXES, 2)
        pause = chance.choice([0, 0, 0.001, 0.01])
        what = chance.random()
        if what < 0.35:
            await house.upload(filename, content, target, pause)
        elif what < 0.5:
            await house.adopt(filename, content, target, pause)
        elif what < 0.6:
            await house.push(filename, content, source, target)
        else:
            await house.commit(removed(filename, target))
        await house.check()
        done += 1
    return done


async def sweep_for_a_while(house: House, until: float) -> int:
    """One sweep after the other; how many blobs they removed."""
    total = 0
    while time.monotonic() < until:
        total += (await house.sweep()).swept.removed
        await house.check()
    return total


@pytest.mark.parametrize("seed", range(3))
@in_reactor
async def test_with_no_grace_at_all_claims_alone_keep_what_is_going_to_be_named(tmp_path: Path, seed: int) -> None:
    house = build_house(tmp_path, lambda: time.time() + 1000, grace=0.0)
    try:
        until = time.monotonic() + 2.0
        clients = [work_for_a_while(house, random.Random(seed * 100 + number), until) for number in range(8)]
        *done, swept = await all_done([*clients, sweep_for_a_while(house, until)])
        assert sum(done) > 50
        assert swept > 5, "the sweeps had nothing to do, so this showed nothing"
        await house.commit(*(removed(filename, index) for filename, _ in FILES for index in INDEXES))
        await house.sweep()
        assert list(house.tree.walk()) == [], "something was claimed and never let go of"
    finally:
        await house.close()


@in_reactor
async def test_without_any_claim_the_grace_time_keeps_what_is_going_to_be_named(tmp_path: Path) -> None:
    house = build_house(tmp_path, time.time, grace=3600.0)
    files = [(f"demo-{number}.zip", b"old %d" % number) for number in range(200)]
    try:
        for filename, content in files:
            put(house.tree, filename, content, age=True)

        async def keep_then_name(some: list[tuple[str, bytes]]) -> None:
            for filename, content in some:
                put(house.tree, filename, content)
                await deferLater(reactor, 0.001)
                await house.commit(uploaded(filename, content, INDEXES[0]))
                await house.check()

        named = files[::2]
        work = [keep_then_name(named[start::4]) for start in range(4)]
        await all_done([*work, sweep_for_a_while(house, time.monotonic() + 1.0)])
        await house.sweep()
        await house.check()
        assert {address.filename for address, _ in house.tree.walk()} == {filename for filename, _ in named}
    finally:
        await house.close()
