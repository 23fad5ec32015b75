"""``twistpi promote`` where no server runs, and how the command waits for one that does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import click
import orjson
import pytest

from tests.cli.commands import now, run, settings, write
from twistpi.changelog.disk import Disk
from twistpi.cli.log_entries import entries
from twistpi.cli.promotion import Promoted, promote_directly
from twistpi.cli.server_administration import promote_by_server
from twistpi.http.blocking import BlockingResponse
from twistpi.model.changes import EpochBegan, UserCreated
from twistpi.model.errors import TwistpiError
from twistpi.model.peers import Epoch, FenceNote, Fork, Peer
from twistpi.model.server_errors import PrimaryUnreachable, StorageFull
from twistpi.rules.replication import Fence
from twistpi.server.directory import ServerDirectory
from twistpi.server.epochs import begin_epoch, finish_promotion
from twistpi.server.node import Node, read_node
from twistpi.server.storage import Storage

URL = "http://old.example"
OLD = "a" * 32


@attrs.define
class FakePrimary:
    """Says what it is, and notes what it is told."""

    peer_facts: Peer
    url: str = URL
    gone: bool = False
    grows: int = 0
    """How many entries it writes before it holds."""
    told: list[FenceNote] = attrs.field(factory=list)

    def peer(self) -> Peer:
        if self.gone:
            raise PrimaryUnreachable(self.url, "it is gone")
        return self.peer_facts

    def notify(self, note: FenceNote) -> Peer:
        if self.gone:
            raise PrimaryUnreachable(self.url, "it is gone")
        self.told.append(note)
        self.peer_facts = attrs.evolve(self.peer_facts, serial=self.peer_facts.serial + self.grows)
        return self.peer_facts


@pytest.fixture
def replica(made: Path) -> Iterator[Storage]:
    """A directory whose server follows ``URL`` and does not run."""
    for number in range(3):
        write(made, UserCreated(f"user{number}"))
    note(made, role="replica", primary_url=URL)
    storage = Storage.open(settings(made), now, Disk())
    yield storage
    storage.close()


def note(made: Path, **facts: Any) -> None:
    opened = ServerDirectory.open(str(made))
    opened.note(**facts)
    opened.close()


def node_of(made: Path) -> Node:
    node = read_node(str(made))
    assert node is not None
    return node


def promote(replica: Storage, primary: FakePrimary, *, force: bool = False, url: str | None = None) -> Promoted:
    return promote_directly(replica, primary, now, lambda _: None, force=force, url=url)


def _primary(replica: Storage, serial: int, **more: Any) -> FakePrimary:
    return FakePrimary(Peer(OLD, replica.serverdir.node.log_id, "primary", serial, "f" * 64), **more)


def _last_changes(replica: Storage) -> list[Any]:
    replica_path = replica.serverdir.layout.changelog
    return [line.body for line in entries(replica_path)][-1:]


def test_with_the_primary_gone_the_epoch_begins_behind_what_is_here_and_telling_it_is_left_to_the_server(
    replica: Storage,
) -> None:
    last = replica.changelog.last
    promoted = promote(replica, _primary(replica, 9, gone=True), url="http://new.example")
    assert (promoted.epoch, promoted.serial, promoted.unaware) == (2, last.serial + 1, URL)
    node = replica.serverdir.node
    assert (node.role, node.primary_url, node.former_url, node.fence) == ("primary", None, URL, None)
    assert replica.view.reader.epochs() == [(2, node.node_id, last.serial + 1)]
    assert b'"kind":"EpochBegan"' in _last_changes(replica)[0]


def test_a_primary_at_hand_holds_its_writes_and_is_told(replica: Storage) -> None:
    last = replica.changelog.last
    primary = _primary(replica, last.serial)
    promoted = promote(replica, primary, url="http://new.example")
    assert promoted.unaware is None
    assert [note.hold > 0 for note in primary.told] == [True, False]
    node = replica.serverdir.node
    assert primary.told[1].epoch_start == Epoch(2, node.node_id, Fork(last.serial, last.chain))
    assert primary.told[1].url == "http://new.example"
    assert node.former_url is None


def test_outstanding_entries_are_named_and_gone_without_only_by_force(replica: Storage) -> None:
    last = replica.changelog.last.serial
    primary = _primary(replica, last + 4)
    with pytest.raises(TwistpiError, match=f"up to {last + 4}, this server only up to {last}"):
        promote(replica, primary)
    assert replica.serverdir.node.is_replica
    assert replica.changelog.last.serial == last
    assert primary.told == []
    assert promote(replica, primary, force=True).serial == last + 1


def test_entries_that_come_while_the_primary_is_made_to_hold_are_outstanding_too_and_it_goes_on(replica: Storage) -> None:
    last = replica.changelog.last.serial
    primary = _primary(replica, last, grows=2)
    with pytest.raises(TwistpiError, match=f"up to {last + 2}"):
        promote(replica, primary)
    assert [note.hold > 1 for note in primary.told] == [True, False]
    assert primary.told[1].hold > 0


def test_who_follows_a_replica_is_promoted_by_force_only(replica: Storage) -> None:
    primary = _primary(replica, replica.changelog.last.serial)
    primary.peer_facts = attrs.evolve(primary.peer_facts, role="replica")
    with pytest.raises(TwistpiError, match=f"promote the server at {URL}"):
        promote(replica, primary)
    assert promote(replica, primary, force=True).epoch == 2


def test_a_crash_before_it_is_a_primary_leaves_a_replica_that_can_be_promoted_again(made: Path) -> None:
    write(made, EpochBegan(2, node_of(made).node_id))
    note(made, role="replica", primary_url="http://127.0.0.1:9")
    assert "epoch 3 began." in run(made, "promote").stdout


@pytest.mark.parametrize(
    ("promoting", "expected"),
    [(2, ("primary", None, URL, None)), (3, ("replica", URL, None, None))],
    ids=["behind its entry", "before its entry"],
)
def test_a_promotion_that_was_interrupted_is_finished_at_the_next_start_or_never_began(
    replica: Storage, promoting: int, expected: tuple[str, str | None, str | None, int | None]
) -> None:
    begin_epoch(replica, 2, URL, now)
    # As if it had ended right before the last word.
    replica.serverdir.note(role="replica", primary_url=URL, promoting=promoting)
    finish_promotion(replica)
    node = replica.serverdir.node
    assert (node.role, node.primary_url, node.former_url, node.promoting) == expected
    assert replica.view.reader.epochs()[-1][:2] == (2, node.node_id)


def test_a_replica_whose_log_ends_with_an_epoch_of_its_own_is_no_primary_by_that(replica: Storage) -> None:
    begin_epoch(replica, 2, None, now)
    replica.serverdir.note(role="replica", primary_url=URL)  # twistpi resync says so before it cuts the log
    finish_promotion(replica)
    assert replica.serverdir.node.role == "replica"


def test_a_full_disk_ends_a_promotion_and_the_next_start_knows_that_nothing_began(replica: Storage) -> None:
    def fail(*_: object) -> None:
        raise StorageFull("changelog", "no room")

    full: Any = SimpleNamespace(last=replica.changelog.last, append=fail, newest=replica.changelog.newest)
    with pytest.raises(StorageFull):
        begin_epoch(attrs.evolve(replica, changelog=full), 2, URL, now)
    assert replica.serverdir.node.promoting == 2
    finish_promotion(replica)
    node = replica.serverdir.node
    assert (node.role, node.promoting) == ("replica", None)


def test_a_replica_that_never_had_everything_is_promoted_by_force_only(replica: Storage) -> None:
    replica.serverdir.note(initialised=False)
    with pytest.raises(TwistpiError, match="never had all"):
        promote(replica, _primary(replica, 4, gone=True))
    assert promote(replica, _primary(replica, 4, gone=True), force=True).epoch == 2


def test_a_former_primary_is_promoted_again_by_force_when_its_successor_is_lost(made: Path) -> None:
    note(made, fence=Fence(3, "b" * 32, "http://127.0.0.1:9", 2, 2))
    refused = run(made, "promote")
    assert "lost for good" in refused.stderr
    assert "epoch 4 began." in run(made, "promote", "--force").stdout
    node = node_of(made)
    assert (node.role, node.fence, node.former_url) == ("primary", None, "http://127.0.0.1:9")


def test_the_command_says_what_came_of_it_and_refuses_a_primary(made: Path) -> None:
    refused = run(made, "promote")
    assert refused.exit_code == 1
    assert "it is a primary already" in refused.stderr
    note(made, role="replica", primary_url="http://127.0.0.1:9")
    told = run(made, "promote")
    assert told.exit_code == 0, told.output
    assert "is the primary from serial 3 on; epoch 2 began." in told.stdout
    assert "http://127.0.0.1:9 does not know yet" in told.stdout
    assert node_of(made).role == "primary"


def test_a_replica_whose_primary_was_lost_before_all_of_it_was_here_is_promoted_by_force(made: Path) -> None:
    note(made, role="replica", primary_url="http://127.0.0.1:9", initialised=False)
    assert "it never had all that its primary had" in run(made, "promote").stderr
    assert "epoch 2 began." in run(made, "promote", "--force").stdout


def test_a_replica_that_never_reached_its_primary_says_so_instead_of_being_promoted(made: Path) -> None:
    note(made, role="replica", primary_url="http://127.0.0.1:9", initialised=False, log_id="")
    refused = run(made, "promote", "--force")
    assert (refused.exit_code, "never reached its primary" in refused.stderr) == (1, True)


def _facts(**facts: Any) -> BlockingResponse:
    return BlockingResponse(
        200, "OK", (), orjson.dumps({"result": {"role": "replica", "state": "under way", "told": [], **facts}})
    )


def test_a_running_server_is_asked_until_it_is_the_primary() -> None:
    looks = [_facts(told=["Waiting for 5 entries."]), _facts(role="primary", epoch=2, serial=126, former=None)]
    pauses: list[float] = []
    promoted = promote_by_server("data", _facts, lambda: looks.pop(0), pauses.append)
    assert promoted == Promoted(2, 126, None, ("Waiting for 5 entries.",))
    assert len(pauses) == 2


def test_the_end_of_a_promotion_waits_until_the_former_primary_knows_or_says_for_how_long_it_was_told() -> None:
    unaware = _facts(role="primary", epoch=2, serial=126, former=URL)
    looks = [unaware, unaware, _facts(role="primary", epoch=2, serial=126, former=None)]
    assert promote_by_server("data", _facts, lambda: looks.pop(0), lambda _: None) == Promoted(2, 126, None, ())
    pauses: list[float] = []
    promoted = promote_by_server("data", _facts, lambda: unaware, pauses.append)
    assert (promoted.unaware, round(promoted.tried)) == (URL, 15)
    assert sum(pauses) == pytest.approx(15, abs=1)


def test_a_former_primary_that_answered_and_went_away_is_told_for_ten_seconds(replica: Storage) -> None:
    @attrs.define
    class Leaving(FakePrimary):
        def notify(self, note: FenceNote) -> Peer:
            told = super().notify(note)
            self.gone = note.hold > 0
            return told

    primary = Leaving(_primary(replica, replica.changelog.last.serial).peer_facts)
    pauses: list[float] = []
    promoted = promote_directly(replica, primary, now, pauses.append, force=False, url=None)
    assert (promoted.unaware, promoted.tried, sum(pauses)) == (URL, 10, 10)


def test_a_running_server_that_restarts_as_the_primary_is_asked_again() -> None:
    answers: list[BlockingResponse | OSError] = [ConnectionResetError(), _facts(role="primary", epoch=2, serial=7, former=None)]

    def look() -> BlockingResponse:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    assert promote_by_server("data", _facts, look, lambda _: None).serial == 7


def test_what_a_running_server_says_against_it_is_told() -> None:
    with pytest.raises(click.ClickException, match="not yet"):
        promote_by_server("data", _facts, lambda: _facts(state="failed", failure="not yet"), lambda _: None)
    refusal = BlockingResponse(409, "Conflict", (), orjson.dumps({"message": "it is a primary already."}))
    with pytest.raises(click.ClickException, match="a primary already"):
        promote_by_server("data", lambda: refusal, _facts, lambda _: None)
