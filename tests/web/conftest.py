"""Fixtures of the doors' tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.web.web_world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A server with an empty mirror, root/pypi."""
    made = World(str(tmp_path))
    yield made
    made.close()
