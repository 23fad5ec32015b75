"""What every implementation of ``IBlobs`` does.  A test class inherits ``BlobsContract`` and gives the fixture ``blobs``."""

from __future__ import annotations

import os
import time
from hashlib import sha256

import pytest
from zope.interface.verify import verifyObject

from twistpi.blobs.address import BlobAddress, blob_address, metadata_address
from twistpi.blobs.interfaces import IBlobs
from twistpi.model.server_errors import BlobConflict

NAME = "Demo-1.0-py3-none-any.whl"


def put(blobs: IBlobs, content: bytes, filename: str = NAME, digits: str | None = None) -> BlobAddress:
    """Keep ``content`` and say where."""
    digest = sha256(content).hexdigest()
    address = blob_address(digest, filename) if digits is None else BlobAddress(digits, filename)
    with blobs.incoming() as incoming:
        incoming.write(content)
        blobs.keep(incoming, address, digest)
    return address


def content_of(blobs: IBlobs, address: BlobAddress) -> bytes:
    """All bytes of a blob."""
    with blobs.open(address) as file:
        return file.read()


class BlobsContract:
    """The behaviour that downloads, pages and checks rely upon."""

    def test_it_provides_the_interface(self, blobs: IBlobs) -> None:
        assert verifyObject(IBlobs, blobs)

    def test_nothing_is_there_at_first(self, blobs: IBlobs) -> None:
        address = BlobAddress("0" * 16, NAME)
        assert blobs.find(address) is None
        assert list(blobs.walk()) == []
        assert list(blobs.foreign_paths()) == []
        for ask in (blobs.open, blobs.digest):
            with pytest.raises(FileNotFoundError):
                ask(address)

    def test_what_is_kept_can_be_read(self, blobs: IBlobs) -> None:
        address = put(blobs, b"wheel")
        assert blobs.find(address) == 5
        assert content_of(blobs, address) == b"wheel"
        assert blobs.digest(address) == sha256(b"wheel").hexdigest()

    def test_an_empty_file_is_a_blob(self, blobs: IBlobs) -> None:
        assert blobs.find(put(blobs, b"")) == 0

    def test_metadata_lies_beside_its_wheel_under_the_digits_of_the_wheel(self, blobs: IBlobs) -> None:
        wheel = put(blobs, b"wheel")
        metadata = metadata_address(wheel)
        with blobs.incoming() as incoming:
            incoming.write(b"Name: demo")
            blobs.keep(incoming, metadata, sha256(b"Name: demo").hexdigest())
        assert list(blobs.walk()) == [(wheel, 5), (metadata, 10)]
        assert blobs.digest(metadata) == sha256(b"Name: demo").hexdigest()

    def test_the_same_bytes_may_come_again(self, blobs: IBlobs) -> None:
        assert put(blobs, b"wheel") == put(blobs, b"wheel")
        assert [size for _, size in blobs.walk()] == [5]

    def test_other_bytes_under_the_same_address_are_refused(self, blobs: IBlobs) -> None:
        address = put(blobs, b"wheel", digits="ab" * 8)
        with pytest.raises(BlobConflict):
            put(blobs, b"other", digits="ab" * 8)
        assert content_of(blobs, address) == b"wheel"

    def test_equal_bytes_under_two_names_are_two_blobs(self, blobs: IBlobs) -> None:
        first, second = put(blobs, b"same", "a-1.zip"), put(blobs, b"same", "b-1.zip")
        assert blobs.remove(first)
        assert content_of(blobs, second) == b"same"

    def test_what_is_removed_is_gone_and_may_come_again(self, blobs: IBlobs) -> None:
        address = put(blobs, b"wheel")
        assert blobs.remove(address) is True
        assert blobs.remove(address) is False
        assert blobs.find(address) is None
        assert put(blobs, b"wheel") == address
        assert blobs.find(address) == 5

    def test_being_asked_for_makes_a_blob_no_younger(self, blobs: IBlobs) -> None:
        address = put(blobs, b"wheel")
        kept = blobs.last_kept(address) or 0.0
        assert blobs.note_access(blobs.path(address), kept + 5000)
        times = blobs.times(address)
        assert times is not None
        assert abs(times.kept - kept) < 2
        assert round(times.accessed - kept) == 5000
        assert blobs.remove(address)
        assert not blobs.note_access(blobs.path(address), kept)
        assert blobs.times(address) is None

    def test_what_was_last_kept_long_ago_can_be_withdrawn_and_come_again(self, blobs: IBlobs) -> None:
        before = time.time() - 10
        address = put(blobs, b"wheel")
        kept_at = blobs.last_kept(address)
        assert kept_at is not None
        assert before < kept_at < time.time() + 1
        assert blobs.withdraw(address, before) is None
        assert content_of(blobs, address) == b"wheel"
        give_back = blobs.withdraw(address, kept_at + 1)
        assert give_back is not None
        assert (blobs.find(address), blobs.claim(address), blobs.last_kept(address)) == (None, None, None)
        assert list(blobs.walk()) == []
        assert blobs.withdraw(address, kept_at + 1) is None
        put(blobs, b"wheel")
        give_back()
        assert content_of(blobs, address) == b"wheel"

    def test_a_blob_stays_until_whoever_keeps_it_is_done(self, blobs: IBlobs) -> None:
        digest = sha256(b"wheel").hexdigest()
        address = blob_address(digest, NAME)
        later = time.time() + 1000
        with blobs.incoming() as first, blobs.incoming() as second:
            for incoming in (first, second):
                incoming.write(b"wheel")
                blobs.keep(incoming, address, digest)
            first.close()
            first.close()
            assert blobs.withdraw(address, later) is None
        assert blobs.withdraw(address, later) is not None

    def test_a_blob_stays_while_somebody_claims_it(self, blobs: IBlobs) -> None:
        address = put(blobs, b"wheel")
        later = time.time() + 1000
        claimed = blobs.claim(address)
        assert claimed is not None
        assert blobs.withdraw(address, later) is None
        assert claimed.read() == b"wheel"
        claimed.close()
        claimed.close()
        assert blobs.withdraw(address, later) is not None

    def test_what_is_refused_holds_no_longer_than_its_incoming_is_open(self, blobs: IBlobs) -> None:
        address = put(blobs, b"wheel", digits="ab" * 8)
        with pytest.raises(BlobConflict):
            put(blobs, b"other", digits="ab" * 8)
        assert blobs.withdraw(address, time.time() + 1000) is not None

    def test_what_was_not_kept_leaves_no_blob(self, blobs: IBlobs) -> None:
        with blobs.incoming() as incoming:
            incoming.write(b"wheel")
        assert list(blobs.walk()) == []

    def test_bytes_can_be_read_while_they_come_and_after_they_are_kept(self, blobs: IBlobs) -> None:
        incoming = blobs.incoming()
        incoming.write(b"whe")
        assert incoming.read(1, 10) == b"he"
        assert os.pread(incoming.fileno(), 10, 0) == b"whe"
        incoming.write(b"el")
        assert incoming.size == 5
        digest = sha256(b"wheel").hexdigest()
        blobs.keep(incoming, blob_address(digest, NAME), digest)
        assert os.pread(incoming.fileno(), 10, 0) == b"wheel"
        incoming.close()
        assert blobs.find(blob_address(digest, NAME)) == 5

    def test_discarded_bytes_stay_readable_for_those_who_read_them(self, blobs: IBlobs) -> None:
        incoming = blobs.incoming()
        incoming.write(b"wheel")
        incoming.discard()
        incoming.discard()
        assert os.pread(incoming.fileno(), 10, 0) == b"wheel"
        incoming.close()
        incoming.close()
        with pytest.raises(ValueError, match="closed"):
            incoming.fileno()

    def test_an_incoming_file_can_begin_anew(self, blobs: IBlobs) -> None:
        incoming = blobs.incoming()
        incoming.write(b"wrong")
        incoming.truncate(1)
        incoming.write(b"heel")
        assert (incoming.size, incoming.read(0, 10)) == (5, b"wheel")
        incoming.close()

    def test_blobs_are_walked_by_address(self, blobs: IBlobs) -> None:
        addresses = [put(blobs, bytes([number]), f"demo-{number}.zip") for number in range(20)]
        assert [address for address, _ in blobs.walk()] == sorted(addresses, key=lambda address: address.relative)

    @pytest.mark.parametrize(
        "filename", ["Ümläut-1.0.zip", "with space-1.zip", "中文-1.tar.gz", "x" * 240, "a+b%2e~'\"<&>-1.whl", "ends.metadata"]
    )
    def test_odd_names_work(self, blobs: IBlobs, filename: str) -> None:
        address = put(blobs, b"odd", filename)
        assert content_of(blobs, address) == b"odd"
        metadata = metadata_address(address)
        put(blobs, b"odd", metadata.filename)
        assert {found for found, _ in blobs.walk()} == {address, metadata}
