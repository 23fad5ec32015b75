"""A server of its own process, which is killed after the test at the latest, and an upstream on loopback."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from tests.fakes.live_server import LiveServer
from tests.fakes.upstream import FakeUpstream
from tests.in_reactor import wait_for


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    fake = FakeUpstream(reactor).start()
    yield fake
    wait_for(Deferred.fromCoroutine(fake.stop()))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    live = LiveServer(tmp_path / "data", tmp_path / "twistd.log")
    yield live
    live.end(signal.SIGKILL)
