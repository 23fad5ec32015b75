"""Many blobs in one stream: what is stored is what was sent, or damage is told."""

from __future__ import annotations

import contextlib
from hashlib import sha256

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistpi.model.server_errors import BlobConflict, StorageFull
from twistpi.replication.blob_batch import BEGINNING, END, Batch, begin_line, missing_line
from twistpi.view.read import KeptBlob

Sent = tuple[KeptBlob, bytes | None]
"""A blob and its bytes; None for one that is missing."""
DEMO = KeptBlob("0123456789abcdef", "demo", sha256(b"12345").hexdigest(), 5)


@attrs.define
class Stored:
    """Stores blobs in memory."""

    blobs: dict[KeptBlob, bytes] = attrs.field(factory=dict)

    def store(self, blob: KeptBlob, content: bytes) -> None:
        self.blobs[blob] = content


def sent_blobs() -> st.SearchStrategy[list[Sent]]:
    digits = st.text("0123456789abcdef", min_size=16, max_size=16)
    names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)

    def sent(digits: str, name: str, content: bytes, *, is_there: bool) -> Sent:
        return KeptBlob(digits, name, sha256(content).hexdigest(), len(content)), content if is_there else None

    made = st.builds(sent, digits, names, st.binary(max_size=40), is_there=st.booleans())
    return st.lists(made, max_size=6, unique_by=lambda one: (one[0].digits, one[0].filename))


def stream(sent: list[Sent]) -> bytes:
    lines = [
        missing_line(blob.digits, blob.filename)
        if content is None
        else begin_line(blob.digits, blob.filename, len(content)) + content
        for blob, content in sent
    ]
    return b"".join([BEGINNING, *lines, END])


@given(sent_blobs())
def test_what_is_sent_is_stored(sent: list[Sent]) -> None:
    stored = Stored()
    batch = Batch([blob for blob, _content in sent], stored.store)
    batch.take(stream(sent))
    there = {blob: content for blob, content in sent if content is not None}
    assert (stored.blobs, batch.stored) == (there, list(there))
    assert [blob for blob, _reason in batch.refused] == [blob for blob, content in sent if content is None]


@given(sent_blobs(), st.integers(0, 10_000))
def test_a_stream_that_ends_early_is_told_and_stores_only_what_came(sent: list[Sent], place: int) -> None:
    whole, stored = stream(sent), Stored()
    batch = Batch([blob for blob, _content in sent], stored.store)
    with pytest.raises(ValueError, match=r"ended before it was complete|does not begin"):
        batch.take(whole[: place % len(whole)])
    assert stored.blobs.items() <= dict(sent).items()
    cut = [blob for blob, reason in batch.refused if "ended in the middle" in reason]
    assert len(cut) <= 1
    assert not set(cut) & set(batch.stored)


@given(sent_blobs(), st.integers(0, 10_000), st.integers(1, 255))
def test_a_flipped_byte_is_told_and_stores_nothing_wrong(sent: list[Sent], place: int, flip: int) -> None:
    damaged = bytearray(stream(sent))
    damaged[place % len(damaged)] ^= flip
    stored = Stored()
    with contextlib.suppress(ValueError):
        Batch([blob for blob, _content in sent], stored.store).take(bytes(damaged))
    assert all(sha256(content).hexdigest() == blob.sha256 for blob, content in stored.blobs.items())


@pytest.mark.parametrize(
    "data",
    [
        b"<html>\n",
        BEGINNING + b"+ 0123456789abcdef 5\n",
        BEGINNING + b"+ 0123456789abcdeF 5 demo\n",
        BEGINNING + b"+ 0123456789abcdef -5 demo\n",
        BEGINNING + b"+ 0123456789abcdef 05 demo\n",
        BEGINNING + b"+ 0123456789abcdef 5 other\n",
        BEGINNING + b"- 0123456789abcdef two words\n",
        BEGINNING + b"- 0123456789abcdef demo\n" * 2,
        BEGINNING + b"\n",
        BEGINNING + END + b"more",
        b"x" * 5000,
    ],
)
def test_what_is_no_stream_of_blobs_is_told(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"^(it does|the line|nobody|something|the stream)"):
        Batch([DEMO], Stored().store).take(data)


@pytest.mark.parametrize(
    ("content", "error", "reason"),
    [
        (b"1234", None, "not the 5 bytes"),
        (b"123456" * 10_000, None, "not the 5 bytes"),
        (b"54321", None, "its sha256 is"),
        (b"12345", BlobConflict("demo"), "demo"),
    ],
)
def test_a_blob_that_is_not_as_it_should_be_is_refused_and_stops_no_other(
    content: bytes, error: Exception | None, reason: str
) -> None:
    other = KeptBlob("fedcba9876543210", "other", sha256(b"x").hexdigest(), 1)

    def store(blob: KeptBlob, _content: bytes) -> None:
        if error is not None and blob == DEMO:
            raise error

    batch = Batch([DEMO, other], store)
    lines = begin_line(DEMO.digits, DEMO.filename, len(content)) + content, begin_line(other.digits, other.filename, 1) + b"x"
    batch.take(b"".join([BEGINNING, *lines, END]))
    assert batch.stored == [other]
    assert [blob for blob, told in batch.refused if reason in told] == [DEMO]


def test_on_a_full_disk_nothing_is_refused() -> None:
    def store(_blob: KeptBlob, _content: bytes) -> None:
        raise StorageFull("disk", "full")

    batch = Batch([DEMO], store)
    with pytest.raises(StorageFull):
        batch.take(BEGINNING + begin_line(DEMO.digits, DEMO.filename, 5) + b"12345")
    assert (batch.stored, batch.refused) == ([], [])
