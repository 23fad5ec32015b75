"""Blobs on disk: the contract, where they lie, what does not count as one."""

from __future__ import annotations

import gc
import itertools
import os
import threading
import time
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contracts.blobs_contract import NAME, BlobsContract, put
from twistpi.blobs.address import BlobAddress, blob_address
from twistpi.blobs.tree import Tree, open_tree
from twistpi.model.server_errors import BlobConflict, ServerdirRefused


@pytest.fixture
def blobs(tmp_path: Path) -> Tree:
    return open_tree(str(tmp_path))


class TestTree(BlobsContract):
    """See the contract."""


def test_a_blob_lies_where_nginx_looks_for_it(blobs: Tree, tmp_path: Path) -> None:
    digest = sha256(b"wheel").hexdigest()
    put(blobs, b"wheel")
    lies_at = tmp_path / "+files" / digest[:3] / digest[3:16] / NAME
    assert lies_at.read_bytes() == b"wheel"
    assert blobs.path(blob_address(digest, NAME)) == str(lies_at)


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_others_may_read_a_blob_whatever_the_umask_but_nothing_on_its_way(tmp_path: Path, umask: int) -> None:
    """twistd as a daemon has the umask 0077, and a web server in front is another user."""
    mask = os.umask(umask)
    try:
        path = Path(open_tree(str(tmp_path)).path(put(open_tree(str(tmp_path)), b"wheel")))
    finally:
        os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o644
    assert [folder.stat().st_mode & 0o777 for folder in path.parents[:3]] == [0o755] * 3
    assert (tmp_path / "incoming").stat().st_mode & 0o777 == 0o700


def test_who_gets_to_the_blobs_is_up_to_the_administrator(tmp_path: Path) -> None:
    open_tree(str(tmp_path))
    (tmp_path / "+files").chmod(0o2750)
    put(open_tree(str(tmp_path)), b"wheel")
    assert (tmp_path / "+files").stat().st_mode & 0o7777 == 0o2750


def test_incoming_is_empty_after_the_start(tmp_path: Path) -> None:
    tree = open_tree(str(tmp_path))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"!")
    tree.incoming().write(b"half a whe")
    (tmp_path / "incoming" / "folder").mkdir()
    (tmp_path / "incoming" / "folder" / "file").touch()
    (tmp_path / "incoming" / "link").symlink_to(outside)
    open_tree(str(tmp_path))
    assert os.listdir(tmp_path / "incoming") == []
    assert (outside / "precious").exists()


def test_incoming_is_empty_after_blobs_were_kept_refused_and_discarded(blobs: Tree, tmp_path: Path) -> None:
    put(blobs, b"wheel", digits="ab" * 8)
    put(blobs, b"wheel", digits="ab" * 8)
    with pytest.raises(BlobConflict):
        put(blobs, b"other", digits="ab" * 8)
    blobs.incoming().close()
    assert os.listdir(tmp_path / "incoming") == []


def test_an_open_tree_keeps_blobs_that_are_there(blobs: Tree, tmp_path: Path) -> None:
    address = put(blobs, b"wheel")
    assert open_tree(str(tmp_path)).find(address) == 5


def test_reading_a_tree_needs_no_opening_and_touches_nothing(tmp_path: Path) -> None:
    assert list(Tree(str(tmp_path)).walk()) == []
    assert os.listdir(tmp_path) == []


def test_strangers_are_told_and_not_walked(blobs: Tree, tmp_path: Path) -> None:
    address = put(blobs, b"wheel", digits="ab" * 8)
    root = tmp_path / "+files"
    (root / "README").touch()
    (root / "lost+found").mkdir()
    (root / "lost+found" / "x").touch()
    (root / "ABC").mkdir()
    (root / "aba" / "short").mkdir()
    (root / "aba" / "file").touch()
    (root / "aba" / address.digits[3:] / ".hidden").touch()
    (root / "aba" / address.digits[3:] / "folder").mkdir()
    (root / "aba" / address.digits[3:] / "link").symlink_to(blobs.path(address))
    (root / "abc").symlink_to(root / "aba")
    inside = f"aba/{address.digits[3:]}"
    assert list(blobs.walk()) == [(address, 5)]
    assert set(blobs.foreign_paths()) == {
        "README", "lost+found", "ABC", "abc", "aba/short", "aba/file", f"{inside}/.hidden", f"{inside}/folder", f"{inside}/link",
    }  # fmt: skip


