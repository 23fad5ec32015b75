"""Many blobs in one stream: whatever pieces it comes in, what comes out is what went in, or damage is told."""

from __future__ import annotations

import contextlib
import itertools

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistpi.replication.frames import BEGINNING, END, FrameReader, FramesDamaged, begin_line, missing_line

Told = tuple[str, str, bytes | None]
"""Digits, file name and bytes; None for one that is missing."""


@attrs.define
class Taken:
    """Takes blobs and notes them."""

    told: list[Told] = attrs.field(factory=list)
    size: int = 0

    def begin(self, digits: str, filename: str, size: int) -> None:
        self.told.append((digits, filename, b""))
        self.size = size

    def write(self, data: bytes) -> None:
        digits, filename, before = self.told[-1]
        assert data
        self.told[-1] = (digits, filename, (before or b"") + data)

    def end(self) -> None:
        assert len(self.told[-1][2] or b"") == self.size

    def missing(self, digits: str, filename: str) -> None:
        self.told.append((digits, filename, None))


def digits() -> st.SearchStrategy[str]:
    return st.text("0123456789abcdef", min_size=16, max_size=16)


def blobs() -> st.SearchStrategy[list[Told]]:
    names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
    return st.lists(st.tuples(digits(), names, st.none() | st.binary(max_size=40)), max_size=6)


def stream(told: list[Told]) -> bytes:
    lines = [
        missing_line(digits, filename) if content is None else begin_line(digits, filename, len(content)) + content
        for digits, filename, content in told
    ]
    return b"".join([BEGINNING, *lines, END])


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(ends)]


@given(blobs(), st.lists(st.integers(0, 10_000), max_size=12))
def test_what_goes_in_comes_out_wherever_the_stream_is_cut(told: list[Told], places: list[int]) -> None:
    taken = Taken()
    reader = FrameReader(taken)
    for piece in cut(stream(told), places):
        assert not reader.complete
        reader.feed(piece)
    assert (taken.told, reader.complete) == (told, True)


@given(blobs(), st.integers(0, 10_000))
def test_a_stream_that_ends_early_is_never_complete_and_tells_only_what_came(told: list[Told], place: int) -> None:
    whole = stream(told)
    taken = Taken()
    reader = FrameReader(taken)
    reader.feed(whole[: place % len(whole)])
    assert not reader.complete
    finished = list(taken.told[:-1])
    assert finished == told[: len(finished)]


@given(blobs(), st.integers(0, 10_000), st.integers(1, 255))
def test_a_flipped_byte_is_told_or_leads_to_other_blobs_and_no_more(told: list[Told], place: int, flip: int) -> None:
    damaged = bytearray(stream(told))
    damaged[place % len(damaged)] ^= flip
    with contextlib.suppress(FramesDamaged):
        FrameReader(Taken()).feed(bytes(damaged))


@pytest.mark.parametrize(
    "data",
    [
        b"<html>\n",
        BEGINNING + b"+ 0123456789abcdef 5\n",
        BEGINNING + b"+ 0123456789abcdeF 5 demo\n",
        BEGINNING + b"+ 0123456789abcdef -5 demo\n",
        BEGINNING + b"+ 0123456789abcdef 05 demo\n",
        BEGINNING + b"- 0123456789abcdef two words\n",
        BEGINNING + b"\n",
        BEGINNING + END + b"more",
        b"x" * 5000,
    ],
)
def test_what_is_no_stream_of_blobs_is_told(data: bytes) -> None:
    with pytest.raises(FramesDamaged):
        FrameReader(Taken()).feed(data)
