"""Fixtures of the mirror's tests: a fake upstream and a house around it, stopped when the test is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.fakes.upstream import FakeUpstream
from tests.in_reactor import wait_for
from tests.mirror.mirror_house import House, build_house, reactor


@pytest.fixture
def fake() -> Iterator[FakeUpstream]:
    upstream = FakeUpstream(reactor).start()
    yield upstream
    wait_for(Deferred.fromCoroutine(upstream.stop()))


@pytest.fixture
def make_house(tmp_path: Path, fake: FakeUpstream) -> Iterator[Callable[..., House]]:
    """Builds houses with options; the first is in ``tmp_path`` itself."""
    houses: list[House] = []

    def make(**options: Any) -> House:
        folder = tmp_path / f"house{len(houses)}"
        folder.mkdir()
        houses.append(build_house(folder, options.pop("fake", fake), **options))
        return houses[-1]

    yield make
    for house in houses:
        wait_for(Deferred.fromCoroutine(house.close()))


@pytest.fixture
def house(make_house: Callable[..., House]) -> House:
    return make_house()
