"""Files of a real replica: asked for before it has them, while its primary is killed, and while that is gone."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread

from tests.fakes.live_server import PATIENCE, LiveServer, eventually
from tests.fakes.unruly_proxy import Stall, UnrulyProxy
from tests.fakes.upstream import FakeUpstream
from tests.fakes.wheels import make_wheel, wheel_name
from tests.in_reactor import in_reactor
from tests.live.stages import fetch
from tests.live.test_live_commands import CHEAP, ask
from tests.live.test_live_garbage import ROOT, upload

WHEEL = make_wheel("demo", "1.0", payload=os.urandom(8_000_000))
SMALL = "hello-1.0.tar.gz"


def status(server: LiveServer) -> Any:
    return ask(server, "GET", "/+status")[1]["result"]


def has_all(replica: LiveServer, primary: LiveServer) -> None:
    """Return when the replica has the log of its primary.  Blocking."""
    serial = status(primary)["serial"]
    eventually(lambda: status(replica)["serial"] == serial)


def start_both(primary: LiveServer, replica: LiveServer, proxy: UnrulyProxy, upstream: FakeUpstream) -> None:
    """Start them, the primary with an upload and its replica on demand."""
    primary.start("--upstream", upstream.index_url, "--access-log", f"{primary.log}.requests", environment=CHEAP)
    proxy.target = primary.url
    assert ask(primary, "PUT", "/root/dev", {"volatile": True, "bases": []}, ROOT)[0] == 200
    assert upload(primary, "root/dev", "demo", "1.0", WHEEL) == 200
    secret = ("--secretfile", str(primary.serverdir / "secret"))
    replica.start("--primary-url", proxy.url, *secret, "--replicate-files", "on-demand")
    has_all(replica, primary)


def ask_together(url: str, count: int) -> tuple[list[threading.Thread], list[str]]:
    """Clients at once, and the digests of what each got."""
    digests: list[str] = []
    clients = [threading.Thread(target=lambda: digests.append(hashlib.sha256(fetch(url)).hexdigest())) for _ in range(count)]
    for client in clients:
        client.start()
    return clients, digests


def kill_in_the_middle(primary: LiveServer, replica: LiveServer, proxy: UnrulyProxy) -> list[str]:
    """Thirty clients get what a file's replica has not, while its primary is killed and started again."""
    path = f"/root/dev/+f/{hashlib.sha256(WHEEL).hexdigest()[:3]}/{hashlib.sha256(WHEEL).hexdigest()[3:16]}/"
    proxy.will(Stall(asked=b"GET /+blob/", behind=b"\r\n\r\n", after=3_000_000))
    clients, digests = ask_together(f"{replica.url}{path}{wheel_name('demo', '1.0')}", 30)
    proxy.wait_until_happened(1)
    incoming = replica.serverdir / "incoming"
    eventually(lambda: any(path.stat().st_size > 1_000_000 for path in incoming.iterdir()))
    primary.end(signal.SIGKILL)
    proxy.stall()  # a client that asks again waits, however long a busy machine takes to start a process
    proxy.cut()  # and what the system holds for the process that is gone
    primary.start("--access-log", f"{primary.log}.requests", environment=CHEAP)
    proxy.target = primary.url
    proxy.release()
    for client in clients:
        client.join(PATIENCE)
    return digests


@in_reactor
async def test_thirty_clients_of_a_replica_get_a_file_whose_primary_is_killed_in_the_middle_with_one_fetch(
    server: LiveServer, other: LiveServer, upstream: FakeUpstream
) -> None:
    replica = other
    upstream.add_project("hello", {SMALL: b"hello" * 1000})
    with UnrulyProxy("http://127.0.0.1:1") as proxy:
        await deferToThread(start_both, server, replica, proxy, upstream)
        page = await deferToThread(fetch, f"{replica.url}/root/pypi/+simple/hello/")
        assert SMALL.encode() in page
        assert upstream.count("/simple/hello/") == 1
        digests = await deferToThread(kill_in_the_middle, server, replica, proxy)
        assert digests == [hashlib.sha256(WHEEL).hexdigest()] * 30

        # With the primary gone, everything that is known is served, and a mirrored file comes from the upstream itself.
        await deferToThread(server.end)
        requests = Path(f"{server.log}.requests").read_text()
        fetches = [line for line in requests.splitlines() if "GET /+blob/" in line and " 403 " not in line]
        # What the killed process had sent it may have logged or not; the other one sent the rest.
        assert [" 206 " in line for line in fetches] in ([True], [False, True]), fetches
        assert await deferToThread(fetch, f"{replica.url}/root/pypi/+simple/hello/") == page
        digest = hashlib.sha256(b"hello" * 1000).hexdigest()
        url = f"{replica.url}/root/pypi/+f/{digest[:3]}/{digest[3:16]}/{SMALL}"
        for _ in range(2):
            assert await deferToThread(fetch, url) == b"hello" * 1000
        assert upstream.count(f"/files/hello/{SMALL}") == 1
        files = (await deferToThread(status, replica))["files"]
        assert (files["policy"], files["outstanding"], files["failing"]) == ("on-demand", 0, [])
