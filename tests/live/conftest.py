"""Fixtures of the live tests: a fake upstream in this process, and a real server in another."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.fakes.live_server import LiveServer
from tests.fakes.upstream import FakeUpstream
from tests.in_reactor import wait_for
from tests.live.devpi_client import DevpiClient, Step
from tests.live.programs import Done


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    fake = FakeUpstream(reactor).start()
    yield fake
    wait_for(Deferred.fromCoroutine(fake.stop()))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    """Not started yet; stopped in the end, however the test ended."""
    live = LiveServer(tmp_path / "data", tmp_path / "twistd.log")
    yield live
    if live.process is not None and live.process.poll() is None:
        live.end(signal.SIGKILL)


@pytest.fixture
def devpi(tmp_path: Path) -> DevpiClient:
    return DevpiClient(tmp_path / "home")


@pytest.fixture
def step(devpi: DevpiClient) -> Step:
    async def run(*words: str, status: int = 0, folder: Path | None = None) -> Done:
        done: Done = await deferToThread(devpi.run, *words, folder=folder)
        assert done.status == status, done.told
        return done

    return run
