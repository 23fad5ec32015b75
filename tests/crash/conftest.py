"""A server of its own process, killed after the test at the latest, and an upstream on loopback: those of the live tests."""

from __future__ import annotations

from tests.live.conftest import server, upstream

__all__ = ["server", "upstream"]
