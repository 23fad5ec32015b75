"""What comes out of a feed, however it is cut into pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistpi.replication import feed
from twistpi.replication.feed import FeedLines, Heartbeat

LINES = st.binary(max_size=40).map(lambda content: b"7 " + content.replace(b"\n", b""))
BEATS = st.builds(Heartbeat, st.integers(0, 10**18 - 1), st.integers(0, 2**40).map(lambda time: time / 8))


@given(items=st.lists(LINES | BEATS), cuts=st.lists(st.integers(0, 2000)), rest=st.sampled_from([b"", b"8 half", b"+ 9"]))
def test_any_cuts_give_the_same_lines_and_heartbeats_wherever_these_stand(
    items: list[bytes | Heartbeat], cuts: list[int], rest: bytes
) -> None:
    whole = (
        b"".join(item + b"\n" if isinstance(item, bytes) else b"+ %d %.3f\n" % (item.serial, item.time) for item in items) + rest
    )
    reader, lines, beats, begin = FeedLines(), [], [], 0
    for end in [*sorted(min(cut, len(whole)) for cut in cuts), len(whole)]:
        taken, beat = reader.take(whole[begin:end])
        begin = end
        lines += taken
        beats += [beat] if beat else []
    assert lines == [item for item in items if isinstance(item, bytes)]
    told = [item for item in items if isinstance(item, Heartbeat)]
    assert beats[-1:] == told[-1:]
    assert all(beat in told for beat in beats)


@pytest.mark.parametrize("line", [b"+", b"+ x 1", b"+ -1 1", b"+ 1", b"+ 1 nan", b"+ 1 1 ", b"+ 01 1"])
def test_a_heartbeat_that_is_none_is_no_feed(line: bytes) -> None:
    with pytest.raises(ValueError, match="is no heartbeat"):
        FeedLines().take(line + b"\n")


def test_a_line_that_never_ends_is_given_up() -> None:
    reader = FeedLines()
    piece = b"x" * (feed.LONGEST_LINE // 4)
    for _ in range(4):
        reader.take(piece)
    with pytest.raises(ValueError, match="longer than"):
        reader.take(b"x")
