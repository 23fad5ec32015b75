"""A cache within its budget, with a real server, workers and installer."""

from __future__ import annotations

import json
import os
from pathlib import Path

from twisted.internet.threads import deferToThread

from tests.fakes.live_server import LiveServer, eventually
from tests.fakes.upstream import FakeUpstream
from tests.fakes.wheels import make_wheel, metadata, wheel_name
from tests.in_reactor import in_reactor
from tests.live.installers import Pip
from tests.live.test_live_commands import CHEAP, ask, twistpi
from tests.live.test_live_garbage import ROOT, age, stored

WHEEL = wheel_name("hello", "1.0")


@in_reactor
async def test_what_was_evicted_is_installed_again(server: LiveServer, upstream: FakeUpstream, tmp_path: Path) -> None:
    """The file is requested from a worker, and its access time outlives the server."""
    upstream.add_project("hello", {WHEEL: make_wheel("hello", "1.0")}, metadata={WHEEL: metadata("hello", "1.0")})

    def start() -> None:
        server.start("--upstream", upstream.index_url, "--workers", "1", environment=CHEAP)
        eventually((server.serverdir / "running.json").exists)

    def install(name: str) -> int:
        Pip("pip").install(tmp_path / name, server.simple, "hello==1.0")
        return upstream.count(f"/files/hello/{WHEEL}")

    await deferToThread(start)
    assert await deferToThread(install, "first") == 1
    status, _ = await deferToThread(ask, server, "PATCH", "/root/pypi", ["cache_max_bytes=0", "cache_min_age=0"], ROOT)
    assert status == 200
    assert "Nothing has to go" in await deferToThread(twistpi, server, "evict"), "it is younger than an hour"
    await deferToThread(server.end)
    age(server)
    await deferToThread(start)
    assert await deferToThread(install, "second") == 1
    await deferToThread(server.end)
    blob = os.stat(next((server.serverdir / "+files").rglob(WHEEL)))
    assert (blob.st_mtime, blob.st_atime > 1_500_000_000) == (1_000_000_000, True)
    await deferToThread(start)
    done = json.loads(await deferToThread(twistpi, server, "evict", "--json"))
    assert done["evicted"] == 1
    assert WHEEL not in stored(server)
    assert await deferToThread(install, "third") == 2
    assert WHEEL in stored(server)
    await deferToThread(server.end)
