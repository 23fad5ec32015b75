"""A log and a view, both empty."""

from __future__ import annotations

import pytest

from tests.changelog.log_and_view import Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()
