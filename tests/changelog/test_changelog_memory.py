"""The changelog in memory keeps the contract."""

from __future__ import annotations

import pytest

from tests.contracts.changelog_contract import ChangelogContract
from tests.fakes.memory_changelog import MemoryChangelog


class TestMemoryChangelog(ChangelogContract):
    """See the contract."""

    @pytest.fixture
    def changelog(self) -> MemoryChangelog:
        return MemoryChangelog()
