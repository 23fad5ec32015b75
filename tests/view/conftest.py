"""A view on disk, empty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.view.small_world import LOG
from twistpi.view.database import ViewDatabase, open_view


@pytest.fixture
def view_path(tmp_path: Path) -> str:
    return str(tmp_path / "view.sqlite")


@pytest.fixture
def view(view_path: str) -> Iterator[ViewDatabase]:
    view = open_view(view_path, LOG)
    yield view
    view.close()
