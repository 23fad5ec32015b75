"""A feed is read once a day, and what is new in between; whatever is wrong with it, what is known stays."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.advisories.advisory_feed import ALL, FOLDER, FeedSetup, record, zipped
from tests.fakes.upstream import CutOff, Fault, Garbage, Hangup, Status, WrongBody
from tests.in_reactor import in_reactor, offload, until
from tests.mirror.mirror_setup import Setup
from twistpi.advisories.feeds import HTTPFeed, LocalFeed, newer
from twistpi.model.errors import TwistpiError

DAY = 86400.0
MANY = [record(f"GHSA-{number:04}", f"project{number}") for number in range(200)]


@in_reactor
async def test_what_a_feed_has_is_accepted_by_an_entry_and_counts(feed: FeedSetup) -> None:
    feed.put(record("MAL-2026-1"), record("GHSA-1", "Other.Name", "2026-11-21T01:00:00+01:00"), {"odd": 1})
    feed.start()
    await feed.read()
    (accepted,) = feed.accepted()
    assert (accepted.count, accepted.source) == (2, f"{feed.setup.fake.url}{ALL}")
    assert accepted.modified == "2026-11-21T00:00:00.000000Z"
    await feed.followed()
    assert (feed.known(), feed.known("other-name"), feed.told) == (["MAL-2026-1"], ["GHSA-1"], [None])
    facts = feed.service.facts()
    assert (facts["loaded"], facts["refresh"]["failure"], facts["refresh"]["refused-records"]) == (2, None, 1)


@in_reactor
async def test_a_feed_that_did_not_change_is_not_sent_again_and_makes_no_entry(feed: FeedSetup) -> None:
    feed.put(record("MAL-2026-1"))
    feed.start()
    await feed.read()
    feed.setup.clock.elapse(DAY)
    await until(lambda: feed.setup.fake.count(ALL) == 2 and not feed.refresh.is_running)
    asked = [seen.header("If-None-Match") for seen in feed.setup.fake.seen if seen.path == ALL]
    assert (asked[0], asked[1] is None) == (None, False)
    feed.put(record("MAL-2026-1"), record("MAL-2026-9", withdrawn="2026-11-25T00:00:00Z"))
    feed.setup.clock.elapse(DAY)
    await until(lambda: feed.setup.fake.count(ALL) == 3 and not feed.refresh.is_running)
    assert len(feed.accepted()) == 1, "a withdrawn record says nothing"


@in_reactor
async def test_what_is_new_is_fetched_record_by_record_and_what_is_withdrawn_goes(feed: FeedSetup) -> None:
    feed.put(record("MAL-2026-1"), record("GHSA-1", "other"))
    feed.add(record("GHSA-1", "other"))
    feed.start()
    await feed.read()
    await feed.followed()
    new = record("MAL-2026-2", "third", "2026-11-21T00:00:00Z")
    gone = record("MAL-2026-1", modified="2026-11-21T00:00:01Z", withdrawn="2026-11-21T00:00:01Z")
    feed.add(record("GHSA-1", "other"), new, gone)
    await feed.read()
    await feed.followed()
    assert (feed.known(), feed.known("other"), feed.known("third")) == ([], ["GHSA-1"], ["MAL-2026-2"])
    assert feed.told[-1] == frozenset({"hello", "third"}), "pages of other projects stay"
    assert (feed.setup.fake.count(ALL), feed.setup.fake.count(f"{FOLDER}/GHSA-1.json")) == (1, 0)
    await feed.read()
    assert (len(feed.accepted()), feed.setup.fake.count(f"{FOLDER}/MAL-2026-2.json")) == (2, 1)


@in_reactor
async def test_records_that_are_newer_than_the_zip_come_with_it(feed: FeedSetup) -> None:
    feed.put(record("MAL-2026-1"))
    feed.add(record("MAL-2026-2", "third", "2026-11-21T00:00:00Z"))
    feed.start()
    await feed.read()
    await feed.followed()
    assert (feed.known(), feed.known("third")) == (["MAL-2026-1"], ["MAL-2026-2"])


@pytest.mark.parametrize(
    "fault",
    [
        Status(500),
        Status(404),
        CutOff(100),
        Garbage(),
        Hangup(),
        WrongBody(b""),
        WrongBody(b"<html>We are sorry</html>"),
        WrongBody(b"PK\x03\x04 no zip at all"),
        WrongBody(zipped(b"[" * 100_000, b"{}", b"\xff")),
        WrongBody(zipped(*MANY[:90])),
        WrongBody(zipped(*[{**one, "affected": []} for one in MANY])),
    ],
    ids=["500", "404", "cut", "garbage", "hangup", "empty", "html", "zip", "hostile", "shrunk", "nothing"],
)
@in_reactor
async def test_a_feed_with_a_fault_changes_nothing_and_is_told(feed: FeedSetup, fault: Fault) -> None:
    feed.put(*MANY)
    feed.start()
    await feed.read()
    await feed.followed()
    feed.setup.fake.misbehave(ALL, fault)
    feed.refresh.ask(force=False)
    await until(lambda: not feed.refresh.is_running)
    assert "advisories" in (feed.refresh.state.failure or "")
    assert len(feed.accepted()) == 1
    assert feed.known("project7") == ["GHSA-0007"]
    assert feed.setup.incoming() == []
    (check,) = feed.refresh.checks()
    assert (check.fine, check.needed) == (True, False)
    feed.setup.clock.shift += 4 * DAY
    (check,) = feed.refresh.checks()
    assert (check.fine, check.needed) == (False, False)
    feed.setup.fake.behave(ALL)
    feed.refresh.ask(force=False)
    await until(lambda: feed.refresh.state.failure is None and not feed.refresh.is_running)
    assert not feed.refresh.is_stale()


@in_reactor
async def test_a_smaller_feed_is_accepted_when_an_administrator_says_so(feed: FeedSetup) -> None:
    feed.put(*MANY)
    feed.start()
    await feed.read()
    feed.put(*MANY[:3])
    feed.refresh.ask(force=False)
    with pytest.raises(TwistpiError, match="at this moment"):
        feed.refresh.ask(force=True)
    await until(lambda: not feed.refresh.is_running)
    assert "only 3 advisories, and had 200 before" in (feed.refresh.state.failure or "")
    feed.refresh.ask(force=True)
    await until(lambda: not feed.refresh.is_running)
    assert (feed.refresh.state.failure, [change.count for change in feed.accepted()]) == (None, [200, 3])


@in_reactor
async def test_a_feed_without_end_is_given_up(setup: Setup) -> None:
    one = FeedSetup.make(setup, HTTPFeed(f"{setup.fake.url}{ALL}", setup.upstream, most_bytes=100_000))
    setup.fake.add_file(ALL, bytes(1_000_000))
    one.start()
    await one.read()
    assert "more than 100,000 bytes" in (one.refresh.state.failure or "")
    assert setup.incoming() == []
    await one.stop()


@in_reactor
async def test_a_feed_may_be_on_the_disk_and_is_read_again_when_it_changes(setup: Setup, tmp_path: Path) -> None:
    folder = tmp_path / "feed"
    folder.mkdir()
    (folder / "a.json").write_text(json.dumps(record("MAL-2026-1")))
    os.mkfifo(folder / "b.json")
    (folder / "c.json").symlink_to("/dev/zero")
    one = FeedSetup.make(setup, LocalFeed(str(folder), offload))
    one.start()
    await one.read()
    await one.followed()
    assert (one.known(), one.refresh.state.refused) == (["MAL-2026-1"], 2)
    await one.read()
    (folder / "d.json").write_text(json.dumps(record("MAL-2026-2")))
    await one.read()
    await one.followed()
    assert (one.known(), len(one.accepted())) == (["MAL-2026-1", "MAL-2026-2"], 2)
    await one.stop()


@pytest.mark.parametrize("make", [lambda path: None, os.mkfifo, os.mkdir], ids=["missing", "pipe", "empty folder"])
@in_reactor
async def test_a_feed_on_the_disk_that_cannot_be_read_is_told(setup: Setup, tmp_path: Path, make: Any) -> None:
    make(tmp_path / "feed")
    one = FeedSetup.make(setup, LocalFeed(str(tmp_path / "feed"), offload))
    one.start()
    await one.read()
    assert "feed" in (one.refresh.state.failure or "")
    assert one.accepted() == []
    await one.stop()


@in_reactor
async def test_a_server_that_starts_again_remembers_the_feed_and_has_the_advisories_at_once(feed: FeedSetup) -> None:
    feed.put(record("MAL-2026-1"))
    feed.start()
    await feed.read()
    await feed.followed()
    await feed.stop()
    again = FeedSetup.make(feed.setup)
    again.start()
    assert again.known() == ["MAL-2026-1"]
    await again.read()
    assert feed.setup.fake.count(ALL) == 1, "it was read less than a day ago"
    await again.stop()
    os.remove(feed.setup.folder / "advisories.sqlite")
    once_more = FeedSetup.make(feed.setup)
    once_more.start()
    assert once_more.known() == ["MAL-2026-1"], "made of the blob before anything is answered"
    await once_more.stop()


@in_reactor
async def test_a_set_whose_file_was_lost_is_told_and_comes_with_the_next_refresh(feed: FeedSetup) -> None:
    feed.put(record("MAL-2026-1"))
    feed.start()
    await feed.read()
    await feed.followed()
    await feed.stop()
    (accepted,) = feed.accepted()
    (blob,) = (path for path in (feed.setup.folder / "+files").rglob("advisories.jsonl.gz"))
    blob.unlink()
    os.remove(feed.setup.folder / "advisories.sqlite")
    again = FeedSetup.make(feed.setup)
    again.start()
    await until(lambda: again.loader.failure is not None)
    assert "twistpi advisories refresh" in (again.loader.failure or "")
    again.refresh.ask(force=False)
    await until(lambda: not again.refresh.is_running)
    feed.setup.clock.elapse(600.0)
    await until(lambda: again.known() == ["MAL-2026-1"])
    assert (len(feed.accepted()), again.accepted()) == (1, [accepted])
    await again.stop()


def test_a_list_of_new_records_is_read_up_to_what_is_known() -> None:
    lines = (
        "2026-11-22T00:00:00Z,MAL-3\n"
        "not a time,MAL-9\n"
        "2026-11-21T10:00:00.5+00:00,GHSA-2\n"
        "2026-11-21T10:00:00.25Z,../../secret\n"
        "2026-11-21T10:00:00Z,GHSA-1\n"
    )
    assert list(newer(lines, "2026-11-21T10:00:00.000000Z")) == ["MAL-3", "GHSA-2"]
    assert list(newer("<html>", "")) == []
