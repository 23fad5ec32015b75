"""The cache of a node stays within its budget."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from tests.contracts.blobs_contract import put
from tests.in_reactor import offload
from twistpi.blobs.tree import Tree, open_tree
from twistpi.gc.cache_budget import CacheBudget

LATER = time.time() + 3600


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return open_tree(str(tmp_path))


def budget_of(tree: Tree, size: int, now: float = LATER, room: int = 10_000) -> CacheBudget:
    return CacheBudget(tree, size, Clock(), offload, lambda: room, lambda: now)


def test_those_go_first_that_nobody_asked_for_the_longest(tree: Tree) -> None:
    addresses = [put(tree, bytes([number]) * 100) for number in range(10)]
    for age, address in enumerate(addresses):
        tree.note_access(tree.path(address), time.time() + 1000 - 10 * age)
    budget = budget_of(tree, 500)
    assert budget.trim() == 600
    assert [tree.find(address) for address in addresses] == [100] * 4 + [None] * 6
    assert budget.size == 400
    assert budget.trim() == 0


def test_within_the_budget_nothing_goes(tree: Tree) -> None:
    put(tree, bytes(500))
    assert budget_of(tree, 500).trim() == 0


def test_a_disk_that_is_nearly_full_makes_the_budget_smaller(tree: Tree) -> None:
    for number in range(10):
        put(tree, bytes([number]) * 100)
    assert budget_of(tree, 5000, room=0).trim() == 0
    assert budget_of(tree, 5000, room=-200).trim() == 300


def test_what_is_claimed_or_came_just_now_stays(tree: Tree) -> None:
    claimed, other = put(tree, b"1" * 100), put(tree, b"2" * 100)
    assert budget_of(tree, 0, now=time.time()).trim() == 0
    file = tree.claim(claimed)
    assert file is not None
    assert budget_of(tree, 0).trim() == 100
    assert (tree.find(claimed), tree.find(other)) == (100, None)
    file.close()
