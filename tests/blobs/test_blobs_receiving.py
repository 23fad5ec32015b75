"""A file on its way in: hashed, bounded by the disk, kept as a blob or forgotten without a trace."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import zipfile
from pathlib import Path

import pytest

from tests.contracts.blobs_contract import NAME, content_of
from tests.fakes.faulty_system import FaultySystem
from tests.fakes.memory_blobs import MemoryBlobs
from twistpi.blobs.incoming import System
from twistpi.blobs.interfaces import IBlobs
from twistpi.blobs.received import Received, Receiving
from twistpi.blobs.tree import Tree, open_tree
from twistpi.model.errors import InvalidName
from twistpi.model.server_errors import BlobConflict, StorageFull

PIECES = [b"whe", b"", b"el" * 1000]
WHOLE = b"".join(PIECES)


@pytest.fixture(params=["tree", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> IBlobs:
    return open_tree(str(tmp_path)) if request.param == "tree" else MemoryBlobs()


def receive(blobs: IBlobs) -> Received:
    receiving = Receiving(blobs)
    for piece in PIECES:
        receiving.write(piece)
    assert receiving.size == len(WHOLE)
    return receiving.finish()


def incoming(folder: Path) -> list[str]:
    return os.listdir(folder / "incoming")


def test_all_digests_an_upload_form_may_declare_are_those_of_the_bytes(blobs: IBlobs) -> None:
    received = receive(blobs)
    assert received.size == len(WHOLE)
    assert received.sha256 == hashlib.sha256(WHOLE).hexdigest()
    assert received.md5 == hashlib.md5(WHOLE).hexdigest()
    assert received.blake2_256 == hashlib.blake2b(WHOLE, digest_size=32).hexdigest()
    received.close()


def test_what_is_kept_is_a_blob_and_nothing_else_stays(tmp_path: Path) -> None:
    blobs = open_tree(str(tmp_path))
    received = receive(blobs)
    assert len(incoming(tmp_path)) == 1
    address = received.keep(NAME)
    received.close()
    assert incoming(tmp_path) == []
    assert content_of(blobs, address) == WHOLE
    assert (address.filename, address.digits) == (NAME, received.sha256[:16])


def test_the_bytes_are_synced_before_they_get_their_name(tmp_path: Path) -> None:
    system = FaultySystem()
    received = receive(open_tree(str(tmp_path), system))
    system.calls.clear()
    address = received.keep(NAME)
    received.close()
    calls = [call for call, _ in system.calls]
    assert calls.index("sync") < calls.index("rename") < len(calls) - 1 - calls[::-1].index("sync")
    assert system.calls[calls.index("rename")][1].endswith(address.relative)


def test_what_is_not_kept_leaves_nothing_whole_or_not(tmp_path: Path) -> None:
    blobs = open_tree(str(tmp_path))
    receiving = Receiving(blobs)
    receiving.write(b"half")
    receiving.close()
    receiving.close()
    received = receive(blobs)
    received.close()
    received.close()
    assert incoming(tmp_path) == []
    assert list(blobs.walk()) == []


@pytest.mark.parametrize("kind", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_or_broken_disk_leaves_nothing(tmp_path: Path, kind: int) -> None:
    system = FaultySystem()
    receiving = Receiving(open_tree(str(tmp_path), system))
    receiving.write(b"some")
    descriptors = len(os.listdir("/proc/self/fd"))
    system.at, system.fault = len(system.calls), OSError(kind, os.strerror(kind))
    with pytest.raises(OSError if kind == errno.EIO else StorageFull, match=os.strerror(kind)):
        receiving.write(b"more")
    assert incoming(tmp_path) == []
    assert len(os.listdir("/proc/self/fd")) == descriptors - 1


def test_no_room_for_a_name_is_told_at_once(tmp_path: Path) -> None:
    system = FaultySystem()
    tree = open_tree(str(tmp_path), system)
    system.at, system.fault = len(system.calls), OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(StorageFull, match="No space left"):
        Receiving(tree)


def test_a_name_that_leads_elsewhere_is_refused_and_another_may_be_tried(blobs: IBlobs) -> None:
    received = receive(blobs)
    for name in ("../evil.whl", "a/b.whl", "", ".hidden", "a\0b.whl"):
        with pytest.raises(InvalidName):
            received.keep(name)
    assert content_of(blobs, received.keep(NAME)) == WHOLE
    received.close()


def test_equal_bytes_may_be_kept_twice(blobs: IBlobs) -> None:
    first, second = receive(blobs), receive(blobs)
    assert first.keep(NAME) == second.keep(NAME)
    first.close()
    second.close()
    assert [size for _, size in blobs.walk()] == [len(WHOLE)]


def test_a_refused_blob_leaves_nothing(tmp_path: Path) -> None:
    blobs = open_tree(str(tmp_path))
    received = receive(blobs)
    address = received.keep(NAME)
    Path(blobs.path(address)).write_bytes(b"other bytes that begin with the same digits")
    again = receive(blobs)
    with pytest.raises(BlobConflict):
        again.keep(NAME)
    again.close()
    received.close()
    assert incoming(tmp_path) == []


def test_a_received_file_can_be_read_by_several_at_once_and_by_seeking(tmp_path: Path) -> None:
    blobs = open_tree(str(tmp_path))
    receiving = Receiving(blobs)
    path = tmp_path / "made.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("demo.txt", "x" * 100_000)
        archive.writestr("more.txt", "y")
    receiving.write(path.read_bytes())
    received = receiving.finish()
    with received.open() as first, received.open() as second:
        assert first.read(2) == b"PK"
        with zipfile.ZipFile(second) as archive:
            assert archive.read("demo.txt") == b"x" * 100_000
        assert first.read(2) == b"\x03\x04"
        assert first.seek(-2, os.SEEK_END) == received.size - 2
        assert len(first.read()) == 2
        assert first.seek(10_000_000) == 10_000_000
        assert first.read() == b""
        with pytest.raises(OSError, match="before the beginning"):
            first.seek(-20_000_000, os.SEEK_CUR)
    received.close()


def test_what_is_opened_can_be_read_after_everything_else_is_closed(blobs: IBlobs) -> None:
    received = receive(blobs)
    file = received.open()
    received.close()
    assert file.read() == WHOLE
    file.close()
    for use in (received.open, lambda: received.keep(NAME)):
        with pytest.raises(ValueError, match="let go of"):
            use()


class SlowSystem(System):
    """Syncs only when a test says so."""

    def __init__(self) -> None:
        self.syncing = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def sync(self, descriptor: int) -> None:
        self.syncing.set()
        assert self.go_on.wait(60)
        super().sync(descriptor)


def test_a_file_that_is_closed_while_it_is_kept_is_kept(tmp_path: Path) -> None:
    system = SlowSystem()
    blobs: Tree = open_tree(str(tmp_path), system)
    received = receive(blobs)
    system.go_on.clear()
    system.syncing.clear()
    storage = threading.Thread(target=received.keep, args=(NAME,))
    storage.start()
    assert system.syncing.wait(60)
    descriptors = len(os.listdir("/proc/self/fd"))
    received.close()
    system.go_on.set()
    storage.join(10)
    assert [size for _, size in blobs.walk()] == [len(WHOLE)]
    assert incoming(tmp_path) == []
    assert len(os.listdir("/proc/self/fd")) == descriptors - 1
