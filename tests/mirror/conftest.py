"""Fixtures of the mirror's tests: a fake upstream and services that mirror it, stopped when the test is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.fakes.upstream import FakeUpstream
from tests.in_reactor import wait_for
from tests.mirror.mirror_setup import Setup, build_setup, reactor


@pytest.fixture
def fake() -> Iterator[FakeUpstream]:
    upstream = FakeUpstream(reactor).start()
    yield upstream
    wait_for(Deferred.fromCoroutine(upstream.stop()))


@pytest.fixture
def make_setup(tmp_path: Path, fake: FakeUpstream) -> Iterator[Callable[..., Setup]]:
    """Builds mirrors with options, each in a folder of its own."""
    setups: list[Setup] = []

    def make(**options: Any) -> Setup:
        folder = tmp_path / f"server{len(setups)}"
        folder.mkdir()
        setups.append(build_setup(folder, options.pop("fake", fake), **options))
        return setups[-1]

    yield make
    for setup in setups:
        wait_for(Deferred.fromCoroutine(setup.close()))


@pytest.fixture
def setup(make_setup: Callable[..., Setup]) -> Setup:
    return make_setup()
