"""One line, the names of segments, and the package's own description of them."""

from __future__ import annotations

import re
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

import twistpi.changelog
from twistpi.changelog.format import (
    BadLine,
    check_line,
    has_shape,
    make_line,
    read_header,
    segment_name,
    sort_segments,
    sort_unfinished,
    split_by_segment,
)
from twistpi.model.changes import FileCached, LogStarted, UserCreated
from twistpi.model.codec import decode_content, encode_content

BODY = b'{"n":1}'


def lines_of_the_docstring() -> list[bytes]:
    """The worked lines, put together again."""
    block = re.search(r"after commas::\n\n(.*?)\n\n", twistpi.changelog.__doc__ or "", re.DOTALL)
    assert block
    pieces = re.sub(r"\n {6}(?=\{\"at\")", " ", block[1])
    pieces = re.sub(r"\n {6}", "", pieces)
    return [line.strip().encode() for line in pieces.splitlines()]


def test_the_worked_lines_of_the_docstring_are_right() -> None:
    first, second = lines_of_the_docstring()
    digest, body = check_line(first, 1, bytes(32))
    assert decode_content(body).changes == (LogStarted("5f0c1a6e9b7d4c3e8a2f6d1b0e4c7a93"), UserCreated("root"))
    _digest, body = check_line(second, 2, digest)
    content = decode_content(body)
    assert isinstance(content.changes[0], FileCached)
    assert encode_content(content.at, content.by, content.changes) == body


def test_the_worked_digests_follow_from_the_text_alone() -> None:
    previous = bytes(32)
    for line in lines_of_the_docstring():
        serial, chain, json = line.split(b" ", 2)
        assert sha256(previous + serial + b" " + json).hexdigest().encode() == chain
        previous = bytes.fromhex(chain.decode())


@given(st.integers(1, 10**18), st.binary(min_size=32, max_size=32), st.binary().map(lambda inner: b"{" + inner + b"}"))
def test_a_line_reads_as_it_was_made(serial: int, previous: bytes, body: bytes) -> None:
    line, digest = make_line(serial, previous, body)
    assert line.endswith(b"\n")
    assert check_line(line[:-1], serial, previous) == (digest, body)
    assert read_header(line[:-1]) == (serial, digest.hex(), body)
    assert has_shape(line[:-1])


@given(st.data())
def test_a_line_with_any_other_byte_is_refused(data: st.DataObject) -> None:
    line = make_line(17, bytes(32), BODY)[0][:-1]
    place = data.draw(st.integers(0, len(line) - 1))
    mask = data.draw(st.integers(1, 255))
    other = bytearray(line)
    other[place] ^= mask
    with pytest.raises(BadLine):
        check_line(bytes(other), 17, bytes(32))


@pytest.mark.parametrize(
    ("line", "serial", "reason"),
    [
        (b"", 2, "not a line"),
        (b"garbage", 2, "not a line"),
        (make_line(3, bytes(32), BODY)[0][:-1], 2, "serial 2 is due here, but the line says 3"),
        (make_line(2, b"x" * 32, BODY)[0][:-1], 2, "do not belong together"),
    ],
)
def test_a_refusal_says_what_is_wrong(line: bytes, serial: int, reason: str) -> None:
    with pytest.raises(BadLine, match=reason):
        check_line(line, serial, bytes(32))


def test_segments_are_found_among_other_files() -> None:
    names = [segment_name(7), "notes.txt", segment_name(1), segment_name(9) + ".new", "1.log", segment_name(10**19)]
    assert sort_segments(names) == [1, 7, 10**19]
    assert sort_unfinished([*names, "notes.new"]) == [segment_name(9) + ".new"]


@given(st.lists(st.binary(min_size=1, max_size=30), min_size=1), st.integers(0, 50), st.integers(1, 50))
def test_shares_are_the_lines_in_order_and_no_segment_grows_beyond_its_limit(lines: list[bytes], size: int, limit: int) -> None:
    shares = split_by_segment(lines, 5, 1, size, limit)
    assert b"".join(share.content for share in shares) == b"".join(lines)
    assert shares[0].segment == 1
    assert [share.segment for share in shares] == sorted({share.segment for share in shares})
    assert all(share.content for share in shares[1:])
    assert all(size * (number == 0) + len(share.content) >= limit for number, share in enumerate(shares[:-1]))
