"""A full disk that has room again is noticed without a write."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from tests.in_reactor import in_reactor, until
from tests.mirror.conftest import fake, make_setup, setup
from tests.mirror.mirror_setup import Setup, offload
from tests.mirror.test_mirror_full_disk import SmallDisk
from twistpi.blobs.tree import Tree
from twistpi.model.server_errors import StorageFull
from twistpi.server.room_watch import RoomWatch

__all__ = ["fake", "make_setup", "setup"]


@in_reactor
async def test_writing_goes_on_when_there_is_room_again(setup: Setup) -> None:
    clock, disk = Clock(), SmallDisk(0)
    watch = RoomWatch(setup.writer, Tree(str(setup.folder), disk), clock, offload)
    watch.start()
    setup.changelog.is_full = True
    with pytest.raises(StorageFull):
        await setup.set_up(title="refused")
    for _ in range(2):
        clock.advance(2)
        await setup.writer.keep(lambda view: None)
    assert setup.writer.failure is not None
    setup.changelog.is_full, disk.room = False, 1 << 20

    def is_writing() -> bool:
        clock.advance(2)  # again and again: a look that is under way puts the next one off
        return setup.writer.failure is None

    await until(is_writing)
    await until(lambda: setup.incoming() == [])
    watch.stop()
