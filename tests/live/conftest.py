"""Fixtures of the live tests: a fake upstream in this process, and a real server in another."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.fakes.cluster_form import live_server
from tests.fakes.live_server import LiveServer
from tests.fakes.upstream import FakeUpstream
from tests.in_reactor import wait_for
from tests.live.devpi_client import DevpiClient, Step
from tests.live.programs import Done
from tests.live.stages import Stage, fill, make_stage
from tests.live.test_live_commands import CHEAP

_NUMBERS = count(1)


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    fake = FakeUpstream(reactor).start()
    yield fake
    wait_for(Deferred.fromCoroutine(fake.stop()))


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LiveServer]:
    """Not started yet; stopped in the end, however the test ended."""
    live = live_server(request, tmp_path / "data", tmp_path / "twistd.log")
    yield live
    live.end(signal.SIGKILL)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[LiveServer]:
    """Another server, as a replica or a mirror of ``server``; it has a directory, whatever that has."""
    live = LiveServer(tmp_path / "other", tmp_path / "other.log")
    yield live
    live.end(signal.SIGKILL)


@pytest.fixture(scope="module")
def kept_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server for all tests of a module that need nothing special; its upstream has what builds projects."""
    fake = FakeUpstream(reactor).start()
    fill(fake)
    folder = tmp_path_factory.mktemp("kept")
    live = live_server(request, folder / "data", folder / "twistd.log")
    options = ("--upstream", fake.index_url, "--max-upload-size", "100000", "--access-log", str(folder / "access.log"))
    live.start(*options, environment=CHEAP)
    yield live
    live.end()
    wait_for(Deferred.fromCoroutine(fake.stop()))
    assert "Traceback" not in live.told()


@pytest.fixture
def stage(kept_server: LiveServer) -> Stage:
    """A volatile index of a new user."""
    return make_stage(kept_server, f"jonathan{next(_NUMBERS)}/dev")


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
