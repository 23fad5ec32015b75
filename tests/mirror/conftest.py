"""Fixtures of the mirror's tests: a fake upstream and a house around it, stopped when the test is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.fakes.upstream import FakeUpstream
from tests.in_reactor import wait_for
from tests.mirror.mirror_setup import Setup, build_house, reactor


@pytest.fixture
def fake() -> Iterator[FakeUpstream]:
    upstream = FakeUpstream(reactor).start()
    yield upstream
    wait_for(Deferred.fromCoroutine(upstream.stop()))


@pytest.fixture
def make_house(tmp_path: Path, fake: FakeUpstream) -> Iterator[Callable[..., Setup]]:
    """Builds houses with options; the first is in ``tmp_path`` itself."""
    houses: list[Setup] = []

    def make(**options: Any) -> Setup:
        folder = tmp_path / f"house{len(houses)}"
        folder.mkdir()
        houses.append(build_house(folder, options.pop("fake", fake), **options))
        return houses[-1]

    yield make
    for setup in houses:
        wait_for(Deferred.fromCoroutine(setup.close()))


@pytest.fixture
def setup(make_house: Callable[..., Setup]) -> Setup:
    return make_house()
