"""``twistpi log`` and ``twistpi check`` on a replica that has not the older history, and on one whose files are on their way."""

from __future__ import annotations

import os
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest
from click.testing import CliRunner

from tests.view.small_world import INDEX, link
from twistpi.changelog.catch_up import catch_up
from twistpi.changelog.disk import Disk
from twistpi.changelog.files import FileChangelog
from twistpi.changelog.format import segment_start, write_base
from twistpi.changelog.reader import segment_path
from twistpi.cli.check import check
from twistpi.cli.file_check import Counts, Finding
from twistpi.cli.main import main
from twistpi.model.changes import Change, FileCached, IndexCreated, LinksChanged, LogStarted, ProjectVanished
from twistpi.model.codec import encode_content
from twistpi.model.server_errors import ServerdirRefused
from twistpi.server.directory import ServerDirectory
from twistpi.server.settings import Settings
from twistpi.server.storage import Storage
from twistpi.view.database import drop_view, open_view

AT = "2026-11-22T17:00:00.000000Z"


@attrs.frozen
class Replica:
    """The directory of a replica that began with the third segment of its log."""

    path: str
    begins_after: int

    def findings(self) -> list[Finding]:
        return list(check(self.path, lambda _what, _done, _total: None, Counts()))

    def wrong(self) -> list[str]:
        return [finding.text for finding in self.findings() if finding.wrong]

    def notes(self) -> str:
        return "\n".join(finding.text for finding in self.findings() if not finding.wrong)


@pytest.fixture
def replica(tmp_path: Path) -> Replica:
    serverdir = ServerDirectory.open(str(tmp_path / "replica"), primary_url="http://primary.example", secret=b"s" * 32)
    serverdir.note(log_id="1" * 32)
    serverdir.initialised()
    layout = serverdir.layout
    changes: list[list[Change]] = [
        [LogStarted("1" * 32), IndexCreated(INDEX, {"type": "mirror", "mirror_url": "https://upstream.example/simple/"})]
    ]
    for number in range(12):
        changes.append([LinksChanged(INDEX, "demo", added=(link(),)), ProjectVanished(INDEX, f"gone{number}")])
    changes.append([FileCached(INDEX, "demo", link().filename, link().sha256 or "", 5)])
    log = FileChangelog.open(layout.changelog, Disk(), segment_limit=1000)
    log.append([encode_content(AT, "root", one) for one in changes], 0)
    with closing(open_view(layout.view, "1" * 32)) as view:
        catch_up(log, view)
    first, second, third = log.segments()[:3]
    log.close()
    write_base(layout.changelog, Disk(), segment_start(third.first, third.before))
    for segment in (first, second):
        os.remove(segment_path(layout.changelog, segment.first))
    os.makedirs(tmp_path / "replica" / "+files")
    serverdir.close()
    return Replica(layout.path, third.first - 1)


def test_the_log_says_from_where_it_begins(replica: Replica) -> None:
    run = CliRunner().invoke(main, ["log", "--serverdir", replica.path])
    assert run.exit_code == 0
    assert f"begins after serial {replica.begins_after} (" in run.stderr
    serials = [int(line.split()[0]) for line in run.stdout.splitlines() if not line.startswith(" ")]
    assert serials == list(range(replica.begins_after + 1, 15))
    later = CliRunner().invoke(main, ["log", "--serverdir", replica.path, "--after", "13", "--json"])
    assert (later.stderr, len(later.stdout.splitlines())) == ("", 1)


def test_a_replica_without_the_older_history_is_sound(replica: Replica) -> None:
    assert replica.wrong() == []
    assert f"begins after serial {replica.begins_after};" in replica.notes()
    assert "files that are not here: 1" in replica.notes()
    assert "checked up to serial 14" in replica.notes()


def test_damage_of_what_is_here_is_found(replica: Replica) -> None:
    path = segment_path(os.path.join(replica.path, "changelog"), replica.begins_after + 1)
    with open(path, "r+b") as file:
        content = file.read().replace(b"gone", b"come", 1)
        file.seek(0)
        file.write(content)
    assert any("damaged at serial" in text for text in replica.wrong())


def test_without_a_view_nobody_knows_what_was_before(replica: Replica) -> None:
    view = os.path.join(replica.path, "view.sqlite")
    drop_view(view)
    assert any("there is no view" in text for text in replica.wrong())
    settings = Settings(serverdir=replica.path)
    with pytest.raises(ServerdirRefused, match=f"begins after serial {replica.begins_after}.*remove both"):
        Storage.open(settings, lambda: datetime.now(UTC), Disk())
