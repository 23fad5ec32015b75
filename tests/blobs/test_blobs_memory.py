"""Blobs in memory keep the contract."""

from __future__ import annotations

import pytest

from tests.contracts.blobs_contract import BlobsContract
from tests.fakes.memory_blobs import MemoryBlobs


class TestMemoryBlobs(BlobsContract):
    """See the contract."""

    @pytest.fixture
    def blobs(self) -> MemoryBlobs:
        return MemoryBlobs()
