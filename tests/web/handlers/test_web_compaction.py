"""``/+compact``: who administers the server may have its changelog begin later."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from twisted.internet.task import Clock

from tests.mirror.mirror_setup import offload
from tests.web.web_asking import logged_in, nobody, with_api_token
from tests.web.web_world import World
from twistpi.changelog.disk import Disk
from twistpi.changelog.files import FileChangelog
from twistpi.model.peers import Position
from twistpi.web.replication.followers import Feeds

DIGEST = "d" * 64


@attrs.define(eq=False)
class FakeCompactor:
    """Notes what is asked for."""

    asked: list[tuple[int, str]] = attrs.field(factory=list)

    async def compact(self, serial: int, sha256: str) -> int:
        self.asked.append((serial, sha256))
        return 1000


@pytest.fixture
def compactor() -> FakeCompactor:
    return FakeCompactor()


@pytest.fixture
def world(tmp_path: Path, compactor: FakeCompactor) -> Iterator[World]:
    world = World(str(tmp_path), compactor=compactor)
    world.add_user("alice", "secret")
    yield world
    world.close()


def test_root_has_the_changelog_compacted(world: World, compactor: FakeCompactor) -> None:
    answer = logged_in(world, "root").ask("POST", "/+compact", {"after": 7, "sha256": DIGEST})
    assert (answer.status, answer.json()) == (200, {"type": "compaction", "result": {"after": 7, "bytes": 1000}})
    assert compactor.asked == [(7, DIGEST)]


def test_nobody_else_may(world: World, compactor: FakeCompactor) -> None:
    for person in (nobody(world), logged_in(world, "alice"), with_api_token(world, "root", "read", "upload")):
        assert person.ask("POST", "/+compact", {"after": 7, "sha256": DIGEST}).status == 403
    assert compactor.asked == []


@pytest.mark.parametrize("body", [{}, [], None, {"after": 7}, {"after": "7", "sha256": DIGEST}, {"after": 0, "sha256": DIGEST}])
def test_what_is_no_request_for_it_is_refused(world: World, compactor: FakeCompactor, body: object) -> None:
    assert logged_in(world, "root").ask("POST", "/+compact", body).status == 400
    assert compactor.asked == []


def test_a_follower_that_needs_what_would_go_is_named(tmp_path: Path) -> None:
    position = Position(9, DIGEST, 1, 900)
    feeds = Feeds(FileChangelog.open(str(tmp_path), Disk()), "1" * 32, lambda: position, Clock(), offload)
    assert feeds.behind(9) is None
    slow = feeds.open(Position(3, DIGEST, 1, 300), "2" * 32, "192.0.2.7", None)
    feeds.open(position, "3" * 32, "192.0.2.8", "https://near.example/")
    assert feeds.behind(3) is None
    assert feeds.behind(4) == "the replica 192.0.2.7 has those up to 3 only"
    feeds.closed(slow)
    assert feeds.behind(9) is None, "it is gone, and will be told to begin anew"
