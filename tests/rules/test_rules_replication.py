"""Which files a replica fetches unasked."""

from __future__ import annotations

import hashlib
import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistpi.model.errors import TwistpiError
from twistpi.model.peers import Epoch, FenceNote, Fork, Peer, read_fence_note, read_peer
from twistpi.rules.replication import (
    BlobPolicy,
    Fence,
    ForkSearch,
    beyond_sentence,
    decide_fence,
    decide_promotion,
    fence_by_peer,
    is_stale,
)


def test_all_and_nothing_and_some_indexes() -> None:
    assert BlobPolicy.parse("all").wants("alice/dev")
    nothing = BlobPolicy.parse("on-demand")
    assert (nothing.wants("alice/dev"), nothing.wants_nothing) == (False, True)
    some = BlobPolicy.parse("root/pypi, alice/dev")
    assert [some.wants(index) for index in ("alice/dev", "root/pypi", "alice/prod")] == [True, True, False]
    assert [str(policy) for policy in (BlobPolicy(), nothing, some)] == ["all", "on-demand", "alice/dev,root/pypi"]
    assert not some.wants_nothing


@pytest.mark.parametrize("text", ["", "none", "alice", "alice/dev,", "alice/dev;bob/dev", "a/b/c"])
def test_what_is_no_index_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        BlobPolicy.parse(text)


# Who is the primary, who is fenced, and where logs fork: decided the same way on every server ------------------------


OLD, NEW, LOG = "a" * 32, "b" * 32, "1" * 32
ids = st.sampled_from([OLD, NEW, "c" * 32])
chains = st.sampled_from(["0" * 64, "1" * 64, "2" * 64])
reigns = st.builds(Epoch, st.integers(2, 5), ids, st.builds(Fork, st.integers(0, 3), chains)) | st.just(Epoch())
peers = st.builds(
    Peer, ids, st.sampled_from([LOG, "2" * 32]), st.sampled_from(["primary", "replica"]), st.integers(0, 9), chains, reigns,
    st.booleans(), st.none() | st.just("http://one.example"), st.none() | st.just("http://other.example"),
)  # fmt: skip
notes = st.builds(
    FenceNote, ids, st.sampled_from([LOG, "2" * 32]), reigns, st.none() | st.just("http://one.example"), st.just(0.0)
)


def _chain(serial: int) -> str:
    return hashlib.sha256(b"%d" % serial).hexdigest()


def _primary(serial: int = 125, epoch_start: Epoch | None = None) -> Peer:
    return Peer(OLD, LOG, "primary", serial, _chain(serial), epoch_start or Epoch())


def _note(serial: int = 120, epoch: int = 2, node: str = NEW, url: str | None = "http://new.example") -> FenceNote:
    return FenceNote(node, LOG, Epoch(epoch, node, Fork(serial, _chain(serial))), url)


@given(peers)
def test_what_a_server_says_of_itself_is_understood(peer: Peer) -> None:
    assert read_peer(json.loads(json.dumps(peer.to_json()))) == peer


@given(notes)
def test_what_a_promoted_server_says_is_understood(note: FenceNote) -> None:
    assert read_fence_note(json.loads(json.dumps(note.to_json()))) == note


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.sampled_from(sorted(_note().to_json())), _json)
def test_what_is_no_such_thing_is_refused_and_nothing_worse(field: str, value: object) -> None:
    fields = {**_note().to_json(), field: value}
    try:
        note = read_fence_note(fields)
    except ValueError:
        return
    assert isinstance(note, FenceNote)


@given(reigns, reigns)
def test_of_two_servers_that_take_writes_exactly_one_gives_way(one: Epoch, other: Epoch) -> None:
    if one.node_id == other.node_id or not (one.node_id and other.node_id):
        return
    here = attrs.evolve(_primary(epoch_start=one), node_id=one.node_id)
    there = attrs.evolve(_primary(epoch_start=other), node_id=other.node_id)
    assert is_stale(here, other) != is_stale(there, one)


@given(peers, st.lists(notes, max_size=6))
def test_whatever_order_the_notes_come_in_the_last_epoch_is_known_in_the_end(own: Peer, told: list[FenceNote]) -> None:
    def fence(order: list[FenceNote]) -> Fence | None:
        known = None
        for note in order:
            known = decide_fence(own, note, None, known) or known
        return known

    one, other = fence(told), fence(told[::-1])
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert (
            one.epoch
            == other.epoch
            == max(note.epoch_start.epoch for note in told if note.log_id == own.log_id and is_stale(own, note.epoch_start))
        )


def test_a_returning_primary_with_entries_beyond_the_fork_names_them() -> None:
    fence = decide_fence(_primary(125), _note(120), _chain(120), None)
    assert fence == Fence(2, NEW, "http://new.example", 120, 125)
    told = str(fence.error())
    assert "http://new.example" in told
    assert "epoch 2" in told
    assert "Entries 121 to 125 exist only here" in told
    assert "twistpi resync" in told


