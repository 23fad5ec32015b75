"""History is compacted under a server that writes and is followed."""

from __future__ import annotations

import json
import signal
import sqlite3
import threading
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from tests.cli.commands import UPSTREAM, run
from tests.cli.test_commands_compaction import busy_years
from tests.crash.soaking import status_of, until
from tests.fakes.live_server import LiveServer, eventually
from tests.live.test_live_commands import CHEAP, ask
from tests.live.test_live_garbage import ROOT
from twistpi.changelog.disk import Disk
from twistpi.changelog.files import FileChangelog
from twistpi.changelog.format import BASE_NAME, read_summary_digest
from twistpi.changelog.summary_fold import FoldedPart
from twistpi.model.changes import Change, IndexCreated, LinksChanged, UserCreated
from twistpi.model.codec import encode_content
from twistpi.model.records import Link
from twistpi.server.settings import Settings
from twistpi.server.storage import Storage
from twistpi.view.database import drop_view, dump, read_stamp


def give_history(server: LiveServer) -> None:
    """Many small segments, as if they were large ones."""
    made: list[Change] = [UserCreated("carol", {}, None), IndexCreated("carol/dev", {"type": "stage", "bases": []})]
    happened = [made, *busy_years()]
    with closing(FileChangelog.open(str(server.serverdir / "changelog"), Disk(), segment_limit=3000)) as log:
        log.append([encode_content("2100-01-01T00:00:00.000000Z", "ann", changes) for changes in happened], log.last.serial)


def content(server: LiveServer) -> list[object]:
    return list(dump(str(server.serverdir / "view.sqlite")))


def test_replicas_follow_while_history_goes_and_a_later_one_has_its_summary(tmp_path: Path) -> None:
    primary, follower, late = (LiveServer(tmp_path / name, tmp_path / f"{name}.log") for name in ("primary", "follower", "late"))
    try:
        assert run(primary.serverdir, "init", "--upstream", UPSTREAM).exit_code == 0
        give_history(primary)
        primary.start("--offline", environment=CHEAP)
        follow = ("--primary-url", primary.url, "--secretfile", str(primary.serverdir / "secret"), "--offline")
        follower.start(*follow, environment=CHEAP)
        until(lambda: status_of(follower)["serial"] == status_of(primary)["serial"], follower.told)

        done = threading.Event()
        titles: list[int] = []

        def write() -> None:
            while not done.is_set():
                titles.append(ask(primary, "PATCH", "/root", {"title": f"number {len(titles)}"}, ROOT)[0])

        writing = threading.Thread(target=write)
        writing.start()
        told = json.loads(run(primary.serverdir, "compact", "--before", "2200-01-01", "--json").stdout)
        done.set()
        writing.join()
        assert set(titles) == {200}
        assert ask(primary, "POST", "/+compact", {"after": told["last"], "sha256": told["sha256"]}, ROOT)[0] == 404, "it is done"
        assert len(list((primary.serverdir / "changelog").glob("*.log"))) == 1
        assert status_of(primary)["log-begins-after"] == told["last"]

        late.start(*follow, environment=CHEAP)
        serial = status_of(primary)["serial"]
        for replica in (follower, late):
            assert run(replica.serverdir, "status", "--wait", str(serial), "--timeout", "60").exit_code == 0
        assert status_of(follower)["replica-state"] == "following"
        folder = str(late.serverdir / "changelog")
        until(lambda: read_summary_digest(folder, Disk()) == told["sha256"], late.told)
        for server in (primary, follower, late):
            server.end()
        assert content(follower)[1:] == content(late)[1:] == content(primary)[1:]
        before = content(late)
        drop_view(str(late.serverdir / "view.sqlite"))
        checked = run(late.serverdir, "check")
        assert (checked.exit_code, "a summary stands for the entries before" in checked.stdout) == (0, True)
        settings = Settings(serverdir=str(late.serverdir), primary_url=primary.url)
        Storage.open(settings, lambda: datetime.now(UTC), Disk()).close()
        assert content(late) == before
    finally:
        for server in (primary, follower, late):
            server.end(signal.SIGKILL)


def give_bulk(server: LiveServer) -> None:
    """What makes a summary of some MiB, and so many segments that to remove them takes a moment."""
    entries: list[list[Change]] = []
    for number in range(160):
        links = [Link(f"p{number}-{n}.0.zip", f"https://files.upstream.example/{n}", yanked="slow " * 400) for n in range(25)]
        entries.append([LinksChanged("root/pypi", f"p{number}", added=tuple(links))])
    with closing(FileChangelog.open(str(server.serverdir / "changelog"), Disk(), segment_limit=1)) as log:
        log.append([encode_content("2099-01-01T00:00:00.000000Z", "+mirror", changes) for changes in entries], log.last.serial)


def part_of(server: LiveServer) -> FoldedPart | None:
    """The part of a summary that the view has on the disk."""
    try:
        with closing(sqlite3.connect(f"file:{server.serverdir}/view.sqlite?mode=ro", uri=True)) as connection:
            return FoldedPart.of(read_stamp(connection).position)
    except (sqlite3.Error, ValueError):
        return None


def test_a_server_that_is_killed_while_it_compacts_or_builds_its_view_loses_nothing(server: LiveServer) -> None:
    assert run(server.serverdir, "init", "--upstream", UPSTREAM).exit_code == 0
    give_bulk(server)
    server.start("--offline", environment=CHEAP)
    assert ask(server, "PATCH", "/root", {"title": "acknowledged"}, ROOT)[0] == 200
    folder = server.serverdir / "changelog"

    def compact() -> None:
        run(server.serverdir, "compact", "--before", "2200-01-01")

    compacting = threading.Thread(target=compact)
    before = content(server)[1:]
    compacting.start()
    while not (folder / BASE_NAME).exists():
        assert compacting.is_alive(), "it came to its end before it was seen"
        time.sleep(0.001)
    server.end(signal.SIGKILL)
    compacting.join()

    drop_view(str(server.serverdir / "view.sqlite"))
    server.spawn("--offline", environment=CHEAP)
    eventually(lambda: part_of(server))
    server.end(signal.SIGKILL)
    killed = part_of(server)
    assert killed is not None
    assert 0 < killed.done < killed.total
    server.start("--offline", environment=CHEAP)
    until(lambda: status_of(server).get("rebuilding") is None, server.told)
    assert ask(server, "GET", "/root", None, ROOT)[1]["result"]["title"] == "acknowledged"
    assert len(list(folder.glob("*.log"))) == 1, "a start removes what the summary stands for"
    checked = run(server.serverdir, "check")
    assert (checked.exit_code, "a summary stands for the entries before" in checked.stdout) == (0, True), checked.stdout
    server.end()
    assert content(server)[1:] == before
