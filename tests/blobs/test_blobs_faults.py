"""Law 2 when things fail: full disks, failing syncs, and a process that dies before any of its system calls."""

from __future__ import annotations

import errno
import os
from hashlib import sha256
from pathlib import Path

import pytest

from tests.contracts.blobs_contract import NAME, put
from tests.fakes.faulty_system import FaultySystem, Killed
from twistpi.blobs.address import blob_address
from twistpi.blobs.tree import Tree, open_tree
from twistpi.model.server_errors import StorageFull, SyncFailed

CONTENT = b"the bytes of a wheel"
DIGEST = sha256(CONTENT).hexdigest()
CALLS = 16
ADDRESS = blob_address(DIGEST, NAME)


def faulty_tree(folder: Path) -> tuple[Tree, FaultySystem]:
    """A tree whose calls are counted from here on."""
    system = FaultySystem()
    tree = open_tree(str(folder), system)
    system.calls.clear()
    return tree, system


def calls_of_one_keep(folder: Path) -> list[tuple[str, str]]:
    """What the system is asked for one blob."""
    folder.mkdir(exist_ok=True)
    tree, system = faulty_tree(folder)
    put(tree, CONTENT)
    return system.calls


def test_everything_is_synced_in_order_before_keep_returns(tmp_path: Path) -> None:
    calls = calls_of_one_keep(tmp_path)
    root = str(tmp_path / "+files")
    outer, inner = f"{root}/{DIGEST[:3]}", f"{root}/{DIGEST[:3]}/{DIGEST[3:16]}"
    incoming = calls[0][1]
    assert len(calls) == CALLS
    assert [call for call in calls if call[0] != "write"] == [
        ("create", incoming),
        ("sync", incoming),
        ("make folder", outer),
        ("make folder", inner),
        ("touch", incoming),
        ("rename", f"{inner}/{NAME}"),
        ("sync", inner),
        ("sync", outer),
        ("sync", root),
    ]


def test_the_folder_of_all_is_synced_once_for_each_folder_in_it(tmp_path: Path) -> None:
    tree, system = faulty_tree(tmp_path)
    root = str(tmp_path / "+files")
    for digits in ("ab" * 8, "ab1" + "0" * 13, "ab1" + "1" * 13):
        put(tree, CONTENT, digits=digits)
    assert [path for call, path in system.calls if call == "sync"].count(root) == 2


def test_a_blob_that_was_there_is_synced_again_for_whoever_put_it_may_have_died(tmp_path: Path) -> None:
    put(open_tree(str(tmp_path)), CONTENT)
    calls = calls_of_one_keep(tmp_path)
    blob = str(tmp_path / "+files" / ADDRESS.relative)
    assert {blob, os.path.dirname(blob), str(tmp_path / "+files")} <= {path for call, path in calls if call == "sync"}


@pytest.mark.parametrize("at", range(CALLS))
def test_a_process_that_dies_before_any_call_leaves_a_whole_blob_or_none_and_other_blobs(tmp_path: Path, at: int) -> None:
    other = put(open_tree(str(tmp_path)), b"first", digits="ab" * 8)
    tree, system = faulty_tree(tmp_path)
    system.at, system.fault = at, Killed()
    with pytest.raises(Killed):
        put(tree, CONTENT)
    again = open_tree(str(tmp_path))
    assert os.listdir(tmp_path / "incoming") == []
    assert list(again.foreign_paths()) == []
    assert (other, 5) in again.walk()
    assert [again.digest(address) for address, _ in again.walk() if address != other] in ([], [DIGEST])
    assert put(again, CONTENT) == ADDRESS
    assert again.digest(ADDRESS) == DIGEST


@pytest.mark.parametrize(
    ("call", "kind", "error"),
    [
        *(
            (call, kind, StorageFull)
            for call in ("create", "write", "make folder", "rename")
            for kind in (errno.ENOSPC, errno.EDQUOT)
        ),
        ("rename", errno.EACCES, PermissionError),
    ],
)
def test_a_full_disk_refuses_clearly_other_errors_pass_nothing_is_left_and_it_recovers(
    tmp_path: Path, call: str, kind: int, error: type[Exception]
) -> None:
    at = [name for name, _ in calls_of_one_keep(tmp_path / "other")].index(call)
    tree, system = faulty_tree(tmp_path)
    system.at, system.fault = at, OSError(kind, os.strerror(kind))
    with pytest.raises(error, match=os.strerror(kind)):
        put(tree, CONTENT)
    assert os.listdir(tmp_path / "incoming") == []
    assert tree.find(ADDRESS) is None
    put(tree, CONTENT)
    assert tree.digest(ADDRESS) == DIGEST


def test_a_full_disk_leaves_a_file_to_its_readers_until_it_is_closed(tmp_path: Path) -> None:
    tree, system = faulty_tree(tmp_path)
    incoming = tree.incoming()
    incoming.write(CONTENT)
    system.at, system.fault = len(system.calls), OSError(errno.ENOSPC, "full")
    with pytest.raises(StorageFull):
        incoming.write(CONTENT)
    assert incoming.read(0, 100) == CONTENT
    assert os.fstat(incoming.fileno()).st_nlink == 0
    incoming.close()


def test_any_failed_sync_is_final(tmp_path: Path) -> None:
    calls = [name for name, _ in calls_of_one_keep(tmp_path / "other")]
    syncs = [number for number, name in enumerate(calls) if name == "sync"]
    assert len(syncs) == 4
    for number, at in enumerate(syncs):
        folder = tmp_path / str(number)
        folder.mkdir()
        tree, system = faulty_tree(folder)
        system.at, system.fault = at, OSError(errno.EIO, "Input/output error")
        with pytest.raises(SyncFailed, match="Input/output error"):
            put(tree, CONTENT)
        assert os.listdir(folder / "incoming") == []