def test_one_whose_log_differs_before_the_fork_does_not_say_from_where() -> None:
    for chain in (None, "f" * 64):
        fence = decide_fence(_primary(125), _note(120), chain, None)
        assert fence is not None
        assert fence.serial is None
        assert "not known yet" in str(fence.error())


def test_a_fence_of_which_only_the_epoch_was_known_is_completed_by_a_note_and_not_worsened_by_one() -> None:
    own = _primary(125)
    first = Fence(2, last=own.serial)
    complete = decide_fence(own, _note(120), _chain(120), first)
    assert complete == Fence(2, NEW, "http://new.example", 120, 125)
    assert decide_fence(own, _note(120, url=None), _chain(120), complete) is None
    assert decide_fence(own, _note(123, epoch=3), _chain(123), complete) == Fence(3, NEW, "http://new.example", 123, 125)


def test_other_logs_followers_and_its_own_promotion_fence_nobody() -> None:
    own = _primary()
    assert decide_fence(own, attrs.evolve(_note(), log_id="2" * 32), None, None) is None
    assert decide_fence(attrs.evolve(own, role="replica"), _note(), None, None) is None
    assert decide_fence(own, _note(epoch=1), _chain(120), None) is None
    mine = _note(node=OLD)
    assert decide_fence(attrs.evolve(own, epoch_start=mine.epoch_start), mine, _chain(120), None) is None


def test_a_follower_of_the_promoted_server_knows_as_well_as_that_one() -> None:
    promoted = Peer(NEW, LOG, "primary", 121, _chain(121), _note().epoch_start, url="http://new.example")
    follower = Peer(
        "c" * 32, LOG, "replica", 121, _chain(121), _note().epoch_start, url="http://c.example", primary_url="http://new.example"
    )
    for other in (promoted, follower):
        assert fence_by_peer(_primary(125), other, _chain(120)) == Fence(2, NEW, "http://new.example", 120, 125)
    assert fence_by_peer(_primary(125), attrs.evolve(follower, epoch_start=Epoch()), None) is None


@pytest.mark.parametrize(
    ("common", "last", "sentence"),
    [
        (120, 125, "Entries 121 to 125 exist only here."),
        (120, 121, "Entry 121 exists only here."),
        (120, 120, "Nothing exists only here."),
    ],
)
def test_what_exists_only_here_is_said_in_a_sentence(common: int, last: int, sentence: str) -> None:
    assert beyond_sentence(common, last) == sentence


def test_a_promotion_begins_the_next_epoch_behind_what_is_here() -> None:
    replica = Peer(NEW, LOG, "replica", 120, _chain(120))
    expected = Epoch(2, NEW, Fork(120, _chain(120)))
    gone = decide_promotion(replica, None)
    assert (gone.epoch_start, gone.missing) == (expected, None)
    assert decide_promotion(replica, _primary(120)).missing is None
    behind = decide_promotion(replica, _primary(125))
    assert (behind.epoch_start, behind.missing) == (expected, (121, 125))


def test_an_epoch_that_only_the_primary_knows_counts_too() -> None:
    replica = Peer(NEW, LOG, "replica", 120, _chain(120))
    assert decide_promotion(replica, _primary(125, Epoch(4, OLD, Fork(122, _chain(122))))).epoch_start.epoch == 5


def test_another_log_at_the_primarys_url_says_nothing_about_what_is_missing() -> None:
    replica = Peer(NEW, LOG, "replica", 120, _chain(120))
    foreign = attrs.evolve(_primary(125, Epoch(7, OLD)), log_id="2" * 32)
    assert decide_promotion(replica, foreign).epoch_start.epoch == 2
    assert decide_promotion(replica, foreign).missing is None


def test_who_is_a_primary_is_not_promoted_and_who_was_one_is_sent_to_resync() -> None:
    with pytest.raises(TwistpiError, match="primary already"):
        decide_promotion(_primary(), None)
    with pytest.raises(TwistpiError, match="twistpi resync"):
        decide_promotion(attrs.evolve(_primary(), fenced=True), None)


def test_a_former_primary_can_be_promoted_again_when_its_successor_is_lost() -> None:
    fence = Fence(4, NEW, None, 120, 125)
    assert decide_promotion(attrs.evolve(_primary(), fenced=True), None, fence).epoch_start == Epoch(
        5, OLD, Fork(125, _chain(125))
    )


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300), st.integers(0, 300))
def test_the_fork_of_two_logs_is_found_with_few_looks(fork: int, one: int, other: int, agreed: int) -> None:
    fork = min(fork, one, other)
    search = ForkSearch.between(min(agreed, fork), one, other)
    looks = 0
    while (serial := search.wanted) is not None:
        assert serial <= min(one, other)
        search.learn(serial, same=serial <= fork)
        looks += 1
    assert search.agreed == fork
    assert looks <= 10


def test_a_log_that_is_a_part_of_the_other_is_found_to_be_at_the_first_look() -> None:
    search = ForkSearch.between(0, 1_000_000, 1_000_300)
    assert search.wanted == 1_000_000
    search.learn(1_000_000, same=True)
    assert search.wanted is None
