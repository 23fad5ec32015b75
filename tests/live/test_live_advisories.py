"""A feed of advisories on a server with workers, on its replica and on a restored server; and what installers make of it."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from twisted.internet.threads import deferToThread

from tests.advisories.advisory_feed import ALL, record, zipped
from tests.fakes.live_server import LiveServer, eventually
from tests.fakes.upstream import FakeUpstream
from tests.in_reactor import in_reactor
from tests.live.installers import Installer, Pip, Uv
from tests.live.stages import fetch
from tests.live.test_live_commands import CHEAP, ask, twistpi
from tests.live.test_live_refusals import FILE, FILES, VERSIONS, answers, replicated
from tests.live.test_live_workers import Client, clients_of_both

OLD = record("MAL-2026-1", "other")
NEW = record(
    "MAL-2026-2", affected=[{"package": {"ecosystem": "PyPI", "name": "Hello"}, "versions": ["2.0"]}], summary="it steals"
)
REASON = b"by the rule advisories of root/pypi: hello 2.0 is malware, MAL-2026-2: it steals."


def is_refused(client: Client) -> bool:
    found, file, metadata, reason = answers(client)
    return (found, file, metadata) == (["1.0"], 403, 403) and REASON in reason


@pytest.fixture
def restored(tmp_path: Path) -> Iterator[LiveServer]:
    live = LiveServer(tmp_path / "restored", tmp_path / "restored.log")
    yield live
    live.end(signal.SIGKILL)


@in_reactor
async def test_malware_is_refused_by_workers_replicas_and_restored_servers_once_the_feed_says_so(
    server: LiveServer, other: LiveServer, restored: LiveServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    upstream.add_project("hello", FILES)
    feed = upstream.add_file(ALL, zipped(OLD))

    def run() -> None:
        options = ("--upstream", upstream.index_url, "--advisories", feed, "--root-passwd", "secret")
        server.start(*options, "--workers", "2", environment=CHEAP)
        secret = str(server.serverdir / "secret")
        replica = ("--primary-url", server.url, "--secretfile", secret, "--replicate-files", "on-demand")
        other.start(*replica, "--workers", "2", environment=CHEAP)
        eventually(lambda: ask(server, "GET", "/+status")[1]["result"]["advisories"]["count"] == 1)
        workers = clients_of_both(server)
        replicated(server, other)
        followers = clients_of_both(other)
        for _ in range(2):  # and ready from now on
            for client in (*workers, *followers):
                assert answers(client)[:3] == (list(VERSIONS), 200, 200)
        upstream.add_file(ALL, zipped(OLD, NEW))
        assert "advisories: 2 of" in twistpi(server, "advisories", "refresh")
        for client in (*workers, *followers):
            eventually(partial(is_refused, client))
            client.close()
        explained = twistpi(server, "explain", "root/pypi", "hello")
        assert "installs 1.0" in explained
        assert "not 2.0: advisories of root/pypi: hello 2.0 is malware, MAL-2026-2: it steals" in explained
        for one in (server, other):  # what was cached before is still here
            told = twistpi(one, "audit", "--fail-on", "malware", status=1, both=True)
            assert "hello 2.0 on root/pypi: malware" in told
            audited = json.loads(fetch(f"{one.url}/+audit"))["result"]
            assert [(found["project"], found["version"]) for found in audited["affected"]] == [("hello", "2.0")]
        resolve(server, tmp_path)
        twistpi(server, "backup", str(tmp_path / "backup"))
        twistpi(restored, "restore", str(tmp_path / "backup"))
        restored.start("--offline", environment=CHEAP)
        client = Client(restored)
        status, reason = client.ask("GET", FILE, Accept="*/*")
        assert (status, REASON in reason) == (403, True)
        client.close()

    await deferToThread(run)


def resolve(server: LiveServer, folder: Path) -> None:
    """Real installers fall back to the newest version that is offered."""
    installers: tuple[Installer, ...] = (Pip("pip"), Uv())
    for number, installer in enumerate(installers):
        told = installer.resolve(folder / f"resolved{number}", f"{server.url}/root/pypi/+simple/", "hello")
        assert re.search(r"hello(-|==)1\.0", told)
        assert "2.0" not in told
