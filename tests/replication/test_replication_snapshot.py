"""The beginning of a replica of a large primary, and the older history that comes after it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tests.in_reactor import in_reactor, offload, until, wait_for
from tests.replication.fake_primary import FakePrimary, Spoken, client_for, reactor
from tests.replication.scripted_primary import LOG, SEGMENT_LIMIT, make_lines
from twistpi.changelog.catch_up import catch_up
from twistpi.changelog.disk import Disk
from twistpi.changelog.files import FileChangelog
from twistpi.model.changes import LogStarted, UserCreated
from twistpi.model.errors import TwistpiError
from twistpi.model.peers import BEGINNING
from twistpi.model.server_errors import FeedDamaged, PrimaryUnreachable, StorageFull, StrangePrimary
from twistpi.replication.primary import Primary
from twistpi.replication.segments import LARGE_BYTES, LARGE_ENTRIES, History, Overview, SegmentFacts, look_over
from twistpi.replication.snapshot import Bootstrap, SnapshotPaths
from twistpi.view.database import FOLD_VERSION, Copy, copy_view, dump, open_view


def start(folder: Path) -> tuple[FileChangelog, Any]:
    return (
        FileChangelog.open(str(folder / "changelog"), Disk(), segment_limit=SEGMENT_LIMIT),
        open_view(str(folder / "view.sqlite"), LOG),
    )


@attrs.define
class Large:
    """A primary with several segments, whose answers can be cut and falsified."""

    folder: Path
    fake: FakePrimary
    changelog: FileChangelog
    view: Any
    copy: Copy
    cuts: list[int] = attrs.field(factory=list)
    """After how many bytes the next answers with a file are cut off."""
    flips: list[int] = attrs.field(factory=list)
    """Which byte of the next whole answers is another."""
    misunderstandings: list[tuple[int, str]] = attrs.field(factory=list)
    """Status and ``Content-Range`` of the next answers to requests for the rest of a file."""
    stalls: bool = False
    """Whether nothing comes after the first bytes of a file."""
    fold_version: int = FOLD_VERSION
    snapshots: int = 0

    @classmethod
    def build(cls, folder: Path) -> Large:
        folder.mkdir()
        changelog, view = start(folder)
        lines = make_lines((LogStarted(LOG),), *((UserCreated(f"user{number}"),) for number in range(20)))
        changelog.receive(lines, 0)
        catch_up(changelog, view)
        copy = copy_view(str(folder / "view.sqlite"), str(folder / "copy"))
        changelog.receive(make_lines((UserCreated("late"),), after=changelog.last), 21)
        catch_up(changelog, view)
        made = cls(folder, FakePrimary(lambda request: made.answer(request)), changelog, view, copy)
        made.fake.start()
        return made

    def answer(self, request: Any) -> None:
        path = request.path.decode()
        if path == "/+changelog/segments":
            known = [attrs.asdict(segment) for segment in self.changelog.segments()]
            request.setHeader("X-Devpi-Serial", str(self.changelog.last.serial))
            self.say(request, {"log_id": LOG, "begins_after": {"serial": 0, "chain": BEGINNING.chain}, "segments": known})
        elif path == "/+snapshot":
            self.snapshots += 1
            facts = {"id": str(self.snapshots), "size": self.copy.size, "sha256": self.copy.sha256, "log_id": LOG}
            self.say(request, {**facts, **attrs.asdict(self.copy.stamp.position), "fold_version": self.fold_version})
        elif path.startswith("/+snapshot/") and path != f"/+snapshot/{self.snapshots}":
            request.setResponseCode(404)
            request.finish()
        else:
            first = int(path.rpartition("/")[2])
            segment = self.folder / "changelog" / f"{first:020d}.log"
            self.send(request, (Path(self.copy.path) if "snapshot" in path else segment).read_bytes())

    def say(self, request: Any, value: object) -> None:
        request.write(json.dumps(value).encode())
        request.finish()

    def send(self, request: Any, content: bytes) -> None:
        begin, _, end = request.getHeader("Range").removeprefix("bytes=").partition("-")
        part = content[int(begin) : int(end) + 1]
        request.setResponseCode(206)
        request.setHeader("Content-Range", f"bytes {begin}-{end}/{len(content)}")
        if begin != "0" and self.misunderstandings:
            status, stated = self.misunderstandings.pop()
            request.setResponseCode(status)
            request.setHeader("Content-Range", stated)
        request.setHeader("Content-Length", str(len(part)))
        if self.flips and begin == "0":
            at = self.flips.pop() % len(part)
            part = part[:at] + bytes([part[at] ^ 1]) + part[at + 1 :]
        if self.stalls:
            request.write(part[:100])
            return
        if self.cuts:
            request.write(part[: self.cuts.pop(0)])
            request.channel.loseConnection()  # once that is sent
            return
        request.write(part)
        request.finish()


@attrs.define
class Fresh:
    """A replica that is being made."""

    folder: Path
    primary: Primary
    bootstrap: Bootstrap

    async def arrive(self) -> int:
        """Bring the snapshot, however often that takes; how often it did."""
        attempts = 1
        while True:
            try:
                assert await self.bootstrap.run() == LOG
            except TwistpiError:
                attempts += 1
                assert attempts < 30
            else:
                return attempts


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Large]:
    made = Large.build(tmp_path / "primary")
    yield made
    made.view.close()
    made.changelog.close()
    wait_for(Deferred.fromCoroutine(made.fake.stop()))


@pytest.fixture
def fresh(large: Large, tmp_path: Path) -> Iterator[Fresh]:
    folder = tmp_path / "replica"
    folder.mkdir()
    client, agent = client_for(large.fake.url)
    primary = Primary(large.fake.url, "2" * 32, client, Spoken(), lambda size: b"0" * size, patience=60.0)
    place = SnapshotPaths(str(folder / "changelog"), str(folder / "view.sqlite"), str(folder / "incoming"))
    yield Fresh(folder, primary, Bootstrap(primary, place, Disk(), offload))
    agent.close()


def segments(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "changelog").glob("*.log")}


def history_of(fresh: Fresh, changelog: FileChangelog) -> History:
    history = History(
        fresh.primary, changelog, str(fresh.folder / "changelog"), str(fresh.folder / "incoming"), reactor, offload,
        lambda: 0.0, 0.001,
    )  # fmt: skip
    history.start()
    return history


@in_reactor
async def test_a_snapshot_the_tail_and_the_older_history_make_the_same_log_and_view(large: Large, fresh: Fresh) -> None:
    assert await fresh.arrive() == 1
    changelog, view = start(fresh.folder)
    end = large.copy.stamp.position
    assert changelog.last == view.position == end
    assert changelog.begins_after.serial > 0
    changelog.receive([line.rstrip(b"\n") for line in tail(large)], end.serial)
    catch_up(changelog, view)
    await history_of(fresh, changelog).whole
    assert changelog.begins_after == BEGINNING
    assert segments(fresh.folder) == segments(large.folder)
    assert list(dump(str(fresh.folder / "view.sqlite"))) == list(dump(str(large.folder / "view.sqlite")))
    view.close()
    changelog.close()


def tail(large: Large) -> list[bytes]:
    """The lines behind the snapshot."""
    content = b"".join(segments(large.folder)[name] for name in sorted(segments(large.folder)))
    return content.splitlines(keepends=True)[large.copy.stamp.position.serial :]


@in_reactor
async def test_what_is_cut_off_goes_on_where_it_was(large: Large, fresh: Fresh) -> None:
    large.cuts = [0, 1, 4096, 20000, 7]
    assert await fresh.arrive() == 6
    ranges = [seen.headers.getRawHeaders("Range") for seen in large.fake.seen if "/+snapshot/" in seen.uri]
    assert len({str(each) for each in ranges}) > 3
    assert large.snapshots == 1


@pytest.mark.parametrize("answer", [(206, "bytes 0-5/6"), (206, "garbage"), (416, "bytes */5"), (200, "")])
@in_reactor
async def test_a_rest_that_is_not_what_was_asked_for_begins_anew(large: Large, fresh: Fresh, answer: tuple[int, str]) -> None:
    large.cuts, large.misunderstandings = [5000], [answer]
    assert await fresh.arrive() == 2, "no attempt more than the one that was cut off"
    assert fresh.bootstrap.received >= large.copy.size
    assert large.snapshots == 1


@in_reactor
async def test_a_primary_that_is_away_for_a_moment_loses_nothing(large: Large, fresh: Fresh) -> None:
    large.cuts, large.misunderstandings = [5000], [(503, "")]
    assert await fresh.arrive() == 3
    ranges = [seen.headers.getRawHeaders("Range") for seen in large.fake.seen if "/+snapshot/" in seen.uri]
    assert ranges[-1] == ranges[-2] != ranges[0]


@in_reactor
async def test_falsified_bytes_of_a_snapshot_are_noticed_and_it_is_fetched_anew(large: Large, fresh: Fresh) -> None:
    large.flips = [10000]
    with pytest.raises(FeedDamaged, match="the snapshot of the view has another digest"):
        await fresh.bootstrap.run()
    assert not (fresh.folder / "view.sqlite").exists()
    assert await fresh.arrive() == 1
    assert large.snapshots == 2


@in_reactor
async def test_falsified_bytes_of_the_tail_are_noticed(large: Large, fresh: Fresh) -> None:
    segment = large.folder / "changelog" / f"{large.copy.stamp.position.segment:020d}.log"
    right = segment.read_bytes()
    segment.write_bytes(right[:100] + bytes([right[100] ^ 1]) + right[101:])
    with pytest.raises(FeedDamaged):
        await fresh.bootstrap.run()
    assert not (fresh.folder / "view.sqlite").exists()
    segment.write_bytes(right)
    await fresh.arrive()


@in_reactor
async def test_a_snapshot_that_is_gone_is_made_anew(large: Large, fresh: Fresh) -> None:
    large.cuts = [5000]
    with pytest.raises(PrimaryUnreachable):
        await fresh.bootstrap.run()
    large.snapshots += 1  # as after a restart of the primary
    with pytest.raises(StrangePrimary, match="not there any more"):
        await fresh.bootstrap.run()
    assert await fresh.arrive() == 1


@in_reactor
async def test_a_snapshot_of_another_version_is_refused_with_both_versions(large: Large, fresh: Fresh) -> None:
    large.fold_version = FOLD_VERSION + 1
    with pytest.raises(StrangePrimary, match=rf"version {FOLD_VERSION + 1}, and .* knows {FOLD_VERSION} only"):
        await fresh.bootstrap.run()


@in_reactor
async def test_older_history_that_comes_falsified_is_fetched_until_it_is_right(large: Large, fresh: Fresh) -> None:
    await fresh.arrive()
    changelog, view = start(fresh.folder)
    large.flips, large.cuts = [300, 20], [50]
    await history_of(fresh, changelog).whole
    assert changelog.begins_after == BEGINNING
    whole = segments(large.folder)
    assert all(whole[name].startswith(content) for name, content in segments(fresh.folder).items())
    view.close()
    changelog.close()


@in_reactor
async def test_older_history_that_was_stopped_within_a_segment_asks_for_nothing_more(large: Large, fresh: Fresh) -> None:
    await fresh.arrive()
    changelog, view = start(fresh.folder)
    large.stalls = True
    history = history_of(fresh, changelog)
    await until(lambda: any((fresh.folder / "incoming").glob("segment-*")))
    await until(lambda: next((fresh.folder / "incoming").glob("segment-*")).stat().st_size == 100)
    asked = len(large.fake.seen)
    history.stop()
    await deferLater(reactor, 0.1)
    assert len(large.fake.seen) == asked
    assert changelog.begins_after.serial > 0
    view.close()
    changelog.close()


@in_reactor
async def test_a_disk_without_room_for_a_snapshot_is_told_and_later_it_is_fetched_anew(large: Large, fresh: Fresh) -> None:
    in_the_way = fresh.folder / "changelog"
    in_the_way.write_bytes(b"as good as a disk that takes no folder")
    with pytest.raises(StorageFull):
        await fresh.bootstrap.run()
    in_the_way.unlink()
    await fresh.arrive()
    assert large.snapshots == 2


@in_reactor
async def test_only_large_logs_and_those_without_their_beginning_call_for_a_snapshot(large: Large, fresh: Fresh) -> None:
    small = await look_over(fresh.primary)
    assert not small.is_large
    assert attrs.evolve(small, begins_after=1).is_large
    assert attrs.evolve(small, serial=LARGE_ENTRIES + 1).is_large
    assert Overview(LOG, 0, (SegmentFacts(1, LARGE_BYTES + 1, False, BEGINNING.chain),), 5).is_large
