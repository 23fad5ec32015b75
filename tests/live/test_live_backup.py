"""Backups of a running server, a replica made of one, and files that come again from upstream and primary."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from urllib.parse import urljoin

from twisted.internet.threads import deferToThread

from tests.backup.backed_up import blobs_in, log_in
from tests.cli.commands import run
from tests.crash.soaking import status_of
from tests.etc.talking import ask as ask_anything
from tests.fakes.live_server import LiveServer, eventually
from tests.fakes.upstream import FakeUpstream
from tests.fakes.wheels import make_wheel, metadata, wheel_name
from tests.in_reactor import in_reactor
from tests.live.test_live_commands import CHEAP, ask
from tests.live.test_live_garbage import ROOT, upload
from twistpi.changelog.disk import Disk
from twistpi.changelog.files import FileChangelog
from twistpi.model.changes import UserCreated
from twistpi.model.codec import encode_content

WHEEL = wheel_name("hello", "1.0")
OWN = wheel_name("demo", "1.0")


def spoil(serverdir: Path, name: str) -> None:
    (blob,) = (serverdir / "+files").rglob(name)
    blob.write_bytes(b"other bytes")


def command(server: LiveServer, *words: str) -> str:
    """What a command says, run in this process, which spares its start."""
    done = run(server.serverdir, *words)
    assert done.exit_code == 0, done.output
    return done.stdout


def repair(server: LiveServer) -> list[str]:
    """How files were repaired."""
    report = json.loads(command(server, "check", "--repair", "--json"))
    return [finding["text"].rpartition("; ")[2] for finding in report["findings"] if finding["repaired"]]


@in_reactor
async def test_a_server_is_backed_up_and_repaired_while_it_runs(
    server: LiveServer, other: LiveServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    upstream.add_project("hello", {WHEEL: make_wheel("hello", "1.0")}, metadata={WHEEL: metadata("hello", "1.0")})

    def fill() -> None:
        assert run(server.serverdir, "init", "--upstream", upstream.index_url).exit_code == 0
        with closing(FileChangelog.open(str(server.serverdir / "changelog"), Disk(), segment_limit=1)) as log:
            early = [encode_content("2026-11-22T17:00:00.000000Z", "root", [UserCreated(f"user{n}")]) for n in range(3)]
            log.append(early, log.last.serial)
        server.start("--upstream", upstream.index_url, environment=CHEAP)
        eventually((server.serverdir / "running.json").exists)
        assert ask(server, "PUT", "/root/dev", {"bases": [], "acl_upload": ["root"]}, ROOT)[0] == 200
        upload(server, "root/dev", "demo", "1.0")
        page = ask_anything(f"{server.simple}hello/", Accept="application/vnd.pypi.simple.v1+json")
        (file,) = json.loads(page.body)["files"]
        url = urljoin(f"{server.simple}hello/", file["url"])
        for address in (url, f"{url}.metadata"):
            assert ask_anything(address).status == 200

    await deferToThread(fill)
    blobs = blobs_in(server.serverdir)
    assert "a summary of" in await deferToThread(command, server, "compact", "--before", "2200-01-01")
    told = await deferToThread(command, server, "backup", "--with-secret", str(tmp_path / "backup"))
    assert f"new: {len(blobs)} files" in told

    spoil(server.serverdir, WHEEL)
    spoil(server.serverdir, f"{WHEEL}.metadata")
    assert await deferToThread(repair, server) == 2 * ["it came again from the upstream"]
    assert blobs_in(server.serverdir) == blobs

    await deferToThread(command, other, "restore", str(tmp_path / "backup"))
    await deferToThread(command, other, "resync", "--primary-url", server.url)
    spoil(other.serverdir, OWN)
    assert await deferToThread(repair, other) == [f"it came again from {server.url}"]
    assert blobs_in(other.serverdir) == blobs

    await deferToThread(other.start, "--offline", environment=CHEAP)
    await deferToThread(eventually, lambda: status_of(other).get("replica-state") == "following")
    assert (await deferToThread(status_of, other))["log-has-summary"]
    await deferToThread(other.end)
    await deferToThread(server.end)
    log, copy = (log_in(one.serverdir) for one in (server, other))
    assert copy == log
