"""Fixtures of the tests of ``search``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.search.search_setup import SearchWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SearchWorld]:
    """A server with an empty mirror, root/pypi, and a search index."""
    with closing(SearchWorld(str(tmp_path))) as made:
        yield made
