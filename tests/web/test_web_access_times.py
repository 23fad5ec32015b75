"""Which requests count as asking for a file, so that it is not evicted for longer."""

from __future__ import annotations

import pytest

from tests.in_reactor import in_reactor
from tests.web.web_wire import Wire
from tests.web.web_world import MIRROR, World, at_once, link
from twistpi.blobs.address import blob_address
from twistpi.gc.access_times import AccessRecorder, AccessTimes

BODY = b"wheel" * 1000
WHEEL = link("demo-1.0-py3-none-any.whl", BODY)


@pytest.mark.parametrize("way", ["ordinary", "fast", "unchanged", "nginx"])
def test_a_file_that_is_sent_in_any_way_was_asked_for(world: World, way: str) -> None:
    world.list_links("demo", [WHEEL])
    path = world.cache_file("demo", WHEEL, BODY)
    wire, times = Wire(world, fast=way != "ordinary"), world.components.access_times
    if way in ("fast", "unchanged"):
        wire.ask(path)  # after this it is ready
    times.take(0.0)
    times.take(7200.0)
    if way == "nginx":
        assert wire.ask("/+straight", x_original_uri=path).status == 204
    else:
        more = {"if_none_match": f'"{WHEEL.sha256}"'} if way == "unchanged" else {}
        assert wire.ask(path, **more).status == (304 if way == "unchanged" else 200)
    assert times.take(7200.0) == [world.blobs.path(blob_address(WHEEL.sha256 or "", WHEEL.filename))]


@in_reactor
async def test_what_clients_get_from_a_replica_was_asked_for(world: World) -> None:
    wheel, times = link("demo-1.0-py3-none-any.whl"), AccessTimes()
    world.list_links("demo", [wheel, link("demo-2.0.zip")])
    world.cache_file("demo", wheel, b"bytes")
    recorder = AccessRecorder(times, world.blobs, world.readers, world.clock, at_once, world.clock.seconds)
    names = (wheel.filename, "demo-2.0.zip", "never-heard-of.zip", wheel.filename)
    await recorder.downloaded([(MIRROR, "demo", name, "pip", "26", "3.14", 3) for name in names])
    assert times.take(0.0) == [world.blobs.path(blob_address(wheel.sha256 or "", wheel.filename))]
