"""Logs in PostgreSQL, and nodes that share one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.nodes import Node
from tests.fakes.postgres import postgres
from twistpi.cluster.schema import prepare


@pytest.fixture
def url() -> str:
    """Of a new log."""
    url = postgres().new_schema()
    prepare(url, os.urandom, time.time)
    return url


@pytest.fixture
def make_node(url: str, tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Make another node of the cluster."""
    made: list[Node] = []

    def make(through: str = url, *, deaf_to: str = "", patience: float = 20.0) -> Node:
        made.append(Node(through, tmp_path / f"node{len(made)}", f"{len(made)}" * 32, deaf_to, patience))
        return made[-1]

    yield make
    for node in made:
        node.close()