@pytest.mark.parametrize("level", [0, 1, 2])
def test_symbolic_links_do_not_lead_out_of_the_tree(blobs: Tree, tmp_path: Path, level: int) -> None:
    address = BlobAddress("ab" * 8, NAME)
    parts = address.relative.split("/")
    outside = tmp_path.joinpath("outside", *parts)
    outside.parent.mkdir(parents=True)
    outside.write_bytes(b"secret")
    link = tmp_path.joinpath("+files", *parts[: level + 1])
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(tmp_path.joinpath("outside", *parts[: level + 1]))
    assert blobs.find(address) is None
    with pytest.raises(FileNotFoundError):
        blobs.open(address)
    assert blobs.remove(address) is False
    with pytest.raises(BlobConflict):
        put(blobs, b"secret", digits="ab" * 8)
    assert outside.read_bytes() == b"secret"


def test_a_file_in_place_of_a_folder_is_a_conflict_not_a_crash(blobs: Tree, tmp_path: Path) -> None:
    (tmp_path / "+files" / "aba").touch()
    with pytest.raises(BlobConflict):
        put(blobs, b"wheel", digits="ab" * 8)
    assert blobs.find(BlobAddress("ab" * 8, NAME)) is None


def test_a_server_directory_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "+files").touch()
    with pytest.raises(ServerdirRefused):
        open_tree(str(tmp_path / "+files"))


def test_many_threads_may_keep_the_same_and_other_blobs(blobs: Tree) -> None:
    contents = [bytes([number]) * 1000 for number in range(8)] * 8
    failures: list[BaseException] = []

    def work(some: list[bytes]) -> None:
        try:
            for content in some:
                put(blobs, content)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(contents[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(list(blobs.walk())) == 8
    assert all(blobs.digest(address)[:16] == address.digits for address, _ in blobs.walk())


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(content=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=5))
def test_pieces_make_a_whole(blobs: Tree, content: bytes, cuts: list[int]) -> None:
    digest = sha256(content).hexdigest()
    address = blob_address(digest, "pieces-1.zip")
    with blobs.incoming() as incoming:
        edges = [0, *sorted(cuts), len(content)]
        for start, end in itertools.pairwise(edges):
            incoming.write(content[start:end])
        blobs.keep(incoming, address, digest)
    assert blobs.digest(address) == digest


def test_keeping_or_claiming_what_is_there_makes_it_young_again(blobs: Tree) -> None:
    address, before = put(blobs, b"wheel"), time.time() - 10
    for again in (lambda: put(blobs, b"wheel"), lambda: blobs.claim(address)):
        os.utime(blobs.path(address), (0, 0))
        assert blobs.last_kept(address) == 0
        again()
        assert (blobs.last_kept(address) or 0) > before


def test_a_withdrawn_blob_takes_its_folder_along_and_lies_where_the_next_start_removes_it(blobs: Tree, tmp_path: Path) -> None:
    first, second = put(blobs, b"one", digits="ab" * 8), put(blobs, b"two", "Other-1.0.zip", digits="ab" * 8)
    later = time.time() + 1000
    assert blobs.withdraw(first, later) is not None
    assert blobs.find(second) == 3
    give_back = blobs.withdraw(second, later)
    assert give_back is not None
    assert os.listdir(tmp_path / "+files" / "aba") == []
    assert len(os.listdir(tmp_path / "incoming")) == 2
    give_back()
    assert len(os.listdir(tmp_path / "incoming")) == 1
    open_tree(str(tmp_path))
    assert os.listdir(tmp_path / "incoming") == []


def test_a_stranger_in_the_place_of_a_blob_is_not_withdrawn(blobs: Tree, tmp_path: Path) -> None:
    address = put(blobs, b"wheel")
    os.remove(blobs.path(address))
    os.symlink(tmp_path, blobs.path(address))
    assert blobs.claim(address) is None
    assert blobs.withdraw(address, time.time() + 1000) is None
    assert os.path.islink(blobs.path(address))


def test_a_claimed_file_that_is_forgotten_does_not_hold_its_blob_for_ever(blobs: Tree) -> None:
    address = put(blobs, b"wheel")
    claimed = blobs.claim(address)
    del claimed
    gc.collect()
    assert blobs.withdraw(address, time.time() + 1000) is not None
