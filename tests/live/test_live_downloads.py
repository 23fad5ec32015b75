"""Downloads from real processes: those of workers and of a replica are summed, and a restart loses none."""

from __future__ import annotations

import json
import signal
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any

from twisted.internet.threads import deferToThread

from tests.fakes.live_server import LiveServer, eventually
from tests.fakes.upstream import FakeUpstream
from tests.fakes.wheels import make_wheel, wheel_name
from tests.in_reactor import in_reactor
from tests.live.stages import fetch
from tests.live.test_live_commands import CHEAP
from tests.live.test_live_workers import workers_of

WHEEL, CONTENT = wheel_name("hello", "1.0"), make_wheel("hello", "1.0")
_DIGEST = sha256(CONTENT).hexdigest()
FILE = f"/root/pypi/+f/{_DIGEST[:3]}/{_DIGEST[3:16]}/{WHEEL}"


def downloads(server: LiveServer) -> Any:
    """What the server says of the project.  Blocking."""
    return json.loads(fetch(f"{server.url}/root/pypi/hello/+downloads"))["result"]


def install(server: LiveServer) -> None:
    """Download the file as pip does.  Blocking."""
    asked = urllib.request.Request(server.url + FILE, headers={"User-Agent": 'pip/26.0 {"python":"3.13.1"}'})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        assert answer.read() == CONTENT


def status_page(server: LiveServer) -> str:
    """What a browser shows of the server.  Blocking."""
    asked = urllib.request.Request(f"{server.url}/+status", headers={"Accept": "text/html"})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return str(answer.read(), "utf-8")


def is_counted(server: LiveServer, number: int) -> Callable[[], bool]:
    return lambda: bool(downloads(server)["total"] == number)


@in_reactor
async def test_downloads_of_workers_are_summed_and_neither_a_stop_nor_a_crash_loses_what_is_written(
    server: LiveServer, upstream: FakeUpstream
) -> None:
    upstream.add_project("hello", {WHEEL: CONTENT})
    options = ("--upstream", upstream.index_url, "--workers", "2")
    await deferToThread(server.start, *options, environment=CHEAP)
    await deferToThread(eventually, lambda: len(workers_of(server)) == 2)
    await deferToThread(fetch, f"{server.simple}hello/")
    with ThreadPoolExecutor(8) as threads:
        await deferToThread(lambda: list(threads.map(install, [server] * 30)))
    await deferToThread(eventually, is_counted(server, 30))
    await deferToThread(server.end, signal.SIGKILL)
    await deferToThread(server.start, *options, environment=CHEAP)
    await deferToThread(install, server)
    await deferToThread(server.end)
    await deferToThread(server.start, *options, environment=CHEAP)
    told = await deferToThread(downloads, server)
    assert (told["total"], told["by_installer"], told["by_python"]) == (31, {"pip 26.0": 31}, {"3.13": 31})
    assert told["by_file"] == {WHEEL: 31}


@in_reactor
async def test_downloads_of_a_replica_are_summed_at_the_primary_and_told_by_both(
    server: LiveServer, other: LiveServer, upstream: FakeUpstream
) -> None:
    upstream.add_project("hello", {WHEEL: CONTENT})
    await deferToThread(server.start, "--upstream", upstream.index_url, environment=CHEAP)
    await deferToThread(fetch, f"{server.simple}hello/")
    secret = str(server.serverdir / "secret")
    replica = ("--primary-url", server.url, "--secretfile", secret)
    await deferToThread(other.start, *replica, environment=CHEAP)
    await deferToThread(eventually, lambda: b"hello" in (_page(other) or b""))
    for _ in range(3):
        await deferToThread(install, other)
    await deferToThread(other.end)
    await deferToThread(other.start, *replica, environment=CHEAP)
    await deferToThread(eventually, is_counted(server, 3))
    assert (await deferToThread(downloads, other))["total"] == 3
    assert "a replica of" in await deferToThread(status_page, other)
    assert "connected" in await deferToThread(status_page, server)
    await deferToThread(other.end, signal.SIGKILL)
    await deferToThread(other.start, *replica, environment=CHEAP)
    await deferToThread(eventually, lambda: b"hello" in (_page(other) or b""))
    assert (await deferToThread(downloads, server))["total"] == 3, "not again"
    assert "Traceback" not in server.told() + other.told()


def _page(server: LiveServer) -> bytes | None:
    try:
        return fetch(f"{server.simple}hello/")
    except OSError:  # a replica that has nothing to serve yet
        return None
