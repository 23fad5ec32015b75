"""Files found in a folder become blobs if their bytes are right, and are left alone otherwise."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import pytest

from twistpi.blobs.address import blob_address, metadata_address
from twistpi.blobs.received import adopt_file
from twistpi.blobs.tree import Tree, open_tree

NAME = "demo-1.0-py3-none-any.whl"
CONTENT = b"wheel" * 1000
DIGEST = sha256(CONTENT).hexdigest()
ADDRESS = blob_address(DIGEST, NAME)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    (tmp_path / "server").mkdir()
    return open_tree(str(tmp_path / "server"))


def lay(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("place", [f"+files/{ADDRESS.relative}", ADDRESS.relative, NAME])
def test_a_file_is_found_in_another_server_directory_among_its_files_and_by_its_name(
    tree: Tree, tmp_path: Path, place: str
) -> None:
    source = lay(tmp_path / "other" / place, CONTENT)
    assert adopt_file(str(tmp_path / "other"), tree, ADDRESS, DIGEST, len(CONTENT))
    assert tree.digest(ADDRESS) == DIGEST
    source.write_bytes(b"changed")
    assert tree.digest(ADDRESS) == DIGEST


def test_what_lies_beside_a_distribution_is_found_by_its_own_digest(tree: Tree, tmp_path: Path) -> None:
    beside = metadata_address(ADDRESS)
    lay(tmp_path / "other" / beside.relative, b"Name: demo\n")
    assert adopt_file(str(tmp_path / "other"), tree, beside, sha256(b"Name: demo\n").hexdigest(), 11)
    assert tree.find(beside) == 11


def test_the_right_one_of_several_is_taken(tree: Tree, tmp_path: Path) -> None:
    lay(tmp_path / ADDRESS.relative, b"x" * len(CONTENT))
    lay(tmp_path / NAME, CONTENT)
    assert adopt_file(str(tmp_path), tree, ADDRESS, DIGEST, len(CONTENT))


def test_wrong_bytes_of_the_right_or_another_size_folders_and_pipes_are_left_alone(tree: Tree, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / NAME)
    (tmp_path / ADDRESS.relative).mkdir(parents=True)
    lay(tmp_path / "+files" / ADDRESS.relative, b"x" * len(CONTENT))
    assert not adopt_file(str(tmp_path), tree, ADDRESS, DIGEST, len(CONTENT))
    assert not adopt_file(str(tmp_path), tree, ADDRESS, DIGEST, len(CONTENT) - 1)
    assert not adopt_file(str(tmp_path / "nowhere"), tree, ADDRESS, DIGEST, len(CONTENT))
    assert (tree.find(ADDRESS), os.listdir(tmp_path / "server" / "incoming")) == (None, [])
