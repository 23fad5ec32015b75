"""Fixtures of the tests of ``web``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.web.web_world import MakeWorld, World


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[MakeWorld]:
    """Makes a server with other settings."""
    with ExitStack() as made:

        def make(**settings: Any) -> World:
            return made.enter_context(closing(World(str(tmp_path), **settings)))

        yield make


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """A server with an empty mirror, root/pypi."""
    return make_world()
